"""Everything that was measured and found, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
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


def create_json(comparison: Comparison, findings: Iterable[Finding] = ()) -> str:
    """Return everything that was measured and found, as one JSON object.

    A metric that a layer cannot have is null; an infinite one is ``"Infinity"``, which is a string
    because JSON has no such number.
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
        "metrics": _json_numbers(measured.metrics),
    }


def _to_finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "variant": finding.variant,
        "layer": finding.layer_name,
        "evidence": describe_finding(finding),
        "remedy": describe_remedy(finding),
        "numbers": _json_numbers(finding.numbers),
    }


def _json_numbers(numbers: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _json_number(float(number)) for name, number in numbers.items()}


def _json_number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")
