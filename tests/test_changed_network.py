"""Operators that one of two networks lacks, and those that quantization stands in for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import run_onnxruntime
from planted_activation_faults import (
    I8,
    U8,
    Graph,
    relu_left_out_of_integers,
    two_convolutions,
    two_quantized,
)

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.changed_network import (
    ChangedOperator,
    ChangeKind,
    find_changed_operators,
)
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow

PARTNERS = {"conv1": "conv1", "conv2": "conv2"}
CLIP = [("Clip", {"low": np.float32(0), "high": np.float32(6)})]


def changed(original: onnx.ModelProto, variant: onnx.ModelProto) -> list[ChangedOperator]:
    flows = [read_dataflow(load_model(model)) for model in (original, variant)]
    return list(find_changed_operators(flows[0], flows[1], PARTNERS))


def test_a_zero_point_at_the_lowest_code_does_what_a_relu_does():
    original, variant = two_convolutions([("Relu", {})]), two_quantized(0.1, U8(0))
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 9, 9)).astype(np.float32)}
    exact, held = (run_onnxruntime(model, feeds, ["conv2"])[0] for model in (original, variant))
    assert np.linalg.norm(exact - held) < 0.1 * np.linalg.norm(exact)
    assert changed(original, variant) == []


def test_a_zero_point_in_the_middle_does_not():
    original, variant = two_convolutions([("Relu", {})]), two_quantized(0.1, I8(0))
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 9, 9)).astype(np.float32)}
    exact, held = (run_onnxruntime(model, feeds, ["conv2"])[0] for model in (original, variant))
    assert np.linalg.norm(exact - held) > 0.5 * np.linalg.norm(exact)
    (found,) = changed(original, variant)
    assert (found.kind, found.layer_name, found.behind) == (ChangeKind.LEFT_OUT, "relu", "conv1")
    assert (found.low, found.high) == (pytest.approx(-12.8), pytest.approx(12.7))


@pytest.mark.parametrize(("step", "count"), [(6 / 255, 0), (3 / 255, 0), (12 / 255, 1)])
def test_a_clip_is_left_out_rightly_where_no_code_is_beyond_it(step, count):
    assert len(changed(two_convolutions(CLIP), two_quantized(step, U8(0)))) == count


def test_an_operator_that_is_still_there_is_no_change():
    relu = lambda graph, found: graph.add("Relu", [found], "renamed")  # noqa: E731
    variant = two_quantized(0.1, I8(0), relu)
    assert changed(two_convolutions([("Relu", {})]), variant) == []


def test_a_clip_that_stands_for_a_relu_is_no_change():
    def clip(graph: Graph, found: str) -> str:
        return graph.add("Clip", [found, graph.constant("low", np.float32(0))], "clip")

    variant = two_quantized(0.1, I8(0), clip)
    assert changed(two_convolutions([("Relu", {})]), variant) == []


def test_moved_data_is_no_change():
    def moved(graph: Graph, found: str) -> str:
        turned = graph.add("Transpose", [found], "turned", perm=[0, 1, 3, 2])
        return graph.add("Transpose", [turned], "back", perm=[0, 1, 3, 2])

    assert changed(two_convolutions(), two_quantized(0.1, I8(0), moved)) == []


def test_a_relu_that_cuts_off_nothing_is_not_put_in():
    variant = two_quantized(
        0.1, U8(0), lambda graph, found: graph.add("Relu", [graph.both(found, 0.1)], "relu")
    )
    assert changed(two_convolutions(), variant) == []


def test_another_operator_in_its_place_is_a_rewriting_and_no_change():
    gelu = lambda graph, found: graph.add("HardSwish", [found], "swish")  # noqa: E731
    variant = two_quantized(0.1, I8(0), gelu)
    assert changed(two_convolutions([("Relu", {})]), variant) == []


def test_the_integer_form_is_judged_by_its_own_quantization():
    models = relu_left_out_of_integers()
    (found,) = changed(models["FP32"], models["variant"])
    assert (found.layer_name, found.step) == ("relu", pytest.approx(0.1))


def test_layers_that_are_not_paired_are_not_judged():
    flows = [
        read_dataflow(load_model(model))
        for model in (two_convolutions([("Relu", {})]), two_quantized(0.1, I8(0)))
    ]
    assert list(find_changed_operators(flows[0], flows[1], {})) == []
