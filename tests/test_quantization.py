"""Codes become values, and values codes, exactly as onnxruntime and onnx's reference make them."""

from __future__ import annotations

import importlib
import pickle

import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
import pytest
from models_for_tests import (
    codes,
    element_type,
    floats,
    onnxruntime_dequantizes,
    onnxruntime_quantizes,
    reference_dequantizes,
    same_bits,
    scales,
    source,
    spelled,
)
from onnx import TensorProto, numpy_helper

from playground.utils.parameter_inspector.quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    Quantization,
    UnavailableError,
    code_limits,
    create_quantization,
    is_integer,
    numpy_dtype,
)
from playground.utils.parameter_inspector.reading.computed import quantization_of

INTEGERS = ("int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16")
FLOATS = ("float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float8e5m2fnuz")
SHAPE = (3, 5, 2, 7)
DATA_TYPES = sorted(
    name.lower()
    for name, _ in TensorProto.DataType.items()
    if name.startswith(("INT", "UINT", "FLOAT8", "FLOAT4", "FLOAT6"))
)
OPSET = {"int2": 25, "uint2": 25}


def quantization(q, s, z=None, **options) -> Quantization:
    zero_point = None if z is None else source(z, "zero point")
    return create_quantization(source(q, "codes"), source(s, "scale"), zero_point, **options)


# --------------------------------------------------------------- three facts


def test_uint8_code_100_with_zero_point_128_is_minus_28_scales():
    held = quantization(np.uint8([100]), np.float32(0.5), np.uint8(128))
    assert held.dequantize(np.uint8([100])) == -28 * 0.5


def test_int8_code_100_with_zero_point_minus_100_is_200_scales():
    held = quantization(np.int8([100]), np.float32(0.5), np.int8(-100))
    assert held.dequantize(np.int8([100])) == 200 * 0.5


def test_a_scale_of_three_on_axis_1_belongs_to_the_columns():
    q = np.int8([[1, 1, 1], [4, 4, 4]])
    held = quantization(q, np.float32([0.5, 2, 10]), np.int8([0, 1, -1]), axis=1)
    np.testing.assert_array_equal(held.dequantize(q), [[0.5, 0, 20], [2, 6, 50]])


# --------------------------------------------------------------- codes -> values


def zero_point_for(data_type: str, shape: tuple[int, ...]) -> np.ndarray:
    """onnxruntime takes no other zero-point than 0 for int32 and the floats."""
    if data_type == "int32" or data_type.startswith("float"):
        return np.zeros(shape, numpy_dtype(data_type))
    return codes(data_type, *shape, seed=3)


@pytest.mark.parametrize("scale_shape", [(), (1,)], ids=["scalar", "one element"])
@pytest.mark.parametrize("data_type", [*INTEGERS, "int32", *FLOATS])
def test_per_tensor_values_equal_onnxruntime(data_type, scale_shape):
    q, s = codes(data_type, *SHAPE), scales(1).reshape(scale_shape)
    z = zero_point_for(data_type, scale_shape)
    expected = onnxruntime_dequantizes(q, s, z, opset=OPSET.get(data_type, 21))
    same_bits(quantization(q, s, z).dequantize(q), expected)


@pytest.mark.parametrize("axis", range(-4, 4))
@pytest.mark.parametrize("data_type", [*INTEGERS, "int32", *FLOATS])
def test_per_channel_values_equal_onnxruntime_on_every_axis(data_type, axis):
    q, s = codes(data_type, *SHAPE), scales(SHAPE[axis])
    z = zero_point_for(data_type, s.shape)
    expected = onnxruntime_dequantizes(q, s, z, axis=axis, opset=OPSET.get(data_type, 21))
    same_bits(quantization(q, s, z, axis=axis).dequantize(q), expected)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("data_type", ["int4", "uint4", "int8", "uint8"])
def test_blocked_values_equal_onnxruntime_on_every_axis(data_type, axis):
    shape = (4, 6, 8, 10)
    q = codes(data_type, *shape)
    blocks = tuple(d // 2 if i == axis else d for i, d in enumerate(shape))
    s, z = scales(*blocks), codes(data_type, *blocks, seed=3)
    expected = onnxruntime_dequantizes(q, s, z, axis=axis, block_size=2)
    same_bits(quantization(q, s, z, axis=axis, block_size=2).dequantize(q), expected)


@pytest.mark.parametrize("data_type", ["int4", "uint8", "int16"])
def test_a_short_last_block_has_a_scale_of_its_own(data_type):
    q, s, z = codes(data_type, 4, 7), scales(4, 3), codes(data_type, 4, 3, seed=3)
    held = quantization(q, s, z, axis=1, block_size=3).dequantize(q)
    parts = [
        reference_dequantizes(q[:, 3 * i : 3 * i + 3], s[:, i], z[:, i], axis=0) for i in range(3)
    ]
    same_bits(held, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("data_type", [*INTEGERS, "int32", *FLOATS])
def test_no_zero_point_means_zero(data_type):
    q, s = codes(data_type, *SHAPE), scales(5)
    expected = onnxruntime_dequantizes(q, s, axis=1, opset=OPSET.get(data_type, 21))
    same_bits(quantization(q, s, axis=1).dequantize(q), expected)


@pytest.mark.parametrize("data_type", ["int8", "uint8", "int16", "uint16", "float8e4m3fn"])
def test_a_float16_scale_rounds_once_to_float16(data_type):
    q, s = codes(data_type, *SHAPE), scales(5, dtype=np.float16)
    expected = onnxruntime_dequantizes(q, s, zero_point_for(data_type, (5,)), axis=1)
    assert expected.dtype == np.float16
    held = quantization(q, s, zero_point_for(data_type, (5,)), axis=1)
    same_bits(held.dequantize(q), expected)


def test_a_bfloat16_scale_rounds_once_to_bfloat16():
    q, s = codes("int8", *SHAPE), scales(5, dtype=ml_dtypes.bfloat16)
    expected = (q.astype(np.float32) * s.astype(np.float32).reshape(5, 1, 1)).astype(s.dtype)
    same_bits(quantization(q, s, axis=1).dequantize(q), expected)


def test_a_float16_scale_of_blocks_rounds_once_to_float16():
    q, s = codes("int8", 6, 7), scales(3, 7, dtype=np.float16)
    expected = onnxruntime_dequantizes(q, s, axis=0, block_size=2)
    same_bits(quantization(q, s, axis=0, block_size=2).dequantize(q), expected)


def test_one_zero_point_serves_a_scale_of_many_blocks():
    q, s = codes("int8", 6, 7), scales(3, 7)
    held = quantization(q, s, np.int8(3), axis=0, block_size=2).dequantize(q)
    expected = onnxruntime_dequantizes(q, s, np.full((3, 7), 3, np.int8), axis=0, block_size=2)
    same_bits(held, expected)


def test_a_block_wider_than_the_axis_is_one_block():
    q, s = codes("int8", 6, 7), scales(1, 7)
    expected = reference_dequantizes(q, s[0], axis=1)
    same_bits(quantization(q, s, axis=0, block_size=128).dequantize(q), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_codes_have_no_values(axis):
    q = np.zeros((0, 3), np.int8)
    assert quantization(q, scales(q.shape[axis]), axis=axis).dequantize(q).shape == (0, 3)


def test_int32_codes_beyond_24_bits_round_to_float32_before_the_product():
    q = np.int32([2**24 + 1, 2**31 - 1, -(2**31), -(2**24) - 3])
    same_bits(
        quantization(q, np.float32(0.1)).dequantize(q), onnxruntime_dequantizes(q, np.float32(0.1))
    )


@pytest.mark.parametrize("scale", [0.0, -0.3, np.inf, np.nan, 1e-45, 3e38], ids=str)
def test_strange_scales_give_what_onnxruntime_gives(scale):
    q = np.int8([-128, -1, 0, 1, 127])
    expected = onnxruntime_dequantizes(q, np.float32(scale), np.int8(0))
    same_bits(quantization(q, np.float32(scale), np.int8(0)).dequantize(q), expected)


@pytest.mark.parametrize("output", ["float16", "bfloat16", "float32"])
def test_output_dtype_rules_over_the_type_of_the_scale(output):
    q, s = codes("int8", *SHAPE), scales(5)
    attributes = {"axis": 1, "output_dtype": element_type(output)}
    held = quantization_of("DequantizeLinear", (source(q), source(s)), attributes)
    same_bits(held.dequantize(q), reference_dequantizes(q, s, **attributes))


def test_values_are_float32_whatever_the_scale_is():
    q = codes("int8", 4)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        assert quantization(q, dtype(0.5)).dequantize(q).dtype == np.float32


def test_dequantize_leaves_the_codes_as_they_were():
    q = codes("int8", 4)
    before = q.copy()
    quantization(q, np.float32(0.5), np.int8(3)).dequantize(q)
    np.testing.assert_array_equal(q, before)


# --------------------------------------------------------------- values -> codes

TIES = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5])
RAILS = np.float32([-1e30, -300, -129, -128.5, 127.4, 127.5, 255.5, 300, 65536, 1e30])
INFINITE = np.float32([-np.inf, np.inf])


@pytest.mark.parametrize("zero", [0, 1, 3])
@pytest.mark.parametrize("x", [TIES, RAILS, INFINITE], ids=["ties", "rails", "infinite"])
@pytest.mark.parametrize("data_type", INTEGERS[2:])
def test_codes_equal_onnxruntime(data_type, x, zero):
    z = np.asarray(zero, numpy_dtype(data_type))
    expected = onnxruntime_quantizes(x, np.float32(1), z)
    held = quantization(np.zeros(1, z.dtype), np.float32(1), z)
    np.testing.assert_array_equal(held.quantize(x).astype(np.int32), expected)


@pytest.mark.parametrize("axis", range(-4, 4))
@pytest.mark.parametrize("data_type", INTEGERS[2:])
def test_per_channel_codes_equal_onnxruntime_on_every_axis(data_type, axis):
    x, s = floats(*SHAPE), scales(SHAPE[axis])
    z = codes(data_type, SHAPE[axis], seed=3)
    expected = onnxruntime_quantizes(x, s, z, axis=axis)
    held = quantization(codes(data_type, *SHAPE), s, z, axis=axis)
    np.testing.assert_array_equal(held.quantize(x).astype(np.int32), expected)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("data_type", ["int4", "uint4", "int8", "uint8"])
def test_blocked_codes_equal_onnxruntime_on_every_axis(data_type, axis):
    shape = (4, 6, 8, 10)
    blocks = tuple(d // 2 if i == axis else d for i, d in enumerate(shape))
    x, s, z = floats(*shape), scales(*blocks), codes(data_type, *blocks, seed=3)
    expected = onnxruntime_quantizes(x, s, z, axis=axis, block_size=2)
    held = quantization(codes(data_type, *shape), s, z, axis=axis, block_size=2)
    np.testing.assert_array_equal(held.quantize(x).astype(np.int32), expected)


@pytest.mark.parametrize("data_type", INTEGERS[2:])
def test_the_code_of_nan_is_that_of_onnxruntime(data_type):
    x, z = np.float32([np.nan] * 5 + [1, -1]), np.asarray(3, numpy_dtype(data_type))
    expected = onnxruntime_quantizes(x, np.float32(0.5), z)
    held = quantization(np.zeros(1, z.dtype), np.float32(0.5), z)
    np.testing.assert_array_equal(held.quantize(x).astype(np.int32), expected)


@pytest.mark.parametrize("scale", [0.0, -0.3, np.inf, np.nan, 1e-45, 3e38], ids=str)
def test_strange_scales_give_the_codes_that_onnxruntime_gives(scale):
    x, z = np.float32([-2, -1e-3, 0, 1e-3, 2]), np.int8(3)
    expected = onnxruntime_quantizes(x, np.float32(scale), z)
    held = quantization(np.zeros(1, z.dtype), np.float32(scale), z)
    np.testing.assert_array_equal(held.quantize(x).astype(np.int32), expected)


@pytest.mark.parametrize("data_type", FLOATS)
def test_float8_codes_equal_onnxruntime(data_type):
    x, z = floats(3, 5) * 40, np.zeros((), numpy_dtype(data_type))
    x[0] = [1e9, -1e9, 0.0, 448.0, 1e-9]
    expected = onnxruntime_quantizes(x, np.float32(0.3), z, seen_as=TensorProto.FLOAT)
    held = quantization(np.zeros(1, z.dtype), np.float32(0.3), z)
    same_bits(held.quantize(x).astype(np.float32), expected)


def test_narrower_limits_saturate_the_codes():
    held = Quantization("int8", source(np.float32(1)), limits=(-7.0, 7.0))
    np.testing.assert_array_equal(held.quantize(np.float32([-99, 3, 99])), [-7, 3, 7])


def test_values_on_the_grid_survive_the_way_to_codes_and_back():
    q, s, z = codes("int8", *SHAPE), scales(5), codes("int8", 5, seed=3)
    held = quantization(q, s, z, axis=1)
    np.testing.assert_array_equal(held.quantize(held.dequantize(q)), q)


# --------------------------------------------------------------- onnx's own node tests


def onnx_node_tests():
    for module in ("quantizelinear", "dequantizelinear"):
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    wanted = ("test_quantizelinear", "test_dequantizelinear")
    return [case for case in node_cases._NodeTestCases if case.name.startswith(wanted)]


def as_array(tensor) -> np.ndarray:
    return numpy_helper.to_array(tensor) if isinstance(tensor, TensorProto) else np.asarray(tensor)


@pytest.mark.parametrize("case", onnx_node_tests(), ids=lambda case: case.name)
def test_onnx_node_test_is_exact(case):
    (node,) = case.model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    for inputs, (expected,) in case.data_sets:
        arrays = [as_array(tensor) for tensor in inputs]
        held = quantization_of(node.op_type, [source(a) for a in arrays], attributes)
        act = held.quantize if node.op_type == "QuantizeLinear" else held.dequantize
        actual, expected = act(arrays[0]), as_array(expected)
        assert actual.shape == expected.shape
        # Equal as numbers: onnx's expectation spells the code of -0.0 as 0.
        np.testing.assert_array_equal(actual.astype(np.float64), expected.astype(np.float64))


def test_there_are_onnx_node_tests_to_run():
    assert len(onnx_node_tests()) > 20


# --------------------------------------------------------------- what cannot fit is refused


@pytest.mark.parametrize(
    ("scale_shape", "options", "expected"),
    [
        ((4,), {"axis": 1}, (5,)),
        ((3,), {"axis": 1}, (5,)),
        ((5, 1), {"axis": 1}, (5,)),
        ((3, 5, 2, 7), {"axis": 1}, (5,)),
        ((3, 4, 2, 7), {"axis": 1, "block_size": 2}, (3, 3, 2, 7)),
        ((3,), {"axis": 1, "block_size": 2}, (3, 3, 2, 7)),
        ((0,), {"axis": 1}, (5,)),
    ],
    ids=str,
)
def test_a_scale_that_does_not_fit_is_refused_with_both_shapes(scale_shape, options, expected):
    with pytest.raises(NotUnderstoodError) as refusal:
        quantization(codes("int8", *SHAPE), scales(*scale_shape), **options)
    assert str(scale_shape) in str(refusal.value)
    assert str(SHAPE) in str(refusal.value)
    assert str(expected) in str(refusal.value)


@pytest.mark.parametrize("axis", [-5, 4, 9])
def test_an_axis_outside_the_tensor_is_refused_not_wrapped(axis):
    with pytest.raises(NotUnderstoodError, match=rf"axis {axis} .*\(3, 5, 2, 7\)"):
        quantization(codes("int8", *SHAPE), scales(5), axis=axis)


def test_the_axis_of_a_per_tensor_scale_is_not_looked_at():
    assert quantization(codes("int8", 3), np.float32(0.5), axis=9).axis is None


@pytest.mark.parametrize("shape", [(3,), (5, 1), (2, 5)], ids=str)
def test_a_zero_point_that_does_not_fit_is_refused_with_both_shapes(shape):
    with pytest.raises(NotUnderstoodError) as refusal:
        quantization(codes("int8", *SHAPE), scales(5), codes("int8", *shape), axis=1)
    assert str(shape) in str(refusal.value)
    assert "(5,)" in str(refusal.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_a_zero_point_of_another_type_is_refused(dtype):
    with pytest.raises(NotUnderstoodError, match=rf"{spelled(np.dtype(dtype))}.*int8"):
        quantization(codes("int8", 4), np.float32(1), dtype(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bool])
def test_codes_of_no_quantized_type_are_refused(dtype):
    with pytest.raises(NotUnderstoodError, match=spelled(np.dtype(dtype))):
        quantization(np.zeros(4, dtype), np.float32(1))


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_a_scale_of_a_type_that_onnx_forbids_is_refused(dtype):
    with pytest.raises(NotUnderstoodError, match=spelled(np.dtype(dtype))):
        quantization(codes("int8", 4), dtype(1))


def test_one_zero_point_serves_a_scale_of_many_channels():
    q = codes("int8", *SHAPE)
    held = quantization(q, scales(5), np.int8([3]), axis=1).dequantize(q)
    same_bits(held, onnxruntime_dequantizes(q, scales(5), np.full(5, 3, np.int8), axis=1))


# --------------------------------------------------------------- granularity and types


@pytest.mark.parametrize(
    ("scale_shape", "options", "granularity"),
    [
        ((), {}, "per-tensor"),
        ((1,), {}, "per-tensor"),
        ((5,), {"axis": 1}, "per-channel"),
        ((3, 3, 2, 7), {"axis": 1, "block_size": 2}, "per-block"),
    ],
    ids=str,
)
def test_granularity_is_read_off_the_scale(scale_shape, options, granularity):
    held = quantization(codes("int8", *SHAPE), scales(*scale_shape), **options)
    assert held.granularity == granularity


def test_a_negative_axis_is_counted_from_the_end():
    assert quantization(codes("int8", *SHAPE), scales(2), axis=-2).axis == 2


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_numpy_dtype_is_the_one_onnx_maps_the_data_type_to(data_type):
    assert numpy_dtype(data_type) == onnx.helper.tensor_dtype_to_np_dtype(element_type(data_type))


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_code_limits_are_those_of_ml_dtypes(data_type):
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type(data_type))
    info = ml_dtypes.iinfo(dtype) if is_integer(data_type) else ml_dtypes.finfo(dtype)
    assert code_limits(data_type) == (float(info.min), float(info.max))


def test_limits_narrower_than_the_type_are_the_code_limits():
    assert Quantization("int8", source(np.float32(1)), limits=(-7.0, 7.0)).code_limits == (-7, 7)


# --------------------------------------------------------------- records travel and read late


def test_a_quantization_survives_pickling():
    q, s, z = codes("int8", *SHAPE), scales(5), codes("int8", 5, seed=3)
    held = quantization(q, s, z, axis=1)
    again = pickle.loads(pickle.dumps(held))
    same_bits(again.dequantize(q), held.dequantize(q))


def test_a_derived_source_of_another_shape_than_promised_is_unavailable():
    derived = DerivedSource(source(floats(6)), np.ravel, (7,), "float32")
    with pytest.raises(UnavailableError, match=r"\(6,\).*\(7,\)"):
        derived.read()


def test_an_array_source_reads_the_array_it_was_given():
    array = floats(3)
    assert ArraySource("a", array, "float32").read() is array
