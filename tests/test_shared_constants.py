"""What other layers read stays for them; shared weights change together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    at_input,
    codes,
    dequantize_node,
    floats,
    make_model,
    same_bits,
    scales,
)
from onnx import TensorProto, helper
from rewriting_cases import run, saved, shaped, write_again

from playground.utils.parameter_inspector.changing.originals import StaysError
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme


def test_a_zero_point_that_was_left_out_is_added(tmp_path):
    nodes = [dequantize_node(["q", "s"]), helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales()}
    path = saved(shaped(make_model(nodes, arrays, opset=17, ir_version=8)), tmp_path)
    values = floats(*CONV_SHAPE)
    scheme = Scheme("uint8", "per-channel", symmetric=False)
    write_again(path, {"conv": (scheme, values)}, tmp_path / "out.onnx")
    same_bits(at_input(onnx.load(tmp_path / "out.onnx"), "w"), requantize(values, scheme).values)


def two_convs(**shared: str) -> onnx.ModelProto:
    """Two Convs on the same input; ``shared`` names constants that the second has of the first."""
    names = {"q": "q2", "s": "s2", "z": "z2"} | shared
    nodes = [
        dequantize_node(["q", "s", "z"], "w"),
        dequantize_node([names["q"], names["s"], names["z"]], "w2"),
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Conv", ["x", "w2"], ["c2"], "conv2"),
        helper.make_node("Add", ["c", "c2"], ["y"], "add"),
    ]
    arrays = {
        "q": codes("int8", *CONV_SHAPE), "s": scales(), "z": np.int8(3),
        "q2": codes("int8", *CONV_SHAPE, seed=5), "s2": scales(seed=6), "z2": np.int8(-2),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    arrays = {name: array for name, array in arrays.items() if name in used}
    return shaped(make_model(nodes, arrays, opset=17, ir_version=8))


@pytest.mark.parametrize("constant", ["q", "s", "z"])
def test_a_constant_that_another_layer_reads_stays_for_it(constant, tmp_path):
    path = saved(two_convs(**{constant: constant}), tmp_path)
    other = at_input(onnx.load(path), "w2")
    values = floats(*CONV_SHAPE)
    change = Scheme(granularity="per-channel"), values
    if constant == "q":  # one stored weight: the second changes with the first, to its own values
        other = requantize(other, change[0]).values
    write_again(path, {"conv": change}, tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    same_bits(at_input(model, "w2"), other)
    same_bits(at_input(model, "w"), requantize(values, change[0]).values)


def test_a_weight_that_two_layers_read_through_one_node_changes_for_both(tmp_path):
    model = two_convs()
    next(node for node in model.graph.node if node.name == "conv2").input[1] = "w"
    path, scheme, values = saved(model, tmp_path), Scheme("int16"), floats(*CONV_SHAPE)
    write_again(path, {"conv": (scheme, values)}, tmp_path / "out.onnx")
    again = onnx.load(tmp_path / "out.onnx")
    convs = [node for node in again.graph.node if node.op_type == "Conv"]
    assert len(convs) == 2
    for node in convs:
        same_bits(at_input(again, node.input[1]), requantize(values, scheme).values)
    with pytest.raises(StaysError, match="its weight is that of conv, and changes with it"):
        write_again(path, {"conv2": (scheme, values)}, tmp_path / "out.onnx")


def test_a_file_that_onnxruntime_optimized_before_loads_again_where_it_can_fuse_more(tmp_path):
    nodes = [
        dequantize_node(axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "w"], ["m"], "matmul"),
        helper.make_node("Add", ["b", "m"], ["a"]),
        # What MatMulAddFusion left behind when it fused another MatMul of the same file.
        helper.make_node("Reshape", ["a", "gemm_input_shape"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["g"], "gemm"),
        helper.make_node("Reshape", ["g", "gemm_output_shape"], ["y"]),
    ]
    arrays = {
        "q": codes("uint4", 32, 6), "s": scales(2, 6), "z": codes("uint4", 2, 6),
        "b": floats(6), "w2": floats(6, 7),
        "gemm_input_shape": np.array([15, 6]), "gemm_output_shape": np.array([3, 5, 7]),
    }  # fmt: skip
    model = make_model(nodes, arrays, inputs={"x": (3, 5, 32)})
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 5, 7))
    model.graph.output[0].CopyFrom(output)
    path, values = saved(model, tmp_path), floats(32, 6)
    write_again(path, {"matmul": (Scheme("int16"), values)}, tmp_path / "out.onnx")
    x = floats(3, 5, 32, seed=4)
    held = requantize(values, Scheme("int16"), channel_axis=1).values
    expected = ((x @ held + arrays["b"]).reshape(15, 6) @ arrays["w2"]).reshape(3, 5, 7)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", {"x": x}), expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    "scheme", [Scheme("uint8"), Scheme("float8e5m2"), Scheme("int4", "per-block", block_size=3)]
)
def test_what_the_operator_of_another_domain_does_not_take_the_standard_one_does(scheme, tmp_path):
    nodes = [
        dequantize_node(domain="com.microsoft"),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(), "z": np.int8(1)}
    model = shaped(make_model(nodes, arrays, opset=17, ir_version=8, domains=["com.microsoft"]))
    path, values = saved(model, tmp_path), floats(*CONV_SHAPE)
    write_again(path, {"conv": (scheme, values)}, tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    stays = scheme.data_type == "uint8"
    assert model.graph.node[0].domain == ("com.microsoft" if stays else "")
    same_bits(at_input(model, "w"), requantize(values, scheme).values)
