"""QONNX's quantizers, which onnxruntime does not have, in standard operators.

Source: qonnx.custom_op.general: ``Quant`` and ``BipolarQuant``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from ..reading.constants import ConstantTable, attribute_values

# QONNX's rounding modes that are an operator of ONNX: half to even, up, down.
ROUNDING = {"ROUND": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}
ROUND_OPSET = 11


@dataclass(frozen=True, eq=False)
class FakeQuantizer:
    """What a ``Quant`` or ``BipolarQuant`` computes.

    Attributes:
        scale, zero_point: that broadcast against the tensor.
        limits: lowest and highest code.
        rounding: an operator of ONNX; empty for the two codes of ``BipolarQuant``.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    limits: tuple[float, float]
    data_type: str
    rounding: str


def read_fake_quantizer(node: ir.Node, constants: ConstantTable) -> FakeQuantizer | None:
    """Return what a node computes, None where its parameters or its rounding are not known."""
    sources = [constants.get(value) for value in node.inputs[1:4]]
    if any(source is None for source in sources):
        return None
    arrays = [source.read() for source in sources if source is not None]
    if node.op_type == "BipolarQuant":
        return FakeQuantizer(arrays[0], np.zeros((), np.float32), (-1, 1), "binary", "")
    attributes = attribute_values(node)
    rounding = ROUNDING.get(str(attributes.get("rounding_mode", "ROUND")).upper())
    if len(arrays) < 3 or rounding is None or arrays[2].size != 1:
        return None
    bits = int(arrays[2].reshape(-1)[0])
    signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 0))
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    kind = f"{'' if signed else 'u'}int{bits}"
    return FakeQuantizer(arrays[0], arrays[1], (low, high), kind, rounding)


def create_fake_nodes(
    quantizer: FakeQuantizer,
    value: str,
    hold: Callable[[np.ndarray], str],
    new: Callable[[str], str],
) -> Iterator[onnx.NodeProto]:
    """Yield operators that quantize and dequantize; the last one's output is the result.

    Args:
        hold: keeps an array and returns its name.
        new: returns a name that is free.
    """
    scale = hold(quantizer.scale.astype(np.float32))
    if not quantizer.rounding:
        below = helper.make_node("Less", [value, hold(np.zeros((), np.float32))], [new("below")])
        minus = hold(-quantizer.scale.astype(np.float32))
        yield below
        yield helper.make_node("Where", [below.output[0], minus, scale], [new("on")])
        return
    zero = hold(quantizer.zero_point.astype(np.float32))
    low, high = (hold(np.asarray(limit, np.float32)) for limit in quantizer.limits)
    steps = (
        ("Div", scale), ("Add", zero), (quantizer.rounding, None), ("Max", low), ("Min", high),
        ("Sub", zero), ("Mul", scale),
    )  # fmt: skip
    for op_type, other in steps:
        inputs = [value] if other is None else [value, other]
        node = helper.make_node(op_type, inputs, [new(op_type)])
        yield node
        value = node.output[0]
