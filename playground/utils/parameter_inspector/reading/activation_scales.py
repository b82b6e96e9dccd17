"""How the activations that enter and leave a layer are quantized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from ..operators import QDQ_DOMAINS, STANDARD_DOMAINS, Operator, operator_named
from ..quantization import (
    ArraySource,
    NotUnderstoodError,
    Source,
    UnavailableError,
    create_quantization,
)
from ..records import TensorQuantization
from .constants import ConstantTable

# Identities, casts and limits that may stand between a DequantizeLinear and the layer.
MAX_STEPS = 10


def input_quantizations(node: ir.Node, constants: ConstantTable) -> Iterator[TensorQuantization]:
    """Yield how each activation that enters a layer is quantized; what is not is left out."""
    operator = operator_named(node.op_type)
    if operator.is_dynamic:
        value = _input(node, 0)
        if value is not None:
            yield TensorQuantization(value.name or "", None, "uint8")
    elif operator.activations is not None:
        for tensor, scale, zero_point in _slots(operator, len(node.inputs)):
            value = _input(node, tensor)
            if value is not None and not constants.is_constant(value):
                yield from _from_inputs(node, value.name or "", scale, zero_point, constants)
    else:
        yield from _from_nodes(node, operator, constants)


def _slots(operator: Operator, input_count: int) -> Iterable[tuple[int, int, int]]:
    """Return which inputs are tensor, scale and zero-point of each activation."""
    if operator.activations_from is None:
        return operator.activations or ()
    return ((i, i + 1, i + 2) for i in range(operator.activations_from, input_count, 3))


def _from_nodes(
    node: ir.Node, operator: Operator, constants: ConstantTable
) -> Iterator[TensorQuantization]:
    """Yield what the Q and DQ nodes before a layer say."""
    # The further inputs of an integer operator are zero-points, not activations.
    values = node.inputs[:1] if operator.integer_axis is not None else node.inputs
    for value in values:
        if value is not None and not constants.is_constant(value):
            quantization = activation_quantization(value, constants)
            if quantization is not None:
                yield quantization


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def activation_quantization(
    value: ir.Value | None, constants: ConstantTable
) -> TensorQuantization | None:
    """Return how an activation that enters a layer was quantized, None where it was not."""
    for _ in range(MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None or not node.inputs:
            return None
        if node.op_type not in ("Identity", "Cast", "Clip") or node.domain not in STANDARD_DOMAINS:
            return _of_quantizer(node, constants)
        value = node.inputs[0]
    return None


def _of_quantizer(node: ir.Node, constants: ConstantTable) -> TensorQuantization | None:
    """Return the quantization that a node says of the activation it hands on."""
    tensor = node.inputs[0]
    if node.op_type == "DynamicQuantizeLinear":
        return TensorQuantization(tensor.name or "" if tensor else "", None, "uint8")
    spells_out = node.op_type in ("QuantizeLinear", "DequantizeLinear")
    if not spells_out or node.domain not in QDQ_DOMAINS:
        return None
    return _linear(node, constants) if node.outputs and not constants.is_constant(tensor) else None


def _linear(node: ir.Node, constants: ConstantTable) -> TensorQuantization | None:
    """Return the quantization that a Q or DQ node on an activation spells out."""
    name = node.inputs[0].name or "" if node.inputs[0] is not None else ""
    if node.op_type == "QuantizeLinear":
        name = node.outputs[0].name or ""
    return _of_activation(name, constants.get(_input(node, 1)), constants.get(_input(node, 2)))


def _of_activation(
    name: str, scale: Source | None, zero_point: Source | None
) -> TensorQuantization | None:
    """Return the record; None where the parameters are impossible or their bytes are missing.

    The shape of an activation is not known, so a scale per channel is taken at its word.
    """
    try:
        data_type = zero_point.data_type if zero_point is not None else "uint8"
        if scale is None:
            return TensorQuantization(name, None, data_type)
        shape = scale.shape if len(scale.shape) == 1 and scale.shape != (1,) else (1,)
        tensor = ArraySource(name, np.broadcast_to(np.zeros((), np.int8), shape), data_type)
        quantization = create_quantization(tensor, scale, zero_point, axis=0)
        quantization.scale, quantization.zero_point  # noqa: B018 - read now, so that it cannot fail later
    except (NotUnderstoodError, UnavailableError):
        return None
    return TensorQuantization(name, quantization, data_type)


def output_quantizations(node: ir.Node, constants: ConstantTable) -> Iterator[TensorQuantization]:
    index = operator_named(node.op_type).output_scale
    if index is not None and node.outputs:
        yield from _from_inputs(node, node.outputs[0].name or "", index, index + 1, constants)
        return
    for value in node.outputs:
        for usage in value.uses():
            consumer = usage.node
            if (
                consumer.op_type == "QuantizeLinear"
                and consumer.outputs
                and consumer.domain in QDQ_DOMAINS
                and usage.idx == 0
            ):
                quantization = _linear(consumer, constants)
                if quantization is not None:
                    yield quantization
                    break


def _from_inputs(
    node: ir.Node, tensor: str, scale: int, zero_point: int, constants: ConstantTable
) -> Iterator[TensorQuantization]:
    scale_source = constants.get(_input(node, scale))
    if scale_source is None:
        return
    quantization = _of_activation(tensor, scale_source, constants.get(_input(node, zero_point)))
    if quantization is not None:
        yield quantization
