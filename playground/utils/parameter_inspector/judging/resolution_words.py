"""The sentences about what scales and codes do to weights."""

from __future__ import annotations

import numpy as np

from .phrases import Sentences, counted, name_channels, say_finer_steps
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

BY_FULL_RANGE = "Set the scale by the weight's full range (MinMax), max abs / highest code"


def say_collapsed_channels(facts: CollapsedChannels) -> Sentences:
    return Sentences(
        f"{facts.channel_count} of {facts.judged + facts.silent} channels{_silent(facts)} are "
        f"under {facts.limit_db:.0f} dB{_dead(facts.dead)}; the worst is channel "
        f"{facts.worst_channel} with {facts.worst_db:.1f} dB; the whole tensor has "
        f"{facts.sqnr_db:.1f} dB"
        f"{_ratio(facts.ratio)}.",
        say_finer_steps(facts.remedy),
    )


def say_channels_near_zero(facts: ChannelsNearZero) -> Sentences:
    return Sentences(
        f"{len(facts.channels)} of {facts.alive} channels stay within {facts.steps} steps of zero, "
        f"which is about 18 dB at best, though the type has {facts.highest_code}: "
        f"{name_channels(facts.channels)}.",
        say_finer_steps(facts.remedy),
    )


def say_range_disparity(facts: RangeDisparity) -> Sentences:
    remaining = max(0.0, facts.bits - float(np.log2(facts.ratio)))
    kind = f"depthwise {facts.op_type}" if facts.is_depthwise else facts.op_type
    return Sentences(
        f"One scale serves all channels of this {kind}, and the widest is {facts.ratio:.3g} "
        f"times as wide as the median: of {facts.bits:.0f} bits the median channel keeps "
        f"{remaining:.1f}.",
        say_finer_steps(facts.remedy),
    )


def say_unused_range(facts: UnusedRange) -> Sentences:
    where = (
        "The weights reach"
        if facts.has_one_scale
        else f"In {len(facts.channels)} of {facts.judged} channels "
        f"({name_channels(facts.channels)}) the weights reach"
    )
    return Sentences(
        f"{where} only {facts.reach:.2g} of the largest value that the scale can hold: "
        f"{-np.log2(facts.reach):.1f} of {facts.bits:.0f} bits are never used.",
        "Set the scale by this weight's own range, max abs / highest code: quantize it from the "
        "float weight again.",
    )


def say_range_of_outliers(facts: RangeOfOutliers) -> Sentences:
    return Sentences(
        f"Clipping the few widest weights would win {facts.gain_db:.1f} dB: the scale follows "
        f"outliers, and the tensor has {facts.sqnr_db:.1f} dB.",
        f"{say_finer_steps(facts.remedy)} onnxruntime's calibration methods (percentile, entropy) "
        "are for activations and do not reach weights; `playground requantize` searches the scale "
        "that clips best.",
    )


def say_clipped_channels(facts: ClippedChannels) -> Sentences:
    return Sentences(
        f"{len(facts.channels)} of {facts.judged} channels ({name_channels(facts.channels)}) are "
        f"clipped: {facts.share_of_error:.0%} of the squared error is in weights beyond the lowest "
        "or highest code, and a scale that holds all of them would be "
        f"{facts.gain_db:.1f} dB better; {facts.saturation_share:.1%} of the codes are the lowest "
        "or the highest.",
        f"{BY_FULL_RANGE}.",
    )


def say_saturated_codes(facts: SaturatedCodes) -> Sentences:
    return Sentences(
        f"{facts.at_rails:,} of {facts.codes:,} codes ({facts.share:.1%}) are the lowest or the "
        f"highest, where {facts.usual_share:.1%} would be usual for "
        f"{counted(facts.scales, 'scale')}: the weights were clipped.",
        f"{BY_FULL_RANGE}, from the float weight.",
    )


def say_unused_codes(facts: UnusedCodes) -> Sentences:
    return Sentences(
        f"{facts.used} of {facts.codes:.0f} codes are used, where this many weights could use "
        f"{facts.possible:.0f}: {np.log2(facts.possible / facts.used):.1f} bits are lost.",
        "The codes come from a coarser grid: quantize this layer from the float weight, or store "
        "the codes in the narrower type."
        if facts.spacing > 1
        else "Quantizing it the same way again changes nothing, for a few weights are far wider "
        "than the others: `playground requantize` tries a scale for each block of weights.",
    )


def _silent(facts: CollapsedChannels) -> str:
    if not facts.silent:
        return f" ({facts.share:.0%})"
    return f" ({facts.share:.0%} of the {facts.judged} that are not silent in the original)"


def _dead(count: int) -> str:
    return f", {count} of them dead (all codes equal the zero-point)" if count else ""


def _ratio(ratio: float) -> str:
    disparity = f"; the widest channel is {ratio:.3g} times as wide as the median"
    return disparity if ratio >= 2 else ""
