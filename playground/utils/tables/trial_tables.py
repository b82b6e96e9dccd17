"""What would fix it: the controls of a scheme in words, and what other quantizations would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..parameter_inspector import (
    Candidate,
    Plan,
    Saved,
    Scheme,
    Stay,
    TradeOff,
    Trial,
    Truth,
    Unreached,
    VariantTruth,
    WeightOnTrial,
    data_type_bits,
    describe_stay,
    list_choices,
    own_axis,
    why_not_run,
)
from ..spelling import (
    NO_CHANGE,
    NOTHING,
    capitalize,
    format_bytes,
    format_db,
    format_gain,
    format_growth,
    format_share,
    join_names,
    spell_count,
)
from .layer_tables import MEANINGS

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
        "reduced uses half of the codes, for processors whose 16-bit sums could overflow",
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
# What a person may want to spend on one layer, as a multiple of its current bytes.
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
    own = own_axis(scheme.granularity, on_trial.channel_axis, on_trial.original.ndim)
    if axis is None and own is None:
        return NOTHING
    number = own if axis is None else axis
    what = " output channels" if number == on_trial.channel_axis else ""
    return f"{number}{what}"


def create_control_table() -> pd.DataFrame:
    """Return what each control means."""
    return pd.DataFrame(list(CONTROLS.values()), columns=["Control", "Meaning"])


def create_trial_table(trial: Trial) -> pd.DataFrame:
    """Return SQNR and bytes of the current and the proposed scheme, and the difference."""
    current, proposed = trial.current, trial.proposed
    same = NO_CHANGE if proposed.scheme == current.scheme else ""
    rows = [("Scheme", str(current.scheme), str(proposed.scheme), same)]
    worst = current.worst_channel_sqnr_db, proposed.worst_channel_sqnr_db
    for name, before, after in (
        ("SQNR of the tensor", current.sqnr_db, proposed.sqnr_db),
        ("SQNR of the worst channel", *worst),
    ):
        rows.append((name, format_db(before), format_db(after), format_gain(after, before)))
    size, new_size = current.byte_count, proposed.byte_count
    label = "Bytes, with scales and zero-points"
    rows.append((label, f"{size:,}", f"{new_size:,}", format_growth(new_size, size)))
    return pd.DataFrame(rows, columns=["Property", "Current", "Proposed", "Difference"])


def explain_trial(trial: Trial) -> list[str]:
    """Return what stands in the way of using the proposed scheme."""
    return [f"{capitalize(trial.why_not_run)}."] if trial.why_not_run else []


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
        words = "the current size" if factor == 1 else f"{factor:g} × current"
        if size >= least:
            limits[f"at most {words}: {format_bytes(size)}"] = size
    return limits


# Pixels, so narrow that a page of 1024 shows every column.
CANDIDATE_WIDTHS = {
    "scheme": 216,
    "worst channel": 105,
    "gain": 90,
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
    """Return the candidates best first, with what each gains and whether onnxruntime runs it."""
    return pd.DataFrame(
        {
            "scheme": [str(one.scheme) for one in candidates],
            "worst channel": [format_db(one.worst_channel_sqnr_db) for one in candidates],
            "gain": [format_gain(one.gain_db, 0.0) for one in candidates],
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
            str(change.current.scheme),
            str(change.proposed.scheme),
            f"{format_db(change.current.worst_channel_sqnr_db)} → "
            f"{format_db(change.proposed.worst_channel_sqnr_db)}",
            f"{change.current.byte_count:,} → {change.proposed.byte_count:,}",
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


def explain_plan(plan: Plan) -> list[str]:
    """Return what to know about a plan that nothing was measured for: its grounds, its costs."""
    return [
        "Planned by the weights alone: what the output gains is not measured.",
        *explain_raised_scales(plan),
    ]


def explain_raised_scales(plan: Plan) -> list[str]:
    """Return what it costs that biases fit into int32; nothing where they fit anyway."""
    raised = [change.proposed for change in plan.changes if change.proposed.raised]
    if not raised:
        return []
    scales = spell_count(sum(one.raised for one in raised), "scale")
    cost = max(one.raising_cost_db for one in raised)
    price = (
        f"takes up to {format_db(cost)} from a worst channel" if cost else "costs no worst channel"
    )
    return [
        f"{capitalize(scales)} of {spell_count(len(raised), 'layer')} had to be wider than the "
        f"weights need, so that the bias fits into int32; that {price}."
    ]


# How many layers are named one by one.
NAMED_LAYERS = 5


def explain_unreachable(plan: Plan) -> list[str]:
    """Return a sentence for each layer that misses the target, or for the size that is missed."""
    missed = plan.size_missed
    if missed is not None:
        return [
            f"The weights take at least {missed.least_bytes:,} bytes, more than "
            f"{missed.target_bytes:,}."
        ]
    named = [f"{one.layer_name}: {describe_unreached(one)}." for one in plan.unreachable]
    more = len(named) - NAMED_LAYERS
    if more > 1:
        return [*named[:NAMED_LAYERS], f"So do {spell_count(more, 'more layer')}."]
    return named


def describe_unreached(one: Unreached) -> str:
    """Return how near a layer comes to the target."""
    has = "" if one.planned_db == one.best_db else f"; it has {format_db(one.planned_db)}"
    return f"its worst channel reaches at most {format_db(one.best_db)}, with {one.best}{has}"


def create_left_out_table(left_out: Sequence[Stay]) -> pd.DataFrame:
    """Return the layers that cannot be changed, and why."""
    rows = [(one.layer_name, describe_stay(one)) for one in left_out]
    return pd.DataFrame(rows, columns=["Layer", "Why it stays as it is"])


def list_sqnr_targets(curve: Sequence[TradeOff]) -> tuple[int, int, int]:
    """Return the lowest and the highest target worth asking for in whole dB, and one between.

    The one between is 30 dB, well above the 20 where it begins to hurt, or what comes near to it.
    """
    levels = [point.level_db for point in curve if math.isfinite(point.level_db)]
    low = math.floor(min(levels, default=0.0))
    high = max(low + 1, math.floor(max(levels, default=0.0)))
    return low, high, min(max(30, low), high)


def list_size_targets(plan: Plan) -> list[int]:
    """Return the sizes that make a difference, the current one among them."""
    return sorted({*(point.byte_count for point in plan.curve), plan.current_bytes})


# On samples ---------------------------------------------------------------------------------------


def create_truth_table(truth: Truth) -> pd.DataFrame:
    """Return what the three models did on the samples."""
    models = {"Original": truth.original, "Current": truth.current, "Changed": truth.changed}
    columns = {
        "Model": list(models),
        "Accuracy": [_spell_accuracy(one, truth.sample_count) for one in models.values()],
        "Output SQNR against the original": [
            NOTHING if one.output_sqnr_db is None else format_db(one.output_sqnr_db)
            for one in models.values()
        ],
    }
    table = pd.DataFrame(columns)
    return table if truth.original.accuracy is not None else table.drop(columns="Accuracy")


def _spell_accuracy(found: VariantTruth, count: int) -> str:
    if found.accuracy is None:
        return NOTHING
    return f"{round(found.accuracy * count):,} of {count:,}, {format_share(found.accuracy)}"


def describe_saved(saved: Saved) -> str:
    """Return what was written, in one sentence."""
    opset = f", now opset {saved.raised_opset}" if saved.raised_opset else ""
    return (
        f"The file is ready: {saved.current_bytes:,} → {saved.file_bytes:,} bytes{opset}; "
        f"{len(saved.layers)} of its layers changed, onnx.checker accepts it."
    )
