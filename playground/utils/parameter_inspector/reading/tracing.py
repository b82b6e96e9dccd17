"""From a layer's input back to its constant; from an integer operator on to its scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import QDQ_DOMAINS, STANDARD_DOMAINS
from ..quantization import (
    ArraySource,
    NotUnderstoodError,
    Source,
    create_quantization,
    is_integer,
)
from ..records import LayoutStep
from .constants import Computed, ConstantTable, attribute_values
from .decoders import Stored, root_of, unpacks_bits
from .model_file import printable
from .storage import DEQUANTIZERS, refusal_of

MAX_STEPS = 100


def trace_operand(value: ir.Value, constants: ConstantTable) -> Stored | None:
    """Return the parameter behind ``value``, None where it is an activation.

    Raises:
        NotUnderstoodError: a constant is behind it, but in a way that cannot be read.
    """
    layout: list[LayoutStep] = []
    while len(layout) <= MAX_STEPS:
        node = value.producer()
        if node is None or node.op_type == "Constant":
            source = constants.get(value)
            if source is None and node is None and not value.is_graph_input():
                raise NotUnderstoodError(Refusal(RefusalKind.NOT_IN_FILE, name=value.name or ""))
            return None if source is None else _in_frame(_float(source), layout)
        if any(operand is value for operand in node.inputs):
            raise NotUnderstoodError(Refusal(RefusalKind.FEEDS_ITSELF, operator=node.op_type))
        stored = _read_node(node, value, constants)
        if stored is not None:
            return _in_frame(stored, layout)
        step = _layout_step(node, constants)
        if step is None:
            return None
        layout.append(step)
        following = node.inputs[0]
        if following is None:
            return None
        value = following
    raise NotUnderstoodError(Refusal(RefusalKind.TOO_MANY_STEPS, limit=MAX_STEPS))


def _read_node(node: ir.Node, value: ir.Value, constants: ConstantTable) -> Stored | None:
    """Return what a node other than a layout operator says about a parameter."""
    read = DEQUANTIZERS.get((node.domain, node.op_type))
    if read is not None and node.inputs and constants.is_constant(node.inputs[0]):
        return read(node, constants)
    reason = constants.why_opaque(value)
    if reason is not None:
        raise NotUnderstoodError(_refuse_operator(*reason))
    source = constants.get(value)
    if read is not None or source is None or _layout_step(node, constants) is not None:
        return None
    return _arithmetic(source) or _computed(source)


def _refuse_operator(domain: str, op_type: str) -> Refusal:
    """Return why constants behind an operator that cannot be evaluated are not read."""
    unknown = Refusal(RefusalKind.UNKNOWN_ON_THE_WAY, operator=printable(op_type), domain=domain)
    return refusal_of(domain, op_type) or unknown


def _float(source: Source) -> Stored:
    return Stored("float", source)


def _computed(source: Source) -> Stored:
    """Return a weight that the graph computes; say so where it is made from codes."""
    steps = [s.op_type for s in _chain(source)]
    problem = None
    if "DequantizeLinear" in steps or is_integer(root_of(source).data_type):
        problem = Refusal(RefusalKind.COMPUTED_FROM_CODES, names=tuple(steps))
    storage = " → ".join(["float", *reversed(steps)])
    return Stored(storage, source, problem=problem, is_unpacked=unpacks_bits(steps))


def _chain(source: Source) -> Iterator[Computed]:
    while isinstance(source, Computed):
        yield source
        first = source.inputs[0]
        if first is None:
            return
        source = first


def _arithmetic(source: Source) -> Stored | None:
    """Recognize ``(Cast(codes) - zero_point) * scale`` spelled out in operators."""
    if not isinstance(source, Computed) or source.op_type != "Mul":
        return None
    for product, scale in (source.inputs, source.inputs[::-1]):
        operands = _codes_and_zero_point(product)
        if operands is None or scale is None or root_of(scale) is root_of(operands[0]):
            continue
        codes, offset = operands
        axis, vector = _broadcast_axis(scale, codes.shape)
        if axis is not None and codes.shape[axis] != vector.shape[0]:
            continue
        quantization = create_quantization(codes, vector, None, axis=axis or 0)
        if offset is not None:
            zero_axis, zeros = _broadcast_axis(offset, codes.shape)
            if zero_axis not in (None, axis):
                continue
            # The graph subtracts in float32: a zero-point may be fractional, or outside the type.
            zero_point = ArraySource(offset.name, zeros.read().astype(np.float32), "float32")
            quantization = replace(quantization, zero_point_source=zero_point)
        return Stored("Cast → Sub → Mul", codes, quantization)
    return None


def _codes_and_zero_point(source: Source | None) -> tuple[Source, Source | None] | None:
    """Match ``Cast(codes)`` or ``Cast(codes) - zero_point``, computed in float32."""
    minuend, zero_point = source, None
    if isinstance(source, Computed) and source.op_type == "Sub":
        minuend, zero_point = source.inputs[0], source.inputs[1]
        while isinstance(zero_point, Computed) and zero_point.op_type == "Cast":
            zero_point = zero_point.inputs[0]
    if not isinstance(minuend, Computed) or minuend.op_type != "Cast":
        return None
    codes = minuend.inputs[0]
    if codes is None or not is_integer(codes.data_type) or minuend.data_type != "float32":
        return None
    return codes, zero_point


def _broadcast_axis(scale: Source, shape: tuple[int, ...]) -> tuple[int | None, Source]:
    """Return the axis along which ``scale`` varies when numpy broadcasts it, and it as a vector."""
    array = scale.read()
    long = [i for i, d in enumerate(array.shape) if d != 1]
    if not long:
        return None, ArraySource(scale.name, array.reshape(()), scale.data_type)
    axis = long[0] + len(shape) - array.ndim
    if len(long) > 1 or axis < 0:
        raise NotUnderstoodError(
            Refusal(RefusalKind.SCALE_AGAINST_CODES, scale_shape=array.shape, shape=shape)
        )
    return axis, ArraySource(scale.name, array.reshape(-1), scale.data_type)


def _in_frame(stored: Stored, layout: list[LayoutStep]) -> Stored:
    return replace(stored, layout=(*stored.layout, *reversed(layout)))


# ------------------------------------------------- layout operators


def _layout_step(node: ir.Node, constants: ConstantTable) -> LayoutStep | None:
    """Return how a layout operator rearranges its first input, None for any other node."""
    make = _LAYOUT.get(node.op_type)
    if make is None or node.domain not in STANDARD_DOMAINS or not node.inputs:
        return None
    rest = [constants.get(value) for value in node.inputs[1:]]
    if any(s is None for s, v in zip(rest, node.inputs[1:], strict=True) if v is not None):
        return None
    arguments = [None if source is None else source.read() for source in rest]
    return LayoutStep(node.op_type, make(attribute_values(node), arguments))


Rearrange = Callable[[np.ndarray], np.ndarray]


def _identity(array: np.ndarray) -> np.ndarray:
    return array


def _cast(array: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    """Round once to ``dtype``; narrow floats are held as float32."""
    with np.errstate(all="ignore"):
        return array.astype(dtype).astype(np.float64 if dtype == np.float64 else np.float32)


def _reshape(array: np.ndarray, *, shape: tuple[int, ...], allow_zero: bool) -> np.ndarray:
    if not allow_zero:
        shape = tuple(array.shape[i] if d == 0 else d for i, d in enumerate(shape))
    return array.reshape(shape)


def _squeeze(array: np.ndarray, *, axes: tuple[int, ...] | None) -> np.ndarray:
    return np.squeeze(array, axis=axes)


def _unsqueeze(array: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return np.expand_dims(array, axes)


def _flatten(array: np.ndarray, *, axis: int) -> np.ndarray:
    return array.reshape(int(np.prod(array.shape[:axis])), -1)


def _transpose(array: np.ndarray, *, axes: tuple[int, ...] | None) -> np.ndarray:
    return np.transpose(array, axes)


def _axes(attributes: dict[str, Any], arguments: list[np.ndarray | None]) -> tuple[int, ...] | None:
    axes = arguments[0] if arguments and arguments[0] is not None else attributes.get("axes")
    return None if axes is None else tuple(int(a) for a in axes)


def _make_reshape(attributes: dict[str, Any], arguments: list[np.ndarray | None]) -> Rearrange:
    shape = arguments[0] if arguments and arguments[0] is not None else attributes.get("shape", ())
    allow_zero = bool(attributes.get("allowzero", 0))
    return partial(_reshape, shape=tuple(int(d) for d in shape), allow_zero=allow_zero)


_LAYOUT: dict[str, Callable[[dict[str, Any], list[np.ndarray | None]], Rearrange]] = {
    "Identity": lambda attributes, arguments: _identity,
    "Cast": lambda attributes, arguments: partial(
        _cast, dtype=ir.DataType(attributes["to"]).numpy()
    ),
    "Transpose": lambda attributes, arguments: partial(
        _transpose, axes=tuple(attributes["perm"]) if "perm" in attributes else None
    ),
    "Reshape": _make_reshape,
    "Squeeze": lambda attributes, arguments: partial(_squeeze, axes=_axes(attributes, arguments)),
    "Unsqueeze": lambda attributes, arguments: partial(
        _unsqueeze, axes=_axes(attributes, arguments) or ()
    ),
    "Flatten": lambda attributes, arguments: partial(_flatten, axis=int(attributes.get("axis", 1))),
}


# ------------------------------------------------- from an integer operator to its scale


@dataclass(frozen=True, eq=False)
class IntegerChain:
    """What follows MatMulInteger or ConvInteger until its result is a real number again.

    Attributes:
        factors: the constants that the integers are multiplied by.
        activations: the factors that are computed while the model runs.
        bias: the int32 constant that is added before, if any.
        nodes: the operators that belong to the layer.
        output: the first value that is a real number.
    """

    factors: tuple[Source, ...]
    activations: tuple[ir.Value, ...]
    bias: Source | None
    nodes: tuple[ir.Node, ...]
    output: ir.Value


def trace_integer_output(node: ir.Node, constants: ConstantTable) -> IntegerChain:
    """Walk on from an integer operator through Cast, Reshape and a bias to the Mul by its scales.

    Raises:
        NotUnderstoodError: no such Mul follows.
    """
    value, bias, nodes = node.outputs[0], None, []
    for _ in range(MAX_STEPS):
        consumers = [usage.node for usage in value.uses()]
        if len(consumers) != 1:
            break
        consumer = consumers[0]
        other = next((v for v in consumer.inputs if v is not None and v is not value), None)
        nodes.append(consumer)
        if consumer.op_type == "Mul" and other is not None:
            factors, activations, products = _factors(other, constants)
            return IntegerChain(
                tuple(factors), tuple(activations), bias, (*nodes, *products), consumer.outputs[0]
            )
        if consumer.op_type == "Add" and constants.is_constant(other):
            bias = constants.get(other)
        elif consumer.op_type not in ("Cast", "Identity", "Reshape"):
            break
        value = consumer.outputs[0]
    raise NotUnderstoodError(Refusal(RefusalKind.NEVER_SCALED))


def _factors(
    value: ir.Value, constants: ConstantTable
) -> tuple[list[Source], list[ir.Value], list[ir.Node]]:
    """Return the constant and the running factors of a product, and the Mul nodes of it."""
    factors: list[Source] = []
    activations: list[ir.Value] = []
    nodes: list[ir.Node] = []
    waiting, seen = [value], {id(value)}
    while waiting:
        operand = waiting.pop(0)
        source, node = constants.get(operand), operand.producer()
        if isinstance(source, Computed) and source.op_type == "Mul" and None not in source.inputs:
            factors += [s for s in source.inputs if s is not None]
        elif source is not None:
            factors.append(source)
        elif node is None or node.op_type != "Mul":
            activations.append(operand)
        else:
            nodes.append(node)
            for factor in node.inputs:
                if factor is not None and id(factor) in seen:
                    raise NotUnderstoodError(Refusal(RefusalKind.SCALES_IN_CIRCLE))
                if factor is not None:
                    seen.add(id(factor))
                    waiting.append(factor)
    return factors, activations, nodes


def trace_gathered(
    node: ir.Node, constants: ConstantTable
) -> tuple[Source, Source | None, int] | None:
    """Return scale, zero-point and axis that a Gather of codes is dequantized with later on.

    The axis counts in the result of the Gather, so it holds for per-tensor scales only when it is
    not mapped; a per-axis scale is mapped back by the caller.
    """
    value = node.outputs[0]
    for _ in range(MAX_STEPS):
        consumers = [usage.node for usage in value.uses()]
        reader = _dequantizing_reader(value, consumers)
        if reader is not None:
            return _scale_of_reader(*reader, constants)
        if len(consumers) != 1 or consumers[0].op_type not in _KEEPING_SHAPE:
            return None
        value = consumers[0].outputs[0]
    return None


_KEEPING_SHAPE = frozenset(("Reshape", "Identity", "Squeeze", "Unsqueeze"))


def _dequantizing_reader(
    value: ir.Value, consumers: Sequence[ir.Node]
) -> tuple[ir.Node, int] | None:
    """Return what dequantizes a value, and which of its inputs the scale is."""
    dequantizer = next((c for c in consumers if c.op_type == "DequantizeLinear"), None)
    if dequantizer is not None and dequantizer.domain in QDQ_DOMAINS:
        return dequantizer, 1
    fused = next((c for c in consumers if c.op_type in ("QLinearAdd", "QLinearMul")), None)
    return None if fused is None else (fused, 1 if fused.inputs[0] is value else 4)


def _scale_of_reader(
    reader: ir.Node, index: int, constants: ConstantTable
) -> tuple[Source, Source | None, int] | None:
    scale = constants.get(reader.inputs[index])
    has_zero_point = len(reader.inputs) > index + 1
    zero_point = constants.get(reader.inputs[index + 1]) if has_zero_point else None
    axis = int(attribute_values(reader).get("axis", 1))
    return None if scale is None else (scale, zero_point, axis)
