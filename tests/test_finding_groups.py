"""Findings by severity and by layer."""

from __future__ import annotations

import pytest
from planted_findings import plant_finding

from playground.utils.exports import group_findings, select_findings

FINDINGS = [
    plant_finding("a-rule", severity, variant, layer, "It is so.", "Do this.")
    for severity, variant, layer in (
        ("error", "INT8", "fc"), ("warning", "INT8", "fc"), ("note", "UINT8", "fc"),
        ("warning", "INT8", ""),
    )
]  # fmt: skip


@pytest.mark.parametrize(("level", "count"), [("error", 1), ("warning", 3), ("note", 4)])
def test_a_level_selects_what_is_as_severe_or_worse(level, count):
    assert len(select_findings(FINDINGS, level)) == count


def test_groups_hold_the_findings_of_a_layer_of_a_variant_in_order():
    groups = group_findings(FINDINGS)
    assert list(groups) == [("fc", "INT8"), ("fc", "UINT8"), ("", "INT8")]
    assert [finding.severity for finding in groups["fc", "INT8"]] == ["error", "warning"]
