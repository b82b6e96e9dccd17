"""Measured plans -> sentences, for the page, the report and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..facts import SampleKind
from .accuracy_map import Widths
from .measured_plans import Cost, Level, MeasuredPlan, PlanEnd, PlanProgress, Target, TargetKind
from .moves import Move, MoveKind, RangeRule

_RULES = {
    RangeRule.MIN_MAX: "all that was seen",
    RangeRule.LEAST_SQUARES: "the range of the least squared error",
}
_KINDS = {
    MoveKind.RANGE: "another range",
    MoveKind.SIGN: "the other signedness",
    MoveKind.WIDEN: "16 bits",
    MoveKind.FREE: "float",
    MoveKind.REQUANTIZE: "another scheme",
    MoveKind.EQUALIZE: "equalized channels",
    MoveKind.CORRECT_BIAS: "a corrected bias",
}


def name_widths(widths: Widths) -> str:
    """Return ``weights 8 bits per-channel, activations 16 bits``."""
    activations = "float" if widths.activation_bits is None else f"{widths.activation_bits} bits"
    return f"weights {widths.weight_bits} bits {widths.granularity}, activations {activations}"


def describe_move(move: Move) -> str:
    """Return what becomes of a tensor: ``16 bits, uint16``. Without its name."""
    if move.activation is not None and move.kind is not MoveKind.WIDEN:
        low, high = move.activation.bounds
        how = f", {_describe_rule(move)}" if move.rule is not None else ""
        sign = f"{move.activation.data_type} " if move.kind is MoveKind.SIGN else ""
        return f"{_KINDS[move.kind]}: {sign}{low:.4g} to {high:.4g}{how}"
    if move.activation is not None:
        return f"16 bits, {move.activation.data_type}"
    if move.weight is not None:
        return str(move.weight)
    return _KINDS[move.kind]


def _describe_rule(move: Move) -> str:
    if move.rule is RangeRule.PERCENTILE:
        return f"{move.percentile:g} % of what was seen"
    return _RULES[move.rule] if move.rule is not None else ""


def name_moved(move: Move) -> str:
    """Return the tensor that a move is about, and the layer that it serves where it has one."""
    first = move.quantizers[0]
    if move.is_weight:
        return f"weight of {first.layers[0]}" if first.layers else first.tensor
    return first.tensor


def summarize_moves(moves: Sequence[Move]) -> str:
    """Return ``27 tensors in 16 bits, 2 in float``: how many quantizers each kind changes."""
    counts = Counter(move.kind for move in moves for _ in move.quantizers)
    words = {
        MoveKind.WIDEN: "in 16 bits",
        MoveKind.FREE: "in float",
        MoveKind.RANGE: "with another range",
        MoveKind.SIGN: "with the other signedness",
        MoveKind.REQUANTIZE: "under another scheme",
        MoveKind.EQUALIZE: "equalized",
        MoveKind.CORRECT_BIAS: "with a corrected bias",
    }
    parts = [f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]]
    if not parts:
        return "no changes"
    first, *others = parts
    number, word = first.split(" ", 1)
    noun = "tensor" if number == "1" else "tensors"
    return ", ".join([f"{number} {noun} {word}", *others])


def describe_cost(cost: Cost) -> str:
    """Return what moves cost: ``27 tensors of 16 bits, 2 in float, 1,024 bytes more``."""
    parts = []
    if cost.wide:
        parts.append(f"{cost.wide} tensor{'s' * (cost.wide != 1)} of 16 bits")
    if cost.free:
        parts.append(f"{cost.free} in float")
    if cost.added_bytes:
        parts.append(f"{cost.added_bytes:,} bytes more")
    return ", ".join(parts) or "nothing"


def describe_level(level: Level) -> str:
    """Return ``19.3 dB, 97.5% of its answers as before, accuracy 98.0%``."""
    parts = [f"{level.sqnr_db:.1f} dB"]
    if level.agreement is not None:
        parts.append(f"{level.agreement:.1%} of its answers the original's")
    if level.accuracy is not None:
        parts.append(f"accuracy {level.accuracy:.1%}")
    return ", ".join(parts)


def describe_target(target: Target) -> str:
    return {
        TargetKind.OUTPUT_SQNR: f"{target.value:g} dB at the output",
        TargetKind.ACCURACY: f"an accuracy of {target.value:.1%}",
        TargetKind.AGREEMENT: f"{target.value:.1%} of the answers as before",
    }[target.kind]


def describe_plan_lines(plan: MeasuredPlan) -> Iterator[str]:
    """Yield what a plan found, a sentence each, without full stops."""
    kind = "synthetic inputs" if plan.sample_kind is SampleKind.SYNTHETIC else "samples"
    yield f"{plan.name.value}: {summarize_moves(plan.moves)}"
    yield (
        f"on {len(plan.deciding)} {kind} that decided: {describe_level(plan.before)} -> "
        f"{describe_level(plan.after)}"
    )
    if plan.held_back_before is not None and plan.held_back_after is not None:
        which = "the same" if plan.judges_itself else f"{len(plan.judging)} {kind} that judge"
        yield (
            f"on {which}: {describe_level(plan.held_back_before)} -> "
            f"{describe_level(plan.held_back_after)}"
        )
    if plan.sides_before is not None and plan.sides_after is not None:
        before, after = plan.sides_before, plan.sides_after
        yield (
            f"weights alone {before.weights_db:.1f} -> {after.weights_db:.1f} dB, activations "
            f"alone {before.activations_db:.1f} -> {after.activations_db:.1f} dB"
        )
    if plan.target is not None:
        yield _describe_reached(plan)
    if plan.end is PlanEnd.STOPPED:
        yield "stopped: this is what there was by then"


def _describe_reached(plan: MeasuredPlan) -> str:
    assert plan.target is not None
    asked = describe_target(plan.target)
    if plan.is_reached:
        return f"target reached: {asked}"
    if plan.after.has(plan.target):
        return f"target reached on the samples that decided, but not on the others: {asked}"
    return f"target missed: {asked}"


def describe_plan_progress(progress: PlanProgress) -> str:
    """Return one line about a search that goes on."""
    plan = progress.plan
    if plan is None:
        return f"{progress.runs_done:,} runs: getting ready"
    if not plan.steps:
        return f"{progress.runs_done:,} runs: now {plan.before.sqnr_db:.1f} dB, ranking the tensors"
    return (
        f"{progress.runs_done:,} runs: {plan.before.sqnr_db:.1f} -> {plan.after.sqnr_db:.1f} dB "
        f"with {describe_cost(plan.cost)}"
    )
