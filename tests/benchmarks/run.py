"""Measures what is promised about speed and memory, each beside its neighbour in the same run.

    python tests/benchmarks/run.py [--quick] [--only WORD]

A goal is a ratio: ours / theirs, at most so much. A promise in seconds is turned into a ratio to
work of a known kind: the seconds that this work took where the promise was made stand in `GOALS`.
Every figure comes from a process of its own: time is the best of several, memory the highest
resident size over that after the imports. Exits 1 where a goal is missed.

--quick: smaller models, fewer viewers, wide margins; what is measured on a part says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

MB = 2**20
REPEAT_SECONDS = 5.0  # what took longer is not repeated
STEP_SECONDS = 900.0  # a bound for what hangs, not a promise about speed

# What a ratio may be. The numbers behind a slash are seconds of the neighbour on the machine (two
# cores) that the promise in seconds was made for.
GOALS: dict[str, float] = {
    "open: time": 1 / 20,
    "open: memory": 1 / 50,
    "scan: time, beside the debugging script": 1 / 100,
    "scan: time, beside reading": 8.0,
    "scan: memory": 1.0,
    "scan, 16 million in a layer: memory": 1.0,
    "layer: time": 0.060 / 0.130,
    "layer: in a large model": 1.5,
    "picture: time": 0.5 / 3.5,
    "10 GB: opening": 1.0 / 0.5,
    "10 GB: time, beside reading": 8.0,
    "10 GB: memory": 1.0,
    "5,000 layers: open and scan": 2.0,
    "5,000 layers: switch": 3.0,
    "start: cold, to the verdict": 1.5,
    "start: warm, to the verdict": 1.5,
    "start: --help": 0.3 / 0.2,
    "check: processor time": 1.0 / 0.6,
    "report of 14 layers: time": 4.0 / 7.8,
    "report of 200 layers: time": 12.0 / 20.0,
    "report of 200 layers: size": 1.0,
    "viewers: p95 of a switch": 1.0 / 13.0,
    "viewers: memory of each": 1.0,
    "viewers: not their own pictures": 0.0,
    "viewers: errors": 0.0,
}
# --quick: machines are noisy, and what costs the same for every size weighs more in small models.
QUICK_MARGIN = 12.0

VERDICT = "share one scale for all channels"  # what the page finds in these models
SHIPPED_VERDICT = "channels that use only a few codes"  # ... and in the shipped one
MEMORY_ROOM = 64 * MB
SESSION_BYTES = 10 * MB


# What is measured, each in a process of its own ------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """Attributes:
    seconds: of the best run.
    peak: bytes of RAM over those before the first run, at the highest.
    beside: seconds of a neighbour that shares the process.
    """

    seconds: float
    peak: int = 0
    beside: float = 0.0

    def best_of(self, other: Reading) -> Reading:
        """Return the best of both, the memory at its highest."""
        return Reading(
            min(self.seconds, other.seconds),
            max(self.peak, other.peak),
            min(self.beside, other.beside),
        )


def measure(
    work: Callable[[], object], repeat: int, clock: Callable[[], float] = time.perf_counter
) -> Reading:
    """Return the best time of several runs, of fewer if they are long, and the first's memory."""
    before = reset_peak()
    seconds = [_time(work, clock)]
    peak = read_status("VmHWM") - before
    while len(seconds) < repeat and sum(seconds) < REPEAT_SECONDS:
        seconds.append(_time(work, clock))
    return Reading(min(seconds), peak)


def _time(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def reset_peak() -> int:
    """Forget the highest resident size and return the one of now.

    `ru_maxrss` would begin with what the imports, or even the parent process, once had.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return read_status("VmRSS")


def read_status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def model_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.onnx"))


def measure_reading(folder: Path) -> Reading:
    """Every byte of the folder once, mapped."""
    import numpy as np

    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".onnx", ".data")]

    def read() -> None:
        for path in files:
            np.memmap(path, np.uint8, "r").max()

    read()  # the page cache is warm from here on
    return measure(read, 5)


def measure_onnx_load(folder: Path) -> Reading:
    import onnx

    files = model_files(folder)
    return measure(lambda: [onnx.load(path) for path in files], 3)


def measure_opening(folder: Path) -> Reading:
    """What `onnx.load` does, and no more: the layers are listed as part of the comparison."""
    from playground.utils.parameter_inspector import load_model

    files = model_files(folder)
    return measure(lambda: [load_model(path) for path in files], 5)


def measure_scan(folder: Path) -> Reading:
    """Open, pair and measure, with every metric of every layer."""
    from playground.utils.parameter_inspector import compare_variants, load_model
    from playground.utils.parameter_inspector.reading.variants import name_variants

    def scan() -> None:
        variants = name_variants([load_model(path) for path in model_files(folder)])
        comparison = compare_variants(variants)
        assert not comparison.unavailable
        for by_variant in comparison.weights.values():
            assert all(measured.metrics for measured in by_variant.values())

    return measure(scan, 7)  # its threads are disturbed more often than one that reads


def measure_debugging_script(folder: Path) -> Reading:
    """What onnxruntime offers: match the weights by name, and their error."""
    import logging

    from onnxruntime.quantization import qdq_loss_debug

    logging.disable(logging.CRITICAL)

    def debug() -> None:
        matching = qdq_loss_debug.create_weight_matching(
            str(folder / "fp32.onnx"), str(folder / "int8.onnx")
        )
        assert matching
        qdq_loss_debug.compute_weight_error(matching)

    return measure(debug, 1)


def measure_layer(folder: Path) -> Reading:
    """Table and numbers of every chart of the first layer, as the page's cells ask for them."""
    import numpy as np

    from playground.utils import tables
    from playground.utils.figures import channel_charts
    from playground.utils.parameter_inspector import (
        compare_folder,
        count_codes,
        count_layer,
        extract_weight_tensors,
        open_folder,
    )

    opened = open_folder(folder)
    comparison, layer = compare_folder(opened), "layer0"

    def compute() -> None:
        tables.create_parameter_table(comparison, layer)
        count_layer(comparison.by_variant(layer))
        measured = {
            n: m for n, m in comparison.by_variant(layer).items() if m.quantization is not None
        }
        channel_charts.describe_channels(measured)
        count_codes(measured)

    def count() -> None:
        np.histogram(weight, 64)

    ours = measure(compute, 5)
    weight = next(
        iter(extract_weight_tensors(comparison.variants, layer, comparison.pairings).values())
    ).values
    return Reading(ours.seconds, ours.peak, measure(count, 3).seconds)


def measure_picture(folder: Path) -> Reading:
    """The heatmap of every layer, and beside it one `barh` for each layer."""
    import io

    from matplotlib.figure import Figure

    from playground.utils import figures
    from playground.utils.parameter_inspector import compute_all_layer_ranges, open_folder

    variants = open_folder(folder).variants
    rows = compute_all_layer_ranges(variants)

    def draw_bars() -> None:
        figure = Figure(figsize=(10, 0.25 * len(rows)), dpi=100)
        for ax, variant in zip(figure.subplots(1, len(variants)), variants, strict=True):
            for row in rows:
                low, high = row.ranges[variant]
                ax.barh(row.layer, high - low, left=low)
        figure.savefig(io.BytesIO(), format="png")

    ours = measure(lambda: figures.render_heatmap(rows, list(variants)), 5)
    return Reading(ours.seconds, ours.peak, measure(draw_bars, 1).seconds)


CHECKED = ROOT / "models" / "dscnn"


def time_children(command: Sequence[str | Path]) -> Callable[[], None]:
    """Return what runs a command of ours to its end; a check may find something."""
    asked = [sys.executable, *map(str, command)]

    def run() -> None:
        done = subprocess.run(asked, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=STEP_SECONDS)
        assert done.returncode in (0, 1), asked

    return run


def children_seconds() -> float:
    """Return the processor time of the processes that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def measure_check(folder: Path) -> Reading:
    """The processor time of `check`, and beside it that of importing what it reads files with."""
    check = time_children(["-m", "playground", "check", *model_files(folder)])
    libraries = time_children(["-c", "import onnx, onnx_ir"])
    ours = measure(check, 5, children_seconds)
    return Reading(ours.seconds, 0, measure(libraries, 5, children_seconds).seconds)


def measure_help(folder: Path) -> Reading:
    """`--help`, and beside it Python with numpy."""
    ours = measure(time_children(["-m", "playground", "--help"]), 9)
    return Reading(ours.seconds, 0, measure(time_children(["-c", "import numpy"]), 9).seconds)


def measure_report(folder: Path) -> Reading:
    """The whole command; beside it as many figures of three panels as it has pictures.

    They are saved as matplotlib saves them, by one process that has imported it. `peak` is the size
    of the report.
    """
    import io

    from matplotlib.figure import Figure

    written = folder / "report.html"
    report = time_children(["-m", "playground", "report", folder, "-o", written])
    ours = measure(report, 2)
    count = written.read_bytes().count(b"<img ")

    def draw_figures() -> None:
        for _ in range(count):
            figure = Figure(figsize=(10, 2.9), dpi=200)
            for ax in figure.subplots(1, 3):
                ax.stairs(range(64), fill=True)
            figure.savefig(io.BytesIO(), format="png")

    size = written.stat().st_size
    written.unlink()
    return Reading(ours.seconds, size, measure(draw_figures, 1).seconds)


MEASUREMENTS: dict[str, Callable[[Path], Reading]] = {
    "check": measure_check,
    "help": measure_help,
    "report": measure_report,
    "reading": measure_reading,
    "onnx.load": measure_onnx_load,
    "opening": measure_opening,
    "scan": measure_scan,
    "debugging script": measure_debugging_script,
    "layer": measure_layer,
    "picture": measure_picture,
}


def run_alone(name: str, folder: Path) -> Reading:
    """Return a measurement made by a new process."""
    command = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS)
    if done.returncode:
        raise RuntimeError(f"measuring {name!r} failed:\n{done.stderr}")
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


# The table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of the table: a promise beside its neighbour.

    Attributes:
        name: of the goal.
        neighbour: what is done instead, or what it is measured against.
        unit: ``s``, ``MB`` or empty for a count.
        ratio: ours / theirs; where theirs is 0, ours.
    """

    name: str
    neighbour: str
    theirs: float
    ours: float
    unit: str
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else self.ours

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.goal


@dataclass
class Run:
    """One run of the benchmarks: where the models lie, what was measured already."""

    folder: Path
    quick: bool
    goals: Mapping[str, float]
    progress: Callable[[str], None] = lambda _: None
    known: dict[tuple[str, str], Reading] = field(default_factory=dict)

    def model(self, name: str) -> Path:
        """Return the folder of one of the models of `pairs`, written when first asked for."""
        folder = self.folder / name
        if not folder.exists():
            self.progress(f"writing {name}")
            script = Path(__file__).with_name("pairs.py")
            subprocess.run(
                [sys.executable, str(script), name, str(folder)], check=True, timeout=STEP_SECONDS
            )
        return folder

    def read(self, measurement: str, model: str) -> Reading:
        """Return a measurement of a model, made once in a run."""
        folder = self.model(model)
        if (measurement, model) not in self.known:
            self.progress(f"{measurement}: {model}")
            first = run_alone(measurement, folder)
            # Once more, later: what else the machine does comes and goes.
            short = not self.quick and first.seconds < REPEAT_SECONDS
            again = run_alone(measurement, folder) if short else first
            self.known[measurement, model] = first.best_of(again)
        return self.known[measurement, model]

    def line(self, name: str, neighbour: str, theirs: float, ours: float, unit: str = "s") -> Line:
        goal = self.goals[name]
        bound = unit == "MB" and "onnx.load" not in neighbour  # a bound is not noisy
        margin = QUICK_MARGIN if self.quick and not bound else 1.0
        return Line(name, neighbour, theirs, ours, unit, goal * margin)


def chunk_bytes() -> int:
    """Return the size of the largest chunk that is read beside its original."""
    from playground.utils.parameter_inspector.streaming import compared_weights

    return 4 * int(compared_weights.CHUNK_ELEMENTS)


def limit_memory() -> float:
    return (MEMORY_ROOM + 2 * chunk_bytes()) / MB


def compare_opening(run: Run) -> Iterator[Line]:
    pair = "small" if run.quick else "bert"
    theirs, ours = run.read("onnx.load", pair), run.read("opening", pair)
    yield run.line("open: time", "onnx.load of both", theirs.seconds, ours.seconds)
    memory = theirs.peak / MB, ours.peak / MB
    yield run.line("open: memory", "onnx.load of both", *memory, "MB")


def compare_scan(run: Run) -> Iterator[Line]:
    pair = "small" if run.quick else "bert"
    ours = run.read("scan", pair)
    theirs = run.read("debugging script", pair).seconds
    script = "scan: time, beside the debugging script"
    yield run.line(script, "qdq_loss_debug", theirs, ours.seconds)
    reading = run.read("reading", pair).seconds
    yield run.line("scan: time, beside reading", "every byte once", reading, ours.seconds)
    bound = "64 MB + 2 × the largest chunk"
    yield run.line("scan: memory", bound, limit_memory(), ours.peak / MB, "MB")
    if not run.quick:
        large = run.read("scan", "large").peak / MB
        name = "scan, 16 million in a layer: memory"
        yield run.line(name, bound, limit_memory(), large, "MB")


def compare_layer(run: Run) -> Iterator[Line]:
    alone = run.read("layer", "medium" if run.quick else "large")
    size = 4 if run.quick else 16
    histogram = f"np.histogram of {size} million weights"
    yield run.line("layer: time", histogram, alone.beside, alone.seconds)
    if not run.quick:
        among = run.read("layer", "large-among-500")
        name, neighbour = "layer: in a large model", "the same layer alone"
        yield run.line(name, neighbour, alone.seconds, among.seconds)


def compare_picture(run: Run) -> Iterator[Line]:
    count = 200 if run.quick else 500
    reading = run.read("picture", str(count))
    bars = f"one barh for each of {count} layers"
    yield run.line("picture: time", bars, reading.beside, reading.seconds)


def compare_sparse(run: Run) -> Iterator[Line]:
    model = "sparse-1" if run.quick else "sparse"
    reading, once = run.read("reading", model).seconds, "every byte once"
    if run.quick:
        once += " (0.5 GB)"
    else:
        yield run.line("10 GB: opening", once, reading, run.read("opening", model).seconds)
    scan = run.read("scan", model)
    yield run.line("10 GB: time, beside reading", once, reading, scan.seconds)
    bound = "64 MB + 2 × the largest chunk"
    yield run.line("10 GB: memory", bound, limit_memory(), scan.peak / MB, "MB")


def compare_viewers(run: Run) -> Iterator[Line]:
    import viewers

    network = ROOT / "models" / "resnet8"
    run.progress("viewers: drawing their pictures")
    layers, alone = viewers.render_alone(network, 3 if run.quick else None)
    sessions = 4 if run.quick else 24
    run.progress(f"viewers: {sessions} of them")
    driven = asyncio.run(
        viewers.drive(
            network.parent,
            network.name,
            layers,
            sessions=sessions,
            switches=4 if run.quick else 8,
            pause=0.5 if run.quick else 2.0,
            progress=lambda text: run.progress(f"viewers: {text}"),
        )
    )
    drawn = f"a layer's pictures drawn anew, × {sessions}"
    yield run.line("viewers: p95 of a switch", drawn, alone * sessions, driven.p95)
    each = driven.bytes_per_session / MB
    yield run.line("viewers: memory of each", "10 MB", SESSION_BYTES / MB, each, "MB")
    checked = f"of {driven.checked} pictures"
    yield run.line("viewers: not their own pictures", checked, 0, len(driven.wrong), "")
    yield run.line("viewers: errors", f"{sessions} sessions", 0, len(driven.errors), "")


def compare_many_layers(run: Run) -> Iterator[Line]:
    """A scan takes what its layers take; a viewer hardly notices how many others there are."""
    import viewers

    few, many = ("20", "200") if run.quick else ("500", "5000")
    in_proportion = 10 * run.read("scan", few).seconds
    scan = run.read("scan", many).seconds
    neighbour = f"10 × that of {few} layers"
    yield run.line("5,000 layers: open and scan", neighbour, in_proportion, scan)
    if run.quick:
        return
    seen = {}
    for model in ("part", many):
        folder = run.model(model)
        run.progress(f"the page of {model}")
        layers, _ = viewers.render_alone(folder, 2)
        driven = asyncio.run(
            viewers.drive(folder.parent, model, layers, sessions=1, switches=6, pause=0.2)
        )
        seen[model] = driven.median
    yield run.line("5,000 layers: switch", "a page of 2 layers", seen["part"], seen[many])


def compare_starting(run: Run) -> Iterator[Line]:
    """The page beside a bare one of two cells, from its command and once the server is warm."""
    import starting

    with starting.open_browser() as browser:
        theirs = ours = starting.Start(math.inf, math.inf)
        for _ in range(1 if run.quick else 3):
            run.progress("start: a bare page, and ours")
            theirs = theirs.best_of(starting.time_bare(browser))
            ours = ours.best_of(starting.time_ours(browser, CHECKED, SHIPPED_VERDICT))
    bare = "a bare page of two cells"
    yield run.line("start: cold, to the verdict", bare, theirs.cold, ours.cold)
    yield run.line("start: warm, to the verdict", bare, theirs.warm, ours.warm)


def compare_commands(run: Run) -> Iterator[Line]:
    for measurement, name, neighbour in (
        ("help", "start: --help", "importing numpy"),
        ("check", "check: processor time", "importing onnx and onnx_ir"),
    ):
        run.progress(name)
        reading = run_alone(measurement, CHECKED)
        yield run.line(name, neighbour, reading.beside, reading.seconds)


def compare_reports(run: Run) -> Iterator[Line]:
    folder = run.folder / "dscnn"
    shutil.copytree(CHECKED, folder, dirs_exist_ok=True)
    figures = "as many figures, by matplotlib on one core"
    run.progress("report: 14 layers")
    few = run_alone("report", folder)
    yield run.line("report of 14 layers: time", figures, few.beside, few.seconds)
    if not run.quick:
        many = run.read("report", "200")
        yield run.line("report of 200 layers: time", figures, many.beside, many.seconds)
        size = many.peak / 1e6
        yield run.line("report of 200 layers: size", "5 MB", 5.0, size, "MB")


COMPARISONS: dict[str, Callable[[Run], Iterator[Line]]] = {
    "start": compare_starting,
    "commands": compare_commands,
    "report": compare_reports,
    "open": compare_opening,
    "scan": compare_scan,
    "layer": compare_layer,
    "picture": compare_picture,
    "10 GB": compare_sparse,
    "5,000 layers": compare_many_layers,
    "viewers": compare_viewers,
}


def format_table(lines: Sequence[Line]) -> str:
    """Return the lines as text, columns aligned."""
    heads = ("work", "neighbour", "theirs", "ours", "ratio", "goal", "")
    rows = [heads, *(_format_line(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _format_line(line: Line) -> tuple[str, ...]:
    def spell(number: float) -> str:
        return f"{number:.3g} {line.unit}".rstrip()

    verdict = "" if line.is_met else "MISSED"
    sizes = spell(line.theirs), spell(line.ours), spell_ratio(line.ratio), spell_ratio(line.goal)
    return (line.name, line.neighbour, *sizes, verdict)


def spell_ratio(ratio: float) -> str:
    return f"1/{1 / ratio:.3g}" if 0 < ratio < 1 else f"{ratio:.3g}"


class ProgressBar:
    """How many of the comparisons are done, and what is measured now, on one line of stderr."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def tell(self, text: str) -> None:
        text = f"{time.monotonic() - self.start:4.0f} s  {text}"
        filled = round(24 * self.done / self.total)
        bar = "█" * filled + "·" * (24 - filled)
        end = "" if sys.stderr.isatty() else "\n"
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}{bar} {self.done}/{self.total} {text}", end=end, file=sys.stderr, flush=True)


def compare_all(run: Run, comparisons: Sequence[str]) -> list[Line]:
    bar = ProgressBar(len(comparisons))
    run.progress = bar.tell
    lines: list[Line] = []
    for name in comparisons:
        try:
            lines += COMPARISONS[name](run)
        except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            print(f"\n{name}: {error}", file=sys.stderr)
            lines.append(Line(name, "did not finish", 0, math.inf, "", 0))
        bar.done += 1
        bar.tell(name)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, wide margins")
    parser.add_argument("--only", choices=list(COMPARISONS), action="append")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder for another run")
    parser.add_argument("--measure", choices=list(MEASUREMENTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(asdict(MEASUREMENTS[options.measure](options.folder))))
        return 0
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc, which only Linux has")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="benchmarks-"))
    try:
        run = Run(folder, options.quick, GOALS)
        lines = compare_all(run, options.only or list(COMPARISONS))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(format_table(lines))
    missed = [line.name for line in lines if not line.is_met]
    print(f"{len(lines) - len(missed)} of {len(lines)} goals met, {os.cpu_count()} cores")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
