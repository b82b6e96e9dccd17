"""Codes whose quantization is spelled out in operators: Cast, Sub or Add, Mul, in any frame.

The operators are followed from the codes outwards. What they do is one quantization only where it
is the same to the bit: one difference and one product, each rounded as `Quantization` rounds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..quantization import (
    ArraySource,
    DerivedSource,
    Source,
    code_limits,
    create_quantization,
    is_integer,
    numpy_dtype,
)
from ..records import LayoutStep
from .axis_pieces import DoesNotFitError, Granularity, Pieces
from .computed import Computed
from .decoders import Stored, unpacks_bits
from .growth import MAX_DIMENSIONS

# Up to here each type of float holds every integer.
_WHOLE_UP_TO = {"float32": 2.0**24, "float16": 2.0**11, "bfloat16": 2.0**8}
_NARROW_FLOATS = ("float8e4", "float8e5", "float4", "float6e")  # "float6" begins float64 too
LAYOUT_OPERATORS = frozenset(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"))
_SPREADING = LAYOUT_OPERATORS | {"Cast", "Identity", "Expand", "Gather"}
_STEPS = LAYOUT_OPERATORS | {"Cast", "Identity", "Add", "Sub", "Mul"}


def hold_codes(data_type: str) -> bool:
    """Whether numbers of a type can be codes; int64 is how ONNX holds shapes and indices."""
    return (is_integer(data_type) and not data_type.endswith("int64")) or data_type.startswith(
        _NARROW_FLOATS
    )


@dataclass(frozen=True, eq=False)
class SpelledOut:
    """Codes and the operators that follow them, up to the value that a layer reads.

    Attributes:
        codes: the innermost constant, or what the graph unpacks it to.
        steps: the operators, the one next to the codes first.
    """

    codes: Source
    steps: tuple[Computed, ...]

    @property
    def is_scaled(self) -> bool:
        return any(step.op_type == "Mul" for step in self.steps)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of what the layer reads; None where the operators cannot be followed."""
        try:
            pieces = Pieces(self.codes.shape)
            for step in self.steps:
                if step.op_type in LAYOUT_OPERATORS:
                    rearrange(pieces, step)
        except DoesNotFitError:
            return None
        return pieces.shape


def find_spelled_out(source: Source) -> SpelledOut | None:
    """Return the codes behind a constant and what follows them; None where there are no codes."""
    steps: list[Computed] = []
    while isinstance(source, Computed) and source.op_type in _STEPS and source.carrier is not None:
        steps.append(source)
        source = source.carrier
    if isinstance(source, Computed) and not source.known_type:
        return None
    if not is_integer(source.data_type) and not source.data_type.startswith(_NARROW_FLOATS):
        return None
    while steps and _wraps(steps[-1], source):  # narrower integers: what is left of them are codes
        source = steps.pop()
    return SpelledOut(source, tuple(reversed(steps)))


def _wraps(step: Computed, codes: Source) -> bool:
    """Whether a Cast of integers may change them."""
    if step.op_type != "Cast" or not is_integer(step.data_type) or not is_integer(codes.data_type):
        return False
    low, high = code_limits(codes.data_type)
    lowest, highest = code_limits(step.data_type)
    return not lowest <= low <= high <= highest


def read_spelled_out(
    found: SpelledOut, factor: Source | None = None, storage: str | None = None
) -> Stored | None:
    """Return codes and their quantization; None where it is not one quantization.

    Args:
        factor: that the layer's result is multiplied by later on, as it broadcasts against the
            value that the layer reads.
        storage: how it is stored, where that is not the operators on the way.
    """
    try:
        chain = _Chain(found.codes)
        for step in found.steps:
            chain.follow(step)
        if factor is not None:
            chain.multiply(factor, factor.data_type)
        return chain.stored(storage or " → ".join(step.op_type for step in found.steps))
    except DoesNotFitError:
        return None


def read_unscaled(found: SpelledOut) -> Source | None:
    """Return the whole numbers that a layer reads of codes that are only cast and rearranged.

    None where something is taken off them.
    """
    try:
        chain = _Chain(found.codes)
        for step in found.steps:
            chain.follow(step)
    except DoesNotFitError:
        return None
    return None if chain.zero_point is not None else chain.codes_in(chain.pieces.shape)


@dataclass
class _Chain:
    """What is known of the numbers after each operator.

    Attributes:
        data_type: that the operators compute in.
        largest: magnitude that code less zero-point can have; None where it is not whole.
        casts: to narrower floats, behind the product.
    """

    codes: Source
    data_type: str = ""
    largest: float | None = None
    scale: Source | None = None
    zero_point: Source | None = None
    casts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pieces = Pieces(self.codes.shape)
        self.data_type = self.codes.data_type
        if is_integer(self.data_type):
            self.largest = max(map(abs, code_limits(self.data_type)))

    def follow(self, step: Computed) -> None:
        if step.op_type in LAYOUT_OPERATORS:
            rearrange(self.pieces, step)
        elif step.op_type == "Cast":
            self._cast(step.data_type)
        elif step.op_type in ("Add", "Sub"):
            self._subtract(step)
        elif step.op_type == "Mul":
            left, right = step.inputs
            other = right if left is step.carrier else left
            if other is None:
                raise DoesNotFitError
            self.multiply(other, self.data_type)

    def _cast(self, data_type: str) -> None:
        if self.scale is not None:
            self.casts.append(data_type)
        elif data_type != self.data_type and not self._holds_exactly(data_type):
            raise DoesNotFitError
        self.data_type = data_type

    def _holds_exactly(self, data_type: str) -> bool:
        """Whether a Cast to a type changes none of the numbers."""
        if is_integer(data_type):
            low, high = code_limits(data_type)
            is_signed = self.zero_point is not None or code_limits(self.codes.data_type)[0] < 0
            return self.largest is not None and self.largest <= high and (low < 0 or not is_signed)
        if data_type not in _WHOLE_UP_TO:
            return False
        if self.largest is None:  # float8, which every wider float holds
            return self.zero_point is None
        return self.largest <= _WHOLE_UP_TO[data_type]

    def _subtract(self, step: Computed) -> None:
        """Take off a zero-point; one that is added counts as its negative."""
        left, right = step.inputs
        other = right if left is step.carrier else left
        if other is None or self.scale is not None or self.zero_point is not None:
            raise DoesNotFitError
        if step.op_type == "Sub" and left is not step.carrier:
            raise DoesNotFitError
        frame = parameter_frame(other)
        zeros = frame.numbers[""].astype(np.float32)
        if step.op_type == "Add":
            zeros = -zeros
        self._check_difference(zeros)
        frame.numbers[""] = zeros
        self.pieces.place("zero_point", frame)
        self.zero_point = other

    def _check_difference(self, zeros: np.ndarray) -> None:
        """Refuse a difference that the operator rounds otherwise than float32 does."""
        whole = self.largest is not None and bool(np.all(zeros == np.rint(zeros)))
        self.largest = self.largest + float(np.abs(zeros).max(initial=0)) if whole else None  # type: ignore[operator]
        if is_integer(self.data_type):
            low, high = code_limits(self.data_type)
            if self.largest is None or low == 0 or self.largest > high:
                raise DoesNotFitError
        elif self.data_type != "float32" and (
            self.largest is None or self.largest > _WHOLE_UP_TO[self.data_type]
        ):
            raise DoesNotFitError

    def multiply(self, factor: Source, data_type: str) -> None:
        if self.scale is not None or data_type not in _WHOLE_UP_TO:
            raise DoesNotFitError
        self.pieces.place("scale", parameter_frame(factor))
        self.scale = factor

    def stored(self, storage: str) -> Stored:
        granularity = self.pieces.granularity()
        if self.scale is None or granularity is None:
            raise DoesNotFitError
        axes, shape = granularity.axes, self.pieces.shape
        frame = self._frame_shape(granularity)
        scale = self.pieces.spread("scale", axes, keep_axes=granularity.axis is not None)
        quantization = create_quantization(
            ArraySource("", np.broadcast_to(np.int8(0), frame), self.codes.data_type),
            ArraySource(self.scale.name, _as_parameter(scale, granularity), self.scale.data_type),
            None,
            axis=granularity.axis or 0,
            block_size=granularity.block_size or 0,
        )
        if self.zero_point is not None:
            zeros = _as_parameter(self.pieces.spread("zero_point", axes), granularity)
            # The graph subtracts floats: a zero-point may be fractional, or outside the type.
            source = ArraySource(self.zero_point.name, zeros, "float32")
            quantization = replace(quantization, zero_point_source=source)
        layout = [LayoutStep("Reshape", partial(np.reshape, shape=shape))] if frame != shape else []
        layout += [cast_step(data_type) for data_type in self.casts]
        return Stored(
            storage,
            self.codes_in(frame),
            quantization,
            tuple(layout),
            is_unpacked=unpacks_bits(_steps_before(self.codes)),
        )

    def _frame_shape(self, granularity: Granularity) -> tuple[int, ...]:
        sizes = self.pieces.sizes
        return tuple(
            int(np.prod([sizes[p] for p in axis], dtype=np.int64)) for axis in granularity.axes
        )

    def codes_in(self, frame: tuple[int, ...]) -> Source:
        """Return the codes in the frame of their quantization, as they are where that is theirs."""
        if self.pieces.order == sorted(self.pieces.order) and frame == self.codes.shape:
            return self.codes
        derive = partial(self.pieces.rearrange, shape=frame)
        return DerivedSource(self.codes, derive, frame, self.codes.data_type)


def _as_parameter(array: np.ndarray, granularity: Granularity) -> np.ndarray:
    """Return a scale or zero-point as ONNX holds it: one number, a vector, or by blocks."""
    if granularity.block_size is not None or array.size == 1:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array).reshape(-1)


def _steps_before(source: Source) -> list[str]:
    steps: list[str] = []
    while isinstance(source, Computed) and source.carrier is not None:
        steps.append(source.op_type)
        source = source.carrier
    return steps


def cast_step(data_type: str) -> LayoutStep:
    return LayoutStep("Cast", partial(cast, dtype=numpy_dtype(data_type)))


def cast(array: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    """Round once to ``dtype``; narrow floats are held as float32."""
    with np.errstate(all="ignore"):
        return array.astype(dtype).astype(np.float64 if dtype == np.float64 else np.float32)


# ------------------------------------------------- scales and zero-points as the graph makes them


def parameter_frame(source: Source) -> Pieces:
    """Return a scale or zero-point as it is stored, in the frame that the graph spreads it to.

    Raises:
        DoesNotFitError: it is spread in a way that no frame follows.
    """
    steps: list[Computed] = []
    while isinstance(source, Computed) and source.op_type in _SPREADING and source.carrier:
        steps.append(source)
        source = source.carrier
    frame = Pieces.of(np.asarray(source.read()))
    for step in reversed(steps):
        if step.op_type in LAYOUT_OPERATORS:
            rearrange(frame, step)
        elif step.op_type == "Expand":
            _expand(frame, step)
        elif step.op_type == "Gather":
            _repeat(frame, step)
        elif step.op_type == "Cast":
            frame.numbers[""] = frame.numbers[""].astype(numpy_dtype(step.data_type))
    return frame


def _expand(frame: Pieces, step: Computed) -> None:
    argument = _argument(step)
    if argument.size > MAX_DIMENSIONS:
        raise DoesNotFitError
    shape = np.broadcast_shapes(frame.shape, tuple(int(d) for d in argument))
    frame.axes = [[] for _ in range(len(shape) - len(frame.axes))] + frame.axes
    for axis, size in enumerate(shape):
        if size != frame.shape[axis]:
            frame.widen(axis, size)


def _repeat(frame: Pieces, step: Computed) -> None:
    """Repeat groups as ``scale[group_of_each_row]`` does, where they lie next to each other."""
    index, axis = _argument(step), int(step.attributes.get("axis", 0)) % len(frame.axes)
    size = frame.shape[axis]
    times = index.size // size
    if index.ndim != 1 or not np.array_equal(index, np.repeat(np.arange(size), times)):
        raise DoesNotFitError
    frame.widen(axis, times)


def _argument(step: Computed) -> np.ndarray:
    argument = step.inputs[1] if len(step.inputs) > 1 else None
    if argument is None:
        raise DoesNotFitError
    return argument.read()


# ------------------------------------------------- what layout operators do to a frame


def rearrange(pieces: Pieces, step: Computed) -> None:
    """Do to a frame what a layout operator does. Raises `DoesNotFitError`."""
    arguments = [None if s is None else s.read() for s in step.inputs[1:]]
    argument = None if not arguments else arguments[0]
    rearrange_by(pieces, step.op_type, step.attributes, argument)


def rearrange_by(
    pieces: Pieces, op_type: str, attributes: dict[str, Any], argument: np.ndarray | None
) -> None:
    if op_type == "Transpose":
        pieces.transpose(attributes.get("perm"))
        return
    pieces.reshape(target_shape(pieces.shape, op_type, attributes, argument))


def target_shape(
    shape: tuple[int, ...], op_type: str, attributes: dict[str, Any], argument: np.ndarray | None
) -> list[int]:
    """Return the shape that a Reshape, Squeeze, Unsqueeze or Flatten makes, perhaps with a -1."""
    if op_type == "Flatten":
        axis = int(attributes.get("axis", 1))
        return [int(np.prod(shape[:axis], dtype=np.int64)), -1]
    name = "shape" if op_type == "Reshape" else "axes"
    given = attributes.get(name) if argument is None else argument.reshape(-1)
    if len(() if given is None else given) > MAX_DIMENSIONS:
        raise DoesNotFitError
    if given is None and op_type != "Squeeze":
        raise DoesNotFitError
    numbers = [int(d) for d in given] if given is not None else None
    if op_type == "Reshape":
        assert numbers is not None
        keeps = not attributes.get("allowzero", 0)
        if keeps and any(d == 0 and i >= len(shape) for i, d in enumerate(numbers)):
            raise DoesNotFitError
        return [shape[i] if d == 0 and keeps else d for i, d in enumerate(numbers)]
    if op_type == "Unsqueeze":
        assert numbers is not None
        return list(np.expand_dims(np.broadcast_to(0, shape), tuple(numbers)).shape)
    return list(
        np.squeeze(np.broadcast_to(0, shape), None if numbers is None else tuple(numbers)).shape
    )
