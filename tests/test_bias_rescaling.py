"""The int32 bias is counted in input scale times weight scale."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import (
    codes,
    convnet,
    dequantize_node,
    floats,
    make_model,
    same_bits,
    scales,
)
from onnx import TensorProto, helper, numpy_helper
from rewriting_cases import exact, layer_of, run, save_convnet, saved, write_again

from playground.utils.parameter_inspector.changing.bias_rescaling import raise_scales_for_bias
from playground.utils.parameter_inspector.changing.schemes import Scheme


@pytest.fixture
def current(tmp_path):
    return save_convnet(tmp_path)


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel"])
@pytest.mark.parametrize("with_float", [True, False])
def test_the_int32_bias_is_counted_in_input_scale_times_weight_scale(
    current, tmp_path, granularity, with_float
):
    bias = {one.name: numpy_helper.to_array(one) for one in convnet().graph.initializer}["b1"]
    before = layer_of(current, "conv1")
    change = (Scheme("int8", granularity), exact("conv1"), bias if with_float else None)
    write_again(current, {"conv1": change}, tmp_path / "out.onnx")
    layer = layer_of(tmp_path / "out.onnx", "conv1")
    product = layer.inputs[0].quantization.scale * layer.weight.quantization.scale
    same_bits(layer.bias.quantization.scale, product.astype(np.float32))
    source = bias if with_float else before.bias.values
    expected = np.rint(source.astype(np.float64) / product.astype(np.float64))
    np.testing.assert_array_equal(layer.bias.codes, expected)
    assert layer.bias.codes.dtype == np.int32
    assert np.abs(layer.bias.values - source).max() <= 0.5001 * np.max(product)


def test_input_scale_times_weight_scale_stays_above_zero_whatever_the_bias():
    tiny = np.array([1e-30, 0.5], np.float32)
    raised = raise_scales_for_bias(tiny, 1e-20, np.zeros(2))
    assert np.all(np.float32(1e-20) * raised > 0)
    assert raised[1] == tiny[1]


def test_blocks_leave_the_bias_as_it_is(current, tmp_path):
    scheme = Scheme("int4", "per-block", block_size=2)
    write_again(current, {"conv1": (scheme, exact("conv1"))}, tmp_path / "out.onnx")
    ours, before = (layer_of(path, "conv1").bias for path in (tmp_path / "out.onnx", current))
    same_bits(ours.codes, before.codes)
    same_bits(ours.quantization.scale, before.quantization.scale)


def grouped_transpose(scale_count: int) -> onnx.ModelProto:
    """A ConvTranspose of two groups, 6 -> 2 x 5 channels, bias int32."""
    rng = np.random.default_rng(0)
    arrays = {
        "q": codes("int8", 6, 5, 2, 3), "s": scales(), "z": np.int8(0),
        "bq": rng.integers(-900, 900, 10).astype(np.int32), "bs": np.float32(0.02) * scales(),
        "bz": np.int32(0), "xs": np.float32(0.02), "xz": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        dequantize_node(),
        dequantize_node(["bq", "bs", "bz"], "b"),
        helper.make_node("ConvTranspose", ["xd", "w", "b"], ["y"], "up", group=2),
    ]
    model = make_model(nodes, arrays, inputs={"x": (1, 6, 4, 4)}, opset=17, ir_version=8)
    shape = (1, 10, 5, 6)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    return model


def test_each_group_of_a_convtranspose_has_the_bias_scales_of_its_channels(tmp_path):
    path = saved(grouped_transpose(5), tmp_path)
    before = layer_of(path, "up")
    change = (Scheme(granularity="per-channel"), before.weight.values)
    write_again(path, {"up": change}, tmp_path / "out.onnx")
    after = layer_of(tmp_path / "out.onnx", "up")
    assert after.weight.quantization.scale.shape == (5,)
    assert after.bias.quantization.scale.shape == (10,)
    same_bits(after.bias.quantization.scale[:5], after.bias.quantization.scale[5:])
    x = floats(1, 6, 4, 4)
    old, new = (run(p, {"x": x}) for p in (path, tmp_path / "out.onnx"))
    np.testing.assert_allclose(old, new, atol=0.05 * np.abs(old).max())
