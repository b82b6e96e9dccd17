"""Numbers -> findings: one function per rule, listed in `RULES`.

A rule claims one cause, and only what the numbers prove. Where a weak channel has a cause that
another rule names (clipping, a scale too wide), it is left to that rule, so that one fault is one
finding. Codes and scales come from `MeasuredWeight`; no rule walks a weight of its own accord,
but for the few that have to look at a suspect once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..measuring.comparison import Comparison
from ..reading.layers import layers_by_name
from ..sharing import SharedCache
from .activation_rules import (
    find_changed_network,
    find_coarse_parameter,
    find_impossible_scale,
    find_lost_constant,
    find_quantizer_mismatch,
    find_runs_in_float,
    find_swallowed_range,
)
from .byte_rules import find_bytes
from .file_rules import (
    find_grid_snapped,
    find_layers_lost,
    find_left_in_float,
    find_not_quantized,
    find_not_understood,
    find_tied_weight,
    find_values_differ,
)
from .finding_wording import TITLES
from .findings import SEVERITIES, Finding
from .identity_rules import drop_consequences, find_dead_weights, find_other_network
from .loading_rules import find_does_not_load
from .measured_rules import MEASURED
from .parameter_rules import (
    find_axis_mismatch,
    find_bad_scale,
    find_bias_overflow,
    find_bias_scale,
    find_u8s8,
    find_zero_point_range,
)
from .resolution_rules import (
    find_channel_collapse,
    find_clipping,
    find_range_disparity,
    find_saturation,
    find_unused_codes,
    find_wide_scale,
)

__all__ = [
    "MEASURED_RULES",
    "RULES",
    "SEVERITIES",
    "WEIGHT_RULES",
    "Finding",
    "Rule",
    "find_problems",
]


@dataclass(frozen=True)
class Rule:
    """``find`` yields the findings of one variant."""

    rule: str
    find: Callable[[Comparison, str], Iterator[Finding]]

    @property
    def title(self) -> str:
        return TITLES[self.rule]


WEIGHT_RULES: tuple[Rule, ...] = (
    Rule("channel-collapse", find_channel_collapse),
    Rule("range-disparity", find_range_disparity),
    Rule("clipping", find_clipping),
    Rule("saturation", find_saturation),
    Rule("scale-too-wide", find_wide_scale),
    Rule("unused-codes", find_unused_codes),
    Rule("bad-scale", find_bad_scale),
    Rule("zero-point-range", find_zero_point_range),
    Rule("bias-scale", find_bias_scale),
    Rule("bias-overflow", find_bias_overflow),
    Rule("axis-mismatch", find_axis_mismatch),
    Rule("does-not-load", find_does_not_load),
    Rule("wasted-bytes", find_bytes),
    Rule("other-network", find_other_network),
    Rule("dead-weight", find_dead_weights),
    Rule("u8s8-saturation", find_u8s8),
    Rule("swallowed-range", find_swallowed_range),
    Rule("impossible-scale", find_impossible_scale),
    Rule("quantizer-mismatch", find_quantizer_mismatch),
    Rule("lost-constant", find_lost_constant),
    Rule("changed-network", find_changed_network),
    Rule("coarse-parameter", find_coarse_parameter),
    Rule("runs-in-float", find_runs_in_float),
    Rule("tied-weight", find_tied_weight),
    Rule("left-in-float", find_left_in_float),
    Rule("grid-snapped", find_grid_snapped),
    Rule("not-quantized", find_not_quantized),
    Rule("layers-lost", find_layers_lost),
    Rule("values-differ", find_values_differ),
    Rule("not-understood", find_not_understood),
)
MEASURED_RULES = tuple(Rule(rule, find) for rule, find in MEASURED.items())
RULES = (*WEIGHT_RULES, *MEASURED_RULES)
"""Those about files and weights, then those about what running a variant found."""


_findings: SharedCache[tuple[Finding, ...]] = SharedCache(size=8)


def find_problems(comparison: Comparison) -> tuple[Finding, ...]:
    """Return the findings of every rule on every variant, judged once for all who ask.

    The worst severity comes first; within it, layers are in graph order.
    """
    return _findings.get(comparison, lambda: _find_problems(comparison))


def _find_problems(comparison: Comparison) -> tuple[Finding, ...]:
    # What a file holds may be zero, NaN or infinite: rules say so, numpy need not.
    with np.errstate(all="ignore"):
        findings = drop_consequences(
            _about_a_layer(finding, comparison)
            for rule in RULES
            for name in comparison.variants
            for finding in rule.find(comparison, name)
        )
    position = {layer: i for i, layer in enumerate(comparison.layer_names)}
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                SEVERITIES.index(f.severity),
                f.variant,
                position.get(f.layer_name, -1),
                f.rule,
            ),
        )
    )


def _about_a_layer(finding: Finding, comparison: Comparison) -> Finding:
    """Return a finding about a layer or the whole file: a Q or DQ node by itself is no layer."""
    name = finding.layer_name
    if not name or name in comparison.layer_names:
        return finding
    known = any(name in layers_by_name(model) for model in comparison.variants.values())
    return finding if known else replace(finding, layer_name="")
