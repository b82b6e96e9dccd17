"""What each step of a measured plan brings the output, and what the named plans do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..parameter_inspector import (
    MeasuredPlan,
    PlanName,
    TargetKind,
    format_level,
    merge_moves,
)
from .style import (
    FONT,
    INK,
    PAGE_WIDTH,
    SELECTED,
    SMALL,
    VARIANT_COLORS,
    Picture,
    draw_ticks,
    format_axis,
    label_axes,
    new_figure,
    style_axes,
    to_fraction,
    to_png,
    write_note,
)

LINE = VARIANT_COLORS[0]
# A shape for each named plan: no meaning by colour alone.
MARKERS = {PlanName.PER_CHANNEL: "s", PlanName.SIXTEEN_BITS: "^", PlanName.LEAVE_OUT: "D"}
NUMBER_ROOM = 0.03  # of the axis, that the number of a step takes
Point = tuple[int, float]


def render_measured_plan(plan: MeasuredPlan, others: Sequence[MeasuredPlan] = ()) -> Picture:
    """Return `draw_measured_plan` as a picture."""
    return Picture(to_png(draw_measured_plan(plan, others)), describe_curve(plan, others))


def draw_measured_plan(plan: MeasuredPlan, others: Sequence[MeasuredPlan] = ()) -> Figure:
    """Draw the output SQNR of a plan after each step against how many tensors are changed."""
    height = 2.9
    figure = new_figure(height)
    place = (0.72, 0.5, PAGE_WIDTH - 0.87, height - 0.86)
    ax = figure.add_axes(to_fraction(place, height), label="column 0")
    plot_steps(plan, others, ax=ax)
    style_axes(ax, "What each step brings")
    label_axes(ax, "tensors that are changed", "output, dB, deciding half")
    draw_ticks(ax)
    write_note(
        ax, "   ".join(["○ the file now", "● a step", *(word for *_, word in list_levels(plan))])
    )
    return figure


def list_points(plan: MeasuredPlan) -> list[Point]:
    """Return (tensors changed, output SQNR in dB): the file, then each step."""
    points = [(0, plan.before.sqnr_db)]
    for number, step in enumerate(plan.steps, 1):
        moves = merge_moves(move for each in plan.steps[:number] for move in each.moves)
        changed = {quantizer.index for move in moves for quantizer in move.quantizers}
        points.append((len(changed), step.level.sqnr_db))
    return [(count, db) for count, db in points if math.isfinite(db)]


def plot_steps(
    plan: MeasuredPlan, others: Sequence[MeasuredPlan] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw the steps as a line of dots, each other plan as a mark, levels as lines."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    points = list_points(plan)
    counts, levels = [count for count, _ in points], [db for _, db in points]
    ax.plot(counts, levels, "-", color=LINE, linewidth=1.4)
    ax.plot(counts[1:], levels[1:], "o", ms=5.5, color=LINE)
    ax.plot(counts[:1], levels[:1], "o", ms=8, mfc="none", mec=INK, mew=1.4)
    _number_steps(ax, points[1:])
    most = max(count for one in (plan, *others) for count, _ in list_points(one))
    for other in others:
        _mark_plan(ax, other, most)
    for level, dashes, _ in list_levels(plan):
        ax.axhline(level, color=INK, linewidth=0.9, linestyle=dashes, zorder=0)
    ax.margins(0.06, 0.16)
    ax.set_xlim(left=-0.02 * max(1.0, ax.get_xlim()[1]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
        format_axis(axis)
    return ax


def _number_steps(ax: Axes, points: Sequence[Point]) -> None:
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, **FONT}
    for at in choose_numbered([count for count, _ in points]):
        ax.annotate(str(at + 1), points[at], (0, 6), ha="center", **words)


def choose_numbered(counts: Sequence[int]) -> list[int]:
    """Return which steps have room for a number: the last, and those far enough from the next."""
    room = NUMBER_ROOM * max(counts, default=0)
    shown: list[int] = []
    for at in reversed(range(len(counts))):
        if not shown or counts[shown[-1]] - counts[at] >= room:
            shown.append(at)
    return shown[::-1]


def _mark_plan(ax: Axes, other: MeasuredPlan, most: int) -> None:
    """Draw a named plan as a mark, its name on the side where there is room."""
    point = list_points(other)[-1]
    ax.plot(*point, MARKERS.get(other.name, "x"), ms=6.5, mfc="none", mec=SELECTED, mew=1.3)
    is_far = point[0] > 0.7 * most
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, **FONT}
    side = ((-8, 4), "right") if is_far else ((8, 4), "left")
    ax.annotate(other.name.value, point, side[0], ha=side[1], **words)


def list_levels(plan: MeasuredPlan) -> list[tuple[float, Any, str]]:
    """Return the levels that are drawn as lines: dB, how the line is dashed, what it says."""
    levels: list[tuple[float, Any, str]] = []
    if plan.everything is not None and math.isfinite(plan.everything.sqnr_db):
        word = "dotted: everything in 16 bits and per channel"
        levels.append((plan.everything.sqnr_db, (0, (1, 2)), word))
    if plan.target is not None and plan.target.kind is TargetKind.OUTPUT_SQNR:
        levels.append((plan.target.value, (0, (4, 3)), "dashed: the target"))
    return levels


def describe_curve(plan: MeasuredPlan, others: Sequence[MeasuredPlan] = ()) -> str:
    """Return the curve in words: where it starts and ends, the named plans, the levels."""
    points = list_points(plan)
    parts = [
        f"Output SQNR against changed tensors, on the {len(plan.deciding)} samples that decide: "
        f"{format_level(plan.before.sqnr_db)} now"
    ]
    if len(points) > 1:
        steps = ", ".join(f"{count} changed {format_level(db)}" for count, db in points[1:])
        parts.append(f"after {len(plan.steps)} steps: {steps}")
    parts += [f"{one.name.value} {format_level(one.after.sqnr_db)}" for one in others]
    if plan.everything is not None:
        parts.append(f"all in 16 bits and per channel {format_level(plan.everything.sqnr_db)}")
    return "; ".join(parts) + "."
