"""The sentences about what the file alone proves of activations and structure."""

from __future__ import annotations

import numpy as np

from .activation_facts import (
    ChangedNetwork,
    CoarseParameters,
    DifferingQuantizers,
    ImpossibleScales,
    LostConstants,
    RunsInFloat,
    SwallowedRanges,
)
from .changed_network import ChangedOperator, ChangeKind
from .float_work import FloatWorkKind
from .lost_constants import LossKind
from .phrases import Sentences, counted, list_names, spell_nodes


def say_swallowed_ranges(facts: SwallowedRanges) -> Sentences:
    worst = facts.ranges[0]
    others = f" ({counted(len(facts.ranges), 'range')} in all)" if len(facts.ranges) > 1 else ""
    return Sentences(
        f"What {list_names(facts.sources)} gives lies within {worst.low:.4g} to {worst.high:.4g}, "
        f"and "
        f"{list_names(facts.layers)} ({worst.op_type}) is quantized in steps of {worst.step:.3g}: "
        f"{counted(worst.codes, 'code')} of its {worst.data_type} "
        f"{'is' if worst.codes == 1 else 'are'} left for it{others}.",
        f"Leave the operator out of the quantization, with what has its scale: "
        f"{spell_nodes(facts.nodes)}.",
    )


def say_impossible_scales(facts: ImpossibleScales) -> Sentences:
    largest = facts.scales[0]
    overflow = (
        f", {facts.overflowing} of them with codes that are read as infinite or NaN in "
        f"{largest.value_type}"
        if facts.overflowing
        else ""
    )
    swallowed = (
        f"; all that {list_names(facts.swallowed)} gives is below one step of it"
        if facts.swallowed
        else ""
    )
    return Sentences(
        f"{counted(len(facts.scales), 'tensor')} at {list_names(facts.layers)} "
        f"{'has' if len(facts.scales) == 1 else 'have'} a scale of up to {largest.scale:.3g}, "
        f"which holds {largest.low:.3g} to {largest.high:.3g}{overflow}{swallowed}.",
        "Give the mask a finite value of the size of what it is added to (-100, not the lowest "
        f"float), or leave what adds it out of the quantization: {spell_nodes(facts.nodes)}.",
    )


def say_differing_quantizers(facts: DifferingQuantizers) -> Sentences:
    worst = facts.places[0]
    written, read = worst.zero_points
    zero_points = f", the zero-point is {read:.0f} instead of {written:.0f}"
    types = worst.data_types
    kinds = f", as {types[1]} instead of {types[0]}" if types[0] != types[1] else ""
    return Sentences(
        f"{list_names(facts.layers)} {'reads' if len(facts.layers) == 1 else 'read'} "
        f"codes by another "
        f"quantization than they were written by: of {worst.tensor!r} the scale is "
        f"{worst.ratio:.4g} times that of its writer{zero_points if written != read else ''}"
        f"{kinds} ({counted(len(facts.places), 'tensor')} in all).",
        "Give both ends of the tensor one scale and one zero-point: quantize the float model "
        "again, or look for what edited the file afterwards.",
    )


def say_lost_constants(facts: LostConstants) -> Sentences:
    worst = facts.constants[0]
    if worst.kind is LossKind.ZEROED:
        return Sentences(
            f"The constant {worst.tensor!r} of {list_names(facts.layers)} is stored as zero: its "
            f"largest number is {worst.value:.3g}, its quantization has steps of {worst.step:.3g}.",
            f"Give the constant a scale of its own, or leave its layer in float: "
            f"{spell_nodes(facts.nodes)}.",
        )
    return Sentences(
        f"{list_names(facts.layers)} keeps the operand of {list_names(facts.failing)} "
        f"({worst.failing_type}) above zero by {worst.value:.3g}, and {worst.tensor!r} is "
        f"quantized in steps of {worst.step:.3g}: what is below half a step becomes 0.",
        f"Leave the operators from the constant to {worst.failing_type} in float: "
        f"{spell_nodes(facts.nodes)}; export a normalization as one operator, so that no quantizer "
        "stands inside it.",
    )


def say_changed_network(facts: ChangedNetwork) -> Sentences:
    first, number = facts.operators[0], len(facts.operators)
    names = f"{counted(number, first.op_type)} behind {list_names(facts.behind)}"
    if first.kind is ChangeKind.PUT_IN:
        return Sentences(
            f"This file has {names} that the original has not: {list_names(facts.layers)}.",
            "Compare with the float model that was quantized; if the operator was put in on "
            "purpose (equalization), nothing is wrong.",
        )
    return Sentences(
        f"The original has {names} ({list_names(facts.layers)}), this file has none there"
        f"{_instead(first)}.",
        "Keep the operator: `extra_options={'QDQKeepRemovableActivations': True}`, or quantize "
        "activations without `ActivationSymmetric`, so that the lowest code stands for the "
        "operator's lowest value.",
    )


def _instead(operator: ChangedOperator) -> str:
    if np.isnan(operator.step):
        return ", and no quantization that cuts off what it would"
    return (
        f", and its quantization holds {operator.low:.4g} to {operator.high:.4g}, where the "
        f"operator leaves {_bounds(operator.wanted_low, operator.wanted_high)}"
    )


def _bounds(low: float, high: float) -> str:
    """Return an interval whose ends may be infinite."""
    if np.isinf(low) and np.isinf(high):
        return "what it computes"
    if np.isinf(high):
        return f"{low:.4g} and above"
    return f"{high:.4g} and below" if np.isinf(low) else f"{low:.4g} to {high:.4g}"


def say_coarse_parameters(facts: CoarseParameters) -> Sentences:
    worst = facts.parameters[0]
    quality = f"; {worst.sqnr_db:.1f} dB in all" if worst.is_compared else ""
    others = f", the worst of {len(facts.parameters)}" if len(facts.parameters) > 1 else ""
    return Sentences(
        f"The {worst.slot} {worst.tensor!r} of {list_names(facts.layers)} "
        f"({worst.op_type}{others}) "
        f"is {worst.data_type} in steps of {worst.step:.3g}: {worst.weak} of {worst.count} numbers "
        f"are off by more than a tenth, for their median is {worst.median:.3g} and one reaches "
        f"{worst.largest:.3g}{quality}.",
        f"Keep the parameter in float (a bias in int32): {spell_nodes(facts.nodes)}.",
    )


def say_runs_in_float(facts: RunsInFloat) -> Sentences:
    counts = ", ".join(f"{len(w.layer_names)} of {w.total} {w.op_type}" for w in facts.work)
    layers = list_names(facts.layers)
    kind = facts.work[0].kind
    if kind is FloatWorkKind.WEIGHTS_ONLY:
        return Sentences(
            f"Weights are quantized, activations are not: {counts} compute in float ({layers}).",
            "If integer arithmetic is wanted, quantize activations too (`quantize_static` with "
            "calibration data, or `quantize_dynamic`); for a smaller file this is enough.",
        )
    if kind is FloatWorkKind.PRODUCTS:
        return Sentences(
            f"Matrix products of two activations compute in float: {counts} ({layers}).",
            "If that is not meant, take the nodes off `nodes_to_exclude` and add MatMul to "
            "`op_types_to_quantize`; in QOperator format, leave `MatMulConstBOnly` off.",
        )
    return Sentences(
        f"Quantized weights meet float activations: {counts} compute in float ({layers}).",
        "If that is not meant, quantize the activation that enters them; it stands without "
        "QuantizeLinear and DequantizeLinear.",
    )
