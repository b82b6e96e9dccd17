"""Where the quantizers of a variant stand in its original."""

import numpy as np
import pytest
from networks_to_run import conv_network, model, node, quantize, switch
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat

from playground.utils.parameter_inspector.facts import QuantizerKind, UnplacedReason


@pytest.fixture(scope="module")
def placement(tmp_path_factory):
    return switch(
        conv_network(), quantize(conv_network(), tmp_path_factory.mktemp("qdq"))
    ).placement


def pair(source: str, scale: str = "s", zero: str = "z", end: str = "dq") -> list:
    codes = f"{source}_{end}_codes"
    return [
        node("QuantizeLinear", f"{source} {scale} {zero}", codes),
        node("DequantizeLinear", f"{codes} {scale} {zero}", f"{source}_{end}"),
    ]


SCALE = {"s": np.float32(0.1), "z": np.uint8(0)}


def test_a_tensor_that_two_layers_read_has_one_quantizer(placement):
    found = [q for q in placement.quantizers if q.tensor == "r1"]
    assert [q.layers for q in found] == [("c2_node", "sum_node")]


def test_a_bias_has_the_gate_of_its_weight(placement):
    weights = [q for q in placement.quantizers if q.kind is QuantizerKind.WEIGHT]
    assert [q.tensor for q in weights] == ["w1", "w2", "w3"]
    assert sorted(site.quantizer for site in placement.weights) == sorted(
        2 * [q.index for q in weights]
    )


def test_what_the_variant_quantizes_before_a_dropped_relu_is_read_from_there(placement):
    starts = {site.value.name: site.source.name for site in placement.activations}
    assert (starts["r1"], starts["r2"], starts["c2"]) == ("c1", "sum", "c2")


def test_scale_and_zero_point_are_those_of_the_file(tmp_path):
    variant = quantize(conv_network(), tmp_path)
    found = {q.tensor: q for q in switch(conv_network(), variant).placement.quantizers}
    held = {t.name: numpy_helper.to_array(t) for t in variant.graph.initializer}
    assert found["x"].scale == held["x_scale"]
    assert found["x"].zero_point == held["x_zero_point"]
    assert found["x"].data_type == "uint8"
    assert found["x"].code_limits == (0, 255)


def test_a_stored_number_that_two_layers_read_has_one_gate():
    original = model(
        [node("Add", "x c", "a"), node("Exp", "a", "e"), node("Add", "e c", "y")],
        {"x": [4]}, ["y"], {"c": np.array([2.97], np.float32)},
    )  # fmt: skip
    variant = model(
        [
            node("DequantizeLinear", "cq s z", "cd"), node("Add", "x cd", "a"),
            node("Exp", "a", "e"), node("Add", "e cd", "y"),
        ],
        {"x": [4]}, ["y"], {"cq": np.array([30], np.uint8), **SCALE},
    )  # fmt: skip
    placement = switch(original, variant).placement
    assert [q.layers for q in placement.quantizers] == [("a_node", "y_node")]
    assert len(placement.weights) == 2


def test_a_quantizer_of_a_layer_that_the_original_lacks_is_named(tmp_path):
    original = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": [4]}, ["y"])
    variant = model(
        [node("Relu", "x", "a"), *pair("a"), node("Exp", "a_dq", "e"), node("Neg", "e", "y")],
        {"x": [4]}, ["y"], SCALE,
    )  # fmt: skip
    (found,) = switch(original, variant).placement.unplaced
    assert (found.reason, found.tensor, found.layer) == (
        UnplacedReason.LAYER_UNPAIRED,
        "a",
        "e_node",
    )


def test_a_scale_that_is_computed_while_the_model_runs_is_not_placed():
    nodes = [node("Relu", "x", "a"), node("Neg", "a", "y")]
    original = model(nodes, {"x": [4]}, ["y"])
    variant = model(
        [
            node("Relu", "x", "a"), node("ReduceMax", "a", "most", keepdims=0), *pair("a", "most"),
            node("Neg", "a_dq", "y"),
        ],
        {"x": [4]}, ["y"], SCALE,
    )  # fmt: skip
    found = switch(original, variant).placement.unplaced
    assert [one.reason for one in found] == [UnplacedReason.OPERATOR]


def test_a_quantized_output_is_a_quantizer_that_no_layer_reads(placement):
    assert [q.tensor for q in placement.quantizers if not q.layers] == ["y"]


def test_quantized_operators_have_the_quantizers_that_pairs_have(tmp_path, placement):
    variant = quantize(conv_network(), tmp_path, quant_format=QuantFormat.QOperator)
    found = switch(conv_network(), variant).placement.quantizers
    assert {q.tensor for q in found} <= {q.tensor for q in placement.quantizers}
    assert {"x", "r1", "c2", "w1", "w2", "w3"} <= {q.tensor for q in found}


def test_channels_that_were_equalized_are_not_placed_one_by_one():
    random = np.random.default_rng(0)
    weight = random.normal(size=(6, 8)).astype(np.float32)
    factors = np.array([4, 0.2, 1, 5, 0.1, 3], np.float32)[:, None]
    nodes = [node("Gemm", "x w", "g", transB=1), node("Neg", "g", "y")]
    original = model(nodes, {"x": [2, 8]}, ["y"], {"w": weight})
    scale = np.float32(0.1)
    variant = model(
        [
            node("DequantizeLinear", "q s", "w"), node("Gemm", "x w", "g", transB=1),
            node("Neg", "g", "y"),
        ],
        {"x": [2, 8]}, ["y"], {"q": np.rint(weight * factors / scale).astype(np.int8), "s": scale},
    )  # fmt: skip
    found = switch(original, variant).placement.unplaced
    assert [one.reason for one in found] == [UnplacedReason.RESCALED]


def test_gemm_factors_that_the_variant_folded_are_taken_out():
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 8)).astype(np.float32)
    original = model(
        [node("Gemm", "x w", "y", transB=1, alpha=0.5)], {"x": [2, 8]}, ["y"], {"w": weight}
    )
    scale = np.float32(0.01)
    codes = np.rint(weight * 0.5 / scale).astype(np.int8)
    variant = model(
        [node("DequantizeLinear", "q s", "w"), node("Gemm", "x w", "y", transB=1)],
        {"x": [2, 8]}, ["y"], {"q": codes, "s": scale},
    )  # fmt: skip
    (site,) = switch(original, variant).placement.weights
    np.testing.assert_allclose(site.read(), codes * scale * 2, rtol=1e-6)
