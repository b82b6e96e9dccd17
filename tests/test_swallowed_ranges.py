"""A narrow range that a coarser quantization swallows is found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from planted_activation_faults import I8, U8, U16, Graph

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.swallowed_ranges import (
    SwallowedRange,
    find_swallowed_ranges,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def swallowed(graph: Graph, output: str) -> tuple[SwallowedRange, ...]:
    return find_swallowed_ranges(read_dataflow(load_model(graph.model(output))))


def joined(step: float, zero: object = U8(0), function: str = "Sigmoid") -> Graph:
    graph = Graph(boxes=(2, 4), x=(2, 6))
    score = graph.add(function, ["x"], "score")
    graph.both(graph.add("Concat", ["boxes", score], "concat", axis=1), step, zero)
    return graph


@pytest.mark.parametrize(("step", "codes"), [(2.5, 1), (1.5, 2), (0.3, 4), (0.1, 11)])
def test_codes_left_are_those_that_rounding_gives_to_the_range(step, codes):
    (found,) = swallowed(joined(step), "concat_quantized_read")
    values = np.linspace(0, 1, 100_001)
    assert found.codes == np.unique(np.rint(values / step)).size == codes


def test_the_finding_names_what_is_joined_and_where_it_comes_from():
    (found,) = swallowed(joined(2.5), "concat_quantized_read")
    assert (found.layer_name, found.source_name, found.source_type) == (
        "concat",
        "score",
        "Sigmoid",
    )


def test_sixteen_codes_are_enough():
    assert swallowed(joined(1 / 16), "concat_quantized_read") == ()


def test_what_has_but_few_codes_for_everything_is_not_a_narrow_range():
    # Sixteen codes from -1 to 1: the range fills them, the data type has no more.
    graph = Graph(a=(2, 4), b=(2, 6))
    score = [graph.add("Tanh", [name], f"tanh_{name}") for name in ("a", "b")]
    joined_up = graph.add("Concat", score, "concat", axis=1)
    import ml_dtypes

    output = graph.both(joined_up, 2 / 15, np.asarray(0, ml_dtypes.int4))
    assert swallowed(graph, output) == ()


def test_an_input_whose_range_is_not_known_is_not_judged():
    graph = Graph(boxes=(2, 4), x=(2, 6))
    output = graph.both(graph.add("Concat", ["boxes", "x"], "concat", axis=1), 2.5)
    assert swallowed(graph, output) == ()


def test_a_constant_beside_wide_values_is_not_judged():
    graph = Graph(boxes=(2, 4))
    held = graph.constant("anchor", np.full((2, 1), 0.5, np.float32))
    output = graph.both(graph.add("Concat", ["boxes", held], "concat", axis=1), 2.5)
    assert swallowed(graph, output) == ()


def test_a_range_that_is_one_number_is_not_judged():
    graph = Graph(boxes=(2, 4), x=(2, 6))
    ends = [graph.constant("low", np.float32(0)), graph.constant("high", np.float32(0))]
    nothing = graph.add("Clip", ["x", *ends], "clip")
    output = graph.both(graph.add("Concat", ["boxes", nothing], "concat", axis=1), 2.5)
    assert swallowed(graph, output) == ()


def test_a_mask_of_zeros_and_ones_added_to_wide_scores_is_not_judged():
    graph = Graph(scores=(2, 6), mask=(2, 6))
    graph.input_types["mask"] = TensorProto.INT64
    mask = graph.both(graph.add("Cast", ["mask"], "cast", to=TensorProto.FLOAT), 1 / 255)
    output = graph.both(graph.add("Add", ["scores", mask], "add"), 2.5, U8(128))
    assert swallowed(graph, output) == ()


def test_a_branch_that_a_factor_makes_small_may_vanish_in_a_sum():
    # LayerScale: the network itself multiplies the branch by 1e-3 before it is added.
    graph = Graph(wide=(2, 6), x=(2, 6))
    factor = graph.constant("factor", np.full(6, 1e-3, np.float32))
    small = graph.add("Mul", [graph.add("Tanh", ["x"], "tanh"), factor], "scaled")
    output = graph.both(graph.add("Add", ["wide", graph.both(small, 1e-5, I8(0))], "add"), 1.0)
    assert swallowed(graph, output) == ()


def test_two_branches_of_one_width_are_left_in_peace():
    graph = Graph(a=(2, 6), b=(2, 6))
    operands = [graph.both("a", 0.02, I8(0)), graph.both("b", 0.03, I8(0))]
    output = graph.both(graph.add("Add", operands, "add"), 0.05, I8(0))
    assert swallowed(graph, output) == ()


def test_a_gate_keeps_its_codes_in_a_product_of_wide_values():
    graph = Graph(x=(2, 6), wide=(2, 6))
    gate = graph.both(graph.add("Sigmoid", ["x"], "sigmoid"), 1 / 255)
    product = graph.add("Mul", [graph.both("wide", 0.5, I8(0)), gate], "mul")
    assert swallowed(graph, graph.both(product, 0.5, I8(0))) == ()


def test_sixteen_bits_keep_scores_beside_boxes():
    assert swallowed(joined(640 / 65535, U16(0)), "concat_quantized_read") == ()


def test_a_source_that_shares_the_scale_is_named_among_what_to_leave_out():
    # onnxruntime gives a Concat and what enters it one scale.
    graph = Graph(boxes=(2, 4), x=(2, 6))
    score = graph.both(graph.add("Sigmoid", ["x"], "sigmoid"), 2.5)
    boxes = graph.both("boxes", 2.5)
    output = graph.both(graph.add("Concat", [boxes, score], "concat", axis=1), 2.5)
    (found,) = swallowed(graph, output)
    assert (found.layer_name, found.excluded) == ("concat", ("concat", "sigmoid"))


def test_a_reader_that_asks_for_the_quantization_is_named_too():
    graph = joined(2.5)
    output = graph.add("Relu", ["concat_quantized_read"], "relu")
    (found,) = swallowed(graph, output)
    assert found.excluded == ("concat", "relu")
