"""Which node of an open graph a layer is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..parameter_inspector import (
    Comparison,
    Finding,
)
from .layer_lookup import find_layer_in


def find_targets(
    comparison: Comparison,
    graph: str | None,
    findings: Iterable[Finding] = (),
) -> dict[str, str]:
    """Return layer name -> name of its node in the graph, where one node alone has that name."""
    graph = graph or comparison.named_by
    named = dict.fromkeys([*comparison.weights, *(f.layer_name for f in findings if f.layer_name)])
    layers = {name: find_layer_in(comparison, graph, name) for name in named}
    names = {
        layer_name: layer.node_name.split("\n")[0] for layer_name, layer in layers.items() if layer
    }
    counts = Counter(names.values())
    return {layer_name: name for layer_name, name in names.items() if name and counts[name] == 1}
