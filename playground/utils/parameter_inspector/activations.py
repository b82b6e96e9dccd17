"""How the activations that enter and leave a layer are quantized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from .constants import (
    QDQ_DOMAINS,
    STANDARD_DOMAINS,
    ConstantTable,
    attribute_values,
    quantization_of,
)
from .quantization import ArraySource, NotUnderstoodError, create_quantization
from .records import TensorQuantization

# Where the quantized operators keep the scale of each activation: (tensor, scale), zero-point next.
_QLINEAR_INPUTS = {
    "QLinearConv": ((0, 1),),
    "QLinearMatMul": ((0, 1), (3, 4)),
    "QGemm": ((0, 1),),
    "QLinearAdd": ((0, 1), (3, 4)),
    "QLinearMul": ((0, 1), (3, 4)),
    "QLinearSigmoid": ((0, 1),),
    "QLinearLeakyRelu": ((0, 1),),
    "QLinearAveragePool": ((0, 1),),
    "QLinearGlobalAveragePool": ((0, 1),),
    "QLinearSoftmax": ((0, 1),),
    "QLinearReduceMean": ((0, 1),),
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
    pairs = _QLINEAR_INPUTS.get(node.op_type)
    if node.op_type == "QLinearConcat":
        pairs = tuple((i, i + 1) for i in range(2, len(node.inputs), 3))
    if pairs is not None:
        for tensor, scale in pairs:
            value = node.inputs[tensor]
            if value is not None and not constants.is_constant(value):
                yield from _from_inputs(node, value.name or "", scale, constants)
        return
    for value in node.inputs:
        if value is not None and not constants.is_constant(value):
            found = activation_quantization(value, constants)
            if found is not None:
                yield found


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
    scale = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    zero = constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    data_type = zero.data_type if zero is not None else "uint8"
    if scale is None:
        return TensorQuantization(name, None, data_type)
    shape = scale.shape if len(scale.shape) == 1 and scale.shape != (1,) else (1,)
    tensor = ArraySource(name, np.broadcast_to(np.zeros((), np.int8), shape), data_type)
    try:
        quantization = quantization_of(
            "DequantizeLinear",
            (tensor, scale, zero),
            {**attribute_values(node), "axis": 0, "output_dtype": 0},
        )
    except NotUnderstoodError:
        return None
    return TensorQuantization(name, quantization, data_type)


def output_quantizations(node: ir.Node, constants: ConstantTable) -> Iterator[TensorQuantization]:
    index = QLINEAR_OUTPUT.get(node.op_type)
    if index is not None:
        yield from _from_inputs(node, node.outputs[0].name or "", index, constants)
        return
    for value in node.outputs:
        for usage in value.uses():
            consumer = usage.node
            if (
                consumer.op_type == "QuantizeLinear"
                and consumer.domain in QDQ_DOMAINS
                and usage.idx == 0
            ):
                found = _linear(consumer, constants)
                if found is not None:
                    yield found
                    break


def _from_inputs(
    node: ir.Node, tensor: str, scale_index: int, constants: ConstantTable
) -> Iterator[TensorQuantization]:
    if scale_index >= len(node.inputs):
        return
    scale = constants.get(node.inputs[scale_index])
    zero = (
        constants.get(node.inputs[scale_index + 1]) if scale_index + 1 < len(node.inputs) else None
    )
    data_type = zero.data_type if zero is not None else "uint8"
    if scale is None:
        return
    codes = ArraySource(tensor, np.zeros(scale.shape, np.int8), data_type)
    yield TensorQuantization(tensor, create_quantization(codes, scale, zero, axis=0), data_type)
