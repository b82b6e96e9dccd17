"""The arithmetic of what measuring found, against closed forms."""

import math

import numpy as np
import pytest

from playground.utils.parameter_inspector.facts import QuantizerKind, SampleKind
from playground.utils.parameter_inspector.measuring.outputs import (
    OutputLoss,
    Outputs,
    Quantizer,
    SelfCheck,
    Split,
    compute_shares,
    decibels,
    rank_groups,
)

WEIGHT, ACTIVATION = QuantizerKind.WEIGHT, QuantizerKind.ACTIVATION
QUANTIZERS = (
    Quantizer(0, WEIGHT, "w", ("conv",), "int8", group=0),
    Quantizer(1, ACTIVATION, "x", ("conv", "add"), "uint8", group=1),
    Quantizer(2, ACTIVATION, "x2", ("add",), "uint8", group=1),
    Quantizer(3, ACTIVATION, "y", (), "uint8", group=2),
)


def outputs(**known: object) -> Outputs:
    return Outputs(QUANTIZERS, (), SampleKind.FILE, 2, **known)


@pytest.mark.parametrize(
    "signal, noise, expected",
    [(100, 1, 20), (1, 10, -10), (1, 0, math.inf), (1, math.inf, -math.inf), (0, 1, math.nan)],
)
def test_decibels_are_ten_times_the_logarithm(signal, noise, expected):
    np.testing.assert_equal(decibels(signal, noise), expected)


def test_an_output_is_judged_over_all_samples_and_by_its_worst():
    loss = OutputLoss("y", noise=np.array([1.0, 9.0]), signal=np.array([900.0, 100.0]))
    assert loss.sqnr_db == pytest.approx(20)
    assert loss.worst_sample == 1
    assert loss.sample_sqnr_db[1] == pytest.approx(10 * math.log10(100 / 9))


def test_an_output_without_signal_has_no_worst_sample():
    assert OutputLoss("y", np.ones(2), np.zeros(2)).worst_sample is None


def test_shares_add_up_to_one():
    assert compute_shares([1, 3, 0]) == [0.25, 0.75, 0]


def test_what_breaks_the_output_has_all_of_the_share():
    assert compute_shares([1, math.inf, math.inf]) == [0, 0.5, 0.5]


def test_no_noise_is_no_share():
    assert compute_shares([0.0, 0.0]) == [0, 0]


def test_groups_are_ranked_by_what_they_do_alone():
    found = rank_groups(QUANTIZERS, {0: (0.1, 4), 1: (0.3, 16)}, {1: 2.5})
    assert [(g.group, g.sample_count, g.restored_db) for g in found] == [
        (1, 16, 2.5),
        (0, 4, None),
    ]
    assert found[0].layers == ("conv", "add")
    assert found[0].share == pytest.approx(0.75)


def test_a_layer_has_the_shares_of_all_its_quantizers():
    groups = rank_groups(QUANTIZERS, {0: (1, 4), 1: (2, 4), 2: (1, 4)}, {})
    assert outputs(groups=groups).layer_shares == {"conv": 0.75, "add": 0.5}


def test_noise_alone_adds_up_to_a_prediction():
    groups = rank_groups(QUANTIZERS, {0: (0.004, 4), 1: (0.006, 4)}, {})
    assert outputs(groups=groups).predicted_db == pytest.approx(20)


def test_the_split_tells_what_the_activations_cost():
    assert Split(30, 20, 0.001, 0.009).activations_share == pytest.approx(0.9)
    assert Split(30, -math.inf, 0.001, math.inf).activations_share == 1


@pytest.mark.parametrize("level, expected", [(29.9, True), (30.1, False), (None, False)])
def test_numbers_are_partial_where_the_switched_model_is_not_the_file(level, expected):
    assert SelfCheck(level, 130).is_partial is expected


def test_the_worst_output_is_the_one_with_the_lowest_sqnr():
    losses = tuple(
        OutputLoss(name, np.array([noise]), np.array([signal]))
        for name, noise, signal in [("boxes", 1, 1e6), ("scores", 1e-3, 1), ("empty", 0, 0)]
    )
    found = outputs(losses=losses)
    assert found.worst is found.loss("scores")
