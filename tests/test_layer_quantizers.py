"""The quantizers of a layer: its weight's, what it reads, what it makes, and what they cost."""

from __future__ import annotations

import math

import pytest
from measured_for_tests import compare_measured, make_outputs

from playground.utils.parameter_inspector import (
    Role,
    list_layer_activations,
    measure_layers,
    name_roles,
)


@pytest.fixture
def layers():
    return measure_layers(compare_measured(), "INT8")


def roles(layer):
    return [(one.role, one.quantizer.tensor) for one in layer.quantizers]


def test_what_a_layer_makes_is_its_own_also_behind_what_only_passes_it_on(layers):
    # conv makes c; relu only passes it on, and r is what is quantized.
    assert roles(layers["conv"]) == [
        (Role.WEIGHT, "w"),
        (Role.INPUT, "x"),
        (Role.OUTPUT, "r"),
    ]
    assert roles(layers["abs"]) == [(Role.INPUT, "r"), (Role.OUTPUT, "y")]


def test_a_layer_costs_what_its_quantizers_cost_together(layers):
    # Of 0.02 + 0.1 + 0.05 + 0.03, the noises of w, x, r and y.
    assert layers["conv"].share == pytest.approx(0.85)
    assert layers["conv"].share_of(Role.WEIGHT) == pytest.approx(0.1)
    assert layers["abs"].share == pytest.approx(0.4)
    assert layers["conv"].alone_db == pytest.approx(-10 * math.log10(0.17))


def test_the_worst_tensor_and_the_most_that_is_clipped_stand_for_the_layer(layers):
    assert layers["conv"].worst_local_db == 24.5
    assert layers["conv"].clipped_share == 0.025


def test_what_was_not_measured_has_no_number():
    layer = measure_layers(compare_measured(groups=(), statistics=None), "INT8")["abs"]
    assert all(map(math.isnan, (layer.noise, layer.share, layer.alone_db, layer.worst_local_db)))
    assert math.isnan(layer.clipped_share)


def test_two_inputs_are_numbered_and_one_is_not(layers):
    pair = layers["abs"].activations
    assert name_roles(pair) == ["input", "output"]
    assert name_roles([*pair, pair[0]]) == ["input 1", "output", "input 1"]


def test_a_layer_has_the_activations_of_each_variant_that_was_run():
    comparison = compare_measured()
    assert list(list_layer_activations(comparison, "conv")) == ["INT8"]
    assert list_layer_activations(comparison.with_outputs({"INT8": make_outputs()}), "none") == {}
