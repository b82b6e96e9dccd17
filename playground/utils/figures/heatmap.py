"""Section 2: the ranges of the whole network, one row for each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..parameter_inspector import LayerRanges
from ..spelling import format_number, format_tick, shorten_uniquely
from .spots import Spot, point_at_rows
from .style import (
    DPI,
    FAINT,
    FONT,
    INK,
    LABEL_LENGTH,
    NORMAL,
    PAGE_WIDTH,
    SMALL,
    TITLE,
    VALUES,
    Picture,
    Place,
    Range,
    format_axis,
    new_figure,
    padded_limits,
    shorten,
    style_axes,
    to_fraction,
    to_png,
)

WIDTHS = matplotlib.colormaps["viridis"]
# Inches. Forty rows have their full height; then they get lower, until their labels touch.
ROW_HEIGHT, LOWEST_ROW = 0.25, 0.145
FULL_HEIGHT = 10.0
# A figure taller than this has fewer pixels to the inch: hundreds of rows are for one look.
SHARP_HEIGHT = 20.0
MOST_PANELS = 6  # side by side; more leave no room for a bar
LABEL_GAP = 0.08  # inches beside the panel
DWARFING = 20.0
"""A layer this many times as wide as the median one leaves nothing to see on a linear axis."""


@dataclass(frozen=True)
class HeatmapLayout:
    """Where the rows of a heatmap lie, top to bottom. Lengths in inches."""

    row_count: int

    top, right, bottom = 0.42, 0.95, 0.58

    @property
    def rows_height(self) -> float:
        grown = max(self.row_count * LOWEST_ROW, FULL_HEIGHT)
        return min(self.row_count * ROW_HEIGHT, grown)

    @property
    def height(self) -> float:
        return self.top + self.rows_height + self.bottom

    @property
    def dpi(self) -> int:
        return DPI if self.height <= SHARP_HEIGHT else DPI // 2

    def row_box(self, row: int) -> Range:
        """Return the top and the height of a row, as shares of the figure's height."""
        row_height = self.rows_height / self.row_count
        return (self.top + row * row_height) / self.height, row_height / self.height

    def clicked_row(self, selection: object) -> int | None:
        """Return the row under a click or in the middle of a box, None beside the rows."""
        low, high = getattr(selection, "y_min", None), getattr(selection, "y_max", None)
        if low is None or high is None:
            return None
        row = round((low + high) / 2)
        return row if 0 <= row < self.row_count else None


def page_variants(variants: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return label -> the variants of each page; at least one page, none of more than fit."""
    starts = range(0, max(1, len(variants)), MOST_PANELS)
    pages = [variants[start : start + MOST_PANELS] for start in starts]
    return {
        f"{start + 1} to {start + len(page)} of {len(variants)}": page
        for start, page in zip(starts, pages, strict=True)
    }


def render_heatmap(
    rows: Sequence[LayerRanges], variants: Sequence[str], *, log: bool = False
) -> Picture:
    """Return `draw_heatmap` as a picture."""
    return Picture(
        to_png(draw_heatmap(rows, variants, log=log)),
        describe_ranges(rows, variants),
        spots=point_at_layers(
            [row.layer for row in rows], [_say_ranges(r, variants) for r in rows]
        ),
    )


def point_at_layers(names: Sequence[str], texts: Sequence[str]) -> tuple[Spot, ...]:
    """Return a spot for each row, or for some rows together; ``texts`` of one row each."""
    top, height = HeatmapLayout(len(names)).row_box(0)

    def say(run: range) -> str:
        if len(run) == 1:
            return f"{names[run.start]}\n{texts[run.start]}"
        return "\n".join(f"{names[row]}: {', '.join(texts[row].splitlines())}" for row in run)

    return tuple(point_at_rows(len(names), top, height, say))


def _say_ranges(row: LayerRanges, variants: Sequence[str]) -> str:
    known = [(variant, row.ranges[variant]) for variant in variants if variant in row.ranges]
    return "\n".join(
        f"{variant} {format_number(low)} to {format_number(high)}" for variant, (low, high) in known
    )


def draw_heatmap(
    rows: Sequence[LayerRanges], variants: Sequence[str], *, log: bool = False
) -> Figure:
    """Draw one panel for each variant, with one x-axis and one colour scale for all.

    Args:
        rows: at least one.
        variants: those of one page, see `page_variants`.
        log: symmetric logarithmic x-axis and logarithmic colours, where one layer dwarfs the rest.
    """
    layout = HeatmapLayout(len(rows))
    figure = new_figure(layout.height)
    figure.set_dpi(layout.dpi)
    norm = width_norm(rows, log=log)
    limits = padded_limits([limits for row in rows for limits in row.ranges.values()], log=log)
    labels = label_rows([row.layer for row in rows])
    left = label_width(labels)
    places = _panel_places(layout, left, len(variants))
    for variant, place in zip(variants, places, strict=True):
        ax = figure.add_axes(place)
        plot_ranges([row.ranges.get(variant) for row in rows], norm=norm, ax=ax)
        _finish_panel(ax, variant, limits, log=log, ticks=5 if len(variants) < 4 else 3)
    write_labels(figure.axes[0], labels)
    middle = (left + PAGE_WIDTH - layout.right) / 2
    figure.text(
        middle / PAGE_WIDTH, 0.14 / layout.height, VALUES, fontsize=NORMAL, ha="center", **FONT
    )
    _add_colorbar(figure, norm, layout)
    return figure


def create_click_axes(picture: Picture, row_count: int) -> Axes:
    """Return an invisible Axes over all rows, on a figure that is already drawn.

    It spans the panels and the labels, so a click anywhere in a row lands on it.
    """
    layout = HeatmapLayout(row_count)
    figure = DrawnFigure(picture.png, layout.height, layout.dpi)
    place = (0, layout.bottom, PAGE_WIDTH, layout.rows_height)
    ax = figure.add_axes(to_fraction(place, layout.height))
    ax.set_ylim(row_count - 0.5, -0.5)
    return ax


class DrawnFigure(Figure):
    """A figure that saves the picture it was given: viewers share one drawing."""

    def __init__(self, png: bytes, height: float, dpi: int) -> None:
        super().__init__(figsize=(PAGE_WIDTH, height), dpi=dpi)
        self._png = png

    def savefig(self, fname: Any, **_: Any) -> None:
        fname.write(self._png)


def label_width(labels: Sequence[str]) -> float:
    """Return the inches that the widest label takes in SMALL text, with room for its tick."""
    font = FontProperties(family=FONT["family"], size=SMALL)
    sizes = [
        text_to_path.get_text_width_height_descent(label, font, ismath=False) for label in labels
    ]
    return 0.25 + max(width for width, _, _ in sizes) / 72


def _panel_places(layout: HeatmapLayout, left: float, count: int) -> list[Place]:
    gap = 0.3
    width = (PAGE_WIDTH - left - layout.right - gap * (count - 1)) / count
    return [
        to_fraction(
            (left + i * (width + gap), layout.bottom, width, layout.rows_height), layout.height
        )
        for i in range(count)
    ]


def plot_ranges(ranges: Sequence[Range | None], *, norm: Normalize, ax: Axes | None = None) -> Axes:
    """Draw one horizontal bar for each range, first at the top, coloured by its width.

    A range that is None leaves its row empty. A range of no width is drawn as a line.
    """
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    known = [(row, limits) for row, limits in enumerate(ranges) if limits is not None]
    bars = _bars([(row, -0.38, 0.38, limits) for row, limits in known])
    bars.set(cmap=WIDTHS, norm=norm, edgecolor=INK, linewidth=0.6)
    bars.set_array(np.array([high - low for _, (low, high) in known]))
    ax.add_collection(bars)
    ax.set_ylim(len(ranges) - 0.5, -0.5)
    return ax


def _bars(
    rows: Sequence[tuple[int, float, float, Range]], *, color: str | None = None, zorder: float = 1
) -> PolyCollection:
    """Return rectangles as one collection: a row, its edges relative to it, and the range."""
    corners = np.array(
        [
            [(low, row + above), (high, row + above), (high, row + below), (low, row + below)]
            for row, above, below, (low, high) in rows
        ]
    ).reshape(-1, 4, 2)
    return PolyCollection(list(corners), facecolors=color, linewidths=0, zorder=zorder)


def one_dwarfs_the_rest(rows: Sequence[LayerRanges]) -> bool:
    """Whether one range is so wide that only logarithms show the others."""
    widths = sorted(high - low for row in rows for low, high in row.ranges.values())
    return bool(widths) and widths[-1] > DWARFING * widths[len(widths) // 2] > 0


def width_norm(rows: Sequence[LayerRanges], *, log: bool = False) -> Normalize:
    """Return the one map from a range's width to colour that every panel shares."""
    widths = [high - low for row in rows for low, high in row.ranges.values()]
    widest = max(widths, default=0) or 1.0
    if not log:
        return Normalize(0, widest)
    narrowest = min((width for width in widths if width > 0), default=widest)
    return LogNorm(narrowest if narrowest < widest else widest / 10, widest)


def describe_ranges(rows: Sequence[LayerRanges], variants: Sequence[str]) -> str:
    """Return the heatmap in words: the widest layer of each variant."""
    parts = [f"Range of the weights of {len(rows)} layers in {', '.join(variants)}."]
    for variant in variants:
        widths = {r.layer: r.ranges[variant] for r in rows if variant in r.ranges}
        if not widths:
            parts.append(f"{variant} has none of these layers.")
            continue
        widest = max(widths, key=lambda name: widths[name][1] - widths[name][0])
        low, high = widths[widest]
        parts.append(
            f"Widest in {variant}: {shorten(widest, 60)}, {format_number(high - low)} wide, "
            f"from {format_number(low)} to {format_number(high)}."
        )
    return " ".join(parts)


def label_rows(names: Sequence[str]) -> list[str]:
    """Return the label of every row: no two names have the same."""
    short = shorten_uniquely(names)
    return [shorten(short[name], 2 * LABEL_LENGTH) for name in names]


def write_labels(ax: Axes, labels: Sequence[str]) -> None:
    """Write the labels beside the rows: a tick for each would take five times as long."""
    place: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
    gap = LABEL_GAP / (ax.get_position().width * PAGE_WIDTH)
    for row, label in enumerate(labels):
        ax.text(-gap, row, label, fontsize=SMALL, **place, **FONT)


def _finish_panel(ax: Axes, title: str, limits: Range, *, log: bool, ticks: int) -> None:
    if log:
        _set_symlog(ax, limits, ticks)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(ticks))
    ax.set_xlim(limits)
    format_axis(ax.xaxis)
    style_axes(ax, title, size=TITLE if ticks > 3 else NORMAL)
    ax.axvline(0, color=INK, linewidth=0.6, alpha=0.5, zorder=0)
    bands = range(0, round(max(ax.get_ylim()) + 0.5), 2)
    ax.add_collection(_bars([(row, -0.5, 0.5, limits) for row in bands], color=FAINT, zorder=-1))
    ax.set_yticks([])


def _set_symlog(ax: Axes, limits: Range, ticks: int) -> None:
    """Use powers of ten on both sides of zero, so few that their labels keep apart."""
    top = math.ceil(math.log10(max(abs(limits[0]), abs(limits[1]))))
    ax.set_xscale("symlog", linthresh=10.0 ** (top - 3), linscale=0.6)
    powers = [10.0**p for p in range(top - (3 if ticks > 3 else 1), top + 1)]
    places = [-p for p in powers] + [0.0] + powers
    ax.xaxis.set_major_locator(FixedLocator([x for x in places if limits[0] <= x <= limits[1]]))
    ax.xaxis.set_minor_locator(NullLocator())


def _add_colorbar(figure: Figure, norm: Normalize, layout: HeatmapLayout) -> None:
    height = min(layout.rows_height, 3.2)
    place = (PAGE_WIDTH - 0.75, layout.bottom + layout.rows_height - height, 0.13, height)
    ax = figure.add_axes(to_fraction(place, layout.height))
    bar = figure.colorbar(ScalarMappable(norm, WIDTHS), cax=ax)
    bar.outline.set_visible(False)
    if not isinstance(norm, LogNorm):
        bar.locator = MaxNLocator(5)
    bar.formatter = FuncFormatter(lambda x, _: format_tick(x))
    bar.minorticks_off()
    ax.tick_params(colors=INK, labelsize=SMALL, length=2)
    ax.set_title("width", fontsize=NORMAL, y=1.0, pad=5, **FONT)
