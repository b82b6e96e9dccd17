"""Every layer of every variant in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .layers import find_layer, list_layers
from .metrics import compute_range
from .model_file import Model
from .pairing import pair_layers
from .quantization import UnavailableError
from .records import LayerRanges, Pairing, WeightTensor


def pair_variants(variants: Mapping[str, Model]) -> dict[str, Pairing]:
    """Return, for each variant after the first, how its layers pair with those of the first."""
    (_, reference), *others = variants.items()
    return {name: pair_layers(reference, model) for name, model in others}


def extract_weight_tensors(
    variants: Mapping[str, Model], layer_name: str, pairings: Mapping[str, Pairing] | None = None
) -> dict[str, WeightTensor]:
    """Return the weight of one layer in each variant that has it, by variant name.

    Args:
        variants: the float original first; its layer names are those asked for. A name that only
            another variant has is looked up there.
        pairings: of `pair_variants`, where they are known already.

    Raises:
        KeyError: no variant has such a layer.
    """
    pairings = pair_variants(variants) if pairings is None else pairings
    names = layer_names(variants, layer_name, pairings)
    weights = {name: find_layer(variants[name], layer).weight for name, layer in names.items()}
    return {name: weight for name, weight in weights.items() if weight is not None}


def layer_names(
    variants: Mapping[str, Model], layer_name: str, pairings: Mapping[str, Pairing]
) -> dict[str, str]:
    """Return what a layer is called in each variant that has it."""
    (first, reference), *others = variants.items()
    if any(layer.name == layer_name for layer in list_layers(reference)):
        pairs = {name: pairings[name].of_reference(layer_name) for name, _ in others}
        return {first: layer_name, **{n: pair.variant for n, pair in pairs.items() if pair}}
    found = {name: layer_name for name in pairings if layer_name in pairings[name].unpaired_variant}
    if not found:
        find_layer(reference, layer_name)  # raises, naming the nearest
    return found


def compute_all_layer_ranges(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[LayerRanges]:
    """Return the range of the dequantized weight of every layer that has one.

    Layers come in the graph order of the first variant; what only another variant has follows.
    A weight whose bytes are missing has no range in that variant.
    """
    pairings = pair_variants(variants) if pairings is None else pairings
    first = next(iter(variants))
    wanted = [layer for layer in list_layers(variants[first]) if layer.weight is not None]
    wanted += [
        find_layer(variants[name], layer)
        for name, pairing in pairings.items()
        for layer in pairing.unpaired_variant
    ]
    rows = []
    for layer in {layer.name: layer for layer in wanted}.values():
        weights = extract_weight_tensors(variants, layer.name, pairings)
        ranges = {name: _range(weight) for name, weight in weights.items()}
        known = {name: limits for name, limits in ranges.items() if limits is not None}
        rows.append(LayerRanges(layer.name, layer.op_type, known))
        if progress is not None:
            progress(layer.name)
    return rows


def _range(weight: WeightTensor) -> tuple[float, float] | None:
    try:
        return compute_range(weight.values)
    except UnavailableError:
        return None
