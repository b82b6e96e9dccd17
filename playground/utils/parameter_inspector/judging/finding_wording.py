"""The sentences about findings: the one place of them, for page, report, files and command line.

`TITLES` names each rule; `describe_finding` and `describe_remedy` say what is wrong and what to do.
"""

from __future__ import annotations

from functools import singledispatch

from . import (
    activation_words,
    byte_words,
    file_words,
    identity_words,
    loading_words,
    measured_words,
    parameter_words,
    resolution_words,
)
from .findings import Finding
from .phrases import Sentences

MARKS = {"error": "✕", "warning": "▲", "note": "●"}
"""What stands for a severity beside its colour."""

TITLES = {
    "channel-collapse": "channels that use only a few codes",
    "range-disparity": "one scale for channels of very different width",
    "clipping": "weights beyond the lowest or highest code",
    "saturation": "too many codes at the ends of their range",
    "scale-too-wide": "a scale far wider than the weights",
    "unused-codes": "most codes are never used",
    "bad-scale": "a scale that is zero, negative, NaN or infinite",
    "zero-point-range": "a zero-point outside the code range",
    "bias-scale": "a bias scale that is not input scale times weight scale",
    "bias-overflow": "a bias beyond int32",
    "axis-mismatch": "scales along another axis than the channels",
    "does-not-load": "a file that a runtime refuses",
    "wasted-bytes": "bytes that the file need not hold",
    "other-network": "a file of another network",
    "dead-weight": "a weight whose codes are all the zero-point",
    "u8s8-saturation": "accuracy that depends on the processor",
    "swallowed-range": "a range that a coarser scale swallows",
    "impossible-scale": "a scale that no number needs",
    "quantizer-mismatch": "written with one scale, read with another",
    "lost-constant": "a constant that quantization turns to zero",
    "changed-network": "operators that differ from the original's",
    "coarse-parameter": "a small parameter with a scale too coarse for it",
    "runs-in-float": "what runs in float all the same",
    "tied-weight": "a shared weight quantized in one place only",
    "left-in-float": "a layer left in float",
    "grid-snapped": "float weights on a grid, without a scale",
    "not-quantized": "a file that is not quantized",
    "layers-lost": "layers of the original that are missing",
    "values-differ": "weights that are not those of the original",
    "not-understood": "a parameter that could not be read",
    "output-lost": "an output that lost too much",
    "activation-mask": "a mask that takes the whole range of a scale",
    "activation-square": "a square, a root or a divisor quantized",
    "activation-pooling": "a pooling with the scale of its input",
    "activation-outliers": "a few outliers that take the range of a scale",
    "activation-clipping": "activations beyond what the scale holds",
    "activation-small-values": "activations that become 0",
    "under-minimum": "an output under what was asked for",
}
"""The name of each rule, by its id."""


def describe_finding(finding: Finding) -> str:
    """Return what is wrong, with the numbers that prove it, in one sentence."""
    return word(finding.facts).evidence


def describe_remedy(finding: Finding) -> str:
    """Return what to do about a finding, in one sentence."""
    return word(finding.facts).remedy


@singledispatch
def word(facts: object) -> Sentences:
    """Return the sentences about the facts of a finding; there is one function for each kind."""
    raise TypeError(f"no sentence is known for {type(facts).__name__}")


word.register(resolution_words.say_collapsed_channels)
word.register(resolution_words.say_channels_near_zero)
word.register(resolution_words.say_range_disparity)
word.register(resolution_words.say_unused_range)
word.register(resolution_words.say_range_of_outliers)
word.register(resolution_words.say_clipped_channels)
word.register(resolution_words.say_saturated_codes)
word.register(resolution_words.say_unused_codes)
word.register(parameter_words.say_bad_scales)
word.register(parameter_words.say_zero_point_outside)
word.register(parameter_words.say_zero_point_refused)
word.register(parameter_words.say_bias_scale_off)
word.register(parameter_words.say_bias_overflow)
word.register(parameter_words.say_wrong_axis)
word.register(parameter_words.say_wrong_axis_refused)
word.register(parameter_words.say_saturating_products)
word.register(file_words.say_tied_weight)
word.register(file_words.say_left_in_float)
word.register(file_words.say_snapped_weights)
word.register(file_words.say_nothing_quantized)
word.register(file_words.say_lost_layers)
word.register(file_words.say_other_values)
word.register(file_words.say_one_factor)
word.register(file_words.say_strayed_channels)
word.register(file_words.say_not_read)
word.register(loading_words.say_loading_problem)
word.register(byte_words.say_bytes_problem)
word.register(identity_words.say_other_network)
word.register(identity_words.say_dead_weights)
word.register(measured_words.say_output_lost)
word.register(measured_words.say_under_minimum)
word.register(measured_words.say_mask_range)
word.register(measured_words.say_square)
word.register(measured_words.say_pooling)
word.register(measured_words.say_outliers)
word.register(measured_words.say_clipping)
word.register(measured_words.say_small_values)
word.register(activation_words.say_swallowed_ranges)
word.register(activation_words.say_impossible_scales)
word.register(activation_words.say_differing_quantizers)
word.register(activation_words.say_lost_constants)
word.register(activation_words.say_changed_network)
word.register(activation_words.say_coarse_parameters)
word.register(activation_words.say_runs_in_float)
