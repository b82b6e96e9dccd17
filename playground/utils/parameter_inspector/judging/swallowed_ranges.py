"""A range that a coarser scale swallows: scores in [0, 1] beside boxes in steps of 2.5.

What is known to lie in a narrow range enters a Concat, an Add or a Mul, and the quantization behind
it leaves that range a handful of codes, though its data type has many times as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..quantization import code_limits, is_integer
from ..reading.dataflow import Dataflow, Given, Operation, Quantizer, Tensor
from .known_ranges import (
    ADDING,
    JOINING,
    MOVING,
    WITHIN,
    Range,
    constant_range,
    find_known_ranges,
    range_of,
)

FEWEST_CODES, NO_CODES = 16, 2
# Four bits of the quantization are lost to the range. (A 4-bit type has but 16 codes for all.)
LOST_SHARE = 1 / 16
# More narrow ranges than this in one tensor tell nothing new.
MOST_PARTS = 32
# A product with a constant below this makes small on purpose what it is added to (LayerScale).
SCALED_DOWN = 1 / 8
_PLUMBING = frozenset(("QuantizeLinear", "DequantizeLinear"))
_FOLLOWED = MOVING | _PLUMBING | {"Cast"}


@dataclass(frozen=True, eq=False)
class SwallowedRange:
    """One narrow range that a quantization leaves few codes.

    Attributes:
        layer_name, op_type: the operator whose output is quantized too coarsely for it.
        source_name, source_type: the layer that the narrow range comes from.
        low, high: what the range is known to be.
        step, data_type: of the quantization.
        steps: how many steps the range is wide.
        codes: how many codes can occur for it.
        excluded: the layers to leave in float together, for the range to survive: the operator,
            its source where that is quantized as coarsely, and what asks for the quantization.
    """

    layer_name: str
    op_type: str
    tensor: str
    source_name: str
    source_type: str
    low: float
    high: float
    step: float
    data_type: str
    steps: float
    codes: int
    excluded: tuple[str, ...]

    @property
    def is_lost(self) -> bool:
        return self.steps < NO_CODES


@dataclass(frozen=True, eq=False)
class _Part:
    """A narrow range somewhere in a tensor: beside others (Concat), or added to them."""

    known: Range
    source: Tensor
    place: Operation | None = None
    is_added: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether it has met nothing yet: it is the whole of the tensor."""
        return self.place is None or self.source in self.place.outputs


def find_swallowed_ranges(flow: Dataflow) -> tuple[SwallowedRange, ...]:
    """Return each narrow range that is swallowed, once for the layer it comes from.

    Where quantizers give a Concat and what enters it one scale, the Concat is the cause.
    """
    by_source: dict[str, SwallowedRange] = {}
    alone: dict[str, SwallowedRange] = {}
    for found in _find_all(flow):
        chosen = alone if found.layer_name == found.source_name else by_source
        chosen.setdefault(found.source_name, found)
    for name, found in alone.items():
        joined = by_source.get(name)
        if joined is None:
            by_source[name] = found
        elif name not in joined.excluded:
            by_source[name] = replace(joined, excluded=(*joined.excluded, name))
    return tuple(by_source.values())


def _find_all(flow: Dataflow) -> Iterator[SwallowedRange]:
    """Yield each narrow range at every quantization that swallows it."""
    known = find_known_ranges(flow)
    small = _made_small(flow)
    parts: dict[Tensor, tuple[_Part, ...]] = {}
    for operation in flow.operations:
        if not operation.outputs:
            continue
        found = _parts_after(operation, known, parts, small)
        quantizer = operation.quantizer
        if quantizer is not None:
            swallowed = [part for part in found if _is_swallowed(part.known, quantizer)]
            for part in swallowed:
                if part.place is not None:
                    yield _fact(flow, operation, part, quantizer)
            found = tuple(p for p in found if p not in swallowed and not p.is_added)
        if found:
            parts.update(dict.fromkeys(operation.outputs, found))


def _parts_after(
    operation: Operation,
    known: Mapping[Tensor, Range],
    parts: Mapping[Tensor, tuple[_Part, ...]],
    small: set[Tensor],
) -> tuple[_Part, ...]:
    """Return the narrow ranges in what an operator computes, before it is quantized."""
    if operation.op_type in _FOLLOWED:
        return tuple(p for given in operation.given[:1] for p in parts.get(given.tensor, ()))
    if operation.op_type in JOINING:
        return _joined(operation, known, parts)
    if operation.op_type in ADDING:
        return _added(operation, known, parts, small)
    return _computed(operation, known)


def _joined(
    operation: Operation,
    known: Mapping[Tensor, Range],
    parts: Mapping[Tensor, tuple[_Part, ...]],
) -> tuple[_Part, ...]:
    held = operation.given[1:] if operation.op_type == "Where" else operation.given
    if len(held) < 2:
        return ()
    found = [
        replace(part, place=operation) if part.is_alone else part
        for given in held
        for part in _parts_of(given, known, parts)
    ]
    return tuple(found[:MOST_PARTS])


def _added(
    operation: Operation,
    known: Mapping[Tensor, Range],
    parts: Mapping[Tensor, tuple[_Part, ...]],
    small: set[Tensor],
) -> tuple[_Part, ...]:
    """Return the ranges that move a sum: what is small on purpose may be lost in it."""
    held = [given for given in operation.given if given.tensor not in small]
    found = [
        replace(part, place=operation, is_added=True)
        for given in held
        for part in _parts_of(given, known, parts)
    ]
    return tuple(found[:MOST_PARTS])


def _parts_of(
    given: Given, known: Mapping[Tensor, Range], parts: Mapping[Tensor, tuple[_Part, ...]]
) -> Iterator[_Part]:
    """Yield what is known of the whole of an operand, and of what stands in it."""
    yield from _own_part(given, known)
    yield from (part for part in parts.get(given.tensor, ()) if not part.is_alone)


def _own_part(given: Given, known: Mapping[Tensor, Range]) -> Iterator[_Part]:
    """Yield what is known of the whole of an operand; a constant is left to other rules."""
    found = range_of(given, known)
    if given.tensor.constant is None and found.is_bounded and found.width > 0:
        yield _Part(found, given.tensor)


def _computed(operation: Operation, known: Mapping[Tensor, Range]) -> tuple[_Part, ...]:
    """Return the range of a result (Sigmoid, or a product of known ranges) as its one part.

    Not of what only passes values on, as pooling does: the range is not its own.
    """
    if operation.op_type in WITHIN or not operation.outputs:
        return ()
    if operation.quantizer is not None:
        ranges = [range_of(given, known) for given in operation.given]
        if not all(r.is_bounded for r in ranges):
            return ()
    own = known.get(operation.outputs[0])
    if own is None or not own.is_bounded or own.width <= 0:
        return ()
    return (_Part(own, operation.outputs[0], operation),)


def _is_swallowed(known: Range, quantizer: Quantizer) -> bool:
    low, high = quantizer.limits
    few = known.width < FEWEST_CODES * quantizer.step
    return few and known.width < LOST_SHARE * (high - low)


def _made_small(flow: Dataflow) -> set[Tensor]:
    """Return the tensors that a constant makes small, and masks: they may vanish in a sum."""
    small: set[Tensor] = set()
    for operation in flow.operations:
        passed_on = operation.op_type in _FOLLOWED and any(
            given.tensor in small for given in operation.given[:1]
        )
        if passed_on or _is_mask(operation) or _scales_down(operation):
            small.update(operation.outputs)
    return small


def _is_mask(operation: Operation) -> bool:
    """Return whether truth values or integers become numbers here."""
    given = operation.operand(0)
    data_type = given.tensor.data_type if given is not None else None
    return operation.op_type == "Cast" and not (data_type or "").startswith(("float", "bfloat"))


def _scales_down(operation: Operation) -> bool:
    if operation.op_type not in ("Mul", "Div") or len(operation.given) != 2:
        return False
    constants = [
        constant_range(given)
        for given in operation.given[operation.op_type == "Div" :]
        if given.tensor.constant is not None
    ]
    if not constants or not constants[0].is_bounded:
        return False
    largest = max(abs(constants[0].low), abs(constants[0].high))
    return largest > 1 / SCALED_DOWN if operation.op_type == "Div" else largest < SCALED_DOWN


def _fact(
    flow: Dataflow, operation: Operation, part: _Part, quantizer: Quantizer
) -> SwallowedRange:
    assert part.place is not None
    source, place = _layer_behind(flow, part.source), flow.layer_name(part.place)
    return SwallowedRange(
        layer_name=place,
        op_type=part.place.stored_as,
        tensor=operation.given[0].tensor.name if operation.given else "",
        source_name=flow.layer_name(source) if source is not None else part.source.name,
        source_type=source.op_type if source is not None else "",
        low=part.known.low,
        high=part.known.high,
        step=quantizer.step,
        data_type=quantizer.data_type,
        steps=part.known.width / quantizer.step,
        codes=_count_codes(part.known, quantizer),
        excluded=tuple(dict.fromkeys((place, *_readers_of_codes(flow, operation.outputs[0])))),
    )


def _count_codes(known: Range, quantizer: Quantizer) -> int:
    low, high = code_limits(quantizer.data_type)
    if not is_integer(quantizer.data_type):
        return int(known.width / quantizer.step) + 1
    zero_point = float(quantizer.zero_point.reshape(-1)[0])
    ends = np.rint(np.array([known.low, known.high]) / quantizer.step) + zero_point
    first, last = np.clip(ends, low, high)
    return int(last - first) + 1


def _layer_behind(flow: Dataflow, tensor: Tensor) -> Operation | None:
    """Return the operation that computes a tensor, past quantizers and what moves data."""
    operation = flow.producer.get(tensor)
    while operation is not None and operation.op_type in _FOLLOWED and operation.given:
        before = flow.producer.get(operation.given[0].tensor)
        if before is None:
            break
        operation = before
    return operation


def list_readers(flow: Dataflow, operation: Operation) -> tuple[str, ...]:
    """Return the layers that read what an operation computes by way of a quantizer."""
    quantizing = [
        reader
        for tensor in operation.outputs
        for reader in flow.readers.get(tensor, ())
        if reader.op_type == "QuantizeLinear" and reader.outputs
    ]
    return tuple(name for one in quantizing for name in _readers_of_codes(flow, one.outputs[0]))


def _readers_of_codes(flow: Dataflow, tensor: Tensor) -> Iterator[str]:
    """Yield the layers that read a quantized tensor, through DequantizeLinear."""
    for operation in flow.readers.get(tensor, ()):
        if operation.op_type in _PLUMBING and operation.outputs:
            yield from (flow.layer_name(o) for o in flow.readers.get(operation.outputs[0], ()))
        else:
            yield flow.layer_name(operation)
