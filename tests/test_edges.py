"""A layer is followed back through the plumbing to the tensor that another layer makes."""

from __future__ import annotations

import numpy as np
import pytest
from networks_to_run import conv_network, model, node, quantize
from onnxruntime.quantization import QuantFormat

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.edges import Network, StepKind

SCALE = {"s": np.float32(0.1), "z": np.uint8(3)}


def read(nodes, outputs=("y",), constants=SCALE, **more) -> Network:
    return Network(load_model(model(nodes, {"x": ["N", 4]}, outputs, constants, **more)))


def kinds(edge) -> list[StepKind]:
    return [step.kind for step in edge.steps]


PAIR = [
    node("QuantizeLinear", "a s z", "codes"),
    node("DequantizeLinear", "codes s z", "d"),
]


def test_an_edge_leads_behind_a_pair_and_holds_its_steps():
    network = read([node("Exp", "x", "a"), *PAIR, node("Neg", "d", "y")])
    assert list(network.layers) == ["a_node", "y_node"]
    edge = network.edge("y_node", 0)
    assert (edge.reader, edge.position, edge.value.name) == ("y_node", 0, "d")
    assert edge.source is network.made["a_node"][0]
    assert network.maker(edge.source) == ("a_node", 0)
    assert kinds(edge) == [StepKind.QUANTIZE, StepKind.DEQUANTIZE]
    assert [(step.scale.name, step.zero_point.name) for step in edge.steps] == 2 * [("s", "z")]


def test_a_clip_is_a_step_between_the_two_of_a_pair_and_a_layer_elsewhere():
    clip = node("Clip", "codes low high", "cut")
    limits = {"low": np.uint8(1), "high": np.uint8(9)}
    network = read(
        [node("Exp", "x", "a"), PAIR[0], clip, node("DequantizeLinear", "cut s z", "y")],
        constants={**SCALE, **limits},
    )
    assert kinds(network.outputs[0]) == [StepKind.QUANTIZE, StepKind.CLIP, StepKind.DEQUANTIZE]
    bounds = {"low": np.float32(0), "high": np.float32(6)}
    network = read([node("Clip", "x low high", "y")], constants=bounds)
    assert network.maker(network.outputs[0].source) == ("y_node", 0)


def test_what_is_quantized_while_the_model_runs_is_one_step():
    dynamic = node("DynamicQuantizeLinear", "x", "codes")
    dynamic.output.extend(["s1", "z1"])
    network = read([dynamic, node("DequantizeLinear", "codes s1 z1", "d"), node("Neg", "d", "y")])
    edge = network.edge("y_node", 0)
    assert edge.source.is_graph_input()
    assert kinds(edge) == [StepKind.DYNAMIC, StepKind.DEQUANTIZE]


def test_a_stored_weight_is_a_constant_and_not_a_moving_edge():
    network = read(
        [node("DequantizeLinear", "w s", "d"), node("MatMul", "x d", "y")],
        constants={"w": np.ones((4, 2), np.int8), "s": np.float32(0.1)},
    )
    assert [edge.position for edge in network.moving("y_node")] == [0]
    assert network.is_constant(network.edge("y_node", 1).source)


def test_every_reader_of_a_tensor_is_found_outputs_of_the_graph_among_them():
    network = read(
        [node("Exp", "x", "a"), *PAIR, node("Neg", "d", "y"), node("Abs", "a", "e")],
        ["y", "e", "d"],
    )
    found = network.readers[id(network.made["a_node"][0])]
    assert sorted((edge.reader, edge.position) for edge in found) == [
        ("", 2),
        ("e_node", 0),
        ("y_node", 0),
    ]


def test_an_input_that_is_left_out_has_no_edge():
    clip = node("Clip", "x", "y")
    clip.input.extend(["", "high"])
    network = read([clip], constants={"high": np.float32(6)})
    assert list(network.edges["y_node"]) == [0, 2]
    assert network.edge("y_node", 1) is None


@pytest.mark.parametrize("quant_format", QuantFormat)
def test_quantized_operators_read_what_their_float_partners_read(tmp_path, quant_format):
    """The convolution's data, weight and bias stand at the places they have in a float Conv."""
    options = {"extra_options": {"DedicatedQDQPair": False}, "quant_format": quant_format}
    network = Network(load_model(quantize(conv_network(), tmp_path, **options)))
    convolutions = [n for n, one in network.layers.items() if one.op_type.endswith("Conv")]
    assert len(convolutions) == 2
    for name in convolutions:
        edges = network.edges[name]
        assert list(edges) == [0, 1, 2]
        assert [network.is_constant(edge.source) for edge in edges.values()] == [False, True, True]
        assert kinds(edges[0]) == [StepKind.QUANTIZE, StepKind.DEQUANTIZE]
    second = network.edge(convolutions[1], 0)
    assert network.maker(second.source) == (convolutions[0], 0)
