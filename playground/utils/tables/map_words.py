"""A cell of the accuracy map in words: what it keeps, and how such a build is made."""

from __future__ import annotations

from ..parameter_inspector import (
    ACTIVATION_TYPES,
    WEIGHT_TYPES,
    AccuracyMap,
    Level,
    MeasuredPlan,
    PlanName,
    Widths,
    describe_level,
    name_widths,
)
from ..spelling import capitalize, format_gain, spell_count


def describe_cell(found: AccuracyMap, widths: Widths) -> str:
    """Return what a cell keeps, and how that is against the file's own cell."""
    level = found.cells[widths]
    beside = _compare_own(found, level, widths)
    return f"{capitalize(name_widths(widths))}: {describe_level(level)}{beside}."


def _compare_own(found: AccuracyMap, level: Level, widths: Widths) -> str:
    own = found.own
    if own is None or own not in found.cells:
        return ""
    if own == widths:
        return ". These are the file's own widths; its own scales may do better or worse"
    gain = format_gain(level.sqnr_db, found.cells[own].sqnr_db)
    return f", {gain} against the file's own widths"


def explain_build(widths: Widths) -> str:
    """Return how such a build is made, or why onnxruntime's quantizer cannot make it."""
    if widths.activation_bits is None:
        return (
            "Activations stay in float here: that is no case for quantize_static, but for "
            "onnxruntime's quantize_dynamic (8 bits) or its MatMulNBitsQuantizer (4 and 8 bits, "
            "MatMul only)."
        )
    missing = []
    if widths.weight_bits not in WEIGHT_TYPES:
        missing.append(f"weights of {widths.weight_bits} bits")
    if widths.activation_bits not in ACTIVATION_TYPES:
        missing.append(f"activations of {widths.activation_bits} bits")
    if missing:
        return (
            f"onnxruntime's quantizer has no {' and no '.join(missing)}: this says what the "
            "network would bear, and no file can be made of it here."
        )
    few = "; its rounding to 4 bits is another, and may keep some dB less than is said here"
    return (
        "The recipe makes such a build from the float original with quantize_static, ranges as on "
        f"the samples{few if widths.weight_bits < 8 else ''}."
    )


def find_reaching(
    found: AccuracyMap, widths: Widths, plans: tuple[MeasuredPlan, ...]
) -> MeasuredPlan | None:
    """Return the named plan that has these widths, where moves lead there from the file."""
    own = found.own
    if own is None or widths.weight_bits != own.weight_bits:
        return None
    wider = widths.activation_bits == 16 and own.activation_bits == 8
    same = widths.activation_bits == own.activation_bits
    channels = widths.granularity == "per-channel" and own.granularity == "per-tensor"
    if wider and widths.granularity == own.granularity:
        name = PlanName.SIXTEEN_BITS
    elif same and channels:
        name = PlanName.PER_CHANNEL
    else:
        return None
    return next((one for one in plans if one.name is name and one.moves), None)


def explain_map(found: AccuracyMap) -> list[str]:
    """Return what to know of the map beside its numbers."""
    lines = [
        f"Measured on {spell_count(found.sample_count, 'sample')}: the float network, quantized "
        "where this file is, with ranges as on the samples; each cell the output SQNR in dB, and "
        "below it the right answers, or without labels those that are float's."
    ]
    if found.skipped:
        weights = spell_count(found.skipped, "weight")
        lines.append(f"{weights} without float values stay as the file has them.")
    if not found.complete:
        lines.append("Stopped: the empty cells were not measured.")
    return lines
