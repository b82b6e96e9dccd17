"""Sections 2 and 3: which layer is which, what has no partner, and what was not understood."""

from __future__ import annotations

import pandas as pd

from ..parameter_inspector import (
    Comparison,
    LayerPair,
    describe_evidence,
    describe_folding,
    describe_grid,
    describe_refusal,
    list_layers,
)
from ..spelling import NOTHING


def mark_evidence(pair: LayerPair | None) -> str:
    """Return the evidence behind a mark: ✓ the weights agree, ? they do not say so."""
    if pair is None:
        return "✗ not paired"
    return f"{'✓' if pair.is_sure else '?'} {describe_evidence(pair.evidence)}"


def create_pairing_table(comparison: Comparison, layer_name: str) -> pd.DataFrame:
    """Return which layer of each variant this layer is, and on what evidence."""
    pairs = {name: pairing.of_original(layer_name) for name, pairing in comparison.pairings.items()}
    return pd.DataFrame(
        [
            (
                name,
                pair.variant if pair else NOTHING,
                mark_evidence(pair),
                NOTHING if pair is None or pair.score is None else f"{pair.score:.3f}",
                (describe_folding(pair.folding) if pair else "") or NOTHING,
            )
            for name, pair in pairs.items()
        ],
        columns=["Variant", "Layer in it", "Evidence", "Similarity, 0 to 1", "Before comparing"],
    )


def create_unpaired_table(comparison: Comparison) -> pd.DataFrame:
    """Return every layer that has no counterpart, on both sides."""
    first = comparison.named_by
    rows = [
        (holder, layer, missing)
        for name, pairing in comparison.pairings.items()
        for holder, missing, layers in (
            (first, name, pairing.unpaired_original),
            (name, first, pairing.unpaired_variant),
        )
        for layer in layers
    ]
    return pd.DataFrame(rows, columns=["Only in", "Layer", "No counterpart in"])


def create_not_understood_table(comparison: Comparison) -> pd.DataFrame:
    """Return every parameter that could not be read or understood, and why.

    Weights whose bytes are missing are among them, and floats on a grid without a scale.
    """
    rows = [
        (name, layer.name, layer.op_type, describe_refusal(reason))
        for name, model in comparison.variants.items()
        for layer in list_layers(model)
        for reason in layer.not_understood
    ]
    rows += [
        (variant, layer, NOTHING, describe_refusal(why))
        for (layer, variant), why in comparison.unavailable.items()
    ]
    rows += [
        (variant, layer, measured.layer.op_type, describe_grid(measured.grid))
        for layer, by_variant in comparison.weights.items()
        for variant, measured in by_variant.items()
        if measured.grid
    ]
    return pd.DataFrame(rows, columns=["Variant", "Layer", "Operator", "Reason"])
