"""Constants that quantization turns to zero, and those that it does not."""

from __future__ import annotations

import numpy as np
import pytest
from planted_activation_faults import I8, Graph, factor_stored_as_zero, normalized

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.lost_constants import (
    LossKind,
    LostConstant,
    find_lost_constants,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def lost(graph: Graph, output: str) -> list[LostConstant]:
    return list(find_lost_constants(read_dataflow(load_model(graph.model(output)))))


def test_the_floor_behind_a_root_is_the_root_of_the_constant():
    (found,) = lost(normalized("root", 0.08), "normal")
    assert found.kind is LossKind.FLOOR
    assert found.value == pytest.approx(np.sqrt(1e-5))
    assert (found.layer_name, found.quantized_name, found.failing_name) == ("add", "root", "normal")


@pytest.mark.parametrize(("step", "count"), [(1.9e-5, 0), (2.1e-5, 1)])
def test_half_a_step_is_the_border(step, count):
    assert len(lost(normalized("add", step), "normal")) == count


def test_a_constant_added_to_what_nothing_divides_by_is_no_fault():
    graph = Graph()
    added = graph.add("Add", ["x", graph.constant("c", np.float32(1e-5))], "add")
    assert lost(graph, graph.add("Relu", [graph.both(added, 0.01)], "relu")) == []


def test_a_numerator_may_be_zero():
    graph = Graph()
    added = graph.add("Add", ["x", graph.constant("c", np.float32(1e-5))], "add")
    four = graph.constant("four", np.float32(4))
    assert lost(graph, graph.add("Div", [graph.both(added, 0.01), four], "div")) == []


def test_what_is_known_to_stay_above_zero_needs_no_constant():
    graph = Graph()
    ends = [graph.constant("low", np.float32(1)), graph.constant("high", np.float32(9))]
    kept = graph.add("Clip", ["x", *ends], "clip")
    added = graph.add("Add", [kept, graph.constant("c", np.float32(1e-5))], "add")
    assert lost(graph, graph.add("Div", ["x", graph.both(added, 0.05)], "div")) == []


def test_zeros_that_are_zero_in_float_are_no_loss():
    graph = Graph()
    held = graph.both(graph.constant("zeros", np.zeros(6, np.float32)), 0.1, I8(0))
    assert lost(graph, graph.add("Mul", ["x", held], "mul")) == []


def test_a_constant_of_which_one_number_is_left_is_not_lost():
    graph = Graph()
    values = np.array([1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 5], np.float32)
    held = graph.both(graph.constant("factor", values), 0.1, I8(0))
    assert lost(graph, graph.add("Mul", ["x", held], "mul")) == []


def test_codes_of_zero_are_a_loss_only_beside_a_float_constant_that_is_not():
    models = {name: load_model(model) for name, model in factor_stored_as_zero().items()}
    exact, variant = (read_dataflow(models[name]) for name in ("FP32", "variant"))
    assert list(find_lost_constants(variant)) == []
    (found,) = find_lost_constants(variant, exact, {"mul": "mul"})
    assert (found.kind, found.value) == (LossKind.ZEROED, pytest.approx(1e-3))


def test_an_unsigned_scale_that_keeps_the_floor_is_no_fault():
    assert lost(normalized("root", 1e-3), "normal") == []
