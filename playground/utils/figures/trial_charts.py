"""A weight under the current and a proposed scheme, and what better models cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..parameter_inspector import (
    HEALTHY_CHANNEL_DB,
    Outcome,
    Plan,
    TradeOff,
    Trial,
)
from ..spelling import LOSSLESS, format_bytes, format_db, format_number
from .channel_charts import MOST_BARS
from .spots import MOST_SPOTS, Spot, join_neighbours, point_at_columns, share_spots
from .style import (
    FONT,
    INK,
    PAGE_WIDTH,
    SELECTED,
    SMALL,
    VALUES,
    VARIANT_COLORS,
    Picture,
    draw_ticks,
    format_axis,
    label_axes,
    new_figure,
    set_count_axis,
    shorten,
    spell_about,
    style_axes,
    to_fraction,
    to_png,
    write_note,
)
from .weight_charts import plot_histogram, point_at_weights

# Of no variant that has four or fewer beside it; rings and dots say the same.
PROPOSED = "#7d55c7"
ORIGINAL = VARIANT_COLORS[0]


def render_trial(
    trial: Trial, variant: str, colors: Mapping[str, str], *, log: bool = False, about: str = ""
) -> Picture:
    """Return `draw_trial` as a picture; ``about`` is the layer's name."""
    figure = draw_trial(trial, variant, colors, log=log)
    spots = point_at_trial(trial, figure.axes)
    return Picture(to_png(figure), describe_trial(trial, variant, about), spots=tuple(spots))


def point_at_trial(trial: Trial, axes: Sequence[Axes]) -> list[Spot]:
    """Return the counts of each bin and, below, the SQNR of each channel."""
    counts = (trial.original_counts, trial.current.counts, trial.proposed.counts)
    spots = [
        spot
        for one, ax in zip(counts, axes, strict=False)
        for spot in point_at_weights(ax, trial.edges, one, share_spots(MOST_SPOTS, len(axes)))
    ]
    current, proposed = trial.current.channel_sqnr_db, trial.proposed.channel_sqnr_db

    def say(run: range) -> str:
        part = slice(run.start, run.stop)
        named = f"channel {run.start}" if len(run) == 1 else f"channels {run.start} to {run[-1]}"
        levels = [format_db(_lowest(one[part])) for one in (current, proposed)]
        worst = "" if len(run) == 1 else ", the worst"
        return f"{named}{worst}: current {levels[0]}, proposed {levels[1]}"

    runs = join_neighbours(current.size, share_spots(MOST_SPOTS, len(axes)))
    ends = [(run.start - 0.5, run.stop - 0.5) for run in runs]
    return spots + point_at_columns([axes[-1]], ends, [say(run) for run in runs])


def draw_trial(
    trial: Trial, variant: str, colors: Mapping[str, str], *, log: bool = False
) -> Figure:
    """Draw the float, current and proposed values over the same bins and counts.

    Below them the SQNR of each channel, current as rings and proposed as dots.
    """
    height = 4.5
    figure = new_figure(height)
    color, current = colors[variant], f"{shorten(variant, 16)}, current"
    counts = {
        "float": trial.original_counts,
        current: trial.current.counts,
        "proposed": trial.proposed.counts,
    }
    highest = max(int(one.max(initial=0)) for one in counts.values())
    left, gap, width = 0.72, 0.3, (PAGE_WIDTH - 0.87 - 0.6) / 3
    for i, (name, shade) in enumerate(zip(counts, (ORIGINAL, color, PROPOSED), strict=True)):
        place = (left + i * (width + gap), height - 1.96, width, 1.6)
        ax = figure.add_axes(to_fraction(place, height), label=f"column {i}")
        plot_histogram(counts[name], trial.edges, color=shade, log=log, ax=ax)
        set_count_axis(ax, highest, log=log)
        style_axes(ax, name)
        label_axes(ax, VALUES if i == 1 else "", "weights in the bin")
        draw_ticks(ax)
    for ax, outcome in zip(figure.axes[1:], (trial.current, trial.proposed), strict=True):
        write_note(ax, f"worst channel {format_db(outcome.worst_channel_sqnr_db)}")
    place = (left, 0.48, PAGE_WIDTH - left - 0.15, 1.32)
    ax = figure.add_axes(to_fraction(place, height), label="column 0")
    plot_channels(trial.current, trial.proposed, color=color, ax=ax)
    style_axes(ax, "SQNR of each channel")
    label_axes(ax, "output channel", "SQNR, dB")
    draw_ticks(ax)
    return figure


def plot_channels(
    current: Outcome, proposed: Outcome, *, color: str, ax: Axes | None = None
) -> Axes:
    """Draw the SQNR of each channel, current as ring and proposed as dot, over a line at 20 dB."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    channels = np.arange(current.channel_sqnr_db.size)
    ring, dot = (7.0, 4.2) if channels.size <= MOST_BARS else (2.6, 1.4)
    styles: list[tuple[Outcome, dict[str, Any]]] = [
        (current, {"ms": ring, "mfc": "none", "mec": color, "mew": 1.1}),
        (proposed, {"ms": dot, "color": PROPOSED, "mew": 0}),
    ]
    for outcome, style in styles:
        db = np.where(np.isfinite(outcome.channel_sqnr_db), outcome.channel_sqnr_db, np.nan)
        ax.plot(channels, db, "o", **style)
    ax.axhline(HEALTHY_CHANNEL_DB, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    known = [db[np.isfinite(db)] for db in (current.channel_sqnr_db, proposed.channel_sqnr_db)]
    ends = np.concatenate([*known, [0.0, HEALTHY_CHANNEL_DB]])
    ax.set_ylim(float(ends.min()) - 4, 1.12 * float(ends.max()) + 4)
    ax.set_xlim(-0.7, channels.size - 0.3)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    write_note(ax, _name_marks(current, proposed))
    return ax


def _name_marks(current: Outcome, proposed: Outcome) -> str:
    parts = ["○ current", "● proposed", "dashed: 20 dB"]
    for name, outcome in (("current", current), ("proposed", proposed)):
        count = int((outcome.channel_sqnr_db == math.inf).sum())
        parts += [f"{name}: {count} {LOSSLESS}, not drawn"] if count else []
    return "   ".join(parts)


def describe_trial(trial: Trial, variant: str, about: str = "") -> str:
    """Return the trial in words: SQNR, worst channel and bytes, current and proposed."""
    low, high = trial.edges[0], trial.edges[-1]
    parts = [
        f"Another quantization of the weights{spell_about(about)}, from {format_number(low)} to "
        f"{format_number(high)}."
    ]
    for name, one in ((f"{variant}, current", trial.current), ("Proposed", trial.proposed)):
        under = int((one.channel_sqnr_db < HEALTHY_CHANNEL_DB).sum())
        parts.append(
            f"{name}: {one.scheme}, tensor {format_db(one.sqnr_db)}, worst channel "
            f"{format_db(one.worst_channel_sqnr_db)}, {under} of {one.channel_sqnr_db.size} "
            f"channels under 20 dB, {one.byte_count:,} bytes."
        )
    return " ".join(parts)


def _lowest(decibels: np.ndarray) -> float:
    return float(np.fmin.reduce(decibels, initial=np.nan))


# The whole model ----------------------------------------------------------------------------------


def render_trade_off(plan: Plan) -> Picture:
    """Return `draw_trade_off` as a picture."""
    figure = draw_trade_off(plan)
    spots = point_at_trade_off(plan, figure.axes[0])
    return Picture(to_png(figure), describe_trade_off(plan), spots=tuple(spots))


def point_at_trade_off(plan: Plan, ax: Axes) -> list[Spot]:
    """Return the level that each step of the curve reaches, and its bytes."""
    curve = _finite(plan.curve)
    runs = join_neighbours(len(curve), MOST_SPOTS)
    sizes = [*(curve[run.start].byte_count for run in runs), ax.get_xlim()[1]]
    texts = [
        f"{format_bytes(curve[run.start].byte_count)}: worst channel "
        f"{format_db(curve[run[-1]].level_db)}"
        for run in runs
    ]
    return point_at_columns([ax], list(itertools.pairwise(sizes)), texts)


def draw_trade_off(plan: Plan) -> Figure:
    """Draw the fewest bytes of all weights that bring every worst channel to a level."""
    height = 2.6
    figure = new_figure(height)
    place = (0.72, 0.5, PAGE_WIDTH - 0.87, height - 0.86)
    ax = figure.add_axes(to_fraction(place, height), label="column 0")
    plot_trade_off(plan, ax=ax)
    style_axes(ax, "What a better worst channel costs")
    label_axes(
        ax, "bytes of the weights that can be changed", "worst channel, dB, where a layer can"
    )
    draw_ticks(ax)
    write_note(ax, "line: the fewest bytes   ○ current   ● the plan   dashed: 20 dB")
    return figure


def plot_trade_off(plan: Plan, *, ax: Axes | None = None) -> Axes:
    """Draw the curve as steps, the current model as a ring, what the plan reaches as a dot."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    curve = _finite(plan.curve)
    sizes, levels = ([one.byte_count for one in curve], [one.level_db for one in curve])
    ax.step(sizes, levels, where="post", color=ORIGINAL, linewidth=1.4)
    current = plan.current_bytes, plan.current_level_db
    chosen = plan.byte_count, plan.level_db
    ax.plot(*current, "o", ms=8, mfc="none", mec=INK, mew=1.4)
    ax.plot(*chosen, "o", ms=7, color=SELECTED)
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, **FONT}
    ax.annotate("current", current, (8, -9), **words)
    ax.annotate(f"reached: {format_db(chosen[1])}", chosen, (-8, 6), ha="right", **words)
    ax.margins(0.03, 0.16)
    ax.axhline(HEALTHY_CHANNEL_DB, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6))
        format_axis(axis)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_bytes(round(x))))
    return ax


def _finite(curve: Sequence[TradeOff]) -> list[TradeOff]:
    return [one for one in curve if math.isfinite(one.level_db)]


def describe_trade_off(plan: Plan) -> str:
    """Return the curve in words: current, the target, and what either end costs."""
    points = {"current": (plan.current_bytes, plan.current_level_db)}
    points["the target"] = plan.byte_count, plan.level_db
    if plan.curve:
        for name, end in (("fewest bytes", plan.curve[0]), ("best", plan.curve[-1])):
            points[name] = end.byte_count, end.level_db
    words = [f"{name} {size:,} bytes at {format_db(db)}" for name, (size, db) in points.items()]
    return f"Bytes of the weights against the SQNR of the worst channel: {', '.join(words)}."
