"""The histograms of one layer, of its weights and of their errors, and why one is missing."""

from __future__ import annotations

from collections.abc import Mapping

from ..parameter_inspector import ErrorSteps, Histograms, LayerCounts, Scan, UnavailableError


def count_weights(scan: Scan, layer: str) -> tuple[Histograms | None, list[str]]:
    """Return the histograms of a layer's weights, and a sentence for each that cannot be read.

    None where the layer has no weight, or none that can be read.
    """
    problems = [
        f"The weight of {variant} cannot be read: {why}"
        for (row, variant), why in scan.unavailable.items()
        if row == layer
    ]
    counts, why = _count(scan, layer)
    return counts.histograms if counts is not None else None, problems + why


def compute_layer_errors(scan: Scan, layer: str) -> tuple[Mapping[str, ErrorSteps], list[str]]:
    """Return the errors of a layer in each variant that can be compared, and what could not be."""
    counts, why = _count(scan, layer)
    return counts.errors if counts is not None else {}, why


def _count(scan: Scan, layer: str) -> tuple[LayerCounts | None, list[str]]:
    if not scan.rows.get(layer):
        return None, []
    try:
        return scan.count_layer(layer), []
    except UnavailableError as error:
        return None, [f"The weights cannot be read any more: {error}"]
