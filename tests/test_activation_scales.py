"""Activations have the scales of their own Q and DQ nodes, or of the operator they enter."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import NETWORKS, initializer, names_of, node
from models_for_tests import (
    constant,
    convnet,
    dequantize_node,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    same_bits,
    scales,
)
from onnxruntime.quantization import QuantFormat, QuantType

from playground.utils.parameter_inspector import (
    extract_layer_params,
    find_layer,
    load_model,
)


@pytest.mark.parametrize("network", NETWORKS)
def test_inputs_and_outputs_have_the_scales_of_their_own_q_and_dq_nodes(tmp_path, network):
    model = quantized_statically(NETWORKS[network](), tmp_path, per_channel=True)
    opened = load_model(model)
    makers = {name: n for n in model.graph.node for name in n.output}
    for one in model.graph.node:
        if one.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        layer, dequantizer = find_layer(opened, one.name), makers[one.input[0]]
        (given,) = layer.inputs
        same_bits(given.quantization.scale, initializer(model, dequantizer.input[1]))
        same_bits(given.quantization.zero_point, initializer(model, dequantizer.input[2]))
        (quantizer,) = [n for n in model.graph.node if one.output[0] in n.input]
        if quantizer.op_type == "QuantizeLinear":
            (made,) = layer.outputs
            same_bits(made.quantization.scale, initializer(model, quantizer.input[1]))
            same_bits(made.quantization.zero_point, initializer(model, quantizer.input[2]))


def test_the_type_of_activations_is_that_of_their_zero_point(tmp_path):
    model = quantized_statically(convnet(), tmp_path, activation_type=QuantType.QUInt8)
    layer = find_layer(load_model(model), "conv10")
    assert [one.data_type for one in (*layer.inputs, *layer.outputs)] == ["uint8", "uint8"]


def test_inputs_and_outputs_of_a_qoperator_are_its_own_scales(tmp_path):
    model = quantized_statically(convnet(), tmp_path, quant_format=QuantFormat.QOperator)
    one = next(n for n in model.graph.node if n.name == "conv10_quant")
    layer = find_layer(load_model(model), "conv10_quant")
    assert [t.tensor for t in (*layer.inputs, *layer.outputs)] == ["c1_quantized", "c10_quantized"]
    same_bits(layer.inputs[0].quantization.scale, initializer(model, one.input[1]))
    same_bits(layer.outputs[0].quantization.scale, initializer(model, one.input[6]))
    same_bits(layer.outputs[0].quantization.zero_point, initializer(model, one.input[7]))


def test_an_impossible_scale_of_an_activation_hides_no_layer(tmp_path):
    model = quantized_statically(convnet(), tmp_path, quant_format=QuantFormat.QOperator)
    for tensor in model.graph.initializer:
        if tensor.name == "c10_zero_point":
            tensor.CopyFrom(constant("c10_zero_point", np.float32(1)))
    assert find_layer(load_model(model), "conv1_quant").weight.is_quantized


def test_an_activation_scale_that_cannot_be_computed_hides_no_layer():
    nodes = [
        node("Div", ["a", "b"], ["s"]),
        node("QuantizeLinear", ["x", "s"], ["q"]),
        dequantize_node(("q", "s"), "d"),
        node("Relu", ["d"], ["y"], "relu"),
    ]
    model = make_model(nodes, {"a": scales(3), "b": scales(4)})
    assert names_of(model) == ["relu"]


def test_the_input_of_a_dynamic_layer_is_marked_dynamic(tmp_path):
    layer = find_layer(load_model(quantized_dynamically(mlp(), tmp_path)), "fc2_quant")
    (given,) = layer.inputs
    assert given.is_dynamic
    assert (given.tensor, given.data_type) == ("r", "uint8")


def test_a_relu_between_q_and_dq_has_its_activations(tmp_path):
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        dequantize_node(("q", "s", "z"), "d"),
        node("Relu", ["d"], ["r"], "relu"),
        node("QuantizeLinear", ["r", "t", "z"], ["rq"]),
        dequantize_node(("rq", "t", "z"), "y"),
    ]
    arrays = {"s": np.float32(0.3), "t": np.float32(0.2), "z": np.uint8(3)}
    held = extract_layer_params(load_model(make_model(nodes, arrays)), "relu")
    assert held.weight_shape is None
    assert held.inputs[0].quantization.scale == np.float32(0.3)
    assert held.outputs[0].quantization.scale == np.float32(0.2)
