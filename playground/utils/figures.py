"""Records and numbers -> pictures: `plot_` draws on an Axes, `render_` makes what a page can show.

Never pyplot and never rcParams: one process serves several viewers, and both belong to the
process. Colours, fonts and the shortening of names have their one place here.
"""

from __future__ import annotations

import html
import io
import math
import os
import re
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
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from .parameter_inspector import Histograms, LayerRanges, SharedCache

Range = tuple[float, float]
Place = tuple[float, float, float, float]

# Four to one against a white page and against marimo's dark one: a viewer may have either.
INK = "#7b7e83"
FAINT = "#80808022"
WIDTHS = matplotlib.colormaps["viridis"]
VARIANT_COLORS = ("#4c8fd0", "#d9822b", "#3aa17e", "#a874c9", "#c65d6b", "#8a8d3b")
FONT: dict[str, Any] = {"family": "DejaVu Sans", "color": INK, "parse_math": False}
GLYPHS = frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
SMALL, NORMAL, TITLE = 8.0, 9.0, 11.0
VALUES = "weight, dequantized"

DPI = 200  # twice what the page shows, for sharp text
PAGE_WIDTH = 10.0  # inches; the page scales it to its column
LABEL_LENGTH = 30

# Inches. Forty rows have their full height; then they get lower, and past 160 the figure grows.
ROW_HEIGHT, LOWEST_ROW = 0.25, 0.0625
FULL_HEIGHT, MAX_HEIGHT = 10.0, 16.0
LABEL_SPACING = 0.145  # inches that one line of SMALL text takes


@dataclass(frozen=True)
class Picture:
    """A chart as PNG bytes, and what it shows in words. ``notes``: what it could not show."""

    png: bytes
    alt: str
    notes: tuple[str, ...] = ()


# Pictures that viewers share.
pictures: SharedCache[Picture] = SharedCache(size=256)


def shorten(name: str, length: int = LABEL_LENGTH) -> str:
    """Return ``name`` on one line, cut in the middle where it is longer than ``length``.

    A character that the font lacks becomes a box.
    """
    name = "".join(c if ord(c) in GLYPHS else "□" for c in " ".join(name.split()))
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


def shorten_together(names: Sequence[str]) -> list[str]:
    """Return every name shortened; where that makes two alike, without the beginning all share."""
    short = [shorten(name) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    # Character by character, then back to the last separator: names are not always paths.
    shared = re.sub(r"[^/._;]*$", "", os.path.commonprefix(list(names)))  # noqa: RUF071
    return [shorten(f"…{name.removeprefix(shared)}") for name in names]


def format_number(number: float) -> str:
    """Return three significant digits, with a true minus sign."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}".replace("-", "−")


# The whole network ------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeatmapLayout:
    """Where the rows of a heatmap lie, top to bottom. Lengths in inches."""

    row_count: int

    top, right, bottom = 0.42, 0.95, 0.58

    @property
    def rows_height(self) -> float:
        grown = min(max(self.row_count * LOWEST_ROW, FULL_HEIGHT), MAX_HEIGHT)
        return min(self.row_count * ROW_HEIGHT, grown)

    @property
    def height(self) -> float:
        return self.top + self.rows_height + self.bottom

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


def render_heatmap(
    rows: Sequence[LayerRanges], variants: Sequence[str], *, log: bool = False
) -> Picture:
    """Return `draw_heatmap` as a picture."""
    return Picture(_to_png(draw_heatmap(rows, variants, log=log)), describe_ranges(rows, variants))


def draw_heatmap(
    rows: Sequence[LayerRanges], variants: Sequence[str], *, log: bool = False
) -> Figure:
    """Draw one panel for each variant, with one x-axis and one colour scale for all.

    Args:
        rows: at least one.
        log: symmetric logarithmic x-axis and logarithmic colours, where one layer dwarfs the rest.
    """
    layout = HeatmapLayout(len(rows))
    figure = _new_figure(layout.height)
    norm = width_norm(rows, log=log)
    limits = _padded_limits([limits for row in rows for limits in row.ranges.values()], log=log)
    labels = shorten_together([row.layer for row in rows])
    left = _label_width(labels)
    places = _panel_places(layout, left, len(variants))
    for variant, place in zip(variants, places, strict=True):
        ax = figure.add_axes(place)
        plot_ranges([row.ranges.get(variant) for row in rows], norm=norm, ax=ax)
        _finish_panel(ax, variant, limits, log=log, ticks=5 if len(variants) < 4 else 3)
    _label_rows(figure.axes[0], labels, layout.rows_height)
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
    figure = _DrawnFigure(picture.png, layout.height)
    place = (0, layout.bottom, PAGE_WIDTH, layout.rows_height)
    ax = figure.add_axes(_fraction(place, layout.height))
    ax.set_ylim(row_count - 0.5, -0.5)
    return ax


class _DrawnFigure(Figure):
    """A figure that saves the picture it was given: viewers share one drawing."""

    def __init__(self, png: bytes, height: float) -> None:
        super().__init__(figsize=(PAGE_WIDTH, height), dpi=DPI)
        self._png = png

    def savefig(self, fname: Any, **_: Any) -> None:
        fname.write(self._png)


def _label_width(labels: Sequence[str]) -> float:
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
        _fraction(
            (left + i * (width + gap), layout.bottom, width, layout.rows_height), layout.height
        )
        for i in range(count)
    ]


def plot_ranges(ranges: Sequence[Range | None], *, norm: Normalize, ax: Axes | None = None) -> Axes:
    """Draw one horizontal bar for each range, first at the top, coloured by its width.

    A range that is None says so. A range of no width is drawn as a line.
    """
    ax = ax or _new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    known = [(row, limits) for row, limits in enumerate(ranges) if limits is not None]
    bars = _bars([(row, -0.38, 0.38, limits) for row, limits in known])
    bars.set(cmap=WIDTHS, norm=norm, edgecolor=INK, linewidth=0.6)
    bars.set_array(np.array([high - low for _, (low, high) in known]))
    ax.add_collection(bars)
    ax.set_ylim(len(ranges) - 0.5, -0.5)
    middle: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "center", "va": "center"}
    for row in (row for row, limits in enumerate(ranges) if limits is None):
        ax.text(0.5, row, "no range", fontsize=SMALL, style="italic", **middle, **FONT)
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


def _label_rows(ax: Axes, labels: Sequence[str], rows_height: float) -> None:
    """Label every row, or every second, fifth ... where there is no room."""
    step = max(1, math.ceil(LABEL_SPACING * len(labels) / rows_height))
    shown = range(0, len(labels), step)
    ax.set_yticks(list(shown), [labels[i] for i in shown])
    for label in ax.get_yticklabels():
        label.set(fontsize=SMALL, **FONT)


def _finish_panel(ax: Axes, title: str, limits: Range, *, log: bool, ticks: int) -> None:
    if log:
        _set_symlog(ax, limits, ticks)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(ticks))
    ax.set_xlim(limits)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_number(x)))
    _style(ax, title)
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
    ax = figure.add_axes(_fraction(place, layout.height))
    bar = figure.colorbar(ScalarMappable(norm, WIDTHS), cax=ax)
    bar.outline.set_visible(False)
    if not isinstance(norm, LogNorm):
        bar.locator = MaxNLocator(5)
    bar.formatter = FuncFormatter(lambda x, _: format_number(x))
    bar.minorticks_off()
    ax.tick_params(colors=INK, labelsize=SMALL, length=2)
    ax.set_title("width", fontsize=NORMAL, y=1.0, pad=5, **FONT)


def _padded_limits(ranges: Sequence[Range], *, log: bool) -> Range:
    """Return limits that hold zero and every range, with a little room on both sides."""
    low = min([0.0, *(low for low, _ in ranges)])
    high = max([0.0, *(high for _, high in ranges)])
    if low == high:
        return -1.0, 1.0
    room = 0.03 * (high - low)
    return (1.25 * low, 1.25 * high) if log and low < 0 < high else (low - room, high + room)


# One layer --------------------------------------------------------------------------------------


def render_histograms(histograms: Histograms, *, log: bool = False, about: str = "") -> Picture:
    """Return `draw_histograms` as a picture; ``about`` is the layer's name."""
    return Picture(
        _to_png(draw_histograms(histograms, log=log)), describe_histograms(histograms, about)
    )


def draw_histograms(histograms: Histograms, *, log: bool = False) -> Figure:
    """Draw one panel for each variant, left to right, over the same bins and the same counts."""
    names = list(histograms.counts)
    columns = min(len(names), 4)
    lines = math.ceil(len(names) / columns)
    left, gap, panel, top, bottom = 0.72, 0.3, 2.05, 0.36, 0.5
    height = lines * (panel + top + bottom)
    width = (PAGE_WIDTH - left - 0.15 - gap * (columns - 1)) / columns
    figure = _new_figure(height)
    highest = max((int(counts.max(initial=0)) for counts in histograms.counts.values()), default=0)
    for i, name in enumerate(names):
        line, column = divmod(i, columns)
        y = height - (line + 1) * (panel + top + bottom) + bottom
        ax = figure.add_axes(_fraction((left + column * (width + gap), y, width, panel), height))
        color = VARIANT_COLORS[i % len(VARIANT_COLORS)]
        plot_histogram(histograms.counts[name], histograms.edges, color=color, log=log, ax=ax)
        ax.set_ylim(0.5 if log else 0, max(highest, 1) * (2 if log else 1.06))
        _style(ax, name)
        ax.set_xlabel(VALUES, fontsize=NORMAL, **FONT)
        if column == 0:
            ax.set_ylabel("weights in the bin", fontsize=NORMAL, **FONT)
        else:
            ax.tick_params(labelleft=False)
        _note_outside(ax, histograms.outside.get(name, 0))
    return figure


def plot_histogram(
    counts: np.ndarray, edges: np.ndarray, *, color: str, log: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw counts over bin edges as one filled outline. ``log``: a logarithmic count axis."""
    ax = ax or _new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.stairs(counts, edges, fill=True, color=color, baseline=0.5 if log else 0)
    ax.set_xlim(float(edges[0]), float(edges[-1]))
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: format_number(x)))
    return ax


def describe_histograms(histograms: Histograms, about: str = "") -> str:
    """Return the histograms in words: the bins, and the fullest one of each variant."""
    edges = histograms.edges
    parts = [
        f"Weights{f' of {shorten(about, 60)}' if about else ''} in {len(edges) - 1} equal bins "
        f"from {format_number(edges[0])} to {format_number(edges[-1])}."
    ]
    for name, counts in histograms.counts.items():
        fullest = int(counts.argmax()) if counts.size else 0
        parts.append(
            f"{name}: {int(counts.sum()):,} weights in {int((counts > 0).sum())} of the bins, "
            f"most of them ({int(counts[fullest]):,}) near "
            f"{format_number((edges[fullest] + edges[fullest + 1]) / 2)}."
        )
    return " ".join(parts)


def _note_outside(ax: Axes, outside: int) -> None:
    corner: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    if outside:
        text = f"{outside:,} not finite, not drawn"
        ax.text(0.98, 0.95, text, fontsize=SMALL, **corner, **FONT)


# Shared -----------------------------------------------------------------------------------------


def _style(ax: Axes, title: str) -> None:
    ax.set_title(shorten(title, 34), fontsize=TITLE, loc="left", y=1.0, pad=5, **FONT)
    ax.patch.set_visible(False)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    ax.tick_params(colors=INK, labelsize=SMALL, length=2)


def _new_figure(height: float) -> Figure:
    return Figure(figsize=(PAGE_WIDTH, height), dpi=DPI, facecolor="none")


def _fraction(inches: Place, height: float) -> Place:
    x, y, width, tall = inches
    return x / PAGE_WIDTH, y / height, width / PAGE_WIDTH, tall / height


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.get_dpi())
    return buffer.getvalue()


# The page around the heatmap: what is selected is laid over it, and never drawn ------------------

PAGE_STYLE = """
.playground-heatmap { position: relative; margin: 0 auto; }
.playground-heatmap marimo-ui-element, .playground-heatmap marimo-matplotlib { display: block; }
.playground-outline { position: absolute; left: 0; right: 7.5%; pointer-events: none;
  top: var(--selected-row-top, 0); height: var(--selected-row-height, 0);
  display: var(--selected-row-display, none);
  border: 2px solid #e8590c; border-radius: 4px; }
.playground-table { overflow-x: auto; font-size: 0.875rem; }
.playground-table table { border-collapse: collapse; width: 100%; margin: 0; }
.playground-table th, .playground-table td { text-align: left; vertical-align: top;
  padding: 0.3rem 0.75rem; border: 0; border-bottom: 1px solid #80808033;
  overflow-wrap: anywhere; min-width: 6.5rem; }
.playground-table th { font-weight: 600; overflow-wrap: normal; }
.playground-table tbody tr:hover { background: #80808018; }
.playground-table td:last-child { opacity: 0.75; }
"""


def frame_heatmap(chart: str, alt: str) -> str:
    """Return the heatmap's element with its text alternative and, over it, the empty outline."""
    return (
        f'<style>{PAGE_STYLE}</style><div class="playground-heatmap" role="group" '
        f'aria-label="{html.escape(alt, quote=True)}">{chart}'
        '<div class="playground-outline" data-testid="selected-row"></div></div>'
    )


def outline_row(row_count: int, row: int | None) -> str:
    """Return the style that moves the outline to ``row`` and tints that row of the table."""
    if row is None:
        return "<style>:root { --selected-row-display: none; }</style>"
    top, height = HeatmapLayout(row_count).row_box(row)
    return (
        f"<style>:root {{ --selected-row-display: block; --selected-row-top: {top:.3%}; "
        f"--selected-row-height: {height:.3%}; --table-row-{row}: #e8590c33; }}</style>"
    )


def style_row(row: str, column: str, value: object) -> dict[str, str]:
    """Return the style of a table's cell: a tint that `outline_row` turns on from outside."""
    return {"backgroundColor": f"var(--table-row-{int(row)}, transparent)"}
