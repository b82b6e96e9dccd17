"""SQNR is 20·log10 of two norms, however it is asked for."""

from __future__ import annotations

import numpy as np
from models_for_tests import floats

from playground.utils.parameter_inspector.measuring.sqnr import (
    are_judged,
    judged_sqnr_db,
    sqnr_db,
    total_sqnr_db,
)

X, ERROR = floats(5, 11), 0.01 * floats(5, 11, seed=1)
SIGNAL_SQUARE, ERROR_SQUARE = ((a.astype(np.float64) ** 2).sum(axis=1) for a in (X, ERROR))


def test_each_channel_has_20_log10_of_its_norms():
    wanted = 20 * np.log10(np.linalg.norm(X, axis=1) / np.linalg.norm(ERROR, axis=1))
    np.testing.assert_allclose(sqnr_db(SIGNAL_SQUARE, ERROR_SQUARE), wanted, rtol=1e-5)


def test_all_channels_together_have_20_log10_of_the_norms_of_the_whole():
    wanted = 20 * np.log10(np.linalg.norm(X) / np.linalg.norm(ERROR))
    np.testing.assert_allclose(total_sqnr_db(SIGNAL_SQUARE, ERROR_SQUARE), wanted, rtol=1e-5)


def test_nothing_lost_is_infinite_and_no_signal_is_no_number():
    np.testing.assert_array_equal(sqnr_db(np.array([2.0, 0, 0]), np.array([0.0, 1, 0])),
                                  [np.inf, np.nan, np.nan])  # fmt: skip


def test_a_channel_below_a_millionth_of_the_widest_is_not_judged():
    widths = np.array([1.0, 0.9e-6, 1.1e-6, np.nan, 0])
    assert are_judged(widths).tolist() == [True, False, True, False, False]
    judged = judged_sqnr_db(SIGNAL_SQUARE, ERROR_SQUARE, widths)
    assert np.isnan(judged).tolist() == [False, True, False, True, True]
