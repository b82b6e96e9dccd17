"""Quantizers that tools put into a graph as operators of their own: what codes they make.

`QUANTIZERS` has one function for each; it is handed the operator's inputs, as constants, and its
attributes. `constants` folds by them, `decoders` reads weights by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..facts import Refusal, RefusalKind
from ..operators import QONNX_DOMAINS, find_operator
from ..quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    Quantization,
    Source,
    code_limits,
    create_quantization,
    list_slabs,
    numpy_dtype,
)

Inputs = Sequence[Source | None]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Quantized:
    """The codes that a quantizer makes or reads, and what they mean."""

    codes: Source
    quantization: Quantization


def _input(op_type: str, inputs: Inputs, index: int) -> Source:
    source = inputs[index] if index < len(inputs) else None
    if source is None:
        raise NotUnderstoodError(
            Refusal(RefusalKind.INPUT_NOT_CONSTANT, operator=op_type, index=index)
        )
    return source


def bytes_as(source: Source, data_type: str) -> Source:
    """Return a tensor that is kept as bytes by the type that its bytes are of."""
    if source.data_type != "uint8":
        return source
    return DerivedSource(source, partial(np.ndarray.view, dtype=numpy_dtype(data_type)),
                         source.shape, data_type)  # fmt: skip


# ------------------------------------------------- TensorRT


def read_trt_fp8(op_type: str, inputs: Inputs, attributes: Attributes) -> Quantized:
    """TensorRT's float8 DequantizeLinear: codes may be kept as bytes."""
    if any(source is None for source in (*inputs, None, None)[:2]):
        raise NotUnderstoodError(Refusal(RefusalKind.NO_CONSTANT_CODES, operator=op_type))
    codes, scale = (_input(op_type, inputs, i) for i in (0, 1))
    codes = bytes_as(codes, "float8e4m3fn")
    return Quantized(codes, create_quantization(codes, scale, None))


def make_trt_fp8(op_type: str, inputs: Inputs, attributes: Attributes) -> Quantized:
    """TensorRT's float8 QuantizeLinear of a float weight: float8e4m3fn of x / s, saturated."""
    weight, scale = (_input(op_type, inputs, i) for i in (0, 1))
    quantization = create_quantization(weight, scale, None, data_type="float8e4m3fn")
    return Quantized(_derived(weight, quantization.quantize, "float8e4m3fn"), quantization)


# ------------------------------------------------- QONNX


def _half_away(steps: np.ndarray) -> np.ndarray:
    return np.sign(steps) * np.floor(np.abs(steps) + 0.5)


def _half_towards_zero(steps: np.ndarray) -> np.ndarray:
    return np.sign(steps) * np.ceil(np.abs(steps) - 0.5)


def _away(steps: np.ndarray) -> np.ndarray:
    return np.sign(steps) * np.ceil(np.abs(steps))


_QONNX_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": _away,
    "DOWN": np.trunc,
    "HALF_UP": _half_away,
    "HALF_DOWN": _half_towards_zero,
    "ROUND_TO_ZERO": np.trunc,
}


def make_qonnx_quant(op_type: str, inputs: Inputs, attributes: Attributes) -> Quantized:
    """QONNX Quant: the file holds the float weight; codes are clip(x / s + z), then rounded.

    Source: the operator's definition in the qonnx repository.
    """
    weight, scale, zero_point, bits = (_input(op_type, inputs, i) for i in range(4))
    mode = str(attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in _QONNX_ROUNDING:
        raise NotUnderstoodError(
            Refusal(RefusalKind.ROUNDING_MODE, operator=op_type, value=attributes["rounding_mode"])
        )
    count, signed = float(bits.read().reshape(())), bool(attributes.get("signed", 1))
    if count == 1 and signed:  # defined so, as no export has one-bit integers
        return make_bipolar_quant(op_type, inputs, attributes)
    limits = integer_limits(count, signed, bool(attributes.get("narrow", 0)))
    data_type = _narrowest_type(limits)
    axis, vector = _as_vector(scale, weight.shape)
    offset = _qonnx_offset(zero_point, scale)
    derive = partial(
        _qonnx_codes,
        scale=scale.read(),
        offset=offset,
        limits=limits,
        rounding=_QONNX_ROUNDING[mode],
        data_type=data_type,
    )
    zeros = ArraySource(zero_point.name, offset.reshape(-1 if offset.size > 1 else ()), "float32")
    quantization = Quantization(data_type, vector, zeros, axis=axis, limits=limits)
    return Quantized(DerivedSource(weight, derive, weight.shape, data_type), quantization)


def _qonnx_offset(zero_point: Source, scale: Source) -> np.ndarray:
    offset = np.asarray(zero_point.read(), np.float32)
    if offset.size != 1 and offset.shape != scale.shape:
        raise NotUnderstoodError(
            Refusal(RefusalKind.ZERO_POINT_SHAPE, shape=offset.shape, scale_shape=scale.shape)
        )
    return offset


def integer_limits(bits: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """Return the lowest and the highest integer of so many bits."""
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1 - narrow


def _qonnx_codes(
    weight: np.ndarray,
    *,
    scale: np.ndarray,
    offset: np.ndarray,
    limits: tuple[float, float],
    rounding: Callable[[np.ndarray], np.ndarray],
    data_type: str,
) -> np.ndarray:
    codes = np.empty_like(weight, numpy_dtype(data_type))
    for slab, (s, z) in list_slabs(weight, scale, offset):
        steps = np.clip(weight[slab].astype(np.float32) / s + z, *limits)
        codes[slab] = rounding(steps).astype(codes.dtype)
    return codes


def make_bipolar_quant(op_type: str, inputs: Inputs, attributes: Attributes) -> Quantized:
    """QONNX BipolarQuant: the sign of the weight times a scale."""
    weight, scale = (_input(op_type, inputs, i) for i in (0, 1))
    axis, vector = _as_vector(scale, weight.shape)
    quantization = Quantization("int2", vector, axis=axis, limits=(-1.0, 1.0))
    return Quantized(_derived(weight, _signs, "int2"), quantization)


def _signs(weight: np.ndarray) -> np.ndarray:
    return np.where(weight >= 0, np.int8(1), np.int8(-1)).astype(numpy_dtype("int2"))


def _as_vector(scale: Source, shape: tuple[int, ...]) -> tuple[int | None, Source]:
    """Return the axis of a scale of the weight's full rank, and the scale as ONNX would hold it."""
    long = [i for i, d in enumerate(scale.shape) if d != 1]
    if not long:
        return None, ArraySource(scale.name, scale.read().astype(np.float32).reshape(()), "float32")
    axis = long[0] + len(shape) - len(scale.shape)
    if len(long) > 1 or axis < 0 or shape[axis] != scale.shape[long[0]]:
        raise NotUnderstoodError(
            Refusal(RefusalKind.SCALE_AGAINST_WEIGHT, shape=shape, scale_shape=scale.shape)
        )
    return axis, ArraySource(scale.name, scale.read().astype(np.float32).reshape(-1), "float32")


# ------------------------------------------------- Sony MCT


def make_mct_symmetric(op_type: str, inputs: Inputs, attributes: Attributes) -> Quantized:
    """Sony MCT's symmetric and power-of-two quantizers: a threshold T gives s = T / 2^(bits-1)."""
    weight, threshold = (_input(op_type, inputs, i) for i in (0, 1))
    bits, signed = int(attributes.get("num_bits", 8)), bool(attributes.get("signed", 1))
    limits = integer_limits(bits, signed, narrow=False)
    scale = threshold.read().astype(np.float32).reshape(-1) / np.float32(2.0 ** (bits - signed))
    source = ArraySource(threshold.name, scale, "float32")
    data_type = _narrowest_type(limits)
    checked = create_quantization(
        weight, source, None, axis=int(attributes.get("channel_axis", 0)), data_type=data_type
    )
    quantization = replace(checked, limits=limits)
    return Quantized(_derived(weight, quantization.quantize, data_type), quantization)


def _narrowest_type(limits: tuple[float, float]) -> str:
    """Return the ONNX integer type that holds the limits: int3 lives in int4, int5 in int8."""
    sign = "int" if limits[0] < 0 else "uint"
    for bits in (2, 4, 8, 16, 32):
        low, high = code_limits(f"{sign}{bits}")
        if low <= limits[0] and limits[1] <= high:
            return f"{sign}{bits}"
    raise NotUnderstoodError(Refusal(RefusalKind.CODES_TOO_WIDE, code_range=limits))


def _derived(weight: Source, derive: Callable[[np.ndarray], np.ndarray], data_type: str) -> Source:
    return DerivedSource(weight, derive, weight.shape, data_type)


# ------------------------------------------------- the tables

Make = Callable[[str, Inputs, Attributes], Quantized]

# What they put out are values.
QUANTIZERS: Mapping[tuple[str, str], Make] = {
    ("trt", "TRT_FP8DequantizeLinear"): read_trt_fp8,
    **{(d, op): make_qonnx_quant for d in QONNX_DOMAINS for op in ("Quant", "IntQuant")},
    **{(domain, "BipolarQuant"): make_bipolar_quant for domain in QONNX_DOMAINS},
    ("mct_quantizers", "WeightsSymmetricQuantizer"): make_mct_symmetric,
    ("mct_quantizers", "WeightsPOTQuantizer"): make_mct_symmetric,
}

# What they put out are codes, which another operator dequantizes.
ENCODERS: Mapping[tuple[str, str], Make] = {("trt", "TRT_FP8QuantizeLinear"): make_trt_fp8}


def make_quantized(
    domain: str, op_type: str, inputs: Inputs, attributes: Attributes
) -> Quantized | None:
    """Return what a quantizer makes of its inputs, None for an operator that is none.

    Raises:
        NotUnderstoodError: its inputs or attributes are not those it has by its definition.
    """
    make = QUANTIZERS.get((domain, op_type)) or ENCODERS.get((domain, op_type))
    if make is None:
        return None
    refuse_unknown_attributes(domain, op_type, attributes)
    return make(op_type, inputs, attributes)


def refuse_unknown_attributes(domain: str, op_type: str, names: Iterable[str]) -> None:
    """Refuse an attribute that might change what the codes mean, so that nothing is guessed.

    Raises:
        NotUnderstoodError: the operator has one that is not known of it.
    """
    operator = find_operator(domain, op_type)
    if operator is None or operator.attributes is None:
        return
    # onnx leaves names that begin with two underscores to whoever writes them.
    unknown = [n for n in names if n not in operator.attributes and not n.startswith("__")]
    if unknown:
        raise NotUnderstoodError(
            Refusal(
                RefusalKind.UNKNOWN_ATTRIBUTE, operator=op_type, domain=domain, value=unknown[0]
            )
        )
