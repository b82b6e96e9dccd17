"""The layer that is chosen, in a line: what it is, and what it costs in the shown variant."""

from __future__ import annotations

import math

from ..parameter_inspector import Comparison, Finding, Role, measure_layers
from ..spelling import format_db, format_part, mark_severity
from .finding_tables import name_rule


def describe_chosen(comparison: Comparison, layer_name: str, variant: str) -> str:
    """Return operator, scheme, what the worst channel keeps and what the output loses by it."""
    layer = next((one for one in comparison.layers() if one.name == layer_name), None)
    measured = comparison.find_measured(layer_name, variant)
    parts = [layer.op_type] if layer is not None else []
    if measured is not None:
        how = measured.quantization.granularity if measured.quantization is not None else ""
        parts.append(f"{variant} stores it as {measured.weight.data_type} {how}".rstrip())
        worst = measured.metrics["worst_channel_sqnr_db"]
        if not math.isnan(worst):
            parts.append(f"worst channel {format_db(worst)}")
    share = _share(comparison, layer_name, variant)
    if not math.isnan(share):
        parts.append(f"share of the noise {format_part(share)}")
    return " · ".join(parts)


def _share(comparison: Comparison, layer_name: str, variant: str) -> float:
    if variant not in comparison.outputs:
        return math.nan
    found = measure_layers(comparison, variant).get(layer_name)
    return found.share if found is not None else math.nan


def is_lost_by_activations(comparison: Comparison, layer_name: str, variant: str) -> bool:
    """Whether what flows through the layer is known to cost more than its weight."""
    if variant not in comparison.outputs:
        return False
    found = measure_layers(comparison, variant).get(layer_name)
    if found is None or not found.activations:
        return False
    flow = [found.share_of(role) for role in (Role.INPUT, Role.OUTPUT)]
    weight = found.share_of(Role.WEIGHT)
    return sum(s for s in flow if s == s) > (0.0 if math.isnan(weight) else weight)


def title_finding(finding: Finding) -> str:
    """Return a finding in a few words: how bad, where, what."""
    return f"{mark_severity(finding.severity)} in {finding.variant}: {name_rule(finding)}"
