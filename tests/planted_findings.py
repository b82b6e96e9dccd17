"""Findings with sentences of their own, for tests of what is done with any finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from playground.utils.parameter_inspector.judging.finding_wording import word
from playground.utils.parameter_inspector.judging.findings import Finding
from playground.utils.parameter_inspector.judging.phrases import Sentences


@dataclass(frozen=True)
class PlantedFacts:
    evidence: str
    remedy: str
    numbers: Mapping[str, float]


@word.register
def _(facts: PlantedFacts) -> Sentences:
    return Sentences(facts.evidence, facts.remedy)


def plant_finding(
    rule: str,
    severity: str,
    variant: str,
    layer_name: str,
    evidence: str,
    remedy: str,
    numbers: Mapping[str, float] | None = None,
) -> Finding:
    return Finding(
        rule, severity, variant, layer_name, PlantedFacts(evidence, remedy, numbers or {})
    )
