"""Rules about parameters: scales, zero-points, biases, axes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..measuring.comparison import Comparison, name_unpaired
from ..measuring.metrics import bias_saturation, bias_scale, held_bias_quantization
from ..quantization import Quantization, UnavailableError, is_integer
from ..reading.layers import list_layers
from ..records import Finding, Layer
from .channel_states import (
    ONE_AXIS,
    counted,
    is_misaligned,
    layer_axis,
    listed,
    measured_rows,
    nodes_to_exclude,
    quantized_matrices,
    together,
    which_channels,
)

# float32 rounds s_x·s_w by 6e-8, float16 by 5e-4.
BIAS_SCALE_TOLERANCE = 1e-2
# VPMADDUBSW adds two products of uint8 and int8 in int16: 255·(64 + 64) = 32,640 fits. The usual
# limits are those of 7 bits, [-64, 63]; onnxruntime's reduce_range goes up to 64.
U8S8_LIMITS = (-64, 64)
_IMPLIED_AXIS = {"Conv": 0, "FusedConv": 0, "ConvTranspose": 1}
_BY_AXIS = re.compile(
    r"axis -?\d+ is outside|scale has shape \((?P<length>\d+),\) but axis (?P<axis>\d+) of the "
    r"codes' shape \((?P<shape>[\d, ]+)\)"
)
BY_ZERO_POINT = re.compile(r"the zero-point is \w+ but the codes are \w+")


class _Parameter(NamedTuple):
    layer_name: str
    what: str
    quantization: Quantization
    scale: np.ndarray


def _layers_by_row(comparison: Comparison, variant: str) -> Iterator[tuple[str, Layer]]:
    """Yield the layers of a variant, each with the name of its row."""
    pairing, original = comparison.pairings.get(variant), comparison.naming_model
    paired = {pair.variant: pair.original for pair in pairing.pairs} if pairing else {}
    for layer in list_layers(comparison.variants[variant]):
        alone = layer.name if pairing is None else name_unpaired(variant, layer.name, original)
        yield paired.get(layer.name, alone), layer


def _all_quantizations(comparison: Comparison, variant: str) -> Iterator[_Parameter]:
    """Yield every quantization of a file once, with the first layer that has it."""
    seen = set()
    for layer_name, layer in _layers_by_row(comparison, variant):
        found = [(f"{p.slot} {p.name!r}", p.name, p.quantization) for p in layer.parameters]
        found += [
            (f"activation {a.tensor!r}", a.tensor, a.quantization)
            for a in (*layer.inputs, *layer.outputs)
        ]
        for what, name, quantization in found:
            if quantization is None:
                continue
            zero_point = quantization.zero_point_source
            key = name, quantization.scale_source.name, zero_point.name if zero_point else ""
            if key in seen:
                continue
            seen.add(key)
            try:
                scale = quantization.scale.astype(np.float64)
                _ = quantization.zero_point
            except UnavailableError:
                continue
            yield _Parameter(layer_name, what, quantization, scale)


def find_bad_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A scale of zero, a negative one, NaN or infinity: no value can be quantized with it.

    onnx.checker accepts them all. Negative scales are legal in blocks: onnxruntime's 4-bit
    quantizer writes signed abs-max / -8.
    """
    for layer_name, what, quantization, scale in _all_quantizations(comparison, variant):
        signed_blocks = quantization.granularity == "per-block"
        wrong = {
            "zero": scale == 0,
            "negative": (scale < 0) & np.isfinite(scale) & (not signed_blocks),
            "NaN": np.isnan(scale),
            "infinite": np.isinf(scale),
        }
        counts = {name: int(mask.sum()) for name, mask in wrong.items() if mask.any()}
        if counts:
            bad = np.logical_or.reduce(list(wrong.values())).reshape(-1)
            yield Finding(
                "bad-scale",
                "error",
                variant,
                layer_name,
                f"The scale of {what} is "
                + " and ".join(f"{name} in {n} of {scale.size}" for name, n in counts.items())
                + (f" ({which_channels(bad)})." if scale.size > 1 else "."),
                "Quantize this tensor again with a scale above zero (a tensor of zeros takes 1), "
                "and look at its calibration: it saw no data, or NaN.",
                {**counts, "scales": scale.size},
            )


def find_zero_point_range(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A zero-point that is no code: outside the codes in use, or of another data type.

    Source: ONNX QuantizeLinear-21, zero-point and codes have one type. The fractional zero-points
    of HQQ are legal.
    """
    for layer_name, what, quantization, _ in _all_quantizations(comparison, variant):
        zero_point = quantization.zero_point
        if quantization.zero_point_source is None or not is_integer(zero_point.dtype.name):
            continue
        low, high = quantization.code_limits
        values = zero_point.astype(np.float64)
        outside = (values < low) | (values > high)
        if outside.any():
            yield _bad_zero_point(
                variant, layer_name,
                f"The zero-point of {what} is {listed(np.unique(values[outside]).astype(int))} in "
                f"{int(outside.sum())} of {outside.size}, but its codes go from {low:.0f} to "
                f"{high:.0f}.",
                int(outside.sum()),
            )  # fmt: skip
    for layer_name, _, message in refusals(comparison, variant):
        if BY_ZERO_POINT.search(message):
            yield _bad_zero_point(variant, layer_name, f"Refused: {message}.", 1)


def _bad_zero_point(variant: str, layer_name: str, evidence: str, count: int) -> Finding:
    return Finding(
        "zero-point-range",
        "error",
        variant,
        layer_name,
        evidence,
        "Write the zero-point in the codes' data type and within its limits; for a symmetric "
        "scheme it is 0 (128 for uint8).",
        {"zero_points": count},
    )


def refusals(comparison: Comparison, variant: str) -> Iterator[tuple[str, Layer | None, str]]:
    """Yield why a parameter could not be read: row, layer where it is known, reason."""
    for layer_name, layer in _layers_by_row(comparison, variant):
        for message in layer.not_understood:
            yield layer_name, layer, message
    for (layer_name, name), message in comparison.unavailable.items():
        if name == variant:
            yield layer_name, None, message


def find_bias_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """An int32 bias whose scale is not s_x·s_w, or whose zero-point is not 0.

    An integer kernel adds the codes to its accumulator and reads neither. Source: ONNX
    QLinearConv-10.
    """
    for layer_name, measured in measured_rows(comparison, variant):
        held, product = held_bias_quantization(measured.layer), bias_scale(measured.layer)
        if held is None or product is None:
            continue
        if measured.layer.op_type in ("Gemm", "QGemm"):
            product = product * measured.layer.attribute("alpha", 1.0)
        good = np.isfinite(product) & (product > 0)
        scale = held.scale.astype(np.float64).reshape(-1)
        if scale.size not in (1, product.size) and product.size != 1:
            continue
        with np.errstate(all="ignore"):
            off = np.where(good & np.isfinite(scale) & (scale > 0), scale / product, 1.0)
        shifted = int(np.count_nonzero(held.zero_point))
        error = float(np.abs(off - 1).max(initial=0.0))
        if error <= BIAS_SCALE_TOLERANCE and not shifted:
            continue
        worst = int(np.abs(off - 1).argmax())
        yield Finding(
            "bias-scale",
            "error",
            variant,
            layer_name,
            f"The scale of the bias is {off[worst]:.4g} times input scale · weight scale in "
            f"channel {worst} ({int((np.abs(off - 1) > BIAS_SCALE_TOLERANCE).sum())} of {off.size} "
            f"channels are off)"
            + (f", and {shifted} of its zero-points are not 0." if shifted else "."),
            "Quantize the bias again as int32 with scale = input scale · weight scale and "
            "zero-point 0; an integer kernel assumes both.",
            {"worst_ratio": float(off[worst]), "zero_points": shifted},
        )


def find_bias_overflow(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A bias that int32 cannot hold in steps of s_x·s_w, for the weight's scale is too small.

    Stored codes at the limit are an error; a bias still in float is quantized by the runtime.
    """
    for layer_name, measured in measured_rows(comparison, variant):
        bias = measured.layer.bias
        share = bias_saturation(measured)
        if bias is None or not share > 0:
            continue
        count = round(share * float(np.prod(bias.shape)))
        state = (
            "sits at the limit of int32"
            if bias.is_quantized
            else "would be beyond int32 in steps of input scale · weight scale"
        )
        yield Finding(
            "bias-overflow",
            "error" if bias.is_quantized else "warning",
            variant,
            layer_name,
            f"{share:.1%} of the bias ({count} of {int(np.prod(bias.shape))} channels) {state}.",
            "Raise the weight's scale in these channels until abs(bias) / (input scale · weight "
            "scale) stays below 2^31 (onnxruntime 1.21 and later do so), or leave the layer out "
            f"with {nodes_to_exclude([layer_name], comparison.variants)}.",
            {"share": share, "channels": count},
        )


def find_axis_mismatch(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Scales along another axis than the operator's output channels.

    An optimized runtime turns Conv into QLinearConv, which has no axis: it takes the scales as
    those of the output channels, whatever the DequantizeLinear says.
    """
    for one in quantized_matrices(comparison, variant):
        weight = one.measured.weight
        if is_misaligned(one.measured):
            yield _wrong_axis(
                variant,
                one.layer_name,
                f"The {one.quantization.scale.size} scales run along axis {layer_axis(weight)} of "
                f"the weight {weight.shape}, but the output channels of "
                f"{one.measured.layer.op_type} are axis {weight.channel_axis}.",
            )
    for layer_name, layer, message in refusals(comparison, variant):
        if is_about_axis(message, layer):
            yield _wrong_axis(variant, layer_name, f"Refused: {message}.")


def _wrong_axis(variant: str, layer_name: str, evidence: str) -> Finding:
    return Finding(
        "axis-mismatch",
        "error",
        variant,
        layer_name,
        evidence,
        "Set the DequantizeLinear's `axis` to the output channels (Conv 0, ConvTranspose 1, Gemm 0 "
        "with transB else 1, MatMul last) and quantize along it.",
    )


def is_about_axis(message: str, layer: Layer | None) -> bool:
    """Return whether a refused scale would fit the axis that the operator implies."""
    found = _BY_AXIS.search(message)
    if found is None or layer is None or layer.op_type not in ONE_AXIS:
        return False
    if found["length"] is None:
        return True
    sizes = [int(size) for size in found["shape"].split(",") if size.strip()]
    implied = _IMPLIED_AXIS.get(layer.op_type, len(sizes) - 1)
    if "Gemm" in layer.op_type:
        implied = 0 if layer.attributes.get("transB") else 1
    fits = implied < len(sizes) and sizes[implied] == int(found["length"])
    return fits and int(found["axis"]) != implied


def find_u8s8(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """uint8 activations with int8 weights beyond [-64, 64]: accuracy depends on the processor.

    VPMADDUBSW adds two products in int16 and saturates, on x86-64 with AVX2 or AVX-512 without
    VNNI. Source: onnxruntime's documentation of quantization; often without consequence, so a
    note, one for the file.
    """
    beyond = {}
    for one in quantized_matrices(comparison, variant):
        layer, counts = one.measured.layer, one.measured.sums.code_counts
        unsigned = any(activation.data_type == "uint8" for activation in layer.inputs[:1])
        if not unsigned or one.quantization.data_type != "int8" or counts is None:
            continue
        inside = counts[U8S8_LIMITS[0] + 128 : U8S8_LIMITS[1] + 129].sum()
        if inside < counts.sum():
            beyond[one.layer_name] = 1 - float(inside / counts.sum())
    if beyond:
        worst = max(beyond, key=lambda layer_name: beyond[layer_name])
        yield Finding(
            "u8s8-saturation",
            "note",
            variant,
            together(beyond),
            f"{counted(len(beyond), 'layer')} with uint8 activations and int8 weights beyond "
            f"{list(U8S8_LIMITS)}, most in {worst} ({beyond[worst]:.0%} of its codes): sums of two "
            "products can saturate on x86-64 without VNNI.",
            "If accuracy differs between processors, quantize with `reduce_range=True` or with "
            "uint8 weights (`weight_type=QuantType.QUInt8`).",
            {"layers": len(beyond), "share": beyond[worst]},
        )
