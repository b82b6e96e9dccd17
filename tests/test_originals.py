"""The float weight and bias that a quantized layer was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import constant, floats, make_model, scales
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from rewriting_cases import save_convnet

from playground.utils.parameter_inspector import (
    Stay,
    StayReason,
    compare_variants,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.changing.layer_options import list_options
from playground.utils.parameter_inspector.changing.originals import (
    read_original,
    read_original_bias,
)
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.facts import Evidence

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(MODELS / "dscnn").variants
    return compare_variants(variants)


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
    assert read_original(comparison, "INT8", "conv") == pytest.approx(folded, rel=1e-5)


def conv_graph(nodes: list[Any], arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 6, 7))],
        [onnx.ValueInfoProto(name="y")], [constant(*one) for one in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_layer_that_is_not_surely_the_same_is_left_out(dscnn):
    comparison = dscnn
    row = "/conv/Conv"
    measured = comparison.by_variant(row)["UINT8"]
    guess = replace(measured, pair=replace(measured.pair, evidence=Evidence.ORDER))
    rows = {**comparison.weights, row: {**comparison.by_variant(row), "UINT8": guess}}
    options, left_out = list_options(replace(comparison, weights=rows), "UINT8")
    assert {option.layer_name for option in options} == set(comparison.weights) - {row}
    assert left_out == (Stay(row, StayReason.UNSURE),)


@pytest.fixture
def current(tmp_path):
    return save_convnet(tmp_path)


def test_the_float_bias_is_taken_only_where_todays_is_its_rounding(tmp_path, current):
    def bias_found() -> np.ndarray | None:
        variants = {"FP32": load_model(tmp_path / "fp32.onnx"), "UINT8": load_model(current)}
        return read_original_bias(compare_variants(variants), "UINT8", "conv1")

    assert bias_found() is not None
    model = onnx.load(current)
    (bias,) = (one for one in model.graph.initializer if one.name == "b1_quantized")
    corrected = numpy_helper.to_array(bias) + np.int32(500)
    bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
    onnx.save(model, current)
    assert bias_found() is None


def test_a_float_matrix_is_turned_to_the_frame_of_a_weight_that_is_stored_transposed():
    """MatMulNBits holds [out, in] where MatMul has [in, out], also where the matrix is square."""
    for size in ((32, 48), (32, 32)):
        weight = floats(*size)
        node = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")
        inputs = {"x": (2, size[0])}
        exact = make_model([node], {"w": weight}, inputs=inputs)
        quantizer = MatMulNBitsQuantizer(copy_of(exact), block_size=16)
        quantizer.process()
        packed = quantizer.model.model
        comparison = compare_variants({"FP32": load_model(exact), "INT4": load_model(packed)})
        np.testing.assert_array_equal(read_original(comparison, "INT4", "matmul"), weight.T)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())
