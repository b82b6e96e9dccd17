"""A finding carries facts; what leaves for machines are their numbers."""

from __future__ import annotations

import json

import pytest
from judged_models import each_fault, planted

from playground.utils.parameter_inspector.judging.finding_wording import TITLES
from playground.utils.parameter_inspector.judging.findings import SEVERITIES


@each_fault
def test_the_numbers_of_a_finding_are_plain_numbers_by_name(fault):
    for finding in planted(fault):
        numbers = {name: float(number) for name, number in finding.numbers.items()}
        assert json.loads(json.dumps(numbers)) == pytest.approx(numbers, nan_ok=True)


@each_fault
def test_a_finding_has_a_known_rule_and_severity(fault):
    assert {finding.rule for finding in planted(fault)} <= set(TITLES)
    assert {finding.severity for finding in planted(fault)} <= set(SEVERITIES)
