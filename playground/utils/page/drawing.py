"""Pictures that all viewers share: each is drawn once for the files that were opened."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import marimo as mo

from ..figures import (
    LAYER_CHARTS,
    Picture,
    color_variants,
    create_click_axes,
    pictures,
    render_damage,
    render_heatmap,
    render_trial,
)
from ..parameter_inspector import (
    Comparison,
    LayerRanges,
    Trial,
)
from ..tables import Damage, LayerDamage
from .frames import frame_heatmap

LARGE_WEIGHT = 4_000_000
"""Weights; reading more takes longer than half a second."""

NOTHING_DRAWN = Picture(b"", "")


def spin_if_many(text: str, count: int) -> AbstractContextManager[Any]:
    """Return a spinner for what takes longer than half a second, else nothing."""
    title = f"{text} {count:,} weights"
    return mo.status.spinner(title, remove_on_exit=True) if count > LARGE_WEIGHT else nullcontext()


def draw_layer_chart(
    name: str, comparison: Comparison, files: Hashable, layer: str, log: bool | None = False
) -> Picture:
    """Return one of `LAYER_CHARTS`; one without a PNG where the layer has nothing to draw."""
    chart = LAYER_CHARTS[name]

    def draw() -> Picture:
        with spin_if_many(chart.reads_again, _count_weights(comparison, layer, chart.reads_again)):
            return chart.render(comparison, layer, log) or NOTHING_DRAWN

    outputs = tuple(comparison.outputs.values()) if chart.of_outputs else ()
    return pictures.get((name, files, layer, log, *outputs), draw)


def _count_weights(comparison: Comparison, layer: str, reads_again: str) -> int:
    """Return how many weights are read again, in all variants together."""
    measured = comparison.by_variant(layer).values() if reads_again else ()
    return sum(math.prod(one.weight.shape) for one in measured)


def draw_trial(
    trial: Trial,
    comparison: Comparison,
    files: Hashable,
    layer: str,
    variant: str,
    log: bool,
) -> Picture:
    """Return what a scheme would make of a layer's weight, beside what the file has."""
    colors = color_variants(list(comparison.variants))
    return pictures.get(
        ("trial", files, layer, variant, trial.proposed.scheme, log),
        lambda: render_trial(trial, variant, colors, log=log, about=layer),
    )


def draw_heatmap(
    ranges: Sequence[LayerRanges], variants: Sequence[str], files: Hashable, *, log: bool
) -> Picture:
    """Return the ranges of one page of layers."""
    shown = tuple(one.layer for one in ranges)
    return pictures.get(
        ("heatmap", files, shown, *variants, log),
        lambda: render_heatmap(ranges, variants, log=log),
    )


def draw_damage(
    damage: Damage, layers: Sequence[LayerDamage], variants: Sequence[str], files: Hashable
) -> Picture:
    """Return the picture of damage of one page of layers."""
    rows = [(one.layer, one.by_variant) for one in layers]
    numbers = [(name, *by_variant.values()) for name, by_variant in rows]
    # As text: what is not known is no number, and equal to nothing.
    return pictures.get(
        ("damage", files, repr(numbers), *variants, damage.what),
        lambda: render_damage(rows, variants, damage.what),
    )


def make_clickable(heatmap: Picture, row_count: int) -> mo.ui.matplotlib:
    """Return the element that tells where a heatmap was clicked."""
    return mo.ui.matplotlib(create_click_axes(heatmap, row_count), debounce=True)


def show_heatmap(clicks: mo.ui.matplotlib, heatmap: Picture) -> mo.Html:
    """Return a clickable heatmap with its text alternative."""
    return mo.Html(frame_heatmap(clicks.text, heatmap))
