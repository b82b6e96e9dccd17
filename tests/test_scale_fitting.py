"""Scale and zero-point are, bit for bit, those of onnxruntime's quantizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models_for_tests import element_type, floats, same_bits
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import quant_utils
from requantizing_cases import BLOCK, INTEGERS, SHAPE, wide

from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme

WEIGHTS = {
    "gaussian": floats(*SHAPE),
    "channels of different width": floats(*SHAPE) * np.float32([1e-3, 1, 40, 7, 2])[:, None, None],
    "all positive": np.abs(floats(*SHAPE)) + np.float32(0.5),
    "all negative": -np.abs(floats(*SHAPE)) - np.float32(0.5),
    "ties": np.float32(np.random.default_rng(3).integers(-255, 256, SHAPE) / 2),
    "a zero channel": floats(*SHAPE) * np.float32([1, 0, 1, 1, 1])[:, None, None],
    "tiny": floats(*SHAPE) * np.float32(1e-41),
    "constant": np.full(SHAPE, -0.3, np.float32),
}  # fmt: skip


def by_onnxruntime(
    values: np.ndarray, data_type: str, symmetric: bool, reduce_range: bool, axis: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes, scale and zero-point of onnxruntime's quantizer, channel by channel."""
    quant_type = element_type(data_type)
    parts = [values] if axis is None else [values.take(i, axis) for i in range(values.shape[axis])]
    with np.errstate(all="ignore"):
        found = [
            quant_utils.quantize_data(part.flatten(), quant_type, symmetric, reduce_range)
            for part in parts
        ]
        zero, scale = (np.array([wide(one[i]) for one in found]) for i in (0, 1))
        tensor = numpy_helper.from_array(values, "w")
        arguments = (found[0][0], found[0][1]) if axis is None else (zero, np.float32(scale))
        initializer = quant_utils.quantize_onnx_initializer(tensor, quant_type, *arguments, axis)
    stored = numpy_helper.to_array(initializer)
    return stored, scale if axis is not None else scale[0], zero if axis is not None else zero[0]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("data_type", INTEGERS)
def test_codes_scale_and_zero_point_are_those_of_onnxruntimes_quantizer(
    data_type, symmetric, reduce_range, axis
):
    granularity = "per-tensor" if axis is None else "per-channel"
    scheme = Scheme(data_type, granularity, symmetric, axis=axis, reduce_range=reduce_range)
    for values in WEIGHTS.values():
        done = requantize(values, scheme)
        stored, scale, zero_point = by_onnxruntime(values, data_type, symmetric, reduce_range, axis)
        same_bits(done.codes, stored)
        same_bits(done.quantization.scale, scale)
        same_bits(done.quantization.zero_point, zero_point)


@pytest.mark.parametrize("shape", [(34, 5), (32, 3), (7, 5)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("data_type", INTEGERS)
def test_blocks_are_those_of_onnxruntimes_quantizer(data_type, symmetric, axis, shape):
    values, quant_type = floats(*shape), element_type(data_type)
    values[:, 1] = 0
    done = requantize(
        values, Scheme(data_type, "per-block", symmetric, axis=axis, block_size=BLOCK)
    )
    zero, scale = quant_utils.compute_scale_zp_blocked(values, quant_type, axis, BLOCK, symmetric)
    same_bits(done.quantization.scale, scale)
    same_bits(done.quantization.zero_point, zero)
    stored = quant_utils.quantize_onnx_initializer(
        numpy_helper.from_array(values, "w"), quant_type, zero, scale, axis, block_size=BLOCK
    )
    same_bits(done.codes, numpy_helper.to_array(stored))


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_float8_clipped_by_std_is_onnxruntimes(axis):
    values = WEIGHTS["channels of different width"]
    granularity = "per-tensor" if axis is None else "per-channel"
    done = requantize(values, Scheme("float8e4m3fn", granularity, axis=axis, clipping="std"))
    parts = [values] if axis is None else [values.take(i, axis) for i in range(values.shape[axis])]
    found = [
        quant_utils.quantize_data(part.flatten(), TensorProto.FLOAT8E4M3FN, True) for part in parts
    ]
    same_bits(done.quantization.scale.reshape(-1), np.array([one[1] for one in found]))
    moved = done.codes.reshape(1, -1) if axis is None else np.moveaxis(done.codes, axis, 0)
    for ours, theirs in zip(moved, found, strict=True):
        same_bits(ours.reshape(-1), theirs[2])


@pytest.mark.parametrize("rmax", [0.7, 2.0])
@pytest.mark.parametrize("data_type", ["int8", "uint8", "int4"])
def test_a_clipped_range_saturates_as_onnxruntimes_rmin_and_rmax_do(data_type, rmax):
    values = floats(400)
    share = float((np.abs(values) <= rmax).mean() * 100)
    done = requantize(values, Scheme(data_type, clipping="percentile", percentile=share))
    limit = np.float32(done.quantization.scale * 1)
    zero, scale, stored = quant_utils.quantize_data(
        values, element_type(data_type), True,
        rmin_override=-reach(done), rmax_override=reach(done),
    )  # fmt: skip
    assert abs(float(scale) / float(limit) - 1) < 1e-6
    assert int(zero) == int(done.quantization.zero_point)
    off = np.abs(wide(done.codes) - wide(stored))
    assert off.max() <= 1 and (off > 0).mean() < 0.01  # the limit is known to one rounding only


def reach(done: Any) -> np.float32:
    low, high = done.scheme.limits
    return np.float32(float(done.quantization.scale) * (high - low) / 2)


def test_a_float16_scale_is_the_one_of_onnxruntimes_float16_weight():
    values = floats(60).astype(np.float16)
    done = requantize(values, Scheme(symmetric=False), scale_type="float16")
    zero, scale, stored = quant_utils.quantize_data(values, TensorProto.INT8, False)
    assert done.quantization.scale.dtype == np.float16
    same_bits(done.quantization.scale, np.asarray(scale))
    same_bits(done.quantization.zero_point, np.asarray(zero))
    same_bits(done.codes, stored)


def test_an_asymmetric_percentile_cuts_half_at_either_end():
    values = np.linspace(-1, 3, 100_001).astype(np.float32)
    done = requantize(
        values, Scheme("uint8", symmetric=False, clipping="percentile", percentile=90)
    )
    assert 255 * float(done.quantization.scale) == pytest.approx(0.9 * 4, rel=1e-3)
