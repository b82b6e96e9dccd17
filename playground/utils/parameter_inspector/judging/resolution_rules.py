"""Rules about resolution: codes that are too few, too coarse, or at the rails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import channel_max_abs, channel_sqnr_db, code_rails
from ..quantization import code_limits, is_integer
from ..reading.layers import find_layer
from .channel_states import (
    WIDE_GAIN_DB,
    WIDE_REACH,
    WIDE_REACH_ERROR,
    ChannelStates,
    QuantizedMatrix,
    by_channel,
    channel_states,
    channel_width,
    indices,
    is_depthwise,
    living_channels,
    outlier_gain_db,
    quantized_matrices,
    reach_of,
    silent_channels,
    usable_channels,
    weak_db,
    widened_for_bias,
    width_bits,
)
from .findings import Finding
from .float_neighbours import find_finer_steps
from .resolution_facts import (
    ChannelsNearZero,
    ClippedChannels,
    CollapsedChannels,
    RangeDisparity,
    RangeOfOutliers,
    SaturatedCodes,
    UnusedCodes,
    UnusedRange,
)

# Ten weak channels of a hundred are more than an accident of one filter.
COLLAPSE_ERROR_SHARE = 0.1
# With one scale, a median channel 4 times narrower than the widest has lost 2 bits, 16 times 4.
# Measured: at most 2.1 in ResNets; 5 to 8 in the depthwise layers of a MobileNetV2.
DISPARITY_WARNING, DISPARITY_ERROR = 4.0, 16.0
# What remains of 16 bits is enough whatever the ratio.
ENOUGH_BITS = 8
# A channel that stays this near to zero has an SQNR of 20·log10(2·4) = 18 dB if it is uniform.
FEW_STEPS = 4
FEW_STEPS_MIN_BITS = 7
# A scale is set by one weight at each end, so two codes of each scale may lie at the rails.
RAIL_CODES_PER_SCALE = 2
# Beyond that: half a bin at each rail if the weights are uniform, one more bin for the last code
# of an asymmetric type, and 1 %: a Gaussian clipped at 2.6 sigma.
RAIL_BINS, RAIL_MARGIN = 2.0, 0.01
RAIL_MIN_CODES = 15
# A mean, a difference, a ternary weight: kernels that need no more codes than these.
FEWEST_CODES = 3
# More distinct codes than these are enough, whatever a wider type could hold.
ENOUGH_CODES = 256
# Of so few channels, none further below the limit than this, little reaches the output: a network
# with 10 of 360 and 35 of 6,625 channels between 14 and 20 dB keeps 30.6 dB.
FEW_SHARE, BARELY_WEAK_DB = 0.05, 10.0
# Codes in use / codes that as many weights would use if they were uniform: 2 bits are missing.
UNUSED_SHARE = 1 / 4


def find_channel_collapse(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Channels that use only a few codes, which the SQNR of the whole tensor hides.

    Source: SQNR of each channel against the float weight, where one is known; else how many steps
    a channel spans. Channels that are zero in the float weight do not count.
    """
    for matrix in quantized_matrices(comparison, variant):
        state = channel_states(matrix)
        if state is None:
            near_zero = _near_zero(comparison, variant, matrix)
            if near_zero is not None:
                yield near_zero
        elif state.collapsed.any():
            yield _collapse(comparison, variant, matrix, state)


def _collapse(
    comparison: Comparison, variant: str, matrix: QuantizedMatrix, state: ChannelStates
) -> Finding:
    sqnr_db = np.where(state.collapsed, channel_sqnr_db(matrix.measured.sums), np.inf)
    ratio = _disparity(matrix)
    facts = CollapsedChannels(
        int(state.collapsed.sum()),
        judged=int(state.judged.sum()),
        silent=int(silent_channels(matrix.measured).sum()),
        ratio=ratio,
        dead=int((state.collapsed & state.dead).sum()),
        limit_db=weak_db(matrix.quantization),
        worst_channel=int(sqnr_db.argmin()),
        worst_db=float(sqnr_db.min()),
        sqnr_db=matrix.measured.metrics["sqnr_db"],
        remedy=find_finer_steps(matrix, variant, comparison, _cures(matrix, state)),
    )
    return Finding("channel-collapse", _how_bad(facts), variant, matrix.layer_name, facts)


def _how_bad(facts: CollapsedChannels) -> str:
    if facts.share >= COLLAPSE_ERROR_SHARE or facts.ratio >= DISPARITY_ERROR:
        return "error"
    barely = facts.worst_db >= facts.limit_db - BARELY_WEAK_DB and not facts.dead
    return "note" if barely and facts.share < FEW_SHARE else "warning"


def _cures(matrix: QuantizedMatrix, state: ChannelStates) -> bool:
    """Return whether a scale for each channel, max abs / highest code, leaves none of them weak.

    Rounding alone makes step²/12 a weight.
    """
    sums, (low, high) = matrix.measured.sums, matrix.quantization.code_limits
    step = 2 * channel_max_abs(sums) / (high - low)
    assert sums.x_square is not None
    with np.errstate(all="ignore"):
        expected_db = 10 * np.log10(sums.x_square / (sums.fan_in * step**2 / 12))
    return bool((expected_db >= weak_db(matrix.quantization))[state.collapsed].all())


def _near_zero(comparison: Comparison, variant: str, matrix: QuantizedMatrix) -> Finding | None:
    """Judge by the codes alone: channels that stay within a few steps of zero."""
    quantization = matrix.quantization
    scale = by_channel(matrix.measured, quantization.scale)
    coarse = width_bits(quantization) < FEW_STEPS_MIN_BITS
    if scale is None or coarse or quantization.granularity != "per-tensor":
        return None
    with np.errstate(all="ignore"):
        steps = np.rint(channel_width(matrix.measured) / np.abs(scale))
    few = (steps > 0) & (steps <= FEW_STEPS) & usable_channels(matrix.measured)
    alive = int((steps > 0).sum())
    wide = (reach_of(matrix.measured) < WIDE_REACH).any()
    if wide or not few.any() or few.sum() < COLLAPSE_ERROR_SHARE * alive:
        return None
    facts = ChannelsNearZero(
        indices(few),
        alive,
        FEW_STEPS,
        highest_code=int(max(np.abs(quantization.code_limits))),
        remedy=find_finer_steps(matrix, variant, comparison),
    )
    return Finding("channel-collapse", "warning", variant, matrix.layer_name, facts)


def _disparity(matrix: QuantizedMatrix) -> float:
    """Return widest / median of the living channels that share one scale, else NaN.

    The widest by its values, so that what is clipped does not count.
    """
    quantization, measured = matrix.quantization, matrix.measured
    if quantization.granularity != "per-tensor" or not is_integer(quantization.data_type):
        return np.nan
    living = living_channels(measured)
    widths = channel_max_abs(measured.sums)[living]
    if widths.size < 2 or not usable_channels(measured).all():
        return np.nan
    return float(channel_width(measured)[living].max() / np.median(widths))


def find_range_disparity(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """One scale serves channels of very different width: the narrow ones keep few codes.

    Where `find_channel_collapse` speaks of the layer, it has said so.
    Per-channel scales cure it. Source: Nagel et al. 2019, Data-Free Quantization; depthwise
    layers have it most, for batch-norm folding scales each of their filters on its own.
    """
    for matrix in quantized_matrices(comparison, variant):
        ratio, bits = _disparity(matrix), width_bits(matrix.quantization)
        if not ratio >= DISPARITY_WARNING or bits - np.log2(ratio) > ENOUGH_BITS:
            continue
        if _has_collapsed(comparison, variant, matrix):
            continue
        layer = matrix.measured.layer
        facts = RangeDisparity(
            ratio,
            bits,
            layer.op_type,
            is_depthwise(layer, matrix.measured.weight),
            find_finer_steps(matrix, variant, comparison),
        )
        severity = "error" if ratio >= DISPARITY_ERROR else "warning"
        yield Finding("range-disparity", severity, variant, matrix.layer_name, facts)


def _has_collapsed(comparison: Comparison, variant: str, matrix: QuantizedMatrix) -> bool:
    state = channel_states(matrix)
    if state is None:
        return _near_zero(comparison, variant, matrix) is not None
    return bool(state.collapsed.any())


def find_wide_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """The scale is far wider than the weights: most codes can never occur, or an outlier set it."""
    for matrix in quantized_matrices(comparison, variant):
        reach = reach_of(matrix.measured)
        judged = living_channels(matrix.measured) & usable_channels(matrix.measured)
        wide = judged & (reach < WIDE_REACH) & ~widened_for_bias(matrix.measured)
        if wide.any():
            yield _wide(variant, matrix, np.where(wide, reach, np.nan), int(judged.sum()))
            continue
        gain = outlier_gain_db(matrix)
        if gain >= WIDE_GAIN_DB:
            facts = RangeOfOutliers(
                gain,
                matrix.measured.metrics["sqnr_db"],
                find_finer_steps(matrix, variant, comparison),
            )
            yield Finding("scale-too-wide", "warning", variant, matrix.layer_name, facts)


def _wide(variant: str, matrix: QuantizedMatrix, reach: np.ndarray, judged: int) -> Finding:
    facts = UnusedRange(
        float(np.nanmin(reach)),
        width_bits(matrix.quantization),
        indices(~np.isnan(reach)),
        judged,
        has_one_scale=matrix.quantization.granularity == "per-tensor",
    )
    severity = "error" if facts.reach < WIDE_REACH_ERROR else "warning"
    return Finding("scale-too-wide", severity, variant, matrix.layer_name, facts)


def find_clipping(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Weights lie outside what the codes can hold, and a wider scale would be better.

    A clipping range that pays (a search by mean squared error makes one) is left alone.
    """
    for matrix in quantized_matrices(comparison, variant):
        state = channel_states(matrix)
        if state is None or not (clipped := state.judged & state.clipped).any():
            continue
        facts = ClippedChannels(
            indices(clipped),
            judged=int(state.judged.sum()),
            share_of_error=matrix.measured.metrics["clipping_share"],
            gain_db=float(state.clipping_gain_db[clipped].max()),
            saturation_share=matrix.measured.metrics["saturation_share"],
        )
        severity = "error" if (clipped & state.weak).any() else "warning"
        yield Finding("clipping", severity, variant, matrix.layer_name, facts)


def find_saturation(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """More codes at the lowest and highest than a range that fits would leave there.

    Judged without the float weight; where that is known, `find_clipping` knows what was lost.
    """
    for matrix in quantized_matrices(comparison, variant):
        counts, sums = matrix.measured.sums.code_counts, matrix.measured.sums
        low, high = matrix.quantization.code_limits
        if counts is None or sums.x_square is not None or high - low + 1 < RAIL_MIN_CODES:
            continue
        if np.count_nonzero(counts) <= FEWEST_CODES or not usable_channels(matrix.measured).all():
            continue
        facts = _count_rails(matrix, counts)
        if facts.share > facts.usual_share + RAIL_MARGIN:
            yield Finding("saturation", "warning", variant, matrix.layer_name, facts)


def _count_rails(matrix: QuantizedMatrix, counts: np.ndarray) -> SaturatedCodes:
    low, high = matrix.quantization.code_limits
    rails = code_rails(counts, matrix.quantization)
    codes, scales = int(counts.sum()), matrix.quantization.scale.size
    # The zero-point's code means 0.0: where it is the lowest or highest, nothing was clipped there.
    first = int(code_limits(matrix.quantization.data_type)[0])
    zeros = {int(z) - first for z in np.unique_values(matrix.quantization.zero_point)}
    at_rails = int(sum(counts[rail] for rail in rails if rail not in zeros))
    usual_share = RAIL_CODES_PER_SCALE * scales / codes + RAIL_BINS / (high - low)
    return SaturatedCodes(at_rails, codes, usual_share, scales)


def find_unused_codes(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Far fewer distinct codes than so many weights could use, and no other rule says why.

    n uniform weights use N·(1 − exp(−n/N)) of N codes; zeros (pruned weights) are not counted.
    """
    for matrix in quantized_matrices(comparison, variant):
        used, possible = used_codes(matrix)
        wide = (reach_of(matrix.measured) < WIDE_REACH).any()
        explained = wide or _disparity(matrix) >= DISPARITY_WARNING
        if used >= min(UNUSED_SHARE * possible, ENOUGH_CODES + 1) or explained:
            continue
        if not usable_channels(matrix.measured).any():
            continue
        distinct = _count_distinct_floats(comparison, matrix)
        if used <= FEWEST_CODES if distinct is None else distinct < possible / 2:
            continue
        low, high = matrix.quantization.code_limits
        facts = UnusedCodes(used, possible, high - low + 1, _spacing(matrix))
        yield Finding("unused-codes", "warning", variant, matrix.layer_name, facts)


def _spacing(matrix: QuantizedMatrix) -> int:
    """Return the greatest distance of which all codes in use are multiples apart."""
    counts = matrix.measured.sums.code_counts
    assert counts is not None
    return int(np.gcd.reduce(np.diff(np.flatnonzero(counts)), initial=0)) or 1


def used_codes(matrix: QuantizedMatrix) -> tuple[int, float]:
    """Return how many codes occur, and how many could, zeros left out."""
    counts = matrix.measured.sums.code_counts
    codebook = matrix.quantization.levels is not None
    if counts is None or codebook or matrix.measured.weight.is_unpacked:
        return 0, 0.0
    low, high = matrix.quantization.code_limits
    zeros = int(counts.max())  # the most frequent code: zero in all but odd weights
    weights, codes = int(counts.sum()) - zeros, high - low
    return int(np.count_nonzero(counts)), codes * float(-np.expm1(-weights / codes))


def _count_distinct_floats(comparison: Comparison, matrix: QuantizedMatrix) -> int | None:
    """Return how many distinct numbers the float weight has, None where it is not known."""
    pair = matrix.measured.pair
    if matrix.measured.sums.x_square is None or pair is None:
        return None
    weight = find_layer(comparison.naming_model, pair.original).weight
    return None if weight is None else int(np.unique(weight.values).size)
