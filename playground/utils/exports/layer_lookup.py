"""A layer of the comparison as one variant has it."""

from __future__ import annotations

from ..parameter_inspector import Comparison, Layer, find_layer, layer_names


def find_layer_in(comparison: Comparison, variant: str, layer_name: str) -> Layer | None:
    """Return a layer of a variant by its name in the comparison; None where it has no such layer.

    Raises:
        KeyError: no variant has such a layer.
    """
    names = layer_names(comparison.variants, layer_name, comparison.pairings)
    own_name = names.get(variant)
    return None if own_name is None else find_layer(comparison.variants[variant], own_name)
