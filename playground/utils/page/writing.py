"""What leaves the page: files to download, texts to paste, a changed model written or run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import marimo as mo

from .. import exports, tables
from ..parameter_inspector import (
    Comparison,
    Move,
    VariantFolder,
    measure_moves,
    write_moves,
)
from .shown import say, show_table

PER_CHANNEL = "onnxruntime, a scale for each channel"
Create = Callable[[], Sequence[Move]]


def name_file(name: str) -> str:
    """Return a name that every file system takes, made from a network's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def offer_downloads(network: str, files: Mapping[str, Callable[[], str]]) -> mo.Html:
    """Return a button for each file, which is made when it is clicked: name -> who writes it."""
    buttons = [
        mo.download(
            lambda write=write: write().encode(),
            f"{name_file(network)}-{name}",
            "text/csv" if name.endswith(".csv") else "application/json",
            label=name,
        )
        for name, write in files.items()
    ]
    return mo.hstack(buttons, justify="start", wrap=True)


def offer_report(network: str, write: Callable[[], str]) -> mo.Html:
    """Return the button of the report, which is written when it is asked for."""
    name = f"{name_file(network)}-report.html"
    return mo.download(lambda: write().encode(), name, "text/html", label="Report")


def write_exclusion(
    tool: str,
    comparison: Comparison,
    layers: Sequence[str],
    ranked: Sequence[tables.RankedLayer],
) -> str:
    """Return the text to paste: the ticked layers as ``tool`` names them."""
    if tool == PER_CHANNEL:
        variant = next((one.variant for one in ranked), comparison.named_by)
        return exports.quantize_per_channel_in_onnxruntime(comparison, layers, variant)
    return exports.EXCLUSIONS[tool](exports.create_exclusion(comparison, layers))


def create_run_buttons(
    folder: VariantFolder, what: str, changed: bool = True
) -> tuple[mo.ui.run_button, mo.ui.run_button]:
    """Return the buttons that write a changed model, and that run it where that is possible."""
    write = mo.ui.run_button(label=f"Write {what} into a model", disabled=not changed)
    cannot_run = not (changed and has_samples(folder))
    return write, mo.ui.run_button(label=f"Run {what} on the samples", disabled=cannot_run)


def has_samples(folder: VariantFolder) -> bool:
    """Whether models can be run here on samples of the folder."""
    return _find_samples(folder).is_file()


def _find_samples(folder: VariantFolder) -> Path:
    return folder.path / "samples.npz"


def show_buttons(folder: VariantFolder, *buttons: mo.Html) -> mo.Html:
    """Return the buttons in a line, and a sentence where there is nothing to run."""
    line = mo.hstack(buttons, justify="start", wrap=True)
    why = (
        "To run models, put samples.npz into the folder: the inputs by name, and labels if there "
        "are any."
    )
    return line if has_samples(folder) else mo.vstack([line, say([why])])


def write_file(create: Create, comparison: Comparison, variant: str, name: str) -> mo.Html | None:
    """Return the download of a variant with moves, or a sentence why there is none.

    Args:
        create: returns the moves.
    """
    try:
        with mo.status.spinner("Writing the model", remove_on_exit=True):
            content, saved = write_moves(comparison, variant, create())
    except (ValueError, OSError) as error:
        return say([f"This cannot be written: {_explain(error)}."], "warn")
    link = mo.download(content, name, "application/octet-stream", label=f"Download {name}")
    done = say([tables.describe_saved(saved)], "success")
    return mo.vstack([done, mo.hstack([link], justify="start")])


def _explain(error: ValueError | OSError) -> str:
    """Return why, without the path that the system's own errors name."""
    return error.strerror or "the system refuses it" if isinstance(error, OSError) else str(error)


def run_on_samples(
    create: Create, comparison: Comparison, variant: str, folder: VariantFolder
) -> mo.Html | None:
    """Return what the original, the file and the changed model do on the samples, or why not."""
    try:
        with mo.status.spinner("Running the three models", remove_on_exit=True):
            samples = _find_samples(folder)
            truth = measure_moves(comparison, variant, create(), samples, folder.path)
    except (ValueError, OSError) as error:
        return say([f"This cannot be measured: {_explain(error)}."], "warn")
    return show_table(tables.create_truth_table(truth))
