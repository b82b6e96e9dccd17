"""The charts of a layer that page and report read: what each draws, and why one is missing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from comparisons_for_tests import (
    ERRORS,
    compare_equal,
    compare_lossy,
    create_model,
)
from measured_for_tests import compare_measured
from models_for_tests import make_model
from onnx import TensorProto, helper

from playground.utils.figures import (
    layer_charts,
)
from playground.utils.parameter_inspector import (
    compare_variants,
    find_layer,
    load_model,
)


def test_errors_are_counted_in_steps_of_the_scale():
    lossy = compare_lossy()
    errors, problems = layer_charts.compute_layer_errors(lossy, "conv")
    one = errors["INT8"]
    assert (list(errors), problems, one.count) == (["INT8"], [], ERRORS.size)
    assert one.largest == pytest.approx(2.75, rel=1e-3)
    assert one.rms == pytest.approx(np.sqrt(np.mean(np.square(ERRORS, dtype=float))), rel=1e-3)
    assert one.beyond_half_share == 1 / ERRORS.size
    assert (one.edges[0], one.edges[-1], one.counts.sum()) == (-3, 3, ERRORS.size)
    assert one.rms == pytest.approx(lossy.weights["conv"]["INT8"].metrics["rmse_steps"])


def test_half_a_step_is_an_edge_of_the_bins_and_no_error_is_beyond_it_by_rounding():
    exact = np.array([[-0.5], [0.25], [0.50001], [100]], np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
    codes = {"q": np.array([[0], [0], [0], [100]], np.int8), "s": np.float32(1)}
    dequantize = helper.make_node("DequantizeLinear", ["q", "s"], ["w"])
    comparison = compare_variants(
        {
            "FP32": load_model(make_model([node], {"w": exact}, inputs={"x": (2, 4)})),
            "INT8": load_model(make_model([dequantize, node], codes, inputs={"x": (2, 4)})),
        }
    )
    one = layer_charts.compute_layer_errors(comparison, "fc")[0]["INT8"]
    assert one.count == 4
    assert 0.5 in one.edges
    assert one.beyond_half_share == 0


def test_a_weight_without_a_float_original_has_no_errors():
    variants = compare_equal().variants
    alone = {"INT8": variants["INT8"]}
    assert layer_charts.compute_layer_errors(compare_variants(alone), "conv") == ({}, [])
    assert layer_charts.compute_layer_errors(compare_variants(alone), "relu") == ({}, [])


def test_histograms_hold_every_weight_of_every_variant():
    variants = compare_equal().variants
    histograms, problems = layer_charts.count_weights(compare_equal(), "conv")
    assert problems == []
    for name, model in variants.items():
        assert histograms.counts[name].sum() == find_layer(model, "conv").weight.values.size


def test_a_layer_without_weights_has_no_histograms():
    assert layer_charts.count_weights(compare_equal(), "relu") == (None, [])


def test_weights_that_cannot_be_read_are_told_beside_those_that_can(tmp_path):
    variants = compare_equal().variants
    model = create_model(True)
    codes = model.graph.initializer[0]
    codes.ClearField("raw_data")
    codes.data_location = TensorProto.EXTERNAL
    codes.external_data.add(key="location", value="gone.bin")
    onnx.save(model, tmp_path / "int8.onnx")
    models = {"FP32": variants["FP32"], "INT8": load_model(tmp_path / "int8.onnx")}
    histograms, problems = layer_charts.count_weights(compare_variants(models), "conv")
    assert list(histograms.counts) == ["FP32"]
    assert [problem.split(" cannot")[0] for problem in problems] == ["The weight of INT8"]
    assert "gone.bin" in problems[0]


def test_every_chart_of_a_quantized_layer_is_drawn_with_its_words():
    for name, chart in layer_charts.LAYER_CHARTS.items():
        picture = chart.render(compare_measured(), "conv", None)
        assert picture.png.startswith(b"\x89PNG"), name
        assert "conv" in picture.alt


@pytest.mark.parametrize("name", layer_charts.LAYER_CHARTS)
def test_a_layer_without_weights_that_was_not_run_has_no_chart(name):
    assert layer_charts.LAYER_CHARTS[name].render(compare_lossy(), "relu", None) is None


def test_counts_that_one_bin_holds_are_logarithmic_where_the_chart_decides(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        layer_charts,
        "render_histograms",
        lambda histograms, *, log, **_: drawn.append(log) or layer_charts.Picture(b"", ""),
    )
    histograms = layer_charts.LAYER_CHARTS["histograms"]
    for weight in (np.linspace(-1, 1, 40), np.append(np.zeros(39), 1)):
        node = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
        arrays = {"w": weight.astype(np.float32).reshape(4, 10)}
        model = load_model(make_model([node], arrays, inputs={"x": (2, 4)}))
        for log in (None, True):
            histograms.render(compare_variants({"FP32": model}), "fc", log)
    assert drawn == [False, True, True, True]


def test_a_weight_of_which_nothing_is_finite_says_how_many_are_not_drawn():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
    arrays = {"w": np.full((4, 3), np.nan, np.float32)}
    model = load_model(make_model([node], arrays, inputs={"x": (2, 4)}))
    chart = layer_charts.LAYER_CHARTS["histograms"]
    assert chart.render(compare_variants({"FP32": model}), "fc", None).png
