"""onnxruntime's quantizer does what the pasted overrides say."""

from __future__ import annotations

import ast
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from comparisons_for_tests import compare_convnets
from hostile_names import chain, pasted
from models_for_tests import convnet, mlp, quantized_statically, same_bits
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

from playground.utils import exports
from playground.utils.exports import override_planned_weights
from playground.utils.parameter_inspector import (
    compare_variants,
    list_layers,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.changing.originals import read_original
from playground.utils.parameter_inspector.changing.planning import plan_model
from playground.utils.parameter_inspector.changing.requantizing import requantize


@pytest.fixture(scope="module")
def convnets(tmp_path_factory):
    return compare_convnets(tmp_path_factory.mktemp("exports"))


def scale_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's weight scale, read from the graph by hand."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node}
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return {node.name: arrays[makers[node.input[1]].input[1]].shape for node in layers}


ALL_UINT8 = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}


@pytest.mark.parametrize(
    ("make", "row", "weight", "channels"),
    [(convnet, "conv10", "W10", 8), (convnet, "fc", "W2", 9), (mlp, "fc1", "W1", 6),
     (mlp, "fc2", "W2", 4)],
)  # fmt: skip
def test_onnxruntime_quantizes_the_pasted_layer_per_channel_and_no_other(
    make, row, weight, channels, tmp_path
):
    variants = {
        "FP32": load_model(make()),
        "UINT8": load_model(quantized_statically(make(), tmp_path, **ALL_UINT8)),
    }
    comparison = compare_variants(variants)
    text = exports.quantize_per_channel_in_onnxruntime(comparison, [row], "UINT8")
    space: dict = {}
    exec(text, space)
    assert list(space["tensor_quant_overrides"]) == [weight]
    proto = quantized_statically(
        make(),
        tmp_path,
        **ALL_UINT8,
        extra_options={"TensorQuantOverrides": space["tensor_quant_overrides"]},
    )
    shapes = scale_shapes(proto)
    assert shapes.pop(row) == (channels,)
    assert set(shapes.values()) == {()}


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.int8, "QInt8"), (np.uint8, "QInt8"), (ml_dtypes.int4, "QInt4"), (np.int16, "QInt16")],
)
def test_per_channel_overrides_keep_the_bit_width_and_are_signed(dtype, kind):
    variants = {
        "FP32": load_model(chain(["a"], quantized=False)),
        "INT": load_model(chain(["a"], quantized=True, dtype=dtype)),
    }
    comparison = compare_variants(variants)
    text = exports.quantize_per_channel_in_onnxruntime(comparison, ["a"], "INT")
    space: dict = {}
    exec(text, space)
    (override,) = space["tensor_quant_overrides"]["w0"]
    assert override == {"quant_type": QuantType[kind], "symmetric": True, "axis": 1}


@pytest.mark.parametrize("row", ["relu1", "conv1"])
def test_per_channel_overrides_say_which_layer_cannot_have_them(convnets, row):
    alone = compare_variants({"INT8": convnets.variants["INT8"]})
    comparison = convnets if row == "relu1" else alone
    text = exports.quantize_per_channel_in_onnxruntime(comparison, [row], "INT8")
    assert ast.literal_eval(pasted(text)) == {}
    assert f"# {row!r}: it" in text


MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(MODELS / "dscnn").variants
    return compare_variants(variants)


def test_the_overrides_make_onnxruntime_write_the_planned_weights(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=36)
    overrides = eval(override_planned_weights(plan.changes), {"QuantType": QuantType})
    assert len(overrides) == len(plan.changes) > 3
    exact = onnx.load(MODELS / "dscnn/fp32.onnx")
    quantized = quantized_statically(
        exact, tmp_path, weight_type=QuantType.QUInt8, activation_type=QuantType.QUInt8,
        extra_options={"TensorQuantOverrides": overrides},
    )  # fmt: skip
    weights = {one.name: one.weight for one in list_layers(load_model(quantized)) if one.weight}
    for change in plan.changes:
        values = read_original(comparison, "UINT8", change.layer_name)
        done = requantize(values, change.proposed.scheme)
        same_bits(done.codes, weights[change.layer_name].codes)
        same_bits(done.quantization.scale, weights[change.layer_name].quantization.scale)


def test_what_the_overrides_cannot_say_stands_in_a_comment(dscnn):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_bytes=40_000)
    assert any(change.proposed.scheme.block_size for change in plan.changes)
    assert "has no override; save the changed model instead" in override_planned_weights(
        plan.changes
    )
    assert set(eval(override_planned_weights(plan.changes), {"QuantType": QuantType})) < {
        change.options.weight_name for change in plan.changes
    }
