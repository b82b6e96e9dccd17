"""The score of two weights is the mean absolute cosine of their channels, seen in a sketch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    floats,
    make_model,
)
from onnx import helper
from pairing_cases import TOOLS, WEIGHTS, chain, quantize_tower, tower

from playground.utils.parameter_inspector import list_layers, load_model, pair_layers
from playground.utils.parameter_inspector.facts import Evidence
from playground.utils.parameter_inspector.pairing import layer_pairs as pairing


@pytest.fixture(scope="module")
def variants(tmp_path_factory) -> dict[str, onnx.ModelProto]:
    return quantize_tower(tmp_path_factory.mktemp("pairing"))


# --------------------------------------------------------------- equal weights


# --------------------------------------------------------------- scores


def mean_abs_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """By the definition, row by row; rows are output channels."""
    cosines = [
        abs(float(x @ y)) / (float(np.linalg.norm(x)) * float(np.linalg.norm(y)))
        for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True)
        if x.any() and y.any()
    ]
    return float(np.mean(cosines))


@pytest.mark.parametrize("tool", TOOLS)
def test_scores_are_the_mean_absolute_cosine_of_the_channels(variants, tool):
    models = load_model(tower()), load_model(variants[tool])
    layers = [{layer.name: layer for layer in list_layers(model)} for model in models]
    checked = 0
    for pair in pair_layers(*models).pairs:
        sides = [layers[0][pair.original], layers[1][pair.variant]]
        if sides[0].weight is None:
            continue
        rows = [rows_by_operator(side) for side in sides]
        assert pair.score == pytest.approx(mean_abs_cosine(*rows), abs=1e-6)
        assert 0 <= pair.score <= 1 + 1e-9
        checked += 1
    assert checked == len(WEIGHTS)


def rows_by_operator(layer: Any) -> np.ndarray:
    """Return the weight with output channels first, by what the operator computes."""
    values = layer.weight.values
    if layer.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return values.T
    if layer.op_type in ("Gemm", "QGemm"):
        return values if layer.attributes.get("transB", 0) else values.T
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("same", [True, False], ids=["retrained half", "stranger"])
def test_scores_of_weights_that_differ_are_the_mean_absolute_cosine_too(same):
    a = floats(6, 6)
    b = np.concatenate([a[:, :4], floats(6, 2, seed=9)], axis=1) if same else floats(6, 6, seed=9)
    (pair,) = pair_layers(load_model(chain(a)), load_model(chain(b))).pairs
    assert pair.score == pytest.approx(mean_abs_cosine(a.T, b.T), abs=1e-9)


def test_one_output_channel_is_scored_by_correlation():
    """Weights that are all positive are alike by cosine, whoever they are."""
    a, b = (floats(40, 1, seed=seed) + 5 for seed in (0, 1))
    nodes = [helper.make_node("MatMul", ["x", "V"], ["y"], "a")]
    models = [load_model(make_model(nodes, {"V": v}, inputs={"x": (2, 40)})) for v in (a, b)]
    (pair,) = pair_layers(*models).pairs
    assert mean_abs_cosine(a.T, b.T) > 0.9
    assert pair.score == pytest.approx(abs(np.corrcoef(a.T, b.T)[0, 1]), abs=1e-6)
    assert pair.evidence == Evidence.NAME_ONLY


def test_a_depthwise_layer_of_one_weight_a_channel_is_scored_by_correlation():
    a, b = floats(9, 1, 1, 1), floats(9, 1, 1, 1) + 0.3 * floats(9, 1, 1, 1, seed=1)
    nodes = [helper.make_node("Conv", ["x", "V"], ["y"], "a", group=9)]
    models = [load_model(make_model(nodes, {"V": v}, inputs={"x": (1, 9, 4, 3)})) for v in (a, b)]
    (pair,) = pair_layers(*models).pairs
    wanted = abs(np.corrcoef(a.reshape(1, -1), b.reshape(1, -1))[0, 1])
    assert pair.score == pytest.approx(wanted, abs=1e-6)


def test_channels_that_are_zero_do_not_lower_the_score():
    a = floats(6, 6)
    b = a.copy()
    b[:, 2] = 0
    (pair,) = pair_layers(load_model(chain(a)), load_model(chain(b))).pairs
    assert pair.score == pytest.approx(1)


def test_layers_of_all_zero_weights_have_a_score_of_0_and_are_paired_by_name():
    net = chain(np.zeros((6, 6), np.float32))
    (pair,) = pair_layers(load_model(net), load_model(net)).pairs
    assert (pair.score, pair.evidence) == (0, Evidence.NAME_ONLY)


def test_nan_in_a_weight_leaves_a_score_between_0_and_1():
    broken = floats(6, 6)
    broken[2, 3], broken[0, 1] = np.nan, np.inf
    (pair,) = pair_layers(load_model(chain(floats(6, 6))), load_model(chain(broken))).pairs
    assert 0.5 < pair.score <= 1


def test_what_is_compared_does_not_grow_with_the_weight():
    sizes = []
    for width in (700, 1400):
        (layer,) = list_layers(load_model(wide(width)))
        sizes.append(pairing.sample_weight(layer.weight, layer).shape)
    assert sizes[0] == sizes[1]
    assert np.prod(sizes[0]) < 700 * 700 / 10


def wide(width: int) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "V"], ["y"], "a")
    return make_model([node], {"V": floats(width, width + 1)}, inputs={"x": (2, width)})
