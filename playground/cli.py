"""The same engine without a browser: ``check`` for a gate in CI, ``report`` for a file to send.

Both say on stderr why they could not do their work, in one line, and then exit 2.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from playground.utils import exports
from playground.utils.parameter_inspector import (
    Model,
    ModelFileError,
    Scan,
    VariantFolder,
    find_networks,
    load_model,
    open_folder,
    scan_variants,
)
from playground.utils.parameter_inspector.findings import Finding, find_problems
from playground.utils.parameter_inspector.variants import name_variants

FOUND, UNREADABLE, INTERRUPTED = 1, 2, 130
COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
FILE = click.Path(dir_okay=False, path_type=Path)

Progress = Callable[[int, int, str], None]


class CannotReadError(Exception):
    """Why there is no verdict, in one sentence."""


class CannotWriteError(Exception):
    """Which file could not be written, and why."""


@click.group()
def main() -> None:
    """Which layers of a quantized ONNX model hurt, why, and what would fix them."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the run.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=FILE, help="Also write every metric and finding here.")
@click.option("--junit", "junit_file", type=FILE, help="Also write the findings as JUnit XML.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="The mildest severity that makes the exit code 1.",
)
def check(
    models: tuple[Path, ...], json_file: Path | None, junit_file: Path | None, fail_on: str
) -> None:
    """Print what is wrong with quantized models; print nothing where nothing is.

    MODELS are .onnx files of one network: the float original, where there is one, and its
    quantized builds.

    Exits 0 if nothing is found at or above --fail-on, 1 if something is, 2 if a file could not be
    read.
    """
    with one_line_errors():
        variants = open_models(models)
        scan = scan_with_progress(variants)
        findings = find_problems(variants, scan)
        for finding in findings:
            click.echo(describe_finding(finding, variants))
        if json_file:
            write(json_file, exports.create_json(variants, scan, findings))
        if junit_file:
            write(junit_file, exports.create_junit(variants, scan, findings, fail_on))
        refuse_unread_weights(variants, scan)
    sys.exit(FOUND if exports.select_findings(findings, fail_on) else 0)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=FILE, required=True, help="The HTML file to write.")
def report(folder: Path, output: Path) -> None:
    """Write one HTML file about the models in FOLDER, to open without a server or a network.

    It holds names, shapes, statistics and histograms, never the weights.
    """
    with one_line_errors():
        # Drawing is imported here: `check` starts in half the time without it.
        from playground.utils.report import create_report

        opened = open_network(folder)
        for reason in opened.unreadable.values():
            click.echo(exports.escape_unprintable(reason), err=True)
        scan = scan_with_progress(opened.variants)
        findings = find_problems(opened.variants, scan)
        with progress_bar("Drawing the layers") as progress:
            write(output, create_report(opened, scan, findings, progress))


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
        raise CannotReadError("; ".join(opened.unreadable.values()))
    inside = ", ".join(str(path) for path in list(find_networks(folder).values())[:5])
    hint = f": give one of its folders, such as {inside}" if inside else ""
    raise CannotReadError(f"{folder} holds no .onnx file{hint}")


def scan_with_progress(variants: Mapping[str, Model]) -> Scan:
    with progress_bar("Reading the weights") as progress:
        return scan_variants(variants, progress=progress)


def refuse_unread_weights(variants: Mapping[str, Model], scan: Scan) -> None:
    """Raise where a weight could not be read: what was not looked at cannot be called healthy."""
    if not scan.unavailable:
        return
    ((row, variant), reason), *others = scan.unavailable.items()
    more = f" (and {len(others)} more)" if others else ""
    name = exports.shorten_name(row)
    raise CannotReadError(f"{file_name(variants[variant])}: {name}: {reason}{more}")


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise CannotWriteError(f"{path}: {error.strerror or error}") from error


# Talking ------------------------------------------------------------------------------------------


def describe_finding(finding: Finding, variants: Mapping[str, Model]) -> str:
    """Return a finding in two lines: what is wrong and where, then what to do."""
    model = variants.get(finding.variant)
    where = f"{file_name(model)} ({finding.variant})" if model else finding.variant
    parts = [where, finding.severity, exports.shorten_name(finding.layer)]
    plain = [exports.escape_unprintable(part) for part in parts if part]
    plain[1] = click.style(plain[1], fg=COLOURS[finding.severity], bold=True)
    evidence, remedy = map(exports.escape_unprintable, (finding.evidence, finding.remedy))
    return f"{': '.join(plain)}: {evidence} [{finding.rule}]\n    {remedy}"


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
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        fail(
            f"this is a fault of the playground: {type(error).__name__}: {error} "
            f"({Path(place.filename).name}:{place.lineno})"
        )


def fail(reason: str) -> None:
    click.echo(exports.escape_unprintable(reason), err=True)
    sys.exit(UNREADABLE)
