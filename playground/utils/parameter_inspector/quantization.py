"""The map from codes to values, exact to the bit: data types, scale, zero-point, granularity.

Nothing here is read before it is asked for: a `Source` knows its shape and reads on demand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import ml_dtypes
import numpy as np

from .facts import Refusal, RefusalKind
from .wording import describe_refusal

# A scale or zero-point of more bytes is read each time it is asked for.
HELD_BYTES = 1 << 20

# ONNX's spelling where it differs from that of numpy and ml_dtypes.
_NUMPY_NAMES = {
    "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz",
    "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
    "float6e2m3": "float6_e2m3fn",
    "float6e3m2": "float6_e3m2fn",
}


@cache
def numpy_dtype(data_type: str) -> np.dtype:
    """Return the numpy (or ml_dtypes) dtype of a data type spelled as ONNX spells it."""
    name = _NUMPY_NAMES.get(data_type, data_type)
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def is_integer(data_type: str) -> bool:
    return data_type.startswith(("int", "uint"))


@cache
def code_limits(data_type: str) -> tuple[float, float]:
    """Return the lowest and the highest code that the data type can hold."""
    info = ml_dtypes.iinfo if is_integer(data_type) else ml_dtypes.finfo
    limits = info(numpy_dtype(data_type))
    return float(limits.min), float(limits.max)


class Source(Protocol):
    """A constant of the model that has not been read yet."""

    @property
    def name(self) -> str: ...
    @property
    def data_type(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def read(self) -> np.ndarray:
        """Return the array, read-only. Raises ``UnavailableError`` where the bytes are missing."""
        ...


class RefusedError(ValueError):
    """Something in a file cannot be read. ``refusal`` says why, ``str()`` says so in a sentence."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal

    def __str__(self) -> str:
        return describe_refusal(self.refusal)


class UnavailableError(RefusedError):
    """The file names a tensor whose bytes are not there, or are not what the header says."""


class NotUnderstoodError(RefusedError):
    """The file holds a parameter in a way that cannot be read."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A small constant that is already in memory."""

    name: str
    array: np.ndarray
    data_type: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self) -> np.ndarray:
        return self.array


@dataclass(frozen=True, eq=False)
class DerivedSource:
    """A constant that is unpacked or rearranged when it is read."""

    source: Source
    derive: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    data_type: str

    @property
    def name(self) -> str:
        return self.source.name

    def read(self) -> np.ndarray:
        stored = self.source.read()
        try:
            array = self.derive(stored)
        except ValueError as error:
            raise self._refuse(RefusalKind.DOES_NOT_UNPACK, stored.shape) from error
        if array.shape != self.shape:
            raise self._refuse(RefusalKind.UNPACKED_SHAPE, array.shape)
        return array

    def _refuse(self, kind: RefusalKind, shape: tuple[int, ...]) -> UnavailableError:
        return UnavailableError(
            Refusal(kind, name=self.name, shape=shape, expected_shape=self.shape)
        )


@dataclass(frozen=True, eq=False)
class Quantization:
    """The map from codes to values: ``(codes - zero_point) * scale``.

    Attributes:
        data_type: of the codes, as ONNX spells it (``int8``, ``uint4``, ``float8e4m3fn``).
        scale_source: shape ``()`` or ``(1,)`` per tensor, ``(channels,)`` per channel, the rank of
            the codes per block.
        zero_point_source: same shape as the scale or one element; None means zero.
        axis: of the codes as stored, never negative; None per tensor.
        block_size: codes that share one scale along ``axis``; None unless per block.
        limits: lowest and highest code in use, where narrower than the data type (Clip, QONNX).
        value_type: the type the operator rounds its result to.
        levels: the value of each code before scaling, where a codebook replaces the zero-point.
        blocks: which block each index along ``axis`` belongs to, where blocks are not runs.
    """

    data_type: str
    scale_source: Source
    zero_point_source: Source | None = None
    axis: int | None = None
    block_size: int | None = None
    limits: tuple[float, float] | None = None
    value_type: str = "float32"
    levels: tuple[float, ...] | None = None
    blocks: np.ndarray | None = None

    @property
    def granularity(self) -> str:
        if self.block_size is not None:
            return "per-block"
        return "per-tensor" if self.axis is None else "per-channel"

    @property
    def code_limits(self) -> tuple[float, float]:
        return self.limits or code_limits(self.data_type)

    @property
    def scale(self) -> np.ndarray:
        return self._read("scale", self.scale_source)

    @property
    def zero_point(self) -> np.ndarray:
        """The zero-point, ``0`` where the file leaves it out."""
        if self.zero_point_source is None:
            return np.zeros((), np.int32 if is_integer(self.data_type) else np.float32)
        return self._read("zero_point", self.zero_point_source)

    def _read(self, name: str, source: Source) -> np.ndarray:
        """Return a parameter, read once: unless it is as large as weights are."""
        held: dict[str, np.ndarray] = self.__dict__.setdefault("_held", {})
        if name in held:
            return held[name]
        array = source.read()
        if array.nbytes <= HELD_BYTES:
            held[name] = array
        return array

    def block_of(self, indices: np.ndarray) -> np.ndarray:
        """Return the block of indices along ``axis``; the index itself without blocks."""
        if self.blocks is not None:
            return self.blocks[indices]
        return indices // self.block_size if self.block_size is not None else indices

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of ``codes``, float32 (float64 where the model computes in it).

        Source: onnxruntime's DequantizeLinear: subtract in int32, one float32 product, one
        rounding to the value type.
        """
        scale = self.spread(self.scale.astype(np.float32), codes.shape)
        with np.errstate(all="ignore"):
            steps = self.steps(codes, self.spread(self.zero_point, codes.shape))
            steps *= scale
            return self.round_values(steps)

    def steps(
        self, codes: np.ndarray, zero_point: np.ndarray, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``codes - zero_point`` as float32; the levels under a codebook.

        Args:
            zero_point: that broadcasts against ``codes``; integers, or floats that hold them.
            out: float32 of the shape of ``codes``, to hold the result of the common types; the
                result of others, and without it, is an array of its own.
        """
        if self.levels is not None:
            return np.asarray(self.levels, np.float32)[codes]
        if codes.dtype.itemsize <= 2 and is_integer(codes.dtype.name):
            # float32 holds every difference of 16-bit integers, and is quick.
            steps = np.empty(codes.shape, np.float32) if out is None else out
            np.copyto(steps, codes)
            if zero_point.size != 1 or zero_point.reshape(-1)[0] != 0:
                steps -= zero_point.astype(np.float32, copy=False)
            return steps
        if not is_integer(zero_point.dtype.name) or not is_integer(codes.dtype.name):
            return codes.astype(np.float32) - zero_point.astype(np.float32)
        return (codes.astype(np.int64) - zero_point.astype(np.int64)).astype(np.float32)

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Return the codes of ``values``, same shape.

        Source: ONNX QuantizeLinear: round half to even, then add the zero-point, then saturate.
        """
        codes = np.empty_like(values, numpy_dtype(self.data_type))
        scale = self.spread(self.scale.astype(np.float32), values.shape)
        zero_point = self.spread(self.zero_point, values.shape).astype(np.float32)
        with np.errstate(all="ignore"):
            for slab, (s, z) in list_slabs(values, scale, zero_point):
                codes[slab] = self._round_to_codes(
                    values[slab].astype(np.float32, copy=False), s, z
                )
        return codes

    def _round_to_codes(
        self, values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray
    ) -> np.ndarray:
        low, high = self.code_limits
        steps = np.asarray(values / scale)
        if not is_integer(self.data_type):
            return np.clip(steps, low, high, out=steps).astype(numpy_dtype(self.data_type))
        np.rint(steps, out=steps)
        steps += zero_point
        # A NaN has no code; onnxruntime's conversion sends it to the lowest one, as fmax does.
        np.minimum(np.fmax(steps, np.float32(low), out=steps), np.float32(high), out=steps)
        return steps.astype(numpy_dtype(self.data_type))

    def round_values(self, values: np.ndarray) -> np.ndarray:
        """Return float32 ``values`` rounded once to the value type, still as float32."""
        if self.value_type in ("float32", "float64"):
            return values
        return values.astype(numpy_dtype(self.value_type)).astype(np.float32)

    def spread(self, parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a scale or zero-point so that it broadcasts against codes of ``shape``."""
        if parameter.size == 1 and self.block_size is None:
            return parameter.reshape(())
        if self.block_size is not None and self.axis is not None:
            if parameter.size == 1:
                return parameter.reshape(())
            return np.take(parameter, self.block_of(np.arange(shape[self.axis])), axis=self.axis)
        return parameter.reshape([-1 if i == self.axis else 1 for i in range(len(shape))])


# Elements that are quantized at a time, so that only the codes are as many as the weight.
SLAB_ELEMENTS = 1 << 20


def list_slabs(
    array: np.ndarray, *parameters: np.ndarray
) -> Iterator[tuple[tuple[slice, ...], list[np.ndarray]]]:
    """Yield slices along the first axis, with what of each parameter broadcasts against them."""
    if not array.ndim:
        yield (), list(parameters)
        return
    length = array.shape[0]
    step = max(1, SLAB_ELEMENTS * length // max(1, array.size))
    for start in range(0, length, step):
        rows = slice(start, start + step)
        yield (rows,), [_cut(parameter, rows, array.ndim) for parameter in parameters]


def _cut(parameter: np.ndarray, rows: slice, rank: int) -> np.ndarray:
    varies = parameter.ndim == rank and parameter.shape[0] != 1
    return parameter[rows] if varies else parameter


def create_quantization(
    codes: Source,
    scale: Source,
    zero_point: Source | None,
    *,
    axis: int = 1,
    block_size: int = 0,
    data_type: str | None = None,
    value_type: str | None = None,
) -> Quantization:
    """Return the checked quantization of ``codes``; the granularity is read off the scale's shape.

    Args:
        axis, block_size: as the operator's attributes say; 0 means no blocks.
        data_type: of the codes, where it is not that of ``codes``.

    Raises:
        NotUnderstoodError: the shapes or types do not fit each other.
    """
    data_type = data_type or codes.data_type
    _check_types(data_type, scale, zero_point)
    blocked = block_size > 0
    per_tensor = not blocked and math.prod(scale.shape) == 1
    if not per_tensor:
        axis = _check_scale_shape(codes.shape, scale.shape, axis, block_size if blocked else 0)
    if zero_point is not None:
        _check_zero_point_shape(zero_point.shape, scale.shape)
    return Quantization(
        data_type,
        scale,
        zero_point,
        axis=None if per_tensor else axis,
        block_size=block_size if blocked else None,
        value_type=value_type or scale.data_type,
    )


def _check_scale_shape(
    shape: tuple[int, ...], scale_shape: tuple[int, ...], axis: int, block_size: int
) -> int:
    """Return the axis, never negative, of a scale that fits codes of ``shape``."""
    rank = len(shape)
    if not -rank <= axis < rank:
        raise NotUnderstoodError(
            Refusal(RefusalKind.AXIS_OUTSIDE, axis=axis, shape=shape, scale_shape=scale_shape)
        )
    axis %= rank
    expected = _blocked_shape(shape, axis, block_size) if block_size else (shape[axis],)
    if scale_shape != expected:
        raise NotUnderstoodError(
            Refusal(
                RefusalKind.SCALE_SHAPE,
                axis=axis,
                shape=shape,
                scale_shape=scale_shape,
                expected_shape=expected,
                block_size=block_size,
            )
        )
    return axis


def _blocked_shape(shape: tuple[int, ...], axis: int, block_size: int) -> tuple[int, ...]:
    return tuple(-(-d // block_size) if i == axis else d for i, d in enumerate(shape))


def _check_zero_point_shape(shape: tuple[int, ...], scale_shape: tuple[int, ...]) -> None:
    if shape != scale_shape and math.prod(shape) != 1:
        raise NotUnderstoodError(
            Refusal(RefusalKind.ZERO_POINT_SHAPE, shape=shape, scale_shape=scale_shape)
        )


def _check_types(data_type: str, scale: Source, zero_point: Source | None) -> None:
    narrow_float = data_type.startswith(("float8", "float4", "float6e"))
    if not is_integer(data_type) and not narrow_float:
        raise NotUnderstoodError(Refusal(RefusalKind.CODES_TYPE, data_type=data_type))
    if scale.data_type not in ("float32", "float16", "bfloat16", "float8e8m0"):
        raise NotUnderstoodError(Refusal(RefusalKind.SCALE_TYPE, data_type=scale.data_type))
    if zero_point is not None and zero_point.data_type != data_type:
        raise NotUnderstoodError(
            Refusal(
                RefusalKind.ZERO_POINT_TYPE,
                data_type=zero_point.data_type,
                expected_type=data_type,
            )
        )
