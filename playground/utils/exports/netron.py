"""Measurements and findings laid over the graph in Netron."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from ..parameter_inspector import (
    METRICS,
    Comparison,
    Finding,
    Metric,
    describe_finding,
    describe_remedy,
)
from .finding_groups import group_findings
from .node_targets import find_targets


def create_netron_attachment(
    comparison: Comparison,
    findings: Iterable[Finding] = (),
    graph: str | None = None,
) -> str:
    """Return a JSON file that Netron lays over an open model when it is dropped onto it.

    Every metric stands under "Metrics" of its node, every finding under "Metadata".

    Args:
        graph: the variant whose file is open in Netron; the first one if not given.

    Source: https://github.com/lutzroeder/netron, source/metadata.js (9.2): entries of kind, target
    and name; a target is the node's name up to its first line break; of two entries of one name
    the last one counts.
    """
    targets = find_targets(comparison, graph, findings := tuple(findings))
    metrics = [
        {"kind": "node", "target": target, "name": f"{variant} {_label(metric)}", "value": value}
        for layer_name, target in targets.items()
        for variant, measured in comparison.by_variant(layer_name).items()
        for metric in METRICS
        if (value := _netron_number(measured.metrics[metric.name])) is not None
    ]
    metadata = [
        {
            "kind": "node",
            "target": targets[layer_name],
            "name": f"{variant} {finding.severity}{f' {i}' if i else ''}",
            "value": f"{finding.rule}: {describe_finding(finding)} {describe_remedy(finding)}",
        }
        for (layer_name, variant), group in group_findings(findings).items()
        if layer_name in targets
        for i, finding in enumerate(group)
    ]
    content = {"signature": "netron:attachment", "metrics": metrics, "metadata": metadata}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _netron_number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return float(f"{number:.6g}") if math.isfinite(number) else ("∞" if number > 0 else "−∞")


def _label(metric: Metric) -> str:
    return f"{metric.label} [{metric.unit}]" if metric.unit else metric.label
