"""What is wrong, in words; and which layers that makes ticked."""

from __future__ import annotations

from comparisons_for_tests import compare_lossy, make_finding

from playground.utils.parameter_inspector.judging.finding_wording import (
    TITLES,
    describe_finding,
    describe_remedy,
)
from playground.utils.tables import finding_tables


def test_layers_with_errors_and_warnings_are_ticked_to_be_left_out():
    findings = [make_finding("note"), make_finding("warning", "relu"), make_finding("error", "")]
    assert finding_tables.list_layers_to_exclude(compare_lossy(), findings) == (
        ["conv", "relu"],
        ["relu"],
    )


def test_a_finding_is_a_title_its_evidence_and_its_remedy():
    finding = make_finding("warning")
    title, evidence, remedy = finding_tables.explain_finding(finding)
    assert title == f"▲ warning in INT8: {TITLES['range-disparity']}"
    assert evidence == describe_finding(finding)
    assert remedy == f"What helps: {describe_remedy(finding)}"


def test_findings_are_counted_by_severity_the_worst_first():
    findings = [make_finding(one) for one in ("note", "error", "error")]
    assert finding_tables.count_findings(findings) == "2 errors, 1 note"
    assert finding_tables.worst_severity(findings) == "error"
    assert finding_tables.worst_severity([]) == ""


def test_a_rule_that_finds_a_layer_twice_is_named_once():
    twice = [make_finding("error"), make_finding("note")]
    assert finding_tables.name_findings(twice) == TITLES["range-disparity"]
    assert finding_tables.name_findings([]) == "–"


def test_several_layers_of_one_cause_are_explained_once():
    findings = [make_finding("warning", "a"), make_finding("error", "b")]
    (group,) = finding_tables.group_for_verdict(findings)
    title, evidence, _ = finding_tables.explain_group(group)
    assert title == f"✕ error in INT8: {TITLES['range-disparity']}"
    assert "b, a" in evidence
    assert finding_tables.title_group(group) == "Each of the 2 findings"


def test_the_findings_about_a_layer_are_not_those_about_the_file():
    findings = [make_finding("note", ""), make_finding("error", "conv")]
    assert finding_tables.select_about(findings, "conv") == findings[1:]
    assert finding_tables.select_about(findings, "") == findings[:1]
