"""Numbers -> findings: one function per rule, listed in `RULES`.

A rule claims one cause, and only what the numbers prove. Where a weak channel has a cause that
another rule names (clipping, a scale too wide), it is left to that rule, so that one fault is one
finding. Codes and scales come from `MeasuredWeight`; no rule walks a weight of its own accord,
but for the few that have to look at a suspect once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..measuring.comparison import Comparison
from ..records import SEVERITIES, Finding
from ..sharing import SharedCache
from .file_rules import (
    find_grid_snapped,
    find_layers_lost,
    find_left_in_float,
    find_not_quantized,
    find_not_understood,
    find_tied_weight,
    find_values_differ,
)
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

__all__ = ["RULES", "SEVERITIES", "Finding", "Rule", "find_problems"]


@dataclass(frozen=True)
class Rule:
    """``find`` yields the findings of one variant."""

    rule: str
    title: str
    find: Callable[[Comparison, str], Iterator[Finding]]


RULES: tuple[Rule, ...] = (
    Rule("channel-collapse", "channels with hardly a code of their own", find_channel_collapse),
    Rule("range-disparity", "one scale for channels of different width", find_range_disparity),
    Rule("clipping", "weights beyond the lowest or highest code", find_clipping),
    Rule("saturation", "too many codes at the rails", find_saturation),
    Rule("scale-too-wide", "a scale far wider than the weights", find_wide_scale),
    Rule("unused-codes", "few codes occur", find_unused_codes),
    Rule("bad-scale", "a scale that is zero, negative, NaN or infinite", find_bad_scale),
    Rule("zero-point-range", "a zero-point that is no code", find_zero_point_range),
    Rule("bias-scale", "a bias scale that is not s_x·s_w", find_bias_scale),
    Rule("bias-overflow", "a bias beyond int32", find_bias_overflow),
    Rule("axis-mismatch", "scales along another axis than the channels", find_axis_mismatch),
    Rule("u8s8-saturation", "accuracy that depends on the processor", find_u8s8),
    Rule("tied-weight", "a shared weight quantized in one place only", find_tied_weight),
    Rule("left-in-float", "a layer left in float", find_left_in_float),
    Rule("grid-snapped", "float weights on a grid, without a scale", find_grid_snapped),
    Rule("not-quantized", "a file that is not quantized", find_not_quantized),
    Rule("layers-lost", "layers without a partner", find_layers_lost),
    Rule("values-differ", "codes that are not those of the float weight", find_values_differ),
    Rule("not-understood", "what could not be read", find_not_understood),
)


_found: SharedCache[tuple[Finding, ...]] = SharedCache(size=8)


def find_problems(comparison: Comparison) -> tuple[Finding, ...]:
    """Return the findings of every rule on every variant, judged once for all who ask.

    The worst severity comes first; within it, layers are in graph order.
    """
    return _found.get(comparison, lambda: _find_problems(comparison))


def _find_problems(comparison: Comparison) -> tuple[Finding, ...]:
    found = [
        finding
        for rule in RULES
        for name in comparison.variants
        for finding in rule.find(comparison, name)
    ]
    position = {layer: i for i, layer in enumerate(comparison.weights)}
    return tuple(
        sorted(
            found,
            key=lambda f: (
                SEVERITIES.index(f.severity),
                f.variant,
                position.get(f.layer, -1),
                f.rule,
            ),
        )
    )
