"""How many elements an operator makes, known before it makes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..facts import Refusal, RefusalKind
from ..quantization import UnavailableError
from .operator_versions import Call

# An operator may not make more elements than this out of fewer: ConstantOfShape can ask for 2^40.
MAX_GROWN_ELEMENTS = 1 << 22

# What they put out is as large as their inputs broadcast against each other.
ELEMENTWISE = frozenset(
    "Identity Cast CastLike Clip Abs Neg Sign Sqrt Reciprocal Exp Log Floor Ceil Round Not "
    "Add Sub Mul Div Pow Max Min Mod Where Equal Greater GreaterOrEqual Less LessOrEqual And "
    "Or Xor Relu Sum BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift "
    "QuantizeLinear DequantizeLinear".split()
)


# More dimensions numpy has not, and an argument has a number for each.
MAX_DIMENSIONS = 64

# Which inputs of an operator have a number for each dimension.
_ARGUMENTS = {
    "ConstantOfShape": (0,),
    "Pad": (1, 3),
    "Slice": (1, 2, 3, 4),
    **dict.fromkeys("Reshape Expand Tile Squeeze Unsqueeze".split(), (1,)),
    **dict.fromkeys(
        "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare".split(),
        (1,),
    ),
}


def check_arguments(name: str, call: Call) -> None:
    """Refuse a shape (axes, repeats ...) of more numbers than an array can have dimensions."""
    for index in _ARGUMENTS.get(call.op_type, ()):
        array = call.arrays[index] if index < len(call.arrays) else None
        if array is not None and array.size > MAX_DIMENSIONS:
            raise UnavailableError(
                Refusal(
                    RefusalKind.TOO_MANY_DIMENSIONS,
                    name=name,
                    operator=call.op_type,
                    count=array.size,
                    limit=MAX_DIMENSIONS,
                )
            )


def check_growth(name: str, call: Call) -> None:
    """Refuse a call, in the words of the newest opset, that makes far more than it is given."""
    check_arguments(name, call)
    present = [a for a in call.arrays if a is not None]
    grown = _result_elements(call, present)
    present_elements = sum({id(a): a.size for a in present}.values())
    if grown > max(MAX_GROWN_ELEMENTS, present_elements):
        raise UnavailableError(
            Refusal(RefusalKind.OPERATOR_GROWS, name=name, operator=call.op_type, count=grown)
        )


def _result_elements(call: Call, arrays: Sequence[np.ndarray]) -> int:
    """Return how many elements the operator makes, before it makes them."""
    op_type = call.op_type
    if op_type == "ConstantOfShape":
        return math.prod(int(d) for d in arrays[0])
    if op_type == "Expand":
        return math.prod(np.broadcast_shapes(arrays[0].shape, tuple(int(d) for d in arrays[1])))
    if op_type == "Tile":
        return arrays[0].size * math.prod(int(d) for d in arrays[1])
    if op_type == "Pad":
        return _padded_elements(call)
    if op_type == "Range":
        start, limit, delta = (float(a) for a in arrays)
        return math.ceil(abs((limit - start) / delta)) if delta else 0
    if op_type == "Gather":
        axis = call.attributes.get("axis", 0)
        return arrays[0].size // max(1, arrays[0].shape[axis]) * arrays[1].size
    if op_type == "Concat":
        return sum(a.size for a in arrays)
    if op_type in ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*(a.shape for a in arrays)))
    return 0


def _padded_elements(call: Call) -> int:
    first, pads, _, axes = (*call.arrays, None, None)[:4]
    assert first is not None and pads is not None
    shape = list(first.shape)
    padded = range(first.ndim) if axes is None else [int(a) for a in axes]
    for place, axis in enumerate(padded):
        shape[axis] += int(pads[place]) + int(pads[len(padded) + place])
    return math.prod(max(0, d) for d in shape)
