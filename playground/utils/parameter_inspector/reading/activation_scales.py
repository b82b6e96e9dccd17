"""How the activations that enter and leave a layer are quantized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ..quantization import (
    ArraySource,
    NotUnderstoodError,
    Source,
    UnavailableError,
    create_quantization,
)
from ..records import TensorQuantization
from .constants import QDQ_DOMAINS, STANDARD_DOMAINS, ConstantTable

# These quantize what enters them while the model runs.
_DYNAMIC = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
# Their further inputs are zero-points, not activations.
_INTEGER = ("MatMulInteger", "ConvInteger")

# Where the quantized operators keep tensor, scale and zero-point of each activation.
_ONE = ((0, 1, 2),)
_TWO = ((0, 1, 2), (3, 4, 5))
_QLINEAR_INPUTS = {
    "QLinearConv": _ONE,
    "QLinearMatMul": _TWO,
    "QGemm": _ONE,
    "QLinearAdd": _TWO,
    "QLinearMul": _TWO,
    "QLinearSigmoid": _ONE,
    "QLinearLeakyRelu": _ONE,
    "QLinearAveragePool": _ONE,
    "QLinearGlobalAveragePool": _ONE,
    "QLinearSoftmax": _ONE,
    "QLinearReduceMean": _ONE,
    "MatMulIntegerToFloat": ((0, 2, 4),),
    "QAttention": ((0, 3, 6),),
}
QLINEAR_OUTPUT = {
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QGemm": 7,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QLinearConcat": 0,
    "QLinearSigmoid": 3,
    "QLinearLeakyRelu": 3,
    "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3,
    "QLinearSoftmax": 3,
    "QLinearReduceMean": 3,
}


def input_quantizations(node: ir.Node, constants: ConstantTable) -> Iterator[TensorQuantization]:
    """Yield how each activation that enters a layer is quantized; what is not is left out."""
    if node.op_type in _DYNAMIC:
        value = _input(node, 0)
        if value is not None:
            yield TensorQuantization(value.name or "", None, "uint8")
        return
    slots = _QLINEAR_INPUTS.get(node.op_type)
    if node.op_type == "QLinearConcat":
        slots = tuple((i, i + 1, i + 2) for i in range(2, len(node.inputs), 3))
    if slots is not None:
        for tensor, scale, zero_point in slots:
            value = _input(node, tensor)
            if value is not None and not constants.is_constant(value):
                yield from _from_inputs(node, value.name or "", scale, zero_point, constants)
        return
    values = node.inputs[:1] if node.op_type in _INTEGER else node.inputs
    for value in values:
        if value is not None and not constants.is_constant(value):
            found = activation_quantization(value, constants)
            if found is not None:
                yield found


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def activation_quantization(
    value: ir.Value | None, constants: ConstantTable
) -> TensorQuantization | None:
    """Return how an activation that enters a layer was quantized, None where it was not."""
    for _ in range(10):
        node = value.producer() if value is not None else None
        if node is None or not node.inputs:
            return None
        if node.op_type in ("Identity", "Cast", "Clip") and node.domain in STANDARD_DOMAINS:
            value = node.inputs[0]
            continue
        if node.op_type == "DynamicQuantizeLinear":
            return TensorQuantization(
                node.inputs[0].name or "" if node.inputs[0] else "", None, "uint8"
            )
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.domain in QDQ_DOMAINS:
            if not node.outputs:
                return None
            if constants.is_constant(node.inputs[0]):
                return None
            return _linear(node, constants)
        return None
    return None


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
    index = QLINEAR_OUTPUT.get(node.op_type)
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
                found = _linear(consumer, constants)
                if found is not None:
                    yield found
                    break


def _from_inputs(
    node: ir.Node, tensor: str, scale: int, zero_point: int, constants: ConstantTable
) -> Iterator[TensorQuantization]:
    scale_source = constants.get(_input(node, scale))
    if scale_source is None:
        return
    found = _of_activation(tensor, scale_source, constants.get(_input(node, zero_point)))
    if found is not None:
        yield found
