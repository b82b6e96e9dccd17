"""The histograms of one layer, of its weights and of their errors, and why one is missing."""

from __future__ import annotations

from collections.abc import Mapping

from ..parameter_inspector import Comparison, ErrorSteps, Histograms


def count_weights(comparison: Comparison, layer: str) -> tuple[Histograms | None, list[str]]:
    """Return the histograms of a layer's weights, and a sentence for each that cannot be read.

    None where the layer has no weight, or none that can be read.
    """
    missing = {
        variant: why for (row, variant), why in comparison.unavailable.items() if row == layer
    }
    histograms = None
    if comparison.by_variant(layer):
        found = comparison.count_layer(layer)
        histograms = found.histograms if found.histograms.counts else None
        counted = found.histograms.counts
        missing |= {name: why for name, why in found.missing.items() if name not in counted}
    return histograms, [
        f"The weight of {name} cannot be read: {why}" for name, why in missing.items()
    ]


def compute_layer_errors(
    comparison: Comparison, layer: str
) -> tuple[Mapping[str, ErrorSteps], list[str]]:
    """Return the errors of a layer in each variant that can be compared, and what could not be."""
    measured = comparison.by_variant(layer)
    if not measured:
        return {}, []
    found, original = comparison.count_layer(layer), next(iter(measured))
    missing = {name: why for name, why in found.missing.items() if name != original}
    return found.errors, [
        f"The errors of {name} cannot be measured: {why}" for name, why in missing.items()
    ]
