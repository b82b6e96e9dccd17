"""What running a variant found, as tables: its outputs, and the activations of one layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ..parameter_inspector import (
    REPEATABLE_DB,
    ActivationStatistics,
    Comparison,
    LayerQuantizer,
    OutputLoss,
    Outputs,
    decibels,
    format_level,
    list_layer_activations,
    name_group,
    name_roles,
    name_sample,
)
from ..spelling import NOTHING, format_db, format_gain, format_number, format_part, format_share


def create_output_table(outputs: Outputs) -> pd.DataFrame:
    """Return one row for each output of the network: what the file keeps of it."""
    losses = outputs.losses
    columns: dict[str, list[str]] = {
        "Output": [loss.name for loss in losses],
        "SQNR": [format_level(loss.sqnr_db) for loss in losses],
        "Worst sample": [_describe_worst(loss) for loss in losses],
        "Worst channel": [_describe_channel(loss) for loss in losses],
        "Same answer as float": [_spell(loss.agreement) for loss in losses],
        "Accuracy": [_spell(loss.accuracy) for loss in losses],
        "Accuracy of float": [_spell(loss.float_accuracy) for loss in losses],
    }
    known = {name: cells for name, cells in columns.items() if set(cells) != {NOTHING}}
    return pd.DataFrame(known)


def _describe_worst(loss: OutputLoss) -> str:
    if loss.worst_sample is None or len(loss.noise) < 2:
        return NOTHING
    level = float(loss.sample_sqnr_db[loss.worst_sample])
    return f"{name_sample(loss.worst_sample)}: {format_level(level)}"


def _describe_channel(loss: OutputLoss) -> str:
    """Return the worst channel, where they differ much in size."""
    levels = loss.channel_sqnr_db
    known = [] if levels is None else [i for i, db in enumerate(levels) if not math.isnan(db)]
    if levels is None or not known:
        return NOTHING
    worst = min(known, key=lambda i: float(levels[i]))
    return f"channel {worst}: {format_level(float(levels[worst]))}"


def _spell(share: float | None) -> str:
    return NOTHING if share is None else format_part(share)


def create_share_table(outputs: Outputs) -> pd.DataFrame:
    """Return one row for each quantizer, or those that are one, the largest share first."""
    groups = outputs.groups
    return pd.DataFrame(
        {
            "Quantizer": [name_group(group) for group in groups],
            "Share": [format_part(group.share) for group in groups],
            "Output with it alone": [format_level(decibels(1.0, group.alone)) for group in groups],
            "Gained when it is off": [spell_gain(group.restored_db) for group in groups],
            "Samples": [str(group.sample_count) for group in groups],
        }
    )


def spell_gain(gain: float | None) -> str:
    """Return what the output gains; what other samples would not repeat has no number."""
    if gain is None or math.isnan(gain):
        return NOTHING
    return format_gain(gain, 0.0) if abs(gain) >= REPEATABLE_DB else "nothing sure"


def create_activation_table(comparison: Comparison, layer_name: str) -> pd.DataFrame:
    """Return one row for each activation of a layer in each variant that was run."""
    rows = [
        _describe_activation(f"{variant}, {name}", one)
        for variant, activations in list_layer_activations(comparison, layer_name).items()
        for name, one in zip(name_roles(activations), activations, strict=True)
    ]
    return pd.DataFrame(rows).fillna(NOTHING)


def _describe_activation(name: str, one: LayerQuantizer) -> dict[str, str]:
    found = one.statistics
    cells = {"Activation": name, "Share": format_part(one.share)}
    cells |= _describe_flow(found) if found is not None else {}
    return cells | {"Tensor": one.quantizer.tensor}


def _describe_flow(found: ActivationStatistics) -> dict[str, str]:
    held, used = found.represented, found.codes_used_share
    within = "" if found.p999 is None else f", 99.9% within ±{format_number(found.p999)}"
    return {
        "SQNR here": format_db(found.local_db),
        "with all before": format_db(found.cumulative_db),
        "Seen": f"{_spell_range((found.low, found.high))}{within}",
        "Held": "computed in each run" if held is None else _spell_range(held),
        "Clipped": format_share(found.clipped_share, 2),
        "Codes used": NOTHING if used is None else format_part(used),
    }


def _spell_range(ends: Sequence[float]) -> str:
    return f"{format_number(ends[0])} to {format_number(ends[1])}"
