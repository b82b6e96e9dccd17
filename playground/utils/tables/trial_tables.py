"""Section 4: the controls of a scheme in words, and what other quantizations would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..parameter_inspector.changing.planning import Candidate, Plan, TradeOff, why_not_run
from ..parameter_inspector.changing.rewriting import Saved, Truth, VariantTruth
from ..parameter_inspector.changing.schemes import Scheme, data_type_bits, own_axis
from ..parameter_inspector.changing.trials import Trial, WeightOnTrial, list_choices
from .layer_tables import MEANINGS
from .ranking import format_cell
from .text import NOTHING, format_bytes, join_names

# Part of a scheme -> its control's label, and what the word means.
CONTROLS = {
    "data_type": ("Data type", MEANINGS["Data type"]),
    "bits": ("Bits", "of each code, where fewer are used than the data type has"),
    "granularity": ("Granularity", MEANINGS["Granularity"]),
    "axis": ("Axis", MEANINGS["Axis"]),
    "block_size": ("Block size", MEANINGS["Block size"]),
    "symmetric": (
        "Zero-point",
        "the code that stands for exactly 0. Symmetric puts it in the middle, which is quick; "
        "asymmetric shifts it, so that no code is lost where the weights lean to one side",
    ),
    "reduce_range": (
        "Range of codes",
        "reduced uses half of the codes, for processors whose 16-bit sums would overflow",
    ),
    "clipping": (
        "Clipping",
        "which weights set the scale. None: the widest. Percentile: the widest are cut off. Least "
        "error: the scale with the smallest squared error. Deviation: onnxruntime's rule for "
        "float8e4m3fn",
    ),
    "percentile": ("Percentile", "the share of the weights that is not cut off"),
}
CLIPPING_NAMES = {
    "min-max": "none",
    "percentile": "percentile",
    "mse": "least error",
    "std": "deviation",
}
NO_CHANGE = "no change"

# What a person may want to spend on one layer, as a multiple of today's bytes.
SIZE_FACTORS = (2.0, 1.1, 1.0, 0.75, 0.5)


def create_control_options(scheme: Scheme, part: str, on_trial: WeightOnTrial) -> dict[str, Any]:
    """Return label -> value of the choices that one part of a scheme has beside the others."""
    weight = on_trial.layer.weight
    assert weight is not None
    values = list_choices(scheme, weight)[part]
    return {_label_choice(scheme, part, value, on_trial): value for value in values}


def _label_choice(scheme: Scheme, part: str, value: Any, on_trial: WeightOnTrial) -> str:
    if part == "bits":
        return str(value or f"all {data_type_bits(scheme.data_type)}")
    if part == "axis":
        return _label_axis(scheme, value, on_trial)
    if part == "symmetric":
        return "symmetric" if value else "asymmetric"
    if part == "reduce_range":
        return "reduced" if value else "whole"
    if part == "clipping":
        return CLIPPING_NAMES[value]
    if part == "percentile":
        return f"{value:g} %" if scheme.clipping == "percentile" else NOTHING
    return NOTHING if value is None else str(value)


def _label_axis(scheme: Scheme, axis: int | None, on_trial: WeightOnTrial) -> str:
    own = own_axis(scheme.granularity, on_trial.channel_axis, on_trial.exact.ndim)
    if axis is None and own is None:
        return NOTHING
    number = own if axis is None else axis
    what = " output channels" if number == on_trial.channel_axis else ""
    return f"{number}{what}"


def create_control_table() -> pd.DataFrame:
    """Return what each control means."""
    return pd.DataFrame(list(CONTROLS.values()), columns=["Control", "In words"])


def create_trial_table(trial: Trial) -> pd.DataFrame:
    """Return SQNR and bytes, today beside what is tried, and the difference."""
    current, tried = trial.current, trial.tried
    same = NO_CHANGE if tried.scheme == current.scheme else ""
    rows = [("Scheme", str(current.scheme), str(tried.scheme), same)]
    for name, before, after in (
        ("SQNR of the tensor", current.sqnr_db, tried.sqnr_db),
        ("SQNR of the worst channel", current.worst_channel_sqnr_db, tried.worst_channel_sqnr_db),
    ):
        rows.append((name, format_db(before), format_db(after), format_gain(after, before)))
    size, more = current.byte_count, format_growth(tried.byte_count, current.byte_count)
    rows.append(("Bytes, with scales and zero-points", f"{size:,}", f"{tried.byte_count:,}", more))
    return pd.DataFrame(rows, columns=["", "Today", "Tried", "Difference"])


def format_db(decibels: float) -> str:
    """Return an SQNR: a dash where it is not known, ``exact`` where nothing was lost."""
    text = format_cell(decibels, ".1f")
    return f"{text} dB" if math.isfinite(decibels) else text


def format_gain(after: float, before: float) -> str:
    """Return what was gained, in dB, with its sign."""
    if math.isnan(after) or math.isnan(before):
        return NOTHING
    if after == before:
        return NO_CHANGE
    if math.isinf(after - before):
        return "now exact" if after > before else "no longer exact"
    return f"{_minus(f'{after - before:+.1f}')} dB"


def format_growth(after: int, before: int) -> str:
    """Return what more it takes, in percent with its sign."""
    if after == before:
        return NO_CHANGE
    percent = 100 * (after / max(1, before) - 1)
    return f"{_minus(f'{percent:+.{1 if abs(percent) < 100 else 0}f}')} %"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def explain_trial(trial: Trial) -> list[str]:
    """Return what stands in the way of using the tried scheme."""
    return [f"{capitalize(trial.why_not_run)}."] if trial.why_not_run else []


def capitalize(sentence: str) -> str:
    """Return a sentence with a capital, but for a name that has none."""
    if sentence.startswith("onnxruntime"):
        return sentence
    return sentence[:1].upper() + sentence[1:]


def explain_no_trial(variants: Sequence[str]) -> list[str]:
    """Return why no other quantization of a layer can be tried."""
    return [f"This layer has no quantized weight in {join_names(variants)}: nothing to try here."]


# The candidates -----------------------------------------------------------------------------------


def create_size_limits(candidates: Sequence[Candidate], current: int) -> dict[str, int | None]:
    """Return label -> the most bytes a scheme may take; only limits that leave something."""
    limits: dict[str, int | None] = {"any size": None}
    least = min((one.byte_count for one in candidates), default=0)
    for factor in SIZE_FACTORS:
        size = int(factor * current)
        words = "today's size" if factor == 1 else f"{factor:g} × today"
        if size >= least:
            limits[f"at most {words}: {format_bytes(size)}"] = size
    return limits


# Pixels, so narrow that a page of 1024 shows every column.
CANDIDATE_WIDTHS = {
    "scheme": 216,
    "worst channel": 105,
    "against today": 105,
    "bytes": 80,
    "more bytes": 90,
    "runs in onnxruntime": 216,
}


def select_affordable(candidates: Sequence[Candidate], most: int | None) -> list[Candidate]:
    """Return the candidates that take at most so many bytes, in their order."""
    return [one for one in candidates if most is None or one.byte_count <= most]


def create_candidate_table(
    candidates: Sequence[Candidate], on_trial: WeightOnTrial
) -> pd.DataFrame:
    """Return the candidates best first, each against today, and whether onnxruntime runs it."""
    return pd.DataFrame(
        {
            "scheme": [str(one.scheme) for one in candidates],
            "worst channel": [format_db(one.worst_channel_sqnr_db) for one in candidates],
            "against today": [format_gain(one.gain_db, 0.0) for one in candidates],
            "bytes": [one.byte_count for one in candidates],
            "more bytes": [format_growth(c.byte_count, on_trial.byte_count) for c in candidates],
            "runs in onnxruntime": [
                why_not_run(on_trial.layer, one.scheme) or "yes" for one in candidates
            ],
        }
    )


# The whole model ----------------------------------------------------------------------------------


def create_change_table(plan: Plan) -> pd.DataFrame:
    """Return a row for each layer that changes: from, to, what it gains and what it costs."""
    rows = [
        (
            change.layer_name,
            str(change.before.scheme),
            str(change.after.scheme),
            f"{format_db(change.before.worst_channel_sqnr_db)} → "
            f"{format_db(change.after.worst_channel_sqnr_db)}",
            f"{change.before.byte_count:,} → {change.after.byte_count:,}",
        )
        for change in plan.changes
    ]
    return pd.DataFrame(rows, columns=["Layer", "From", "To", "Worst channel", "Bytes"])


def summarize_plan(plan: Plan) -> str:
    """Return what the changes come to, in one sentence."""
    current, after = plan.current_bytes, plan.byte_count
    growth = "" if current == after else f" ({format_growth(after, current)})"
    count = len(plan.changes)
    changes = "No layer has to change" if not count else f"{count} of {len(plan.options)} layers"
    return (
        f"{changes}{' change' if count else ''}: worst channel "
        f"{format_db(plan.current_worst_sqnr_db)} → {format_db(plan.worst_sqnr_db)}, weights "
        f"{current:,} → {after:,} bytes{growth}."
    )


def explain_unreachable(plan: Plan) -> list[str]:
    """Return a sentence for each layer that misses the target, or for the model."""
    return [
        f"{row}: {reason}." if row else f"{capitalize(reason)}."
        for row, reason in plan.unreachable.items()
    ]


def create_left_out_table(left_out: Mapping[str, str]) -> pd.DataFrame:
    """Return the layers that cannot be changed, and why."""
    return pd.DataFrame(list(left_out.items()), columns=["Layer", "Why it stays as it is"])


def list_sqnr_targets(curve: Sequence[TradeOff]) -> tuple[int, int, int]:
    """Return the lowest and the highest target worth asking for in whole dB, and one between.

    The one between is 30 dB, well above the 20 where it begins to hurt, or what comes near to it.
    """
    levels = [point.worst_sqnr_db for point in curve if math.isfinite(point.worst_sqnr_db)]
    low = math.floor(min(levels, default=0.0))
    high = max(low + 1, math.floor(max(levels, default=0.0)))
    return low, high, min(max(30, low), high)


def list_size_targets(plan: Plan) -> list[int]:
    """Return the sizes that make a difference, today's among them."""
    return sorted({*(point.byte_count for point in plan.curve), plan.current_bytes})


# The truth ----------------------------------------------------------------------------------------


def create_truth_table(truth: Truth) -> pd.DataFrame:
    """Return what the three models did on the samples."""
    models = {"Float": truth.exact, "Today": truth.current, "Changed": truth.changed}
    columns = {
        "Model": list(models),
        "Right answers": [_spell_accuracy(one, truth.sample_count) for one in models.values()],
        "SQNR of the outputs": [
            "the reference" if one.output_sqnr_db is None else format_db(one.output_sqnr_db)
            for one in models.values()
        ],
    }
    table = pd.DataFrame(columns)
    return table if truth.exact.accuracy is not None else table.drop(columns="Right answers")


def _spell_accuracy(found: VariantTruth, count: int) -> str:
    if found.accuracy is None:
        return NOTHING
    return f"{round(found.accuracy * count):,} of {count:,}, {found.accuracy:.1%}"


def describe_saved(saved: Saved) -> str:
    """Return what was written, in one sentence."""
    opset = f", now opset {saved.raised_opset}" if saved.raised_opset else ""
    return (
        f"The file is ready: {saved.current_bytes:,} → {saved.file_bytes:,} bytes{opset}; "
        f"{len(saved.layers)} of its layers changed, onnx.checker agrees."
    )
