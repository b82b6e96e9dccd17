"""The first screen in words: the worst news of each variant, what happened and why, the way back.

Page and report say the same: they have their words from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..parameter_inspector import (
    SEVERITIES,
    Comparison,
    Finding,
    FindingGroup,
    Outputs,
    Role,
    describe_loss,
    format_level,
    group_by_cause,
    measure_layers,
    printable,
)
from ..parameter_inspector.judging.output_words import LITTLE_DB, find_best
from ..spelling import cut_middle, format_part, spell_count
from .finding_tables import count_findings, name_rule, worst_severity
from .ranking import RankedLayer, list_judged

LONGEST_NAME = 60
CAUSING = 0.05
"""The share of the noise from which on the layers of a finding are called its cause."""
ABOUT_WEIGHTS = (
    "channel-collapse",
    "range-disparity",
    "clipping",
    "saturation",
    "scale-too-wide",
    "unused-codes",
    "dead-weight",
)
OF_THE_OUTPUT = ("output-lost", "under-minimum")
"""What these rules find is the loss itself, and no cause of it."""


def order_variants(comparison: Comparison, findings: Sequence[Finding]) -> list[str]:
    """Return the variants to judge, the worst first: by what the output keeps, then by findings."""

    def badness(name: str) -> tuple[float, ...]:
        outputs = comparison.outputs.get(name)
        level = math.nan if outputs is None or outputs.sqnr_db is None else outputs.sqnr_db
        known = not math.isnan(level)
        counts = [
            -sum(f.severity == severity and f.variant == name for f in findings)
            for severity in SEVERITIES
        ]
        return (0.0, level, *counts) if known else (1.0, 0.0, *counts)

    return sorted(list_judged(comparison), key=badness)


def spell_news(comparison: Comparison, findings: Sequence[Finding], variant: str) -> str:
    """Return the worst news of a variant in a few words."""
    outputs = comparison.outputs.get(variant)
    if outputs is not None and outputs.sqnr_db is not None and not math.isnan(outputs.sqnr_db):
        return f"keeps {format_level(outputs.sqnr_db)}{_spell_answers(outputs)}"
    about = [f for f in findings if f.variant == variant and f.severity != SEVERITIES[-1]]
    return count_findings(about) or "not measured"


def _spell_answers(outputs: Outputs) -> str:
    """Return how many answers are right; without labels, how many are those of float."""
    for loss in outputs.losses:
        if loss.accuracy is not None and loss.float_accuracy is not None:
            return f", {format_part(loss.accuracy)} of {format_part(loss.float_accuracy)} right"
    agreements = [loss.agreement for loss in outputs.losses if loss.agreement is not None]
    return f", {format_part(min(agreements))} same answers" if agreements else ""


def describe_variant_loss(
    comparison: Comparison, findings: Sequence[Finding], ranked: Sequence[RankedLayer], variant: str
) -> str:
    """Return what happened to a variant, and why, in one or two sentences."""
    cause = find_cause(comparison, findings, variant)
    if variant in comparison.outputs:
        why = f" Why: {name_cause(cause)}." if cause is not None else ""
        return f"{describe_loss(comparison, variant)}{why}"
    unknown = "What the output loses is not measured yet."
    if cause is not None:
        return f"{printable(variant)}: {name_cause(cause)}. {unknown}"
    mine = [one for one in ranked if one.variant == variant]
    if not any(one.is_quantized for one in mine):
        return f"Nothing in {printable(variant)} is quantized, so there is nothing to judge."
    return (
        f"{printable(variant)}: weights look fine; what activations cost the output is not "
        "measured yet."
    )


def find_cause(
    comparison: Comparison, findings: Iterable[Finding], variant: str
) -> FindingGroup | None:
    """Return the findings of one cause that explain most of what a variant loses.

    Measured: those whose layers have the largest share of the noise, what is about weights by the
    share of the weights; else the worst. Notes are no cause.
    """
    mine = [
        f
        for f in findings
        if f.variant == variant and f.severity != SEVERITIES[-1] and f.rule not in OF_THE_OUTPUT
    ]
    groups = group_by_cause(mine)
    if variant not in comparison.outputs:
        return groups[0] if groups else None
    shares = {id(group): _share_of(group, comparison) for group in groups}
    known = [group for group in groups if shares[id(group)] >= CAUSING]
    return max(known, key=lambda group: shares[id(group)], default=None)


def _share_of(group: FindingGroup, comparison: Comparison) -> float:
    """Return the share of the noise that the layers of a group have, 0 for none."""
    measured = measure_layers(comparison, group.variant)
    by_weight = group.rule in ABOUT_WEIGHTS
    shares = [
        measured[name].share_of(Role.WEIGHT) if by_weight else measured[name].share
        for name in group.layers
        if name in measured
    ]
    return sum(share for share in shares if not math.isnan(share))


def name_cause(group: FindingGroup) -> str:
    """Return a cause in a few words: what, in how many layers, the worst of them."""
    words = name_rule(group.worst)
    if not group.layers:
        return words
    worst = printable(cut_middle(group.layers[0], LONGEST_NAME))
    many = len(group.layers) > 1
    where = f"in {spell_count(len(group.layers), 'layer')}, worst in " if many else "in "
    return f"{words}, {where}{worst}"


def offer_way_back(comparison: Comparison, variant: str) -> str:
    """Return what taking the loss back will bring and cost, empty where nothing is known."""
    outputs = comparison.outputs.get(variant)
    best = find_best(outputs) if outputs is not None else None
    if outputs is None or best is None or outputs.sqnr_db is None:
        return ""
    if not best.sqnr_db - outputs.sqnr_db >= LITTLE_DB:
        return ""
    count = sum(len(group.quantizers) for group in outputs.groups[: best.count])
    return (
        f"{format_level(outputs.sqnr_db)} → {format_level(best.sqnr_db)} with {count:,} of "
        f"{spell_count(len(outputs.quantizers), 'quantizer')} in float"
    )


def judge_variant(findings: Iterable[Finding], variant: str) -> str:
    """Return the worst severity of a variant's findings, empty without one."""
    return worst_severity(f for f in findings if f.variant == variant)
