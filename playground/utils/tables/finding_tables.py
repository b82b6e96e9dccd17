"""Section 2: what is wrong, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..parameter_inspector import (
    Comparison,
)
from ..parameter_inspector.judging.rules import RULES, SEVERITIES, Finding
from .text import NOTHING

MARKS = {"error": "✕", "warning": "▲", "note": "●"}
TITLES = {rule.rule: rule.title for rule in RULES}


def mark_severity(severity: str) -> str:
    """Return a severity as a symbol and a word, a dash for none."""
    return f"{MARKS[severity]} {severity}" if severity else NOTHING


def name_findings(findings: Sequence[Finding]) -> str:
    """Return what is wrong in a few words, the worst first; a dash for nothing."""
    titles = dict.fromkeys(TITLES.get(finding.rule, finding.rule) for finding in findings)
    return "; ".join(titles) or NOTHING


def count_findings(findings: Sequence[Finding]) -> str:
    """Return how many findings of each severity: 2 errors, 1 warning."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(
        f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}"
        for level in SEVERITIES
        if counts[level]
    )


def explain_finding(finding: Finding) -> list[str]:
    """Return a finding as lines of plain text: what and where, the evidence, the remedy."""
    title = TITLES.get(finding.rule, finding.rule)
    return [
        f"{mark_severity(finding.severity)} in {finding.variant}: {title}",
        finding.evidence,
        f"What helps: {finding.remedy}",
    ]


def worst_severity(findings: Iterable[Finding]) -> str:
    """Return the worst severity, empty where there is no finding."""
    return min((f.severity for f in findings), key=SEVERITIES.index, default="")


def about_layer(findings: Iterable[Finding], layer: str) -> list[Finding]:
    """Return the findings about one layer, or about the whole file for an empty name."""
    return [finding for finding in findings if finding.layer == layer]


def list_layers_to_exclude(
    comparison: Comparison, findings: Iterable[Finding]
) -> tuple[list[str], list[str]]:
    """Return the layers that can be ticked, and those with an error or a warning."""
    findings = [finding for finding in findings if finding.layer]
    rows = list(dict.fromkeys([*comparison.weights, *(finding.layer for finding in findings)]))
    bad = {finding.layer for finding in findings if finding.severity != "note"}
    return rows, [row for row in rows if row in bad]
