"""Planted faults and shipped models, judged once."""

from __future__ import annotations

from functools import cache

import planted_activation_faults  # noqa: F401 - lists its faults beside the others
import pytest
from planted_faults import FAULTS, Fault, problems_of

from playground.utils.parameter_inspector.judging.findings import Finding


@cache
def planted(fault: Fault) -> tuple[Finding, ...]:
    return problems_of(fault.make())


def each_fault(test):
    return pytest.mark.parametrize(
        "fault", FAULTS, ids=lambda fault: f"{fault.rule}: {fault.name}"
    )(test)


def finding_of(name: str) -> Finding:
    fault = next(fault for fault in FAULTS if fault.make.__name__ == name)
    return next(finding for finding in planted(fault) if finding.rule == fault.rule)
