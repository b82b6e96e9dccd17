"""Scales beyond use, and codes without a finite value."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import run_onnxruntime
from onnx import TensorProto
from planted_activation_faults import I8, U8, U16, Graph

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.impossible_scales import (
    ImpossibleScale,
    find_impossible_scales,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow


def impossible(graph: Graph, output: str) -> list[ImpossibleScale]:
    return list(find_impossible_scales(read_dataflow(load_model(graph.model(output)))))


def stored_mask(step: float, zero: int = 65535, codes: tuple[int, ...] = (0, 65535)) -> Graph:
    graph = Graph(x=(1, len(codes)))
    held = graph.constant("mask", np.array(codes, np.uint16))
    graph.add("Mul", ["x", graph.dequantize(held, step, U16(zero))], "mul")
    return graph


def overflowing_step() -> float:
    return float(np.float32(np.float64(np.finfo(np.float32).max) / 65535 * (1 + 1e-7)))


def test_codes_that_read_infinite_are_those_that_onnxruntime_reads_so():
    graph = stored_mask(overflowing_step(), codes=(0, 1, 65535))
    values = run_onnxruntime(graph.model("mul"), {"x": np.ones((1, 3), np.float32)}, ["mul"])[0]
    (found,) = impossible(graph, "mul")
    assert found.overflowing == np.count_nonzero(~np.isfinite(values)) == 1


def test_a_mask_that_just_fits_is_told_for_its_scale_alone():
    (found,) = impossible(stored_mask(float(np.finfo(np.float32).max / 65536)), "mul")
    assert (found.overflowing, found.overflows, found.layer_name) == (0, False, "mul")


@pytest.mark.parametrize(("step", "count"), [(2e6, 1), (1e5, 0)])
def test_an_activation_is_told_from_a_scale_of_a_million_on(step, count):
    graph = Graph()
    output = graph.both(graph.add("Relu", ["x"], "relu"), step, I8(0))
    assert len(impossible(graph, output)) == count


def test_float16_overflows_where_float32_does_not():
    graph = Graph(x=(1, 2))
    graph.input_types["x"] = TensorProto.FLOAT16
    held = graph.constant("codes", np.array([1, 100], np.int8))
    given = [held, graph.constant("s", np.float16(1000)), graph.constant("z", I8(0))]
    graph.add("Mul", ["x", graph.add("DequantizeLinear", given, "read")], "mul")
    (found,) = impossible(graph, "mul")
    assert (found.overflowing, found.value_type) == (1, "float16")


def test_a_code_that_would_overflow_but_does_not_occur_is_no_fault():
    graph = Graph(x=(1, 2))
    graph.input_types["x"] = TensorProto.FLOAT16
    held = graph.constant("codes", np.array([1, 2], np.int8))
    given = [held, graph.constant("s", np.float16(1000)), graph.constant("z", I8(0))]
    graph.add("Mul", ["x", graph.add("DequantizeLinear", given, "read")], "mul")
    assert impossible(graph, "mul") == []


def test_scales_of_use_are_left_in_peace():
    graph = Graph()
    output = graph.both(graph.add("Relu", ["x"], "relu"), 100.0, U8(0))
    assert impossible(graph, output) == []
