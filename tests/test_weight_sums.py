"""One pass over a weight gives what numpy gives on the whole of it.

The oracle sees the float values at once, channels first by what each operator computes, and spreads
scale and zero-point itself.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_INPUT,
    MICROSOFT,
    codes,
    constant,
    dequantize_node,
    floats,
    make_model,
    scales,
)
from onnx import helper
from weight_cases import (
    BLOCK,
    OPERATORS,
    Case,
    Operator,
    make_case,
    plain_case,
    shape_of_scale,
    spread,
)

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.measuring.weight_sums import WeightSums, sum_weight
from playground.utils.parameter_inspector.quantization import numpy_dtype
from playground.utils.parameter_inspector.streaming import compared_weights as passes

DATA_TYPES = (
    "int8", "uint8", "int4", "uint4", "int16", "uint16", "float8e4m3fn", "float8e5m2",
)  # fmt: skip


def expected(case: Case) -> dict[str, Any]:
    """Return every sum by its definition, float64 and the whole tensor at once."""
    rows = case.operator.rows
    x, v = rows(case.x).astype(np.float64), rows(case.values).astype(np.float64)
    s, z = rows(case.scale).astype(np.float64), rows(case.zero_point).astype(np.float64)
    e = x - v
    info = ml_dtypes.finfo if case.codes.dtype.name.startswith("float") else ml_dtypes.iinfo
    ends = float(info(case.codes.dtype).min), float(info(case.codes.dtype).max)
    outside = (x < (ends[0] - z) * s) | (x > (ends[1] - z) * s)
    return {
        "fan_in": x.shape[1],
        "low": v.min(axis=1),
        "high": v.max(axis=1),
        "float_low": x.min(axis=1),
        "float_high": x.max(axis=1),
        "x_square": (x**2).sum(axis=1),
        "e_square": (e**2).sum(axis=1),
        "step_square": ((e / s) ** 2).sum(axis=1),
        "e_max": np.abs(e).max(axis=1),
        "step_max": np.abs(e / s).max(axis=1),
        "outside_square": np.where(outside, e**2, 0).sum(axis=1),
        "dead": (rows(case.codes).astype(np.float64) == z).all(axis=1),
        "not_finite": int((~np.isfinite(v)).sum()),
    }


GRANULARITIES = ("per tensor", "per channel", "per block")


@pytest.mark.parametrize("data_type", DATA_TYPES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_sum_is_that_of_numpy_on_the_whole_weight(operator, granularity, data_type):
    case = make_case(OPERATORS[operator], data_type, granularity)
    found = case.summed()
    for name, value in expected(case).items():
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=2e-6, atol=1e-9, err_msg=name, equal_nan=True
        )


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_the_oracle_calls_values_is_what_the_weight_holds(operator):
    for granularity in GRANULARITIES:
        case = make_case(OPERATORS[operator], "int8", granularity)
        (layer,) = list_layers(load_model(case.variant))
        np.testing.assert_allclose(layer.weight.values, case.values, rtol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_scale_along_the_input_channels_is_summed_too(operator):
    inputs = 1 - OPERATORS[operator].axis
    case = make_case(OPERATORS[operator], granularity="per channel", axis=inputs)
    found = case.summed()
    for name, value in expected(case).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=2e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_oracle_of_these_tests_sees_some_of_everything(operator):
    sums_of = expected(make_case(OPERATORS[operator]))
    assert sums_of["dead"].any() and not sums_of["dead"].all()
    assert (sums_of["outside_square"] > 0).any()
    assert (sums_of["outside_square"] < sums_of["e_square"]).all()


# --------------------------------------------------------------- chunks


def same_sums(one: WeightSums, other: WeightSums) -> None:
    for field in fields(WeightSums):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if a is None or not field.name.endswith(("_square", "searched", "step_max")):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name in ("step_square", "step_max"):  # divided in float32 or in float64
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=field.name)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=field.name)


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 7, 12, 25, 10**9])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_size_of_a_chunk_changes_no_sum(operator, granularity, chunk, monkeypatch):
    case = make_case(OPERATORS[operator], granularity=granularity)
    whole = case.summed()
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    same_sums(case.summed(), whole)


@pytest.mark.parametrize("outside", [True, False], ids=["beside the model", "inside it"])
@pytest.mark.parametrize("elements", [3, 4, 7, 20, 10**6])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_weight_in_a_file_has_the_sums_it_has_in_memory(
    operator, granularity, elements, outside, tmp_path, monkeypatch
):
    """Whatever is read at a time."""
    case = make_case(OPERATORS[operator], granularity=granularity)
    whole = case.summed()
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", elements)
    same_sums(case.summed(tmp_path, outside=outside), whole)


@pytest.mark.parametrize("data_type", DATA_TYPES)
@pytest.mark.parametrize("operator", ["MatMul", "Gemm transB"])
def test_codes_of_every_type_are_read_from_a_file_piece_by_piece(
    operator, data_type, tmp_path, monkeypatch
):
    case = make_case(OPERATORS[operator], data_type, "per block")
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 20)
    found = case.summed(tmp_path)
    for name, value in expected(case).items():
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=2e-6, atol=1e-9, err_msg=name, equal_nan=True
        )
    if not data_type.startswith("float"):
        np.testing.assert_array_equal(found.code_counts, counted(case.codes))


def test_matmul_in_a_file_is_compared_with_gemm_in_a_file_channel_by_channel(tmp_path, monkeypatch):
    """One has its channels first, the other last: the order of reading cannot be that of both."""
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 20)
    case = make_case(OPERATORS["MatMul"])
    case.original = make_model(
        [OPERATORS["Gemm transB"].node("w")], {"w": case.x.T.copy()}, inputs={"x": CONV_INPUT}
    )
    found = case.summed(tmp_path)
    np.testing.assert_allclose(found.e_square, expected(case)["e_square"], rtol=2e-6)
    np.testing.assert_array_equal(found.float_high, case.x.max(axis=0))


@pytest.mark.parametrize("shape", [(3, 90001), (90001, 3), (600, 601)], ids=str)
@pytest.mark.parametrize("op_type", ["MatMul", "Gemm transB"])
def test_a_weight_of_several_chunks_is_summed_whole(op_type, shape):
    plain = OPERATORS[op_type]
    operator = Operator(plain.op_type, shape, plain.axis, plain.attributes)
    assert np.prod(shape) > passes.CHUNK_ELEMENTS
    for granularity in ("per channel", "per block"):
        case = make_case(operator, granularity=granularity)
        found = case.summed()
        for name, value in expected(case).items():
            np.testing.assert_allclose(
                getattr(found, name), value, rtol=2e-6, atol=1e-9, err_msg=name
            )
        np.testing.assert_array_equal(found.code_counts, counted(case.codes))


def test_squares_are_summed_in_more_than_float32():
    """1e8 and then 30000 ones: float32 would lose every one of them."""
    x = np.ones((1, 30001), np.float32)
    x[0, 0] = 1e4
    q, s = np.zeros((1, 30001), np.int8), np.float32(1)
    operator = Operator("Gemm", x.shape, 0, {"transB": 1})
    case = plain_case(operator, q, s, x)
    found = case.summed()
    assert found.e_square.tolist() == [1e8 + 30000]
    assert found.x_square.tolist() == [1e8 + 30000]


# --------------------------------------------------------------- codes


def counted(q: np.ndarray) -> np.ndarray:
    """Return how often each code of the type occurs, by numpy's unique."""
    info = ml_dtypes.iinfo(q.dtype)
    counts = np.zeros(int(info.max) - int(info.min) + 1, np.int64)
    found, times = np.unique(q.astype(np.int64), return_counts=True)
    counts[found - int(info.min)] = times
    return counts


@pytest.mark.parametrize(
    "data_type", ["int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16"]
)
@pytest.mark.parametrize("operator", ["Conv", "MatMul", "ConvTranspose in groups"])
def test_code_counts_are_those_of_numpy_from_the_lowest_code_on(operator, data_type):
    plain = OPERATORS[operator]
    q = codes(data_type, *plain.shape)
    options = {"opset": 25, "ir_version": 13} if "2" in data_type else {}
    model = make_model(
        [dequantize_node(("q", "s")), plain.node("w")],
        [constant("q", q), constant("s", np.float32(0.5))],
        **options,
    )
    (layer,) = list_layers(load_model(model))
    found = sum_weight(layer.weight, layer).code_counts
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, counted(q))


@pytest.mark.parametrize("count", [1, 2, 3, 65535, 65536, 65537])
@pytest.mark.parametrize("data_type", ["int8", "uint8"])
def test_bytes_counted_in_pairs_lose_no_odd_one(data_type, count):
    q = codes(data_type, 1, count)
    operator = Operator("Gemm", q.shape, 0, {"transB": 1})
    found = plain_case(operator, q, 0.5, floats(*q.shape)).summed()
    np.testing.assert_array_equal(found.code_counts, counted(q))


@pytest.mark.parametrize("data_type", ["float8e4m3fn", "float8e5m2"])
def test_codes_that_are_floats_are_not_counted(data_type):
    assert make_case(OPERATORS["Conv"], data_type).summed().code_counts is None


# --------------------------------------------------------------- the float original


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64], ids=str)
def test_a_float_original_of_another_width_is_taken_at_its_values(dtype):
    case = make_case(OPERATORS["MatMul"])
    case.x = case.x.astype(dtype)
    case.original = make_model(
        [OPERATORS["MatMul"].node("w")], [constant("w", case.x)], inputs={"x": CONV_INPUT}
    )
    found = case.summed()
    for name, value in expected(case).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=2e-6, atol=1e-9, err_msg=name)


def test_a_float_original_that_is_stored_transposed_is_compared_as_the_layer_sees_it():
    case = make_case(OPERATORS["MatMul"])
    nodes = [
        helper.make_node("Transpose", ["t"], ["w"], perm=[1, 0]),
        OPERATORS["MatMul"].node("w"),
    ]
    case.original = make_model(nodes, {"t": case.x.T.copy()}, inputs={"x": CONV_INPUT})
    np.testing.assert_allclose(case.summed().e_square, expected(case)["e_square"], rtol=2e-6)


def test_matmul_and_the_gemm_it_was_made_from_are_compared_channel_by_channel():
    case = make_case(OPERATORS["MatMul"])
    case.original = make_model(
        [OPERATORS["Gemm transB"].node("w")], {"w": case.x.T.copy()}, inputs={"x": CONV_INPUT}
    )
    np.testing.assert_allclose(case.summed().e_square, expected(case)["e_square"], rtol=2e-6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_original_is_multiplied_by_the_factor_of_each_channel(operator):
    case = make_case(OPERATORS[operator])
    channels = OPERATORS[operator].rows(case.x).shape[0]
    factor = np.linspace(0.5, 2, channels)
    found = case.summed(factor=factor)
    rows = OPERATORS[operator].rows
    x = rows(case.x).astype(np.float64) * factor[:, None]
    e = x - rows(case.values)
    np.testing.assert_allclose(found.x_square, (x**2).sum(axis=1), rtol=2e-6)
    np.testing.assert_allclose(found.e_square, (e**2).sum(axis=1), rtol=2e-6)
    np.testing.assert_allclose(found.float_high, x.max(axis=1), rtol=2e-6)


def test_another_shape_than_the_original_raises_value_error_naming_both():
    case = make_case(OPERATORS["Conv"])
    other = floats(4, 3, 2, 4)
    case.original = make_model([OPERATORS["Conv"].node("w")], {"w": other})
    with pytest.raises(ValueError, match=r"'layer'.*\(5, 24\).*\(4, 24\)"):
        case.summed()


def test_without_an_original_there_are_ranges_and_codes_and_nothing_else():
    (layer,) = list_layers(load_model(make_case(OPERATORS["MatMul"]).variant))
    found = sum_weight(layer.weight, layer)
    known = {field.name for field in fields(WeightSums) if getattr(found, field.name) is not None}
    assert known == {
        "fan_in", "low", "high", "not_finite", "level_count", "code_counts", "dead",
    }  # fmt: skip


def test_a_float_weight_alone_has_its_range():
    case = make_case(OPERATORS["MatMul"])
    (layer,) = list_layers(load_model(case.original))
    found = sum_weight(layer.weight, layer)
    np.testing.assert_array_equal(found.low, case.x.min(axis=0))
    np.testing.assert_array_equal(found.high, case.x.max(axis=0))
    assert (found.code_counts, found.dead, found.e_square) == (None, None, None)


def test_a_nan_scale_spoils_its_own_channel_only():
    q, x = codes("int8", 7, 3), floats(7, 3)
    s = np.float32([0.5, np.nan, 0.25])
    nodes = [dequantize_node(("q", "s"), axis=1), OPERATORS["MatMul"].node("w")]
    model = make_model(nodes, {"q": q, "s": s}, inputs={"x": CONV_INPUT})
    original = make_model([OPERATORS["MatMul"].node("w")], {"w": x}, inputs={"x": CONV_INPUT})
    (layer,), (original,) = (list_layers(load_model(m)) for m in (model, original))
    found = sum_weight(layer.weight, layer, original.weight, original)
    assert found.not_finite == 7
    for name in ("low", "e_square", "step_square"):
        assert np.isnan(getattr(found, name)).tolist() == [False, True, False]
    e = x[:, 2].astype(np.float64) - q[:, 2] * 0.25
    assert found.e_square[2] == pytest.approx((e**2).sum(), rel=1e-6)


def test_a_zero_scale_gives_zero_values_and_no_warning():
    q = codes("int8", 7, 3)
    found = plain_case(OPERATORS["MatMul"], q, 0.0, floats(7, 3)).summed()
    assert (found.low.tolist(), found.high.tolist()) == ([0, 0, 0], [0, 0, 0])
    np.testing.assert_allclose(found.e_square, found.x_square)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("operator", ["MatMul", "Gemm transB"])
def test_a_weight_of_no_elements_has_sums_of_nothing(operator, shape):
    plain = OPERATORS[operator]
    empty = Operator(plain.op_type, shape, plain.axis, plain.attributes)
    found = plain_case(empty, np.zeros(shape, np.int8), 0.5, np.zeros(shape, np.float32)).summed()
    assert found.channel_count == shape[plain.axis]
    assert found.fan_in == shape[1 - plain.axis]
    assert found.code_counts.sum() == 0
    assert found.e_square.sum() == 0
    assert np.isnan(found.low).all()


@pytest.mark.parametrize("operator", ["MatMul", "Gemm transB"])
def test_a_weight_of_one_element_is_summed(operator):
    plain = OPERATORS[operator]
    one = Operator(plain.op_type, (1, 1), plain.axis, plain.attributes)
    found = plain_case(one, np.int8([[3]]), 0.5, np.float32([[1.75]])).summed()
    assert (found.low[0], found.high[0], found.float_low[0]) == (1.5, 1.5, 1.75)
    assert (found.e_square[0], found.step_square[0]) == (0.0625, 0.25)
    assert (found.e_max[0], found.step_max[0], found.dead[0]) == (0.25, 0.5, False)


# --------------------------------------------------------------- other ways to store a weight


def test_a_weight_in_four_bits_of_matmulnbits_is_summed_like_its_values():
    rng = np.random.default_rng(0)
    rows, columns, block = 5, 40, 16
    arrays = {
        "b": rng.integers(0, 256, (rows, 3, 8), np.uint8),
        "s": scales(rows, 3),
        "z": rng.integers(0, 256, (rows, 2), np.uint8),
    }
    node = helper.make_node(
        "MatMulNBits", ["x", *arrays], ["y"], "layer", domain=MICROSOFT, K=columns, N=rows,
        bits=4, block_size=block,
    )  # fmt: skip
    variant = make_model([node], arrays, inputs={"x": (2, columns)}, domains=[MICROSOFT])
    x = floats(columns, rows)
    original = make_model([OPERATORS["MatMul"].node("w")], {"w": x}, inputs={"x": (2, columns)})
    (layer,), (original,) = (list_layers(load_model(m)) for m in (variant, original))
    found = sum_weight(layer.weight, layer, original.weight, original)
    v = layer.weight.values.astype(np.float64)
    e = x.T.astype(np.float64) - v
    full_scale = np.repeat(arrays["s"], block, axis=1)[:, :columns]
    assert v.shape == (rows, columns)
    np.testing.assert_allclose(found.low, v.min(axis=1))
    np.testing.assert_allclose(found.e_square, (e**2).sum(axis=1), rtol=2e-6)
    np.testing.assert_allclose(found.step_square, ((e / full_scale) ** 2).sum(axis=1), rtol=2e-6)
    assert found.code_counts.sum() == rows * columns
    assert found.code_counts.size == 16


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_codes_that_are_transposed_after_they_are_dequantized_keep_their_scales(granularity):
    """Stored as (height, width, in, out), seen by Conv as (out, in, height, width)."""
    stored, axis = (2, 4, 6, 5), 3 if granularity == "per channel" else 2
    wanted = shape_of_scale(stored, granularity, axis)
    q, s, z = codes("int8", *stored), np.asarray(scales(*wanted)), codes("int8", *wanted, seed=3)
    attributes = {"axis": axis} if wanted else {}
    if granularity == "per block":
        attributes["block_size"] = BLOCK
    nodes = [
        dequantize_node(output="d", **attributes),
        helper.make_node("Transpose", ["d"], ["w"], perm=[3, 2, 0, 1]),
        OPERATORS["Conv"].node("w"),
    ]
    x = floats(5, 6, 2, 4)
    models = (
        make_model(nodes, {"q": q, "s": s, "z": np.asarray(z)}),
        make_model([OPERATORS["Conv"].node("w")], {"w": x}),
    )
    (layer,), (original,) = (list_layers(load_model(m)) for m in models)
    found = sum_weight(layer.weight, layer, original.weight, original)
    full_s, full_z = (spread(np.asarray(a), stored, axis) for a in (s, z))
    v, step = (
        np.transpose(a, (3, 2, 0, 1)).reshape(5, -1)
        for a in ((q.astype(np.float64) - full_z) * full_s, full_s)
    )
    e = x.reshape(5, -1) - v
    np.testing.assert_allclose(found.low, v.min(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.e_square, (e**2).sum(axis=1), rtol=2e-6)
    np.testing.assert_allclose(found.step_max, np.abs(e / step).max(axis=1), rtol=2e-6)
    np.testing.assert_array_equal(found.code_counts, counted(q))


def test_codes_in_blocks_that_are_reshaped_after_they_are_dequantized_keep_their_scales():
    """Two dimensions in the file, four for the layer; the last block is short."""
    q, s = codes("uint8", 5, 18), scales(5, 5)
    nodes = [
        dequantize_node(("q", "s"), "d", axis=1, block_size=BLOCK),
        helper.make_node("Reshape", ["d", "shape"], ["w"]),
        OPERATORS["Conv"].node("w"),
    ]
    model = make_model(nodes, {"q": q, "s": s, "shape": np.int64([5, 3, 2, 3])})
    (layer,) = list_layers(load_model(model))
    found = sum_weight(layer.weight, layer)
    v = q * spread(s, q.shape, 1).astype(np.float64)
    np.testing.assert_allclose(found.high, v.max(axis=1), rtol=1e-6)


def test_values_rounded_by_a_cast_are_summed_as_the_layer_gets_them():
    q, s = codes("int8", 13, 6), np.float32(0.0123)
    nodes = [
        dequantize_node(("q", "s"), "d"),
        helper.make_node("Cast", ["d"], ["h"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["w"], to=onnx.TensorProto.FLOAT),
        OPERATORS["MatMul"].node("w"),
    ]
    model = make_model(nodes, {"q": q, "s": s}, inputs={"x": CONV_INPUT})
    (layer,) = list_layers(load_model(model))
    found = sum_weight(layer.weight, layer)
    rounded = (q.astype(np.float32) * s).astype(np.float16)
    np.testing.assert_array_equal(found.low, rounded.min(axis=0))
    np.testing.assert_array_equal(found.high, rounded.max(axis=0))


def test_a_scale_in_float16_rounds_the_values():
    q, s = codes("int8", 13, 6), np.float16(0.0123)
    nodes = [dequantize_node(("q", "s"), "d"), OPERATORS["MatMul"].node("d")]
    model = make_model(nodes, {"q": q, "s": s}, inputs={"x": CONV_INPUT})
    (layer,) = list_layers(load_model(model))
    rounded = (q.astype(np.float32) * np.float32(s)).astype(np.float16)
    np.testing.assert_array_equal(sum_weight(layer.weight, layer).high, rounded.max(axis=0))


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_the_data_types_of_these_tests_are_those_of_numpy(data_type):
    assert make_case(OPERATORS["MatMul"], data_type).codes.dtype == numpy_dtype(data_type)
