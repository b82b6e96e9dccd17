"""What would another quantization do to this weight?

A `Scheme` says how; `requantize` does it. Ranges are onnxruntime's rules, codes and values are
those of `Quantization`, so a file written from them is what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from ..measuring.metrics import are_judged
from ..quantization import (
    ArraySource,
    Quantization,
    code_limits,
    is_integer,
    numpy_dtype,
)
from ..records import WeightTensor
from ..streaming.compared_weights import deal_out

DATA_TYPES = (
    "int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16",
    "float8e4m3fn", "float8e5m2", "float4e2m1",
)  # fmt: skip
GRANULARITIES = ("per-tensor", "per-channel", "per-block")
CLIPPINGS = ("min-max", "percentile", "mse", "std")
BLOCK_SIZES = (16, 32, 64, 128, 256)

# Left out of onnxruntime's table of symmetric ranges: these use every code.
FULL_SYMMETRIC = ("int4", "uint4", "int2", "uint2", "uint8", "uint16")

# The search: ranges this far apart, then finer ones around the best.
COARSE_RATIO = 1.19
FINE_POWERS = np.linspace(-1, 1, 17)
# Longer rows are searched on a histogram, each bin at the mean of its weights.
SEARCH_BINS = 1 << 13
LONG_ROW = 1 << 15
CHUNK_ELEMENTS = 1 << 16

Progress = Callable[[int, int, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Scheme:
    """How a weight is quantized, apart from its numbers.

    Attributes:
        data_type: of the codes, one of `DATA_TYPES`.
        bits: 2 to 8, where fewer than the data type has are used; None uses them all.
        granularity: ``per-tensor``, ``per-channel`` or ``per-block``.
        axis: of the weight, which has a scale for each index, or is cut into blocks; None is the
            layer's own: its output channels, or for blocks the first axis that is not theirs.
        block_size: weights along ``axis`` that share a scale.
        symmetric: the zero-point stands in the middle of the codes.
        reduce_range: half the codes, as for processors whose 16-bit sums saturate.
        clipping: ``min-max``; ``percentile``; ``mse``: the range with the least squared error;
            ``std``: onnxruntime's rule for float8e4m3fn, by the standard deviation.
        percentile: share of the weights kept, in percent, for ``percentile``.

    Raises:
        ValueError: the parts do not fit each other.
    """

    data_type: str = "int8"
    granularity: str = "per-tensor"
    symmetric: bool = True
    bits: int | None = None
    axis: int | None = None
    block_size: int | None = None
    reduce_range: bool = False
    clipping: str = "min-max"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.data_type, DATA_TYPES, "data type"),
            (self.granularity, GRANULARITIES, "granularity"),
            (self.clipping, CLIPPINGS, "clipping"),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r} is none of {', '.join(known)}")
        self._check_blocks()
        self._check_bits()
        if self.clipping == "std" and self.data_type != "float8e4m3fn":
            raise ValueError(f"clipping by std is for float8e4m3fn, not for {self.data_type}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile:g} is not above 50 and at most 100")

    def _check_blocks(self) -> None:
        blocked = self.granularity == "per-block"
        if blocked and (self.block_size is None or self.block_size < 1):
            raise ValueError(f"blocks need a size of at least 1, not {self.block_size}")
        if not blocked and self.block_size is not None:
            raise ValueError(f"a {self.granularity} scheme has no blocks of {self.block_size}")

    def _check_bits(self) -> None:
        if not is_integer(self.data_type):
            if self.bits is not None or self.reduce_range or not self.symmetric:
                raise ValueError(f"{self.data_type} is symmetric and uses its whole range")
            return
        width = data_type_bits(self.data_type)
        if self.bits is not None and not 2 <= self.bits <= min(8, width):
            raise ValueError(f"bits are 2 to {min(8, width)} in {self.data_type}, not {self.bits}")
        if self.reduce_range and (self.bits or width) < 3:
            raise ValueError("two bits have no reduced range")

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Return the scheme as people say it: ``int8 per-channel symmetric``."""
        kind = self.data_type if self.bits is None else f"{self.data_type} in {self.bits} bits"
        where = f" on axis {self.axis}" if self.axis is not None else ""
        blocks = f"in blocks of {self.block_size}"
        words = [kind, blocks if self.granularity == "per-block" else self.granularity]
        if is_integer(self.data_type):
            words.append("symmetric" if self.symmetric else "asymmetric")
        extra = {
            "percentile": f", clipped at {self.percentile:g} %",
            "mse": ", clipped for the least error",
            "std": ", clipped by std",
        }.get(self.clipping, "")
        reduced = ", reduced range" if self.reduce_range else ""
        return f"{' '.join(words)}{where}{reduced}{extra}"

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest code that the scale is made for.

        Source: ``get_qmin_qmax_for_qType`` of onnxruntime's quantizer; a smaller number of bits
        follows the rule of its data type.
        """
        low, high = code_limits(self.data_type)
        if not is_integer(self.data_type):
            return low, high
        if self.bits is not None:
            high = 2 ** (self.bits - (low < 0)) - 1
            low = -high - 1 if low < 0 else 0
        mirrored = self.data_type not in FULL_SYMMETRIC
        if self.reduce_range:
            half = (high + 1) // 2
            return (-half, half if mirrored else half - 1) if low < 0 else (low, half - 1)
        return (-high if self.symmetric and mirrored else low), high

    @property
    def saturation_limits(self) -> tuple[float, float] | None:
        """Where codes are cut off; None leaves it to the data type, as onnxruntime does.

        Only fewer bits, or a reduced range that is clipped too, need narrower limits.
        """
        narrow = self.bits is not None or (self.reduce_range and self.clipping != "min-max")
        return self.limits if narrow else None


def float_info(dtype: np.dtype) -> Any:
    """Return ml_dtypes' facts about a float, which it does not annotate."""
    find: Any = ml_dtypes.finfo
    return find(dtype)


def data_type_bits(data_type: str) -> int:
    info = ml_dtypes.iinfo if is_integer(data_type) else ml_dtypes.finfo
    return int(info(numpy_dtype(data_type)).bits)


@dataclass(frozen=True, eq=False)
class Requantized:
    """A weight under a scheme.

    Attributes:
        codes, values: of the weight's shape; values are float32.
        byte_count: of the codes as ONNX packs them, the scales and the zero-points.
        sqnr_db: of the whole tensor.
        channel_sqnr_db: of each output channel, shape (channels,); NaN for one that is all zero, or
            negligible next to the others.
    """

    scheme: Scheme
    quantization: Quantization
    codes: np.ndarray
    values: np.ndarray
    byte_count: int
    sqnr_db: float
    channel_sqnr_db: np.ndarray

    @property
    def worst_channel_sqnr_db(self) -> float:
        """NaN where every channel is zero."""
        return lowest_db(self.channel_sqnr_db)


def scheme_of(weight: WeightTensor) -> Scheme | None:
    """Return the scheme that the file has; None for a float weight, or a codebook.

    How the range was found cannot be read off a file: clipping is always ``min-max``. An axis that
    is the layer's own is None.
    """
    held = weight.quantization
    if held is None or held.levels is not None or held.data_type not in DATA_TYPES:
        return None
    own = own_axis(held.granularity, weight.channel_axis or 0, len(weight.shape))
    moved = any(step.op_type not in ("Cast", "Identity") for step in weight.layout)
    return Scheme(
        held.data_type,
        held.granularity,
        symmetric=_is_symmetric(held),
        bits=_bits_in_use(held),
        axis=None if moved or held.axis == own else held.axis,
        block_size=held.block_size,
    )


def _is_symmetric(held: Quantization) -> bool:
    low, high = held.code_limits
    middle = np.rint((low + high) / 2) + 0.0 if is_integer(held.data_type) else 0.0
    zero_point = held.zero_point.astype(np.float64).reshape(-1)
    # A channel that is all zero has scale 1 and zero-point 0 under every scheme.
    counted = zero_point[held.scale.reshape(-1) != 1] if zero_point.size > 1 else zero_point
    return bool(np.all(counted == (0.0 if low < 0 else middle)))


def _bits_in_use(held: Quantization) -> int | None:
    if held.limits is None or not is_integer(held.data_type):
        return None
    low, high = held.limits
    bits = math.ceil(math.log2(max(2.0, high - low + 1)))
    return bits if 2 <= bits < min(9, data_type_bits(held.data_type)) else None


def own_axis(granularity: str, channel_axis: int, rank: int) -> int | None:
    """Return the axis that a scheme means by None."""
    if granularity == "per-tensor":
        return None
    if granularity == "per-channel" or rank < 2:
        return channel_axis
    return 1 if channel_axis == 0 else 0


# ------------------------------------------------- one weight under one scheme


def requantize(
    values: np.ndarray, scheme: Scheme, channel_axis: int = 0, scale_type: str = "float32"
) -> Requantized:
    """Return a float weight quantized and dequantized under a scheme.

    Args:
        values: the float weight in the layer's frame.
        channel_axis: of its output channels; negative counts from the end.
        scale_type: ``float32`` or ``float16``, what the scale is stored as.

    Raises:
        ValueError: the weight holds NaN or infinity, an axis is outside it, or its range is wider
            than the scale can say.
    """
    values = np.asarray(values)
    with np.errstate(over="ignore"):  # float64 beyond float32 is refused with the infinite ones
        exact = values.astype(np.float32, copy=False)
    _check_finite(exact)
    channel_axis = check_axis(channel_axis, exact)
    frame = _Frame.of(exact, scheme, channel_axis)
    scale, zero_point = _fit(frame, scheme, scale_type)
    quantization = _create_quantization(scheme, frame, scale, zero_point, scale_type)
    codes = np.empty_like(exact, numpy_dtype(scheme.data_type))
    held = np.empty_like(exact)

    def work(part: Part) -> _Sums:
        codes[part], held[part] = _quantize(quantization, exact, part)
        return _Sums.of(exact[part], held[part], channel_axis)

    tensor, channels = _Sums.add(share_out(work, exact), exact, channel_axis)
    return Requantized(
        scheme, quantization, codes, held, count_bytes(quantization, exact.shape), tensor, channels
    )


def _check_finite(exact: np.ndarray) -> None:
    wrong = sum(share_out(lambda part: int((~np.isfinite(exact[part])).sum()), exact))
    if wrong:
        raise ValueError(f"{wrong:,} of {exact.size:,} weights are NaN or infinite: no scale fits")


def check_axis(axis: int, array: np.ndarray) -> int:
    rank = max(1, array.ndim)
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside a weight of shape {array.shape}")
    return axis % rank


@dataclass(frozen=True, eq=False)
class _Frame:
    """A weight as one row for each scale, and the way back.

    Attributes:
        moved: the scales on its first axis, all other axes as they were: no copy of the weight
            unless it is in blocks, of which the last, short one is filled up with zeros.
        moved_shape: of the scale.
    """

    moved: np.ndarray
    axis: int | None
    moved_shape: tuple[int, ...]

    @cached_property
    def rows(self) -> np.ndarray:
        """The weights of each scale: (scales, weights)."""
        count = self.moved.shape[0]
        return self.moved.reshape(count, self.moved.size // max(1, count))

    def find_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest weight of each scale, no higher and lower than 0."""
        others = tuple(range(1, self.moved.ndim))
        return self.moved.min(axis=others, initial=0), self.moved.max(axis=others, initial=0)

    @classmethod
    def of(cls, exact: np.ndarray, scheme: Scheme, channel_axis: int) -> _Frame:
        if scheme.granularity == "per-tensor" or exact.ndim == 0:
            return cls(exact.reshape(1, *exact.shape), None, ())
        axis = scheme.axis
        if axis is None:
            axis = own_axis(scheme.granularity, channel_axis, exact.ndim)
        axis = check_axis(axis or 0, exact)
        if scheme.block_size is None:
            return cls(np.moveaxis(exact, axis, 0), axis, (exact.shape[axis],))
        return cls._in_blocks(np.moveaxis(exact, axis, -1), axis, scheme.block_size)

    @classmethod
    def _in_blocks(cls, moved: np.ndarray, axis: int, size: int) -> _Frame:
        blocks = -(-moved.shape[-1] // size)
        missing = blocks * size - moved.shape[-1]
        if missing:
            moved = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, missing)])
        return cls(moved.reshape(-1, size), axis, (*moved.shape[:-1], blocks))

    def to_scale_shape(self, parameter: np.ndarray) -> np.ndarray:
        shaped = parameter.reshape(self.moved_shape)
        return (
            np.moveaxis(shaped, -1, self.axis)
            if shaped.ndim > 1 and self.axis is not None
            else shaped
        )


def _create_quantization(
    scheme: Scheme, frame: _Frame, scale: np.ndarray, zero_point: np.ndarray, scale_type: str
) -> Quantization:
    zeros = frame.to_scale_shape(zero_point).astype(numpy_dtype(scheme.data_type))
    scales = frame.to_scale_shape(scale)
    for array in (scales, zeros):
        array.flags.writeable = False
    return Quantization(
        scheme.data_type,
        ArraySource("scale", scales, scale_type),
        ArraySource("zero_point", zeros, scheme.data_type),
        axis=frame.axis,
        block_size=scheme.block_size if frame.axis is not None else None,
        limits=scheme.saturation_limits,
        value_type=scale_type,
    )


def count_bytes(quantization: Quantization, shape: tuple[int, ...]) -> int:
    """Return what codes of ``shape``, scales and zero-points take in an ONNX file, payload only."""
    bits = data_type_bits(quantization.data_type)
    scales = quantization.scale_source.shape
    scale_bytes = numpy_dtype(quantization.scale_source.data_type).itemsize * math.prod(scales)
    zero = quantization.zero_point_source
    zero_bytes = math.ceil(bits * math.prod(zero.shape) / 8) if zero is not None else 0
    return math.ceil(bits * math.prod(shape) / 8) + scale_bytes + zero_bytes


def compute_sqnr_db(
    exact: np.ndarray, held: np.ndarray, channel_axis: int
) -> tuple[float, np.ndarray]:
    """Return the SQNR of the tensor and of each channel, in dB; +inf where nothing was lost.

    20*log10(norm(x) / norm(x - held)); NaN where x is all zero, or negligible next to the other
    channels, as `are_judged` says.
    """

    def work(part: Part) -> _Sums:
        return _Sums.of(exact[part], held[part], channel_axis)

    return _Sums.add(share_out(work, exact), exact, channel_axis)


def _square_sums(array: np.ndarray, axis: int) -> np.ndarray:
    """Return the sum of squares of each channel, float64, without a float64 copy of it all."""
    if axis == 0:
        rows = array.reshape(array.shape[0], array.size // max(1, array.shape[0]))
        step = max(1, CHUNK_ELEMENTS // max(1, rows.shape[1]))
        wide = (rows[i : i + step].astype(np.float64) for i in range(0, len(rows), step))
        parts = [np.einsum("ij,ij->i", part, part) for part in wide]
        return np.concatenate(parts) if parts else np.zeros(0)
    after = math.prod(array.shape[axis + 1 :])
    slabs = array.reshape(-1, array.shape[axis], after) if array.size else np.zeros((0, 1, 1))
    step = max(1, CHUNK_ELEMENTS // max(1, slabs[:1].size))
    total = np.zeros(array.shape[axis])
    for i in range(0, len(slabs), step):
        part = slabs[i : i + step].astype(np.float64)
        total += np.einsum("ijk,ijk->j", part, part)
    return total


def lowest_db(channels: np.ndarray) -> float:
    known = channels[~np.isnan(channels)]
    return float(known.min()) if known.size else math.nan


# ------------------------------------------------- part by part, each small enough for the cache


Part = tuple[slice, ...]


def share_out(work: Callable[[Part], T], array: np.ndarray) -> list[T]:
    """Return what ``work`` made of each part of an array, in order; many parts by two threads."""
    lead = _leading_axis(array)
    length = array.shape[lead] if array.ndim else 1
    step = max(1, CHUNK_ELEMENTS * length // max(1, array.size))
    before = (slice(None),) * lead
    parts = [(*before, slice(i, i + step)) if array.ndim else () for i in range(0, length, step)]
    done = deal_out(parts, lambda share: [work(part) for part in share])
    return [done[i % len(done)][i // len(done)] for i in range(len(parts))]


def _leading_axis(array: np.ndarray) -> int:
    """Return the axis along which parts are contiguous: 0, the last one of a transposed weight."""
    strides = np.abs(array.strides) * (np.array(array.shape) > 1)
    return int(np.argmax(strides)) if array.ndim else 0


def _quantize(
    quantization: Quantization, exact: np.ndarray, part: Part
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and values of a part of a weight whose weights are all finite."""
    scale = _cut(quantization.scale.astype(np.float32), quantization, exact.shape, part)
    zero_point = _cut(quantization.zero_point.astype(np.float32), quantization, exact.shape, part)
    low, high = quantization.code_limits
    dtype = numpy_dtype(quantization.data_type)
    with np.errstate(all="ignore"):
        steps = np.asarray(exact[part] / scale)
        if is_integer(quantization.data_type):
            np.rint(steps, out=steps)
            steps += zero_point
        np.clip(steps, low, high, out=steps)
        codes = steps.astype(dtype)
        if is_integer(quantization.data_type):
            steps -= zero_point
        else:
            steps = codes.astype(np.float32)
        steps *= scale
        return codes, quantization.round_values(steps)


def _cut(
    parameter: np.ndarray, quantization: Quantization, shape: tuple[int, ...], part: Part
) -> np.ndarray:
    """Return a scale or zero-point so that it broadcasts against a part of the codes."""
    axis, size = quantization.axis, quantization.block_size
    if axis is None:
        return parameter.reshape(())
    if size is None:
        return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])[
            part if len(part) == axis + 1 else ...
        ]
    index = np.arange(shape[axis]) // size
    if len(part) == axis + 1:
        return np.take(parameter, index[part[-1]], axis=axis)
    return np.take(parameter[part], index, axis=axis)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of each channel of a part: the squares of weights and errors, the largest abs(weight)."""

    signal: np.ndarray
    error: np.ndarray
    widths: np.ndarray

    @classmethod
    def of(cls, exact: np.ndarray, held: np.ndarray, axis: int) -> _Sums:
        exact, held = exact.reshape(exact.shape or (1,)), held.reshape(exact.shape or (1,))
        others = tuple(i for i in range(exact.ndim) if i != axis)
        return cls(
            _square_sums(exact, axis),
            _square_sums(exact - held, axis),
            np.maximum(exact.max(axis=others, initial=0), -exact.min(axis=others, initial=0)),
        )

    @classmethod
    def add(cls, parts: Sequence[_Sums], whole: np.ndarray, axis: int) -> tuple[float, np.ndarray]:
        """Return the SQNR of the tensor and of each channel, of all parts of the whole."""
        if not parts:
            return math.nan, np.full(whole.shape[axis], np.nan)
        apart = _leading_axis(whole) == axis  # each part has channels of its own
        columns = ([p.signal for p in parts], [p.error for p in parts], [p.widths for p in parts])
        signal, error, widths = (
            map(np.concatenate, columns)
            if apart
            else (
                np.sum(columns[0], axis=0),
                np.sum(columns[1], axis=0),
                np.max(columns[2], axis=0),
            )
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            channels = 10 * np.log10(np.where(are_judged(widths), signal, np.nan) / error)
            total = signal.sum()
            tensor = 10 * np.log10(total / error.sum()) if total else np.nan
        return float(tensor), channels


# ------------------------------------------------- scale and zero-point of each row


def _fit(frame: _Frame, scheme: Scheme, scale_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale (of ``scale_type``) and the zero-point (float64) of each row."""
    low, high = _find_range(frame, scheme)
    if scheme.clipping == "mse":
        factor = _search(frame.rows, scheme, low, high)
        low, high = (low * factor).astype(np.float32), (high * factor).astype(np.float32)
    if not is_integer(scheme.data_type):
        return _float_scale(frame, scheme, high, scale_type)
    with np.errstate(all="ignore"):
        scale, zero_point = _scale_and_zero_point(low, high, scheme, scale_type)
    if not np.isfinite(scale).all():
        raise ValueError(
            f"weights from {low.min():.3g} to {high.max():.3g}: no {scale_type} scale is so wide"
        )
    return scale, zero_point


def _find_range(frame: _Frame, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest weight to hold of each row, float32, zero between them."""
    if scheme.clipping == "percentile" and frame.rows.size:
        low, high = _percentiles(frame.rows, scheme)
    else:
        low, high = frame.find_ends()
    low = np.minimum(low, 0).astype(np.float32)
    high = np.maximum(high, 0).astype(np.float32)
    if scheme.symmetric:
        high = np.maximum(-low, high)
        low = -high
    return low, high


def _percentiles(rows: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric: of abs(weight). Else half of what is cut off is cut from either end."""
    if scheme.symmetric:
        high = np.quantile(np.abs(rows), scheme.percentile / 100, axis=1)
        return -high, high
    cut = (1 - scheme.percentile / 100) / 2
    low, high = np.quantile(rows, (cut, 1 - cut), axis=1)
    return low, high


def _scale_and_zero_point(
    low: np.ndarray, high: np.ndarray, scheme: Scheme, scale_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Source: onnxruntime's ``compute_scale_zp``, and ``compute_scale_zp_blocked`` for blocks.

    Blocks subtract in float32 and find the zero-point with the rounded scale; the others do both
    in float64.
    """
    dtype = numpy_dtype(scale_type)
    bottom, top = scheme.limits
    blocked = scheme.granularity == "per-block"
    width = (high - low).astype(np.float64) if blocked else high.astype(np.float64) - low
    wide_scale = width / (top - bottom)
    scale = wide_scale.astype(dtype)
    tiny = float(float_info(dtype).tiny)
    degenerate = (scale.astype(np.float64) if blocked else wide_scale) < tiny
    if scheme.symmetric:
        zero_point = np.full(low.shape, np.rint((bottom + top) / 2) + 0.0)
    else:
        zero_point = np.rint(bottom - low / (scale.astype(np.float64) if blocked else wide_scale))
        zero_point = np.clip(np.nan_to_num(zero_point), bottom, top)
    return np.where(degenerate, np.ones_like(scale), scale), _zero_where(
        degenerate, zero_point, keep=blocked and scheme.symmetric
    )


def _zero_where(degenerate: np.ndarray, zero_point: np.ndarray, keep: bool) -> np.ndarray:
    """A range of nothing has zero-point 0; symmetric blocks keep theirs, as in onnxruntime."""
    return zero_point if keep else np.where(degenerate, 0.0, zero_point)


def _float_scale(
    frame: _Frame, scheme: Scheme, high: np.ndarray, scale_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale that puts the widest weight on the highest code; ``std``: onnxruntime's."""
    dtype = numpy_dtype(scale_type)
    if scheme.clipping == "std":
        scale = (np.std(np.ascontiguousarray(frame.rows), axis=1) / _float8_deviation()).astype(
            dtype
        )
    else:
        scale = (high.astype(np.float64) / scheme.limits[1]).astype(dtype)
    tiny = float_info(dtype).tiny
    return np.where(scale < tiny, np.ones_like(scale), scale), np.zeros(len(scale))


def _float8_deviation() -> np.floating:
    """Standard deviation of all finite float8e4m3fn. Source: ``compute_scale_zp_float8``."""
    codes = np.arange(256, dtype=np.uint8).view(numpy_dtype("float8e4m3fn")).astype(np.float32)
    return np.std(codes[np.isfinite(codes)])


# ------------------------------------------------- the range with the least squared error


def _search(rows: np.ndarray, scheme: Scheme, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return what part of the widest range of each row loses least, of shape (rows,).

    Parts up to 19 % apart, then 17 finer ones around the best: within 0.1 dB of 2 000 parts at 8
    bits, where luck with the rounding decides, and within 0.02 dB at 4 bits. Both ends shrink
    alike, so an asymmetric range is the best of its proportion.
    """
    points, weights = _condense(rows)
    coarse = _coarse_factors(scheme, rows.shape[1])
    fine = (coarse[0] / coarse[1]) ** FINE_POWERS
    scale, zero_point = _search_start(scheme, low, high)
    best = np.ones(len(points), np.float32)
    step = max(1, CHUNK_ELEMENTS // max(1, points.shape[1]))
    for i in range(0, len(points), step):
        part = slice(i, i + step)
        counts = None if weights is None else weights[part].T
        trial = _Trial(points[part].T, counts, scale[part], zero_point[part], scheme).in_order()
        start = trial.best_of(coarse[:, None] * np.ones(len(scale[part])))
        best[part] = trial.best_of(np.minimum(fine[:, None] * start, 1.0))
    return best


def _coarse_factors(scheme: Scheme, count: int) -> np.ndarray:
    """Return the parts worth trying for rows of ``count`` weights, the whole range first.

    At the widest range no weight is off by more than about half a step, so that all of them lose
    at most ``count * (range / levels)**2 / 4``. A part that cuts more off the widest weight alone
    cannot be better; 1.5 allows for the rounding of a zero-point.
    """
    lowest = 1 / 64 if scheme.data_type == "float4e2m1" else 1 / 4
    if is_integer(scheme.data_type):
        bottom, top = scheme.limits
        lowest = max(1 / 64, 1 - 1.5 * math.sqrt(count) / (top - bottom))
    return np.geomspace(1, lowest, 2 + math.ceil(math.log(1 / lowest) / math.log(COARSE_RATIO)))


def _search_start(
    scheme: Scheme, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if is_integer(scheme.data_type):
        with np.errstate(all="ignore"):
            scale, zero_point = _scale_and_zero_point(low, high, scheme, "float32")
        return scale.astype(np.float32), zero_point.astype(np.float32)
    scale = (high / np.float32(scheme.limits[1])).astype(np.float32)
    return np.where(scale > 0, scale, np.float32(1)), np.zeros_like(scale)


def _condense(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return long rows as the bins of a histogram: the mean of each bin, and its count."""
    if rows.shape[1] <= LONG_ROW:
        return rows, None
    points = np.zeros((len(rows), SEARCH_BINS), np.float32)
    weights = np.zeros_like(points)
    for i, layer_name in enumerate(rows):
        low = float(layer_name.min())
        width = max(float(layer_name.max()) - low, 1e-300)
        index = ((layer_name - np.float64(low)) * ((SEARCH_BINS - 1) / width)).astype(np.int32)
        counts = np.bincount(index, minlength=SEARCH_BINS)
        points[i] = np.bincount(index, layer_name, minlength=SEARCH_BINS) / np.maximum(counts, 1)
        weights[i] = counts
    return points, weights


@dataclass(frozen=True, eq=False)
class _Trial:
    """Some rows, and what each range would lose of them.

    ``points`` and ``weights`` are (weights of a row, rows); scale and zero-point are (rows,).
    """

    points: np.ndarray
    weights: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    scheme: Scheme

    def in_order(self) -> _Trial:
        """Return it with many short rows side by side in memory: no loop is a few weights long."""
        long = self.points.shape[0] > self.points.shape[1]
        return self if long else replace(self, points=np.ascontiguousarray(self.points))

    def best_of(self, factors: np.ndarray) -> np.ndarray:
        """Return for each row the factor that loses least, of ``factors`` (trials, rows)."""
        factors = factors.astype(np.float32)
        losses = np.stack([self._loss(factor) for factor in factors])
        return factors[losses.argmin(axis=0), np.arange(factors.shape[1])]

    def _loss(self, factor: np.ndarray) -> np.ndarray:
        scale = self.scale * factor
        with np.errstate(all="ignore"):
            steps = self.points * (1 / scale)
            self._round(steps)
            steps *= scale
            steps -= self.points
            if self.weights is None:
                return np.einsum("ij,ij->j", steps, steps)
            return np.einsum("ij,ij,ij->j", steps, steps, self.weights)

    def _round(self, steps: np.ndarray) -> None:
        """Round to the codes, in place."""
        low, high = self.scheme.saturation_limits or code_limits(self.scheme.data_type)
        if not is_integer(self.scheme.data_type):
            _round_to_float(steps, self.scheme.data_type)
            np.clip(steps, low, high, out=steps)
            return
        np.rint(steps, out=steps)
        zero = self.zero_point
        if (zero == zero[:1]).all():
            np.clip(steps, low - float(zero[0]), high - float(zero[0]), out=steps)
        else:
            np.clip(steps, np.float32(low) - zero, np.float32(high) - zero, out=steps)


def _round_to_float(steps: np.ndarray, data_type: str) -> None:
    """Round float32 in place to the mantissa of a narrow float, half to even; no saturation."""
    info = float_info(numpy_dtype(data_type))
    # The exponent bits alone are the power of two below a number: its unit in the last place.
    unit = (steps.view(np.int32) & 0x7F800000).view(np.float32)
    np.maximum(unit, np.float32(2.0) ** int(info.minexp), out=unit)
    unit *= np.float32(2.0) ** -int(info.nmant)
    steps /= unit
    np.rint(steps, out=steps)
    steps *= unit
