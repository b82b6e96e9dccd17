"""The quantized weights of a variant channel by channel: which count, how weak they are, and why.

What several rules look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import (
    MeasuredWeight,
    bias_scale,
    channel_max_abs,
    channel_sqnr_db,
    representable_limits,
)
from ..measuring.sqnr import are_judged
from ..operators import operator_named
from ..quantization import Quantization, UnavailableError, is_integer, numpy_dtype
from ..records import Layer, WeightTensor

# A channel is weak when its SQNR is below this at 8 bits; each bit less is allowed 6.02 dB less.
WEAK_CHANNEL_DB = 20.0
DB_PER_BIT = 6.02
# However few the bits: at 3 dB the error has 71 % of the channel's norm.
LEAST_WEAK_CHANNEL_DB = 3.0
# Largest weight / largest representable value. 1/4 wastes 2 bits; reduce_range alone gives 1/2.
WIDE_REACH, WIDE_REACH_ERROR = 1 / 4, 1 / 16
# One bit, which clipping outliers would win back. Measured on healthy layers: at most 2.2 dB.
WIDE_GAIN_DB = 6.0
# Clipping is wrong where a scale that clips nothing would be this much better.
CLIPPING_GAIN_DB = 3.0
# What the codes' rounding cannot explain: TFLite's debugger suspects RMSE / scale above 0.7.
STRAYED_STEPS = 0.7
# A channel this narrow beside the widest does nothing: training and pruning end some so.
SILENT_WIDTH = 1e-4
# What an int32 bias holds, with room for the rounding of the scales.
BIAS_ROOM = 0.9 * 2**31


def measured_layers(comparison: Comparison, variant: str) -> Iterator[tuple[str, MeasuredWeight]]:
    for layer_name, by_variant in comparison.weights.items():
        if variant in by_variant:
            yield layer_name, by_variant[variant]


class QuantizedMatrix(NamedTuple):
    layer_name: str
    measured: MeasuredWeight
    quantization: Quantization


def quantized_matrices(comparison: Comparison, variant: str) -> Iterator[QuantizedMatrix]:
    """Yield the quantized weights whose channels have more than one weight."""
    for layer_name, measured in measured_layers(comparison, variant):
        quantization = measured.quantization
        sums = measured.sums
        is_matrix = measured.weight.slot == "weight" and sums.fan_in > 1 and sums.channel_count > 0
        if quantization is not None and is_matrix:
            yield QuantizedMatrix(layer_name, measured, quantization)


def width_bits(quantization: Quantization) -> float:
    """Return how many bits the codes in use have."""
    if not is_integer(quantization.data_type):
        return 8.0 * numpy_dtype(quantization.data_type).itemsize
    low, high = quantization.code_limits
    return float(np.log2(high - low + 1))


def layer_axis(weight: WeightTensor) -> int | None:
    """Return the quantization's axis as the layer sees it, None where it is not one axis there."""
    quantization = weight.quantization
    if quantization is None or quantization.granularity != "per-channel":
        return None
    axis, shape = quantization.axis, weight.source.shape
    if not weight.layout or axis is None:
        return axis
    index = np.arange(shape[axis], dtype=np.int32)
    index = index.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    seen = weight.rearrange(np.broadcast_to(index, shape))
    if np.may_share_memory(seen, index):  # a view: what does not vary has no stride
        varying = [i for i in range(seen.ndim) if seen.shape[i] > 1 and seen.strides[i]]
    else:
        varying = [i for i in range(seen.ndim) if np.ptp(seen, axis=i).any()]
    return varying[0] if len(varying) == 1 else None


def by_channel(measured: MeasuredWeight, parameter: np.ndarray) -> np.ndarray | None:
    """Return a scale's numbers as float64 (channels,), None where a channel has several."""
    quantization, channels = measured.quantization, measured.sums.channel_count
    if quantization is None or quantization.granularity == "per-block":
        return None
    flat = parameter.astype(np.float64).reshape(-1)
    if flat.size == 1:
        return np.full(channels, flat[0])
    if layer_axis(measured.weight) != measured.weight.channel_axis or channels % flat.size:
        return None
    return np.tile(flat, channels // flat.size)  # ConvTranspose repeats its scales in each group


def _representable(measured: MeasuredWeight) -> np.ndarray | None:
    """Return the largest abs(value) that each channel's codes can hold, (channels,)."""
    limits = representable_limits(measured.quantization)
    if limits is None:
        return None
    return by_channel(measured, np.maximum(np.abs(limits[0]), np.abs(limits[1])))


def channel_width(measured: MeasuredWeight) -> np.ndarray:
    """Return the largest abs(value) of each channel, (channels,), 0 where there is none."""
    sums = measured.sums
    return np.nan_to_num(np.maximum(np.abs(sums.low), np.abs(sums.high)))


def living_channels(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels do anything, by the float weight where it is known."""
    return are_judged(np.nan_to_num(channel_max_abs(measured.sums)))


def silent_channels(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels are as good as zero in the float weight beside the widest one."""
    widths = np.nan_to_num(channel_max_abs(measured.sums))
    return np.asarray(widths <= SILENT_WIDTH * widths.max(initial=0.0))


def widened_for_bias(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels need a scale as wide as they have, or int32 could not hold the bias.

    onnxruntime's quantizer (since 1.21) widens the weight's scale where abs(bias) in steps of
    input scale · weight scale would be beyond int32.
    """
    channels = measured.sums.channel_count
    none = np.zeros(channels, bool)
    bias, product = measured.layer.bias, bias_scale(measured.layer)
    if bias is None or product is None:
        return none
    try:
        values = np.abs(bias.values.astype(np.float64).reshape(-1))
    except UnavailableError:
        return none
    if values.size != channels or channels % product.size:
        return none
    with np.errstate(all="ignore"):
        steps = values / np.resize(np.abs(product), channels) / reach_of(measured)
    return np.asarray(steps > BIAS_ROOM)


def is_misaligned(measured: MeasuredWeight) -> bool:
    """Return whether the scales run along another axis than the operator's channels."""
    axis, implied = layer_axis(measured.weight), measured.weight.channel_axis
    if axis is None or implied is None or not operator_named(measured.layer.op_type).one_axis:
        return False
    return axis != implied


def usable_channels(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels have a scale of their own that can be divided by, (channels,)."""
    assert measured.quantization is not None
    scale = by_channel(measured, measured.quantization.scale)
    if scale is not None:
        return np.isfinite(scale) & (scale > 0)
    every = measured.quantization.scale.astype(np.float64)
    good = bool((np.isfinite(every) & (every != 0)).all()) and not is_misaligned(measured)
    return np.full(measured.sums.channel_count, good)


@dataclass(frozen=True, eq=False)
class ChannelStates:
    """What is wrong with each output channel, and why. Arrays are bool, (channels,).

    Attributes:
        judged: neither dead nor silent in the float weight, with a scale that can be divided by.
        weak: SQNR under the limit of the data type.
        dead: all codes equal the zero-point.
        clipped: most of the error is in weights out of reach, and a wider scale would be better.
        wide: the scale is far wider than the weights it serves.
        strayed: the error is larger than rounding makes it.
        clipping_gain_db: what a scale that clips nothing would win.
    """

    judged: np.ndarray
    weak: np.ndarray
    dead: np.ndarray
    clipped: np.ndarray
    wide: np.ndarray
    strayed: np.ndarray
    clipping_gain_db: np.ndarray

    @property
    def collapsed(self) -> np.ndarray:
        """Weak for no other reason than that the steps are too coarse for the channel."""
        coarse = self.weak & ~self.clipped & ~self.strayed
        return self.judged & ~self.wide & (self.dead | coarse)


def channel_states(matrix: QuantizedMatrix) -> ChannelStates | None:
    """Return the state of each channel, None without the float weight."""
    measured, sums = matrix.measured, matrix.measured.sums
    if sums.x_square is None or sums.e_square is None or sums.step_square is None:
        return None
    none = np.zeros(sums.channel_count, bool)
    with np.errstate(all="ignore"):
        clipped, gain = _clipped(matrix)
        rms = np.sqrt(sums.step_square / sums.fan_in)
        return ChannelStates(
            judged=living_channels(measured)
            & ~silent_channels(measured)
            & usable_channels(measured),
            weak=channel_sqnr_db(sums) < weak_db(matrix.quantization),
            dead=none if sums.dead is None else sums.dead,
            clipped=clipped,
            wide=(reach_of(measured) < WIDE_REACH) | (outlier_gain_db(matrix) >= WIDE_GAIN_DB),
            strayed=rms > STRAYED_STEPS if is_integer(matrix.quantization.data_type) else none,
            clipping_gain_db=gain,
        )


def weak_db(quantization: Quantization) -> float:
    missing = max(0.0, 8 - width_bits(quantization))
    return max(LEAST_WEAK_CHANNEL_DB, WEAK_CHANNEL_DB - DB_PER_BIT * missing)


def reach_of(measured: MeasuredWeight) -> np.ndarray:
    """Return the largest weight of each scale / the largest it can hold, for each channel.

    NaN where that cannot be told: per-block scales, floating codes, a weight of zeros only.
    """
    none = np.full(measured.sums.channel_count, np.nan)
    quantization, possible = measured.quantization, _representable(measured)
    if possible is None or quantization is None or not is_integer(quantization.data_type):
        return none
    if measured.weight.is_unpacked:
        return none
    widths = np.nan_to_num(channel_max_abs(measured.sums))
    if quantization.granularity == "per-tensor":
        widths = np.full_like(widths, widths.max(initial=0.0))
    with np.errstate(all="ignore"):
        return np.where(widths > 0, widths / possible, np.nan)


def outlier_gain_db(matrix: QuantizedMatrix) -> float:
    """Return what clipping outliers would win, beyond what the scale leaves unused on purpose."""
    judged = living_channels(matrix.measured) & usable_channels(matrix.measured)
    reach = reach_of(matrix.measured)
    if matrix.measured.metrics["clipping_share"] > 0.5:
        return np.nan  # the better scale is a wider one
    if not judged.all() or by_channel(matrix.measured, matrix.quantization.scale) is None:
        return np.nan
    unused = -20 * np.log10(np.minimum(1, reach)).mean()
    return matrix.measured.metrics["db_lost_to_scale"] - float(np.nan_to_num(unused))


def _clipped(matrix: QuantizedMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Return which channels are clipped to their harm, and what a wider scale would win, in dB.

    Without clipping the scale is g times wider and the error that of rounding: (g·s)²/12 a weight.
    """
    measured, sums = matrix.measured, matrix.measured.sums
    scale, reach = by_channel(measured, matrix.quantization.scale), reach_of(measured)
    none = np.zeros(sums.channel_count, bool)
    if scale is None or sums.e_square is None or sums.outside_square is None:
        return none, np.full(sums.channel_count, np.nan)
    error, outside = sums.e_square, sums.outside_square
    rounding = sums.fan_in * (np.maximum(reach, 1) * scale) ** 2 / 12
    if matrix.quantization.granularity == "per-tensor":
        error, outside, rounding = (np.full_like(a, a.sum()) for a in (error, outside, rounding))
    gain = 10 * np.log10(error / rounding)
    mostly = sums.outside_square > 0.5 * sums.e_square
    return (outside > 0.5 * error) & mostly & (gain >= CLIPPING_GAIN_DB), gain


# ------------------------------------------------- as facts of findings


def indices(mask: np.ndarray) -> tuple[int, ...]:
    """Return which channels a mask names."""
    return tuple(map(int, np.flatnonzero(mask)))


def is_depthwise(layer: Layer, weight: WeightTensor) -> bool:
    """Return whether each channel has a filter of its own."""
    group = layer.attribute("group", 1)
    return bool("Conv" in layer.op_type and group > 1 and weight.shape[1:2] == (1,))


def only_layer(layer_names: Iterable[str]) -> str:
    """Return the layer of a finding about one layer; empty where it is about several."""
    names = tuple(layer_names)
    return names[0] if len(names) == 1 else ""
