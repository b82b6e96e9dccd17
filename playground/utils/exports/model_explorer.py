"""One metric as the colours of the nodes in Model Explorer."""

from __future__ import annotations

import json
import math

from ..parameter_inspector import METRICS, Comparison, Metric
from .node_targets import find_targets


def create_model_explorer_data(
    comparison: Comparison,
    variant: str,
    metric: Metric = METRICS[0],
    graph: str | None = None,
) -> str:
    """Return Model Explorer's node data: one metric of one variant, as the colour of the nodes.

    Args:
        graph: the variant whose file is open there; the first one if not given.

    Source: https://github.com/google-ai-edge/model-explorer, node_data_builder.py: GraphNodeData.
    https://github.com/justinchuby/model-explorer-onnx: a node's id is its name.
    """
    targets = find_targets(comparison, graph)
    values = {
        target: comparison.measured(layer_name, variant).metrics[metric.name]
        for layer_name, target in targets.items()
        if variant in comparison.by_variant(layer_name)
    }
    results = {name: {"value": value} for name, value in values.items() if math.isfinite(value)}
    content: dict[str, object] = {"results": results, **_colours(metric)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _colours(metric: Metric) -> dict[str, object]:
    """Return colours: at fixed limits for an SQNR, between the ends of what occurs for others."""
    red, yellow, white = "#f28b82", "#fdd663", "#ffffff"
    if metric.unit == "dB" and metric.higher_is_worse is False:
        limits = [(20, red), (30, yellow)]
        return {"thresholds": [{"value": v, "bgColor": colour} for v, colour in limits]}
    ends = (red, white) if metric.higher_is_worse is False else (white, red)
    return {"gradient": [{"stop": i, "bgColor": colour} for i, colour in enumerate(ends)]}
