"""A cell of the accuracy map as a script for ``quantize_static``, where that can make it."""

from __future__ import annotations

from dataclasses import replace

from ..parameter_inspector import (
    ACTIVATION_TYPES,
    WEIGHT_TYPES,
    Comparison,
    Widths,
    name_widths,
    plan_static_recipe,
)
from .recipes import spell_script


def can_be_built(widths: Widths) -> bool:
    """Return whether onnxruntime's quantizer has types of these widths."""
    return widths.weight_bits in WEIGHT_TYPES and widths.activation_bits in ACTIVATION_TYPES


def write_width_recipe(comparison: Comparison, variant: str, widths: Widths) -> str:
    """Return a script that quantizes the original at these widths, where the variant does.

    Ranges are those of the samples; nothing of the variant's own scales is kept.

    Raises:
        ValueError: onnxruntime has no such types.
        RewriteError, UnavailableError: as `write_recipe`.
    """
    if not can_be_built(widths) or widths.activation_bits is None:
        raise ValueError(f"quantize_static has no types for {name_widths(widths)}")
    recipe = replace(
        plan_static_recipe(comparison, variant),
        weight_type=WEIGHT_TYPES[widths.weight_bits],
        activation_type=ACTIVATION_TYPES[widths.activation_bits],
        per_channel=widths.granularity == "per-channel",
        reduce_range=False,
        overrides=(),
        biases={},
        notes=(),
    )
    title = f"# Quantizes the float original: {name_widths(widths)}."
    return spell_script(comparison, recipe, title)
