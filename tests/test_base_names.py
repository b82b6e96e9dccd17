"""What tools put around a name is taken off again, and nothing else is."""

from __future__ import annotations

import pytest

from playground.utils.parameter_inspector.pairing.base_names import base_name

# tool -> names it wrote -> the name in the float model. From files made with the tools.
WRITTEN = {
    "onnxruntime QDQ": {
        "W_quantized": "W",
        "W_DequantizeLinear": "W",
        "W_DequantizeLinear_Output": "W",
        "W_QuantizeLinear": "W",
        "y_QuantizeLinear_Input": "y",
        "b_quantized": "b",
    },
    "onnxruntime pre-process": {
        "ConvBnFusion_W_conv1.weight": "conv1.weight",
        "ConvBnFusion_BN_B_bn1.bias": "bn1.bias",
        "ConvBnFusion_W_conv1.weight_quantized": "conv1.weight",
    },
    "onnxruntime QOperator": {"/conv1/Conv_quant": "/conv1/Conv", "h0_quantized": "h0"},
    "onnxruntime dynamic": {
        "fc2_quant": "fc2",
        "fc1_MatMul_quant": "fc1",
        "h_output_quantized": "h",
    },
    "onnxruntime after optimization": {
        "conv1_token_17": "conv1",
        "W_QuantizeLinear_Output": "W",
        "W_DQ_Q4_T": "W",
        "conv1_nchwc": "conv1",
    },
    "MatMulNBits": {
        "fc1_Q4": "fc1",
        "fc1_matmul_Q4": "fc1",
        "fc1_DQ_Q4": "fc1",
        "W_Q4G16": "W",
        "W_DQ_Q4": "W",
        "fc1_Q8": "fc1",
    },
    "MatMulBnb4": {"fc1_Bnb4": "fc1", "W_Bnb4": "W"},
    "NNCF": {"q_output_W_1": "W", "dq_output_W_1": "W", "q_output_fc.0.weight_12": "fc.0.weight"},
    "AIMET": {"W_q": "W", "W_qdq": "W", "QcQuantizeOp_W_q": "W", "h_updated": "h"},
    "ModelOpt": {"W_i4": "W"},
    "Neural Compressor": {"W_quantized": "W", "W_dequantized": "W"},
    "tf2onnx": {"model/conv2d_1/Conv2D1_prequant": "model/conv2d_1/Conv2D1"},
    "opencv_zoo": {"W_reshaped": "W", "W_quantized": "W"},
}  # fmt: skip
CASES = [(tool, made, plain) for tool, names in WRITTEN.items() for made, plain in names.items()]


@pytest.mark.parametrize(("tool", "made", "plain"), CASES)
def test_what_a_tool_put_around_a_name_is_taken_off(tool, made, plain):
    assert base_name(made) == plain


@pytest.mark.parametrize("name", sorted({plain for _, _, plain in CASES}))
def test_the_name_in_the_float_model_is_left_alone(name):
    assert base_name(name) == name


@pytest.mark.parametrize("name", sorted({made for _, made, _ in CASES}))
def test_a_base_is_its_own_base(name):
    assert base_name(base_name(name)) == base_name(name)


def test_suffixes_upon_suffixes_are_taken_off():
    assert base_name("QcQuantizeOp_ConvBnFusion_W_a_quantized_DequantizeLinear_Output_T") == "a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("conv1", "conv10"),
        ("conv1_quantized", "conv10_quantized"),
        ("W1", "W10"),
        ("395", "1395"),
        ("fc", "fc2"),
        ("fc_quant", "fc2_quant"),
        ("/conv1/Conv", "conv1"),
        ("", "conv1"),
        ("q_output_W_1", "W_1"),
        ("layer.1.weight_quantized", "layer.11.weight_quantized"),
        ("Conv1", "conv1"),
    ],
)
def test_a_name_inside_another_is_not_the_same_name(one, other):
    assert base_name(one) != base_name(other)


def test_the_empty_name_stays_empty():
    assert base_name("") == ""


@pytest.mark.parametrize(
    "name", ["_quantized", "_quant", "_q", "_T", "_Q4", "ConvBnFusion_W_", "QcQuantizeOp_", "_i8"]
)
def test_a_name_that_is_nothing_but_a_suffix_or_prefix_stays_as_it_is(name):
    assert base_name(name) == name


def test_a_suffix_upon_nothing_but_a_suffix_leaves_the_first_of_them():
    assert base_name("_quant_quantized") == "_quant"


@pytest.mark.parametrize("name", ["quantized", "T", "token_3", "my_quantizer", "W_Q5", "W_q_proj"])
def test_a_name_that_only_resembles_a_scheme_is_left_alone(name):
    assert base_name(name) == name


@pytest.mark.parametrize("name", ["a\n_quant", "Ünï;cødé_quant", "a b_quant", "$x_1$_quant"])
def test_names_of_strange_characters_lose_their_suffix_too(name):
    assert base_name(name) == name.removesuffix("_quant")
