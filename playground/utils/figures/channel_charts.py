"""Section 3: the output channels of one layer, their ranges and their SQNR."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..parameter_inspector import (
    HEALTHY_CHANNEL_DB,
    MeasuredWeight,
    channel_max_abs,
    channel_sqnr_db,
    living_channels,
)
from ..spelling import format_db, format_number, spell_count
from .spots import MOST_SPOTS, Spot, join_neighbours, point_at_columns, share_spots
from .style import (
    ALERT,
    FONT,
    INK,
    SMALL,
    Picture,
    Range,
    add_panels,
    format_axis,
    label_axes,
    new_figure,
    padded_limits,
    spell_about,
    style_axes,
    to_png,
    write_note,
)

MOST_BARS = 160  # channels; more are drawn as one outline
NAMED_CHANNELS = 3
MOST_CUT = 0.05  # the share of channels that may go on beyond the picture
DWARFING = 8.0  # times as far as all the others: they are a line then


def render_channels(
    measured: Mapping[str, MeasuredWeight],
    colors: Mapping[str, str],
    *,
    about: str = "",
    most_spots: int = MOST_SPOTS,
) -> Picture:
    """Return `draw_channels` as a picture; ``about`` is the layer's name."""
    figure = draw_channels(measured, colors)
    height = len(figure.axes) // max(1, len(measured))
    spots = [
        spot
        for i, one in enumerate(measured.values())
        for spot in point_at_channels(
            one, figure.axes[height * i : height * (i + 1)], share_spots(most_spots, len(measured))
        )
    ]
    return Picture(to_png(figure), describe_channels(measured, about), spots=tuple(spots))


def point_at_channels(one: MeasuredWeight, axes: Sequence[Axes], most: int) -> list[Spot]:
    """Return range and SQNR of each channel, or of some channels together.

    Args:
        axes: the Axes of a panel, one above the other.
    """
    sums, decibels = one.sums, channel_sqnr_db(one.sums)

    def say(run: range) -> str:
        part = slice(run.start, run.stop)
        named = f"channel {run.start}" if len(run) == 1 else f"channels {run.start} to {run[-1]}"
        words = [f"{named}: {_spell_range(sums.low[part], sums.high[part])}"]
        if len(run) == 1 and sums.float_low is not None and sums.float_high is not None:
            words.append(f"float {_spell_range(sums.float_low[part], sums.float_high[part])}")
        if not np.isnan(decibels[part]).all():
            worst = "" if len(run) == 1 else "worst "
            words.append(f"{worst}{format_db(float(np.nanmin(decibels[part])))}")
        return "; ".join(words)

    runs = join_neighbours(sums.low.size, most)
    ends = [(run.start - 0.5, run.stop - 0.5) for run in runs]
    return point_at_columns(axes, ends, [say(run) for run in runs])


def _spell_range(low: np.ndarray, high: np.ndarray) -> str:
    known = low[np.isfinite(low)], high[np.isfinite(high)]
    if not known[0].size or not known[1].size:
        return "no finite weight"
    return f"{format_number(float(known[0].min()))} to {format_number(float(known[1].max()))}"


def draw_channels(measured: Mapping[str, MeasuredWeight], colors: Mapping[str, str]) -> Figure:
    """Draw, for each variant, the range of every output channel and above it the channel's SQNR.

    The SQNR is left out where no variant has a float original to compare with.
    """
    decibels = {name: channel_sqnr_db(one.sums) for name, one in measured.items()}
    compared = any(not np.isnan(db).all() for db in decibels.values())
    figure, panels = add_panels(list(measured), heights=(1.3, 1.55) if compared else (1.9,))
    limits = find_limits(list(measured.values()))
    top = max((db[np.isfinite(db)].max(initial=0) for db in decibels.values()), default=0)
    for (name, one), axes in zip(measured.items(), panels, strict=True):
        worst = worst_channels(one)
        if compared:
            plot_channel_sqnr(decibels[name], worst=worst, color=colors[name], ax=axes[0])
            axes[0].set_ylim(min(0.0, np.nanmin(decibels[name], initial=0)) - 3, 1.2 * top + 6)
            axes[0].tick_params(labelbottom=False)
            label_axes(axes[0], "", "SQNR, dB")
        plot_channel_ranges(one, worst=worst, color=colors[name], ax=axes[-1])
        axes[-1].set_ylim(limits)
        mark_cut(one, axes[-1])
        style_axes(axes[-1])
        style_axes(axes[0], name)
        label_axes(axes[-1], "output channel", "range")
        write_note(axes[0], _name_channels(one, worst, NAMED_CHANNELS if len(measured) < 3 else 1))
    return figure


def find_limits(measured: Sequence[MeasuredWeight]) -> Range:
    """Return the limits of the ranges: of all, or without a few that leave the others a line."""
    reach = padded_limits([_range_of(one) for one in measured], log=False)
    widths = [np.sort(_reach_of(one)) for one in measured]
    rest = [one[: one.size - max(1, int(MOST_CUT * one.size))].max(initial=0) for one in widths]
    limit, widest = max(rest, default=0.0), max((one.max(initial=0) for one in widths), default=0)
    if not widest > DWARFING * limit > 0:
        return reach
    limit = 1.4 * float(limit)
    return max(reach[0], -limit), min(reach[1], limit)


def mark_cut(one: MeasuredWeight, ax: Axes) -> None:
    """Mark the channels that go on beyond the limits, and say how many and how far."""
    low, high = ax.get_ylim()
    highs, lows = np.nan_to_num(one.sums.high), np.nan_to_num(one.sums.low)
    up, down = np.flatnonzero(highs > high), np.flatnonzero(lows < low)
    if up.size:
        _say_cut(ax, up, high, f"up to {format_number(float(highs.max()))}")
    if down.size:
        _say_cut(ax, down, low, f"down to {format_number(float(lows.min()))}")


def _say_cut(ax: Axes, cut: np.ndarray, limit: float, how_far: str) -> None:
    """Mark the cut channels at a limit; the words stand beside them, where there is more room."""
    is_up, (left, right) = limit > 0, ax.get_xlim()
    ax.plot(
        cut, [limit] * cut.size, "^" if is_up else "v", color=ALERT, markersize=4, clip_on=False
    )
    before, after = cut.min() - left, right - cut.max()
    at, side, gap = (cut.min(), "right", -5) if before > after else (cut.max(), "left", 5)
    ax.annotate(
        f"{cut.size:,} beyond, {how_far}",
        (float(at), limit),
        xytext=(gap, -3 if is_up else 3),
        textcoords="offset points",
        ha=side,
        va="top" if is_up else "bottom",
        fontsize=SMALL,
        **(FONT | {"color": ALERT}),
    )


def worst_channels(one: MeasuredWeight, count: int = NAMED_CHANNELS) -> list[int]:
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
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
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
    one: MeasuredWeight, *, worst: Sequence[int], color: str, ax: Axes | None = None
) -> Axes:
    """Draw each channel's range as a bar, and as a line the range of the float original."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
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
    ax.plot(
        list(worst),
        [0] * len(worst),
        "v",
        color=ALERT,
        markersize=5,
        clip_on=False,
        mec="white",
        mew=0.7,
    )
    ax.set_xlim(-0.7, low.size - 0.3)
    ax.axhline(0, color=INK, linewidth=0.6, alpha=0.5, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    format_axis(ax.yaxis)
    return ax


def describe_channels(measured: Mapping[str, MeasuredWeight], about: str = "") -> str:
    """Return the channels in words: how many, the worst ones, and the widest of each variant."""
    parts = [f"Output channels{spell_about(about)}."]
    for name, one in measured.items():
        widths, db = channel_max_abs(one.sums), channel_sqnr_db(one.sums)
        words = [f"{name}: {spell_count(db.size, 'channel')}"]
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


def _name_channels(one: MeasuredWeight, worst: Sequence[int], count: int) -> str:
    db, widths = channel_sqnr_db(one.sums), channel_max_abs(one.sums)
    if not worst:
        return ""
    if not np.isnan(db).all():
        return f"worst no. {', '.join(f'{i} ({format_db(db[i])})' for i in worst[:count])}"
    median = float(np.nanmedian(widths)) if not np.isnan(widths).all() else 0.0
    times = [f" ({format_number(widths[i] / median)}×)" if median > 0 else "" for i in worst]
    named = [f"{i}{text}" for i, text in zip(worst[:count], times, strict=False)]
    return f"widest no. {', '.join(named)}"


def _reach_of(one: MeasuredWeight) -> np.ndarray:
    """Return how far from 0 each channel goes, here or in the float original."""
    ends = (one.sums.low, one.sums.high, one.sums.float_low, one.sums.float_high)
    known = [np.abs(np.nan_to_num(end, posinf=0, neginf=0)) for end in ends if end is not None]
    return np.asarray(np.max(known, axis=0))


def _range_of(one: MeasuredWeight) -> Range:
    low, high = one.metrics["range_low"], one.metrics["range_high"]
    ends = [low, high]
    for more in (one.sums.float_low, one.sums.float_high):
        ends += [] if more is None else [float(end) for end in more[np.isfinite(more)]]
    known = [end for end in ends if math.isfinite(end)]
    return (min(known), max(known)) if known else (0.0, 0.0)
