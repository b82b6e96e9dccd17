"""The controls: each is made by one function, its label and its options with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import marimo as mo

from .. import tables
from ..parameter_inspector import Plan
from ..spelling import shorten_uniquely
from .frames import frame_bar, frame_cut, frame_name, style_row
from .plain_names import format_names
from .selection import read_columns, write_columns

if TYPE_CHECKING:
    import pandas as pd

Tell = Callable[[Any], None]
RANKED_ON_A_PAGE = 50
RANKED_NAME = 27  # letters that a line of the ranking has room for


def choose_one(options: Any, label: str, value: str | None = None) -> mo.ui.dropdown:
    """Return a dropdown of which one option is always chosen: the first, or ``value``."""
    first = next(iter(options)) if value is None else value
    return mo.ui.dropdown(options, value=first, label=label, allow_select_none=False)


def create_layer_control(options: Mapping[str, str], chosen: str, select: Tell) -> mo.ui.dropdown:
    """Return the control of the layer; ``options`` is label -> name."""
    return mo.ui.dropdown(
        dict(options),
        value=next(label for label, name in options.items() if name == chosen),
        label="Layer",
        searchable=True,
        full_width=True,
        allow_select_none=False,
        on_change=select,
    )


def create_variant_control(names: Sequence[str], chosen: str, select: Tell) -> mo.ui.dropdown:
    """Return the control of the variant on trial."""
    return mo.ui.dropdown(
        names,
        value=chosen,
        label="Variant",
        full_width=True,
        allow_select_none=False,
        on_change=select,
    )


def show_top(network: mo.Html) -> mo.Html:
    """Return the control of the network, on the line of the title where there is room."""
    return mo.Html(f'<div class="playground-top">{network.text}</div>')


def show_controls(controls: Sequence[mo.Html]) -> mo.Html:
    """Return controls in a grid."""
    grid = "".join(control.text for control in controls)
    return mo.Html(f'<div class="playground-controls">{grid}</div>')


def show_clickable(
    ranking: tables.Ranking, rows: Sequence[tables.RankedLayer], select: Callable[[str, str], None]
) -> mo.ui.table:
    """Return a ranking that is made once; a click selects layer and variant of its row.

    A layer's name is shown short; the whole one is searched, and on hover.
    """
    table = ranking.table
    names = shorten_uniquely(list(table["layer"]), RANKED_NAME)

    def choose_cell(cells: Any) -> None:
        for cell in cells:
            row = rows[int(cell.row)]
            select(row.layer_name, row.variant)

    return mo.ui.table(
        table,
        selection="single-cell",
        on_change=choose_cell,
        style_cell=style_row,
        format_mapping={
            **format_names(table),
            **tables.format_ranking(table),
            **format_cells(ranking, names),
        },
        header_tooltip=tables.explain_ranking(table),
        column_widths=tables.size_columns(table),
        wrapped_columns=["layer"],
        hover_template="{{layer}}",
        # marimo asks for the style of each cell of a page, one by one: some 0.3 ms each.
        pagination=len(table) > RANKED_ON_A_PAGE,
        page_size=RANKED_ON_A_PAGE,
        show_column_summaries=False,
        show_data_types=False,
        # It would hand out names as they are, formulas too: the page's own downloads do not.
        show_download=False,
    )


def format_cells(
    ranking: tables.Ranking, names: Mapping[str, str]
) -> dict[str, Callable[..., Any]]:
    """Return how a name and a bar are shown: as elements, which no browser takes for an address."""
    write = tables.format_ranking(ranking.table)[ranking.bar]
    return {
        "layer": lambda name: mo.Html(frame_name(str(name), names.get(name, str(name)))),
        ranking.bar: lambda part: mo.Html(frame_bar(part, write(part))),
        "finding": lambda words: mo.Html(frame_cut(str(words))),
    }


def create_columns_control(options: Sequence[str]) -> mo.ui.multiselect:
    """Return the control of the columns beside the six; the address remembers them."""
    return mo.ui.multiselect(
        options,
        value=[name for name in read_columns() if name in options],
        label="More columns",
        on_change=write_columns,
    )


def create_fold(folded: Sequence[tables.RankedLayer]) -> mo.ui.switch:
    """Return the line that stands for what is folded away, and unfolds it."""
    words = tables.count_constants(folded)
    return mo.ui.switch(label=f"Show {words}")


def show_listing(ranking: mo.ui.table, controls: Sequence[mo.Html]) -> mo.Html:
    """Return the ranking, and below it what chooses its rows and columns."""
    below = "".join(control.text for control in controls)
    return mo.Html(f'{ranking.text}<div class="playground-line">{below}</div>')


def show_candidates(table: pd.DataFrame) -> mo.ui.table:
    """Return the candidates as a table of which one row can be selected; the best is."""
    # A frame takes marimo four times as long; without a row only it has columns.
    rows: Any = table.to_dict("records") if len(table) else table
    return mo.ui.table(
        rows,
        selection="single",
        initial_selection=[0] if len(table) else None,
        format_mapping={"bytes": "{:,d}"},
        column_widths=tables.CANDIDATE_WIDTHS,
        wrapped_columns=["scheme", "runs in onnxruntime"],
        pagination=False,
        max_height=320,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=False,
        label="Candidates",
    )


def create_apply_button(scheme: object, set_scheme: Tell) -> mo.ui.button:
    """Return the button that tries the scheme of a selected row; ``scheme`` is None without one."""
    return mo.ui.button(
        label=f"Use this scheme: {scheme}" if scheme else "Select a row to use its scheme",
        disabled=scheme is None,
        on_change=lambda _: set_scheme(scheme),
    )


def create_search_button(run: object, set_run: Tell) -> mo.ui.button:
    """Return the button that starts a search, or stops the one that runs.

    Args:
        run: the event that stops it while it runs, None before the first search.
    """
    if isinstance(run, threading.Event):
        return mo.ui.button(label="Stop", kind="danger", on_change=lambda _: run.set())
    label = "Try every layer" if run is None else "Try every layer again"
    return mo.ui.button(label=label, on_change=lambda _: set_run(threading.Event()))


def create_target(kind: str, plan: Plan) -> mo.ui.slider:
    """Return the slider for a target: whole decibels, or the sizes that make a difference."""
    if kind == "target_sqnr_db":
        low, high, between = tables.list_sqnr_targets(plan.curve)
        label = "at least, in dB"
        return mo.ui.slider(low, high, 1, between, label=label, include_input=True, full_width=True)
    sizes = tables.list_size_targets(plan)
    label = "at most, in bytes"
    return mo.ui.slider(
        steps=sizes, value=plan.current_bytes, label=label, show_value=True, full_width=True
    )
