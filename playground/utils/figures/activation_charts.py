"""Section 3, once outputs are measured: what flows through a layer, under what its scales hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from ..parameter_inspector import ActivationStatistics, LayerQuantizer, name_roles
from ..spelling import format_db, format_number, format_part, format_share, spell_count
from .spots import MOST_SPOTS, Spot, point_at_bins, point_at_columns, share_spots
from .style import (
    ALERT,
    FONT,
    INK,
    NORMAL,
    SMALL,
    Picture,
    Range,
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

MOST_PANELS = 8
# What was seen beyond the range of a scale is shown to this many times that range.
BEYOND = 0.5
HELD, SEEN = 0, 1  # the rows of the strip above each histogram
LEAST_CLIPPED = 1e-4  # that is written into the picture; the table has it all


@dataclass(frozen=True, eq=False)
class ShownActivation:
    """One panel: an activation quantizer of a layer in one variant."""

    variant: str
    title: str
    one: LayerQuantizer
    statistics: ActivationStatistics

    @property
    def limits(self) -> Range:
        """The ends of the x-axis: what the scale holds, and what was seen as far as it fits."""
        held, seen = self.statistics.represented, (self.statistics.low, self.statistics.high)
        if held is None:
            return seen if seen[0] < seen[1] else (seen[0] - 1, seen[0] + 1)
        width = (held[1] - held[0]) or 1.0
        low = max(min(held[0], seen[0]), held[0] - BEYOND * width)
        high = min(max(held[1], seen[1]), held[1] + BEYOND * width)
        return low, high


def list_activations(
    by_variant: Mapping[str, Sequence[LayerQuantizer]],
) -> list[ShownActivation]:
    """Return a panel for each activation quantizer whose numbers are known."""
    found = []
    for variant, quantizers in by_variant.items():
        for name, one in zip(name_roles(quantizers), quantizers, strict=True):
            if one.statistics is not None:
                found.append(ShownActivation(variant, f"{variant} · {name}", one, one.statistics))
    return found


def render_activations(
    shown: Sequence[ShownActivation],
    colors: Mapping[str, str],
    *,
    log: bool | None = None,
    about: str = "",
    most_spots: int = MOST_SPOTS,
) -> Picture:
    """Return `draw_activations` as a picture; ``about`` is the layer's name."""
    left = len(shown) - MOST_PANELS
    notes = (f"{left} more activations of this layer are in the table only.",) if left > 0 else ()
    panels = shown[:MOST_PANELS]
    figure = draw_activations(panels, colors, log=log)
    spots = [
        spot
        for i, one in enumerate(panels)
        for spot in (
            point_at_ranges_held(one, figure.axes[2 * i]),
            *point_at_flow(one, figure.axes[2 * i + 1], share_spots(most_spots, len(panels)) - 1),
        )
    ]
    return Picture(to_png(figure), describe_activations(shown, about), notes, tuple(spots))


def point_at_ranges_held(shown: ShownActivation, ax: Axes) -> Spot:
    """Return what the scale holds, what was seen and what was cut off."""
    one, (low, high) = shown.statistics, sorted(ax.get_xlim())
    lines = [] if one.represented is None else [f"held: {_spell(one.represented)}"]
    lines.append(f"seen: {_spell((one.low, one.high))}")
    if one.p999:
        lines.append(f"all but a thousandth: up to ±{format_number(one.p999)}")
    if one.clipped_share:
        lines.append(f"clipped: {format_share(one.clipped_share, 2)}")
    return point_at_columns([ax], [(low, high)], ["\n".join(lines)])[0]


def _spell(limits: Range) -> str:
    return f"{format_number(limits[0])} to {format_number(limits[1])}"


def point_at_flow(shown: ShownActivation, ax: Axes, most: int) -> list[Spot]:
    """Return how many values got each code, or each of some codes together."""
    counts = shown.statistics.histogram
    if counts is None:
        return []
    edges, what = find_edges(shown.statistics), "code " if _is_coded(shown.statistics) else ""

    def say(run: range) -> str:
        low, high = float(edges[run.start]), float(edges[run.stop])
        ends = (low + 0.5, high - 0.5) if what else (low, high)
        named = format_number(ends[0]) if ends[0] == ends[1] else _spell(ends)
        count = int(counts[run.start : run.stop].sum())
        return f"{what}{named}: {spell_count(count, 'value')}"

    return point_at_bins(ax, edges, counts, most, say)


def draw_activations(
    shown: Sequence[ShownActivation], colors: Mapping[str, str], *, log: bool | None = None
) -> Figure:
    """Draw, for each activation, how often each code came, under the range that its scale holds.

    Args:
        log: logarithmic counts; None decides by the counts.
    """
    figure, panels = add_panels([one.title for one in shown], heights=(0.3, 1.45), every=True)
    for one, (strip, ax) in zip(shown, panels, strict=True):
        plot_ranges_held(one, color=colors[one.variant], ax=strip)
        plot_flow(one, color=colors[one.variant], log=log, ax=ax)
        style_axes(strip, one.title, size=NORMAL)  # the note beside it is long
        strip.spines["bottom"].set_visible(False)
        strip.xaxis.set_major_locator(NullLocator())
        write_note(strip, _note(one))
    return figure


def _note(shown: ShownActivation) -> str:
    share = shown.one.share
    if math.isnan(share):
        return f"SQNR {format_db(shown.statistics.local_db)}"
    return f"costs {format_part(share)}"


def plot_ranges_held(shown: ShownActivation, *, color: str, ax: Axes | None = None) -> Axes:
    """Draw two bars: what the scale can hold, and what was seen; what is cut off in red."""
    ax = ax or new_figure(1).add_axes((0.1, 0.1, 0.8, 0.8))
    low, high = shown.limits
    seen = max(shown.statistics.low, low), min(shown.statistics.high, high)
    held = shown.statistics.represented
    if held is not None:
        ax.add_patch(Rectangle((held[0], HELD - 0.3), held[1] - held[0], 0.6, facecolor=INK))
        for start, end in ((seen[0], min(held[0], seen[1])), (max(held[1], seen[0]), seen[1])):
            if end > start:
                ax.add_patch(
                    Rectangle((start, SEEN - 0.3), end - start, 0.6, facecolor=ALERT, hatch="////")
                )
        seen = max(seen[0], held[0]), min(seen[1], held[1])
    ax.add_patch(Rectangle((seen[0], SEEN - 0.3), seen[1] - seen[0], 0.6, facecolor=color))
    _mark_p999(ax, shown)
    ax.set_xlim(*_with_room(low, high))
    ax.set_ylim(1.6, -0.6)
    ax.yaxis.set_major_locator(NullLocator())
    if ax.get_label() == "column 0":
        ax.set_yticks([HELD, SEEN], ["held", "seen"], fontsize=SMALL, **FONT)
        ax.tick_params(length=0)
    return ax


def _mark_p999(ax: Axes, shown: ShownActivation) -> None:
    """Mark how far all but a thousandth of the values reach, where that is well within."""
    p999 = shown.statistics.p999
    if p999 is None or p999 <= 0:
        return
    for at in (-p999, p999):
        if shown.statistics.low < at < shown.statistics.high:
            ax.plot(at, SEEN, marker="|", markersize=9, markeredgewidth=1.4, color=INK)


def _with_room(low: float, high: float) -> Range:
    room = 0.02 * ((high - low) or 1.0)
    return low - room, high + room


def plot_flow(
    shown: ShownActivation, *, color: str, log: bool | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how many values got each code, at the value that the code stands for."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    counts = shown.statistics.histogram
    if counts is None:
        ax.text(0.5, 0.5, "not counted", ha="center", transform=ax.transAxes, **FONT)
        ax.set_xlim(*_with_room(*shown.limits))
        ax.yaxis.set_major_locator(NullLocator())
    else:
        log = needs_log(counts) if log is None else log
        edges = find_edges(shown.statistics)
        ax.stairs(counts, edges, fill=True, color=color, baseline=0.5 if log else 0)
        _mark_rails(ax, shown.statistics, edges, log=log)
        set_count_axis(ax, int(counts.max(initial=0)), log=log)
        is_coded = shown.statistics.represented is None
        ax.set_xlim(*_with_room(*((edges[0], edges[-1]) if is_coded else shown.limits)))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    format_axis(ax.xaxis)
    style_axes(ax)
    label_axes(ax, "code" if _is_coded(shown.statistics) else "value", "values", every=True)
    return ax


def _is_coded(statistics: ActivationStatistics) -> bool:
    return statistics.represented is None and statistics.histogram is not None


def _mark_rails(
    ax: Axes, statistics: ActivationStatistics, edges: np.ndarray, *, log: bool
) -> None:
    """Draw the first and the last code in the colour of an alarm where values were cut off."""
    held, counts = statistics.represented, statistics.histogram
    if held is None or counts is None or not statistics.clipped_share:
        return
    base = 0.5 if log else 0
    width = max(edges[1] - edges[0], (edges[-1] - edges[0]) / 60)
    cut = ((0, statistics.low < held[0], edges[0]), (-1, statistics.high > held[1], edges[-1]))
    for rail, is_cut, at in cut:
        if is_cut and counts[rail]:
            left = at if rail == 0 else at - width
            ax.add_patch(
                Rectangle((left, base), width, counts[rail] - base, facecolor=ALERT, zorder=3)
            )
    if statistics.clipped_share < LEAST_CLIPPED:
        return
    text = f"{format_share(statistics.clipped_share, 2)} clipped"
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    ax.text(0.99, 0.98, text, fontsize=SMALL, **(FONT | {"color": ALERT}), **place)


def find_edges(statistics: ActivationStatistics) -> np.ndarray:
    """Return the edges of the bins, as values; as numbers of codes where no scale is fixed."""
    assert statistics.histogram is not None
    bins = statistics.histogram.size
    if statistics.represented is None:
        return np.arange(bins + 1) - 0.5
    low, high = statistics.represented
    half = (high - low) / max(1, bins - 1) / 2
    return np.linspace(low - half, high + half, bins + 1)


def needs_log(counts: np.ndarray) -> bool:
    """Whether one bin holds so much that the others could not be seen beside it."""
    return bool(3 * counts.max(initial=0) > counts.sum())


def describe_activations(shown: Sequence[ShownActivation], about: str = "") -> str:
    """Return what flows in words: what was seen, what the scale holds, and what that costs."""
    parts = [f"What flows through the layer{spell_about(about)}, beside what its scales hold."]
    return " ".join([*parts, *map(_describe, shown)])


def _describe(shown: ShownActivation) -> str:
    one = shown.statistics
    held = one.represented
    holds = (
        "its scale is computed while the model runs"
        if held is None
        else f"its scale holds {format_number(held[0])} to {format_number(held[1])}"
    )
    return (
        f"{shown.title}, {shown.one.quantizer.tensor}: values from {format_number(one.low)} to "
        f"{format_number(one.high)}; {holds}; {format_share(one.clipped_share, 2)} clipped; "
        f"SQNR {format_db(one.local_db)}; {format_part(shown.one.share)} of the noise."
    )
