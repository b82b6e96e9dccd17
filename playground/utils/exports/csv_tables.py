"""Measurements and findings as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable

from ..parameter_inspector import (
    METRICS,
    Comparison,
    Finding,
    MeasuredWeight,
    describe_finding,
    describe_remedy,
)
from .escaping import escape_formula
from .finding_groups import group_findings


def create_metrics_csv(comparison: Comparison, findings: Iterable[Finding] = ()) -> str:
    """Return one line for each layer of each variant: what it is, every metric, its findings.

    A metric that the layer cannot have is an empty cell.
    """
    groups = group_findings(findings)
    head = ["layer", "variant", "layer_in_file", "node_type", "data_type", "granularity", "shape"]
    lines: list[list[object]] = [[*head, *(metric.name for metric in METRICS), "findings"]]
    for layer_name, by_variant in comparison.weights.items():
        for variant, measured in by_variant.items():
            rules = "; ".join(finding.rule for finding in groups.get((layer_name, variant), ()))
            numbers = [_csv_number(measured.metrics[metric.name]) for metric in METRICS]
            lines.append([layer_name, variant, *_describe(measured), *numbers, rules])
    return _to_csv(lines)


def create_findings_csv(findings: Iterable[Finding]) -> str:
    """Return one line for each finding."""
    head: list[object] = ["severity", "rule", "variant", "layer", "evidence", "remedy"]
    return _to_csv(
        [
            head,
            *(
                [
                    finding.severity,
                    finding.rule,
                    finding.variant,
                    finding.layer_name,
                    describe_finding(finding),
                    describe_remedy(finding),
                ]
                for finding in findings
            ),
        ]
    )


def _describe(measured: MeasuredWeight) -> list[object]:
    quantization = measured.quantization
    shape = " x ".join(map(str, measured.weight.shape))
    granularity = quantization.granularity if quantization else ""
    return [
        measured.layer.name,
        measured.layer.op_type,
        measured.weight.data_type,
        granularity,
        shape,
    ]


def _csv_number(number: float) -> float | str:
    return "" if math.isnan(number) else float(number)


def _to_csv(lines: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([escape_formula(cell) for cell in line] for line in lines)
    return buffer.getvalue()
