"""The charts of one layer, one entry each, for page and report: a new chart is an entry here.

What cannot be drawn is said in a picture's notes, and a layer without such numbers has no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..parameter_inspector import (
    Comparison,
    ErrorSteps,
    Histograms,
    MeasuredWeight,
    count_codes,
    describe_refusal,
    list_layer_activations,
)
from .activation_charts import list_activations, render_activations
from .channel_charts import render_channels
from .code_charts import render_codes
from .spots import MOST_SPOTS
from .style import Picture, color_variants
from .weight_charts import render_errors, render_histograms

Drawing = Callable[..., Picture]
"""Numbers that wait to be drawn, here or in another process: a function of a module, and these.

It takes ``most_spots``, where a page of many pictures has to be lighter.
"""
Prepare = Callable[[Comparison, str, bool | None], Drawing | None]


@dataclass(frozen=True)
class LayerChart:
    """One chart of a layer.

    Attributes:
        caption: what to see in it, for people; its ``**words**`` are bold.
        prepare: takes the comparison, the layer's name, and whether counts are logarithmic (None:
            the chart decides). Returns None where the layer has nothing of the kind.
        has_counts: whether there is an axis of counts to be logarithmic.
        of_outputs: whether it needs what running the variants found.
        reads_again: what is done meanwhile where the weights are read once more, else empty.
    """

    caption: str
    prepare: Prepare
    has_counts: bool = True
    of_outputs: bool = False
    reads_again: str = ""

    def render(self, comparison: Comparison, layer: str, log: bool | None) -> Picture | None:
        """Return the picture; None where the layer has nothing of the kind."""
        drawing = self.prepare(comparison, layer, log)
        return drawing() if drawing is not None else None


def _count_histograms(comparison: Comparison, layer: str, log: bool | None) -> Drawing | None:
    histograms, problems = count_weights(comparison, layer)
    if histograms is None or not _has_weights(histograms):
        return _say_only(problems)
    if log is None:  # where one bin holds most weights, the others are too low to see
        log = any(2 * counts.max() > counts.sum() for counts in histograms.counts.values())
    drawing = partial(render_histograms, histograms, log=log, about=layer)
    return partial(_add_notes, drawing, tuple(problems))


def _say_only(problems: Sequence[str]) -> Drawing | None:
    return partial(_draw_nothing, tuple(problems)) if problems else None


def _draw_nothing(notes: tuple[str, ...], *, most_spots: int = MOST_SPOTS) -> Picture:
    return Picture(b"", "", notes)


def _add_notes(
    drawing: Drawing, notes: tuple[str, ...], *, most_spots: int = MOST_SPOTS
) -> Picture:
    return replace(drawing(most_spots=most_spots), notes=notes)


def _has_weights(histograms: Histograms) -> bool:
    return any(map(np.any, histograms.counts.values())) or any(histograms.outside.values())


def _list_channels(comparison: Comparison, layer: str, log: bool | None) -> Drawing | None:
    measured = list_quantized(comparison, layer)
    if not measured:
        return None
    return partial(render_channels, measured, _colors(comparison), about=layer)


def _list_activations(comparison: Comparison, layer: str, log: bool | None) -> Drawing | None:
    shown = list_activations(list_layer_activations(comparison, layer))
    if not shown:
        return None
    return partial(render_activations, shown, _colors(comparison), log=log, about=layer)


def _count_codes(comparison: Comparison, layer: str, log: bool | None) -> Drawing | None:
    codes = count_codes(list_quantized(comparison, layer))
    if not codes:
        return None
    return partial(render_codes, codes, _colors(comparison), log=bool(log), about=layer)


def _count_errors(comparison: Comparison, layer: str, log: bool | None) -> Drawing | None:
    errors, problems = compute_layer_errors(comparison, layer)
    if not errors:
        return _say_only(problems)
    drawing = partial(render_errors, errors, _colors(comparison), log=bool(log), about=layer)
    return partial(_add_notes, drawing, tuple(problems))


LAYER_CHARTS: Mapping[str, LayerChart] = {
    "histograms": LayerChart(
        "**The weights**: how often each value occurs in the whole layer, over the same bins for "
        "every variant. Gaps and spikes are steps of a scale that is too coarse for the weights "
        "between them.",
        _count_histograms,
        reads_again="Counting",
    ),
    "activations": LayerChart(
        "**The activations**: how often each value flowed in and out. **Held** is the range that "
        "the scale can hold, **seen** what flowed; what was cut off is red, and between the marks "
        "are all values but the largest thousandth. **Costs** is its share of the noise.",
        _list_activations,
        of_outputs=True,
    ),
    "channels": LayerChart(
        "**The channels**: the range of each output channel as a bar, the range of the float "
        "weights as a line, and above them the channel's SQNR. ▼ marks the worst. A single scale "
        "for all channels has to fit the widest bar; much smaller channels are rounded away.",
        _list_channels,
        has_counts=False,
    ),
    "codes": LayerChart(
        "**The codes**: how often each integer occurs. The **rails** are the lowest and the "
        "highest code. The largest weight of each scale sits there; many more than that were cut "
        "off.",
        _count_codes,
    ),
    "errors": LayerChart(
        "**The errors**: float weight minus value, in steps of the scale. Rounding stays within "
        "half a step (dashed); what lies beyond was cut off, or belongs to another weight.",
        _count_errors,
        reads_again="Comparing",
    ),
}
"""Name -> chart, in the order of page and report."""


def list_quantized(comparison: Comparison, layer: str) -> dict[str, MeasuredWeight]:
    """Return the measured weights of a layer that are quantized, by variant."""
    measured = comparison.by_variant(layer)
    return {name: one for name, one in measured.items() if one.quantization is not None}


def _colors(comparison: Comparison) -> dict[str, str]:
    return color_variants(list(comparison.variants))


def count_weights(comparison: Comparison, layer: str) -> tuple[Histograms | None, list[str]]:
    """Return the histograms of a layer's weights, and a sentence for each that cannot be read.

    None where the layer has no weight, or none that can be read.
    """
    missing = {
        variant: why for (name, variant), why in comparison.unavailable.items() if name == layer
    }
    histograms = None
    if comparison.by_variant(layer):
        counts = comparison.count_layer(layer)
        histograms = counts.histograms if counts.histograms.counts else None
        counted = counts.histograms.counts
        missing |= {name: why for name, why in counts.missing.items() if name not in counted}
    return histograms, [
        f"The weight of {name} cannot be read: {describe_refusal(why)}"
        for name, why in missing.items()
    ]


def compute_layer_errors(
    comparison: Comparison, layer: str
) -> tuple[Mapping[str, ErrorSteps], list[str]]:
    """Return the errors of a layer in each variant that can be compared, and what could not be."""
    measured = comparison.by_variant(layer)
    if not measured:
        return {}, []
    counts = comparison.count_layer(layer)
    missing = {name: why for name, why in counts.missing.items() if name != comparison.named_by}
    return counts.errors, [
        f"The errors of {name} cannot be measured: {describe_refusal(why)}"
        for name, why in missing.items()
    ]
