"""Section 3: the codes of one layer, and how many weights lie at the rails."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..parameter_inspector import CodeCounts
from ..spelling import format_share, spell_count, spell_integer
from .spots import MOST_SPOTS, Spot, point_at_bins, share_spots
from .style import (
    ALERT,
    Picture,
    add_panels,
    format_axis,
    label_axes,
    new_figure,
    set_count_axis,
    spell_about,
    style_axes,
    to_png,
    write_note,
)

MOST_CODES = 256  # more are drawn several to a step


def render_codes(
    codes: Mapping[str, CodeCounts],
    colors: Mapping[str, str],
    *,
    log: bool = False,
    about: str = "",
    most_spots: int = MOST_SPOTS,
) -> Picture:
    """Return `draw_codes` as a picture; ``about`` is the layer's name."""
    figure = draw_codes(codes, colors, log=log)
    spots = [
        spot
        for one, ax in zip(codes.values(), figure.axes, strict=True)
        for spot in point_at_codes(one, ax, share_spots(most_spots, len(codes)))
    ]
    return Picture(to_png(figure), describe_codes(codes, about), spots=tuple(spots))


def point_at_codes(codes: CodeCounts, ax: Axes, most: int) -> list[Spot]:
    """Return how many weights have each code, or each of some codes together."""

    def say(run: range) -> str:
        first, last = (codes.first + at for at in (run.start, run.stop - 1))
        named = f"codes {spell_integer(first)} to {spell_integer(last)}"
        count = int(codes.counts[run.start : run.stop].sum())
        rail = " (a rail)" if count and {first, last} & set(codes.rails) else ""
        text = f"code {spell_integer(first)}" if first == last else named
        return f"{text}{rail}: {spell_count(count, 'weight')}"

    edges = codes.first + np.arange(codes.counts.size + 1) - 0.5
    return point_at_bins(ax, edges, codes.counts, most, say)


def draw_codes(
    codes: Mapping[str, CodeCounts], colors: Mapping[str, str], *, log: bool = False
) -> Figure:
    """Draw, for each variant, how often each integer occurs, the rails in their own colour."""
    figure, panels = add_panels(list(codes), heights=(1.7,), every=True)
    for (name, one), (ax,) in zip(codes.items(), panels, strict=True):
        plot_codes(one, color=colors[name], log=log, ax=ax)
        style_axes(ax, name)
        label_axes(ax, "code", "weights with it", every=True)
        size = one.counts.size
        text = (
            f"{one.used:,} of {size:,} codes occur, {format_share(one.rails_share, 2)} at the rails"
        )
        write_note(
            ax, text if len(codes) < 3 else f"{format_share(one.rails_share, 2)} at the rails"
        )
    return figure


def plot_codes(codes: CodeCounts, *, color: str, log: bool = False, ax: Axes | None = None) -> Axes:
    """Draw one step for each code, the two rails wider and in the colour of an alarm."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
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
    set_count_axis(ax, int(counts.max(initial=0)), log=log)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    format_axis(ax.xaxis)
    return ax


def describe_codes(codes: Mapping[str, CodeCounts], about: str = "") -> str:
    """Return the codes in words: how many occur, and how many weights lie at the rails."""
    parts = [f"Integer codes{spell_about(about)}."]
    for name, one in codes.items():
        (low, high), (lows, highs) = one.rails, one.at_rails
        parts.append(
            f"{name}: {one.used:,} of {one.counts.size:,} codes occur; "
            f"{format_share(one.rails_share, 2)} of {int(one.counts.sum()):,} weights at the "
            f"rails: {lows:,} at {spell_integer(low)}, {highs:,} at {spell_integer(high)}."
        )
    return " ".join(parts)
