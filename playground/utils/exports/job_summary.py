"""What a check found as Markdown, for the summary of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..parameter_inspector import (
    MARKS,
    Comparison,
    Finding,
    FindingGroup,
    describe_group,
    describe_group_remedy,
    describe_loss,
    describe_refusal,
    group_by_cause,
)
from .escaping import escape_markdown, shorten_name

HEAD = ("Severity", "File", "What is wrong", "What helps")


def create_job_summary(comparison: Comparison, findings: Sequence[Finding], verdict: str) -> str:
    """Return Markdown: a verdict, what was measured, and a table with a row for each cause.

    Args:
        verdict: one line about the whole.
    """
    lines = ["## Quantization check", "", escape_markdown(verdict), ""]
    for variant in comparison.outputs:
        lines += [escape_markdown(describe_loss(comparison, variant)), ""]
    for (layer_name, variant), refusal in comparison.unavailable.items():
        unread = f"{variant}: {shorten_name(layer_name)}: {describe_refusal(refusal)}"
        lines += [f"**Not read:** {escape_markdown(unread)}", ""]
    groups = group_by_cause(findings)
    if groups:
        lines += [_row(HEAD), _row(["---"] * len(HEAD))]
        lines += [_row(map(escape_markdown, _cells(group, comparison))) for group in groups]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(group: FindingGroup, comparison: Comparison) -> list[str]:
    model = comparison.variants.get(group.variant)
    file_name = model.path.name if model is not None and model.path else ""
    where = f"{shorten_name(file_name)} ({group.variant})" if file_name else group.variant
    layer = shorten_name(group.worst.layer_name) if len(group.findings) == 1 else ""
    evidence = f"{layer}: {describe_group(group)}" if layer else describe_group(group)
    severity = f"{MARKS[group.severity]} {group.severity}"
    return [severity, where, f"{evidence} ({group.rule})", describe_group_remedy(group)]
