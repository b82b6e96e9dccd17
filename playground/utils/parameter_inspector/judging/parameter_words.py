"""The sentences about scales, zero-points and biases."""

from __future__ import annotations

from ..reading.model_file import printable
from ..wording import describe_refusal
from .parameter_facts import (
    BadScales,
    BiasOverflow,
    BiasScaleOff,
    SaturatingProducts,
    WrongAxis,
    WrongAxisRefused,
    ZeroPointOutside,
    ZeroPointRefused,
)
from .phrases import (
    Sentences,
    counted,
    list_names,
    name_channels,
    name_parameter,
    say_kept_in_float,
)


def say_bad_scales(facts: BadScales) -> Sentences:
    counts = (f"{kind} in {count} of {facts.scales}" for kind, count in facts.counts.items())
    where = f" ({name_channels(facts.indices)})" if facts.scales > 1 else ""
    return Sentences(
        f"The scale of {name_parameter(facts.parameter)} is {' and '.join(counts)}{where}.",
        "Quantize this tensor again with a scale above zero (a tensor of zeros takes 1), and look "
        "at its calibration: it saw no data, or NaN.",
    )


def say_zero_point_outside(facts: ZeroPointOutside) -> Sentences:
    low, high = facts.code_limits
    return Sentences(
        f"The zero-point of {name_parameter(facts.parameter)} is {list_names(facts.values)} in "
        f"{facts.count} of {facts.zero_points}, but its codes go from {low:.0f} to {high:.0f}.",
        _ZERO_POINT_REMEDY,
    )


def say_zero_point_refused(facts: ZeroPointRefused) -> Sentences:
    return Sentences(f"Refused: {describe_refusal(facts.refusal)}.", _ZERO_POINT_REMEDY)


_ZERO_POINT_REMEDY = (
    "Write the zero-point in the codes' data type and within its limits; for a symmetric scheme it "
    "is 0 (128 for uint8)."
)


def say_bias_scale_off(facts: BiasScaleOff) -> Sentences:
    shifted = f", and {facts.zero_points} of its zero-points are not 0" if facts.zero_points else ""
    return Sentences(
        f"The scale of the bias is {facts.worst_ratio:.4g} times input scale · weight scale in "
        f"channel {facts.worst_channel} ({facts.channels_off} of {facts.channels} channels are "
        f"off){shifted}.",
        "Quantize the bias again as int32 with scale = input scale · weight scale and zero-point "
        "0; an integer kernel assumes both.",
    )


def say_bias_overflow(facts: BiasOverflow) -> Sentences:
    state = (
        "is at the limit of int32"
        if facts.is_stored
        else "would be beyond int32 in steps of input scale · weight scale"
    )
    return Sentences(
        f"{facts.share:.1%} of the bias ({facts.count} of {facts.channels} channels) {state}.",
        "Quantize again with onnxruntime 1.21 or later, which raises the weight's scale in these "
        "channels until abs(bias) / (input scale · weight scale) stays below 2^31"
        + (", or with int8 weights" if facts.weight_bits > 8 else "")
        + f"; or {say_kept_in_float(facts.kept_in_float)}.",
    )


_AXIS_REMEDY = (
    "Set the DequantizeLinear's `axis` to the output channels (Conv 0, ConvTranspose 1, Gemm 0 "
    "with transB else 1, MatMul last) and quantize along it."
)


def say_wrong_axis(facts: WrongAxis) -> Sentences:
    return Sentences(
        f"The {facts.scales} scales run along axis {facts.axis} of the weight {facts.shape}, but "
        f"the output channels of {facts.op_type} are axis {facts.channel_axis}.",
        _AXIS_REMEDY,
    )


def say_wrong_axis_refused(facts: WrongAxisRefused) -> Sentences:
    return Sentences(f"Refused: {describe_refusal(facts.refusal)}.", _AXIS_REMEDY)


def say_saturating_products(facts: SaturatingProducts) -> Sentences:
    return Sentences(
        f"{counted(facts.layers, 'layer')} with uint8 activations and int8 weights beyond "
        f"{list(facts.code_limits)}, most in {printable(facts.worst_layer)} "
        f"({facts.worst_share:.0%} of its codes): sums of two products can saturate on x86-64 "
        "without VNNI.",
        "If accuracy differs between processors, quantize with `reduce_range=True` or with uint8 "
        "weights (`weight_type=QuantType.QUInt8`).",
    )
