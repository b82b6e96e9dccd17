"""The search for a range is as good as brute force."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import element_type
from onnxruntime.quantization import quant_utils
from requantizing_cases import gaussian, wide

from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme


def test_the_search_ends_near_four_sigma_on_gaussian_weights():
    done = requantize(gaussian(), Scheme(clipping="mse"))
    assert 3.7 < 127 * float(done.quantization.scale) < 4.2
    assert done.sqnr_db == pytest.approx(40.5, abs=0.1)


def brute_force_db(values: np.ndarray, scheme: Scheme) -> float:
    """The best SQNR of 2 000 ranges from 1/64 of the widest on, each row for itself."""
    rows = values.reshape(-1, 16) if scheme.granularity == "per-block" else values
    rows = rows.reshape(1, -1) if scheme.granularity == "per-tensor" else rows
    low, high = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
    if scheme.symmetric:
        high = np.maximum(-low, high)
        low = -high
    bottom, top = scheme.limits
    best = np.full(len(rows), np.inf)
    for factor in np.geomspace(1 / 64, 1, 2000):
        scale = (factor * (high.astype(float) - low) / (top - bottom))[:, None]
        zero = np.rint((bottom + top) / 2) + 0.0
        if not scheme.symmetric:
            zero = np.clip(np.rint(bottom - factor * low[:, None] / scale), bottom, top)
        held = (np.clip(np.rint(rows / scale) + zero, *data_limits(scheme)) - zero) * scale
        best = np.minimum(best, np.square(rows - held).sum(axis=1))
    return float(10 * np.log10(np.square(wide(values)).sum() / best.sum()))


def data_limits(scheme: Scheme) -> tuple[float, float]:
    info = quant_utils.ONNX_INT_TYPE_RANGE[element_type(scheme.data_type)]
    return float(info[0]), float(info[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel", "per-block"])
@pytest.mark.parametrize(
    ("data_type", "symmetric", "allowed_db"),
    [("int8", True, 0.1), ("uint8", False, 0.1), ("int4", True, 0.02), ("uint4", False, 0.02)],
)
def test_the_search_is_as_near_to_brute_force_as_it_says(
    data_type, symmetric, allowed_db, granularity, heavy, seed
):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, (12, 160)) if heavy else rng.normal(size=(12, 160))
    values = values.astype(np.float32)
    scheme = Scheme(
        data_type, granularity, symmetric, clipping="mse",
        block_size=16 if granularity == "per-block" else None,
    )  # fmt: skip
    done = requantize(values, scheme)
    assert brute_force_db(values, scheme) - done.sqnr_db < allowed_db


@pytest.mark.parametrize("heavy", [False, True])
def test_the_search_on_the_histogram_of_a_long_row_is_as_good(heavy):
    rng = np.random.default_rng(5)
    values = rng.standard_t(3, 40_000) if heavy else rng.normal(size=40_000)
    values = values.astype(np.float32)
    scheme = Scheme(clipping="mse")
    assert brute_force_db(values, scheme) - requantize(values, scheme).sqnr_db < 0.1
