"""Another quantization of a weight: bit-equal to onnxruntime's, and the facts that must come out.

The oracles: onnxruntime's quantizer, its QuantizeLinear and DequantizeLinear, onnx's reference, a
brute search, and closed forms.
"""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    codes,
    constant,
    convnet,
    element_type,
    floats,
    int8_conv,
    matmul_model,
    onnxruntime_dequantizes,
    onnxruntime_quantizes,
    quantized_statically,
    reference_dequantizes,
    same_bits,
    scales,
    source,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quant_utils

from playground.utils.parameter_inspector import (
    WorkCancelledError,
    compare_variants,
    list_layers,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.changing import schemes as requantize_module
from playground.utils.parameter_inspector.changing.planning import (
    Candidate,
    LayerOptions,
    TradeOff,
    choose,
    list_candidates,
    list_options,
    plan_model,
    read_exact,
    sensible_schemes,
    why_not_run,
)
from playground.utils.parameter_inspector.changing.schemes import (
    DATA_TYPES,
    Scheme,
    compute_sqnr_db,
    requantize,
    scheme_of,
)
from playground.utils.parameter_inspector.measuring.metrics import judged_channel_sqnr_db
from playground.utils.parameter_inspector.quantization import Quantization, numpy_dtype
from playground.utils.parameter_inspector.records import Layer, WeightTensor

MODELS = Path(__file__).resolve().parents[1] / "models"
INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
"""The integer types that onnxruntime's quantizer offers."""
FLOATS = ("float8e4m3fn", "float8e5m2", "float4e2m1")
SHAPE = (5, 34, 3)
"""Channels, 34 (no multiple of a block), 3."""
BLOCK = 16


def wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.float64)


def sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    exact = wide(exact)
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - wide(held))))


# Against onnxruntime's quantizer ------------------------------------------------------------------


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


# Against QuantizeLinear and DequantizeLinear ------------------------------------------------------


def table() -> list[Scheme]:
    """Every type, granularity, symmetry, reduced range and clipping; every number of bits once."""
    places = [("per-tensor", None), *(("per-channel", axis) for axis in range(3)),
              ("per-block", 0), ("per-block", 1)]  # fmt: skip
    schemes = []
    for data_type, (granularity, axis), clipping in itertools.product(
        DATA_TYPES, places, ("min-max", "percentile", "mse")
    ):
        plain = Scheme(
            data_type, granularity, axis=axis, clipping=clipping,
            percentile=97.0 if clipping == "percentile" else 99.99,
            block_size=BLOCK if granularity == "per-block" else None,
        )  # fmt: skip
        schemes.append(plain)
        if not data_type.startswith("float"):
            schemes.append(replace(plain, symmetric=False))
        if data_type in INTEGERS:
            schemes.append(replace(plain, reduce_range=True))
    for data_type, bits, symmetric in itertools.product(
        ("int8", "uint8"), range(2, 9), (False, True)
    ):
        schemes.append(Scheme(data_type, "per-channel", symmetric, axis=1, bits=bits))
        schemes.append(Scheme(data_type, "per-channel", symmetric, bits=bits, clipping="mse"))
    return schemes


UNCLIPPED = [scheme for scheme in table() if scheme.clipping == "min-max"]


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


# The facts ----------------------------------------------------------------------------------------


def bits_facts() -> list[tuple[int, float]]:
    return [(bits, 20 * math.log10(2**bits - 2)) for bits in (4, 5, 6, 7, 8)]


@pytest.mark.parametrize(("bits", "expected"), bits_facts())
def test_uniform_weights_have_twice_the_log_of_their_steps(bits, expected):
    values = np.random.default_rng(0).uniform(-1, 1, 500_000).astype(np.float32)
    done = requantize(values, Scheme(bits=bits))
    assert done.sqnr_db == pytest.approx(expected, abs=0.05)


def gaussian(count: int = 1_000_000) -> np.ndarray:
    return np.random.default_rng(1).normal(size=count).astype(np.float32)


@pytest.mark.parametrize(("sigmas", "expected"), [(3, 33.4), (4, 40.4), (5, 38.9)])
def test_gaussian_weights_clipped_at_k_sigma_have_the_known_sqnr(sigmas, expected):
    values = gaussian()
    values[np.abs(values) > sigmas] *= np.float32(1.0001)  # the limit lies between two weights
    values[0] = sigmas
    share = 100 * float((np.abs(values) <= sigmas).mean())
    done = requantize(values, Scheme(clipping="percentile", percentile=share))
    assert 127 * float(done.quantization.scale) == pytest.approx(sigmas, rel=2e-3)
    assert done.sqnr_db == pytest.approx(expected, abs=0.2)


def test_the_search_ends_near_four_sigma_on_gaussian_weights():
    done = requantize(gaussian(), Scheme(clipping="mse"))
    assert 3.7 < 127 * float(done.quantization.scale) < 4.2
    assert done.sqnr_db == pytest.approx(40.5, abs=0.1)


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


# The search, beside brute force -------------------------------------------------------------------


def brute_force_db(values: np.ndarray, scheme: Scheme) -> float:
    """The best SQNR of 2 000 ranges from 1/64 of the widest on, each row for itself."""
    rows = values.reshape(-1, 16) if scheme.granularity == "per-block" else values
    rows = rows.reshape(1, -1) if scheme.granularity == "per-tensor" else rows
    low, high = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
    if scheme.symmetric:
        high = np.maximum(-low, high)
        low = -high
    bottom, top = scheme.limits
    best = np.full(len(rows), np.inf)
    for factor in np.geomspace(1 / 64, 1, 2000):
        scale = (factor * (high.astype(float) - low) / (top - bottom))[:, None]
        zero = np.rint((bottom + top) / 2) + 0.0
        if not scheme.symmetric:
            zero = np.clip(np.rint(bottom - factor * low[:, None] / scale), bottom, top)
        held = (np.clip(np.rint(rows / scale) + zero, *data_limits(scheme)) - zero) * scale
        best = np.minimum(best, np.square(rows - held).sum(axis=1))
    return float(10 * np.log10(np.square(wide(values)).sum() / best.sum()))


def data_limits(scheme: Scheme) -> tuple[float, float]:
    info = quant_utils.ONNX_INT_TYPE_RANGE[element_type(scheme.data_type)]
    return float(info[0]), float(info[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel", "per-block"])
@pytest.mark.parametrize(
    ("data_type", "symmetric", "allowed_db"),
    [("int8", True, 0.1), ("uint8", False, 0.1), ("int4", True, 0.02), ("uint4", False, 0.02)],
)
def test_the_search_is_as_near_to_brute_force_as_it_says(
    data_type, symmetric, allowed_db, granularity, heavy, seed
):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, (12, 160)) if heavy else rng.normal(size=(12, 160))
    values = values.astype(np.float32)
    scheme = Scheme(
        data_type, granularity, symmetric, clipping="mse",
        block_size=16 if granularity == "per-block" else None,
    )  # fmt: skip
    done = requantize(values, scheme)
    assert brute_force_db(values, scheme) - done.sqnr_db < allowed_db


@pytest.mark.parametrize("heavy", [False, True])
def test_the_search_on_the_histogram_of_a_long_row_is_as_good(heavy):
    rng = np.random.default_rng(5)
    values = rng.standard_t(3, 40_000) if heavy else rng.normal(size=40_000)
    values = values.astype(np.float32)
    scheme = Scheme(clipping="mse")
    assert brute_force_db(values, scheme) - requantize(values, scheme).sqnr_db < 0.1


# Weights that are no distribution -----------------------------------------------------------------


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


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_outside_the_weight_is_refused(axis):
    with pytest.raises(ValueError, match=r"outside a weight of shape \(3, 4\)"):
        requantize(floats(3, 4), Scheme(granularity="per-channel", axis=axis))
    with pytest.raises(ValueError, match=r"outside a weight of shape \(3, 4\)"):
        requantize(floats(3, 4), Scheme(), channel_axis=axis)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"data_type": "int5"}, "data type 'int5' is none of int8, uint8"),
        ({"granularity": "per-row"}, "granularity 'per-row'"),
        ({"clipping": "kl"}, "clipping 'kl'"),
        ({"granularity": "per-block"}, "blocks need a size"),
        ({"block_size": 32}, "has no blocks of 32"),
        ({"bits": 9}, "bits are 2 to 8"),
        ({"data_type": "int4", "bits": 5}, "bits are 2 to 4 in int4"),
        ({"data_type": "float8e5m2", "symmetric": False}, "float8e5m2 is symmetric"),
        ({"data_type": "int2", "reduce_range": True}, "two bits have no reduced range"),
        ({"clipping": "std"}, "clipping by std is for float8e4m3fn"),
        ({"percentile": 20.0}, "percentile 20"),
    ],
)
def test_a_scheme_that_makes_no_sense_says_why(options, why):
    with pytest.raises(ValueError, match=why):
        Scheme(**options)


# Words, bytes, numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        (Scheme("int8", "per-channel"), "int8 per-channel symmetric"),
        (Scheme("uint8", symmetric=False), "uint8 per-tensor asymmetric"),
        (Scheme("int4", "per-block", block_size=32), "int4 in blocks of 32 symmetric"),
        (Scheme(bits=5), "int8 in 5 bits per-tensor symmetric"),
        (Scheme("float8e4m3fn"), "float8e4m3fn per-tensor"),
        (Scheme("int8", "per-channel", axis=2, reduce_range=True),
         "int8 per-channel symmetric on axis 2, reduced range"),
        (Scheme(clipping="mse"), "int8 per-tensor symmetric, clipped for the least error"),
        (Scheme(clipping="percentile", percentile=99.9),
         "int8 per-tensor symmetric, clipped at 99.9 %"),
    ],
)  # fmt: skip
def test_a_scheme_is_described_as_people_say_it(scheme, words):
    assert str(scheme) == scheme.describe() == words


@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_bytes_are_those_of_the_tensors_in_a_file(scheme):
    done = requantize(floats(*SHAPE), scheme)
    arrays = done.codes, done.quantization.scale, done.quantization.zero_point
    stored = sum(len(constant("t", array).raw_data) for array in arrays)
    assert done.byte_count == stored


def test_sqnr_is_that_of_numpy_for_the_tensor_and_each_channel():
    values, held = floats(*SHAPE), floats(*SHAPE) + floats(*SHAPE, seed=9) / 100
    for axis in range(3):
        tensor, channels = compute_sqnr_db(values, held, axis)
        assert tensor == pytest.approx(sqnr_db(values, held), abs=1e-6)
        parts = zip(np.moveaxis(values, axis, 0), np.moveaxis(held, axis, 0), strict=True)
        assert channels == pytest.approx([sqnr_db(*part) for part in parts], abs=1e-6)


def test_a_zero_channel_has_no_sqnr_and_an_exact_one_an_infinite_one():
    values = np.float32([[0, 0, 0], [127, -64, 3], [0.1, 0.2, 0.33]])
    done = requantize(values, Scheme(granularity="per-channel"))
    assert np.isnan(done.channel_sqnr_db[0]) and done.channel_sqnr_db[1] == np.inf
    assert done.worst_channel_sqnr_db == done.channel_sqnr_db[2] < 60


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_parts_and_threads_change_no_bit_of_codes_and_values(scheme, order, monkeypatch):
    values = np.asarray(floats(38, 3, 41), order=order)
    whole = requantize(values, scheme, channel_axis=1)
    monkeypatch.setattr(requantize_module, "CHUNK_ELEMENTS", 300)
    done = requantize(values, scheme, channel_axis=1)
    same_bits(done.codes, whole.quantization.quantize(values))
    same_bits(done.values, whole.quantization.dequantize(whole.codes))
    assert done.sqnr_db == pytest.approx(whole.sqnr_db, abs=1e-9)
    assert done.channel_sqnr_db == pytest.approx(whole.channel_sqnr_db, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sqnr_of_a_part_goes_to_its_own_channels(axis, monkeypatch):
    monkeypatch.setattr(requantize_module, "CHUNK_ELEMENTS", 4)
    values, held = floats(*SHAPE), floats(*SHAPE) + floats(*SHAPE, seed=9) / 100
    for order in "CF":
        found = compute_sqnr_db(np.asarray(values, order=order), held, axis)[1]
        parts = zip(np.moveaxis(values, axis, 0), np.moveaxis(held, axis, 0), strict=True)
        assert found == pytest.approx([sqnr_db(*part) for part in parts], abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_worst_channel_is_the_one_of_the_ranking_whatever_training_left_at_1e_30(axis):
    exact = floats(6, 6)
    exact[2], exact[:, 2] = 1e-30, 1e-30
    done = requantize(exact, Scheme("int8"), axis)
    low, high = exact.min(axis=1 - axis), exact.max(axis=1 - axis)
    error = (exact.astype(np.float64) - done.values) ** 2
    sums = SimpleNamespace(
        float_low=low, float_high=high, channel_count=6, e_square=error.sum(axis=1 - axis),
        x_square=(exact.astype(np.float64) ** 2).sum(axis=1 - axis),
    )  # fmt: skip
    judged = judged_channel_sqnr_db(sums)
    assert np.isnan(judged).tolist() == [i == 2 for i in range(6)]
    assert done.channel_sqnr_db == pytest.approx(judged, abs=1e-6, nan_ok=True)
    assert done.worst_channel_sqnr_db > 20


# What the file has now ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_the_scheme_of_a_requantized_weight_is_read_back(scheme):
    if scheme.reduce_range or scheme.bits == 8:
        return  # a file does not say
    values = floats(*SHAPE) + np.float32(2)
    done = requantize(values, scheme)
    weight = WeightTensor(
        "weight", "w", "DequantizeLinear", source(done.codes), SHAPE, done.quantization,
        channel_axis=0,
    )  # fmt: skip
    own = scheme.axis == {"per-tensor": None, "per-channel": 0, "per-block": 1}[scheme.granularity]
    assert scheme_of(weight) == replace(scheme, axis=None if own else scheme.axis)


@pytest.mark.parametrize(
    ("network", "name", "words"),
    [
        ("dscnn", "UINT8", "uint8 per-tensor asymmetric"),
        ("dscnn", "INT8", "int8 per-channel symmetric"),
        ("resnet8", "INT8", "int8 per-channel symmetric"),
    ],
)
def test_the_shipped_models_have_the_schemes_that_their_readme_says(network, name, words):
    model = open_folder(MODELS / network).variants[name]
    schemes = {str(scheme_of(one.weight)) for one in list_layers(model) if one.weight}
    assert schemes == {words}


def test_float_weights_and_codebooks_have_no_scheme():
    (layer,) = list_layers(load_model(int8_conv()))
    held = layer.weight
    assert scheme_of(held) is not None
    assert scheme_of(replace(held, quantization=None)) is None
    table_of = replace(held.quantization, levels=(0.0, 1.0))
    assert scheme_of(replace(held, quantization=table_of)) is None


def test_an_axis_that_is_not_the_layers_own_is_named():
    (layer,) = list_layers(load_model(int8_conv(axis=1)))
    assert scheme_of(layer.weight).axis == 1
    (layer,) = list_layers(load_model(int8_conv(axis=0)))
    assert scheme_of(layer.weight).axis is None


def test_blocks_of_a_matmul_run_along_its_inner_dimension():
    weights = {"q": codes("int4", 32, 6), "s": scales(2, 6), "z": codes("int4", 2, 6, seed=4)}
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0, block_size=BLOCK)
    (layer,) = list_layers(load_model(matmul_model([node], weights, inner=32)))
    scheme = scheme_of(layer.weight)
    assert (scheme.axis, scheme.block_size, scheme.symmetric) == (None, BLOCK, False)
    done = requantize(floats(32, 6), scheme, layer.weight.channel_axis)
    assert done.quantization.scale.shape == (2, 6)


# Candidates ---------------------------------------------------------------------------------------


def test_candidates_come_best_first_with_todays_among_them():
    values, current = floats(8, 70, 3), Scheme("uint8", symmetric=False)
    found = list_candidates(values, current)
    worst = [one.worst_channel_sqnr_db for one in found]
    assert worst == sorted(worst, reverse=True)
    now = next(one for one in found if one.scheme == current)
    for one in found:
        done = requantize(values, one.scheme)
        assert (one.sqnr_db, one.byte_count) == (done.sqnr_db, done.byte_count)
        assert one.gain_db == pytest.approx(worst[found.index(one)] - now.worst_channel_sqnr_db)
        assert one.byte_ratio == one.byte_count / now.byte_count
    # The page finds a candidate again by its words.
    assert len({one.scheme for one in found}) == len({str(one.scheme) for one in found})
    assert len({one.scheme for one in found}) == len(found)


def test_a_chosen_size_leaves_out_what_is_larger():
    values = floats(8, 70)
    small = list_candidates(values, Scheme(), max_bytes=values.size)
    assert small and all(one.byte_count <= values.size for one in small)
    assert {one.scheme.data_type for one in small} == {"int4", "uint4"}


def test_todays_numbers_are_those_of_the_values_in_the_file():
    values = floats(8, 70)
    found = list_candidates(values, Scheme(), held=np.zeros_like(values))
    now = next(one for one in found if one.scheme == Scheme())
    assert now.worst_channel_sqnr_db == now.sqnr_db == 0
    assert found[0].gain_db == found[0].worst_channel_sqnr_db


def test_a_candidate_says_what_it_gains_and_costs():
    one = Candidate(Scheme(granularity="per-channel"), 45, 40, 1004, 14.23, 1.004)
    assert str(one) == "int8 per-channel symmetric: +14.2 dB, +0.4 %"


def test_blocks_longer_than_the_axis_are_not_offered():
    sizes = {s.block_size for s in sensible_schemes(Scheme(), (8, 70), 0)}
    assert sizes == {None, 32}
    assert {s.granularity for s in sensible_schemes(Scheme(), (8,), 0)} == {"per-tensor"}


# The whole model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(MODELS / "dscnn").variants
    return compare_variants(variants)


def option(row: str, current: tuple[float, int], *others: tuple[float, int]) -> LayerOptions:
    """A layer whose schemes have these worst channels and bytes; each scheme is another."""
    names = iter(Scheme(bits=bits, data_type=t) for t in ("int8", "uint8") for bits in range(2, 9))
    made = [
        Candidate(next(names), db, db, size, db - current[0]) for db, size in (current, *others)
    ]
    return LayerOptions(row, row, f"{row}.weight", (4, 5), 0, made[0], tuple(made[1:]))


OPTIONS = (
    option("a", (10, 100), (30, 130), (50, 200), (5, 50)),
    option("b", (40, 500), (20, 250), (60, 900)),
    option("c", (25, 80), (35, 81), (36, 81), (30, 40)),
)


def all_choices() -> list[tuple[int, float]]:
    """Bytes and worst SQNR of every way to choose."""
    lists = [(o.current, *o.candidates) for o in OPTIONS]
    return [
        (sum(c.byte_count for c in chosen), min(c.worst_channel_sqnr_db for c in chosen))
        for chosen in itertools.product(*lists)
    ]


def test_the_curve_is_the_pareto_front_of_all_choices():
    points = all_choices()
    front = {
        (size, db)
        for size, db in points
        if not any((s <= size and d > db) or (s < size and d >= db) for s, d in points)
    }
    curve = choose(OPTIONS, {}, 0).curve
    assert curve == tuple(TradeOff(*point) for point in sorted(front))


@pytest.mark.parametrize("target", [0, 9, 11, 26, 30, 35.5])
def test_layers_that_reach_the_target_stay_and_the_others_take_the_fewest_bytes(target):
    plan = choose(OPTIONS, {}, target)
    changed = {change.layer_name: change for change in plan.changes}
    for o in OPTIONS:
        if o.current.worst_channel_sqnr_db >= target:
            assert o.layer_name not in changed
            continue
        reached = [c for c in o.candidates if c.worst_channel_sqnr_db >= target]
        assert changed[o.layer_name].after.byte_count == min(c.byte_count for c in reached)
    assert plan.worst_sqnr_db >= target
    assert not plan.unreachable


def test_what_no_scheme_reaches_is_named_with_the_best_there_is():
    plan = choose(OPTIONS, {}, 45)
    assert set(plan.unreachable) == {"c"}
    assert (
        "at most 36.0 dB, with uint8" in plan.unreachable["c"] or "36.0 dB" in plan.unreachable["c"]
    )
    assert {change.layer_name for change in plan.changes} == {"a", "b"}


@pytest.mark.parametrize("size", sorted({size for size, _ in all_choices()}))
def test_a_target_size_gives_the_best_worst_layer_that_fits(size):
    plan = choose(OPTIONS, {}, None, size)
    assert plan.byte_count <= size
    assert plan.worst_sqnr_db == max(db for s, db in all_choices() if s <= size)


def test_a_target_size_that_leaves_all_as_it_is_changes_nothing():
    current = sum(o.current.byte_count for o in OPTIONS[1:])
    two = (option("a", (40, 100), (50, 100)), option("b", (40, 500), (30, 250)))
    assert choose(two, {}, None, 600).worst_sqnr_db == 40
    assert not choose(two, {}, None, 600).changes
    assert current == 580


def test_a_size_below_the_smallest_is_unreachable_and_says_the_smallest():
    plan = choose(OPTIONS, {}, None, 10)
    least = min(size for size, _ in all_choices())
    assert plan.unreachable == {"": f"the weights take at least {least:,} bytes, more than 10"}
    assert not plan.changes


def test_the_plan_for_dscnn_heals_the_collapsed_layer_for_few_bytes(dscnn):
    plan = plan_model(dscnn, "UINT8", target_sqnr_db=20)
    (change,) = plan.changes
    assert change.layer_name == "/block1/conv_dw/Conv"
    assert change.before.worst_channel_sqnr_db == pytest.approx(0, abs=0.1)
    assert change.after.scheme.granularity == "per-channel" and change.after.gain_db > 40
    assert plan.byte_count < plan.current_bytes * 1.01
    assert len(plan.options) == 14 and not plan.left_out


def test_todays_bytes_and_sqnr_are_those_of_the_scan(dscnn):
    comparison = dscnn
    options, _ = list_options(comparison, "UINT8")
    for one in options:
        metrics = comparison.weights[one.layer_name]["UINT8"].metrics
        assert one.current.sqnr_db == pytest.approx(metrics["sqnr_db"], abs=1e-3)
        assert one.current.worst_channel_sqnr_db == pytest.approx(
            metrics["worst_channel_sqnr_db"], abs=1e-3
        )


def test_progress_tells_every_layer_and_a_cancelled_plan_stops_between_two(dscnn):
    told: list[tuple[int, int, str]] = []
    list_options(dscnn, "UINT8", progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 15))
    stop = threading.Event()
    told.clear()

    def until_three(done: int, total: int, row: str) -> None:
        told.append((done, total, row))
        if done == 3:
            stop.set()

    with pytest.raises(WorkCancelledError, match="after 3 of 14"):
        plan_model(dscnn, "UINT8", 30, progress=until_three, cancelled=stop.is_set)
    assert len(told) == 3


def test_a_search_is_stopped_between_two_schemes_of_one_layer():
    asked = iter([False, False, True])
    with pytest.raises(WorkCancelledError, match="between two schemes"):
        list_candidates(floats(8, 70), Scheme(), cancelled=lambda: next(asked))
    assert next(asked, None) is None


def test_a_plan_needs_one_target_and_a_variant_that_is_there(dscnn):
    for targets in ({}, {"target_sqnr_db": 1, "target_bytes": 1}):
        with pytest.raises(ValueError, match="one of the two"):
            plan_model(dscnn, "UINT8", **targets)
    with pytest.raises(ValueError, match="none of the variants FP32, INT8, UINT8"):
        plan_model(dscnn, "INT4", 30)


def test_a_float_variant_leaves_out_every_layer_and_says_why(dscnn):
    comparison = dscnn
    options, left_out = list_options(comparison, "FP32")
    assert not options and len(left_out) == 14
    assert set(left_out.values()) == {"this layer was left in float"}


def test_a_folded_batch_norm_is_in_the_exact_weight():
    """Conv and BatchNormalization in float, one Conv in the variant: compare what it held."""
    gamma, variance = scales(5), scales(5, seed=8)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["y"], "bn"),
    ]
    weight = floats(5, 3, 2, 4)
    arrays = {"w": weight, "g": gamma, "b": scales(5), "m": scales(5), "v": variance}
    exact = load_model(conv_graph(nodes, arrays))
    factor = gamma / np.sqrt(variance + np.float32(1e-5))
    folded = (weight * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
    done = requantize(folded, Scheme(granularity="per-channel"))
    stored = {"q": done.codes, "s": done.quantization.scale, "z": done.quantization.zero_point}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["wd"], axis=0),
        helper.make_node("Conv", ["x", "wd"], ["y"], "conv"),
    ]
    variants = {"FP32": exact, "INT8": load_model(conv_graph(nodes, stored))}
    comparison = compare_variants(variants)
    assert read_exact(comparison, "INT8", "conv") == pytest.approx(folded, rel=1e-5)


def conv_graph(nodes: list[Any], arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 6, 7))],
        [onnx.ValueInfoProto(name="y")], [constant(*one) for one in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# What onnxruntime can run, and its own words ------------------------------------------------------


def test_float4_and_narrow_types_beside_quantized_activations_are_not_proposed(dscnn):
    comparison = dscnn
    layer: Layer = comparison.weights["/conv/Conv"]["UINT8"].layer
    assert "float4e2m1" in why_not_run(layer, Scheme("float4e2m1"))
    assert "int2" in why_not_run(layer, Scheme("int2"))
    assert why_not_run(layer, Scheme("int4")) is None
    alone = replace(layer, inputs=())
    assert why_not_run(alone, Scheme("int2")) is None
    assert "wrongly" in why_not_run(replace(alone, op_type="Gemm"), Scheme("int2"))
    blocks = Scheme("int8", "per-block", block_size=16)
    assert "int8 weights in blocks" in why_not_run(layer, blocks)
    assert why_not_run(alone, blocks) is None


def test_the_overrides_make_onnxruntime_write_the_planned_weights(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=36)
    overrides = eval(plan.overrides, {"QuantType": QuantType})
    assert len(overrides) == len(plan.changes) > 3
    exact = onnx.load(MODELS / "dscnn/fp32.onnx")
    quantized = quantized_statically(
        exact, tmp_path, weight_type=QuantType.QUInt8, activation_type=QuantType.QUInt8,
        extra_options={"TensorQuantOverrides": overrides},
    )  # fmt: skip
    weights = {one.name: one.weight for one in list_layers(load_model(quantized)) if one.weight}
    for change in plan.changes:
        values = read_exact(comparison, "UINT8", change.layer_name)
        done = requantize(values, change.after.scheme)
        same_bits(done.codes, weights[change.layer_name].codes)
        same_bits(done.quantization.scale, weights[change.layer_name].quantization.scale)


def test_what_the_overrides_cannot_say_stands_in_a_comment(dscnn):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_bytes=40_000)
    assert any(change.after.scheme.block_size for change in plan.changes)
    assert "has no override; save the changed model instead" in plan.overrides
    assert set(eval(plan.overrides, {"QuantType": QuantType})) < {
        change.options.weight_name for change in plan.changes
    }


def test_a_layer_that_is_not_surely_the_same_is_left_out(dscnn):
    comparison = dscnn
    row = "/conv/Conv"
    measured = comparison.by_variant(row)["UINT8"]
    guess = replace(measured, pair=replace(measured.pair, evidence="order: a guess"))
    rows = {row: {**comparison.by_variant(row), "UINT8": guess}}
    options, left_out = list_options(replace(comparison, weights=rows), "UINT8")
    assert not options
    assert left_out == {row: "its float original is not surely the same layer"}


def test_an_asymmetric_percentile_cuts_half_at_either_end():
    values = np.linspace(-1, 3, 100_001).astype(np.float32)
    done = requantize(
        values, Scheme("uint8", symmetric=False, clipping="percentile", percentile=90)
    )
    assert 255 * float(done.quantization.scale) == pytest.approx(0.9 * 4, rel=1e-3)
