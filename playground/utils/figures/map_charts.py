"""How low it can go: the output at every pair of widths, as a heatmap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..parameter_inspector import (
    ACTIVATION_BITS,
    GRANULARITIES,
    WEIGHT_BITS,
    AccuracyMap,
    Level,
    Widths,
    format_level,
    name_widths,
)
from ..spelling import format_decibels, format_part
from .heatmap import DrawnFigure
from .style import (
    DPI,
    FAINT,
    FONT,
    NORMAL,
    PAGE_WIDTH,
    SELECTED,
    SMALL,
    TITLE,
    Picture,
    new_figure,
    to_fraction,
    to_png,
    write_note,
)

COLORS = matplotlib.colormaps["viridis"]
# Inches.
LEFT, GAP, RIGHT, TOP, BOTTOM, ROW = 0.72, 0.32, 0.15, 0.4, 0.52, 0.4
WHITE, BLACK = "#ffffff", "#10131a"
LUMINOUS = 0.45  # from here on a text is dark


@dataclass(frozen=True)
class MapLayout:
    """Where the cells lie: a panel for each granularity, weight bits down, activations across."""

    columns: tuple[int | None, ...]

    @classmethod
    def of(cls, found: AccuracyMap) -> MapLayout:
        has_none = any(one.activation_bits is None for one in found.cells)
        return cls((None,) if has_none else ACTIVATION_BITS)

    @property
    def height(self) -> float:
        return TOP + len(WEIGHT_BITS) * ROW + BOTTOM

    @property
    def panel_width(self) -> float:
        count = len(GRANULARITIES)
        return (PAGE_WIDTH - LEFT - RIGHT - GAP * (count - 1)) / count

    @property
    def cell_width(self) -> float:
        return self.panel_width / len(self.columns)

    def panel_left(self, panel: int) -> float:
        return LEFT + panel * (self.panel_width + GAP)

    def find_cell(self, x: float, y: float) -> Widths | None:
        """Return the cell at a place in inches from the left and from the top, None beside all."""
        row = math.floor((y - TOP) / ROW)
        for panel, granularity in enumerate(GRANULARITIES):
            column = math.floor((x - self.panel_left(panel)) / self.cell_width)
            if 0 <= column < len(self.columns) and 0 <= row < len(WEIGHT_BITS):
                return Widths(WEIGHT_BITS[row], self.columns[column], granularity)
        return None

    def clicked_cell(self, selection: object) -> Widths | None:
        """Return the cell under a click, or in the middle of a box."""
        sides = [getattr(selection, name, None) for name in ("x_min", "x_max", "y_min", "y_max")]
        if any(side is None for side in sides):
            return None
        left, right, low, high = (float(side) for side in sides if side is not None)
        return self.find_cell((left + right) / 2, (low + high) / 2)


def render_accuracy_map(found: AccuracyMap) -> Picture:
    """Return `draw_accuracy_map` as a picture."""
    return Picture(to_png(draw_accuracy_map(found)), describe_map(found))


def create_map_click_axes(picture: Picture, layout: MapLayout) -> Axes:
    """Return an invisible Axes over a drawn map, in inches from the left and from the top."""
    figure = DrawnFigure(picture.png, layout.height, DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, PAGE_WIDTH)
    ax.set_ylim(layout.height, 0)
    return ax


def draw_accuracy_map(found: AccuracyMap) -> Figure:
    """Draw a panel for each granularity; cells that are not measured yet are empty."""
    layout = MapLayout.of(found)
    figure = new_figure(layout.height)
    norm = level_norm(found)
    for panel, granularity in enumerate(GRANULARITIES):
        height = len(WEIGHT_BITS) * ROW
        place = (layout.panel_left(panel), BOTTOM, layout.panel_width, height)
        ax = figure.add_axes(to_fraction(place, layout.height))
        plot_cells(found, granularity, norm=norm, ax=ax)
        ax.set_title(f"weights {granularity}", fontsize=TITLE, loc="left", pad=6, **FONT)
    if found.own is not None:
        write_note(figure.axes[-1], "outlined: as the file is")
    figure.axes[0].set_ylabel("bits of the weights", fontsize=NORMAL, labelpad=22, **FONT)
    return figure


def level_norm(found: AccuracyMap) -> Normalize:
    """Return the one map from dB to colour that both panels share: from 0 dB to the best."""
    levels = [one.sqnr_db for one in found.cells.values() if math.isfinite(one.sqnr_db)]
    return Normalize(0.0, max([1.0, *levels]))


def plot_cells(
    found: AccuracyMap, granularity: str, *, norm: Normalize, ax: Axes | None = None
) -> Axes:
    """Draw the cells of one granularity with their numbers, the file's own outlined."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    columns = MapLayout.of(found).columns
    cells = [
        (row, column, found.cells.get(Widths(weight_bits, bits, granularity)))
        for row, weight_bits in enumerate(WEIGHT_BITS)
        for column, bits in enumerate(columns)
    ]
    colors = [FAINT if level is None else COLORS(norm(level.sqnr_db)) for *_, level in cells]
    corners = [_box(row, column) for row, column, _ in cells]
    ax.add_collection(PolyCollection(corners, facecolors=colors, edgecolors="none"))
    for row, column, level in cells:
        if level is not None:
            _write_level(ax, row, column, level, norm)
    _mark_own(ax, found, granularity, columns)
    _finish_axes(ax, columns)
    return ax


def _box(row: int, column: int, inset: float = 0.025) -> list[tuple[float, float]]:
    left, right = column - 0.5 + inset, column + 0.5 - inset
    top, bottom = row - 0.5 + 1.5 * inset, row + 0.5 - 1.5 * inset
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _write_level(ax: Axes, row: int, column: int, level: Level, norm: Normalize) -> None:
    """Write the dB, and below them the share of right answers, or of float's."""
    red, green, blue, _ = COLORS(norm(level.sqnr_db))
    is_light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > LUMINOUS
    color = BLACK if is_light else WHITE
    share = level.agreement if level.accuracy is None else level.accuracy
    font = {**FONT, "color": color}
    place = {"ha": "center", "va": "center", **font}
    up = 0.0 if share is None else 0.17
    ax.text(column, row - up, format_decibels(level.sqnr_db), fontsize=NORMAL, **place)
    if share is not None:
        ax.text(column, row + 0.22, format_part(share), fontsize=6.5, **place)


def _mark_own(
    ax: Axes, found: AccuracyMap, granularity: str, columns: tuple[int | None, ...]
) -> None:
    own = found.own
    if own is None or own.granularity != granularity or own.activation_bits not in columns:
        return
    if own.weight_bits in WEIGHT_BITS:
        box = _box(WEIGHT_BITS.index(own.weight_bits), columns.index(own.activation_bits), 0.0)
        own_cell = PolyCollection([box], facecolors="none", edgecolors=SELECTED, linewidths=2.2)
        own_cell.set(clip_on=False, zorder=3)
        ax.add_collection(own_cell)


def _finish_axes(ax: Axes, columns: tuple[int | None, ...]) -> None:
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(WEIGHT_BITS) - 0.5, -0.5)
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    beside: dict[str, Any] = {"ha": "right", "va": "center", "transform": ax.get_yaxis_transform()}
    below: dict[str, Any] = {"ha": "center", "va": "top", "transform": ax.get_xaxis_transform()}
    for row, weight_bits in enumerate(WEIGHT_BITS):
        ax.text(-0.02, row, str(weight_bits), fontsize=SMALL, **beside, **FONT)
    for column, bits in enumerate(columns):
        name = "float" if bits is None else str(bits)
        ax.text(column, -0.015, name, fontsize=SMALL, **below, **FONT)
    ax.set_xlabel("bits of the activations", fontsize=NORMAL, labelpad=16, **FONT)


def describe_map(found: AccuracyMap) -> str:
    """Return the map in words: its best and worst cell, and the file's own."""
    parts = [
        f"The output at each pair of widths, on {found.sample_count} samples: "
        f"{len(found.cells)} cells measured"
    ]
    known = {w: one for w, one in found.cells.items() if math.isfinite(one.sqnr_db)}
    if known:
        order = sorted(known, key=lambda widths: known[widths].sqnr_db)
        for word, widths in (("best", order[-1]), ("worst", order[0])):
            parts.append(f"{word} {name_widths(widths)}, {format_level(known[widths].sqnr_db)}")
    if found.own is not None:
        parts.append(f"the file itself has {name_widths(found.own)}")
    return "; ".join(parts) + "."
