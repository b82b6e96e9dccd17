"""A weight under a scheme: codes and values of the ONNX operators, and the facts that follow.

The oracles: onnxruntime's QuantizeLinear and DequantizeLinear, onnx's reference, and closed forms.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    constant,
    convnet,
    floats,
    onnxruntime_dequantizes,
    onnxruntime_quantizes,
    quantized_statically,
    reference_dequantizes,
    same_bits,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from requantizing_cases import SHAPE, UNCLIPPED, cut_small, gaussian, sqnr_db, table, wide

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.changing.candidates import list_candidates
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import DATA_TYPES, Scheme
from playground.utils.parameter_inspector.quantization import Quantization, numpy_dtype


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize(
    ("kind", "data_type", "symmetric"),
    [(QuantType.QInt8, "int8", True), (QuantType.QUInt8, "uint8", False)],
)
def test_every_weight_of_a_file_by_quantize_static_is_ours_bit_for_bit(
    tmp_path, kind, data_type, symmetric, reduce_range, per_channel
):
    model = convnet()
    exact = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    quantized = quantized_statically(
        model, tmp_path, weight_type=kind, activation_type=kind, per_channel=per_channel,
        reduce_range=reduce_range,
    )  # fmt: skip
    weights = [one.weight for one in list_layers(load_model(quantized)) if one.weight]
    assert len(weights) == 3
    for weight in weights:
        granularity = "per-channel" if per_channel else "per-tensor"
        # onnxruntime makes every per-channel weight symmetric unless told otherwise.
        middle = symmetric or per_channel
        scheme = Scheme(data_type, granularity, middle, reduce_range=reduce_range)
        values = exact[weight.name.removesuffix("_quantized")]
        done = requantize(values, scheme, weight.channel_axis)
        same_bits(done.codes, weight.codes)
        same_bits(done.quantization.scale, weight.quantization.scale)
        same_bits(done.values, weight.values)


def by_operators(values: np.ndarray, held: Quantization) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and values of onnxruntime's QuantizeLinear and DequantizeLinear, as float64.

    onnx's reference stands in for the types whose operators onnxruntime lacks.
    """
    attributes: dict[str, int] = {} if held.axis is None else {"axis": held.axis}
    if held.block_size:
        attributes["block_size"] = held.block_size
    scale, zero = held.scale, held.zero_point
    if held.data_type in ("int2", "uint2", "float4e2m1"):
        stored = reference_quantizes(values, scale, zero, attributes)
        return wide(stored), reference_dequantizes(stored, scale, zero, **attributes)
    seen = TensorProto.FLOAT if held.data_type.startswith("float") else TensorProto.INT32
    quantized = onnxruntime_quantizes(values, scale, zero, seen_as=seen, **attributes)
    narrow = quantized.astype(numpy_dtype(held.data_type))
    return wide(quantized), onnxruntime_dequantizes(narrow, scale, zero, **attributes)


def reference_quantizes(x: np.ndarray, scale: Any, zero: Any, attributes: Any) -> np.ndarray:
    arrays = {"x": x, "s": np.asarray(scale), "z": np.asarray(zero)}
    node = helper.make_node("QuantizeLinear", list(arrays), ["q"], **attributes)
    types = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in arrays.items()}
    inputs = [helper.make_tensor_value_info(n, t, arrays[n].shape) for n, t in types.items()]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name="q")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)
    return onnx.reference.ReferenceEvaluator(model).run(None, arrays)[0]


@pytest.mark.parametrize("scheme", table(), ids=str)
def test_codes_and_values_are_those_of_the_onnx_operators(scheme):
    values = floats(*SHAPE)
    done = requantize(values, scheme)
    stored, held = by_operators(values, done.quantization)
    if scheme.saturation_limits is not None:  # the operator saturates at the data type only
        low, high = scheme.saturation_limits
        clipped = np.clip(stored, low, high)
        np.testing.assert_array_equal(wide(done.codes), clipped)
        held = np.where(stored == clipped, held, done.values)
    else:
        same_bits(done.codes, stored)
    same_bits(done.values, held)
    assert done.values.dtype == np.float32


@pytest.mark.parametrize("scheme", table(), ids=str)
def test_no_code_leaves_the_bits_and_the_best_clip_is_never_worse_than_none(scheme):
    values = floats(*SHAPE, seed=4)
    done = requantize(values, scheme)
    if scheme.bits is not None:
        used = wide(done.codes)
        first = 0 if scheme.data_type == "uint8" else -(2 ** (scheme.bits - 1))
        assert used.min() >= first and used.max() < first + 2**scheme.bits
    if scheme.clipping == "mse" and not scheme.reduce_range:  # which is cut off once clipped
        plain = requantize(values, replace(scheme, clipping="min-max"))
        error, before = (np.square(values - one.values).sum() for one in (done, plain))
        assert error <= before * 1.0001


def bits_facts() -> list[tuple[int, float]]:
    return [(bits, 20 * math.log10(2**bits - 2)) for bits in (4, 5, 6, 7, 8)]


@pytest.mark.parametrize(("bits", "expected"), bits_facts())
def test_uniform_weights_have_twice_the_log_of_their_steps(bits, expected):
    values = np.random.default_rng(0).uniform(-1, 1, 500_000).astype(np.float32)
    done = requantize(values, Scheme(bits=bits))
    assert done.sqnr_db == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("sigmas", "expected"), [(3, 33.4), (4, 40.4), (5, 38.9)])
def test_gaussian_weights_clipped_at_k_sigma_have_the_known_sqnr(sigmas, expected):
    values = gaussian()
    values[np.abs(values) > sigmas] *= np.float32(1.0001)  # the limit lies between two weights
    values[0] = sigmas
    share = 100 * float((np.abs(values) <= sigmas).mean())
    done = requantize(values, Scheme(clipping="percentile", percentile=share))
    assert 127 * float(done.quantization.scale) == pytest.approx(sigmas, rel=2e-3)
    assert done.sqnr_db == pytest.approx(expected, abs=0.2)


def test_one_outlier_costs_20_db_and_a_percentile_leaves_only_what_it_costs_itself():
    values = gaussian()
    limit = float(np.abs(values).max())
    plain = requantize(values, Scheme())
    values[0] = 10 * limit
    wild = requantize(values, Scheme())
    clipped = requantize(values, Scheme(clipping="percentile", percentile=99.99))
    assert plain.sqnr_db - wild.sqnr_db == pytest.approx(20, abs=0.3)
    # All other weights have back what they lost; the outlier's own error bounds the whole.
    assert sqnr_db(values[1:], clipped.values[1:]) > plain.sqnr_db
    alone = 20 * math.log10(np.linalg.norm(wide(values)) / (values[0] - clipped.values[0]))
    assert alone - 0.5 < clipped.sqnr_db < alone
    assert clipped.sqnr_db > wild.sqnr_db + 6


def test_32_channels_over_three_decades_collapse_per_tensor_and_are_cured_per_channel():
    rng = np.random.default_rng(2)
    values = (rng.normal(size=(32, 9)) * np.geomspace(1e-3, 1, 32)[:, None]).astype(np.float32)
    per_tensor = requantize(values, Scheme())
    per_channel = requantize(values, Scheme(granularity="per-channel"))
    dead = int((~per_tensor.codes.any(axis=1)).sum())
    assert per_tensor.sqnr_db > 30 and dead >= 5 and per_tensor.worst_channel_sqnr_db == 0
    assert per_channel.worst_channel_sqnr_db > 35
    best, *_ = list_candidates(values, Scheme())
    assert best.gain_db > 35


def test_two_channels_of_different_width_lose_the_narrow_one_under_one_scale():
    narrow = np.random.default_rng(0).uniform(-0.499, 0.499, 2000)
    wide_one = np.random.default_rng(1).uniform(-127, 127, 2000)
    wide_one[0] = 127
    done = requantize(np.stack([wide_one, narrow]).astype(np.float32), Scheme())
    assert done.channel_sqnr_db == pytest.approx([48.1, 0.0], abs=0.2)


ODD = {
    "one element": np.float32([[0.37]]),
    "no dimension": np.float32(-2.5),
    "all zero": np.zeros((3, 4), np.float32),
    "constant": np.full((3, 4), 0.7, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "denormal": np.full((3, 4), 1e-44, np.float32),
    "huge": np.float32([[1e38, -1e38], [1, 2]]),
    "float64": np.linspace(-1, 1, 12).reshape(3, 4),
    "float16": np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float16),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_odd_weights_give_finite_values_of_their_shape(name, data_type):
    granularities = (("per-tensor", None), ("per-channel", None), ("per-block", 16))
    for (granularity, size), clipping in itertools.product(
        granularities, ("min-max", "percentile", "mse")
    ):
        done = requantize(ODD[name], Scheme(data_type, granularity, block_size=size,
                                            clipping=clipping))  # fmt: skip
        assert done.values.shape == done.codes.shape == ODD[name].shape
        assert np.isfinite(done.values).all()
        assert done.byte_count > 0 or not done.codes.size


def test_a_constant_and_a_single_weight_are_held_almost_exactly():
    for name in ("constant", "one element"):
        assert requantize(ODD[name], Scheme()).sqnr_db > 120


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_count(wrong):
    values = floats(3, 4)
    values[1, 1:3] = wrong
    with pytest.raises(ValueError, match="2 of 12 weights are NaN or infinite"):
        requantize(values, Scheme())


def test_a_range_that_no_scale_can_say_is_refused():
    values = np.float32([[3e38, -3e38]])
    with pytest.raises(ValueError, match="no float32 scale is so wide"):
        requantize(values, Scheme("int8", "per-block", block_size=16))
    with pytest.raises(ValueError, match="no float16 scale is so wide"):
        requantize(np.float32([1e9, 1]), Scheme(), scale_type="float16")


@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_bytes_are_those_of_the_tensors_in_a_file(scheme):
    done = requantize(floats(*SHAPE), scheme)
    arrays = done.codes, done.quantization.scale, done.quantization.zero_point
    stored = sum(len(constant("t", array).raw_data) for array in arrays)
    assert done.byte_count == stored


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_parts_and_threads_change_no_bit_of_codes_and_values(scheme, order, monkeypatch):
    values = np.asarray(floats(38, 3, 41), order=order)
    whole = requantize(values, scheme, channel_axis=1)
    cut_small(monkeypatch, 300)
    done = requantize(values, scheme, channel_axis=1)
    same_bits(done.codes, whole.quantization.quantize(values))
    same_bits(done.values, whole.quantization.dequantize(whole.codes))
    assert done.sqnr_db == pytest.approx(whole.sqnr_db, abs=1e-9)
    assert done.channel_sqnr_db == pytest.approx(whole.channel_sqnr_db, abs=1e-9, nan_ok=True)
