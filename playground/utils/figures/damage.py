"""The picture of damage: what each layer of each variant loses, one row and one label a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..spelling import format_part
from .heatmap import (
    WIDTHS,
    HeatmapLayout,
    label_rows,
    label_width,
    point_at_layers,
    write_labels,
)
from .style import (
    FAINT,
    FONT,
    INK,
    NORMAL,
    PAGE_WIDTH,
    SMALL,
    Picture,
    new_figure,
    shorten,
    to_fraction,
    to_png,
)

Row = tuple[str, Mapping[str, float]]
"""A layer's name, and what it loses in each variant: 0 to 1, NaN where that is not known."""

WIDEST_CELL = 1.3  # inches; wider ones only part the numbers from their names
LOWEST = 0.001
"""What is less has one colour: it cannot be told from nothing."""
NUMBERED_ROWS = 80  # so many have room for their numbers
LIGHT, DARK = "#ffffff", "#000000"
BRIGHT = 0.434
"""From here on black is easier to read on viridis than white. Source: contrast of WCAG 2.2."""


def render_damage(rows: Sequence[Row], variants: Sequence[str], what: str) -> Picture:
    """Return `draw_damage` as a picture, with the costliest layers in words."""
    texts = [_say_row(by_variant, variants, what) for _, by_variant in rows]
    return Picture(
        to_png(draw_damage(rows, variants, what)),
        describe_damage(rows, variants, what),
        spots=point_at_layers([name for name, _ in rows], texts),
    )


def _say_row(by_variant: Mapping[str, float], variants: Sequence[str], what: str) -> str:
    parts = [f"{one} {format_part(by_variant.get(one, math.nan))}" for one in variants]
    return f"{what}: {', '.join(parts)}"


def draw_damage(rows: Sequence[Row], variants: Sequence[str], what: str) -> Figure:
    """Draw a cell for each layer and variant, in viridis by a logarithmic norm.

    Args:
        rows: at least one.
        what: what the numbers are, for the colour scale.
    """
    layout = HeatmapLayout(len(rows))
    figure = new_figure(layout.height)
    figure.set_dpi(layout.dpi)
    labels = label_rows([name for name, _ in rows])
    left = label_width(labels)
    width = min(WIDEST_CELL * len(variants), PAGE_WIDTH - left - layout.right)
    place = (left, layout.bottom, width, layout.rows_height)
    ax = figure.add_axes(to_fraction(place, layout.height))
    norm = damage_norm(rows)
    plot_damage(rows, variants, norm=norm, ax=ax)
    write_labels(ax, labels)
    _name_columns(ax, variants, width / max(1, len(variants)))
    _add_scale(figure, norm, layout, what, left + width)
    return figure


def plot_damage(
    rows: Sequence[Row], variants: Sequence[str], *, norm: Normalize, ax: Axes | None = None
) -> Axes:
    """Draw the cells, first row at the top; what is not known is left faint."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    places = [(row, column) for row in range(len(rows)) for column in range(len(variants))]
    values = [rows[row][1].get(variants[column], math.nan) for row, column in places]
    cells = PolyCollection([_corners(*place) for place in places], linewidths=0)
    known = norm(np.ma.masked_invalid(np.maximum(np.nan_to_num(values), LOWEST)))
    colors = [
        FAINT if math.isnan(value) else WIDTHS(float(shade))
        for value, shade in zip(values, known, strict=True)
    ]
    cells.set_facecolor(colors)
    ax.add_collection(cells)
    ax.set_xlim(0, len(variants))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if len(rows) <= NUMBERED_ROWS:
        for (row, column), value, shade in zip(places, values, known, strict=True):
            _write_number(ax, row, column, value, float(shade))
    return ax


def _corners(row: int, column: int) -> list[tuple[float, float]]:
    left, right, top, bottom = column + 0.02, column + 0.98, row - 0.46, row + 0.46
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _write_number(ax: Axes, row: int, column: int, value: float, shade: float) -> None:
    if math.isnan(value):
        return
    place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
    font = FONT | {"color": DARK if shade > BRIGHT else LIGHT}
    ax.text(column + 0.5, row, format_part(value), **place, **font)


def damage_norm(rows: Sequence[Row]) -> Normalize:
    """Return the one map from damage to colour, logarithmic: one layer may cost all there is."""
    known = [value for _, by_variant in rows for value in by_variant.values() if value == value]
    most = max(known, default=1.0)
    return LogNorm(LOWEST, max(most, 10 * LOWEST), clip=True)


def describe_damage(rows: Sequence[Row], variants: Sequence[str], what: str) -> str:
    """Return the picture in words: the costliest layer of each variant."""
    parts = [f"{what[:1].upper()}{what[1:]} of {len(rows)} layers in {', '.join(variants)}."]
    for variant in variants:
        known = {name: by[variant] for name, by in rows if by.get(variant, math.nan) >= 0}
        if not known:
            parts.append(f"{variant}: not known.")
            continue
        worst = max(known, key=lambda name: known[name])
        parts.append(f"Most in {variant}: {shorten(worst, 60)}, {format_part(known[worst])}.")
    return " ".join(parts)


def _name_columns(ax: Axes, variants: Sequence[str], inches: float) -> None:
    letters = max(4, int(inches * 72 / (0.62 * NORMAL)))
    for column, variant in enumerate(variants):
        ax.text(
            column + 0.5, -0.62, shorten(variant, letters), fontsize=NORMAL, ha="center",
            va="bottom", **FONT,
        )  # fmt: skip


def _add_scale(
    figure: Figure, norm: Normalize, layout: HeatmapLayout, what: str, left: float
) -> None:
    """Add the colour scale beside the cells."""
    height = min(layout.rows_height, 2.4)
    place = (left + 0.2, layout.bottom + layout.rows_height - height, 0.13, height)
    ax = figure.add_axes(to_fraction(place, layout.height))
    bar = figure.colorbar(ScalarMappable(norm, WIDTHS), cax=ax)
    bar.outline.set_visible(False)
    bar.formatter = FuncFormatter(lambda x, _: format_part(x))
    bar.minorticks_off()
    ax.tick_params(colors=INK, labelsize=SMALL, length=2)
    ax.set_title(what, fontsize=SMALL, y=1.0, pad=5, loc="left", **FONT)
