"""How each opset spells an operator, said again as the newest one does.

Attributes became inputs over the years: axes, pads, limits, starts and ends. What a model spells is
checked against the version that it imports, and evaluated as that version means it.

Source: the schemas of the onnx package, all versions of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx.reference

from ..facts import Refusal, RefusalKind
from ..quantization import UnavailableError
from .schemas import newest_opset, schema_at


@dataclass(frozen=True, eq=False)
class Call:
    """An operator with its inputs: arrays, None for one that is left out."""

    op_type: str
    attributes: dict[str, Any]
    arrays: tuple[np.ndarray | None, ...]


def spell_newest(call: Call, opset: int, output_count: int, name: str) -> Call:
    """Return the same call in the words of the newest opset.

    Args:
        opset: that the model imports; 0 where it imports none, which is taken for the newest.
        name: of the constant, for the refusal.

    Raises:
        UnavailableError: that opset has no such operator, or the operator no such attribute.
    """
    _check_spelling(call, opset or newest_opset(), name)
    kept = {n: value for n, value in call.attributes.items() if n not in _WITHOUT_MEANING}
    call = replace(call, attributes=kept)
    change = _CHANGES.get(call.op_type)
    moved = _move_to_inputs(change(call, output_count) if change is not None else call)
    return _crop(moved) if moved.op_type == "Pad" else moved


def _check_spelling(call: Call, opset: int, name: str) -> None:
    schema = schema_at(call.op_type, "", opset)
    if schema is None:
        raise UnavailableError(
            Refusal(RefusalKind.OPERATOR_OF_OPSET, name=name, operator=call.op_type, limit=opset)
        )
    # onnx leaves names that begin with two underscores to whoever writes them.
    unknown = [n for n in call.attributes if n not in schema.attributes and not n.startswith("__")]
    if unknown:
        raise UnavailableError(
            Refusal(
                RefusalKind.ATTRIBUTE_OF_OPSET,
                name=name,
                operator=call.op_type,
                limit=opset,
                value=unknown[0],
            )
        )


# Opset 1 told runtimes by it which inputs they may overwrite.
_WITHOUT_MEANING = ("consumed_inputs",)

_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare".split()
)
# The attributes that are inputs today, in the order of those inputs, from the second on.
_INPUTS_TODAY: Mapping[str, tuple[str, ...]] = {
    "Clip": ("min", "max"),
    "Pad": ("pads", "value"),
    "Reshape": ("shape",),
    "Slice": ("starts", "ends", "axes"),
    "Split": ("split",),
    "Squeeze": ("axes",),
    "Unsqueeze": ("axes",),
    **dict.fromkeys(_REDUCTIONS, ("axes",)),
}
# Of the type of the first input; the others are int64.
_VALUES = ("min", "max", "value")


def _move_to_inputs(call: Call) -> Call:
    names = _INPUTS_TODAY.get(call.op_type, ())
    given = [call.attributes.get(name) for name in names]
    if all(value is None for value in given):
        return call
    first = call.arrays[0]
    assert first is not None
    arrays = [
        None if value is None else np.asarray(value, first.dtype if n in _VALUES else np.int64)
        for n, value in zip(names, given, strict=True)
    ]
    kept = {name: value for name, value in call.attributes.items() if name not in names}
    return Call(call.op_type, kept, (first, *arrays))


# ------------------------------------------------- operators that changed in other ways


def _broadcast_from_axis(call: Call, output_count: int) -> Call:
    """Until opset 7 the second operand was laid against the first from ``axis`` on."""
    attributes = dict(call.attributes)
    axis, _ = attributes.pop("axis", None), attributes.pop("broadcast", None)
    first, second = call.arrays
    if axis is not None and first is not None and second is not None:
        after = first.ndim - (int(axis) % max(1, first.ndim)) - second.ndim
        second = second.reshape(second.shape + (1,) * max(0, after))
    return Call(call.op_type, attributes, (first, second))


def _cast(call: Call, output_count: int) -> Call:
    """Until opset 6 the type was spelled out."""
    to = call.attributes.get("to")
    if isinstance(to, str | bytes):
        to = onnx.TensorProto.DataType.Value(to.decode() if isinstance(to, bytes) else to)
    return replace(call, attributes={**call.attributes, "to": to})


def _concat(call: Call, output_count: int) -> Call:
    """Until opset 4 the axis could be left out."""
    return replace(call, attributes={"axis": 1, **call.attributes})


def _pad(call: Call, output_count: int) -> Call:
    """Opset 1 called the pads paddings."""
    attributes = dict(call.attributes)
    if "paddings" in attributes:
        attributes["pads"] = attributes.pop("paddings")
    return replace(call, attributes=attributes)


def _crop(call: Call) -> Call:
    """Cut off what a negative pad takes away, which onnx's reference does not."""
    first, pads, value, axes = (*call.arrays, None, None)[:4]
    if first is None or pads is None or (pads >= 0).all():
        return call
    padded = range(first.ndim) if axes is None else [int(axis) for axis in axes]
    before, after = pads.reshape(2, -1).tolist()
    for axis, low, high in zip(padded, before, after, strict=True):
        kept = slice(max(0, -low), first.shape[axis] - max(0, -high))
        first = first[(slice(None),) * (axis % first.ndim) + (kept,)]
    return replace(call, arrays=(first, np.maximum(pads, 0), value, axes))


def _split(call: Call, output_count: int) -> Call:
    """Until opset 18 parts without sizes were as many as there are outputs."""
    has_sizes = len(call.arrays) > 1 or "split" in call.attributes
    if has_sizes or "num_outputs" in call.attributes:
        return call
    return replace(call, attributes={**call.attributes, "num_outputs": output_count})


def _tile(call: Call, output_count: int) -> Call:
    """Until opset 6 one axis was repeated, both given as inputs."""
    if len(call.arrays) < 3:
        return call
    first, count, axis = call.arrays
    assert first is not None and count is not None and axis is not None
    repeats = np.ones(first.ndim, np.int64)
    repeats[int(axis.reshape(()))] = int(count.reshape(()))
    return replace(call, arrays=(first, repeats))


_CHANGES: Mapping[str, Callable[[Call, int], Call]] = {
    **dict.fromkeys(
        "Add Sub Mul Div Pow And Or Xor Equal Greater Less".split(), _broadcast_from_axis
    ),
    "Cast": _cast,
    "Concat": _concat,
    "Pad": _pad,
    "Split": _split,
    "Tile": _tile,
}


def run_reference(call: Call, output_count: int) -> Sequence[np.ndarray]:
    """Return what onnx's reference makes of a call in the words of the newest opset."""
    proto = onnx.helper.make_node(
        call.op_type,
        [f"i{k}" if a is not None else "" for k, a in enumerate(call.arrays)],
        [f"o{k}" for k in range(output_count)],
        **call.attributes,
    )
    feeds = {f"i{k}": a for k, a in enumerate(call.arrays) if a is not None}
    outputs: list[np.ndarray] = onnx.reference.ReferenceEvaluator(proto).run(None, feeds)  # type: ignore[assignment]
    return outputs
