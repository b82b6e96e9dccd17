"""What a scale loses is what the best range of all that were tried would gain."""

from __future__ import annotations

import numpy as np
import pytest
from gemm_cases import (
    CHANNELS,
    draw_gaussian,
    measured,
    metrics_of,
    quantized,
)
from models_for_tests import floats


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    return draw_gaussian()


# --------------------------------------------------------------- lost to the scale


def db_lost(x: np.ndarray, s: np.ndarray, top: int = 127) -> float:
    """Return what the best clipping range would gain, tried finely on the whole tensor.

    s is one number, or one for each row, which then chooses its own range.
    """
    x = x.astype(np.float64)
    s = np.broadcast_to(np.asarray(s, np.float64).reshape(-1, 1), (len(x), 1))
    one_scale = np.unique(s).size == 1

    def error(factor: float) -> np.ndarray:
        step = s * factor
        rows = ((x - np.clip(np.rint(x / step), -top - 1, top) * step) ** 2).sum(axis=1)
        return rows.sum(keepdims=True) if one_scale else rows

    tried = np.stack([error(f) for f in (1.0, *np.geomspace(0.02, 8, 80))])
    return float(10 * np.log10(tried[0].sum() / tried.min(axis=0).sum()))


def test_nothing_is_lost_to_a_scale_that_clips_gaussian_weights_at_4_sigma():
    x = floats(CHANNELS, 40_000)
    found = metrics_of(x, limit=4)["db_lost_to_scale"]
    assert found == pytest.approx(0, abs=0.15)
    assert found == pytest.approx(db_lost(x, 4 / 127), abs=0.15)


@pytest.mark.parametrize("sigmas", [2.5, 3, 5, 8, 12, 16])
def test_what_a_scale_loses_is_what_the_best_range_of_the_whole_tensor_gains(sigmas):
    x = floats(CHANNELS, 1_000)
    found = metrics_of(x, limit=sigmas)["db_lost_to_scale"]
    assert found == pytest.approx(db_lost(x, sigmas / 127), abs=0.5)


@pytest.mark.parametrize("sigmas", [2.5, 3, 5, 8, 12, 16])
def test_a_sample_of_the_weights_tells_what_a_scale_loses_to_1_db(sigmas):
    """Beyond 3 sigma lie some 20 of the sampled weights: their error is known to a fifth."""
    x = floats(CHANNELS, 40_000)
    found = metrics_of(x, limit=sigmas)["db_lost_to_scale"]
    assert found == pytest.approx(db_lost(x, sigmas / 127), abs=1)


@pytest.mark.parametrize("columns", [100, 4_000, 40_000, 250_000])
def test_a_scale_from_an_outlier_loses_what_the_best_range_gains(columns):
    """Clipping the outlier costs its energy, so how much there is to win grows with the weights."""
    x = floats(CHANNELS, columns)
    x[3, columns // 2 + 1] = 10 * np.abs(x).max()
    found = metrics_of(x)["db_lost_to_scale"]
    assert found == pytest.approx(db_lost(x, np.abs(x).max() / 127), abs=0.5)


def test_a_scale_from_an_outlier_of_two_million_weights_loses_more_than_3_db(gaussian):
    x = gaussian.copy()
    x[3, 5] = 10 * np.abs(x).max()
    assert metrics_of(x)["db_lost_to_scale"] > 3


def test_each_channel_that_has_a_scale_chooses_its_own_range():
    x = floats(6, 5_000) * np.float32([1, 2, 0.5, 3, 1, 1])[:, None]
    s = np.float32([4, 30, 1, 30, 5, 3]) / 127
    q = np.clip(np.rint(x / s[:, None]), -128, 127).astype(np.int8)
    found = measured(x, quantized(q, s)).metrics["db_lost_to_scale"]
    assert found == pytest.approx(db_lost(x, s), abs=0.3)


@pytest.mark.parametrize("channels", [300, 1000])
def test_more_channels_than_the_search_looks_at_lose_about_the_same(channels):
    x = floats(channels, 90)
    s = np.full(channels, 9 / 127, np.float32)
    s[0] *= 1.0001  # not one scale, so that each row has its own
    q = np.clip(np.rint(x / s[:, None]), -128, 127).astype(np.int8)
    found = measured(x, quantized(q, s)).metrics["db_lost_to_scale"]
    assert found == pytest.approx(db_lost(x, s), abs=0.5)
