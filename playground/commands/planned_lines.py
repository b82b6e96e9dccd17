"""What `requantize` prints of a plan of the weights, and of what the models did on samples."""

from __future__ import annotations

from collections.abc import Iterator

from playground.utils import exports
from playground.utils.parameter_inspector import (
    LayerChange,
    Plan,
    RewriteError,
    Saved,
    Truth,
    Unreached,
    describe_note,
    describe_stay,
)


def refuse_nothing_to_change(plan: Plan) -> None:
    """Raise where no layer can be changed at all."""
    if plan.options:
        return
    if not plan.left_out:
        raise RewriteError("the model has no quantized weight")
    first, *others = plan.left_out
    more = f" (and {len(others)} more)" if others else ""
    raise RewriteError(f"{exports.shorten_name(first.layer_name)}: {describe_stay(first)}{more}")


def describe_plan(plan: Plan, saved: Saved) -> Iterator[str]:
    """Yield a line for each layer that changed, could not, or became another, and for the whole."""
    yield from map(describe_change, plan.changes)
    for stay in plan.left_out:
        yield f"{exports.shorten_name(stay.layer_name)}: left as it is: {describe_stay(stay)}"
    yield from map(describe_missed, plan.unreachable)
    yield from map(describe_note, saved.notes)
    if plan.size_missed is not None:
        missed = plan.size_missed
        yield (
            f"target missed: the weights take at least {missed.least_bytes:,} bytes, more than "
            f"{missed.target_bytes:,}"
        )
    elif not plan.changes:
        reached = "every layer reaches the target already"
        yield f"nothing to change: {reached if not plan.unreachable else 'nothing is much better'}"
    opset = f", now opset {saved.raised_opset}" if saved.raised_opset else ""
    yield (
        f"worst channel {plan.current_worst_sqnr_db:.1f} -> {plan.worst_sqnr_db:.1f} dB, "
        f"weights {plan.current_bytes:,} -> {plan.byte_count:,} bytes, "
        f"file {saved.current_bytes:,} -> {saved.file_bytes:,} bytes{opset}"
    )


def describe_missed(one: Unreached) -> str:
    return (
        f"{exports.shorten_name(one.layer_name)}: target missed: its worst channel reaches at most "
        f"{one.best_db:.1f} dB, with {one.best}; it has {one.planned_db:.1f} dB"
    )


def describe_change(change: LayerChange) -> str:
    proposed = change.proposed
    more = proposed.byte_count - change.current.byte_count
    raised = ""
    if proposed.raised:
        scales = f"{proposed.raised} scale{'s' * (proposed.raised != 1)}"
        raised = f", {scales} raised for the bias: -{proposed.raising_cost_db:.1f} dB"
    return (
        f"{exports.shorten_name(change.layer_name)}: {change.current.scheme} -> {proposed.scheme}: "
        f"{proposed.gain_db:+.1f} dB, {more:+,} bytes{raised}"
    )


def describe_truth(truth: Truth) -> Iterator[str]:
    """Yield what each model did on the samples."""
    models = {"original": truth.original, "current": truth.current, "proposed": truth.changed}
    for name, result in models.items():
        parts = []
        if result.accuracy is not None:
            parts.append(f"accuracy {result.accuracy:.1%} of {truth.sample_count}")
        if result.output_sqnr_db is not None:
            parts.append(f"output SQNR {result.output_sqnr_db:.1f} dB")
        yield f"{name}: {', '.join(parts) or 'what the others are compared with'}"
