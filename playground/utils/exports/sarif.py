"""Findings as SARIF 2.1.0, which code scanning shows beside the files.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0; GitHub, SARIF support.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ..parameter_inspector import (
    TITLES,
    Comparison,
    Finding,
    Model,
    describe_finding,
    describe_refusal,
    describe_remedy,
)
from .escaping import escape_sarif, escape_unprintable

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def create_sarif(comparison: Comparison, findings: Sequence[Finding], root: Path) -> str:
    """Return the findings as one run of one tool; what could not be read makes it unsuccessful.

    Args:
        root: the folder that file names are given from, where they lie in it.
    """
    rules = list(dict.fromkeys(finding.rule for finding in findings))
    unread = [
        {"level": "error", "message": _message(f"{layer_name}: {describe_refusal(refusal)}")}
        for (layer_name, _), refusal in comparison.unavailable.items()
    ]
    run = {
        "tool": {
            "driver": {"name": "quantization-playground", "rules": [_rule(rule) for rule in rules]}
        },
        "invocations": [{"executionSuccessful": not unread, "toolExecutionNotifications": unread}],
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": finding.rule,
                "ruleIndex": rules.index(finding.rule),
                "level": finding.severity,
                "message": _message(f"{describe_finding(finding)} {describe_remedy(finding)}"),
                "locations": [_locate(finding, comparison.variants.get(finding.variant), root)],
            }
            for finding in findings
        ],
    }
    content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _rule(rule: str) -> dict[str, object]:
    return {"id": rule, "shortDescription": {"text": escape_sarif(TITLES.get(rule, rule))}}


def _message(text: str) -> dict[str, str]:
    return {"text": escape_sarif(text)}


def _locate(finding: Finding, model: Model | None, root: Path) -> dict[str, object]:
    """Return the file, and inside it the layer where a finding is about one."""
    location: dict[str, object] = {}
    if model is not None:
        # A model has no lines; GitHub shows nothing without one.
        location["physicalLocation"] = {
            "artifactLocation": _name_file(model, root),
            "region": {"startLine": 1},
        }
    if finding.layer_name:
        name = escape_unprintable(finding.layer_name)
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "element"}]
    return location


def _name_file(model: Model, root: Path) -> dict[str, str]:
    if model.path is None:
        return {"uri": quote(model.name)}
    path = (root / model.path).resolve()
    if path.is_relative_to(root.resolve()):
        relative = path.relative_to(root.resolve()).as_posix()
        return {"uri": quote(relative), "uriBaseId": "%SRCROOT%"}
    return {"uri": path.as_uri()}
