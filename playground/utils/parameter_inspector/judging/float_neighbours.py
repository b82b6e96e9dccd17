"""Which nodes have to be left out of a quantization together, so that a layer stays in float."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..measuring.comparison import Comparison
from ..operators import operator_named
from ..quantization import Quantization
from ..reading.layers import layers_by_name, list_layers, readers_of
from ..records import Layer
from .findings import FinerSteps, KeptInFloat, NodesToExclude


def list_nodes_to_exclude(layer_names: Iterable[str], comparison: Comparison) -> NodesToExclude:
    """Return the node names of layers in the variant that names them."""
    layers = layers_by_name(comparison.naming_model)
    names = [layers[name].node_name if name in layers else "" for name in layer_names]
    return NodesToExclude(
        tuple(name for name in names if name),
        all(names),
        comparison.named_by,
        any(layer.weight is not None and layer.weight.is_quantized for layer in layers.values()),
    )


def find_neighbour(layer: Layer, layers: Sequence[Layer]) -> Layer | None:
    """Return the convolution or product right behind or before a layer, None at a branch.

    Activations between them are stepped over.
    """
    readers = readers_of(layers)
    return _find_behind(layer, readers) or _find_before(layer, layers, readers)


Readers = dict[str, list[Layer]]


def _find_behind(layer: Layer, readers: Readers) -> Layer | None:
    while len(following := readers.get(layer.output_names[0], [])) == 1:
        layer = following[0]
        if operator_named(layer.op_type).is_neighbour:
            return layer
        if not operator_named(layer.op_type).is_activation:
            return None
    return None


def _find_before(layer: Layer, layers: Sequence[Layer], readers: Readers) -> Layer | None:
    by_output = {name: other for other in layers for name in other.output_names if name}
    while before := by_output.get(layer.input_names[0] if layer.input_names else ""):
        if len(readers[before.output_names[0]]) != 1:
            return None
        if operator_named(before.op_type).is_neighbour:
            return before
        if not operator_named(before.op_type).is_activation:
            return None
        layer = before
    return None


def keep_in_float(layer_name: str, comparison: Comparison) -> KeptInFloat:
    """Return what to leave out of the quantization for a layer to stay in float.

    onnxruntime's WeightBiasQuantization (since 1.21) quantizes a lone float Conv between a
    DequantizeLinear and a QuantizeLinear again as the session opens: a neighbour has to go too.
    """
    model = comparison.naming_model
    layer = layers_by_name(model).get(layer_name)
    neighbour = find_neighbour(layer, list_layers(model)) if layer is not None else None
    names = [layer_name] if neighbour is None else [layer_name, neighbour.name]
    return KeptInFloat(list_nodes_to_exclude(names, comparison), neighbour is not None)


def find_finer_steps(
    layer_name: str, quantization: Quantization, comparison: Comparison
) -> FinerSteps:
    """Return what would give a layer finer steps."""
    has_one_scale = quantization.granularity == "per-tensor"
    return FinerSteps(has_one_scale, keep_in_float(layer_name, comparison))
