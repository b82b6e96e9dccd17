"""The sentences about findings: the one place of them, for page, report, files and command line.

`TITLES` names each rule; `describe_finding` and `describe_remedy` say what is wrong and what to do.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from ..facts import Evidence
from ..reading.model_file import printable
from ..wording import describe_grid, describe_refusal
from . import file_facts, measured_words, parameter_facts, resolution_facts
from .findings import Finding
from .phrases import (
    Sentences,
    counted,
    list_names,
    name_channels,
    name_parameter,
    say_finer_steps,
    spell_nodes,
)

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
    "u8s8-saturation": "accuracy that depends on the processor",
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

_BY_FULL_RANGE = "Set the scale by the weight's full range (MinMax), max abs / highest code"


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


# ------------------------------------------------- resolution


@word.register
def _(facts: resolution_facts.CollapsedChannels) -> Sentences:
    return Sentences(
        f"{facts.channel_count} of {facts.judged} channels ({facts.share:.0%}) are under "
        f"{facts.limit_db:.0f} dB, {facts.dead} of them dead (all codes equal the zero-point); "
        f"the worst is channel {facts.worst_channel} with {facts.worst_db:.1f} dB; the whole "
        f"tensor has {facts.sqnr_db:.1f} dB.",
        say_finer_steps(facts.remedy),
    )


@word.register
def _(facts: resolution_facts.ChannelsNearZero) -> Sentences:
    return Sentences(
        f"{len(facts.channels)} of {facts.alive} channels stay within {facts.steps} steps of zero, "
        f"which is about 18 dB at best, though the type has {facts.highest_code}: "
        f"{name_channels(facts.channels)}.",
        say_finer_steps(facts.remedy),
    )


@word.register
def _(facts: resolution_facts.RangeDisparity) -> Sentences:
    remaining = max(0.0, facts.bits - float(np.log2(facts.ratio)))
    kind = f"depthwise {facts.op_type}" if facts.is_depthwise else facts.op_type
    return Sentences(
        f"One scale serves all channels of this {kind}, and the widest is {facts.ratio:.3g} "
        f"times as wide as the median: of {facts.bits:.0f} bits the median channel keeps "
        f"{remaining:.1f}.",
        "Quantize per-channel, `quantize_static(..., per_channel=True)`, or equalize the ranges of "
        "the layers around it first.",
    )


@word.register
def _(facts: resolution_facts.UnusedRange) -> Sentences:
    where = (
        "The weights reach"
        if facts.has_one_scale
        else f"In {len(facts.channels)} of {facts.judged} channels "
        f"({name_channels(facts.channels)}) the weights reach"
    )
    return Sentences(
        f"{where} only {facts.reach:.2g} of the largest value that the scale can hold: "
        f"{-np.log2(facts.reach):.1f} of {facts.bits:.0f} bits are never used.",
        "Set the scale by this weight's own range, max abs / highest code: quantize it from the "
        "float weight again.",
    )


@word.register
def _(facts: resolution_facts.RangeOfOutliers) -> Sentences:
    return Sentences(
        f"Clipping the few widest weights would win {facts.gain_db:.1f} dB: the scale follows "
        f"outliers, and the tensor has {facts.sqnr_db:.1f} dB.",
        "Calibrate the weight's range by percentile or mean squared error instead of MinMax, or "
        "quantize it per-channel.",
    )


@word.register
def _(facts: resolution_facts.ClippedChannels) -> Sentences:
    return Sentences(
        f"{len(facts.channels)} of {facts.judged} channels ({name_channels(facts.channels)}) are "
        f"clipped: {facts.share_of_error:.0%} of the squared error is in weights beyond the lowest "
        "or highest code, and a scale that holds all of them would be "
        f"{facts.gain_db:.1f} dB better; {facts.saturation_share:.1%} of the codes are the lowest "
        "or the highest.",
        f"{_BY_FULL_RANGE}.",
    )


@word.register
def _(facts: resolution_facts.SaturatedCodes) -> Sentences:
    return Sentences(
        f"{facts.at_rails:,} of {facts.codes:,} codes ({facts.share:.1%}) are the lowest or the "
        f"highest, where {facts.usual_share:.1%} would be usual for "
        f"{counted(facts.scales, 'scale')}: the weights were clipped.",
        f"{_BY_FULL_RANGE}, from the float weight.",
    )


@word.register
def _(facts: resolution_facts.UnusedCodes) -> Sentences:
    return Sentences(
        f"{facts.used} of {facts.codes:.0f} codes are used, where this many weights could use "
        f"{facts.possible:.0f}: {np.log2(facts.possible / facts.used):.1f} bits are lost.",
        "Quantize this layer from the float weight again; if the codes come from a coarser grid "
        "(4 bits in an 8-bit type), store them in the narrower type.",
    )


# ------------------------------------------------- parameters


@word.register
def _(facts: parameter_facts.BadScales) -> Sentences:
    counts = (f"{kind} in {count} of {facts.scales}" for kind, count in facts.counts.items())
    where = f" ({name_channels(facts.indices)})" if facts.scales > 1 else ""
    return Sentences(
        f"The scale of {name_parameter(facts.parameter)} is {' and '.join(counts)}{where}.",
        "Quantize this tensor again with a scale above zero (a tensor of zeros takes 1), and look "
        "at its calibration: it saw no data, or NaN.",
    )


@word.register
def _(facts: parameter_facts.ZeroPointOutside) -> Sentences:
    low, high = facts.code_limits
    return Sentences(
        f"The zero-point of {name_parameter(facts.parameter)} is {list_names(facts.values)} in "
        f"{facts.count} of {facts.zero_points}, but its codes go from {low:.0f} to {high:.0f}.",
        _ZERO_POINT_REMEDY,
    )


@word.register
def _(facts: parameter_facts.ZeroPointRefused) -> Sentences:
    return Sentences(f"Refused: {describe_refusal(facts.refusal)}.", _ZERO_POINT_REMEDY)


_ZERO_POINT_REMEDY = (
    "Write the zero-point in the codes' data type and within its limits; for a symmetric scheme it "
    "is 0 (128 for uint8)."
)


@word.register
def _(facts: parameter_facts.BiasScaleOff) -> Sentences:
    shifted = f", and {facts.zero_points} of its zero-points are not 0" if facts.zero_points else ""
    return Sentences(
        f"The scale of the bias is {facts.worst_ratio:.4g} times input scale · weight scale in "
        f"channel {facts.worst_channel} ({facts.channels_off} of {facts.channels} channels are "
        f"off){shifted}.",
        "Quantize the bias again as int32 with scale = input scale · weight scale and zero-point "
        "0; an integer kernel assumes both.",
    )


@word.register
def _(facts: parameter_facts.BiasOverflow) -> Sentences:
    state = (
        "is at the limit of int32"
        if facts.is_stored
        else "would be beyond int32 in steps of input scale · weight scale"
    )
    return Sentences(
        f"{facts.share:.1%} of the bias ({facts.count} of {facts.channels} channels) {state}.",
        "Raise the weight's scale in these channels until abs(bias) / (input scale · weight scale) "
        "stays below 2^31 (onnxruntime 1.21 and later do so), or leave the layer out with "
        f"{spell_nodes(facts.nodes)}.",
    )


_AXIS_REMEDY = (
    "Set the DequantizeLinear's `axis` to the output channels (Conv 0, ConvTranspose 1, Gemm 0 "
    "with transB else 1, MatMul last) and quantize along it."
)


@word.register
def _(facts: parameter_facts.WrongAxis) -> Sentences:
    return Sentences(
        f"The {facts.scales} scales run along axis {facts.axis} of the weight {facts.shape}, but "
        f"the output channels of {facts.op_type} are axis {facts.channel_axis}.",
        _AXIS_REMEDY,
    )


@word.register
def _(facts: parameter_facts.WrongAxisRefused) -> Sentences:
    return Sentences(f"Refused: {describe_refusal(facts.refusal)}.", _AXIS_REMEDY)


@word.register
def _(facts: parameter_facts.SaturatingProducts) -> Sentences:
    return Sentences(
        f"{counted(facts.layers, 'layer')} with uint8 activations and int8 weights beyond "
        f"{list(facts.code_limits)}, most in {printable(facts.worst_layer)} "
        f"({facts.worst_share:.0%} of its codes): sums of two products can saturate on x86-64 "
        "without VNNI.",
        "If accuracy differs between processors, quantize with `reduce_range=True` or with uint8 "
        "weights (`weight_type=QuantType.QUInt8`).",
    )


# ------------------------------------------------- the file


@word.register
def _(facts: file_facts.TiedWeight) -> Sentences:
    layers = len(facts.quantized_layers) + len(facts.float_layers)
    return Sentences(
        f"One weight serves {counted(layers, 'layer')}: quantized in "
        f"{list_names(facts.quantized_layers)}, float in {list_names(facts.float_layers)}.",
        f"Quantize both branches or neither: {spell_nodes(facts.nodes)}, or add the float branch's "
        "operator to `op_types_to_quantize`.",
    )


@word.register
def _(facts: file_facts.LeftInFloat) -> Sentences:
    are = "is" if len(facts.layers) == 1 else "are"
    return Sentences(
        f"{list_names(facts.layers)} ({counted(len(facts.layers), 'layer')}, {facts.share:.2%} of "
        f"the weights) {are} float; in all, {facts.share_of_all_float:.1%} of this file's weights "
        "are.",
        "If that is not meant, take it off `nodes_to_exclude` and add its operator to "
        "`op_types_to_quantize`; `quantize_dynamic` leaves Conv out.",
    )


@word.register
def _(facts: file_facts.SnappedWeights) -> Sentences:
    return Sentences(
        f"{counted(len(facts.layers), 'float weight')} with few levels, "
        f"{list_names(facts.layers)}: in {printable(facts.layers[0])} {facts.distinct} distinct "
        f"numbers of {facts.size:,}, "
        f"{describe_grid(facts.grid)}.",
        "Export the model with its quantizers (QuantizeLinear and DequantizeLinear): as it stands "
        "every runtime computes in float.",
    )


@word.register
def _(facts: file_facts.NothingQuantized) -> Sentences:
    name = facts.name_that_says_so
    called = f", though the file is called {name!r}" if name else ""
    layers = facts.layers_with_quantized_activations
    activations = (
        f"; activations are quantized in {counted(layers, 'layer')}"
        if layers
        else ", and no activation is quantized"
    )
    return Sentences(
        f"All {facts.weights} weights are float{called}{activations}.",
        "Run the quantizer again and save what it returns; a simplifier that ran afterwards may "
        "have folded the codes back into float.",
    )


@word.register
def _(facts: file_facts.LostLayers) -> Sentences:
    return Sentences(
        f"{counted(len(facts.layers), 'layer')} of {facts.layer_count} ({facts.weights:,} "
        f"weights) {'is' if len(facts.layers) == 1 else 'are'} missing from this file: "
        f"{list_names(facts.layers)}; {facts.unmatched} of its own match none of the original.",
        "Check that both files come from one export; if they do, name the nodes before quantizing: "
        "a quantizer that finds layers by name loses those without one.",
    )


@word.register
def _(facts: file_facts.OtherValues) -> Sentences:
    by = "order" if facts.pairing is Evidence.ORDER else "name"
    return Sentences(
        f"Paired with {printable(facts.paired_with)} by {by} only: the mean cosine of their "
        f"channels is {facts.cosine:.2f}, where the same weight has at least 0.84.",
        "Compare with the float model that this file was made from; errors against this one are "
        "not shown.",
    )


@word.register
def _(facts: file_facts.OneFactor) -> Sentences:
    return Sentences(
        f"Every channel is {facts.factor:.4g} times that of the float weight, one factor for all, "
        "which no equalization makes.",
        "Check that the scale is the one the codes were made with.",
    )


@word.register
def _(facts: file_facts.StrayedChannels) -> Sentences:
    return Sentences(
        f"In {len(facts.channels)} of {facts.judged} channels ({name_channels(facts.channels)}) "
        f"the error is more than {facts.steps} steps (rounding makes 0.29) and not by clipping; "
        f"RMSE over the tensor is {facts.rmse_steps:.2f} steps.",
        "Check that the scale is the one the codes were made with and that the float model is the "
        "one they were made from; after quantization-aware training this is expected.",
    )


@word.register
def _(facts: file_facts.NotRead) -> Sentences:
    return Sentences(
        f"Not read: {describe_refusal(facts.refusal)}.",
        "No other rule has judged this layer; open the file that this one was converted or packed "
        "from, or look at the tensor itself.",
    )


# ------------------------------------------------- what running found

word.register(measured_words.say_output_lost)
word.register(measured_words.say_under_minimum)
word.register(measured_words.say_mask_range)
word.register(measured_words.say_square)
word.register(measured_words.say_pooling)
word.register(measured_words.say_outliers)
word.register(measured_words.say_clipping)
word.register(measured_words.say_small_values)
