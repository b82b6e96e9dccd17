"""A constant that quantization turns to nothing: an epsilon below half a step, a factor of zero."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..reading.dataflow import Dataflow, Given, Operation, Quantizer, Tensor
from .known_ranges import MOVING, constant_values, find_known_ranges, range_of

_PASSING = MOVING | {"QuantizeLinear", "DequantizeLinear", "Cast"}
# What keeps a value above zero, and what fails where it is not.
_ROOTS = frozenset(("Sqrt", "ReduceMean"))


class LossKind(enum.Enum):
    """How a constant is lost."""

    EPSILON = "epsilon"  # below half a step of the quantization that it is added in
    FLOOR = "floor"  # what keeps a divisor from zero is below half a step of its quantization
    ZEROED = "zeroed"  # all codes of a constant that is not zero are the zero-point


@dataclass(frozen=True, eq=False)
class LostConstant:
    """One constant that is lost.

    Attributes:
        layer_name, op_type: the layer that adds the constant, or reads it.
        quantized_name: the layer whose result is quantized.
        failing_name, failing_type: the operator that gets zero instead: a Div, a Log ...
        value: the constant (or the floor it makes), the largest of its numbers.
        step: of the quantization that loses it.
        tensor: what is quantized.
    """

    kind: LossKind
    layer_name: str
    op_type: str
    quantized_name: str
    failing_name: str
    failing_type: str
    tensor: str
    value: float
    step: float
    data_type: str


def find_lost_constants(
    flow: Dataflow,
    original: Dataflow | None = None,
    partners: Mapping[str, str] | None = None,
) -> Iterator[LostConstant]:
    """Yield the constants of a file that its own quantization loses.

    Args:
        original, partners: the float network, and what it calls each layer of this file: a
            constant that is stored as codes alone is compared with the float one.
    """
    yield from _find_lost_floors(flow)
    yield from _find_zeroed(flow)
    if original is not None and partners:
        yield from _find_stored_as_zero(flow, original, partners)


def _find_lost_floors(flow: Dataflow) -> Iterator[LostConstant]:
    """Yield what keeps a divisor (or a logarithm's operand) above zero and is rounded away."""
    known = find_known_ranges(flow)
    failing = _failing_on_zero(flow)
    floors: dict[Tensor, tuple[float, Operation]] = {}
    for operation in flow.operations:
        if not operation.outputs:
            continue
        floor = _floor_after(operation, floors)
        if floor is None:
            continue
        value, origin = floor
        quantizer, output = operation.quantizer, operation.outputs[0]
        if quantizer is not None and value < quantizer.step / 2 and output in failing:
            low = range_of(operation.given[0], known).low if operation.given else -math.inf
            if _holds_zero(quantizer) and low < quantizer.step / 2:
                yield _floor_fact(flow, operation, origin, value, quantizer, failing[output])
            continue
        floors[output] = floor


def _floor_after(
    operation: Operation, floors: Mapping[Tensor, tuple[float, Operation]]
) -> tuple[float, Operation] | None:
    """Return the least that an operator's result is kept at by a constant, and where it was set."""
    value = _own_floor(operation)
    if value is not None:
        return value, operation
    before = floors.get(operation.given[0].tensor) if operation.given else None
    if before is None:
        return None
    if operation.op_type in _PASSING or operation.op_type == "ReduceMean":
        return before
    return (math.sqrt(before[0]), before[1]) if operation.op_type == "Sqrt" else None


def _own_floor(operation: Operation) -> float | None:
    """Return the positive constant that an Add adds, or a Clip or Max keeps a value above."""
    if operation.op_type in ("Add", "Max") and len(operation.given) == 2:
        held = [g for g in operation.given if g.tensor.constant is not None]
        return _only_number(held[0]) if len(held) == 1 else None
    if operation.op_type == "Clip":
        bottom = operation.operand(1)
        value = operation.number("min", 0.0) if bottom is None else _only_number(bottom)
        return value if value is not None and value > 0 else None
    return None


def _only_number(given: Given) -> float | None:
    """Return a positive constant that is one number (repeated perhaps), else None."""
    values = constant_values(given)
    if values is None or not values.size or not np.isfinite(values).all():
        return None
    number = float(values.reshape(-1)[0])
    return number if number > 0 and (values == number).all() else None


def _failing_on_zero(flow: Dataflow) -> dict[Tensor, Operation]:
    """Return the tensors that must not be zero, with the operator that fails if they are.

    Followed back from divisors and logarithms through roots and what moves data.
    """
    failing: dict[Tensor, Operation] = {}
    for operation in reversed(flow.operations):
        given = _must_not_be_zero(operation)
        if given is not None:
            failing.setdefault(given.tensor, operation)
            continue
        passes = operation.op_type in _PASSING or operation.op_type in _ROOTS
        behind = next((failing[o] for o in operation.outputs if o in failing), None)
        if passes and behind is not None and operation.given:
            failing.setdefault(operation.given[0].tensor, behind)
    return failing


def _must_not_be_zero(operation: Operation) -> Given | None:
    if operation.op_type == "Div" and len(operation.given) == 2:
        return operation.given[1]
    if operation.op_type in ("Log", "Reciprocal", "Rsqrt") and operation.given:
        return operation.given[0]
    if operation.op_type == "Pow" and len(operation.given) == 2:
        exponent = constant_values(operation.given[1])
        if exponent is not None and exponent.size and (exponent < 0).all():
            return operation.given[0]
    return None


def _holds_zero(quantizer: Quantizer) -> bool:
    low, high = quantizer.limits
    return low <= 0 <= high


def _floor_fact(
    flow: Dataflow,
    operation: Operation,
    origin: Operation,
    value: float,
    quantizer: Quantizer,
    failing: Operation,
) -> LostConstant:
    quantized = operation.given[0].tensor.name if operation.given else ""
    layer = flow.producer.get(operation.given[0].tensor) if operation.given else None
    is_direct = operation is origin or layer is origin
    return LostConstant(
        LossKind.EPSILON if is_direct else LossKind.FLOOR,
        flow.layer_name(origin),
        origin.op_type,
        flow.layer_name(layer if layer is not None else operation),
        flow.layer_name(failing),
        failing.op_type,
        quantized,
        value,
        quantizer.step,
        quantizer.data_type,
    )


def _find_zeroed(flow: Dataflow) -> Iterator[LostConstant]:
    """Yield float constants that QuantizeLinear turns to zero as a whole."""
    for operation in flow.operations:
        if operation.op_type != "QuantizeLinear" or operation.quantizer is None:
            continue
        held = operation.operand(0)
        if held is None or held.tensor.constant is None or operation.quantizer.scale.size != 1:
            continue
        values = constant_values(held)
        if values is None or not np.isfinite(values).all():
            continue
        largest = float(np.abs(values).max(initial=0.0))
        if 0 < largest < operation.quantizer.step / 2 and _holds_zero(operation.quantizer):
            found = _zeroed_fact(flow, operation, held.tensor, largest)
            if found is not None:
                yield found


def _find_stored_as_zero(
    flow: Dataflow, original: Dataflow, partners: Mapping[str, str]
) -> Iterator[LostConstant]:
    """Yield constants whose codes all stand for zero, unlike those of the float network."""
    ours = {original.layer_name(one): one for one in original.operations}
    for operation in flow.operations:
        partner = ours.get(partners.get(flow.layer_name(operation), ""))
        if partner is None or partner.op_type != operation.op_type:
            continue
        for given, exact in zip(operation.operands, partner.operands, strict=False):
            dequantizer = _dequantizer_of(flow, given)
            if given is None or exact is None or dequantizer is None:
                continue
            codes = dequantizer.given[0].tensor.constant
            if codes is None or codes.data_type == "int32":
                continue  # a bias in the accumulator's own steps: nothing there is finer
            held, wanted = constant_values(given), constant_values(exact)
            if held is None or held.any() or wanted is None or not wanted.any():
                continue
            found = _zeroed_fact(flow, dequantizer, given.tensor, float(np.abs(wanted).max()))
            if found is not None:
                yield found


def _dequantizer_of(flow: Dataflow, given: Given | None) -> Operation | None:
    """Return the DequantizeLinear that a constant operand of stored codes comes from."""
    if given is None or given.tensor.constant is None:
        return None
    operation = flow.producer.get(given.tensor)
    if operation is None or operation.op_type != "DequantizeLinear" or not operation.given:
        return None
    behind = flow.producer.get(operation.given[0].tensor)
    return operation if behind is None or behind.op_type != "QuantizeLinear" else None


def _zeroed_fact(
    flow: Dataflow, operation: Operation, tensor: Tensor, value: float
) -> LostConstant | None:
    reader = operation
    quantizer = operation.quantizer or (operation.given[0].quantizer if operation.given else None)
    if quantizer is None:
        return None
    while reader.op_type in _PASSING and reader.outputs:
        following = flow.readers.get(reader.outputs[0], ())
        if not following:
            break
        reader = following[0]
    name = flow.layer_name(reader)
    return LostConstant(
        LossKind.ZEROED,
        name,
        reader.op_type,
        name,
        name,
        reader.op_type,
        tensor.name,
        value,
        quantizer.step,
        quantizer.data_type,
    )
