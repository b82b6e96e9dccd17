"""What a file alone proves of each tensor's values: the lowest and the highest they can be.

A range comes from an operator that bounds its result (Sigmoid, Clip ...), or from a quantizer that
can hold no more, and goes on through what moves data and through arithmetic on known ranges.
Nothing is assumed of the data: a range is never too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..reading.dataflow import Dataflow, Given, Operation, Quantizer, Tensor, read_small

# Values pass through these as they are: none is computed, some may be left out or repeated.
MOVING = frozenset(
    "Identity Reshape Transpose Flatten Squeeze Unsqueeze Slice Split Gather GatherElements "
    "GatherND Expand Tile MaxPool GlobalMaxPool DepthToSpace SpaceToDepth Dropout ReverseSequence "
    "Compress ReduceMax ReduceMin TopK".split()
)
# The result lies within the range of what enters.
WITHIN = MOVING | frozenset(
    "AveragePool GlobalAveragePool ReduceMean Mean Cast CastLike Resize Upsample".split()
)
# So does this, or it is zero.
_WITHIN_OR_ZERO = frozenset("Pad Trilu".split())
# The values of several tensors stand side by side in the result.
JOINING = frozenset("Concat Where ScatterND ScatterElements Max Min".split())
ADDING = frozenset("Add Sub Sum".split())


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value that a tensor can hold; infinite where nothing is known."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __and__(self, other: Range) -> Range:
        """Return what both allow; the other alone where they exclude each other."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Range(low, high) if low <= high else other

    def __or__(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low)

    def __mul__(self, other: Range) -> Range:
        ends = [_times(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), max(ends))

    def inverted(self) -> Range:
        """Return the range of 1/x; unknown where x may be zero."""
        if self.low > 0 or self.high < 0:
            return Range(1 / self.high, 1 / self.low)
        return Range()


UNKNOWN = Range()
POSITIVE = Range(0.0, math.inf)
_UNIT, _SIGNED_UNIT = Range(0.0, 1.0), Range(-1.0, 1.0)

_BOUNDED = {
    **dict.fromkeys("Sigmoid Softmax Hardmax HardSigmoid".split(), _UNIT),
    **dict.fromkeys("Tanh Softsign Erf Sin Cos".split(), _SIGNED_UNIT),
    **dict.fromkeys("Abs Sqrt Exp Softplus ReduceL1 ReduceL2 ReduceSumSquare".split(), POSITIVE),
    **dict.fromkeys("Acos Acosh".split(), POSITIVE),
    "LogSoftmax": Range(-math.inf, 0.0),
    "HardSwish": Range(-0.375, math.inf),
    "Gelu": Range(-0.17, math.inf),
    "Atan": Range(-math.pi / 2, math.pi / 2),
}


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _rising(function: Callable[[float], float]) -> Callable[[Operation, Range], Range]:
    """Return the rule of an operator that never falls as its operand rises."""
    return lambda _, given: Range(function(given.low), function(given.high))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


def _log(x: float) -> float:
    return math.log(x) if 0 < x < math.inf else (math.inf if x > 0 else -math.inf)


def _sqrt(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x))


def _leaky_relu(operation: Operation, given: Range) -> Range:
    slope = operation.number("alpha", 0.01)
    ends = [x if x >= 0 else _times(slope, x) for x in (given.low, given.high)]
    return Range(min(ends), max(ends)) if slope >= 0 else UNKNOWN


def _elu(operation: Operation, given: Range) -> Range:
    alpha = operation.number("alpha", 1.0)
    if alpha < 0:
        return UNKNOWN
    ends = [x if x >= 0 else alpha * (_exp(x) - 1) for x in (given.low, given.high)]
    return Range(*ends)


def _hard_sigmoid(operation: Operation, given: Range) -> Range:
    slope, shift = operation.number("alpha", 0.2), operation.number("beta", 0.5)
    ends = [min(1.0, max(0.0, _times(slope, x) + shift)) for x in (given.low, given.high)]
    return Range(min(ends), max(ends))


def _abs(_: Operation, given: Range) -> Range:
    low = 0.0 if given.low <= 0 <= given.high else min(abs(given.low), abs(given.high))
    return Range(low, max(abs(given.low), abs(given.high)))


_OF_ONE: Mapping[str, Callable[[Operation, Range], Range]] = {
    "Relu": _rising(lambda x: max(x, 0.0)),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "Abs": _abs,
    "Sigmoid": _rising(_sigmoid),
    "Tanh": _rising(math.tanh),
    "Exp": _rising(_exp),
    "Log": _rising(_log),
    "Sqrt": _rising(_sqrt),
    "Softplus": _rising(lambda x: x if x > 30 else math.log1p(_exp(x))),
    "Neg": lambda _, given: -given,
    "Reciprocal": lambda _, given: given.inverted(),
    "Gelu": lambda _, given: Range(-0.17 if given.low < 0 else 0.0, max(given.high, 0.0)),
    "HardSwish": lambda _, given: Range(-0.375 if given.low < 0 else 0.0, max(given.high, 0.0)),
    "ThresholdedRelu": lambda _, given: Range(min(0.0, given.low), max(0.0, given.high)),
}


def find_known_ranges(flow: Dataflow) -> dict[Tensor, Range]:
    """Return the range of every tensor of which at least one end is known.

    Codes have the range of the values that they stand for.
    """
    known: dict[Tensor, Range] = {}
    for operation in flow.operations:
        found = _range_after(operation, known)
        if operation.quantizer is not None:
            found = found & quantizer_range(operation.quantizer)
        if found != UNKNOWN and not math.isnan(found.low) and not math.isnan(found.high):
            known.update(dict.fromkeys(operation.outputs[: _outputs_of(operation)], found))
    return known


def _outputs_of(operation: Operation) -> int:
    """Return how many outputs hold values; the others are indices, masks or states."""
    return len(operation.outputs) if operation.op_type in ("Split", "Identity") else 1


def quantizer_range(quantizer: Quantizer | None) -> Range:
    """Return what a quantization can hold."""
    return UNKNOWN if quantizer is None else Range(*quantizer.limits)


def range_of(given: Given | None, known: Mapping[Tensor, Range]) -> Range:
    """Return the range of what an operator reads: an activation or a small constant."""
    if given is None:
        return UNKNOWN
    if given.tensor.constant is not None:
        return constant_range(given)
    found = known.get(given.tensor, UNKNOWN)
    return found if given.quantizer is None else found & quantizer_range(given.quantizer)


def constant_range(given: Given) -> Range:
    """Return the lowest and highest number of a small constant; unknown for what is large."""
    array = constant_values(given)
    if array is None or not array.size or not np.isfinite(array).all():
        return UNKNOWN
    return Range(float(array.min()), float(array.max()))


def constant_values(given: Given) -> np.ndarray | None:
    """Return a small constant operand as float64; None where it is large or no number."""
    array = read_small(given.tensor.constant)
    if array is None or array.dtype.kind not in "fiubV":
        return None
    numbers = array.astype(np.float64)
    if given.quantizer is None:
        return numbers
    one_for_all = given.quantizer.scale.size == 1
    return given.quantizer.dequantize(numbers) if one_for_all else None


def _range_after(operation: Operation, known: Mapping[Tensor, Range]) -> Range:
    if not operation.is_known or not operation.operands:
        return UNKNOWN
    ranges = [range_of(given, known) for given in operation.operands]
    op_type = operation.op_type
    bound = _BOUNDED.get(op_type, UNKNOWN)
    if op_type in _OF_ONE:
        if not operation.operands or ranges[0] == UNKNOWN:
            return bound if op_type != "Relu" else POSITIVE
        return _OF_ONE[op_type](operation, ranges[0]) & bound
    if op_type in _OF_SEVERAL:
        complete = len(ranges) >= _FEWEST.get(op_type, 1)
        return _OF_SEVERAL[op_type](operation, ranges) if complete else UNKNOWN
    if op_type in _WITHIN_OR_ZERO or operation.attributes.get("count_include_pad"):
        return _padded(operation, ranges)
    if op_type in ("QuantizeLinear", "DequantizeLinear") or op_type in WITHIN:
        return UNKNOWN if _overshoots(operation) else ranges[0]
    return bound


def _overshoots(operation: Operation) -> bool:
    """Return whether a Resize may leave the range: cubic, or extrapolating."""
    mode = operation.attributes.get("mode", "nearest")
    coordinates = operation.attributes.get("coordinate_transformation_mode", "")
    return operation.op_type in ("Resize", "Upsample") and (
        mode == "cubic" or coordinates == "tf_crop_and_resize"
    )


def _padded(operation: Operation, ranges: Sequence[Range]) -> Range:
    if operation.attributes.get("mode", "constant") not in ("constant", b"constant"):
        return ranges[0]
    value = operation.operand(2)
    if value is not None:
        return ranges[0] | ranges[2]
    filled = operation.number("value", 0.0)
    return ranges[0] | Range(filled, filled)


def _clip(operation: Operation, ranges: Sequence[Range]) -> Range:
    low, high = (*ranges, UNKNOWN, UNKNOWN)[1:3]
    bottom = max(low.low, operation.number("min", -math.inf))
    top = min(high.high, operation.number("max", math.inf))
    return ranges[0] & Range(bottom, top) if bottom <= top else UNKNOWN


def _sum(_: Operation, ranges: Sequence[Range]) -> Range:
    total = Range(0.0, 0.0)
    for found in ranges:
        total = total + found
    return total


def _union(_: Operation, ranges: Sequence[Range]) -> Range:
    found = ranges[0]
    for other in ranges[1:]:
        found = found | other
    return found


def _product(operation: Operation, ranges: Sequence[Range]) -> Range:
    one, other = ranges[:2]
    found = one * other
    return found & POSITIVE if _is_square(operation) else found


def _is_square(operation: Operation) -> bool:
    tensors = [given.tensor for given in operation.given]
    return len(tensors) == 2 and tensors[0] is tensors[1]


def _quotient(_: Operation, ranges: Sequence[Range]) -> Range:
    return ranges[0] * ranges[1].inverted()


def _power(_: Operation, ranges: Sequence[Range]) -> Range:
    base, exponent = ranges[:2]
    if exponent == Range(2.0, 2.0):
        return _abs(_, base) * _abs(_, base)
    if exponent == Range(0.5, 0.5):
        return Range(_sqrt(base.low), _sqrt(base.high))
    if exponent == Range(-0.5, -0.5) and base.low > 0:
        return Range(1 / _sqrt(base.high), 1 / _sqrt(base.low))
    return POSITIVE if base.low >= 0 else UNKNOWN


def _highest(_: Operation, ranges: Sequence[Range]) -> Range:
    return Range(max(r.low for r in ranges), max(r.high for r in ranges))


def _lowest(_: Operation, ranges: Sequence[Range]) -> Range:
    return Range(min(r.low for r in ranges), min(r.high for r in ranges))


def _sum_of_elements(_: Operation, ranges: Sequence[Range]) -> Range:
    return POSITIVE if ranges[0].low >= 0 else UNKNOWN


# Files are not checked before: an operator may have fewer operands than it needs.
_FEWEST = {"Sub": 2, "Mul": 2, "Div": 2, "Pow": 2, "Where": 3}
_OF_SEVERAL: Mapping[str, Callable[[Operation, Sequence[Range]], Range]] = {
    "Clip": _clip,
    "Add": _sum,
    "Sum": _sum,
    "Sub": lambda operation, ranges: _sum(operation, [ranges[0], -ranges[1]]),
    "Mul": _product,
    "Div": _quotient,
    "Pow": _power,
    "Max": _highest,
    "Min": _lowest,
    "Concat": _union,
    "Where": lambda operation, ranges: _union(operation, ranges[1:]),
    "ScatterND": lambda operation, ranges: ranges[0] | ranges[-1],
    "ScatterElements": lambda operation, ranges: ranges[0] | ranges[-1],
    "ReduceSum": _sum_of_elements,
}
