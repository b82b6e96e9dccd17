"""What every chart shares: the picture a page can show, colours, fonts, names made short, axes."""

from __future__ import annotations

import math
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
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from ..parameter_inspector import SharedCache
from ..spelling import format_tick
from .spots import Spot

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

MOST_COLORS = 256  # that a byte can name
PANEL_COLORS = 32  # plain areas and their edges: more are not seen, and make the file larger
PANEL = "column"  # how the Axes of panels are labelled
DPI = 200  # twice what the page shows, for sharp text
PAGE_WIDTH = 8.0  # inches; the page scales it to its column
LABEL_LENGTH = 30
MOST_COLUMNS = 3  # panels in a line; in narrower ones titles and notes meet
LETTER = 0.65  # width of a letter on average, of its size


@dataclass(frozen=True)
class Picture:
    """A chart as PNG bytes, and what it shows in words.

    Attributes:
        notes: what it could not show.
        spots: what is under the pointer.
    """

    png: bytes
    alt: str
    notes: tuple[str, ...] = ()
    spots: tuple[Spot, ...] = ()


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
    names: Sequence[str], heights: Sequence[float] = (2.05,), *, every: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a panel for each name, up to three in a line.

    Args:
        heights: inches, of the Axes that stand one above the other in each panel.
        every: each panel has counts of its own, and needs room for their numbers.
    """
    columns = max(1, min(len(names), MOST_COLUMNS))
    lines = max(1, math.ceil(len(names) / columns))
    left, gap, between, top, bottom = 0.72, 0.42 if every else 0.34, 0.12, 0.36, 0.5
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
                figure.add_axes(to_fraction(place, lines * block), label=f"{PANEL} {column}")
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
    panels = [ax for ax in figure.axes if str(ax.get_label()).startswith(PANEL)]
    for ax in panels:
        draw_ticks(ax)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    most = PANEL_COLORS if panels == figure.axes else MOST_COLORS
    return encode_png(np.asarray(canvas.buffer_rgba()), most)


def encode_png(pixels: np.ndarray, most_colors: int = MOST_COLORS) -> bytes:
    """Return RGBA pixels, shape (height, width, 4), as a PNG of few colours, unfiltered.

    Charts are flat areas and a few edges, which zlib packs best as they are: trying every filter on
    every row, as encoders for photographs do, takes twice the time and gives larger files. One byte
    for a pixel in place of four packs four times as fast.
    """
    height, width, _ = pixels.shape
    colors, indices = index_colors(pixels, most_colors)
    rows = np.zeros((height, 1 + width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = indices
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colors[:, :3].tobytes()),
        (b"tRNS", colors[:, 3].tobytes()),
        (b"IDAT", zlib.compress(rows.data, 8)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def index_colors(pixels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of a picture, shape (colours, 4), and the index of each pixel's.

    Of more than ``most`` the rarest, shades of an edge, are shown as the nearest of the others.
    """
    flat = np.ascontiguousarray(pixels).view(np.uint32).ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(starts, append=flat.size)
    found, color_of_run = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(color_of_run, lengths)
    kept = np.argsort(-counts, kind="stable")[:most]
    colors = found.view(np.uint8).reshape(-1, 4)
    shown = colors[:, :3] * (colors[:, 3:] / 255.0)
    seen = np.concatenate([shown, colors[:, 3:]], axis=1)
    # The square of the distance, without what is the same for all that may be chosen.
    nearest = ((seen[kept] ** 2).sum(axis=1) - 2 * seen @ seen[kept].T).argmin(axis=1)
    nearest[kept] = np.arange(kept.size)
    indices = np.repeat(nearest[color_of_run].astype(np.uint8), lengths)
    return colors[kept], indices.reshape(pixels.shape[:2])


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
    if ax.get_label() == f"{PANEL} 0":
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
    axis.set_major_formatter(FuncFormatter(lambda x, _: format_tick(x)))


def draw_ticks(ax: Axes) -> None:
    """Draw the ticks that both axes would have as one line of marks and plain texts.

    A tick of matplotlib holds three lines and two texts, and costs five times as much. The limits
    have to be final.
    """
    root = ax.get_figure(root=True)
    columns, rows = ax.get_xaxis_transform(), ax.get_yaxis_transform()
    below = offset_copy(columns, root, 0, -5, units="points")
    beside = offset_copy(rows, root, -5, 0, units="points")
    if ticks := _take_ticks(ax.xaxis, "labelbottom"):
        _mark(ax, [(x, 0) for x in ticks], TICKDOWN, columns, ax.xaxis)
        for x, label in _list_labelled(ticks):
            ax.text(x, 0, label, transform=below, ha="center", va="top", fontsize=SMALL, **FONT)
        ax.xaxis.labelpad = 16
    if ticks := _take_ticks(ax.yaxis, "labelleft"):
        _mark(ax, [(0, y) for y in ticks], TICKLEFT, rows, ax.yaxis)
        for y, label in _list_labelled(ticks):
            ax.text(0, y, label, transform=beside, ha="right", va="center", fontsize=SMALL, **FONT)
        ax.yaxis.labelpad = 7 + 5 * max(map(len, ticks.values()))


def _take_ticks(axis: Any, labelled: str) -> dict[float, str]:
    """Take the ticks within the limits off an axis, each with its label, empty where none shows."""
    low, high = sorted(axis.get_view_interval())
    ticks = [float(tick) for tick in axis.get_majorticklocs() if low <= tick <= high]
    labels = axis.get_major_formatter().format_ticks(ticks)
    axis.set_major_locator(NullLocator())
    return dict(
        zip(ticks, labels if axis.get_tick_params()[labelled] else [""] * len(ticks), strict=True)
    )


def _list_labelled(ticks: Mapping[float, str]) -> list[tuple[float, str]]:
    return [(at, label) for at, label in ticks.items() if label]


def _mark(
    ax: Axes, places: list[tuple[float, float]], marker: Any, transform: Any, axis: Any
) -> None:
    """Draw a mark at each place, as long as the ticks of an axis are to be."""
    size = axis.get_tick_params().get("length", 2)
    line = Line2D(*zip(*places, strict=True), marker=marker, markersize=size, linestyle="")
    line.set(color=INK, transform=transform, clip_on=False)
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
