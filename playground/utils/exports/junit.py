"""Findings as JUnit XML, for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence

from ..parameter_inspector import (
    Comparison,
    Finding,
    describe_finding,
    describe_refusal,
    describe_remedy,
)
from .escaping import escape_xml
from .finding_groups import group_findings, select_findings


def create_junit(
    comparison: Comparison,
    findings: Iterable[Finding],
    fail_on: str = "error",
) -> str:
    """Return the findings as JUnit XML: a suite for each variant, a case for each layer.

    A finding at or above ``fail_on`` is a failure, a milder one is said in the case's output; a
    weight that could not be read is an error.
    """
    groups = group_findings(findings)
    root = ET.Element("testsuites", name="quantization playground")
    for variant, model in comparison.variants.items():
        file_name = model.path.name if model.path else model.name
        suite = ET.SubElement(root, "testsuite", name=escape_xml(f"{variant} ({file_name})"))
        for layer_name in _list_cases(comparison, variant, groups):
            case = ET.SubElement(
                suite,
                "testcase",
                classname=escape_xml(variant),
                name=escape_xml(layer_name or "the whole file"),
            )
            _fill_case(case, groups.get((layer_name, variant), []), fail_on)
            if refusal := comparison.unavailable.get((layer_name, variant)):
                ET.SubElement(case, "error", message=escape_xml(describe_refusal(refusal)))
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _list_cases(
    comparison: Comparison, variant: str, groups: Mapping[tuple[str, str], Sequence[Finding]]
) -> tuple[str, ...]:
    """Return layers with a weight, those that cannot be read, and others that have findings."""
    names = [name for name, by_variant in comparison.weights.items() if variant in by_variant]
    names += [name for name, of_variant in comparison.unavailable if of_variant == variant]
    names += [name for name, of_variant in groups if of_variant == variant]
    return tuple(dict.fromkeys(names))


def _fill_case(case: ET.Element, findings: Sequence[Finding], fail_on: str) -> None:
    failing = select_findings(findings, fail_on)
    for finding in failing:
        failure = ET.SubElement(
            case,
            "failure",
            type=escape_xml(finding.rule),
            message=escape_xml(describe_finding(finding)),
        )
        failure.text = escape_xml(
            f"{finding.severity}: {describe_finding(finding)} {describe_remedy(finding)}"
        )
    milder = [finding for finding in findings if finding not in failing]
    if milder:
        ET.SubElement(case, "system-out").text = "\n".join(
            escape_xml(f"{f.severity}: {f.rule}: {describe_finding(f)} {describe_remedy(f)}")
            for f in milder
        )


def _count(suite: ET.Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
