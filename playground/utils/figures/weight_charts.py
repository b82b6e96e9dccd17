"""Section 3: the weights of one layer, and their errors, as histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ..parameter_inspector import Beyond, ErrorSteps, Histograms
from ..spelling import format_number, format_share, spell_count
from .spots import MOST_SPOTS, Spot, point_at_bins, share_spots
from .style import (
    ALERT,
    FONT,
    INK,
    SMALL,
    VALUES,
    VARIANT_COLORS,
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


def render_histograms(
    histograms: Histograms,
    *,
    log: bool = False,
    about: str = "",
    most_spots: int = MOST_SPOTS,
) -> Picture:
    """Return `draw_histograms` as a picture; ``about`` is the layer's name."""
    figure = draw_histograms(histograms, log=log)
    spots = [
        spot
        for counts, ax in zip(histograms.counts.values(), figure.axes, strict=True)
        for spot in point_at_weights(
            ax, histograms.edges, counts, share_spots(most_spots, len(histograms.counts))
        )
    ]
    return Picture(to_png(figure), describe_histograms(histograms, about), spots=tuple(spots))


def point_at_weights(
    ax: Axes, edges: np.ndarray, counts: np.ndarray, most: int, unit: str = ""
) -> list[Spot]:
    """Return how many weights are in each bin, or in each of some bins together."""

    def say(run: range) -> str:
        low, high = (format_number(float(edges[at])) for at in (run.start, run.stop))
        count = int(counts[run.start : run.stop].sum())
        return f"{low} to {high}{unit}: {spell_count(count, 'weight')}"

    return point_at_bins(ax, edges, counts, most, say)


def draw_histograms(histograms: Histograms, *, log: bool = False) -> Figure:
    """Draw one panel for each variant, left to right, over the same bins and the same counts."""
    names = list(histograms.counts)
    figure, panels = add_panels(names)
    highest = max((int(counts.max(initial=0)) for counts in histograms.counts.values()), default=0)
    for i, (name, (ax,)) in enumerate(zip(names, panels, strict=True)):
        color = VARIANT_COLORS[i % len(VARIANT_COLORS)]
        plot_histogram(histograms.counts[name], histograms.edges, color=color, log=log, ax=ax)
        ax.set_ylim(*find_count_limits(max(highest, 1), log=log, noted=bool(histograms.beyond)))
        style_axes(ax, name)
        label_axes(ax, VALUES, "weights in the bin")
        _note_outside(ax, histograms, name)
    return figure


def find_count_limits(highest: int, *, log: bool, noted: bool) -> Range:
    """Return the limits of counts; ``noted``: with room above the bars for what lies beyond."""
    if not noted:
        return (0.5, 2.0 * highest) if log else (0.0, 1.06 * highest)
    share = 0.78
    return (0.5, 0.5 * (2.0 * highest) ** (1 / share)) if log else (0.0, highest / share)


def plot_histogram(
    counts: np.ndarray, edges: np.ndarray, *, color: str, log: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw counts over bin edges as one filled outline. ``log``: a logarithmic count axis."""
    ax = ax or new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.stairs(counts, edges, fill=True, color=color, baseline=0.5 if log else 0)
    ax.set_xlim(float(edges[0]), float(edges[-1]))
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    for axis in (ax.xaxis, ax.yaxis):
        format_axis(axis)
    return ax


def describe_histograms(histograms: Histograms, about: str = "") -> str:
    """Return the histograms in words: the bins, and the fullest one of each variant."""
    edges = histograms.edges
    parts = [
        f"Weights{spell_about(about)} in {len(edges) - 1} equal bins "
        f"from {format_number(edges[0])} to {format_number(edges[-1])}."
    ]
    for name, counts in histograms.counts.items():
        fullest = int(counts.argmax()) if counts.size else 0
        parts.append(
            f"{name}: {int(counts.sum()):,} weights in {int((counts > 0).sum())} of the bins, "
            f"most of them ({int(counts[fullest]):,}) near "
            f"{format_number((edges[fullest] + edges[fullest + 1]) / 2)}."
        )
        parts += [f"{one}." for one in spell_beyond(histograms.beyond.get(name)) if one]
    return " ".join(parts)


def _note_outside(ax: Axes, histograms: Histograms, name: str) -> None:
    """Say, at the side where they lie, how many values are not in the picture."""
    low, high = spell_beyond(histograms.beyond.get(name))
    outside = histograms.outside.get(name, 0)
    notes = [
        (0.02, "left", f"◀ {low}" * bool(low), ALERT),
        (0.98, "right", f"{high} ▶" * bool(high), ALERT),
        (0.98, "right", f"{outside:,} not finite, not drawn" * bool(outside), INK),
    ]
    for line, (x, side, text, color) in enumerate(note for note in notes if note[2]):
        place: dict[str, Any] = {"transform": ax.transAxes, "ha": side, "va": "top"}
        ax.text(x, 0.97 - 0.1 * line, text, fontsize=SMALL, **place, **(FONT | {"color": color}))


def spell_beyond(beyond: Beyond | None) -> tuple[str, str]:
    """Return what lies below and what lies above the picture; empty where nothing does."""
    if beyond is None:
        return "", ""
    low = f"{beyond.below:,} beyond, down to {format_number(beyond.lowest)}"
    high = f"{beyond.above:,} beyond, up to {format_number(beyond.highest)}"
    return low * bool(beyond.below), high * bool(beyond.above)


def render_errors(
    errors: Mapping[str, ErrorSteps],
    colors: Mapping[str, str],
    *,
    log: bool = False,
    about: str = "",
    most_spots: int = MOST_SPOTS,
) -> Picture:
    """Return `draw_errors` as a picture; ``about`` is the layer's name."""
    figure = draw_errors(errors, colors, log=log)
    spots = [
        spot
        for one, ax in zip(errors.values(), figure.axes, strict=True)
        for spot in point_at_weights(
            ax, one.edges, one.counts, share_spots(most_spots, len(errors)), " steps"
        )
    ]
    return Picture(to_png(figure), describe_errors(errors, about), spots=tuple(spots))


def draw_errors(
    errors: Mapping[str, ErrorSteps], colors: Mapping[str, str], *, log: bool = False
) -> Figure:
    """Draw, for each variant, the error of the weights in steps of their scale.

    Rounding alone stays within half a step: dashed lines mark it.
    """
    figure, panels = add_panels(list(errors), heights=(1.7,), every=True)
    for (name, one), (ax,) in zip(errors.items(), panels, strict=True):
        plot_histogram(one.counts, one.edges, color=colors[name], log=log, ax=ax)
        set_count_axis(ax, int(one.counts.max(initial=0)), log=log)
        for half in (-0.5, 0.5):
            ax.axvline(half, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        style_axes(ax, name)
        label_axes(ax, "(float weight − value) / scale", "weights in the bin", every=True)
        beyond = (
            f", {format_share(one.beyond_half_share, 2)} beyond ½ step" if len(errors) < 3 else ""
        )
        write_note(ax, f"RMSE {one.rms:.2f}{beyond}")
    return figure


def describe_errors(errors: Mapping[str, ErrorSteps], about: str = "") -> str:
    """Return the errors in words: their size in steps, and how many are more than rounding."""
    parts = [f"Error of the weights{spell_about(about)} in steps of the scale."]
    parts += [
        f"{name}: root-mean-square {one.rms:.3f} steps (rounding alone gives 0.289), largest "
        f"{format_number(one.largest)}, {format_share(one.beyond_half_share, 2)} of "
        f"{one.count:,} weights beyond half a step."
        for name, one in errors.items()
    ]
    return " ".join(parts)
