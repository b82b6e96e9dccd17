"""The layers of a network, worst first: which rows there are, and which are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..parameter_inspector import (
    MARKS,
    METRICS,
    MOVING,
    RULES,
    SEVERITIES,
    WEIGHT_RULES,
    Comparison,
    Finding,
    MeasuredLayer,
    MeasuredWeight,
    measure_layers,
)
from ..spelling import (
    spell_count,
)
from .finding_tables import count_findings, name_rule, worst_severity

WORST_FIRST = METRICS[0].name


@dataclass(frozen=True, eq=False)
class RankedLayer:
    """A row of the ranking: a layer of one variant.

    Attributes:
        measured: its weight; None where it has none.
        run: what running the variant found of it; None before that.
    """

    layer_name: str
    variant: str
    measured: MeasuredWeight | None
    findings: tuple[Finding, ...]
    run: MeasuredLayer | None = None

    @property
    def severity(self) -> str:
        """The worst of its findings, empty without one."""
        return worst_severity(self.findings)

    @property
    def is_quantized(self) -> bool:
        return self.measured is not None and self.measured.quantization is not None

    def metric(self, name: str) -> float:
        return self.measured.metrics[name] if self.measured is not None else math.nan

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst first: by its share of the noise, until measured by its worst channel.

        An error that leaves nothing to compare comes first; what was not changed comes last.
        """
        if self.run is not None and not math.isnan(self.run.noise):
            return 0.5, -self.run.share
        decibels, disparity = self.metric(WORST_FIRST), self.metric("range_disparity")
        severity = [*SEVERITIES, ""].index(self.severity)
        unknown = 0 if self.severity == "error" else 2
        place = unknown if math.isnan(decibels) else (3 if decibels == math.inf else 1)
        known = decibels if place == 1 else 0.0
        return place, known, severity, -np.nan_to_num(disparity, nan=0.0)


def rank_layers(comparison: Comparison, findings: Sequence[Finding]) -> list[RankedLayer]:
    """Return every layer of every variant that is judged, the worst first."""
    judged = list_judged(comparison)
    places = [(layer, name) for layer, by_name in comparison.weights.items() for name in by_name]
    about: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.layer_name:
            about.setdefault((finding.layer_name, finding.variant), []).append(finding)
    runs = list_runs(comparison)
    places += [*comparison.unavailable, *about, *runs]
    ranked = [
        RankedLayer(
            layer,
            variant,
            comparison.find_measured(layer, variant),
            tuple(about.get((layer, variant), ())),
            runs.get((layer, variant)),
        )
        for layer, variant in dict.fromkeys(places)
    ]
    shown = [one for one in ranked if one.variant in judged or one.findings]
    return sorted(shown, key=lambda one: one.badness)


def list_runs(comparison: Comparison) -> dict[tuple[str, str], MeasuredLayer]:
    """Return what running found of each layer, by layer and variant.

    Without those that only pass on what others made: their quantizers are those of the others.
    """
    if not comparison.outputs:
        return {}
    layers = {layer.name: layer for layer in comparison.layers()}
    return {
        (name, variant): found
        for variant in comparison.outputs
        for name, found in measure_layers(comparison, variant).items()
        if layers[name].op_type not in MOVING or comparison.find_measured(name, variant)
    }


def list_judged(comparison: Comparison) -> list[str]:
    """Return the variants to judge: all but a float original that others are compared with."""
    judged = [name for name in comparison.variants if name != comparison.original]
    return judged or list(comparison.variants)


def select_ranked(ranked: Sequence[RankedLayer], level: str) -> list[RankedLayer]:
    """Return the rows that have a finding of this severity or a worse one; all for no level."""
    if not level:
        return list(ranked)
    limit = SEVERITIES.index(level)
    return [r for r in ranked if r.severity and SEVERITIES.index(r.severity) <= limit]


def create_severity_options(ranked: Sequence[RankedLayer]) -> dict[str, str]:
    """Return label -> severity: all rows, and those at least as bad as each that occurs."""
    options = {f"all {spell_count(len(ranked), 'row')}": ""}
    for level in SEVERITIES:
        if any(one.severity == level for one in ranked):
            count = len(select_ranked(ranked, level))
            more = "" if level == SEVERITIES[0] else " or worse"
            options[f"{MARKS[level]} {level}{more} · {count}"] = level
    return options


def select_variant(ranked: Sequence[RankedLayer], variant: str) -> list[RankedLayer]:
    """Return the rows of one variant."""
    return [one for one in ranked if one.variant == variant]


def order_layers(ranked: Sequence[RankedLayer], worst: str, others: Iterable[str]) -> list[str]:
    """Return the names of all layers: those of the worst variant first, then what has no row."""
    rows = sorted(ranked, key=lambda one: one.variant != worst)
    names, known = [one.layer_name for one in rows], list(others)
    return [name for name in dict.fromkeys([*names, *known]) if name in set(known)]


COSTLY_SHARE = 0.01


def fold_constants(
    ranked: Sequence[RankedLayer],
) -> tuple[list[RankedLayer], list[RankedLayer]]:
    """Return the rows to show, and those of constants and one-dimensional parameters.

    Such a row is shown all the same where it has an error or a warning, or costs as much as
    `COSTLY_SHARE`; and where there is nothing else.
    """
    folded = [one for one in ranked if is_constant(one) and not _is_news(one)]
    if len(folded) == len(ranked):
        return list(ranked), []
    hidden = set(map(id, folded))
    return [one for one in ranked if id(one) not in hidden], folded


def is_constant(one: RankedLayer) -> bool:
    """Whether all that the layer holds is a constant operand or a one-dimensional parameter."""
    weight = one.measured.weight if one.measured is not None else None
    if weight is None:
        return False
    lengths = sum(length > 1 for length in weight.shape)
    return len(weight.shape) < 2 or (weight.slot == "operand" and lengths < 2)


def _is_news(one: RankedLayer) -> bool:
    costs = one.run is not None and one.run.share >= COSTLY_SHARE
    return costs or one.severity in ("error", "warning")


def count_constants(folded: Sequence[RankedLayer]) -> str:
    """Return what is folded away in words, empty for nothing."""
    if len(folded) == 1:
        return "1 constant or one-dimensional parameter"
    return f"{len(folded):,} constants and one-dimensional parameters" if folded else ""


def summarize_findings(findings: Sequence[Finding], ranked: Sequence[RankedLayer]) -> str:
    """Return the state of the whole network in one sentence."""
    if findings:
        in_order = [finding for one in ranked for finding in one.findings] + list(findings)
        worst = next(f for f in in_order if f.severity == worst_severity(findings))
        where = ", ".join(filter(None, (worst.variant, worst.layer_name)))
        rest = "the worst is " if len(findings) > 1 else ""
        return f"{count_findings(findings)}: {rest}“{name_rule(worst)}” ({where})."
    measured = [one.measured for one in ranked if one.measured]
    quantized = [one for one in measured if one.quantization is not None]
    if not quantized:
        return "Nothing here is quantized, so there is nothing to judge."
    compared = sum(one.sums.e_square is not None for one in quantized)
    known = (
        f"{compared} of {len(quantized)} quantized weights were compared with a float original"
        if compared
        else "there is no float original to compare with, so the errors themselves are not known"
    )
    settled = is_settled(ranked)
    so = "No findings" if settled else "Weights look fine; activations not measured"
    rules = len(RULES if settled else WEIGHT_RULES)
    return f"{so}: none of the {rules} rules found anything wrong; {known}."


def is_settled(ranked: Sequence[RankedLayer]) -> bool:
    """Whether every quantized variant was run: before that, no findings say little."""
    run = {one.variant for one in ranked if one.run is not None}
    return {one.variant for one in ranked if one.is_quantized} <= run
