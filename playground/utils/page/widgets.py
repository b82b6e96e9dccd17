"""The controls: each is made by one function, its label and its options with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import marimo as mo

from .. import tables
from ..parameter_inspector import (
    Plan,
)
from .frames import style_row

if TYPE_CHECKING:
    import pandas as pd

Tell = Callable[[Any], None]
RANKED_ON_A_PAGE = 50


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


def show_controls(controls: Sequence[mo.Html]) -> mo.Html:
    """Return controls in a grid."""
    grid = "".join(control.text for control in controls)
    return mo.Html(f'<div class="playground-controls">{grid}</div>')


def show_clickable(table: pd.DataFrame, choose_row: Callable[[int], None]) -> mo.ui.table:
    """Return a ranking that is made once; a click anywhere calls ``choose_row`` with the row."""

    def choose_cell(cells: Any) -> None:
        for cell in cells:
            choose_row(int(cell.row))

    return mo.ui.table(
        table,
        selection="single-cell",
        on_change=choose_cell,
        style_cell=style_row,
        format_mapping=tables.format_ranking(table),
        header_tooltip=tables.explain_ranking(table),
        freeze_columns_left=["layer"],
        column_widths=tables.size_columns(table),
        wrapped_columns=["finding"],
        hover_template="{{layer}}",
        # marimo asks for the style of each cell of a page, one by one: some 0.3 ms each.
        pagination=len(table) > RANKED_ON_A_PAGE,
        page_size=RANKED_ON_A_PAGE,
        max_height=420,
        show_column_summaries=False,
        show_data_types=False,
    )


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
