"""Which nodes have to be left out of a quantization together, so that a layer stays in float."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..measuring.comparison import Comparison
from ..operators import operator_named
from ..reading.layers import layers_by_name, list_layers, readers_of
from ..reading.variants import is_float
from ..records import Layer
from .channel_states import QuantizedMatrix, quantized_matrices
from .findings import FinerSteps, KeptInFloat, MeasuredLimit, NodesToExclude
from .quantizing_methods import (
    Method,
    find_method,
    name_to_exclude,
    quantized_again,
    reaches_per_channel,
)


def list_nodes_to_exclude(
    layer_names: Iterable[str], comparison: Comparison, method: Method = Method.STATIC_QDQ
) -> NodesToExclude:
    """Return what ``nodes_to_exclude`` has to name, by the nodes of the variant that names them."""
    layers = layers_by_name(comparison.naming_model)
    found = [layers.get(name) for name in layer_names]
    names = [
        "" if layer is None else name_to_exclude(method, layer.op_type, layer.node_name)
        for layer in found
    ]
    return NodesToExclude(
        tuple(name for name in names if name),
        all(names),
        comparison.named_by,
        any(layer.weight is not None and layer.weight.is_quantized for layer in layers.values()),
    )


def find_readers(layer: Layer, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers that read what a layer makes, and behind activations those that read on.

    A runtime fuses an activation into the layer before it, so that the two are one.
    """
    readers, found = readers_of(layers), dict[str, Layer]()
    waiting = [layer]
    while waiting:
        for output in waiting.pop().output_names[:1]:
            for reader in readers.get(output, []):
                if reader.name not in found:
                    found[reader.name] = reader
                    waiting += [reader] if operator_named(reader.op_type).is_activation else []
    return tuple(found.values())


def keep_in_float(layer_name: str, comparison: Comparison, method: Method) -> KeptInFloat:
    """Return what to leave out of the quantization for a layer to stay in float.

    onnxruntime's WeightBiasQuantization (since 1.21) quantizes a lone float Conv between a
    DequantizeLinear and a QuantizeLinear again as the session opens: what reads it has to go too.
    Measured: tests/test_remedies.py.
    """
    model = comparison.naming_model
    layer = layers_by_name(model).get(layer_name)
    together: tuple[Layer, ...] = ()
    if layer is not None and quantized_again(method, layer.op_type):
        together = find_readers(layer, list_layers(model))
    names = [layer_name, *(reader.name for reader in together)]
    return KeptInFloat(list_nodes_to_exclude(names, comparison, method), bool(together))


def list_nodes_left_out_along(
    comparison: Comparison, layer_names: Iterable[str]
) -> tuple[str, ...]:
    """Return the nodes that onnxruntime has to leave out beside those of layers.

    What reads a layer that would be quantized again, and the product that `quantize_dynamic` makes
    of a Gemm; for each way in which a variant was made, and for a static build where none was yet.
    """
    layers = layers_by_name(comparison.naming_model)
    asked = [layers[name] for name in layer_names if name in layers]
    ways = {find_method(m) for m in comparison.variants.values() if not is_float(m)}
    found: dict[str, None] = {}
    for method in sorted(ways or {Method.STATIC_QDQ}, key=list(Method).index):
        for layer in asked:
            again = quantized_again(method, layer.op_type)
            along = find_readers(layer, list(layers.values())) if again else ()
            names = (name_to_exclude(method, one.op_type, one.node_name) for one in (layer, *along))
            found |= dict.fromkeys(name for name in names if name)
    own = {layer.node_name for layer in asked}
    return tuple(name for name in found if name not in own)


def find_finer_steps(
    matrix: QuantizedMatrix, variant: str, comparison: Comparison, cures: bool | None = None
) -> FinerSteps:
    """Return what would give a layer of a variant finer steps."""
    method = find_method(comparison.variants[variant])
    layer = layers_by_name(comparison.naming_model).get(matrix.layer_name, matrix.measured.layer)
    return FinerSteps(
        matrix.quantization.granularity == "per-tensor",
        keep_in_float(matrix.layer_name, comparison, method),
        method,
        layer.op_type,
        reaches_per_channel(method, layer.op_type),
        matrix.measured.weight.storage == "DequantizeLinear",
        cures,
        sum(1 for _ in quantized_matrices(comparison, variant)),
        _find_limit(comparison, variant),
    )


def _find_limit(comparison: Comparison, variant: str) -> MeasuredLimit | None:
    outputs = comparison.outputs.get(variant)
    split = outputs.split if outputs is not None else None
    if split is None:
        return None
    return MeasuredLimit(1 - split.activations_share, split.activations_db)
