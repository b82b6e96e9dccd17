"""Rules about resolution: codes that are too few, too coarse, or at the rails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import channel_max_abs, channel_sqnr_db, code_rails
from ..quantization import is_integer
from ..reading.layers import find_layer
from ..reading.model_file import Model
from ..records import Finding
from .channel_states import (
    WIDE_GAIN_DB,
    WIDE_REACH,
    WIDE_REACH_ERROR,
    ChannelStates,
    QuantizedMatrix,
    by_channel,
    channel_states,
    channel_width,
    counted,
    finer_remedy,
    is_unpacked,
    kind_of,
    living_channels,
    outlier_gain_db,
    quantized_matrices,
    reach_of,
    usable_channels,
    weak_db,
    which_channels,
    width_bits,
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
# Codes in use / codes that as many weights would use if they were uniform: 2 bits are missing.
UNUSED_SHARE = 1 / 4


def find_channel_collapse(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Channels with hardly a code of their own, which the SQNR of the whole tensor hides.

    Source: SQNR of each channel against the float weight, where one is known; else how many steps
    a channel spans. Channels that are zero in the float weight do not count.
    """
    for one in quantized_matrices(comparison, variant):
        state = channel_states(one)
        finding = _few_steps(variant, one, comparison.variants) if state is None else None
        if state is not None and state.collapsed.any():
            finding = _collapse(variant, one, state, comparison.variants)
        if finding is not None:
            yield finding


def _collapse(
    variant: str, one: QuantizedMatrix, state: ChannelStates, variants: Mapping[str, Model]
) -> Finding:
    bad, judged = int(state.collapsed.sum()), int(state.judged.sum())
    dead = int((state.collapsed & state.dead).sum())
    sqnr = np.where(state.collapsed, channel_sqnr_db(one.measured.sums), np.inf)
    share = bad / judged
    limit = weak_db(one.quantization)
    return Finding(
        "channel-collapse",
        "error" if share >= COLLAPSE_ERROR_SHARE else "warning",
        variant,
        one.layer_name,
        f"{bad} of {judged} channels ({share:.0%}) are under {limit:.0f} dB, {dead} of them dead "
        f"(all codes equal the zero-point); the worst is channel {int(sqnr.argmin())} with "
        f"{sqnr.min():.1f} dB; the whole tensor has {one.measured.metrics['sqnr_db']:.1f} dB.",
        finer_remedy(one, variants),
        {"channels": bad, "share": share, "dead": dead, "worst_db": float(sqnr.min())},
    )


def _few_steps(variant: str, one: QuantizedMatrix, variants: Mapping[str, Model]) -> Finding | None:
    """Judge by the codes alone: channels that stay within a few steps of zero."""
    quantization = one.quantization
    scale = by_channel(one.measured, quantization.scale)
    coarse = width_bits(quantization) < FEW_STEPS_MIN_BITS
    if scale is None or coarse or quantization.granularity != "per-tensor":
        return None
    with np.errstate(all="ignore"):
        steps = np.rint(channel_width(one.measured) / np.abs(scale))
    few = (steps > 0) & (steps <= FEW_STEPS) & usable_channels(one.measured)
    alive = int((steps > 0).sum())
    wide = (reach_of(one.measured) < WIDE_REACH).any()
    if wide or not few.any() or few.sum() < COLLAPSE_ERROR_SHARE * alive:
        return None
    return Finding(
        "channel-collapse",
        "warning",
        variant,
        one.layer_name,
        f"{int(few.sum())} of {alive} channels stay within {FEW_STEPS} steps of zero, which is "
        f"about 18 dB at best, though the type has {int(max(np.abs(quantization.code_limits)))}: "
        f"{which_channels(few)}.",
        finer_remedy(one, variants),
        {"channels": int(few.sum()), "share": float(few.sum() / alive)},
    )


def _disparity(one: QuantizedMatrix) -> float:
    """Return widest / median of the living channels that share one scale, else NaN.

    The widest by its values, so that what is clipped does not count.
    """
    if one.quantization.granularity != "per-tensor" or not is_integer(one.quantization.data_type):
        return np.nan
    living = living_channels(one.measured)
    widths = channel_max_abs(one.measured.sums)[living]
    if widths.size < 2 or not usable_channels(one.measured).all():
        return np.nan
    return float(channel_width(one.measured)[living].max() / np.median(widths))


def find_range_disparity(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """One scale serves channels of very different width: the narrow ones keep few codes.

    Per-channel scales cure it. Source: Nagel et al. 2019, Data-Free Quantization; depthwise
    layers have it most, for batch-norm folding scales each of their filters on its own.
    """
    for one in quantized_matrices(comparison, variant):
        ratio, bits = _disparity(one), width_bits(one.quantization)
        if not ratio >= DISPARITY_WARNING or bits - np.log2(ratio) > ENOUGH_BITS:
            continue
        kind = kind_of(one.measured.layer, one.measured.weight)
        yield Finding(
            "range-disparity",
            "error" if ratio >= DISPARITY_ERROR else "warning",
            variant,
            one.layer_name,
            f"One scale serves all channels of this {kind}, and the widest is {ratio:.3g} times "
            f"the median: of {bits:.0f} bits the median channel keeps "
            f"{max(0.0, bits - np.log2(ratio)):.1f}.",
            "Quantize per-channel, `quantize_static(..., per_channel=True)`, or equalize the "
            "ranges of the layers around it first.",
            {"ratio": ratio},
        )


def find_wide_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """The scale is far wider than the weights: most codes can never occur, or an outlier set it."""
    for one in quantized_matrices(comparison, variant):
        reach = reach_of(one.measured)
        judged = living_channels(one.measured) & usable_channels(one.measured)
        wide = judged & (reach < WIDE_REACH)
        if wide.any():
            yield _wide(variant, one, np.where(wide, reach, np.nan), int(judged.sum()))
            continue
        gain = outlier_gain_db(one)
        if gain >= WIDE_GAIN_DB:
            yield Finding(
                "scale-too-wide",
                "warning",
                variant,
                one.layer_name,
                f"Clipping the few widest weights would win {gain:.1f} dB: the scale follows "
                f"outliers, the tensor has {one.measured.metrics['sqnr_db']:.1f} dB.",
                "Calibrate the weight's range by percentile or mean squared error instead of "
                "MinMax, or quantize it per-channel.",
                {"gain_db": gain},
            )


def _wide(variant: str, one: QuantizedMatrix, reach: np.ndarray, judged: int) -> Finding:
    wide, lowest = ~np.isnan(reach), float(np.nanmin(reach))
    where = (
        "The weights reach"
        if one.quantization.granularity == "per-tensor"
        else f"In {int(wide.sum())} of {judged} channels ({which_channels(wide)}) the weights reach"
    )
    return Finding(
        "scale-too-wide",
        "error" if lowest < WIDE_REACH_ERROR else "warning",
        variant,
        one.layer_name,
        f"{where} only {lowest:.2g} of the largest value that the scale can hold: "
        f"{-np.log2(lowest):.1f} of {width_bits(one.quantization):.0f} bits are never used.",
        "Set the scale by this weight's own range, max abs / highest code: quantize it from the "
        "float weight again.",
        {"reach": lowest, "channels": int(wide.sum())},
    )


def find_clipping(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Weights lie outside what the codes can hold, and a wider scale would be better.

    A clipping range that pays (a search by mean squared error makes one) is left alone.
    """
    for one in quantized_matrices(comparison, variant):
        state = channel_states(one)
        clipped = state.judged & state.clipped if state is not None else None
        if state is None or clipped is None or not clipped.any():
            continue
        gain = float(state.clipping_gain_db[clipped].max())
        share = one.measured.metrics["clipping_share"]
        yield Finding(
            "clipping",
            "error" if (clipped & state.weak).any() else "warning",
            variant,
            one.layer_name,
            f"{int(clipped.sum())} of {int(state.judged.sum())} channels "
            f"({which_channels(clipped)}) are clipped: {share:.0%} of the squared error is in "
            "weights beyond the lowest or highest code, and a scale that holds all would be "
            f"{gain:.1f} dB better; {one.measured.metrics['saturation_share']:.1%} of the codes "
            "are at the rails.",
            "Set the scale by the weight's full range (MinMax), max abs / highest code.",
            {"channels": int(clipped.sum()), "share_of_error": share, "gain_db": gain},
        )


def find_saturation(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """More codes at the lowest and highest than a range that fits would leave there.

    Judged without the float weight; where that is known, `find_clipping` knows what was lost.
    """
    for one in quantized_matrices(comparison, variant):
        counts, sums = one.measured.sums.code_counts, one.measured.sums
        low, high = one.quantization.code_limits
        if counts is None or sums.x_square is not None or high - low + 1 < RAIL_MIN_CODES:
            continue
        if np.count_nonzero(counts) <= FEWEST_CODES:
            continue
        rails = code_rails(counts, one.quantization)
        codes = int(counts.sum())
        at_rails = int(counts[list(rails)].sum())
        scales = one.quantization.scale.size
        expected = RAIL_CODES_PER_SCALE * scales / codes + RAIL_BINS / (high - low)
        if at_rails / codes > expected + RAIL_MARGIN and usable_channels(one.measured).all():
            yield Finding(
                "saturation",
                "warning",
                variant,
                one.layer_name,
                f"{at_rails:,} of {codes:,} codes ({at_rails / codes:.1%}) are at the lowest or "
                f"highest, where {expected:.1%} would be usual for "
                f"{counted(scales, 'scale')}: the weights were clipped.",
                "Set the scale by the weight's full range (MinMax), max abs / highest code, from "
                "the float weight.",
                {"share": at_rails / codes, "usual": expected},
            )


def find_unused_codes(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Far fewer distinct codes than so many weights could use, and no other rule says why.

    n uniform weights use N·(1 − exp(−n/N)) of N codes; zeros (pruned weights) are not counted.
    """
    for one in quantized_matrices(comparison, variant):
        used, possible = used_codes(one)
        wide = (reach_of(one.measured) < WIDE_REACH).any()
        explained = wide or _disparity(one) >= DISPARITY_WARNING
        if used >= UNUSED_SHARE * possible or explained or not usable_channels(one.measured).any():
            continue
        distinct = _distinct_floats(one, comparison.variants)
        if used <= FEWEST_CODES if distinct is None else distinct < possible / 2:
            continue
        low, high = one.quantization.code_limits
        yield Finding(
            "unused-codes",
            "warning",
            variant,
            one.layer_name,
            f"{used} of {high - low + 1:.0f} codes occur, where as many weights could use "
            f"{possible:.0f}: {np.log2(possible / used):.1f} bits are lost.",
            "Quantize this layer from the float weight again; if the codes come from a coarser "
            "grid (4 bits in an 8-bit type), store them in the narrower type.",
            {"used": used, "possible": possible},
        )


def used_codes(one: QuantizedMatrix) -> tuple[int, float]:
    """Return how many codes occur, and how many could, zeros left out."""
    counts = one.measured.sums.code_counts
    codebook = one.quantization.levels is not None
    if counts is None or codebook or is_unpacked(one.measured.weight):
        return 0, 0.0
    low, high = one.quantization.code_limits
    zeros = int(counts.max())  # the most frequent code: zero in all but odd weights
    weights, codes = int(counts.sum()) - zeros, high - low
    return int(np.count_nonzero(counts)), codes * float(-np.expm1(-weights / codes))


def _distinct_floats(one: QuantizedMatrix, variants: Mapping[str, Model]) -> int | None:
    """Return how many distinct numbers the float weight has, None where it is not known."""
    pair = one.measured.pair
    if one.measured.sums.x_square is None or pair is None:
        return None
    weight = find_layer(next(iter(variants.values())), pair.original).weight
    return None if weight is None else int(np.unique(weight.values).size)
