"""Section 2, once outputs are measured: which quantizer loses how much, and what takes it back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ..parameter_inspector import (
    Comparison,
    GroupNoise,
    Outputs,
    QuantizerKind,
    format_level,
    name_group,
)
from ..spelling import format_gain, format_part, spell_count
from .spots import Spot, find_corner, point_at_columns
from .style import (
    ACTIVATION_COLOR,
    FONT,
    INK,
    NORMAL,
    PAGE_WIDTH,
    SMALL,
    WEIGHT_COLOR,
    Picture,
    color_variants,
    format_axis,
    new_figure,
    shorten_apart,
    style_axes,
    to_fraction,
    to_png,
    write_note,
)

MOST_BARS = 15
NAME_LENGTH = 36
SMALLEST_SHARE = 0.001  # the smallest that has a bar of its own
FEWEST_LINES = 7  # that the curve beside the bars needs
ROW, TOP, BOTTOM = 0.235, 0.42, 0.52  # inches
NAMES, BARS, GAP = 2.55, 2.0, 0.95
THICK = 0.72  # of a row
KIND_COLORS = {QuantizerKind.WEIGHT: WEIGHT_COLOR, QuantizerKind.ACTIVATION: ACTIVATION_COLOR}
HATCHES = {QuantizerKind.WEIGHT: "", QuantizerKind.ACTIVATION: "/////"}


@dataclass(frozen=True)
class OutputChart:
    """One chart of what running a variant found. ``render`` takes comparison and variant."""

    caption: str
    render: Callable[[Comparison, str], Picture | None]


def _draw_shares(comparison: Comparison, variant: str) -> Picture | None:
    outputs = comparison.outputs.get(variant)
    if not outputs or not outputs.groups:
        return None
    color = color_variants(list(comparison.variants))[variant]
    return render_shares(outputs, color, about=variant)


OUTPUT_CHARTS: Mapping[str, OutputChart] = {
    "shares": OutputChart(
        "**The shares**: which part of the noise at the output each quantizer causes when it alone "
        "is on, the worst first; ▨ is an activation, ■ a weight. Beside them, **recovered**: what "
        "the output keeps when the first of them are given back to float.",
        _draw_shares,
    ),
}
"""Name -> chart, in the order of page and report."""


def render_shares(outputs: Outputs, color: str = INK, about: str = "") -> Picture:
    """Return `draw_shares` as a picture; ``about`` is the variant's name."""
    figure = draw_shares(outputs, color=color)
    bars, *curve = figure.axes
    spots = point_at_shares(outputs, bars)
    for ax in curve:
        spots += point_at_recovered(outputs, ax)
    return Picture(to_png(figure), describe_shares(outputs, about), spots=tuple(spots))


def point_at_shares(outputs: Outputs, ax: Axes) -> list[Spot]:
    """Return the whole name of each bar, its share, and what the output gains without it."""
    shown = list_bars(outputs)
    right, top = ax.get_position().x1, find_corner(ax, 0, -0.5)[1]
    height = find_corner(ax, 0, 0.5)[1] - top
    return [
        Spot(0.0, top + row * height, right, height, _say_group(group))
        for row, group in enumerate(shown)
    ]


def _say_group(group: GroupNoise) -> str:
    lines = [name_group(group), f"{format_part(group.share)} of the noise at the output"]
    if group.restored_db is not None:
        lines.append(f"given back alone: {format_gain(group.restored_db, 0)} at the output")
    return "\n".join(lines)


def point_at_recovered(outputs: Outputs, ax: Axes) -> list[Spot]:
    """Return what the output keeps at each point of the curve."""
    points = list_points(outputs)
    ends = [(place - 0.5, place + 0.5) for place in range(len(points))]
    texts = [
        f"{spell_count(count, 'quantizer')} given back: {format_level(level)}"
        if count
        else f"the file: {format_level(level)}"
        for count, level in points
    ]
    return point_at_columns([ax], ends, texts)


def draw_shares(outputs: Outputs, *, color: str = INK) -> Figure:
    """Draw the shares of the worst quantizers as bars, and beside them the recovered curve.

    Args:
        color: of the curve, the variant's.
    """
    shown = list_bars(outputs)
    lines = max(len(shown) + (len(outputs.groups) > len(shown)), FEWEST_LINES)
    height = TOP + lines * ROW + BOTTOM
    figure = new_figure(height)
    bars = figure.add_axes(to_fraction((NAMES, BOTTOM, BARS, lines * ROW), height))
    plot_shares(outputs, ax=bars)
    bars.set_ylim(lines - 0.5, -0.5)
    left = NAMES + BARS + GAP
    if outputs.recovered:
        place = (left, BOTTOM, PAGE_WIDTH - left - 0.2, lines * ROW)
        plot_recovered(outputs, color=color, ax=figure.add_axes(to_fraction(place, height)))
    return figure


def plot_shares(outputs: Outputs, *, ax: Axes | None = None) -> Axes:
    """Draw one bar for each of the worst groups, and a line that sums up the others."""
    ax = ax or new_figure(4).add_axes((0.3, 0.1, 0.6, 0.8))
    shown = list_bars(outputs)
    shares = [group.share for group in shown]
    for kind in QuantizerKind:
        rows = [row for row, group in enumerate(shown) if group.kind is kind]
        _add_bars(ax, rows, [shares[row] for row in rows], kind)
    longest = max([*shares, 0.01])
    for row, (group, name) in enumerate(zip(shown, name_bars(shown), strict=True)):
        _label_row(ax, row, name, group.share, is_strong=row == 0)
    rest = outputs.groups[len(shown) :]
    if rest:
        others = spell_count(len(rest), "other")
        _label_row(ax, len(shown), others, sum(g.share for g in rest), has_bar=False)
    ax.set_xlim(0, longest * 1.02)
    ax.set_ylim(len(shown) + bool(rest) - 0.5, -0.5)
    style_axes(ax, "Share of the noise")
    _explain_kinds(ax)
    ax.spines["bottom"].set_visible(False)
    ax.xaxis.set_major_locator(NullLocator())
    ax.yaxis.set_major_locator(NullLocator())
    return ax


def list_bars(outputs: Outputs) -> Sequence[GroupNoise]:
    """Return the groups that have a bar: the worst, without those whose bar would be empty."""
    worst = outputs.groups[:MOST_BARS]
    return [one for i, one in enumerate(worst) if i == 0 or one.share >= SMALLEST_SHARE]


def name_bars(groups: Sequence[GroupNoise]) -> list[str]:
    """Return what stands beside each bar: the layer of a weight, the tensor of an activation."""
    names = [
        g.layers[0] if g.kind is QuantizerKind.WEIGHT and g.layers else g.tensor for g in groups
    ]
    return shorten_apart(names, NAME_LENGTH)


def _add_bars(ax: Axes, rows: Sequence[int], shares: Sequence[float], kind: QuantizerKind) -> None:
    """Draw all bars of a kind at once: one collection costs less than one bar of matplotlib."""
    half = THICK / 2
    boxes = [
        [(0, row - half), (share, row - half), (share, row + half), (0, row + half)]
        for row, share in zip(rows, shares, strict=True)
    ]
    color, is_hatched = KIND_COLORS[kind], bool(HATCHES[kind])
    bars = PolyCollection(
        boxes,
        facecolor=f"{color}55" if is_hatched else color,
        edgecolor=color,
        linewidth=0.8,
        hatch=HATCHES[kind],
        label=kind.value,
    )
    ax.add_collection(bars, autolim=False)


def _label_row(
    ax: Axes,
    row: int,
    name: str,
    share: float,
    *,
    is_strong: bool = False,
    has_bar: bool = True,
) -> None:
    weight = "bold" if is_strong else "normal"
    place: dict[str, Any] = {"va": "center", "fontsize": SMALL, "fontweight": weight}
    beside = ax.get_yaxis_transform()
    ax.text(-0.02, row, name, ha="right", transform=beside, **place, **FONT)
    room: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 0)}
    at = share if has_bar else 0.0
    ax.annotate(format_part(share), (at, row), annotation_clip=False, **room, **place, **FONT)


def _explain_kinds(ax: Axes) -> None:
    """Say below the bars what their filling means."""
    handles = [artist for artist in ax.collections if artist.get_paths()]
    names = [f"{artist.get_label()}s" for artist in handles]
    legend = ax.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(-0.012, -0.01),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.6,
        borderaxespad=0.3,
    )
    legend.set_in_layout(False)


def plot_recovered(outputs: Outputs, *, color: str = INK, ax: Axes | None = None) -> Axes:
    """Draw the output's SQNR against how many of the first groups are given back to float.

    The dotted line is the file, the dashed one the file with all its activations in float.
    """
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    points = list_points(outputs)
    counts, levels = [count for count, _ in points], [level for _, level in points]
    places = range(len(points))
    ax.plot(places, levels, color=color, marker="o", markersize=4, linewidth=1.6)
    marks = list_levels(outputs)
    for name, level in marks.items():
        ax.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        is_near = bool(levels) and level - levels[0] < 0.15 * (max(levels) - levels[0])
        is_above = level >= max(levels, default=level) or is_near
        _say_beside(ax, f"{name} {level:.1f}", 1.0, level, "right", 3 if is_above else -10)
    if outputs.sqnr_db is not None and counts[:1] == [0]:
        ax.axhline(levels[0], color=INK, linewidth=0.8, linestyle=(0, (1, 3)))
        _say_beside(ax, f"the file {levels[0]:.1f}", 0.0, levels[0], "left", -11)
    if len(levels) > 1:
        end = len(levels) - 1
        _say_beside(ax, f"{levels[-1]:.1f}", end, levels[-1], "center", 6, data=True)
    _limit_levels(ax, [*levels, *marks.values()])
    ax.set_xlim(-0.35, max(1, len(points) - 1) + 0.35)
    style_axes(ax, "Recovered")
    ax.xaxis.set_major_locator(FixedLocator(range(len(points))))
    ax.xaxis.set_major_formatter(lambda x, _: str(counts[int(x)]) if x < len(counts) else "")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    format_axis(ax.yaxis)
    ax.set_xlabel("quantizers given back", fontsize=NORMAL, **FONT)
    write_note(ax, "output SQNR, dB")
    return ax


def _say_beside(
    ax: Axes, text: str, x: float, level: float, side: str, up: float, *, data: bool = False
) -> None:
    """Write at a level, ``up`` points above it; ``x`` is a share of the Axes unless ``data``."""
    across = "data" if data else "axes fraction"
    place: dict[str, Any] = {"xycoords": (across, "data"), "textcoords": "offset points"}
    bold = "bold" if data else "normal"
    ax.annotate(
        text, (x, level), xytext=(0, up), ha=side, fontsize=SMALL, fontweight=bold, **place, **FONT
    )


def list_points(outputs: Outputs) -> list[tuple[int, float]]:
    """Return the curve: how many are given back, and the SQNR then; the file itself is the first.

    What has no number, and what nothing is lost by, has no place on an axis.
    """
    start = [] if outputs.sqnr_db is None else [(0, outputs.sqnr_db)]
    points = [*start, *((one.count, one.sqnr_db) for one in outputs.recovered)]
    return [(count, level) for count, level in points if math.isfinite(level)]


def list_levels(outputs: Outputs) -> dict[str, float]:
    """Return the levels to compare the curve with, by what they are of."""
    if outputs.split is None or not math.isfinite(outputs.split.weights_db):
        return {}
    return {"all activations float": outputs.split.weights_db}


def _limit_levels(ax: Axes, levels: Sequence[float]) -> None:
    low, high = (min(levels), max(levels)) if levels else (0.0, 1.0)
    room = max(0.14 * (high - low), 0.5)
    ax.set_ylim(low - 1.6 * room, high + 1.4 * room)


def describe_shares(outputs: Outputs, about: str = "") -> str:
    """Return bars and curve in words."""
    named = "; ".join(f"{name_group(g)} {format_part(g.share)}" for g in outputs.groups[:5])
    curve = ", ".join(f"{count}: {format_level(level)}" for count, level in list_points(outputs))
    of = f" of {about}" if about else ""
    text = f"Share of the noise at the output{of}, the worst of {len(outputs.groups)}: {named}."
    levels = "; ".join(f"{name} {format_level(db)}" for name, db in list_levels(outputs).items())
    if outputs.recovered:
        text += f" Output SQNR by quantizers given back: {curve}{f'; {levels}' if levels else ''}."
    return text
