"""A network that is not the original's: an operator left out, or one put in.

A quantizer may leave out a Relu whose quantization cuts off what the Relu would; where the
zero-point is not the lowest code, it does not, and another function is computed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..reading.dataflow import Dataflow, Operation, Quantizer
from .known_ranges import MOVING, Range, constant_values

# One operand in, each number computed by itself.
ACTIVATIONS = frozenset(
    "Relu Clip LeakyRelu PRelu Sigmoid Tanh HardSigmoid HardSwish Elu Selu Celu Gelu Softplus "
    "Softsign Mish Swish ThresholdedRelu Softmax Abs Neg Sqrt Exp Erf".split()
)
_SCALING = frozenset("Add Sub Mul Div".split())
_EQUAL = (frozenset(("Relu", "Clip", "Min", "Max")),)
_PASSED = MOVING | frozenset("QuantizeLinear DequantizeLinear Cast".split())
# The kinds of one operator whose quantized forms are called otherwise.
_FAMILIES = {
    **dict.fromkeys("FusedConv NhwcFusedConv ConvInteger".split(), "Conv"),
    **dict.fromkeys(
        "Gemm FusedGemm FusedMatMul TransposeMatMul MatMulInteger MatMulNBits MatMulIntegerToFloat "
        "DynamicQuantizeMatMul QGemm MatMulBnb4".split(),
        "MatMul",
    ),
}


class ChangeKind(enum.Enum):
    """How the file's network differs from the original's."""

    LEFT_OUT = "left out"
    PUT_IN = "put in"


@dataclass(frozen=True, eq=False)
class ChangedOperator:
    """One operator that only the original has, or only this file.

    Attributes:
        layer_name, op_type: the operator, as the file that has it calls it.
        behind: the paired layer right before it, as the original calls it.
        wanted_low, wanted_high: what the operator bounds its result to.
        low, high, step: of the quantization in its place; NaN where there is none.
    """

    kind: ChangeKind
    layer_name: str
    op_type: str
    behind: str
    behind_type: str
    wanted_low: float = -math.inf
    wanted_high: float = math.inf
    low: float = math.nan
    high: float = math.nan
    step: float = math.nan


def find_changed_operators(
    original: Dataflow, flow: Dataflow, partners: Mapping[str, str]
) -> Iterator[ChangedOperator]:
    """Yield the operators behind paired layers that one of the two networks has not.

    Only where what stands in the operator's place is what follows it in the other network: a
    fused or a rewritten operator is no change.

    Args:
        partners: what the original calls each layer of this file.
    """
    by_original = {ours: theirs for theirs, ours in partners.items()}
    theirs_by_name = _by_layer(flow)
    theirs_paired, ours_paired = set(partners), set(partners.values())
    for name, ours in _by_layer(original).items():
        theirs = theirs_by_name.get(by_original.get(name, ""))
        if theirs is None or ours.op_type in _PASSED:
            continue
        found = _left_out(original, ours, flow, theirs, ours_paired)
        if found is None:
            found = _put_in(original, ours, flow, theirs, theirs_paired, name)
        if found is not None:
            yield found


def _by_layer(flow: Dataflow) -> dict[str, Operation]:
    """Return the operation that makes the output of each layer, by the layer's name."""
    return {
        flow.layer_names[tensor.name]: operation
        for operation in flow.operations
        for tensor in operation.outputs
        if tensor.name in flow.layer_names
    }


def _left_out(
    original: Dataflow,
    ours: Operation,
    flow: Dataflow,
    theirs: Operation,
    paired: set[str],
) -> ChangedOperator | None:
    left_out = _only_follower(original, ours)
    while left_out is not None and _is_folded(original, left_out, paired):
        left_out = _only_follower(original, left_out)
    if left_out is None or left_out.op_type not in ACTIVATIONS:
        return None
    if original.layer_name(left_out) in paired or _is_fused(theirs):
        return None
    instead = _followers(flow, theirs)
    if any(_are_equal(one.op_type, left_out.op_type) for one in instead):
        return None
    if not _are_same(instead, _followers(original, left_out)):
        return None
    wanted, quantizer = _bounds_of(left_out), _quantizer_behind(flow, theirs)
    if quantizer is not None and _does_the_same(quantizer, wanted):
        return None
    if quantizer is None and _is_quantized(flow, theirs):
        return None  # by a scale that cannot be used: that is another rule's
    low, high, step = (
        (math.nan, math.nan, math.nan) if quantizer is None else (*quantizer.limits, quantizer.step)
    )
    return ChangedOperator(
        ChangeKind.LEFT_OUT,
        original.layer_name(left_out),
        left_out.op_type,
        original.layer_name(ours),
        ours.op_type,
        wanted.low if wanted is not None else -math.inf,
        wanted.high if wanted is not None else math.inf,
        low,
        high,
        step,
    )


def _put_in(
    original: Dataflow,
    ours: Operation,
    flow: Dataflow,
    theirs: Operation,
    paired: set[str],
    name: str,
) -> ChangedOperator | None:
    put_in = _only_follower(flow, theirs)
    if put_in is None or put_in.op_type not in ACTIVATIONS | _SCALING:
        return None
    if flow.layer_name(put_in) in paired or not _is_layer(flow, put_in):
        return None
    if put_in.op_type in _SCALING and not any(g.tensor.constant is not None for g in put_in.given):
        return None
    if put_in.op_type == "Add" or _is_neutral(put_in, flow, theirs):  # an Add is a bias
        return None
    before = _followers(original, ours)
    if any(_are_equal(one.op_type, put_in.op_type) for one in before):
        return None
    if not _are_same(before, _followers(flow, put_in)):
        return None
    return ChangedOperator(
        ChangeKind.PUT_IN, flow.layer_name(put_in), put_in.op_type, name, ours.op_type
    )


def _is_fused(operation: Operation) -> bool:
    """Return whether an operator computes an activation as well."""
    return "Fused" in operation.stored_as or bool(operation.attributes.get("activation"))


def _is_neutral(operation: Operation, flow: Dataflow, before: Operation) -> bool:
    """Return whether a Relu or Clip cuts off nothing that its operand's quantization holds."""
    wanted, quantizer = _bounds_of(operation), _quantizer_behind(flow, before)
    return wanted is not None and quantizer is not None and _does_the_same(quantizer, wanted)


def _followers(flow: Dataflow, operation: Operation) -> list[Operation]:
    """Return the operations that compute with a result, past quantizers and what moves data."""
    found: list[Operation] = []
    waiting = list(operation.outputs)
    seen = set(waiting)
    while waiting:
        for reader in flow.readers.get(waiting.pop(), ()):
            if reader.op_type not in _PASSED:
                found.append(reader)
                continue
            waiting += [tensor for tensor in reader.outputs if tensor not in seen]
            seen.update(reader.outputs)
    return found


def _only_follower(flow: Dataflow, operation: Operation) -> Operation | None:
    found = _followers(flow, operation)
    return found[0] if len(found) == 1 else None


def _is_folded(flow: Dataflow, operation: Operation, paired: set[str]) -> bool:
    """Return whether a quantizer may have folded the operator into the layer before."""
    if flow.layer_name(operation) in paired:
        return False
    if operation.op_type == "BatchNormalization":
        return True
    return operation.op_type in ("Add", "Mul") and any(
        g.tensor.constant is not None for g in operation.given
    )


def _is_layer(flow: Dataflow, operation: Operation) -> bool:
    return any(tensor.name in flow.layer_names for tensor in operation.outputs)


def _are_equal(one: str, other: str) -> bool:
    return one == other or any(one in group and other in group for group in _EQUAL)


def _are_same(some: list[Operation], others: list[Operation]) -> bool:
    """Return whether operators of the same kinds follow."""
    kinds = [{_FAMILIES.get(o.op_type, o.op_type) for o in ops} for ops in (some, others)]
    return kinds[0] == kinds[1]


def _bounds_of(operation: Operation) -> Range | None:
    """Return what a Relu or Clip keeps its operand within; None for what does more than that."""
    if operation.op_type == "Relu":
        return Range(0.0, math.inf)
    if operation.op_type != "Clip":
        return None
    ends = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = operation.operand(index)
        values = constant_values(given) if given is not None else None
        if given is not None and (values is None or values.size != 1):
            return None
        number = operation.number(name, default)
        ends.append(number if values is None else float(values.reshape(-1)[0]))
    return Range(*ends)


def _quantizer_behind(flow: Dataflow, operation: Operation) -> Quantizer | None:
    """Return the quantization of a result: the operator's own, or of the QuantizeLinear behind."""
    if operation.quantizer is not None or not operation.outputs:
        return operation.quantizer
    waiting = list(operation.outputs[:1])
    seen = set(waiting)
    while waiting:
        for reader in flow.readers.get(waiting.pop(), ()):
            if reader.quantizer is not None and reader.op_type == "QuantizeLinear":
                return reader.quantizer
            if reader.op_type in MOVING:
                waiting += [tensor for tensor in reader.outputs if tensor not in seen]
                seen.update(reader.outputs)
    return None


def _is_quantized(flow: Dataflow, operation: Operation) -> bool:
    readers = [r for tensor in operation.outputs for r in flow.readers.get(tensor, ())]
    return any(reader.op_type == "QuantizeLinear" for reader in readers)


def _does_the_same(quantizer: Quantizer, wanted: Range | None) -> bool:
    """Return whether saturation cuts off what the operator would, to half a step."""
    if wanted is None:
        return False
    low, high = quantizer.limits
    slack = quantizer.step / 2
    return low >= wanted.low - slack and high <= wanted.high + slack
