"""What every chart shares: the picture a page can show, colours, fonts, names made short, axes."""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from ..parameter_inspector import SharedCache
from ..spelling import format_number

Range = tuple[float, float]
Place = tuple[float, float, float, float]

# 4.9 to one against white. No grey has 4.5 against a white page and against marimo's dark one
# (4.1 is the best), so a dark page shows the pictures brighter: PAGE_STYLE, where it has 5.5.
INK = "#6f7276"
FAINT = "#80808022"
VARIANT_COLORS = ("#4c8fd0", "#d9822b", "#3aa17e", "#a874c9", "#c65d6b", "#8a8d3b")
FONT: dict[str, Any] = {"family": "DejaVu Sans", "color": INK, "parse_math": False}
GLYPHS = frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
SMALL, NORMAL, TITLE = 8.0, 9.0, 11.0
VALUES = "weight, dequantized"
# Of no variant; where it stands, a shape or a place says the same.
ALERT = "#d6336c"
SELECTED = "#e8590c"
# Of what is quantized, in the charts of what the output loses: a filling says the same.
WEIGHT_COLOR, ACTIVATION_COLOR = "#5b6fb8", "#c9781e"

DPI = 200  # twice what the page shows, for sharp text
PAGE_WIDTH = 10.0  # inches; the page scales it to its column
LABEL_LENGTH = 30
LETTER = 0.65  # width of a letter on average, of its size


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


def shorten_apart(names: Sequence[str], length: int = LABEL_LENGTH) -> list[str]:
    """Return every name shortened by leaving out the parts of a path that most names have.

    What tells the names apart stays, numbers before words, and the last part always does.
    """
    paths = [re.findall(r"[^/]*/|[^/]+", name) for name in names]
    common = Counter(part for path in {tuple(path) for path in paths} for part in set(path))
    count = len({tuple(path) for path in paths})
    return [shorten(_leave_out(path, common, count, length), length) for path in paths]


def _leave_out(path: Sequence[str], common: Mapping[str, int], count: int, length: int) -> str:
    """Return a path without its most common parts, as many as have to go; ``…`` stands for them."""
    kept: list[str] = list(path)

    def stays(i: int) -> tuple[bool, int, int]:
        has_number = any(map(str.isdigit, path[i])) and common[path[i]] < count
        return has_number, -common[path[i]], i

    for i in sorted(range(len(path) - 1), key=stays):
        if len(_join(kept)) <= length:
            break
        kept[i] = "…"
    return _join(kept)


def _join(parts: Sequence[str]) -> str:
    return re.sub("…+", "…", "".join(parts))


def color_variants(variants: Sequence[str]) -> dict[str, str]:
    """Return the colour that each variant has in every chart of a page."""
    return {name: VARIANT_COLORS[i % len(VARIANT_COLORS)] for i, name in enumerate(variants)}


def add_panels(
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
    figure = new_figure(lines * block)
    panels = []
    for i in range(len(names)):
        line, column = divmod(i, columns)
        y, axes = (lines - line) * block - top, []
        for height in heights:
            y -= height
            place = (left + column * (width + gap), y, width, height)
            axes.append(
                figure.add_axes(to_fraction(place, lines * block), label=f"column {column}")
            )
            y -= between
        panels.append(axes)
    return figure, panels


def new_figure(height: float) -> Figure:
    return Figure(figsize=(PAGE_WIDTH, height), dpi=DPI, facecolor="none")


def to_fraction(inches: Place, height: float) -> Place:
    x, y, width, tall = inches
    return x / PAGE_WIDTH, y / height, width / PAGE_WIDTH, tall / height


def to_png(figure: Figure) -> bytes:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return encode_png(np.asarray(canvas.buffer_rgba()))


def encode_png(pixels: np.ndarray) -> bytes:
    """Return RGBA pixels, shape (height, width, 4), as a PNG with no row filtered.

    Charts are flat areas, which zlib packs best as they are: trying every filter on every row, as
    encoders for photographs do, takes twice the time and gives larger files.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def style_axes(ax: Axes, title: str = "", *, size: float = TITLE) -> None:
    if title:
        room = ax.get_position().width * PAGE_WIDTH * 72 / (LETTER * size)
        title = shorten(title, min(34, int(room)))
        ax.set_title(title, fontsize=size, loc="left", y=1.0, pad=5, **FONT)
    ax.patch.set_visible(False)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    ax.tick_params(colors=INK, labelsize=SMALL, length=2)


def label_axes(ax: Axes, x: str, y: str, *, every: bool = False) -> None:
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


def set_count_axis(ax: Axes, highest: int, *, log: bool) -> None:
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_ylim(0.5 if log else 0, max(highest, 1) * (2 if log else 1.06))
    format_axis(ax.yaxis)


def format_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda x, _: format_number(x)))


def draw_ticks(ax: Axes) -> None:
    """Draw the ticks that both axes would have as one line of marks and plain texts.

    A tick of matplotlib holds three lines and two texts, and costs five times as much. The limits
    have to be final.
    """
    root = ax.get_figure(root=True)
    columns, rows = ax.get_xaxis_transform(), ax.get_yaxis_transform()
    below = offset_copy(columns, root, 0, -5, units="points")
    beside = offset_copy(rows, root, -5, 0, units="points")
    ticks, labels = _take_ticks(ax.xaxis, "labelbottom")
    _mark(ax, ticks, [0] * len(ticks), "|", columns)
    for x, label in zip(ticks, labels, strict=False):
        ax.text(x, 0, label, transform=below, ha="center", va="top", fontsize=SMALL, **FONT)
    ax.xaxis.labelpad = 16
    ticks, labels = _take_ticks(ax.yaxis, "labelleft")
    _mark(ax, [0] * len(ticks), ticks, "_", rows)
    for y, label in zip(ticks, labels, strict=False):
        ax.text(0, y, label, transform=beside, ha="right", va="center", fontsize=SMALL, **FONT)
    ax.yaxis.labelpad = 7 + 5 * max(map(len, labels), default=0)


def _take_ticks(axis: Any, labelled: str) -> tuple[list[float], list[str]]:
    """Take the ticks within the limits off an axis; no labels where it shows none."""
    low, high = sorted(axis.get_view_interval())
    ticks = [float(tick) for tick in axis.get_majorticklocs() if low <= tick <= high]
    labels = axis.get_major_formatter().format_ticks(ticks)
    axis.set_major_locator(NullLocator())
    return ticks, labels if axis.get_tick_params()[labelled] else []


def _mark(ax: Axes, x: list[float], y: list[float], marker: str, transform: Any) -> None:
    line = Line2D(x, y, marker=marker, markersize=4, linestyle="", color=INK, transform=transform)
    line.set_clip_on(False)
    ax.add_artist(line)


def write_note(ax: Axes, text: str) -> None:
    """Write above the right end of an Axes, on the line of its title."""
    ax.set_title(text, fontsize=SMALL, loc="right", y=1.0, pad=5, **FONT)


def padded_limits(ranges: Sequence[Range], *, log: bool) -> Range:
    """Return limits that hold zero and every range, with a little room on both sides."""
    low = min([0.0, *(low for low, _ in ranges)])
    high = max([0.0, *(high for _, high in ranges)])
    if low == high:
        return -1.0, 1.0
    room = 0.03 * (high - low)
    return (1.25 * low, 1.25 * high) if log and low < 0 < high else (low - room, high + room)


def spell_about(about: str) -> str:
    return f" of {shorten(about, 60)}" if about else ""
