"""Rules about parameters: scales, zero-points, biases, axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..facts import Refusal, RefusalKind
from ..measuring.comparison import Comparison
from ..measuring.layer_work import name_unpaired
from ..measuring.metrics import (
    MeasuredWeight,
    bias_saturation,
    bias_scale,
    int32_bias_quantization,
)
from ..operators import operator_named
from ..quantization import Quantization, UnavailableError, is_integer
from ..reading.layers import list_layers
from ..records import Layer
from .channel_states import (
    indices,
    is_misaligned,
    layer_axis,
    measured_layers,
    only_layer,
    quantized_matrices,
    width_bits,
)
from .findings import Finding
from .float_neighbours import keep_in_float
from .parameter_facts import (
    BadScales,
    BiasOverflow,
    BiasScaleOff,
    ParameterName,
    SaturatingProducts,
    WrongAxis,
    WrongAxisRefused,
    ZeroPointOutside,
    ZeroPointRefused,
)
from .quantizing_methods import find_method

# float32 rounds s_x·s_w by 6e-8, float16 by 5e-4.
BIAS_SCALE_TOLERANCE = 1e-2
# VPMADDUBSW adds two products of uint8 and int8 in int16: 255·(64 + 64) = 32,640 fits. The usual
# limits are those of 7 bits, [-64, 63]; onnxruntime's reduce_range goes up to 64.
U8S8_LIMITS = (-64, 64)


class _Quantized(NamedTuple):
    """A tensor that has a quantization, and the first layer that has it."""

    layer_name: str
    parameter: ParameterName
    quantization: Quantization
    scale: np.ndarray


class RefusedParameter(NamedTuple):
    """Why a parameter could not be read; the layer where it is known."""

    layer_name: str
    layer: Layer | None
    refusal: Refusal


def _named_layers(comparison: Comparison, variant: str) -> Iterator[tuple[str, Layer]]:
    """Yield the layers of a variant, each with its name in the comparison."""
    pairing, original = comparison.pairings.get(variant), comparison.naming_model
    paired = {pair.variant: pair.original for pair in pairing.pairs} if pairing else {}
    for layer in list_layers(comparison.variants[variant]):
        alone = layer.name if pairing is None else name_unpaired(variant, layer.name, original)
        yield paired.get(layer.name, alone), layer


def _quantizations_of(layer: Layer) -> Iterator[tuple[ParameterName, Quantization | None]]:
    for parameter in layer.parameters:
        yield ParameterName(parameter.slot, parameter.name), parameter.quantization
    for activation in (*layer.inputs, *layer.outputs):
        yield ParameterName("activation", activation.tensor), activation.quantization


def _all_quantizations(comparison: Comparison, variant: str) -> Iterator[_Quantized]:
    """Yield every quantization of a file once, with the first layer that has it."""
    seen = set()
    for layer_name, layer in _named_layers(comparison, variant):
        for parameter, quantization in _quantizations_of(layer):
            if quantization is None:
                continue
            zero_point = quantization.zero_point_source
            sources = quantization.scale_source.name, zero_point.name if zero_point else ""
            if (parameter.tensor, *sources) in seen:
                continue
            seen.add((parameter.tensor, *sources))
            try:
                scale = quantization.scale.astype(np.float64)
                _ = quantization.zero_point
            except UnavailableError:
                continue
            yield _Quantized(layer_name, parameter, quantization, scale)


def find_bad_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A scale of zero, a negative one, NaN or infinity: no value can be quantized with it.

    onnx.checker accepts them all. Negative scales are legal in blocks: onnxruntime's 4-bit
    quantizer writes signed abs-max / -8.
    """
    for layer_name, parameter, quantization, scale in _all_quantizations(comparison, variant):
        signed_blocks = quantization.granularity == "per-block"
        wrong = {
            "zero": scale == 0,
            "negative": (scale < 0) & np.isfinite(scale) & (not signed_blocks),
            "NaN": np.isnan(scale),
            "infinite": np.isinf(scale),
        }
        counts = {kind: int(mask.sum()) for kind, mask in wrong.items() if mask.any()}
        if counts:
            bad = np.logical_or.reduce(list(wrong.values())).reshape(-1)
            facts = BadScales(parameter, counts, indices(bad), scale.size)
            yield Finding("bad-scale", "error", variant, layer_name, facts)


def find_zero_point_range(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A zero-point outside the codes in use, or of another data type than theirs.

    Source: ONNX QuantizeLinear-21, zero-point and codes have one type. The fractional zero-points
    of HQQ are legal.
    """
    for layer_name, parameter, quantization, _ in _all_quantizations(comparison, variant):
        zero_point = quantization.zero_point
        if quantization.zero_point_source is None or not is_integer(zero_point.dtype.name):
            continue
        low, high = quantization.code_limits
        numbers = zero_point.astype(np.float64)
        outside = (numbers < low) | (numbers > high)
        if outside.any():
            different = tuple(map(int, np.unique(numbers[outside])))
            count = int(outside.sum())
            facts = ZeroPointOutside(parameter, different, count, outside.size, (low, high))
            yield Finding("zero-point-range", "error", variant, layer_name, facts)
    for layer_name, _, refusal in refusals(comparison, variant):
        if is_about_zero_point(refusal):
            refused = ZeroPointRefused(refusal)
            yield Finding("zero-point-range", "error", variant, layer_name, refused)


def is_about_zero_point(refusal: Refusal) -> bool:
    return refusal.kind is RefusalKind.ZERO_POINT_TYPE


def refusals(comparison: Comparison, variant: str) -> Iterator[RefusedParameter]:
    """Yield why parameters of a variant could not be read."""
    for layer_name, layer in _named_layers(comparison, variant):
        for refusal in layer.not_understood:
            yield RefusedParameter(layer_name, layer, refusal)
    for (layer_name, name), refusal in comparison.unavailable.items():
        if name == variant:
            yield RefusedParameter(layer_name, None, refusal)


def find_bias_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """An int32 bias whose scale is not s_x·s_w, or whose zero-point is not 0.

    An integer kernel adds the codes to its accumulator and reads neither. Source: ONNX
    QLinearConv-10.
    """
    for layer_name, measured in measured_layers(comparison, variant):
        facts = _compare_bias_scale(measured)
        if facts is not None and (facts.channels_off or facts.zero_points):
            yield Finding("bias-scale", "error", variant, layer_name, facts)


def _compare_bias_scale(measured: MeasuredWeight) -> BiasScaleOff | None:
    """Return the scale of the bias over what it should be; None where that is not known."""
    stored, product = int32_bias_quantization(measured.layer), bias_scale(measured.layer)
    if stored is None or product is None:
        return None
    if operator_named(measured.layer.op_type).has_alpha:
        product = product * measured.layer.attribute("alpha", 1.0)
    good = np.isfinite(product) & (product > 0)
    scale = stored.scale.astype(np.float64).reshape(-1)
    if scale.size not in (1, product.size) and product.size != 1:
        return None
    with np.errstate(all="ignore"):
        ratio = np.where(good & np.isfinite(scale) & (scale > 0), scale / product, 1.0)
    away = np.abs(ratio - 1)
    worst = int(away.argmax()) if away.size else 0
    return BiasScaleOff(
        float(ratio[worst]) if away.size else 1.0,
        worst,
        channels_off=int((away > BIAS_SCALE_TOLERANCE).sum()),
        channels=ratio.size,
        zero_points=int(np.count_nonzero(stored.zero_point)),
    )


def find_bias_overflow(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A bias that int32 cannot hold in steps of s_x·s_w, for the weight's scale is too small.

    Stored codes at the limit are an error; a bias still in float is quantized by the runtime.
    """
    for layer_name, measured in measured_layers(comparison, variant):
        bias = measured.layer.bias
        share = bias_saturation(measured)
        if bias is None or not share > 0:
            continue
        channels = int(np.prod(bias.shape))
        quantization = measured.quantization
        facts = BiasOverflow(
            share,
            round(share * channels),
            channels,
            bias.is_quantized,
            width_bits(quantization) if quantization is not None else 0.0,
            keep_in_float(layer_name, comparison, find_method(comparison.variants[variant])),
        )
        severity = "error" if bias.is_quantized else "warning"
        yield Finding("bias-overflow", severity, variant, layer_name, facts)


def find_axis_mismatch(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Scales along another axis than the operator's output channels.

    An optimized runtime turns Conv into QLinearConv, which has no axis: it takes the scales as
    those of the output channels, whatever the DequantizeLinear says.
    """
    for matrix in quantized_matrices(comparison, variant):
        weight = matrix.measured.weight
        if is_misaligned(matrix.measured):
            facts = WrongAxis(
                matrix.quantization.scale.size,
                layer_axis(weight),
                weight.shape,
                matrix.measured.layer.op_type,
                weight.channel_axis,
            )
            yield Finding("axis-mismatch", "error", variant, matrix.layer_name, facts)
    for layer_name, layer, refusal in refusals(comparison, variant):
        if is_about_axis(refusal, layer):
            refused = WrongAxisRefused(refusal)
            yield Finding("axis-mismatch", "error", variant, layer_name, refused)


def is_about_axis(refusal: Refusal, layer: Layer | None) -> bool:
    """Return whether a refused scale would fit the axis that the operator implies."""
    if layer is None or not (operator := operator_named(layer.op_type)).one_axis:
        return False
    if refusal.kind is RefusalKind.AXIS_OUTSIDE:
        return True
    if refusal.kind is not RefusalKind.SCALE_SHAPE or len(refusal.scale_shape or ()) != 1:
        return False
    implied = operator.weight_axis(layer.attributes, len(refusal.shape))
    if implied is None or implied == refusal.axis:
        return False
    return refusal.shape[implied : implied + 1] == refusal.scale_shape


def find_u8s8(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """uint8 activations with int8 weights beyond [-64, 64]: accuracy depends on the processor.

    VPMADDUBSW adds two products in int16 and saturates, on x86-64 with AVX2 or AVX-512 without
    VNNI. Source: onnxruntime's documentation of quantization; often without consequence, so a
    note, one for the file.
    """
    beyond = {}
    for matrix in quantized_matrices(comparison, variant):
        layer, counts = matrix.measured.layer, matrix.measured.sums.code_counts
        unsigned = any(activation.data_type == "uint8" for activation in layer.inputs[:1])
        if not unsigned or matrix.quantization.data_type != "int8" or counts is None:
            continue
        inside = counts[U8S8_LIMITS[0] + 128 : U8S8_LIMITS[1] + 129].sum()
        if inside < counts.sum():
            beyond[matrix.layer_name] = 1 - float(inside / counts.sum())
    if beyond:
        worst = max(beyond, key=lambda layer_name: beyond[layer_name])
        facts = SaturatingProducts(len(beyond), worst, beyond[worst], U8S8_LIMITS)
        yield Finding("u8s8-saturation", "note", variant, only_layer(beyond), facts)
