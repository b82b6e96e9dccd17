"""What running a variant found, as JSON; and as lines of text for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import numpy as np

from ..parameter_inspector import (
    REPEATABLE_DB,
    ActivationStatistics,
    Comparison,
    GroupNoise,
    OutputLoss,
    Outputs,
    describe_check,
    describe_counts,
    describe_details,
    describe_ending,
    describe_loss,
    name_group,
)
from .escaping import shorten_name
from .json_numbers import json_number, json_numbers

ROWS_SHOWN = 10
NAME_LENGTH = 60


def create_outputs_json(comparison: Comparison) -> str:
    """Return what was measured of the outputs, as one JSON object."""
    content = {"outputs": list_output_records(comparison)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def list_output_records(comparison: Comparison) -> dict[str, object]:
    """Return what was measured of each variant, by its name, in numbers that JSON has."""
    return {
        variant: {
            "sentence": describe_loss(comparison, variant),
            "details": list(describe_details(comparison, variant)),
            **_to_record(outputs),
        }
        for variant, outputs in comparison.outputs.items()
    }


def _to_record(outputs: Outputs) -> dict[str, object]:
    check, split = outputs.check, outputs.split
    return {
        "samples": {"kind": outputs.sample_kind.value, "count": outputs.sample_count},
        "optimized": outputs.optimized,
        "complete": outputs.complete,
        "ended": describe_ending(outputs.ending) if outputs.ending else None,
        "sqnr_db": _number(outputs.sqnr_db),
        "outputs": [_to_loss(loss) for loss in outputs.losses],
        "split": None
        if split is None
        else {
            "weights_db": json_number(split.weights_db),
            "activations_db": json_number(split.activations_db),
            "activations_share": json_number(split.activations_share),
        },
        "self_check": {
            "all_on_db": _number(check.all_on_db),
            "all_off_db": _number(check.all_off_db),
            "file_runs": check.file_runs,
            "partial": check.is_partial,
        },
        "quantizer_count": len(outputs.quantizers),
        "unplaced": [
            {"reason": u.reason.value, "kind": u.kind.value, "tensor": u.tensor, "layer": u.layer}
            for u in outputs.unplaced
        ],
        "groups": [_to_group(group) for group in outputs.groups],
        "recovered": [
            {"count": point.count, "sqnr_db": json_number(point.sqnr_db)}
            for point in outputs.recovered
        ],
        "parted_at": outputs.parted_at,
        "activations": [
            {"tensor": outputs.quantizers[index].tensor, **_to_statistics(seen)}
            for index, seen in sorted((outputs.statistics or {}).items())
        ],
    }


def _to_loss(loss: OutputLoss) -> dict[str, object]:
    channels = loss.channel_sqnr_db
    return {
        "output": loss.name,
        "sqnr_db": json_number(loss.sqnr_db),
        "sample_sqnr_db": _numbers(loss.sample_sqnr_db),
        "worst_sample": loss.worst_sample,
        "channel_sqnr_db": None if channels is None else _numbers(channels),
        "agreement": _number(loss.agreement),
        "accuracy": _number(loss.accuracy),
        "float_accuracy": _number(loss.float_accuracy),
    }


def _to_group(group: GroupNoise) -> dict[str, object]:
    return {
        "kind": group.kind.value,
        "tensors": [quantizer.tensor for quantizer in group.quantizers],
        "layers": list(group.layers),
        "share": json_number(group.share),
        "noise_alone": json_number(group.alone),
        "sample_count": group.sample_count,
        "restored_db": _number(group.restored_db),
    }


def _to_statistics(seen: ActivationStatistics) -> Mapping[str, object]:
    return json_numbers(
        {
            "low": seen.low,
            "high": seen.high,
            "p999": _nan(seen.p999),
            "represented_low": seen.represented[0] if seen.represented else math.nan,
            "represented_high": seen.represented[1] if seen.represented else math.nan,
            "clipped_share": seen.clipped_share,
            "clipped_error_share": seen.clipped_error_share,
            "codes_used_share": _nan(seen.codes_used_share),
            "zeroed_share": seen.zeroed_share,
            "local_db": seen.local_db,
            "cumulative_db": seen.cumulative_db,
        }
    )


def _nan(number: float | None) -> float:
    return math.nan if number is None else number


def _number(number: float | None) -> float | str | None:
    return json_number(_nan(number))


def _numbers(array: np.ndarray) -> list[float | str | None]:
    return [json_number(float(one)) for one in array]


# As text ------------------------------------------------------------------------------------------


def list_output_lines(comparison: Comparison, variant: str) -> Iterator[str]:
    """Yield what a terminal shows of a measured variant: sentences, shares, curve, self-check."""
    outputs = comparison.outputs[variant]
    yield describe_loss(comparison, variant)
    yield from (f"  {sentence}" for sentence in describe_details(comparison, variant))
    if comparison.original is not None:
        yield from _list_split(outputs)
    yield from _list_shares(outputs)
    if outputs.recovered:
        curve = ", ".join(f"{one.count}: {_db(one.sqnr_db)}" for one in outputs.recovered)
        yield f"  recovered, with the first by share off: {curve}"
    yield from (f"  {sentence}" for sentence in describe_check(outputs))


def _list_split(outputs: Outputs) -> Iterator[str]:
    split = outputs.split
    if split is not None:
        yield (
            f"  split: weights only {_db(split.weights_db)}, "
            f"activations only {_db(split.activations_db)}"
        )


def _list_shares(outputs: Outputs) -> Iterator[str]:
    if not outputs.groups:
        return
    yield "   share      restored  quantizer"
    for group in outputs.groups[:ROWS_SHOWN]:
        name = shorten_name(name_group(group), NAME_LENGTH)
        yield f"  {group.share:6.1%}  {_spell_gain(group.restored_db):>12}  {name}"
    rest = outputs.groups[ROWS_SHOWN:]
    if rest:
        yield f"  {sum(one.share for one in rest):6.1%}  {'':12}  the other {len(rest)}"
    if counts := describe_counts(outputs):
        yield f"  {counts}"


def _spell_gain(gain: float | None) -> str:
    """Return what restoring gained, where it is more than other samples would change."""
    if gain is None:
        return ""
    return f"{gain:+.1f} dB" if abs(gain) >= REPEATABLE_DB else "nothing sure"


def _db(decibels: float) -> str:
    if math.isinf(decibels):
        return "lossless" if decibels > 0 else "not finite"
    return "unknown" if math.isnan(decibels) else f"{decibels:.1f} dB"
