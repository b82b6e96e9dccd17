"""The findings that an export is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..parameter_inspector import SEVERITIES, Finding


def select_findings(findings: Iterable[Finding], level: str) -> list[Finding]:
    """Return the findings whose severity is ``level`` or worse."""
    limit = SEVERITIES.index(level)
    return [f for f in findings if SEVERITIES.index(f.severity) <= limit]


def group_findings(findings: Iterable[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Return the findings by (layer, variant)."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.layer_name, finding.variant].append(finding)
    return dict(groups)
