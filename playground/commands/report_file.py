"""``report``: one HTML file to send."""

from __future__ import annotations

from pathlib import Path

import click

from playground.utils import exports
from playground.utils.figures import draw_on_all_cores
from playground.utils.parameter_inspector import describe_refusal, find_problems
from playground.utils.report import create_report

from .arguments import FILE
from .failing import one_line_errors
from .measuring_runs import measure_with_progress, read_given, refuse_unfinished, running_options
from .opening import compare_with_progress, open_network
from .output_files import list_read, refuse_to_write, write
from .saying import progress_bar


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=FILE, required=True, help="The HTML file to write.")
@running_options
def report(folder: Path, output: Path, samples: Path | None, time_limit: float | None) -> None:
    """Write one HTML file about the models in FOLDER; it opens without a server or a network.

    It contains names, shapes, statistics and histograms, but never the weights. With --samples the
    models are run, and it says what their outputs lose.
    """
    with one_line_errors():
        opened = open_network(folder)
        read = list_read(opened.variants.values(), samples, *list_others(folder))
        refuse_to_write([output], read)
        for refusal in opened.unreadable.values():
            click.echo(exports.escape_unprintable(describe_refusal(refusal)), err=True)
        comparison = compare_with_progress(opened.variants)
        if samples:
            given = read_given(comparison, samples)
            comparison = measure_with_progress(comparison, given, time_limit)
        findings = find_problems(comparison)
        with progress_bar("Drawing the layers") as progress:
            page = create_report(opened, comparison, findings, progress, draw_on_all_cores)
            write(output, page, read)
        refuse_unfinished(comparison)


def list_others(folder: Path) -> list[Path]:
    """Return what lies in the folder and is no page: it may belong to a model that is refused."""
    return [path for path in folder.iterdir() if path.suffix.lower() not in (".html", ".htm")]
