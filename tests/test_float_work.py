"""What runs in float in a quantized file, by operator."""

from __future__ import annotations

import onnx
from models_for_tests import floats, mlp, quantized_dynamically
from planted_activation_faults import (
    I8,
    Graph,
    attention_in_float,
    float_between_quantized,
    two_quantized,
    weights_alone,
)

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.judging.float_work import (
    FloatWork,
    FloatWorkKind,
    find_float_work,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def float_work(model: onnx.ModelProto) -> list[FloatWork]:
    opened = load_model(model)
    return list(find_float_work(read_dataflow(opened), list_layers(opened)))


def test_quantized_weights_without_any_activation_are_told_once_for_an_operator():
    (found,) = float_work(weights_alone()["variant"])
    assert (found.kind, found.layer_names) == (FloatWorkKind.WEIGHTS_ONLY, ("matmul",))


def test_a_product_of_float_activations_is_told_in_a_static_build():
    (found,) = float_work(attention_in_float()["variant"])
    assert (found.kind, found.layer_names) == (FloatWorkKind.PRODUCTS, ("attend",))


def test_a_layer_that_a_float_activation_enters_is_counted_among_its_kind():
    (found,) = float_work(float_between_quantized()["variant"])
    assert (found.kind, found.layer_names) == (FloatWorkKind.LAYERS, ("second",))
    assert (found.op_type, found.total) == ("MatMul", 2)


def test_a_network_quantized_throughout_has_none():
    assert float_work(two_quantized(0.1, I8(0))) == []


def test_a_dynamic_build_quantizes_activations_while_it_runs(tmp_path):
    assert float_work(quantized_dynamically(mlp(), tmp_path)) == []


def test_a_float_network_has_none():
    assert float_work(mlp()) == []


def test_activations_stay_quantized_where_data_is_moved():
    graph = Graph()
    read = graph.both("x", 0.03, I8(0))
    turned = graph.add("Transpose", [read], "turned", perm=[1, 0])
    weight = graph.weight("w", floats(2, 9), 1)
    assert float_work(graph.model(graph.add("MatMul", [turned, weight], "matmul"))) == []
