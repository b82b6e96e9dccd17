"""A float weight under a scheme: codes, values, bytes and what was lost.

Codes and values are those of `Quantization`, so a file written from them is what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..quantization import ArraySource, Quantization, numpy_dtype
from ..streaming.array_parts import ArrayPart, share_out
from .counted_bias import CountedBias, counts_along
from .scale_fitting import fit_scales
from .scale_groups import ScaleGroups, check_axis
from .schemes import Scheme, data_type_bits
from .weight_errors import ErrorSums, lowest_db


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """What a file holds of a quantized weight; ``codes`` are of the weight's shape."""

    quantization: Quantization
    codes: np.ndarray

    @property
    def byte_count(self) -> int:
        """Of the codes as ONNX packs them, the scales and the zero-points."""
        return count_bytes(self.quantization, self.codes.shape)


@dataclass(frozen=True, eq=False)
class Requantized:
    """A weight under a scheme.

    Attributes:
        values: float32, of the weight's shape.
        sqnr_db: of the whole tensor.
        channel_sqnr_db: of each output channel, shape (channels,); NaN for one that is all zero, or
            negligible next to the others.
        raised: how many scales are wider than the weights need, for the bias to fit into int32.
    """

    scheme: Scheme
    stored: StoredWeight
    values: np.ndarray
    sqnr_db: float
    channel_sqnr_db: np.ndarray
    raised: int = 0

    @property
    def quantization(self) -> Quantization:
        return self.stored.quantization

    @property
    def codes(self) -> np.ndarray:
        return self.stored.codes

    @property
    def byte_count(self) -> int:
        return self.stored.byte_count

    @property
    def worst_channel_sqnr_db(self) -> float:
        """NaN where every channel is zero."""
        return lowest_db(self.channel_sqnr_db)


def requantize(
    original: np.ndarray,
    scheme: Scheme,
    channel_axis: int = 0,
    scale_type: str = "float32",
    bias: CountedBias | None = None,
) -> Requantized:
    """Return a float weight quantized and dequantized under a scheme.

    Args:
        original: the float weight in the layer's frame.
        channel_axis: of its output channels; negative counts from the end.
        scale_type: ``float32`` or ``float16``, what the scale is stored as.
        bias: that is counted in the scales, which are raised as far as it needs.

    Raises:
        NotFiniteError: the weight holds NaN or infinity.
        ScaleRangeError: its range is wider than the scale can say.
        ValueError: an axis is outside it.
    """
    with np.errstate(over="ignore"):  # float64 beyond float32 is refused with the infinite ones
        weight = np.asarray(original).astype(np.float32, copy=False)
    _check_finite(weight)
    channel_axis = check_axis(channel_axis, weight)
    if bias is not None and not counts_along(scheme, channel_axis, max(1, weight.ndim)):
        bias = None
    quantization, raised = _fit_quantization(weight, scheme, channel_axis, scale_type, bias)
    codes = np.empty_like(weight, numpy_dtype(scheme.data_type))
    values = np.empty_like(weight)

    def work(part: ArrayPart) -> ErrorSums:
        of_part = cut_quantization(quantization, weight.shape, part)
        codes[part] = of_part.quantize(weight[part])
        values[part] = of_part.dequantize(codes[part])
        return ErrorSums.of(weight[part], values[part], channel_axis)

    tensor_db, channels_db = ErrorSums.add(share_out(work, weight), weight, channel_axis)
    stored = StoredWeight(quantization, codes)
    return Requantized(scheme, stored, values, tensor_db, channels_db, raised)


class NotFiniteError(ValueError):
    """A weight holds ``count`` numbers that are NaN or infinite, of ``limit``."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(count, limit)
        self.count, self.limit = count, limit

    def __str__(self) -> str:
        return f"{self.count:,} of {self.limit:,} weights are NaN or infinite: no scale fits"


def _check_finite(weight: np.ndarray) -> None:
    wrong = sum(share_out(lambda part: int((~np.isfinite(weight[part])).sum()), weight))
    if wrong:
        raise NotFiniteError(wrong, weight.size)


def _fit_quantization(
    weight: np.ndarray,
    scheme: Scheme,
    channel_axis: int,
    scale_type: str,
    bias: CountedBias | None,
) -> tuple[Quantization, int]:
    """Return the quantization, and how many of its scales were raised for the bias."""
    groups = ScaleGroups.of(weight, scheme, channel_axis)
    fitted, zero_point = map(groups.to_scale_shape, fit_scales(groups, scheme, scale_type))
    scale = fitted if bias is None else bias.raise_scales(fitted)
    quantization = Quantization(
        scheme.data_type,
        _constant("scale", scale, scale_type),
        _constant("zero_point", zero_point, scheme.data_type),
        axis=groups.axis,
        block_size=scheme.block_size if groups.axis is not None else None,
        limits=scheme.saturation_limits,
        value_type=scale_type,
    )
    return quantization, int((scale > fitted).sum())


def _constant(name: str, array: np.ndarray, data_type: str) -> ArraySource:
    array = array.astype(numpy_dtype(data_type))
    array.flags.writeable = False
    return ArraySource(name, array, data_type)


def cut_quantization(
    quantization: Quantization, shape: tuple[int, ...], part: ArrayPart
) -> Quantization:
    """Return the quantization of a part of codes of ``shape``, cut along one axis."""
    axis, size = quantization.axis, quantization.block_size
    if axis is None or (size is None and len(part) != axis + 1):
        return quantization  # its scales are those of every part
    along_blocks = len(part) == axis + 1

    def cut(parameter: np.ndarray) -> np.ndarray:
        if size is None:
            return parameter[part[-1]]
        if along_blocks:
            blocks = quantization.block_of(np.arange(shape[axis])[part[-1]])
            return np.take(parameter, blocks, axis=axis)
        return parameter[part]

    return replace(
        quantization,
        scale_source=_constant("scale", cut(quantization.scale), quantization.scale.dtype.name),
        zero_point_source=_constant(
            "zero_point", cut(quantization.zero_point), quantization.data_type
        ),
        block_size=1 if along_blocks and size is not None else size,
        blocks=None if along_blocks else quantization.blocks,
    )


def count_bytes(quantization: Quantization, shape: tuple[int, ...]) -> int:
    """Return what codes of ``shape``, scales and zero-points take in an ONNX file, payload only."""
    bits = data_type_bits(quantization.data_type)
    scales = quantization.scale_source.shape
    scale_bytes = numpy_dtype(quantization.scale_source.data_type).itemsize * math.prod(scales)
    zero = quantization.zero_point_source
    zero_bytes = math.ceil(bits * math.prod(zero.shape) / 8) if zero is not None else 0
    return math.ceil(bits * math.prod(shape) / 8) + scale_bytes + zero_bytes
