"""JUnit XML: a suite for each variant, a case for each layer, whatever the names are."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from comparisons_for_tests import compare_convnets
from hostile_names import HOSTILE, make_hostile
from planted_findings import plant_finding

from playground.utils import exports
from playground.utils.parameter_inspector.judging.findings import Finding


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


def plant(severity: str, layer: str = "conv1", variant: str = "INT8") -> Finding:
    return plant_finding("a-rule", severity, variant, layer, "It is so.", "Do this.", {})


@pytest.fixture(scope="module")
def convnets(tmp_path_factory):
    return compare_convnets(tmp_path_factory.mktemp("exports"))


def test_junit_has_a_suite_for_each_variant_and_a_case_for_each_layer(convnets):
    comparison = convnets
    root = ET.fromstring(exports.create_junit(comparison, []))
    suites = root.findall("testsuite")
    assert len(suites) == len(comparison.variants)
    for suite in suites:
        assert [case.get("name") for case in suite.findall("testcase")] == ["conv1", "conv10", "fc"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "0", "0")


@pytest.mark.parametrize(
    ("severity", "fail_on", "failures"),
    [
        ("error", "error", 1),
        ("warning", "error", 0),
        ("warning", "warning", 1),
        ("note", "warning", 0),
    ],
)
def test_junit_fails_a_case_for_a_finding_at_the_level_or_above(
    convnets, severity, fail_on, failures
):
    root = ET.fromstring(exports.create_junit(convnets, [plant(severity)], fail_on))
    assert len(root.findall(".//failure")) == failures
    assert root.get("failures") == str(failures)
    told = "".join(root.itertext())
    assert "It is so." in told
    assert "Do this." in told


def test_junit_has_a_case_for_a_finding_about_the_whole_file(convnets):
    root = ET.fromstring(exports.create_junit(convnets, [plant("error", layer="")]))
    (case,) = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert case.get("name") == "the whole file"


def test_junit_is_xml_whatever_the_names_are(hostile):
    root = ET.fromstring(exports.create_junit(*hostile).encode("utf-8"))
    assert root.get("failures") == str(len(HOSTILE))
