"""Operators that compute in codes, taken apart: the plain operator between Q and DQ.

The codes between keep their names, so that what reads them finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ..facts import WritingRefusal, WritingRefusalKind
from ..operators import operator_named
from ..reading.edges import integer_operands
from .edited_graph import EditedGraph, Slot
from .move_refusals import MoveRefusedError

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
SCALED_BIAS = {"QLinearConv": 8, "QGemm": 6}
# Attributes of the integer operators that say nothing to their plain partners.
_OWN_ATTRIBUTES = frozenset(("channels_last", "opset"))
_REDUCE_INPUT_OPSET = 18
_SOFTMAX_OPSET = 13


@dataclass(frozen=True)
class CodedOperand:
    """One operand of an operator that computes in codes: which inputs hold its parts.

    ``position`` counts as the plain operator does.
    """

    position: int
    codes: int
    scale: int
    zero_point: int


def is_integer_operator(node: onnx.NodeProto) -> bool:
    """Whether a node reads and makes codes, with their scales as inputs."""
    operator = operator_named(node.op_type)
    return operator.activations is not None and operator.output_scale is not None


def coded_operands(node: onnx.NodeProto) -> tuple[CodedOperand, ...]:
    rows = integer_operands(node.op_type, len(node.input))
    return tuple(CodedOperand(*row) for row in rows if len(row) == 4)


def output_slots(node: onnx.NodeProto) -> tuple[Slot, Slot]:
    """Return where an integer operator holds the scale and zero-point of what it makes."""
    at = operator_named(node.op_type).output_scale
    assert at is not None
    return (node, at), (node, at + 1)


def take_apart(graph: EditedGraph, node: onnx.NodeProto) -> onnx.NodeProto:
    """Replace an integer operator by its plain partner between Q and DQ, and return that.

    Raises:
        MoveRefusedError: the operator has no plain partner that computes the same.
    """
    _check_partner(graph, node)
    inputs = list(_plain_inputs(graph, node))
    made = graph.new_name(f"{node.output[0]}_float")
    attributes = [a for a in node.attribute if a.name not in _OWN_ATTRIBUTES]
    op_type = plain_name(node.op_type)
    if op_type == "ReduceMean" and graph.opset >= _REDUCE_INPUT_OPSET:
        axes = next((list(a.ints) for a in attributes if a.name == "axes"), None)
        attributes = [a for a in attributes if a.name != "axes"]
        inputs += [graph.add_constant(np.asarray(axes, np.int64), "axes")] if axes else []
    scale, zero_point = (_name_at(*slot) for slot in output_slots(node))
    codes, name = node.output[0], node.name
    if not zero_point and scale:
        zero_point = _typed_zero(graph, node)
    order = _channels_second(graph, node) if _has_channels_last(node) else ()
    graph.remove(node)
    if order:
        inputs[0] = _turn(graph, inputs[0], order)
    if not scale:  # QGemm without a scale of its output makes real numbers
        return graph.add(op_type, inputs, [codes], name=name, attributes=attributes)
    plain = graph.add(op_type, inputs, [made], name=name, attributes=attributes)
    if order:
        made = _turn(graph, made, tuple(int(i) for i in np.argsort(order)))
    graph.add(QUANTIZE, [made, scale, *([zero_point] if zero_point else [])], [codes])
    return plain


def _has_channels_last(node: onnx.NodeProto) -> bool:
    return any(a.name == "channels_last" and a.i for a in node.attribute)


def _channels_second(graph: EditedGraph, node: onnx.NodeProto) -> tuple[int, ...]:
    """Return the order of axes that brings a convolution's last one behind the first."""
    weight = graph.constant(node.input[3])
    if weight is None:
        kind = WritingRefusalKind.NO_PLAIN_OPERATOR
        raise MoveRefusedError(WritingRefusal(kind, layer=node.name, op_type=node.op_type))
    return (0, weight.ndim - 1, *range(1, weight.ndim - 1))


def _turn(graph: EditedGraph, source: str, order: tuple[int, ...]) -> str:
    made = graph.new_name(f"{source}_turned")
    graph.add("Transpose", [source], [made], attributes=[helper.make_attribute("perm", order)])
    return made


def plain_name(op_type: str) -> str:
    return {"QGemm": "Gemm"}.get(op_type, op_type.removeprefix("QLinear"))


def _check_partner(graph: EditedGraph, node: onnx.NodeProto) -> None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    softmax = node.op_type == "QLinearSoftmax" and (
        min(attributes.get("opset", 1), graph.opset) < _SOFTMAX_OPSET <= graph.opset
    )
    turned = attributes.get("channels_last") and node.op_type != "QLinearConv"
    if turned or softmax:
        raise MoveRefusedError(
            WritingRefusal(
                WritingRefusalKind.NO_PLAIN_OPERATOR, layer=node.name, op_type=node.op_type
            )
        )


def _plain_inputs(graph: EditedGraph, node: onnx.NodeProto) -> Iterator[str]:
    for row in integer_operands(node.op_type, len(node.input)):
        if row[1] >= len(node.input):
            continue
        if len(row) == 4:
            yield _dequantized(graph, node, CodedOperand(*row))
        elif row[1] == SCALED_BIAS.get(node.op_type) and node.input[row[1]]:
            yield _dequantized_bias(graph, node, row[1])
        else:
            yield node.input[row[1]]


def _dequantized(graph: EditedGraph, node: onnx.NodeProto, operand: CodedOperand) -> str:
    codes, scale = node.input[operand.codes], node.input[operand.scale]
    zero_point = _name_at(node, operand.zero_point)
    values = graph.new_name(f"{codes}_dequantized")
    inputs = [codes, scale, *([zero_point] if zero_point else [])]
    steps = graph.constant(scale)
    axis = None
    if steps is not None and steps.size > 1:
        axis = scale_axis(node, operand.position)
    attributes = [helper.make_attribute("axis", axis)] if axis is not None else []
    graph.add(DEQUANTIZE, inputs, [values], attributes=attributes)
    return values


def scale_axis(node: onnx.NodeProto, position: int) -> int:
    """Return the axis of the codes that several scales of an operand count."""
    if node.op_type == "QLinearMatMul":
        return -2 if position == 0 else -1
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 1 if node.op_type == "QGemm" and not transposed else 0


def _dequantized_bias(graph: EditedGraph, node: onnx.NodeProto, index: int) -> str:
    """Return the values of an int32 bias, whose scale is the product of two others."""
    scales = [graph.constant(node.input[i]) for i in (1, 4)]
    if scales[0] is None or scales[1] is None:
        raise MoveRefusedError(
            WritingRefusal(
                WritingRefusalKind.NO_PLAIN_OPERATOR, layer=node.name, op_type=node.op_type
            )
        )
    alpha = np.float32(alpha_of(node))
    product = (scales[0].reshape(-1)[:1] * scales[1].reshape(-1) * alpha).astype(np.float32)
    values = graph.new_name(f"{node.input[index]}_dequantized")
    held = product.reshape(()) if product.size == 1 else product
    inputs = [node.input[index], graph.add_constant(held, f"{node.input[index]}_scale")]
    attributes = [helper.make_attribute("axis", 0)] if product.size > 1 else []
    graph.add(DEQUANTIZE, inputs, [values], attributes=attributes)
    return values


def alpha_of(node: onnx.NodeProto) -> float:
    """Return what QGemm multiplies its product by; its bias is counted in that too."""
    if node.op_type != "QGemm":
        return 1.0
    return next((a.f for a in node.attribute if a.name == "alpha"), 1.0)


def _typed_zero(graph: EditedGraph, node: onnx.NodeProto) -> str:
    """Return a zero of the type of the codes that come in: theirs is the type that goes out."""
    for operand in coded_operands(node):
        zero = graph.constant(_name_at(node, operand.zero_point))
        if zero is not None:
            return graph.add_constant(np.zeros((), zero.dtype), f"{node.output[0]}_zero_point")
    return ""


def _name_at(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""
