"""A weight (and its float original) -> numbers: one function per metric, listed in `METRICS`.

Each takes the record that its `Metric` names, whose sums come from one pass over the weight; none
walks the weight again. A metric that a layer cannot have (no float original, no codes) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

import numpy as np

from ..facts import Grid
from ..quantization import Quantization, UnavailableError
from ..quantization import code_limits as type_limits
from ..records import Layer, LayerPair, SummaryStats, WeightTensor
from ..streaming.channel_frame import spread_out
from .sqnr import judged_sqnr_db, sqnr_db, total_sqnr_db
from .weight_sums import WeightSums

HEALTHY_CHANNEL_DB = 20.0
INT32_MAX = 2**31 - 1
LIMITS_AT_A_TIME = 1 << 16


@dataclass(frozen=True, eq=False)
class MeasuredWeight:
    """One layer of a variant after the pass over its weight.

    Attributes:
        layer: as the variant has it.
        pair: with the layer of the original; None where there is no partner, or no original.
        grid: what `find_grid` finds in a float weight.
    """

    layer: Layer
    weight: WeightTensor
    sums: WeightSums
    pair: LayerPair | None = None
    grid: Grid | None = None

    @property
    def quantization(self) -> Quantization | None:
        return self.weight.quantization

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """Every metric of `METRICS` by name."""
        return {metric.name: metric.compute(self) for metric in METRICS}


class MetricKind(Enum):
    """What a metric's number is, which decides how it is written."""

    DECIBELS = auto()
    SHARE = auto()
    """From 0 to 1, of something."""
    COUNT = auto()
    INDEX = auto()
    STEPS = auto()
    """Multiples of the scale."""
    BITS = auto()
    RATIO = auto()
    """One number over another; 0 and up."""
    VALUE = auto()
    """In the unit of the weights."""


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        kind: decides how its numbers are written.
        unit: empty for a share or a count.
        definition: the formula, in words, for the header's tooltip.
        needs_float: NaN without the float original.
        higher_is_worse: how to sort; None where neither end is bad.
        made_from: the record that ``compute`` takes; what a layer must have to have the metric.
    """

    name: str
    label: str
    kind: MetricKind
    unit: str
    definition: str
    compute: Callable[[MeasuredWeight], float]
    needs_float: bool = False
    higher_is_worse: bool | None = None
    made_from: type = MeasuredWeight


def range_low(measured: MeasuredWeight) -> float:
    """Lowest value of the weight, in its unit."""
    return _lowest(measured.sums.low)


def range_high(measured: MeasuredWeight) -> float:
    """Highest value of the weight, in its unit."""
    return _highest(measured.sums.high)


def representable_low(measured: MeasuredWeight) -> float:
    """Lowest value that any code stands for: (lowest code - zero_point) * scale."""
    limits = representable_limits(measured.quantization)
    return _lowest(limits[0]) if limits is not None else np.nan


def representable_high(measured: MeasuredWeight) -> float:
    """Highest value that any code stands for: (highest code - zero_point) * scale."""
    limits = representable_limits(measured.quantization)
    return _highest(limits[1]) if limits is not None else np.nan


def representable_limits(quantization: Quantization | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what each scale can hold, lowest and highest, in the scale's shape."""
    if quantization is None:
        return None
    bottom, top = quantization.code_limits
    if quantization.levels is not None:
        bottom, top = min(quantization.levels), max(quantization.levels)
    scale, zero_point = quantization.scale, quantization.zero_point
    if scale.dtype.kind != "f":  # narrow types have products of their own
        scale = scale.astype(np.float64)
    with np.errstate(all="ignore"):
        ends = [np.asarray((end - zero_point.astype(np.float64)) * scale) for end in (bottom, top)]
    low, high = (end.reshape(-1) for end in ends)
    # Part by part: there may be a scale for each weight.
    for start in range(0, low.size, LIMITS_AT_A_TIME):
        part = slice(start, start + LIMITS_AT_A_TIME)
        lowest = np.minimum(low[part], high[part])
        np.maximum(low[part], high[part], out=high[part])
        low[part] = lowest
    return ends[0], ends[1]


def channel_sqnr_db(sums: WeightSums) -> np.ndarray:
    """Return 20*log10(norm(x) / norm(e)) of each output channel, in dB, shape (channels,).

    +inf where nothing was lost, NaN where x is all zero or there is no float original.
    """
    if sums.x_square is None or sums.e_square is None:
        return np.full(sums.channel_count, np.nan)
    return sqnr_db(sums.x_square, sums.e_square)


def tensor_sqnr_db(measured: MeasuredWeight) -> float:
    """20*log10(norm(x) / norm(e)) of the whole tensor, in dB."""
    sums = measured.sums
    if sums.x_square is None or sums.e_square is None:
        return np.nan
    return total_sqnr_db(sums.x_square, sums.e_square)


def judged_channel_sqnr_db(sums: WeightSums) -> np.ndarray:
    """Return `channel_sqnr_db`, NaN too for channels that are not judged."""
    if sums.x_square is None or sums.e_square is None:
        return np.full(sums.channel_count, np.nan)
    return judged_sqnr_db(sums.x_square, sums.e_square, channel_max_abs(sums))


def worst_channel_sqnr_db(measured: MeasuredWeight) -> float:
    """The lowest SQNR of an output channel that is not negligible, in dB."""
    return _lowest(judged_channel_sqnr_db(measured.sums))


def worst_channel(measured: MeasuredWeight) -> float:
    """Index of the output channel with the lowest SQNR."""
    channels = judged_channel_sqnr_db(measured.sums)
    return float(np.nanargmin(channels)) if not np.isnan(channels).all() else np.nan


def channels_under_20_db(measured: MeasuredWeight) -> float:
    """Share of the output channels, negligible ones left out, whose SQNR is below 20 dB."""
    channels = judged_channel_sqnr_db(measured.sums)
    known = channels[~np.isnan(channels)]
    return float((known < HEALTHY_CHANNEL_DB).mean()) if known.size else np.nan


def max_abs_error(measured: MeasuredWeight) -> float:
    """Largest abs(x - v), in the unit of the weights."""
    return _highest(measured.sums.e_max)


def max_error_steps(measured: MeasuredWeight) -> float:
    """Largest abs(x - v) / scale, in steps; rounding alone gives at most 0.5."""
    return _highest(measured.sums.step_max) if measured.quantization is not None else np.nan


def rmse_steps(measured: MeasuredWeight) -> float:
    """sqrt(mean(((x - v) / scale)^2)), in steps; healthy about 1/sqrt(12) = 0.2887."""
    sums = measured.sums
    if sums.step_square is None or measured.quantization is None:
        return np.nan
    return float(np.sqrt(sums.step_square.sum() / _elements(sums)))


def clipping_share(measured: MeasuredWeight) -> float:
    """Share of the squared error that sits in weights outside the representable range."""
    sums = measured.sums
    if sums.outside_square is None or sums.e_square is None or measured.quantization is None:
        return np.nan
    total = sums.e_square.sum()
    return float(sums.outside_square.sum() / total) if total > 0 else 0.0


def db_lost_to_scale(measured: MeasuredWeight) -> float:
    """Best SQNR of a search of the clipping range, same type and granularity, less the current."""
    searched = measured.sums.searched
    if searched is None:
        return np.nan
    if searched[1] <= 0:
        return 0.0 if searched[0] <= 0 else np.inf
    return float(10 * np.log10(searched[0] / searched[1]))


def saturation_share(measured: MeasuredWeight) -> float:
    """Share of the codes at the lowest or highest code.

    The lowest is one higher where it never occurs and the scheme is symmetric (-127..127).
    """
    counts = measured.sums.code_counts
    if counts is None or measured.quantization is None:
        return np.nan
    low, high = code_rails(counts, measured.quantization)
    total = counts.sum()
    return float((counts[low] + counts[high]) / total) if total else np.nan


def code_rails(counts: np.ndarray, quantization: Quantization) -> tuple[int, int]:
    """Return the positions of the lowest and the highest code in use by the scheme."""
    first = _first_code(quantization)
    low, high = (int(limit) - first for limit in quantization.code_limits)
    signed = first < 0
    symmetric = not np.any(quantization.zero_point.astype(np.float64))
    if signed and symmetric and counts[low] == 0:
        low += 1
    return low, high


def used_codes_share(measured: MeasuredWeight) -> float:
    """Distinct codes that occur / codes that the scheme has."""
    counts = measured.sums.code_counts
    if counts is None or measured.quantization is None:
        return np.nan
    low, high = measured.quantization.code_limits
    return float(np.count_nonzero(counts) / (high - low + 1))


def code_entropy_bits(measured: MeasuredWeight) -> float:
    """Entropy of the codes, in bits; at most the width of the data type."""
    counts = measured.sums.code_counts
    if counts is None or not counts.sum():
        return np.nan
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum() + 0.0)


def dead_channels(measured: MeasuredWeight) -> float:
    """Output channels whose codes all equal the zero-point, where the float channel is not zero."""
    sums = measured.sums
    if sums.dead is None:
        return np.nan
    silent = sums.x_square == 0 if sums.x_square is not None else np.zeros_like(sums.dead)
    return float(np.count_nonzero(sums.dead & ~silent))


def range_disparity(measured: MeasuredWeight) -> float:
    """Max over the channels of max abs / median over the channels of max abs."""
    widths = channel_max_abs(measured.sums)
    median = float(np.nanmedian(widths)) if widths.size and not np.isnan(widths).all() else 0.0
    return float(np.nanmax(widths) / median) if median > 0 else np.nan


def channel_max_abs(sums: WeightSums) -> np.ndarray:
    """Return the largest abs(weight) of each channel, of x where it is known, else of v."""
    low = sums.low if sums.float_low is None else sums.float_low
    high = sums.high if sums.float_high is None else sums.float_high
    return np.maximum(np.abs(low), np.abs(high))


def bias_scale_error(measured: MeasuredWeight) -> float:
    """max over the channels of abs(s_b / (s_x * s_w) - 1), for a bias stored as int32."""
    quantization, product = int32_bias_quantization(measured.layer), bias_scale(measured.layer)
    if quantization is None or product is None:
        return np.nan
    with np.errstate(all="ignore"):
        ratio = quantization.scale.astype(np.float64).reshape(-1) / product
    return float(np.abs(ratio - 1).max()) if ratio.size else np.nan


def int32_bias_quantization(layer: Layer) -> Quantization | None:
    """Return what an int32 bias is stored with; None where there is none, or its bytes are missing.

    The layer's table says that they are missing.
    """
    quantization = layer.bias.quantization if layer.bias is not None else None
    if quantization is None or quantization.data_type != "int32":
        return None
    try:
        # Read now, so that it cannot fail later.
        quantization.scale, quantization.zero_point  # noqa: B018
    except UnavailableError:
        return None
    return quantization


def bias_saturation(measured: MeasuredWeight) -> float:
    """Share of the int32 bias codes at the rails, or of round(b / (s_x * s_w)) beyond int32."""
    bias, product = measured.layer.bias, bias_scale(measured.layer)
    if bias is None:
        return np.nan
    try:
        if bias.quantization is not None:
            if bias.quantization.data_type != "int32" or not bias.codes.size:
                return np.nan
            return float((np.abs(bias.codes.astype(np.int64)) >= INT32_MAX).mean())
        if product is None or not bias.values.size:
            return np.nan
        with np.errstate(all="ignore"):
            codes = np.rint(bias.values.reshape(-1).astype(np.float64) / product)
        return float((np.abs(codes) > INT32_MAX).mean())
    except UnavailableError:
        return np.nan  # the bias has no bytes, which the listing says


def bias_scale(layer: Layer) -> np.ndarray | None:
    """Return s_x * s_w, what an int32 bias is to be scaled by; shape (1,) or (channels,)."""
    weight, inputs = layer.weight, layer.inputs
    if weight is None or weight.quantization is None or not inputs:
        return None
    activation = inputs[0].quantization
    if activation is None or weight.quantization.granularity == "per-block":
        return None
    product = np.float64(activation.scale.reshape(-1)[0]) * weight.quantization.scale.astype(
        np.float64
    )
    product = product.reshape(-1)
    bias = layer.bias
    fits = bias is None or product.size in (1, int(np.prod(bias.shape)))
    return product if fits else None


METRICS: tuple[Metric, ...] = (
    Metric(
        "worst_channel_sqnr_db", "worst channel", MetricKind.DECIBELS, "dB",
        "SQNR of the worst output channel: 20·log10(‖x‖ / ‖x − v‖); under 20 dB is bad; channels "
        "below a millionth of the widest are left out",
        worst_channel_sqnr_db, needs_float=True, higher_is_worse=False,
    ),
    Metric(
        "worst_channel", "channel no.", MetricKind.INDEX, "",
        "which output channel that is, counted from 0",
        worst_channel, needs_float=True,
    ),
    Metric(
        "channels_under_20_db", "channels < 20 dB", MetricKind.SHARE, "",
        "share of output channels below 20 dB",
        channels_under_20_db, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "sqnr_db", "SQNR", MetricKind.DECIBELS, "dB",
        "of the whole tensor: 20·log10(‖x‖ / ‖x − v‖); one wide channel can hide the others",
        tensor_sqnr_db, needs_float=True, higher_is_worse=False,
    ),
    Metric(
        "dead_channels", "dead channels", MetricKind.COUNT, "",
        "output channels whose codes all equal the zero-point, though the float channel is not 0",
        dead_channels, higher_is_worse=True,
    ),
    Metric(
        "range_disparity", "range disparity", MetricKind.RATIO, "×",
        "widest channel / median channel, by largest abs(weight)",
        range_disparity, higher_is_worse=True,
    ),
    Metric(
        "db_lost_to_scale", "lost to scale", MetricKind.DECIBELS, "dB",
        "how much better the SQNR would be with the best clipping range, same granularity; "
        "searched on up to 8192 weights",
        db_lost_to_scale, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "rmse_steps", "RMSE", MetricKind.STEPS, "steps",
        "root-mean-square error / scale; healthy about 0.29, above 0.7 suspect",
        rmse_steps, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "max_error_steps", "max error", MetricKind.STEPS, "steps",
        "largest error / scale; rounding gives at most 0.5",
        max_error_steps, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "max_abs_error", "max error", MetricKind.VALUE, "",
        "largest error, in the unit of the weights",
        max_abs_error, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "clipping_share", "error by clipping", MetricKind.SHARE, "",
        "share of the squared error in weights that the codes cannot reach",
        clipping_share, needs_float=True, higher_is_worse=True,
    ),
    Metric(
        "saturation_share", "at the rails", MetricKind.SHARE, "",
        "share of codes at the lowest or the highest code",
        saturation_share, higher_is_worse=True,
    ),
    Metric(
        "used_codes_share", "codes used", MetricKind.SHARE, "",
        "distinct codes that occur / codes there are",
        used_codes_share, higher_is_worse=False,
    ),
    Metric(
        "code_entropy_bits", "entropy", MetricKind.BITS, "bits",
        "entropy of the codes; at most the type's width",
        code_entropy_bits, higher_is_worse=False,
    ),
    Metric(
        "bias_scale_error", "bias scale", MetricKind.RATIO, "",
        "largest abs(bias scale / (input scale · weight scale) − 1)",
        bias_scale_error, higher_is_worse=True,
    ),
    Metric(
        "bias_saturation", "bias at int32 limit", MetricKind.SHARE, "",
        "share of the bias that sits at, or would be beyond, what int32 holds",
        bias_saturation, higher_is_worse=True,
    ),
    Metric("range_low", "lowest", MetricKind.VALUE, "", "lowest value of the weight", range_low),
    Metric(
        "range_high", "highest", MetricKind.VALUE, "", "highest value of the weight",
        range_high,
    ),
    Metric(
        "representable_low", "lowest possible", MetricKind.VALUE, "",
        "(lowest code − zero-point) · scale",
        representable_low,
    ),
    Metric(
        "representable_high", "highest possible", MetricKind.VALUE, "",
        "(highest code − zero-point) · scale",
        representable_high,
    ),
)  # fmt: skip


def _elements(sums: WeightSums) -> int:
    return max(1, sums.fan_in * sums.channel_count)


def _lowest(array: np.ndarray | None) -> float:
    known = array is not None and array.size and not np.isnan(array).all()
    return float(np.nanmin(array)) if known else np.nan  # type: ignore[arg-type]


def _highest(array: np.ndarray | None) -> float:
    known = array is not None and array.size and not np.isnan(array).all()
    return float(np.nanmax(array)) if known else np.nan  # type: ignore[arg-type]


def _first_code(quantization: Quantization) -> int:
    return int(type_limits(quantization.data_type)[0])


# ------------------------------------------------- summaries, and floats on a grid


def create_summary_stats(array: np.ndarray | float) -> SummaryStats:
    """Return the one number of a scalar, or lowest, highest and mean of an array.

    Narrow types (int4, float8, float16) are read as float64; NaN in, NaN out.
    """
    numbers = np.asarray(array).astype(np.float64).reshape(-1)
    if numbers.size == 0:
        return SummaryStats(0, np.nan, np.nan, np.nan)
    with np.errstate(all="ignore"):
        mean = float(numbers.mean())
    return SummaryStats(numbers.size, float(numbers.min()), float(numbers.max()), mean)


GRID_CHANNELS = 16
MAX_GRID_STEPS = 255
MAX_GRID_LEVELS = 2 * MAX_GRID_STEPS + 1
# So near to a whole multiple are float32 products of a code and a scale.
GRID_TOLERANCE = 0.02


def find_grid(matrix: np.ndarray) -> Grid | None:
    """Return the grid of a few levels on which a float weight ``(channels, fan-in)`` lies.

    Every channel of up to 16 must be whole multiples of one step, at most 255 of them from zero.
    No scale is made up for it: the file holds none.
    """
    steps = []
    for channel in matrix[spread_out(len(matrix), GRID_CHANNELS)]:
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            step = _grid_step(channel.astype(np.float64))
        if step is None:
            return None
        if step > 0:
            steps.append(step)
    if not steps:
        return None
    if np.all(matrix == np.rint(matrix)) and np.abs(matrix).max() > 1:
        return Grid.INTEGERS
    return Grid.FEW_LEVELS


def _grid_step(channel: np.ndarray) -> float | None:
    """Return the step that all values are multiples of: 0 if all are zero, None if none is."""
    levels = np.unique(np.append(channel, 0.0))
    if levels.size == 1:
        return 0.0
    if levels.size > MAX_GRID_LEVELS or channel.size < 8 or not np.isfinite(levels).all():
        return None
    step = float(np.diff(levels).min())
    multiples = levels / step
    on_grid = np.abs(multiples - np.rint(multiples)).max() < GRID_TOLERANCE
    return step if on_grid and np.abs(multiples).max() <= MAX_GRID_STEPS else None
