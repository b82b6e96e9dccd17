"""SARIF 2.1.0: what its schema asks for, and each finding at its file, whatever the names are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from comparisons_for_tests import compare_convnets
from hostile_names import make_hostile
from planted_findings import plant_finding

from playground.utils import exports
from playground.utils.parameter_inspector import compare_folder, open_folder

DSCNN = Path(__file__).resolve().parents[1] / "models" / "dscnn"

# sarif-schema-2.1.0.json: of each object that is written, what it must hold and what it may hold.
REQUIRED = {
    "sarifLog": {"version", "runs"},
    "run": {"tool"},
    "tool": {"driver"},
    "toolComponent": {"name"},
    "reportingDescriptor": {"id"},
    "result": {"message"},
    "invocation": {"executionSuccessful"},
    "notification": {"message"},
}
ALLOWED = {
    "sarifLog": {"$schema", "version", "runs"},
    "run": {"tool", "invocations", "results", "columnKind"},
    "tool": {"driver"},
    "toolComponent": {"name", "rules"},
    "reportingDescriptor": {"id", "shortDescription"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations"},
    "invocation": {"executionSuccessful", "toolExecutionNotifications"},
    "notification": {"level", "message"},
}


@pytest.fixture(scope="module")
def convnets(tmp_path_factory):
    return compare_convnets(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module", params=["sound", "hostile"])
def written(request, convnets):
    """What was written, read again, and the findings that it is about."""
    if request.param == "hostile":
        comparison, findings = make_hostile()
    else:
        comparison = convnets
        findings = [
            plant_finding("a-rule", "error", "INT8", "conv1", "It is so.", "Do this."),
            plant_finding("b-rule", "note", "INT8", "", "It is so.", "Do that."),
            plant_finding("a-rule", "warning", "INT8", "fc", "It is so.", "Do this."),
        ]
    return json.loads(exports.create_sarif(comparison, findings, Path("/"))), findings


def walk(log):
    """Yield each object with the name that the schema has for it."""
    yield "sarifLog", log
    for run in log["runs"]:
        yield "run", run
        yield "tool", run["tool"]
        yield "toolComponent", run["tool"]["driver"]
        yield from (("reportingDescriptor", rule) for rule in run["tool"]["driver"]["rules"])
        yield from (("result", result) for result in run["results"])
        for invocation in run["invocations"]:
            yield "invocation", invocation
            for said in invocation["toolExecutionNotifications"]:
                yield "notification", said


def test_each_object_holds_what_the_schema_requires_and_nothing_it_does_not_know(written):
    for kind, one in walk(written[0]):
        assert REQUIRED[kind] <= set(one) <= ALLOWED[kind], kind


def test_version_and_levels_are_those_of_the_schema(written):
    log, findings = written
    assert log["version"] == "2.1.0"
    levels = [result["level"] for result in log["runs"][0]["results"]]
    assert set(levels) <= {"none", "note", "warning", "error"}
    assert levels == [finding.severity for finding in findings]


def test_a_result_points_at_the_one_rule_that_it_names(written):
    (run,) = written[0]["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [
        finding.rule for finding in written[1]
    ]


def test_no_name_makes_a_link_or_a_place_in_a_message(written):
    for result in written[0]["runs"][0]["results"]:
        text = result["message"]["text"]
        assert text.isprintable()
        assert not set("[]{}") & set(re.sub(r"\\[\\\[\]]|\{\{|\}\}", "", text))


def test_a_file_in_the_folder_is_named_from_there_and_another_by_its_whole_path():
    comparison = compare_folder(open_folder(DSCNN))
    finding = plant_finding("a-rule", "error", "INT8", "conv1", "It is so.", "Do this.")

    def name_file(root: Path):
        (run,) = json.loads(exports.create_sarif(comparison, [finding], root))["runs"]
        (location,) = run["results"][0]["locations"]
        assert location["logicalLocations"][0]["fullyQualifiedName"] == "conv1"
        return location["physicalLocation"]["artifactLocation"]

    inside = {"uri": "dscnn/int8.onnx", "uriBaseId": "%SRCROOT%"}
    assert name_file(DSCNN.parent) == inside
    assert unquote(name_file(DSCNN / "elsewhere")["uri"]) == f"file://{DSCNN / 'int8.onnx'}"
