"""What a plan by measurement found, in words and tables: the plan, those beside it, its moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pandas as pd

from ..parameter_inspector import (
    Level,
    MeasuredPlan,
    Move,
    PlanEnd,
    PlanName,
    SavedPlan,
    WritingNote,
    describe_move,
    describe_note,
    describe_target,
    describe_writing_refusal,
    format_level,
    name_moved,
    printable,
    summarize_moves,
)
from ..spelling import (
    NOTHING,
    capitalize,
    format_bytes,
    format_growth,
    format_part,
    spell_count,
)

Kind = Literal["danger", "warn", "info", "success"]
NAMES = {PlanName.MEASURED: "the plan"}


def explain_search(variant: str) -> str:
    """Return what pressing the button does."""
    return (
        f"Each quantizer of {printable(variant)} is tried with other ranges, 16 bits, float, and "
        "each weight with other schemes; what the output gains decides. Half of the samples "
        "decide, the other half judge at the end. The files stay as they are until you write one."
    )


def name_plan(plan: MeasuredPlan) -> str:
    return NAMES.get(plan.name, plan.name.value)


def count_changed(plan: MeasuredPlan) -> int:
    """Return how many tensors a plan changes; one with two moves counts once."""
    return len({quantizer.index for move in plan.moves for quantizer in move.quantizers})


def _judged(plan: MeasuredPlan) -> tuple[Level, Level]:
    """Return before and after, as the half that judges has them where it was asked."""
    if plan.held_back_before is None or plan.held_back_after is None:
        return plan.before, plan.after
    return plan.held_back_before, plan.held_back_after


def is_better(plan: MeasuredPlan) -> bool:
    """Return whether the half that judges has more than before."""
    before, after = _judged(plan)
    return after.sqnr_db > before.sqnr_db


def name_judging(plan: MeasuredPlan) -> str:
    """Return whose word the numbers are: ``8 samples that did not decide``."""
    if plan.held_back_after is None:
        return f"the {spell_count(len(plan.deciding), 'sample')} that decided"
    count = spell_count(len(plan.judging), "sample")
    return (
        f"the same {count} that decided" if plan.judges_itself else f"{count} that did not decide"
    )


def judge_plan(plan: MeasuredPlan) -> str:
    """Return how a plan is shown: ``fine`` only where samples that did not decide say so."""
    if not plan.moves:
        return "note"
    if not is_better(plan) or plan.is_reached is False:
        return "warning"
    return "fine" if plan.held_back_after is not None and not plan.judges_itself else "note"


def summarize_measured(plan: MeasuredPlan, file_bytes: int = 0) -> str:
    """Return the one sentence: from where to where, on what, by which changes, at what cost.

    Args:
        file_bytes: of the file now; 0 leaves out by how much it grows.
    """
    before, after = _judged(plan)
    if not plan.moves:
        why = " The file has the target already." if plan.end is PlanEnd.REACHED else ""
        return f"Nothing was found that takes more back than {format_level(before.sqnr_db)}.{why}"
    way = f"from {format_level(before.sqnr_db)} to {format_level(after.sqnr_db)}"
    if not is_better(plan):
        return (
            f"No gain to count on: {way} on {name_judging(plan)}, though "
            f"{spell_way(plan.before, plan.after)} on those that did."
        )
    return (
        f"{capitalize(way)} on {name_judging(plan)}: {summarize_moves(plan.moves)}"
        f"{_spell_growth(plan, file_bytes)}."
    )


def spell_way(before: Level, after: Level) -> str:
    return f"{format_level(before.sqnr_db)} → {format_level(after.sqnr_db)}"


def _spell_growth(plan: MeasuredPlan, file_bytes: int) -> str:
    added = plan.cost.added_bytes
    if not added:
        return "; the weights take as many bytes as before"
    growth = f" ({format_growth(file_bytes + added, file_bytes)})" if file_bytes else ""
    return f"; {format_bytes(added)} more{growth}"


def offer_plan(plan: MeasuredPlan) -> str:
    """Return what the first screen's button brings and costs; empty where it brings nothing."""
    if not plan.moves or not is_better(plan):
        return ""
    before, after = _judged(plan)
    return (
        f"{spell_way(before, after)}, measured on {name_judging(plan)}: "
        f"{summarize_moves(plan.moves)}"
    )


def explain_measured(plan: MeasuredPlan) -> list[str]:
    """Return what else to know of a plan, a sentence each: both halves, split, target, end."""
    lines = []
    if plan.held_back_after is not None and not plan.judges_itself and is_better(plan):
        way = spell_way(plan.before, plan.after)
        lines.append(f"On the {spell_count(len(plan.deciding), 'sample')} that decided: {way}.")
    if plan.sides_before is not None and plan.sides_after is not None:
        lines.append(_describe_split(plan))
    if plan.target is not None and plan.moves:
        lines.append(_describe_target(plan))
    if plan.end is PlanEnd.STOPPED:
        lines.append("Stopped: this is what there was by then, and the other half was not asked.")
    elif plan.end is PlanEnd.ENDED:
        lines.append("The models could not be run any further: this is what there was by then.")
    elif plan.end is PlanEnd.NOTHING_HELPS and plan.moves:
        lines.append("Nothing else that was tried helps any more.")
    return lines


def _describe_split(plan: MeasuredPlan) -> str:
    before, after = plan.sides_before, plan.sides_after
    assert before is not None and after is not None
    return (
        f"Weights alone: {format_level(before.weights_db)} → {format_level(after.weights_db)}; "
        f"activations alone: {format_level(before.activations_db)} → "
        f"{format_level(after.activations_db)}."
    )


def _describe_target(plan: MeasuredPlan) -> str:
    assert plan.target is not None
    asked = describe_target(plan.target)
    if plan.is_reached:
        return f"The target is reached: {asked}."
    if plan.after.has(plan.target):
        return f"The target is reached on the samples that decided, but not on the others: {asked}."
    return f"The target is missed: {asked}. This is the best that was found."


def create_plans_table(plans: Sequence[MeasuredPlan]) -> pd.DataFrame:
    """Return a row for the file now and one for each plan: what it reaches, and its cost."""
    first = plans[0]
    rows = [("The file now", *_levels(first.before, first.held_back_before), NOTHING, NOTHING)]
    for plan in plans:
        changed = summarize_moves(plan.moves)
        levels = _levels(plan.after, plan.held_back_after)
        rows.append((capitalize(name_plan(plan)), *levels, changed, _spell_bytes(plan)))
    judging = "Output, judging half" if not first.judges_itself else "Output, the same samples"
    heads = ["Plan", judging, "Output, deciding half", "Right answers", "Changes", "Costs"]
    table = pd.DataFrame(rows, columns=heads)
    if first.before.accuracy is None:
        table = table.rename(columns={"Right answers": "Same answers as float"})
    known = [head for head in heads if head in table and set(table[head]) != {NOTHING}]
    return table[[head for head in table.columns if head in known or head == table.columns[3]]]


def _levels(deciding: Level, judging: Level | None) -> tuple[str, str, str]:
    held = NOTHING if judging is None else format_level(judging.sqnr_db)
    return held, format_level(deciding.sqnr_db), spell_answers(judging or deciding)


def spell_answers(level: Level) -> str:
    """Return the share of right answers; without labels, of those that are float's."""
    share = level.agreement if level.accuracy is None else level.accuracy
    return NOTHING if share is None else format_part(share)


def _spell_bytes(plan: MeasuredPlan) -> str:
    cost = plan.cost
    return f"{cost.added_bytes:,} bytes more" if cost.added_bytes else "no bytes"


def create_move_table(plan: MeasuredPlan) -> pd.DataFrame:
    """Return a row for each change, in the order in which they were kept."""
    steps = {
        id(move): (number, step) for number, step in enumerate(plan.steps, 1) for move in step.moves
    }
    rows = []
    for move in plan.moves:
        number, step = steps[id(move)]
        rows.append(
            (
                _name_tensors(move),
                _name_layers(move),
                describe_move(move),
                f"{number}: {format_level(step.level.sqnr_db)}",
                f"{move.added_bytes:,}" if move.added_bytes else NOTHING,
            )
        )
    heads = ["Tensor", "Read by", "Becomes", "Step, and the output after it", "Bytes more"]
    return pd.DataFrame(rows, columns=heads)


def _name_tensors(move: Move) -> str:
    more = len({one.tensor for one in move.quantizers}) - 1
    name = name_moved(move) if not move.is_weight else move.quantizers[0].tensor
    return f"{name} and {more} that share its scale" if more else name


def _name_layers(move: Move) -> str:
    first, *others = move.layers or ("an output of the network",)
    return f"{first} and {len(others)} more" if others else first


def describe_saved_plan(done: SavedPlan) -> list[str]:
    """Return what was written, and whether it does what was planned."""
    saved = done.saved
    growth = format_growth(saved.file_bytes, saved.current_bytes)
    count = len(done.plan.judging)
    lines = [
        "Written and run by onnxruntime, with all of its optimizations: "
        f"{format_level(done.file_db)} on {spell_count(count, 'sample')}{_compare_saved(done)}.",
        f"{saved.current_bytes:,} → {saved.file_bytes:,} bytes ({growth}); onnx.checker accepts "
        "it.",
    ]
    if saved.raised_opset:
        lines.append(f"The opset is {saved.raised_opset} now.")
    left = [
        f"{name_moved(move)} is left as it is: {describe_writing_refusal(refusal)}."
        for move, refusal in done.refused
    ]
    return [*lines, *left, *_group_notes(saved.notes)]


def _group_notes(notes: Sequence[WritingNote]) -> Iterator[str]:
    """Yield a sentence for the first note of each kind, and how many more there are."""
    for kind in dict.fromkeys(note.kind for note in notes):
        first, *others = (note for note in notes if note.kind is kind)
        more = f"; so it is in {spell_count(len(others), 'more layer')}" if others else ""
        yield f"{describe_note(first)}{more}."  # it begins with a name, which stays as it is


def _compare_saved(done: SavedPlan) -> str:
    planned = done.plan.held_back_after
    if planned is None:
        return "; the plan was stopped before it was measured on them"
    if done.is_as_planned:
        return ", as planned"
    return f", not as planned: {format_level(planned.sqnr_db)} was measured"


def judge_saved_plan(done: SavedPlan) -> Kind:
    """Return how a written plan is shown: in green where the file does what was planned."""
    if done.is_as_planned:
        return "success" if is_better(done.plan) else "warn"
    return "info" if done.plan.held_back_after is None else "warn"
