"""Parameters of one dimension, judged by what their scale leaves of each number."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import floats
from planted_activation_faults import Graph, layer_norm, with_outlier

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.judging.small_parameters import (
    SmallParameter,
    find_small_parameters,
)


def small(gamma: np.ndarray, beta: np.ndarray, *, compared: bool = True) -> list[SmallParameter]:
    exact, variant = (list_layers(load_model(model)) for model in layer_norm(gamma, beta))
    originals = {layer.name: layer for layer in exact} if compared else {}
    return list(find_small_parameters(variant, originals))


def test_weak_numbers_and_decibels_are_those_that_numpy_counts():
    gamma = with_outlier(24, 0.3, 30)
    (found,) = small(gamma, floats(24))
    step = np.float32(30 / 127)
    errors = np.rint(gamma / step) * step - gamma
    assert found.weak == np.count_nonzero(np.abs(errors) > 0.1 * np.abs(gamma))
    decibels = 20 * np.log10(np.linalg.norm(gamma) / np.linalg.norm(errors))
    assert found.sqnr_db == pytest.approx(decibels, rel=1e-3)
    assert (found.slot, found.is_compared) == ("weight", True)


def test_without_the_float_parameter_steps_alone_tell():
    (found,) = small(with_outlier(24, 0.3, 30), floats(24), compared=False)
    assert np.isnan(found.sqnr_db) and not found.is_compared
    assert found.weak == found.count - 1


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_gaussian_parameters_are_left_in_peace(seed, compared):
    gamma, beta = 1 + 0.1 * floats(24, seed=seed), floats(24, seed=seed + 9)
    assert small(gamma, beta, compared=compared) == []


def test_parameters_that_are_zero_are_left_in_peace():
    beta = floats(24)
    beta[::2] = 0
    assert small(np.ones(24, np.float32), beta) == []


def test_a_parameter_that_another_layer_was_folded_into_is_judged_alone():
    gamma = 1 + 0.1 * floats(24)
    _, variant = layer_norm(gamma, floats(24))
    other, _ = layer_norm(7 * gamma, floats(24))
    layers = list_layers(load_model(variant))
    originals = {layer.name: layer for layer in list_layers(load_model(other))}
    assert list(find_small_parameters(layers, originals)) == []


def test_a_bias_in_int32_is_not_judged():
    graph = Graph(x=(1, 3, 9, 9))
    codes = np.array([1, 2, 1, 2, 1, 9000], np.int32)
    given = [graph.constant("bias", codes), graph.constant("scale", np.float32(0.01))]
    bias = graph.add("DequantizeLinear", given, "bias_values")
    output = graph.add("Conv", ["x", graph.weight("w", floats(6, 3, 3, 3), 0), bias], "conv")
    assert list(find_small_parameters(list_layers(load_model(graph.model(output))), {})) == []


def test_matrices_are_left_to_the_rules_about_weights():
    graph = Graph(x=(2, 6))
    weight = floats(6, 9)
    weight[0, 0] = 900
    output = graph.add("MatMul", ["x", graph.codes("w", weight, 900 / 127)], "matmul")
    assert list(find_small_parameters(list_layers(load_model(graph.model(output))), {})) == []
