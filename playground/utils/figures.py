"""Records and numbers -> pictures: `plot_` draws on an Axes, `render_` makes what a page can show.

Never pyplot and never rcParams: one process serves several viewers, and both belong to the
process. Colours, fonts and the shortening of names have their one place here.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

from .parameter_inspector import Histograms, LayerRanges, Measured, SharedCache
from .parameter_inspector.channels import living_channels
from .parameter_inspector.metrics import (
    HEALTHY_CHANNEL_DB,
    channel_max_abs,
    channel_sqnr_db,
    code_rails,
)
from .parameter_inspector.quantization import code_limits

if TYPE_CHECKING:
    from .tables import ErrorSteps

Range = tuple[float, float]
Place = tuple[float, float, float, float]

# 4.9 to one against white. No grey has 4.5 against a white page and against marimo's dark one
# (4.1 is the best), so a dark page shows the pictures brighter: PAGE_STYLE, where it has 5.5.
INK = "#6f7276"
FAINT = "#80808022"
WIDTHS = matplotlib.colormaps["viridis"]
VARIANT_COLORS = ("#4c8fd0", "#d9822b", "#3aa17e", "#a874c9", "#c65d6b", "#8a8d3b")
FONT: dict[str, Any] = {"family": "DejaVu Sans", "color": INK, "parse_math": False}
GLYPHS = frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
SMALL, NORMAL, TITLE = 8.0, 9.0, 11.0
VALUES = "weight, dequantized"
# Of no variant; where it stands, a shape or a place says the same.
ALERT = "#d6336c"
SELECTED = "#e8590c"

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
    figure, panels = _add_panels(names)
    highest = max((int(counts.max(initial=0)) for counts in histograms.counts.values()), default=0)
    for i, (name, (ax,)) in enumerate(zip(names, panels, strict=True)):
        color = VARIANT_COLORS[i % len(VARIANT_COLORS)]
        plot_histogram(histograms.counts[name], histograms.edges, color=color, log=log, ax=ax)
        ax.set_ylim(0.5 if log else 0, max(highest, 1) * (2 if log else 1.06))
        _style(ax, name)
        _label(ax, VALUES, "weights in the bin")
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
        f"Weights{_of(about)} in {len(edges) - 1} equal bins "
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


# One layer, channel by channel ------------------------------------------------------------------

MOST_BARS = 160  # channels; more are drawn as one outline
NAMED_CHANNELS = 3


def render_channels(
    measured: Mapping[str, Measured], colors: Mapping[str, str], *, about: str = ""
) -> Picture:
    """Return `draw_channels` as a picture; ``about`` is the layer's name."""
    return Picture(_to_png(draw_channels(measured, colors)), describe_channels(measured, about))


def draw_channels(measured: Mapping[str, Measured], colors: Mapping[str, str]) -> Figure:
    """Draw, for each variant, the range of every output channel and above it the channel's SQNR.

    The SQNR is left out where no variant has a float original to compare with.
    """
    decibels = {name: channel_sqnr_db(one.sums) for name, one in measured.items()}
    compared = any(not np.isnan(db).all() for db in decibels.values())
    figure, panels = _add_panels(list(measured), heights=(1.3, 1.55) if compared else (1.9,))
    reach = [_range_of(one) for one in measured.values()]
    limits = _padded_limits(reach, log=False)
    top = max((db[np.isfinite(db)].max(initial=0) for db in decibels.values()), default=0)
    for (name, one), axes in zip(measured.items(), panels, strict=True):
        worst = worst_channels(one)
        if compared:
            plot_channel_sqnr(decibels[name], worst=worst, color=colors[name], ax=axes[0])
            axes[0].set_ylim(min(0.0, np.nanmin(decibels[name], initial=0)) - 3, 1.2 * top + 6)
            axes[0].tick_params(labelbottom=False)
            _label(axes[0], "", "SQNR, dB")
        plot_channel_ranges(one, worst=worst, color=colors[name], ax=axes[-1])
        axes[-1].set_ylim(limits)
        _style(axes[-1])
        _style(axes[0], name)
        _label(axes[-1], "output channel", "range")
        _note(axes[0], _name_channels(one, worst, NAMED_CHANNELS if len(measured) < 3 else 1))
    return figure


def worst_channels(one: Measured, count: int = NAMED_CHANNELS) -> list[int]:
    """Return the channels with the lowest SQNR; without a float original, the widest ones.

    A channel that training has left at nothing is named only where there is no other.
    """
    db, widths = channel_sqnr_db(one.sums), np.nan_to_num(channel_max_abs(one.sums))
    scores = -widths if np.isnan(db).all() else np.where(np.isnan(db), np.inf, db)
    order = np.lexsort((scores, ~living_channels(one)))[:count]
    return [int(i) for i in order if scores[i] < np.inf]


def plot_channel_sqnr(
    decibels: np.ndarray, *, worst: Sequence[int], color: str, ax: Axes | None = None
) -> Axes:
    """Draw one point for each channel, the worst ones as triangles, over the line of 20 dB."""
    ax = ax or _new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    known = np.isfinite(decibels)
    channels = np.arange(decibels.size)
    size = 14 if decibels.size <= MOST_BARS else 3
    ax.scatter(channels[known], decibels[known], s=size, color=color, linewidths=0)
    marked = [channel for channel in worst if known[channel]]
    ax.scatter(marked, decibels[marked], s=34, marker="v", color=ALERT, zorder=3)
    ax.axhline(HEALTHY_CHANNEL_DB, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlim(-0.7, decibels.size - 0.3)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not known.any():
        text = "no float original" if np.isnan(decibels).all() else "nothing was lost"
        ax.text(0.5, 0.4, text, fontsize=SMALL, ha="center", transform=ax.transAxes, **FONT)
    return ax


def plot_channel_ranges(
    one: Measured, *, worst: Sequence[int], color: str, ax: Axes | None = None
) -> Axes:
    """Draw each channel's range as a bar, and as a line the range of the float original."""
    ax = ax or _new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    sums = one.sums
    low, high = np.nan_to_num(sums.low), np.nan_to_num(sums.high)
    edges = np.arange(low.size + 1) - 0.5
    if low.size <= MOST_BARS:
        corners = [
            [(i - 0.4, low[i]), (i + 0.4, low[i]), (i + 0.4, high[i]), (i - 0.4, high[i])]
            for i in range(low.size)
        ]
        ax.add_collection(PolyCollection(corners, facecolors=color, linewidths=0))
    else:
        ax.stairs(high, edges, baseline=low, fill=True, color=color)
    if sums.float_low is not None and sums.float_high is not None:
        for ends in (sums.float_low, sums.float_high):
            ax.stairs(np.nan_to_num(ends), edges, baseline=None, color=INK, linewidth=0.8)
    ax.plot(list(worst), [0] * len(worst), "v", color=ALERT, markersize=4, clip_on=False)
    ax.set_xlim(-0.7, low.size - 0.3)
    ax.axhline(0, color=INK, linewidth=0.6, alpha=0.5, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    _format_numbers(ax.yaxis)
    return ax


def describe_channels(measured: Mapping[str, Measured], about: str = "") -> str:
    """Return the channels in words: how many, the worst ones, and the widest of each variant."""
    parts = [f"Output channels{_of(about)}."]
    for name, one in measured.items():
        widths, db = channel_max_abs(one.sums), channel_sqnr_db(one.sums)
        words = [f"{name}: {_count(db.size, 'channel')}"]
        if not np.isnan(db).all():
            under = int((db < HEALTHY_CHANNEL_DB).sum())
            words += [f"{under} under 20 dB", _name_channels(one, worst_channels(one), 3)]
        if db.size and not np.isnan(widths).all():
            widest = int(np.nanargmax(widths))
            ratio = one.metrics["range_disparity"]
            times = f", {format_number(ratio)} times the median" if np.isfinite(ratio) else ""
            words.append(f"widest no. {widest} up to {format_number(widths[widest])}{times}")
        parts.append(f"{'; '.join(words)}.")
    return " ".join(parts)


def _name_channels(one: Measured, worst: Sequence[int], count: int) -> str:
    db, widths = channel_sqnr_db(one.sums), channel_max_abs(one.sums)
    if not worst:
        return ""
    if not np.isnan(db).all():
        return f"worst no. {', '.join(f'{i} ({format_db(db[i])})' for i in worst[:count])}"
    median = float(np.nanmedian(widths)) if not np.isnan(widths).all() else 0.0
    times = [f" ({format_number(widths[i] / median)}×)" if median > 0 else "" for i in worst]
    named = [f"{i}{text}" for i, text in zip(worst[:count], times, strict=False)]
    return f"widest no. {', '.join(named)}"


def format_db(decibels: float) -> str:
    """Return an SQNR in words: exact where nothing was lost, a dash where it is not known."""
    if math.isnan(decibels):
        return "–"
    return "exact" if decibels == math.inf else f"{decibels:.1f} dB".replace("-", "−")


def _range_of(one: Measured) -> Range:
    low, high = one.metrics["range_low"], one.metrics["range_high"]
    ends = [low, high]
    for more in (one.sums.float_low, one.sums.float_high):
        ends += [] if more is None else [float(end) for end in more[np.isfinite(more)]]
    known = [end for end in ends if math.isfinite(end)]
    return (min(known), max(known)) if known else (0.0, 0.0)


# One layer, code by code ------------------------------------------------------------------------

MOST_CODES = 256  # more are drawn several to a step


@dataclass(frozen=True, eq=False)
class CodeCounts:
    """How often each code of a weight occurs.

    Attributes:
        first: the data type's lowest code; ``counts[i]`` is of code ``first + i``.
        rails: the lowest and the highest code that the scheme uses.
    """

    first: int
    counts: np.ndarray
    rails: tuple[int, int]

    @classmethod
    def of(cls, one: Measured) -> CodeCounts | None:
        """Return the counts, None for floats and for types of more than 16 bits."""
        counts, quantization = one.sums.code_counts, one.quantization
        if counts is None or quantization is None:
            return None
        first = int(code_limits(quantization.data_type)[0])
        low, high = code_rails(counts, quantization)
        return cls(first, counts, (low + first, high + first))

    @property
    def used(self) -> int:
        return int(np.count_nonzero(self.counts))

    @property
    def at_rails(self) -> tuple[int, int]:
        low, high = self.rails
        return int(self.counts[low - self.first]), int(self.counts[high - self.first])

    @property
    def rails_share(self) -> float:
        return sum(self.at_rails) / max(1, int(self.counts.sum()))


def count_codes(measured: Mapping[str, Measured]) -> dict[str, CodeCounts]:
    """Return the code counts of each variant that has integer codes."""
    counts = {name: CodeCounts.of(one) for name, one in measured.items()}
    return {name: one for name, one in counts.items() if one is not None}


def render_codes(
    codes: Mapping[str, CodeCounts],
    colors: Mapping[str, str],
    *,
    log: bool = False,
    about: str = "",
) -> Picture:
    """Return `draw_codes` as a picture; ``about`` is the layer's name."""
    return Picture(_to_png(draw_codes(codes, colors, log=log)), describe_codes(codes, about))


def draw_codes(
    codes: Mapping[str, CodeCounts], colors: Mapping[str, str], *, log: bool = False
) -> Figure:
    """Draw, for each variant, how often each integer occurs, the rails in their own colour."""
    figure, panels = _add_panels(list(codes), heights=(1.7,))
    for (name, one), (ax,) in zip(codes.items(), panels, strict=True):
        plot_codes(one, color=colors[name], log=log, ax=ax)
        _style(ax, name)
        _label(ax, "code", "weights with it", every=True)
        size = one.counts.size
        text = f"{one.used:,} of {size:,} codes occur, {one.rails_share:.2%} at the rails"
        _note(ax, text if len(codes) < 3 else f"{one.rails_share:.2%} at the rails")
    return figure


def plot_codes(codes: CodeCounts, *, color: str, log: bool = False, ax: Axes | None = None) -> Axes:
    """Draw one step for each code, the two rails wider and in the colour of an alarm."""
    ax = ax or _new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    together = max(1, codes.counts.size // MOST_CODES)
    counts = codes.counts.reshape(-1, together).sum(axis=1)
    edges = codes.first + together * np.arange(counts.size + 1) - 0.5
    base = 0.5 if log else 0
    ax.stairs(counts, edges, fill=True, color=color, baseline=base)
    width = max(together, codes.counts.size / 170)
    for rail, count in zip(codes.rails, codes.at_rails, strict=True):
        if count:
            ax.bar(rail, count - base, width, bottom=base, color=ALERT, zorder=2)
    room = 0.02 * codes.counts.size
    ax.set_xlim(codes.first - room, codes.first + codes.counts.size - 1 + room)
    _set_count_axis(ax, int(counts.max(initial=0)), log=log)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _format_numbers(ax.xaxis)
    return ax


def describe_codes(codes: Mapping[str, CodeCounts], about: str = "") -> str:
    """Return the codes in words: how many occur, and how many weights lie at the rails."""
    parts = [f"Integer codes{_of(about)}."]
    for name, one in codes.items():
        (low, high), (lows, highs) = one.rails, one.at_rails
        parts.append(
            f"{name}: {one.used:,} of {one.counts.size:,} codes occur; {one.rails_share:.2%} of "
            f"{int(one.counts.sum()):,} weights at the rails: {lows:,} at {_minus(low)}, "
            f"{highs:,} at {_minus(high)}."
        )
    return " ".join(parts)


# One layer, error by error ----------------------------------------------------------------------


def render_errors(
    errors: Mapping[str, ErrorSteps],
    colors: Mapping[str, str],
    *,
    log: bool = False,
    about: str = "",
) -> Picture:
    """Return `draw_errors` as a picture; ``about`` is the layer's name."""
    return Picture(_to_png(draw_errors(errors, colors, log=log)), describe_errors(errors, about))


def draw_errors(
    errors: Mapping[str, ErrorSteps], colors: Mapping[str, str], *, log: bool = False
) -> Figure:
    """Draw, for each variant, the error of the weights in steps of their scale.

    Rounding alone stays within half a step: dashed lines mark it.
    """
    figure, panels = _add_panels(list(errors), heights=(1.7,))
    for (name, one), (ax,) in zip(errors.items(), panels, strict=True):
        plot_histogram(one.counts, one.edges, color=colors[name], log=log, ax=ax)
        _set_count_axis(ax, int(one.counts.max(initial=0)), log=log)
        for half in (-0.5, 0.5):
            ax.axvline(half, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        _style(ax, name)
        _label(ax, "(float weight − value) / scale", "weights in the bin", every=True)
        beyond = f", {one.beyond_half_share:.2%} beyond ½ step" if len(errors) < 3 else ""
        _note(ax, f"RMSE {one.rms:.2f}{beyond}")
    return figure


def describe_errors(errors: Mapping[str, ErrorSteps], about: str = "") -> str:
    """Return the errors in words: their size in steps, and how many are more than rounding."""
    parts = [f"Error of the weights{_of(about)} in steps of the scale."]
    parts += [
        f"{name}: root-mean-square {one.rms:.3f} steps (rounding alone gives 0.289), largest "
        f"{format_number(one.largest)}, {one.beyond_half_share:.2%} of {one.count:,} weights "
        "beyond half a step."
        for name, one in errors.items()
    ]
    return " ".join(parts)


# Shared -----------------------------------------------------------------------------------------


def color_variants(variants: Sequence[str]) -> dict[str, str]:
    """Return the colour that each variant has in every chart of a page."""
    return {name: VARIANT_COLORS[i % len(VARIANT_COLORS)] for i, name in enumerate(variants)}


def _add_panels(
    names: Sequence[str], heights: Sequence[float] = (2.05,)
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a panel for each name, up to four in a line.

    Args:
        heights: inches, of the Axes that stand one above the other in each panel.
    """
    columns = max(1, min(len(names), 4))
    lines = max(1, math.ceil(len(names) / columns))
    left, gap, between, top, bottom = 0.72, 0.34, 0.12, 0.36, 0.5
    block = top + sum(heights) + between * (len(heights) - 1) + bottom
    width = (PAGE_WIDTH - left - 0.15 - gap * (columns - 1)) / columns
    figure = _new_figure(lines * block)
    panels = []
    for i in range(len(names)):
        line, column = divmod(i, columns)
        y, axes = (lines - line) * block - top, []
        for height in heights:
            y -= height
            place = (left + column * (width + gap), y, width, height)
            axes.append(figure.add_axes(_fraction(place, lines * block), label=f"column {column}"))
            y -= between
        panels.append(axes)
    return figure, panels


def _label(ax: Axes, x: str, y: str, *, every: bool = False) -> None:
    """Label both axes, the second one in the first column only.

    Args:
        every: each panel has counts of its own, and keeps their numbers.
    """
    if x:
        ax.set_xlabel(x, fontsize=NORMAL, **FONT)
    if ax.get_label() == "column 0":
        ax.set_ylabel(y, fontsize=NORMAL, **FONT)
    elif not every:
        ax.tick_params(labelleft=False)


def _set_count_axis(ax: Axes, highest: int, *, log: bool) -> None:
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_ylim(0.5 if log else 0, max(highest, 1) * (2 if log else 1.06))
    _format_numbers(ax.yaxis)


def _format_numbers(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda x, _: format_number(x)))


def _note(ax: Axes, text: str) -> None:
    """Write above the right end of an Axes, on the line of its title."""
    ax.set_title(text, fontsize=SMALL, loc="right", y=1.0, pad=5, **FONT)


def _of(about: str) -> str:
    return f" of {shorten(about, 60)}" if about else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _minus(number: int) -> str:
    return str(number).replace("-", "−")


def _style(ax: Axes, title: str = "") -> None:
    if title:
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
.dark .playground-heatmap, .dark .playground-chart img { filter: brightness(1.3); }
.playground-chart img { width: 100%; }
.playground-finding code { font-size: 0.8rem; }
.playground-finding div { margin-top: 0.25rem; }
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
        f'<div class="playground-heatmap" role="group" '
        f'aria-label="{html.escape(alt, quote=True)}">{chart}'
        '<div class="playground-outline" data-testid="selected-row"></div></div>'
    )


def frame_picture(picture: Picture) -> str:
    """Return a chart's element with its text alternative, its bytes within the page.

    A link to the bytes would break where the layer changes while they are on their way.
    """
    data = base64.b64encode(picture.png).decode("ascii")
    alt = html.escape(picture.alt, quote=True)
    return (
        f'<div class="playground-chart"><img src="data:image/png;base64,{data}" alt="{alt}"></div>'
    )


def outline_row(row_count: int, row: int | None) -> str:
    """Return the style that moves the outline to ``row`` of the heatmap."""
    if row is None:
        return "<style>:root { --selected-row-display: none; }</style>"
    top, height = HeatmapLayout(row_count).row_box(row)
    return (
        f"<style>:root {{ --selected-row-display: block; --selected-row-top: {top:.3%}; "
        f"--selected-row-height: {height:.3%}; }}</style>"
    )


def tint_rows(rows: Sequence[int], strong: Sequence[int] = ()) -> str:
    """Return the style that tints ``rows`` of the ranking: it is not made again for that.

    Args:
        strong: those of ``rows`` that stand out, of the selected variant.
    """
    colors = " ".join(
        f"--table-row-{row}: {SELECTED}{'66' if row in strong else '33'};" for row in rows
    )
    return f"<style>:root {{ {colors} }}</style>"


def style_row(row: str, column: str, value: object) -> dict[str, str]:
    """Return the style of a table's cell: a tint that `tint_rows` turns on from outside."""
    return {"backgroundColor": f"var(--table-row-{int(row)}, transparent)"}
