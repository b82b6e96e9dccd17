"""Sections 2 and 3: what is wrong, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..parameter_inspector import (
    SEVERITIES,
    TITLES,
    Comparison,
    Finding,
    FindingGroup,
    describe_finding,
    describe_group,
    describe_group_remedy,
    describe_remedy,
    group_by_cause,
)
from ..spelling import NOTHING, mark_severity, spell_count


def name_rule(finding: Finding) -> str:
    """Return what is wrong in a few words, the same wherever the rule is named."""
    return TITLES.get(finding.rule, finding.rule)


def name_findings(findings: Sequence[Finding]) -> str:
    """Return what is wrong in a few words, the worst first; a dash for nothing."""
    titles = dict.fromkeys(name_rule(finding) for finding in findings)
    return "; ".join(titles) or NOTHING


def count_findings(findings: Sequence[Finding]) -> str:
    """Return how many findings of each severity: 2 errors, 1 warning."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(spell_count(counts[level], level) for level in SEVERITIES if counts[level])


def explain_finding(finding: Finding) -> list[str]:
    """Return a finding as lines of plain text: what and where, the evidence, the remedy."""
    return [
        f"{mark_severity(finding.severity)} in {finding.variant}: {name_rule(finding)}",
        describe_finding(finding),
        f"What helps: {describe_remedy(finding)}",
    ]


def explain_group(group: FindingGroup) -> list[str]:
    """Return the findings of one cause as lines of plain text, as `explain_finding` does."""
    return [
        f"{mark_severity(group.severity)} in {group.variant}: {name_rule(group.worst)}",
        describe_group(group),
        f"What helps: {describe_group_remedy(group)}",
    ]


def title_group(group: FindingGroup) -> str:
    """Return what the list of a group's own findings is called."""
    return f"Each of the {spell_count(len(group.findings), 'finding')}"


def group_for_verdict(findings: Iterable[Finding]) -> list[FindingGroup]:
    """Return what concerns more than one layer: causes that several have, and whole files."""
    groups = group_by_cause(findings)
    return [group for group in groups if len(group.findings) > 1 or not group.layers]


def worst_severity(findings: Iterable[Finding]) -> str:
    """Return the worst severity, empty where there is no finding."""
    return min((f.severity for f in findings), key=SEVERITIES.index, default="")


def select_about(findings: Iterable[Finding], layer_name: str) -> list[Finding]:
    """Return the findings about one layer, or about the whole file for an empty name."""
    return [finding for finding in findings if finding.layer_name == layer_name]


def list_layers_to_exclude(
    comparison: Comparison, findings: Iterable[Finding]
) -> tuple[list[str], list[str]]:
    """Return the layers that can be ticked, and those with an error or a warning."""
    about = [finding for finding in findings if finding.layer_name]
    names = list(dict.fromkeys([*comparison.weights, *(one.layer_name for one in about)]))
    bad = {one.layer_name for one in about if one.severity != "note"}
    return names, [name for name in names if name in bad]
