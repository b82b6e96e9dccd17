"""What is written with one scale and read with another."""

from __future__ import annotations

import numpy as np
import pytest
from planted_activation_faults import I8, U8, Graph

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.mismatched_quantizers import (
    MismatchedQuantizers,
    find_mismatched_quantizers,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def mismatched(graph: Graph, output: str) -> list[MismatchedQuantizers]:
    return list(find_mismatched_quantizers(read_dataflow(load_model(graph.model(output)))))


def between(
    written: tuple[float, object], read: tuple[float, object]
) -> list[MismatchedQuantizers]:
    graph = Graph()
    codes = graph.quantize(graph.add("Abs", ["x"], "abs"), *written)
    return mismatched(graph, graph.add("Relu", [graph.dequantize(codes, *read)], "relu"))


def test_the_finding_has_the_ratio_and_both_ends():
    (found,) = between((0.02, I8(1)), (0.05, I8(4)))
    assert found.ratio == pytest.approx(2.5)
    assert found.zero_points == (1, 4)
    assert (found.writer_name, found.layer_name) == ("abs", "relu")


def test_equal_ends_are_no_mismatch():
    assert between((0.02, I8(1)), (0.02, I8(1))) == []


def test_a_scale_rounded_to_float16_is_no_mismatch():
    assert between((0.0213, I8(0)), (float(np.float16(0.0213)), I8(0))) == []


@pytest.mark.parametrize("factor", [0.99, 1.01, 3.0])
def test_a_scale_that_is_off_by_a_hundredth_is_one(factor):
    assert len(between((0.02, U8(0)), (0.02 * factor, U8(0)))) == 1


def test_values_quantized_again_by_another_scale_are_no_mismatch():
    graph = Graph()
    read = graph.both("x", 0.02, I8(0))
    assert mismatched(graph, graph.both(read, 0.04, I8(0))) == []


def test_codes_that_an_operator_computes_with_are_not_followed():
    graph = Graph()
    codes = graph.quantize("x", 0.02, U8(0))
    shifted = graph.add("Max", [codes, graph.constant("c", np.full(6, 3, np.uint8))], "max")
    assert mismatched(graph, graph.dequantize(shifted, 0.04, U8(0))) == []
