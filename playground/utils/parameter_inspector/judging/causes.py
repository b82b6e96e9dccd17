"""Findings of one cause are one: what page, report and command line show first.

The findings themselves stay as they are: a group lists its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from .findings import SEVERITIES, Finding, FinerSteps

ONE_SCALE = "one scale"
"""The cause of collapse and disparity where one scale serves all channels."""


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one variant that one change cures.

    Attributes:
        findings: the worst first; never empty.
        cause: `ONE_SCALE`, or the rule.
    """

    cause: str
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Finding:
        return self.findings[0]

    @property
    def severity(self) -> str:
        return self.worst.severity

    @property
    def variant(self) -> str:
        return self.worst.variant

    @property
    def rule(self) -> str:
        return self.worst.rule

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, each once, the worst first; empty for what is about the whole file."""
        return tuple(dict.fromkeys(f.layer_name for f in self.findings if f.layer_name))

    @property
    def remedies(self) -> tuple[FinerSteps, ...]:
        """What gives finer steps to each layer, where the findings are about steps."""
        found = (finer_steps(finding) for finding in self.findings)
        return tuple(remedy for remedy in found if remedy is not None)


def group_by_cause(findings: Iterable[Finding]) -> tuple[FindingGroup, ...]:
    """Return the findings in groups, in the order of the worst of each."""
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(_key(finding), []).append(finding)
    made = [group for found in groups.values() for group in _split(found)]
    return tuple(sorted(made, key=lambda group: SEVERITIES.index(group.severity)))


def _split(findings: list[Finding]) -> Iterator[FindingGroup]:
    """Yield the findings as one group; several of one layer are several faults."""
    ordered = tuple(sorted(findings, key=_badness))
    if len({finding.layer_name for finding in ordered}) > 1:
        yield FindingGroup(_cause(ordered[0]), ordered)
        return
    for finding in ordered:
        yield FindingGroup(_cause(finding), (finding,))


def _key(finding: Finding) -> Hashable:
    """Return what findings of one cause share; what is about the file stands alone."""
    if not finding.layer_name:
        return id(finding)
    remedy = finer_steps(finding)
    how = (remedy.method, remedy.reaches_per_channel) if remedy is not None else None
    kind = None if _cause(finding) == ONE_SCALE else type(finding.facts)
    return finding.variant, _cause(finding), kind, how


def _cause(finding: Finding) -> str:
    remedy = finer_steps(finding)
    shares = remedy is not None and remedy.has_one_scale
    by_scale = finding.rule in ("channel-collapse", "range-disparity")
    return ONE_SCALE if shares and by_scale else finding.rule


def _badness(finding: Finding) -> tuple[float, ...]:
    """Severity, then the SQNR of the worst channel, then the disparity."""
    numbers = finding.numbers
    return (
        SEVERITIES.index(finding.severity),
        numbers.get("worst_db", float("inf")),
        -numbers.get("ratio", 0.0),
    )


def finer_steps(finding: Finding) -> FinerSteps | None:
    """Return what would give finer steps, where a finding is about steps that are too coarse."""
    remedy = getattr(finding.facts, "remedy", None)
    return remedy if isinstance(remedy, FinerSteps) else None
