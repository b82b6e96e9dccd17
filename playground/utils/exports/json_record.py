"""Everything that was measured and found, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from ..parameter_inspector import (
    METRICS,
    Comparison,
    Finding,
    MeasuredWeight,
    describe_evidence,
    describe_finding,
    describe_refusal,
    describe_remedy,
    summarize_variant,
)
from .json_numbers import json_numbers
from .output_records import list_output_records


def create_json(comparison: Comparison, findings: Iterable[Finding] = ()) -> str:
    """Return everything that was measured and found, as one JSON object.

    A metric that a layer cannot have is null; an infinite one is ``"Infinity"``, which is a string
    because JSON has no such number. ``outputs`` holds the variants that were run, by name.
    """
    content = {
        "variants": [
            asdict(summarize_variant(name, model)) for name, model in comparison.variants.items()
        ],
        "metrics": [
            {"name": m.name, "label": m.label, "unit": m.unit, "definition": m.definition}
            for m in METRICS
        ],
        "layers": [
            {
                "layer": layer_name,
                "variants": {name: _to_record(one) for name, one in by_variant.items()},
            }
            for layer_name, by_variant in comparison.weights.items()
        ],
        "unavailable": [
            {"layer": layer_name, "variant": variant, "reason": describe_refusal(refusal)}
            for (layer_name, variant), refusal in comparison.unavailable.items()
        ],
        "outputs": list_output_records(comparison),
        "findings": [_to_finding(finding) for finding in findings],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _to_record(measured: MeasuredWeight) -> dict[str, object]:
    quantization, pair = measured.quantization, measured.pair
    return {
        "layer": measured.layer.name,
        "node_name": measured.layer.node_name,
        "node_type": measured.layer.op_type,
        "weight": measured.weight.name,
        "shape": list(measured.weight.shape),
        "data_type": measured.weight.data_type,
        "granularity": quantization.granularity if quantization else None,
        "axis": quantization.axis if quantization else None,
        "block_size": quantization.block_size if quantization else None,
        "paired_by": describe_evidence(pair.evidence) if pair else None,
        "metrics": json_numbers(measured.metrics),
    }


def _to_finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "variant": finding.variant,
        "layer": finding.layer_name,
        "evidence": describe_finding(finding),
        "remedy": describe_remedy(finding),
        "numbers": json_numbers(finding.numbers),
    }
