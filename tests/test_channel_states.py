"""What is wrong with each channel of a planted weight, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from planted_faults import FAULTS, Variants, healthy_int8, pair, read

from playground.utils.parameter_inspector import compare_variants, load_model
from playground.utils.parameter_inspector.judging.channel_states import (
    by_channel,
    channel_states,
    indices,
    layer_axis,
    only_layer,
    quantized_matrices,
    reach_of,
)


def matrices(variants: Variants):
    models = {name: load_model(model) for name, model in variants.items()}
    comparison = compare_variants(models)
    return {one.layer_name: one for one in quantized_matrices(comparison, "variant")}


@pytest.fixture(scope="module")
def healthy():
    return matrices(pair(healthy_int8()))


def test_a_scale_of_each_channel_is_that_of_the_file(healthy):
    matrix = healthy["conv1"]
    stored = read(healthy_int8(), "W1_scale").astype(np.float64)
    np.testing.assert_array_equal(by_channel(matrix.measured, matrix.quantization.scale), stored)
    assert layer_axis(matrix.measured.weight) == 0


def test_healthy_channels_reach_almost_all_that_their_scale_holds(healthy):
    for matrix in healthy.values():
        assert (reach_of(matrix.measured) > 0.9).all()
        state = channel_states(matrix)
        assert state.judged.all()
        for bad in (state.weak, state.dead, state.clipped, state.wide, state.strayed):
            assert not bad.any()


def test_narrow_channels_collapse_and_the_others_do_not():
    fault = next(fault for fault in FAULTS if fault.make.__name__ == "narrow_channels")
    variants = fault.make()
    widths = np.abs(read(variants["FP32"], "W1")).reshape(24, -1).max(axis=1)
    state = channel_states(matrices(variants)[fault.layer])
    assert state.collapsed.any() and not state.collapsed.all()
    assert widths[state.collapsed].max() < widths[~state.collapsed].min()


def test_indices_and_the_only_layer_name_what_a_finding_is_about():
    assert indices(np.array([False, True, True])) == (1, 2)
    assert (only_layer(["a"]), only_layer(["a", "b"])) == ("a", "")
