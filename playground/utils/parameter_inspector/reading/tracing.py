"""From a layer's input back to its constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from ..budgets import NUMBERS_A_STEP, spend
from ..facts import Refusal, RefusalKind
from ..operators import STANDARD_DOMAINS, operator_named
from ..quantization import NotUnderstoodError, Source, is_integer
from ..records import LayoutStep
from .arithmetic import cast, find_spelled_out, hold_codes, read_spelled_out
from .computed import Computed
from .constants import ConstantTable, attribute_values
from .decoders import Stored, root_of, unpacks_bits
from .growth import MAX_DIMENSIONS
from .model_file import printable
from .storage import DEQUANTIZERS, refusal_of

MAX_STEPS = 100
# Fewer are a scale's or a shape's companions, not codes beside a weight.
FEWEST_CODES = 17


def trace_operand(value: ir.Value, constants: ConstantTable, slot: str = "weight") -> Stored | None:
    """Return the parameter behind ``value``, None where it is an activation.

    Args:
        slot: what it is to the layer; a plain operand of int64 is no codes.

    Raises:
        NotUnderstoodError: a constant is behind it, but in a way that cannot be read.
    """
    spelled_out = _spelled_out(constants.get(value), slot)
    if spelled_out is not None:
        return spelled_out
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
        stored = _read_node(node, value, constants, slot)
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


def _read_node(
    node: ir.Node, value: ir.Value, constants: ConstantTable, slot: str
) -> Stored | None:
    """Return what a node other than a layout operator says about a parameter."""
    reason = constants.why_opaque(value)
    if reason is not None:
        raise NotUnderstoodError(_refuse_operator(*reason))
    read = DEQUANTIZERS.get((node.domain, node.op_type))
    if read is not None and node.inputs and constants.is_constant(node.inputs[0]):
        return read(node, constants)
    source = constants.get(value)
    if read is not None or source is None or _layout_step(node, constants) is not None:
        return None
    return _spelled_out(source, slot) or _computed(source, slot)


def _refuse_operator(domain: str, op_type: str) -> Refusal:
    """Return why constants behind an operator that cannot be evaluated are not read."""
    unknown = Refusal(RefusalKind.UNKNOWN_ON_THE_WAY, operator=printable(op_type), domain=domain)
    return refusal_of(domain, op_type) or unknown


def _float(source: Source) -> Stored:
    return Stored("float", source)


def _spelled_out(source: Source | None, slot: str) -> Stored | None:
    """Return codes whose quantization is spelled out in operators; None where there are none."""
    found = find_spelled_out(source) if isinstance(source, Computed) else None
    if found is None or not found.is_scaled or not _may_be_codes(found.codes, slot):
        return None
    return read_spelled_out(found)


def _may_be_codes(source: Source, slot: str) -> bool:
    return hold_codes(source.data_type) or (is_integer(source.data_type) and slot == "weight")


def _computed(source: Source, slot: str) -> Stored:
    """Return a weight that the graph computes; say so where it is made from codes."""
    steps = [s.op_type for s in _chain(source)]
    problem = None
    if _is_made_of_codes(source, slot):
        problem = Refusal(RefusalKind.COMPUTED_FROM_CODES, names=tuple(steps))
    storage = " → ".join(["float", *reversed(steps)])
    return Stored(storage, source, problem=problem, is_unpacked=unpacks_bits(steps))


def _is_made_of_codes(source: Source, slot: str) -> bool:
    """Whether codes are among the operands, be it that others are larger; a mask is none."""
    root = root_of(source)
    if _may_be_codes(root, slot):
        return True
    waiting, seen = [source], {id(source)}
    while waiting:
        spend()
        one = waiting.pop()
        if isinstance(one, Computed):
            is_quantizer = operator_named(one.op_type).is_quantizer
            if is_quantizer and math.prod(root_of(one).shape) > 1:
                return True
            fresh = [s for s in one.operands if id(s) not in seen]
            seen.update(map(id, fresh))
            waiting += fresh
        elif _are_codes(one):
            return True
    return False


def _are_codes(source: Source) -> bool:
    """Whether a constant is of codes; one of zeros and ones is a mask."""
    if not hold_codes(source.data_type) or math.prod(source.shape) < FEWEST_CODES:
        return False
    spend(1 + math.prod(source.shape) // NUMBERS_A_STEP)
    return not np.isin(source.read(), (0, 1)).all()


def _chain(source: Source) -> Iterator[Computed]:
    while isinstance(source, Computed):
        yield source
        if source.carrier is None:
            return
        source = source.carrier


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
    for source in rest:
        if source is not None and math.prod(source.shape) > MAX_DIMENSIONS:
            raise NotUnderstoodError(
                Refusal(
                    RefusalKind.TOO_MANY_DIMENSIONS,
                    name=node.outputs[0].name or "",
                    operator=node.op_type,
                    count=math.prod(source.shape),
                    limit=MAX_DIMENSIONS,
                )
            )
    arguments = [None if source is None else source.read() for source in rest]
    return LayoutStep(node.op_type, make(attribute_values(node), arguments))


Rearrange = Callable[[np.ndarray], np.ndarray]


def _identity(array: np.ndarray) -> np.ndarray:
    return array


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
        cast, dtype=ir.DataType(attributes["to"]).numpy()
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
