"""From one operator's inputs to codes and what they mean: one function per form of storage.

`storage` lists which operator is read by which function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import BIT_OPERATORS, Operand
from ..quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    Quantization,
    Source,
    code_limits,
    create_quantization,
    is_integer,
)
from ..records import LayoutStep
from .computed import Computed, quantization_of
from .constants import ConstantTable, attribute_values
from .custom_quantizers import make_quantized


@dataclass(frozen=True, eq=False)
class Stored:
    """A parameter as an operator stores it: codes and what they mean, or a float tensor.

    ``layout`` leads from the codes' frame to the frame in which the operator uses them. A
    ``problem`` is what could not be understood though the values are known.
    """

    storage: str
    source: Source
    quantization: Quantization | None = None
    layout: tuple[LayoutStep, ...] = ()
    problem: Refusal | None = None
    is_unpacked: bool = False

    @property
    def root_name(self) -> str:
        return root_of(self.source).name


def root_of(source: Source) -> Source:
    """Return the innermost constant that ``source`` is made from."""
    while True:
        if isinstance(source, DerivedSource):
            source = source.source
        elif isinstance(source, Computed) and source.carrier is not None:
            source = source.carrier
        else:
            return source


# ------------------------------------------------- operators on a weight's way


def read_dequantize_linear(node: ir.Node, constants: ConstantTable) -> Stored:
    """W -> DequantizeLinear, also with Clip, or with a float W -> QuantizeLinear before it."""
    inputs = tuple(constants.get(value) for value in node.inputs)
    quantization = quantization_of(node.op_type, inputs, attribute_values(node))
    codes = inputs[0]
    assert codes is not None
    steps = [node.op_type]
    limits = None
    inner: Source | None = codes
    while isinstance(inner, Computed):
        steps.append(inner.op_type)
        if inner.op_type == "Clip":
            limits = _clip_limits(inner, quantization.data_type)
        inner = inner.inputs[0]
    storage = " → ".join(reversed(steps))
    unpacked = unpacks_bits(steps)
    return Stored(storage, codes, replace(quantization, limits=limits), is_unpacked=unpacked)


def unpacks_bits(op_types: Iterable[str]) -> bool:
    """Whether some operator takes narrower codes out of wider ones."""
    return any(op_type in BIT_OPERATORS for op_type in op_types)


def _clip_limits(clip: Computed, data_type: str) -> tuple[float, float]:
    low, high = code_limits(data_type)
    given = (*clip.inputs, None, None)[1:3]
    bounds = [  # attributes until opset 11
        clip.attributes.get(name) if source is None else float(source.read().reshape(()))
        for name, source in zip(("min", "max"), given, strict=True)
    ]
    return (low if bounds[0] is None else bounds[0], high if bounds[1] is None else bounds[1])


def read_custom_quantizer(node: ir.Node, constants: ConstantTable) -> Stored:
    """A tool's own quantizer: of a float weight, or of codes that another of its operators made."""
    inputs = tuple(constants.get(value) for value in node.inputs)
    made = make_quantized(node.domain, node.op_type, inputs, attribute_values(node))
    assert made is not None
    return Stored(node.op_type, made.codes, made.quantization)


def required(node: ir.Node, constants: ConstantTable, index: int) -> Source:
    source = constants.get(node.inputs[index]) if index < len(node.inputs) else None
    if source is None:
        raise NotUnderstoodError(
            Refusal(RefusalKind.INPUT_NOT_CONSTANT, operator=node.op_type, index=index)
        )
    return source


def refuse_value(kind: RefusalKind, node: ir.Node, value: object) -> NotUnderstoodError:
    """Return the error for an attribute whose value is not known."""
    return NotUnderstoodError(Refusal(kind, operator=node.op_type, value=value))


# ------------------------------------------------- operators that hold codes themselves


def packed_operand(
    node: ir.Node, constants: ConstantTable, operand: Operand
) -> tuple[Source, Source, Source | None]:
    """Return the codes and the scale of an operand, and its zero-point where there is one."""
    codes, scale = (required(node, constants, i) for i in (operand.index, operand.extra[0]))
    has_zero_point = len(operand.extra) > 1
    return codes, scale, optional(node, constants, operand.extra[1]) if has_zero_point else None


def optional(node: ir.Node, constants: ConstantTable, index: int) -> Source | None:
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    return required(node, constants, index)


def read_integer(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """Codes, scale and zero-point are inputs of the layer itself (QLinearConv, QLinearMatMul)."""
    return _read_codes(node, constants, operand, operand.axis)


def read_gemm_weight(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    return _read_codes(node, constants, operand, 0 if attribute_values(node).get("transB") else 1)


def _read_codes(node: ir.Node, constants: ConstantTable, operand: Operand, axis: int) -> Stored:
    codes, scale, zero_point = packed_operand(node, constants, operand)
    quantization = create_quantization(codes, scale, zero_point, axis=axis)
    return Stored(node.op_type, codes, quantization)


def read_implied_bias(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """An int32 bias without a scale in the file: the product of the input's and the weight's."""
    codes = required(node, constants, operand.index)
    if not is_integer(codes.data_type):
        return Stored(node.op_type, codes)
    alpha = np.float32(attribute_values(node).get("alpha", 1.0))
    factors = [required(node, constants, i).read().astype(np.float32) for i in operand.extra]
    product = alpha * factors[0].reshape(-1)[:1] * factors[1].reshape(-1)
    scale = ArraySource(f"{codes.name} (implied scale)", product, "float32")
    return Stored(node.op_type, codes, create_quantization(codes, scale, None, axis=0))


def read_lstm(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """DynamicQuantizeLSTM: stored [directions, in, 4·hidden], transposed against ONNX's LSTM."""
    codes, scale, zero = packed_operand(node, constants, operand)
    if len(codes.shape) != 3:
        raise NotUnderstoodError(Refusal(RefusalKind.NOT_THREE_DIMENSIONS, shape=codes.shape))
    transpose = LayoutStep("Transpose", partial(np.transpose, axes=(0, 2, 1)))
    shape = (codes.shape[0], 1, *scale.shape[1:]) if len(scale.shape) == 2 else scale.shape
    if len(scale.shape) != 2:
        return Stored(
            node.op_type, codes, create_quantization(codes, scale, zero, axis=0), (transpose,)
        )
    as_blocks = [
        None
        if s is None
        else DerivedSource(s, partial(np.reshape, shape=shape), shape, s.data_type)
        for s in (scale, zero)
    ]
    assert as_blocks[0] is not None
    quantization = create_quantization(
        codes, as_blocks[0], as_blocks[1], axis=1, block_size=codes.shape[1]
    )
    return Stored(node.op_type, codes, quantization, (transpose,))
