"""The switched model against onnxruntime on the files themselves, and against closed forms."""

import numpy as np
import onnx
import pytest
from networks_to_run import (
    all_on,
    conv_network,
    images,
    model,
    node,
    quantize,
    quantize_while_running,
    run,
    run_switched,
    sqnr_db,
    switch,
)
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType

from playground.utils.parameter_inspector.facts import QuantizerKind

INT16 = {"activation_type": QuantType.QUInt16, "extra_options": {"UseQDQContribOps": True}}
# What onnxruntime's own kernels round in integers agrees less.
FORMS = {
    "int8 weights": ({}, 100),
    "uint8 weights": ({"weight_type": QuantType.QUInt8, "per_channel": False}, 100),
    "one pair for each reader": ({"extra_options": {"DedicatedQDQPair": True}}, 100),
    "signed activations": ({"activation_type": QuantType.QInt8}, 100),
    "no quantized bias": ({"extra_options": {"QuantizeBias": False}}, 100),
    "pairs on weights": ({"extra_options": {"AddQDQPairToWeight": True}}, 100),
    "16-bit activations": (INT16, 60),
    "quantized operators": ({"quant_format": QuantFormat.QOperator}, 40),
}


@pytest.fixture(scope="module", params=FORMS)
def form(request, tmp_path_factory):
    options, agreement = FORMS[request.param]
    variant = quantize(conv_network(), tmp_path_factory.mktemp("form"), **options)
    return variant, switch(conv_network(), variant), agreement


def test_all_gates_open_is_the_file(form):
    variant, switched, agreement = form
    inputs = images(4)
    found = run_switched(switched, inputs, all_on(switched))[0]
    assert sqnr_db(run(variant, inputs)[0], found) >= agreement


def test_all_gates_closed_is_the_original(form):
    _, switched, _ = form
    inputs = images(4)
    assert sqnr_db(run(conv_network(), inputs)[0], run_switched(switched, inputs, [])[0]) >= 120


def test_every_quantizer_finds_a_place(form):
    assert not form[1].placement.unplaced


def test_dynamic_quantization_is_switched_too(tmp_path):
    variant = quantize_while_running(conv_network(), tmp_path)
    switched = switch(conv_network(), variant)
    inputs = images(3)
    found = run_switched(switched, inputs, all_on(switched))[0]
    assert sqnr_db(run(variant, inputs)[0], found) > 80


def test_a_weight_alone_is_its_values_and_nothing_else(tmp_path):
    variant = quantize(conv_network(), tmp_path)
    switched = switch(conv_network(), variant)
    weight = next(q for q in switched.placement.quantizers if q.tensor == "w3")
    held = {t.name: numpy_helper.to_array(t) for t in variant.graph.initializer}
    expected = onnx.ModelProto()
    expected.CopyFrom(conv_network())
    w3 = held["w3_quantized"].astype(np.float32) * held["w3_scale"].reshape(-1, 1)
    b3 = held["b3_quantized"].astype(np.float32) * held["b3_quantized_scale"]
    for tensor in expected.graph.initializer:
        if tensor.name in ("w3", "b3"):
            values = w3 if tensor.name == "w3" else b3
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    inputs = images(2)
    found = run_switched(switched, inputs, [weight.index])[0]
    np.testing.assert_array_equal(found, run(expected, inputs)[0])


def test_a_batch_norm_that_the_variant_folded_is_folded_first():
    random = np.random.default_rng(2)
    weight = random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    gamma, beta, mean = (random.normal(size=4).astype(np.float32) for _ in range(3))
    variance = random.uniform(0.5, 2, 4).astype(np.float32)
    original = model(
        [
            node("Conv", "x w", "c"),
            node("BatchNormalization", "c g b m v", "n"),
            node("Relu", "n", "y"),
        ],
        {"x": ["N", 3, 5, 5]},
        ["y"],
        {"w": weight, "g": gamma, "b": beta, "m": mean, "v": variance},
    )
    factor = gamma / np.sqrt(variance + 1e-5)
    folded, scale = weight * factor.reshape(-1, 1, 1, 1), np.float32(0.02)
    variant = model(
        [
            node("DequantizeLinear", "w_q s z", "w_dq"),
            node("Conv", "x w_dq bias", "n"),
            node("Relu", "n", "y"),
        ],
        {"x": ["N", 3, 5, 5]},
        ["y"],
        {
            "w_q": np.clip(np.rint(folded / scale), -128, 127).astype(np.int8),
            "s": scale, "z": np.int8(0), "bias": (beta - mean * factor).astype(np.float32),
        },
    )  # fmt: skip
    switched = switch(original, variant)
    inputs = {"x": random.normal(size=(2, 3, 5, 5)).astype(np.float32)}
    found = run_switched(switched, inputs, all_on(switched))[0]
    assert sqnr_db(run(variant, inputs)[0], found) > 100
    assert sqnr_db(run(original, inputs)[0], run_switched(switched, inputs, [])[0]) > 120


def test_blocks_of_a_transposed_weight_reach_the_product():
    """MatMulNBits keeps its weight as (N, K); the original multiplies by (K, N)."""
    random = np.random.default_rng(3)
    codes = random.integers(0, 16, (8, 32)).astype(np.uint8)
    scales = random.uniform(0.01, 0.1, 8).astype(np.float32)
    packed = (codes[:, 0::2] | (codes[:, 1::2] << 4)).reshape(8, 1, 16)
    values = ((codes.astype(np.float32) - 8) * scales[:, None]).T
    original = model(
        [node("MatMul", "x w", "y")], {"x": ["N", 32]}, ["y"],
        {"w": (values + random.normal(0, 0.01, values.shape)).astype(np.float32)},
    )  # fmt: skip
    variant = model(
        [
            helper.make_node(
                "MatMulNBits", ["x", "packed", "scales"], ["y"], name="product",
                domain="com.microsoft", K=32, N=8, bits=4, block_size=32,
            )
        ],
        {"x": ["N", 32]}, ["y"], {"packed": packed, "scales": scales}, domains=["com.microsoft"],
    )  # fmt: skip
    switched = switch(original, variant)
    inputs = {"x": random.normal(size=(3, 32)).astype(np.float32)}
    found = run_switched(switched, inputs, all_on(switched))[0]
    np.testing.assert_allclose(found, inputs["x"] @ values, rtol=1e-5, atol=1e-5)


def test_a_weight_that_others_read_stays_theirs():
    weight = np.array([[1.26, -0.74], [0.51, 2.24]], np.float32)
    original = model(
        [node("MatMul", "x w", "a"), node("Add", "a w", "y")], {"x": [2, 2]}, ["y"], {"w": weight}
    )
    codes, scale = np.rint(weight / 0.5).astype(np.int8), np.float32(0.5)
    variant = model(
        [
            node("DequantizeLinear", "q s", "dq"), node("MatMul", "x dq", "a"),
            node("Add", "a w", "y"),
        ],
        {"x": [2, 2]}, ["y"], {"q": codes, "s": scale, "w": weight},
    )  # fmt: skip
    switched = switch(original, variant)
    x = np.array([[1, 2], [3, 4]], np.float32)
    found = run_switched(switched, {"x": x}, all_on(switched))[0]
    np.testing.assert_allclose(found, x @ (codes * scale) + weight, rtol=1e-6)


def test_codes_that_a_clip_narrows_stay_narrow():
    original = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": [4]}, ["y"])
    variant = model(
        [
            node("Relu", "x", "a"),
            node("QuantizeLinear", "a s z", "q"),
            node("Clip", "q low high", "c"),
            node("DequantizeLinear", "c s z", "dq"),
            node("Neg", "dq", "y"),
        ],
        {"x": [4]}, ["y"],
        {"s": np.float32(1), "z": np.int8(0), "low": np.int8(-3), "high": np.int8(3)},
    )  # fmt: skip
    switched = switch(original, variant)
    x = np.array([0.4, 1.6, 3.2, 90], np.float32)
    found = run_switched(switched, {"x": x}, all_on(switched))[0]
    np.testing.assert_array_equal(found, -np.array([0, 2, 3, 3], np.float32))


def test_an_original_of_an_old_opset_takes_16_bits():
    original = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": [3]}, ["y"], opset=11)
    variant = model(
        [
            node("Relu", "x", "a"),
            node("QuantizeLinear", "a s z", "q"),
            node("DequantizeLinear", "q s z", "dq"),
            node("Neg", "dq", "y"),
        ],
        {"x": [3]}, ["y"], {"s": np.float32(0.001), "z": np.uint16(0)}, opset=21,
    )  # fmt: skip
    switched = switch(original, variant)
    x = np.array([0.0004, 0.0016, 80], np.float32)
    found = run_switched(switched, {"x": x}, all_on(switched))[0]
    np.testing.assert_allclose(found, -np.array([0, 0.002, 65.535]), rtol=1e-6)


def test_a_quantizer_inside_a_branch_is_switched_there():
    def branch(quantized: bool) -> onnx.GraphProto:
        inner = [node("Mul", "x x", "m"), node("Neg", "m", "out")]
        if quantized:
            inner = [
                node("Mul", "x x", "m"),
                node("QuantizeLinear", "m s z", "q"),
                node("DequantizeLinear", "q s z", "dq"),
                node("Neg", "dq", "out"),
            ]
        return helper.make_graph(inner, "then", [], [onnx.ValueInfoProto(name="out")])

    def whole(quantized: bool) -> onnx.ModelProto:
        other = helper.make_graph(
            [node("Abs", "x", "abs")], "else", [], [onnx.ValueInfoProto(name="abs")]
        )
        chosen = helper.make_node(
            "If", ["yes"], ["y"], name="choice", then_branch=branch(quantized), else_branch=other
        )
        constants = {"yes": np.array(True), "s": np.float32(1), "z": np.uint8(0)}
        return model([chosen], {"x": [2]}, ["y"], constants)

    switched = switch(whole(False), whole(True))
    x = np.array([1.2, 2.2], np.float32)
    np.testing.assert_array_equal(run_switched(switched, {"x": x}, all_on(switched))[0], [-1, -5])
    np.testing.assert_allclose(run_switched(switched, {"x": x}, [])[0], -x * x)


def test_the_name_of_the_gates_gives_way_to_an_input_of_that_name():
    original = model([node("Neg", "quantizer_gates", "y")], {"quantizer_gates": [2]}, ["y"])
    assert switch(original, original).gates != "quantizer_gates"


def test_a_float_weight_that_a_tool_changed_counts_as_a_quantizer():
    original = conv_network()
    variant = conv_network()
    for tensor in variant.graph.initializer:
        if tensor.name == "b2":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 0.5, "b2"))
    switched = switch(original, variant)
    assert [q.kind for q in switched.placement.quantizers] == [QuantizerKind.WEIGHT]
    inputs = images(2)
    np.testing.assert_array_equal(run_switched(switched, inputs, [0])[0], run(variant, inputs)[0])
