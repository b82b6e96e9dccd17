"""A model as operators in the order of computing, whichever form they are stored in."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import make_model
from onnx import helper
from planted_activation_faults import I8, U8, Graph

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def operation_of(graph: Graph, output: str, name: str):
    flow = read_dataflow(load_model(graph.model(output)))
    return next(one for one in flow.operations if one.name == name)


def test_nodes_out_of_order_come_after_what_they_read():
    nodes = [
        helper.make_node("Relu", ["a"], ["y"], "second"),
        helper.make_node("Abs", ["x"], ["a"], "first"),
    ]
    flow = read_dataflow(load_model(make_model(nodes)))
    assert [one.name for one in flow.operations] == ["first", "second"]


def test_a_cycle_is_left_out():
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "one"),
        helper.make_node("Relu", ["a"], ["b"], "other"),
        helper.make_node("Abs", ["x"], ["y"], "apart"),
    ]
    flow = read_dataflow(load_model(make_model(nodes)))
    assert [one.name for one in flow.operations] == ["apart"]


def test_a_qlinear_operator_is_its_plain_operator_on_quantized_operands():
    graph = Graph(a=(2, 3), b=(2, 3))
    operands = [
        *(graph.quantize("a", 0.5, I8(1)), *graph.scale("one", 0.5, I8(1))),
        *(graph.quantize("b", 0.25, I8(2)), *graph.scale("two", 0.25, I8(2))),
        *graph.scale("out", 0.75, I8(3)),
    ]
    output = graph.add("QLinearAdd", operands, "add", domain="com.microsoft")
    found = operation_of(graph, output, "add")
    assert (found.op_type, found.stored_as) == ("Add", "QLinearAdd")
    assert [given.quantizer.step for given in found.given] == [0.5, 0.25]
    assert (found.quantizer.step, found.quantizer.zero_point.tolist()) == (0.75, [3])


def test_a_qlinear_concat_has_as_many_operands_as_it_joins():
    graph = Graph(a=(2, 3), b=(2, 4))
    operands = [
        *graph.scale("out", 0.75, U8(3)),
        *(graph.quantize("a", 0.5), *graph.scale("one", 0.5, U8(0))),
        *(graph.quantize("b", 0.25), *graph.scale("two", 0.25, U8(0))),
    ]
    output = graph.add("QLinearConcat", operands, "join", axis=1, domain="com.microsoft")
    found = operation_of(graph, output, "join")
    assert [given.quantizer.step for given in found.given] == [0.5, 0.25]
    assert found.quantizer.step == 0.75


@pytest.mark.parametrize("step", [0, -1, np.nan, np.inf])
def test_a_scale_that_cannot_be_divided_by_makes_no_quantizer(step):
    graph = Graph()
    output = graph.quantize("x", step, I8(0))
    assert operation_of(graph, output, output).quantizer is None


def test_limits_are_what_the_lowest_and_the_highest_code_stand_for():
    graph = Graph()
    output = graph.quantize("x", 0.5, I8(-28))
    assert operation_of(graph, output, output).quantizer.limits == (-50, 77.5)


def test_a_layer_has_the_name_that_the_list_of_layers_gives_it():
    graph = Graph()
    output = graph.add("Relu", ["x"], "y")
    flow = read_dataflow(load_model(graph.model(output)))
    assert flow.layer_name(flow.operations[0]) == "y"
