"""The playground without a browser: ``check`` for a gate in CI, ``measure`` for what the output
loses, ``report`` for a file to send, ``requantize`` for a better model; ``run`` serves the page.

What a command cannot do it says in one line on stderr, and exits 2.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from playground.utils import exports
from playground.utils.parameter_inspector import (
    MOST_SAMPLES,
    SEVERITIES,
    Change,
    Comparison,
    EndingKind,
    Finding,
    FindingGroup,
    LayerChange,
    Limits,
    Model,
    ModelFileError,
    ModelTooLargeError,
    NothingToCompareError,
    Outputs,
    Plan,
    RewriteError,
    RunEndedError,
    Samples,
    SamplesError,
    Saved,
    Thresholds,
    Truth,
    UnavailableError,
    VariantFolder,
    compare_variants,
    create_changes,
    describe_ending,
    describe_given,
    describe_group,
    describe_group_remedy,
    describe_loss,
    describe_progress,
    describe_refusal,
    find_missed,
    find_networks,
    find_problems,
    find_refused,
    group_by_cause,
    is_float,
    load_model,
    measure_outputs,
    measure_truth,
    name_variants,
    open_folder,
    pair_variants,
    plan_model,
    read_samples,
    save_changed_model,
)
from playground.utils.parameter_inspector import Progress as MeasuringProgress

FOUND, UNREADABLE, INTERRUPTED = 1, 2, 130
NOT_MEASURED = "; activations were not measured (give --samples to run the models on)"
COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
FILE = click.Path(dir_okay=False, path_type=Path)

Progress = Callable[[int, int, str], None]


class CannotReadError(Exception):
    """Why there is no verdict, in one sentence."""


class CannotWriteError(Exception):
    """Which file could not be written, and why."""


class CannotRunError(Exception):
    """Which file could not be run on the samples, and why."""


Decorated = Callable[..., None]


def running_options(command: Decorated) -> Decorated:
    """Add what the commands that can run models share."""
    for option in (
        click.option(
            "--time-limit",
            type=float,
            callback=check_positive,
            metavar="SECONDS",
            help="Stop measuring one model after so long; half an hour if not given.",
        ),
        click.option(
            "--samples",
            type=click.Path(path_type=Path),
            help="Run the models on these inputs: an .npz file by input name, or a folder of "
            f".npy, .npz or .pb files. The first {MOST_SAMPLES} are taken.",
        ),
    ):
        command = option(command)
    return command


def check_positive(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a time")
    return value


def check_decibels(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number of decibels")
    return value


def check_share(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise click.BadParameter(f"{value} is not between 0 and 1")
    return value


@click.group()
def main() -> None:
    """Show which layers of a quantized ONNX model lose accuracy, why, and what would fix them."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "json_file", type=FILE, help="Also write all metrics and findings to this file."
)
@click.option(
    "--junit", "junit_file", type=FILE, help="Also write the findings to this file, as JUnit XML."
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="Exit with 1 if anything this severe, or worse, is found.",
)
@running_options
@click.option(
    "--min-sqnr",
    type=float,
    callback=check_decibels,
    metavar="DB",
    help="The least SQNR that each output has to keep.",
)
@click.option(
    "--min-agreement",
    type=float,
    callback=check_share,
    metavar="SHARE",
    help="The least share of the samples whose highest score has to be the original's.",
)
@click.option(
    "--min-accuracy",
    type=float,
    callback=check_share,
    metavar="SHARE",
    help="The least share of the samples whose highest score has to be the label.",
)
@click.option(
    "--load",
    is_flag=True,
    help="Also open each file in onnxruntime, in a process apart; with --samples, run it too.",
)
@click.option("--all", "list_all", is_flag=True, help="Print each finding, not one for each cause.")
def check(
    models: tuple[Path, ...],
    json_file: Path | None,
    junit_file: Path | None,
    fail_on: str,
    load: bool,
    list_all: bool,
    samples: Path | None,
    time_limit: float | None,
    min_sqnr: float | None,
    min_agreement: float | None,
    min_accuracy: float | None,
) -> None:
    """Print what is wrong with quantized models, one finding for each cause, then one line of all.

    MODELS are .onnx files of one network: its quantized builds, and the float original if you have
    it. With --samples they are run, each in a process of its own, and judged by their outputs too.

    Exits with 0 if there is nothing as severe as --fail-on, with 1 if there is, an output is under
    a minimum or a file is refused, and with 2 if a file could not be read or run or a layer not
    understood.
    """
    thresholds = Thresholds(min_sqnr, min_agreement, min_accuracy)
    if thresholds.asked and samples is None:
        raise click.UsageError("a minimum needs --samples to measure it on")
    with one_line_errors():
        variants = open_models(models)
        comparison = compare_with_progress(variants)
        given = read_given(comparison, samples) if samples else None
        refused = dict(find_refused(variants, given)) if load else {}
        for variant, ending in refused.items():
            click.echo(f"{file_name(variants[variant])} ({variant}): {describe_ending(ending)}")
        if given:
            comparison = measure_with_progress(comparison, given, time_limit, skip=refused)
        findings = [*find_missed(comparison, thresholds), *find_problems(comparison)]
        findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        groups = group_by_cause(findings)
        for group in map(alone, findings) if list_all else groups:
            click.echo(format_group(group, variants))
        for line in describe_measured(comparison):
            click.echo(exports.escape_unprintable(line))
        if json_file:
            write(json_file, exports.create_json(comparison, findings))
        if junit_file:
            write(junit_file, exports.create_junit(comparison, findings, fail_on))
        refuse_unread_weights(comparison)
        refuse_unfinished(comparison)
        refuse_not_understood(comparison, findings)
        click.echo(sum_up(comparison, findings, None if list_all else groups))
    sys.exit(FOUND if refused or exports.select_findings(findings, fail_on) else 0)


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@running_options
@click.option("--json", "json_file", type=FILE, help="Also write all numbers to this file.")
@click.option(
    "--optimized",
    is_flag=True,
    help="Let onnxruntime rewrite the graphs as it does by default, also for the comparison.",
)
def measure(
    models: tuple[Path, ...],
    samples: Path | None,
    time_limit: float | None,
    json_file: Path | None,
    optimized: bool,
) -> None:
    """Print what the outputs of quantized models lose, and which tensors lose it.

    MODELS are .onnx files of one network: the float original first, then its quantized builds. A
    quantized model alone is compared with itself, its activations in float.

    The models are run, each in a process of its own. Without --samples the inputs are synthetic:
    they tell which tensors matter, but not how much is lost.

    Exits with 0, or with 2 if a file could not be read or run.
    """
    with one_line_errors():
        variants = open_models(models)
        comparison = compare_unmeasured(variants, models)
        given = read_given(comparison, samples)
        comparison = measure_with_progress(comparison, given, time_limit, optimized)
        for variant in comparison.outputs:
            for line in exports.list_output_lines(comparison, variant):
                click.echo(exports.escape_unprintable(line))
        if json_file:
            write(json_file, exports.create_outputs_json(comparison))
        refuse_unfinished(comparison)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=FILE, required=True, help="The HTML file to write.")
@running_options
def report(folder: Path, output: Path, samples: Path | None, time_limit: float | None) -> None:
    """Write one HTML file about the models in FOLDER; it opens without a server or a network.

    It contains names, shapes, statistics and histograms, but never the weights. With --samples the
    models are run, and it says what their outputs lose.
    """
    with one_line_errors():
        # Drawing is imported here: `check` starts in half the time without it.
        from playground.utils.report import create_report

        opened = open_network(folder)
        for refusal in opened.unreadable.values():
            click.echo(exports.escape_unprintable(describe_refusal(refusal)), err=True)
        comparison = compare_with_progress(opened.variants)
        if samples:
            given = read_given(comparison, samples)
            comparison = measure_with_progress(comparison, given, time_limit)
        findings = find_problems(comparison)
        with progress_bar("Drawing the layers") as progress:
            write(output, create_report(opened, comparison, findings, progress))
        refuse_unfinished(comparison)


@main.command()
@click.argument("original", metavar="ORIGINAL", type=click.Path(path_type=Path))
@click.argument("quantized", metavar="QUANTIZED", type=click.Path(path_type=Path))
@click.option(
    "--target-sqnr",
    type=float,
    metavar="DB",
    help="The SQNR that the worst channel of each layer has to reach.",
)
@click.option(
    "--target-bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="The most that all weights may take, with scales and zero-points.",
)
@click.option("-o", "--output", type=FILE, required=True, help="The ONNX file to write.")
@click.option(
    "--samples", type=FILE, help="Then run all three models on this .npz file of inputs by name."
)
def requantize(
    original: Path,
    quantized: Path,
    target_sqnr: float | None,
    target_bytes: int | None,
    output: Path,
    samples: Path | None,
) -> None:
    """Write QUANTIZED again, with the cheapest changes to its weights that reach a target.

    ORIGINAL is the float model that QUANTIZED was made from. Give one of the two targets. Each
    layer that changes is printed: its scheme before and after, what its worst channel gains, and
    what that costs.

    If the target cannot be reached, nothing is written, one sentence says why, and the exit code
    is 2.
    """
    with one_line_errors():
        if (target_sqnr is None) == (target_bytes is None):
            fail("give either --target-sqnr or --target-bytes")
        variants, variant = open_pair(original, quantized)
        comparison = compare_with_progress(variants)
        with progress_bar("Trying the schemes") as progress:
            plan = plan_model(comparison, variant, target_sqnr, target_bytes, progress)
        refuse_unreached(plan)
        if output.exists() and output.samefile(original):
            raise RewriteError(f"{output} is the float model itself")
        saved = save(variants[variant], create_changes(plan, comparison, variant), output)
        for line in describe_plan(plan, saved):
            click.echo(exports.escape_unprintable(line))
        if samples:
            for line in describe_truth(measure_truth(original, quantized, output, samples)):
                click.echo(line)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve on.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="The port to serve on.")
@click.option(
    "--token/--no-token",
    default=True,
    show_default=True,
    help="Let only those in who have the token.",
)
@click.option(
    "--token-password-file",
    type=FILE,
    help="Read the token from this file; without it a random one is printed.",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def run(
    folder: Path,
    host: str,
    port: int | None,
    token: bool,
    token_password_file: Path | None,
    headless: bool,
) -> None:
    """Serve the page about the models in FOLDER, or in the folders inside it.

    Exits with 2 if there is no model to show.
    """
    with one_line_errors():
        refuse_no_models(folder)
        options = ["--host", host, *token_options(token, token_password_file)]
        options += [] if port is None else ["--port", str(port)]
        options += ["--headless"] if headless else []
        notebook = Path(__file__).with_name("quantization.py")
        command = [sys.executable, "-m", "marimo", "run", str(notebook), *options]
        # One arena for each thread costs several viewers half of their memory again.
        environment = {"MALLOC_ARENA_MAX": "2", **os.environ}
        os.execve(sys.executable, [*command, "--", "--models", str(folder.resolve())], environment)


def refuse_no_models(folder: Path) -> None:
    if not folder.is_dir():
        raise CannotReadError(f"{folder} is not a folder")
    if not find_networks(folder):
        raise CannotReadError(f"{folder} holds no .onnx file")


def token_options(token: bool, password_file: Path | None) -> list[str]:
    """Return marimo's options about the token."""
    if password_file is None:
        return ["--token" if token else "--no-token"]
    if not token:
        fail("give either --token-password-file or --no-token")
    if not password_file.is_file():
        raise CannotReadError(f"{password_file} is not a file")
    return ["--token", "--token-password-file", str(password_file)]


def open_pair(original: Path, quantized: Path) -> tuple[dict[str, Model], str]:
    """Return the float model and the quantized one, and what the latter is called."""
    variants = open_models([original, quantized])
    first, second = variants
    if variants[first].path != original:
        raise RewriteError(f"{original.name} is not float: give the float original first")
    return variants, second


def refuse_unreached(plan: Plan) -> None:
    """Raise where a layer cannot reach the target, or none can be changed at all."""
    reasons = plan.unreachable or ({} if plan.options else plan.left_out)
    if not reasons:
        if not plan.options:
            raise RewriteError("the model has no quantized weight")
        return
    (layer_name, reason), *others = reasons.items()
    more = f" (and {len(others)} more)" if others else ""
    raise RewriteError(
        f"{exports.shorten_name(layer_name)}: {reason}{more}" if layer_name else reason
    )


def save(quantized: Model, changes: Mapping[str, Change], output: Path) -> Saved:
    try:
        return save_changed_model(quantized, changes, output)
    except OSError as error:
        raise CannotWriteError(f"{output}: {error.strerror or error}") from error


# Reading ------------------------------------------------------------------------------------------


def open_models(paths: Sequence[Path]) -> dict[str, Model]:
    """Return the models by variant name, float ones first."""
    repeated = [path for path, n in Counter(path.resolve() for path in paths).items() if n > 1]
    if repeated:
        raise CannotReadError(f"{repeated[0].name} is given twice")
    models = [load_model(path) for path in paths]
    stems = Counter(model.name for model in models)
    # name_variants tells variants of one data type apart by the file's name: make that unique.
    return name_variants(
        [
            replace(model, name=str(path.with_suffix(""))) if stems[model.name] > 1 else model
            for path, model in zip(paths, models, strict=True)
        ]
    )


def open_network(folder: Path) -> VariantFolder:
    """Return the models of a folder; raise where it holds none that can be read."""
    if not folder.is_dir():
        raise CannotReadError(f"{folder} is not a folder")
    opened = open_folder(folder)
    if opened.variants:
        return opened
    if opened.unreadable:
        raise CannotReadError("; ".join(map(describe_refusal, opened.unreadable.values())))
    inside = ", ".join(str(path) for path in list(find_networks(folder).values())[:5])
    hint = f": give one of its folders, such as {inside}" if inside else ""
    raise CannotReadError(f"{folder} holds no .onnx file{hint}")


def compare_with_progress(variants: Mapping[str, Model]) -> Comparison:
    with progress_bar("Reading the weights") as progress:
        return compare_variants(variants, progress=progress)


def refuse_unread_weights(comparison: Comparison) -> None:
    """Raise where a weight could not be read: what was not looked at cannot be called healthy."""
    if not comparison.unavailable:
        return
    ((layer_name, variant), refusal), *others = comparison.unavailable.items()
    reason = describe_refusal(refusal)
    more = f" (and {len(others)} more)" if others else ""
    name = exports.shorten_name(layer_name)
    raise CannotReadError(f"{file_name(comparison.variants[variant])}: {name}: {reason}{more}")


# Running ------------------------------------------------------------------------------------------


def compare_unmeasured(variants: Mapping[str, Model], paths: Sequence[Path]) -> Comparison:
    """Return the comparison without its weights, which running does not need."""
    original = next(name for name, model in variants.items() if model.path == paths[0])
    if len(paths) > 1 and not is_float(variants[original]):
        raise CannotRunError(f"{paths[0].name} is not float: give the float original first")
    if len(paths) == 1 and is_float(variants[original]):
        raise CannotRunError(f"{paths[0].name} is not quantized: there is nothing to measure")
    ordered = {original: variants[original], **variants}
    return Comparison(ordered, pair_variants(ordered), {}, {})


def read_given(comparison: Comparison, samples: Path | None) -> Samples:
    """Return the samples of a file or folder; without one, synthetic inputs."""
    try:
        return read_samples(comparison, samples)
    except SamplesError as error:
        raise CannotRunError(str(error)) from error


def measure_with_progress(
    comparison: Comparison,
    samples: Samples,
    time_limit: float | None,
    optimized: bool = False,
    skip: Container[str] = (),
) -> Comparison:
    """Return the comparison with what running each quantized variant found.

    Args:
        skip: the variants that do not run; without its original none can be measured.
    """
    quantized = [name for name in comparison.variants if name != comparison.original]
    if not quantized:
        raise CannotRunError("no model is quantized: there is nothing to measure")
    if comparison.original in skip:
        return comparison
    limits = Limits.for_this_machine()
    if time_limit is not None:
        each = min(limits.run_seconds, time_limit)
        limits = replace(limits, run_seconds=each, total_seconds=time_limit)
    tell(f"Measuring on {describe_given(samples)}.")
    for variant in quantized:
        if variant in skip:
            continue
        found = measure_one(comparison, variant, samples, limits, optimized)
        comparison = comparison.with_outputs({variant: found})
    return comparison


def measure_one(
    comparison: Comparison, variant: str, samples: Samples, limits: Limits, optimized: bool
) -> Outputs:
    name = file_name(comparison.variants[variant])
    cancel = threading.Event()
    try:
        with stopped_by_interrupt(cancel), progress_line() as progress:
            found = measure_outputs(
                comparison,
                samples,
                variant,
                limits=limits,
                optimized=optimized,
                progress=progress,
                cancel=cancel,
            )
    except ModelTooLargeError as error:
        raise CannotRunError(f"{name}: it is too large to be run here, {error}") from error
    except (RunEndedError, UnavailableError) as error:
        if cancel.is_set():
            raise KeyboardInterrupt from error
        raise CannotRunError(f"{name}: {error}") from error
    if found.ending is not None and found.ending.kind is EndingKind.CANCELLED:
        raise KeyboardInterrupt
    return found


@contextmanager
def stopped_by_interrupt(cancel: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set the event: what waits for children must not be torn out of its waiting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def refuse_unfinished(comparison: Comparison) -> None:
    """Raise where measuring ended early: what is printed then is not all there is."""
    for variant, outputs in comparison.outputs.items():
        if outputs.ending is not None:
            name = file_name(comparison.variants[variant])
            raise CannotRunError(f"{name}: {describe_ending(outputs.ending)}")


def refuse_not_understood(comparison: Comparison, findings: Sequence[Finding]) -> None:
    """Raise where a layer was not understood: it was printed, and nothing else judged it."""
    unread = [f for f in findings if f.rule == "not-understood" and f.severity != "note"]
    if unread:
        first = unread[0]
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        where = file_name(comparison.variants[first.variant])
        layer_name = exports.shorten_name(first.layer_name)
        raise CannotReadError(f"{where}: {layer_name}: a parameter is not understood{more}")


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise CannotWriteError(f"{path}: {error.strerror or error}") from error


# Talking ------------------------------------------------------------------------------------------


def alone(finding: Finding) -> FindingGroup:
    return FindingGroup(finding.rule, (finding,))


def format_group(group: FindingGroup, variants: Mapping[str, Model]) -> str:
    """Return the findings of a cause in two lines: what is wrong and where, then what to do."""
    model = variants.get(group.variant)
    where = f"{file_name(model)} ({group.variant})" if model else group.variant
    layer_name = group.worst.layer_name if len(group.findings) == 1 else ""
    parts = [where, group.severity, exports.shorten_name(layer_name)]
    plain = [exports.escape_unprintable(part) for part in parts if part]
    plain[1] = click.style(plain[1], fg=COLOURS[group.severity], bold=True)
    evidence = exports.escape_unprintable(describe_group(group))
    remedy = exports.escape_unprintable(describe_group_remedy(group))
    return f"{': '.join(plain)}: {evidence} [{group.rule}]\n    {remedy}"


def sum_up(
    comparison: Comparison, findings: Sequence[Finding], groups: Sequence[FindingGroup] | None
) -> str:
    """Return the last line: how much was looked at and what was found.

    Args:
        groups: that were printed; None where each finding was.
    """
    variants, weights = len(comparison.variants), sum(map(len, comparison.weights.values()))
    looked = f"{variants} file{'s' * (variants != 1)}, {weights} weight{'s' * (weights != 1)}"
    counts = Counter(finding.severity for finding in findings)
    found = ", ".join(
        f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}"
        for severity in SEVERITIES
        if counts[severity]
    )
    causes = ""
    if groups is not None and len(groups) < len(findings):
        causes = f" of {len(groups)} cause{'s' * (len(groups) != 1)} (--all lists each)"
    is_measured = comparison.outputs or all(map(is_float, comparison.variants.values()))
    return f"{looked}: {found or 'nothing found'}{causes}{'' if is_measured else NOT_MEASURED}"


def describe_measured(comparison: Comparison) -> Iterator[str]:
    """Yield what was measured of each variant."""
    for variant in comparison.outputs:
        yield describe_loss(comparison, variant)


def describe_plan(plan: Plan, saved: Saved) -> Iterator[str]:
    """Yield a line for each layer that changed, for what could not, and for the whole."""
    yield from map(describe_change, plan.changes)
    for layer_name, reason in plan.left_out.items():
        yield f"{exports.shorten_name(layer_name)}: left as it is: {reason}"
    if not plan.changes:
        yield "nothing to change: every layer reaches the target already"
    opset = f", now opset {saved.raised_opset}" if saved.raised_opset else ""
    yield (
        f"worst channel {plan.current_worst_sqnr_db:.1f} -> {plan.worst_sqnr_db:.1f} dB, "
        f"weights {plan.current_bytes:,} -> {plan.byte_count:,} bytes, "
        f"file {saved.current_bytes:,} -> {saved.file_bytes:,} bytes{opset}"
    )


def describe_change(change: LayerChange) -> str:
    more = change.proposed.byte_count - change.current.byte_count
    return (
        f"{exports.shorten_name(change.layer_name)}: "
        f"{change.current.scheme} -> {change.proposed.scheme}: "
        f"{change.proposed.gain_db:+.1f} dB, {more:+,} bytes"
    )


def describe_truth(truth: Truth) -> Iterator[str]:
    """Yield what each model did on the samples."""
    models = {"original": truth.original, "current": truth.current, "proposed": truth.changed}
    for name, result in models.items():
        parts = []
        if result.accuracy is not None:
            parts.append(f"accuracy {result.accuracy:.1%} of {truth.sample_count}")
        if result.output_sqnr_db is not None:
            parts.append(f"output SQNR {result.output_sqnr_db:.1f} dB")
        yield f"{name}: {', '.join(parts) or 'what the others are compared with'}"


def file_name(model: Model) -> str:
    return str(model.path) if model.path else model.name


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Yield what to call with (done, of how many, name); None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    shown: Any = click.progressbar(
        length=1,
        label=label,
        file=sys.stderr,
        item_show_func=lambda name: exports.shorten_name(name or "", 40),
    )
    with shown as bar:

        def progress(done: int, total: int, name: str) -> None:
            bar.length = total
            bar.update(done - bar.pos, name)

        yield progress


def tell(line: str) -> None:
    """Say what is going on, where somebody watches."""
    if sys.stderr.isatty():
        click.echo(exports.escape_unprintable(line), err=True)


@contextmanager
def progress_line() -> Iterator[Callable[[MeasuringProgress], None] | None]:
    """Yield what to call while models run: it keeps one line of the terminal up to date."""
    if not sys.stderr.isatty():
        yield None
        return
    width = shutil.get_terminal_size().columns - 1

    def progress(so_far: MeasuringProgress) -> None:
        line = exports.shorten_name(describe_progress(so_far), width)
        click.echo(f"\r{line:<{width}}", err=True, nl=False)

    try:
        yield progress
    finally:
        click.echo(f"\r{'':<{width}}\r", err=True, nl=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn whatever goes wrong into one line on stderr and exit code 2.

    Never 1: that says that the model was read and something was found.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (CannotReadError, ModelFileError) as error:
        fail(f"cannot read: {error}")
    except CannotWriteError as error:
        fail(f"cannot write: {error}")
    except (CannotRunError, NothingToCompareError) as error:
        fail(f"cannot measure: {error}")
    except RewriteError as error:
        fail(f"cannot requantize: {error}")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        fail(
            f"this is a fault of the playground: {type(error).__name__}: {error} "
            f"({Path(place.filename).name}:{place.lineno})"
        )


def fail(reason: str) -> NoReturn:
    click.echo(exports.escape_unprintable(reason), err=True)
    sys.exit(UNREADABLE)
