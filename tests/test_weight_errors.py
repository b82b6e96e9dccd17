"""The SQNR of tensor and channels, against plain numpy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from models_for_tests import floats
from requantizing_cases import SHAPE, cut_small, sqnr_db

from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.weight_errors import compute_sqnr_db
from playground.utils.parameter_inspector.measuring.metrics import judged_channel_sqnr_db


def test_sqnr_is_that_of_numpy_for_the_tensor_and_each_channel():
    values, held = floats(*SHAPE), floats(*SHAPE) + floats(*SHAPE, seed=9) / 100
    for axis in range(3):
        tensor, channels = compute_sqnr_db(values, held, axis)
        assert tensor == pytest.approx(sqnr_db(values, held), abs=1e-6)
        parts = zip(np.moveaxis(values, axis, 0), np.moveaxis(held, axis, 0), strict=True)
        assert channels == pytest.approx([sqnr_db(*part) for part in parts], abs=1e-6)


def test_a_zero_channel_has_no_sqnr_and_an_exact_one_an_infinite_one():
    values = np.float32([[0, 0, 0], [127, -64, 3], [0.1, 0.2, 0.33]])
    done = requantize(values, Scheme(granularity="per-channel"))
    assert np.isnan(done.channel_sqnr_db[0]) and done.channel_sqnr_db[1] == np.inf
    assert done.worst_channel_sqnr_db == done.channel_sqnr_db[2] < 60


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sqnr_of_a_part_goes_to_its_own_channels(axis, monkeypatch):
    cut_small(monkeypatch, 4)
    values, held = floats(*SHAPE), floats(*SHAPE) + floats(*SHAPE, seed=9) / 100
    for order in "CF":
        found = compute_sqnr_db(np.asarray(values, order=order), held, axis)[1]
        parts = zip(np.moveaxis(values, axis, 0), np.moveaxis(held, axis, 0), strict=True)
        assert found == pytest.approx([sqnr_db(*part) for part in parts], abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_worst_channel_is_the_one_of_the_ranking_whatever_training_left_at_1e_30(axis):
    exact = floats(6, 6)
    exact[2], exact[:, 2] = 1e-30, 1e-30
    done = requantize(exact, Scheme("int8"), axis)
    low, high = exact.min(axis=1 - axis), exact.max(axis=1 - axis)
    error = (exact.astype(np.float64) - done.values) ** 2
    sums = SimpleNamespace(
        float_low=low, float_high=high, channel_count=6, e_square=error.sum(axis=1 - axis),
        x_square=(exact.astype(np.float64) ** 2).sum(axis=1 - axis),
    )  # fmt: skip
    judged = judged_channel_sqnr_db(sums)
    assert np.isnan(judged).tolist() == [i == 2 for i in range(6)]
    assert done.channel_sqnr_db == pytest.approx(judged, abs=1e-6, nan_ok=True)
    assert done.worst_channel_sqnr_db > 20
