"""Parts that sentences about findings share: names, counts, nodes to exclude."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..reading.model_file import printable
from .findings import FinerSteps, KeptInFloat, MeasuredLimit, NodesToExclude
from .parameter_facts import ParameterName
from .quantizing_methods import Method

NAMES_SHOWN, CHANNELS_SHOWN = 3, 4


class Sentences(NamedTuple):
    """What is wrong, with its numbers, and what to do."""

    evidence: str
    remedy: str


def list_names(names: Iterable[object], shown: int = NAMES_SHOWN) -> str:
    plain = [printable(str(name)) for name in names]
    more = f" and {len(plain) - shown} more" if len(plain) > shown else ""
    return ", ".join(plain[:shown]) + more


def name_channels(channels: Sequence[int]) -> str:
    """Return ``channel 3`` or ``channels 0, 3, 7, 9 and 11 more``."""
    return f"channel{'' if len(channels) == 1 else 's'} {list_names(channels, CHANNELS_SHOWN)}"


def format_level(decibels: float) -> str:
    """Return decibels with their unit; words where there is no number."""
    if math.isnan(decibels):
        return "nothing to compare"
    if math.isinf(decibels):
        return "all (no difference)" if decibels > 0 else "nothing (not finite)"
    return f"{decibels:.1f} dB"


def format_share(share: float) -> str:
    """Return a share in percent; what is not all does not read 100, nor what is something 0."""
    if math.isnan(share):
        return "an unknown part"
    if 0 < share < 0.0005:
        return "under 0.1%"
    if 0.9995 <= share < 1:
        return "over 99.9%"
    is_extreme = 0 < share <= 0.005 or 0.995 <= share < 1
    return f"{share:.1%}" if is_extreme else f"{share:.0%}"


def name_sample(index: int) -> str:
    """Return what a sample is called: people count from 1, arrays from 0."""
    return f"sample {index} (counted from 0)"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def name_parameter(parameter: ParameterName) -> str:
    return f"{parameter.kind} {parameter.tensor!r}"


def spell_nodes(exclusion: NodesToExclude) -> str:
    """Return ``nodes_to_exclude=[...]``, ready to paste, and what to know about the names."""
    text = f"`nodes_to_exclude={list(exclusion.nodes)!r}`"
    if not exclusion.are_all_named:
        text += " (not every layer has a name there: name the nodes first)"
    if exclusion.are_of_quantized_file:
        text += f" (the names are those of {exclusion.named_by}; the float model may have others)"
    return text


def say_kept_in_float(layer: KeptInFloat) -> str:
    together = (
        " together with what reads it (alone, onnxruntime quantizes it again)"
        if layer.has_readers
        else ""
    )
    return f"leave it out of the quantization{together}, {spell_nodes(layer.nodes)}"


PER_CHANNEL_CALL = {
    Method.STATIC_QDQ: "`quantize_static(..., per_channel=True)`",
    Method.STATIC_QOPERATOR: "`quantize_static(..., per_channel=True)`",
    Method.DYNAMIC: "`quantize_dynamic(..., per_channel=True)`",
    Method.WEIGHTS_ONLY: "a scale for each channel or block",
}
# int16 weights: `quantize_static` has them for QDQ alone.
_MORE_BITS = ", or give it more bits (`weight_type=QuantType.QInt16`)"


def say_finer_steps(remedy: FinerSteps) -> str:
    """Return what gives finer steps; where it was measured, whether that is worth it."""
    limit = say_limit(remedy.limit) if remedy.limit is not None else ""
    return f"{_say_finer_steps(remedy)}{' ' if limit else ''}{limit}"


def say_limit(limit: MeasuredLimit) -> str:
    """Return whose loss the output's is, in one sentence."""
    if limit.weights_share >= 0.5:
        return (
            f"Measured, weights cost {format_share(limit.weights_share)} of what the output loses."
        )
    return (
        f"But weights are not the limit here: activations cost "
        f"{format_share(1 - limit.weights_share)} of what the output loses, and float weights "
        f"would leave it at {format_level(limit.activations_db)}; leave layers in float "
        "together with what reads them."
    )


def _say_finer_steps(remedy: FinerSteps) -> str:
    """Return what gives finer steps, by what made the file and what that reaches."""
    sentence = say_kept_in_float(remedy.kept_in_float)
    more_bits = _MORE_BITS if remedy.method is Method.STATIC_QDQ else ""
    capital = f"{sentence[0].upper()}{sentence[1:]}"
    if not remedy.has_one_scale:
        return f"{capital}{more_bits}."
    if not remedy.reaches_per_channel:
        other = (
            "let `playground requantize` give it a scale for each channel"
            if remedy.is_dequantized
            else "quantize it with `quantize_static(..., per_channel=True)`"
        )
        return (
            f"{capital}, or {other} (`per_channel=True` of {QUANTIZERS[remedy.method]} does not "
            f"reach {remedy.op_type})."
        )
    call = PER_CHANNEL_CALL[remedy.method]
    if remedy.cures is False:
        return f"Quantize per-channel, {call}, which leaves some channels weak, or {sentence}."
    return f"Quantize per-channel, {call}, or {sentence}."


QUANTIZERS = {
    Method.STATIC_QDQ: "`quantize_static`",
    Method.STATIC_QOPERATOR: "`quantize_static` in QOperator format",
    Method.DYNAMIC: "`quantize_dynamic`",
    Method.WEIGHTS_ONLY: "this quantizer",
}
