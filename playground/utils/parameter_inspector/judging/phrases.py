"""Parts that sentences about findings share: names, counts, nodes to exclude."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..reading.model_file import printable
from .findings import FinerSteps, KeptInFloat, NodesToExclude
from .parameter_facts import ParameterName

NAMES_SHOWN, CHANNELS_SHOWN = 3, 4
_OPTIMIZER_OFF = "open the session with `disabled_optimizers=['WeightBiasQuantization']`"


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
    is_extreme = 0 < share < 0.005 or 0.995 <= share < 1
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
    if not layer.has_neighbour:
        return (
            f"leave it out of the quantization, {spell_nodes(layer.nodes)}, "
            f"and {_OPTIMIZER_OFF}, or onnxruntime quantizes it again"
        )
    return (
        f"leave it out of the quantization with its neighbour: {spell_nodes(layer.nodes)} (without "
        f"the neighbour, {_OPTIMIZER_OFF}, or onnxruntime quantizes it again)"
    )


def say_finer_steps(remedy: FinerSteps) -> str:
    sentence = say_kept_in_float(remedy.kept_in_float)
    if remedy.has_one_scale:
        return f"Quantize per-channel, `quantize_static(..., per_channel=True)`, or {sentence}."
    return f"{sentence[0].upper()}{sentence[1:]}, or give it a data type with more bits."
