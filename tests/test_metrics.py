"""Ranges, histograms and summaries are what numpy says of the finite values."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from models_for_tests import codes, floats

from playground.utils.parameter_inspector import compute_histograms, create_summary_stats
from playground.utils.parameter_inspector.measuring.metrics import describe_grid
from playground.utils.parameter_inspector.records import SummaryStats

STRANGE = np.float32([np.nan, 3, -np.inf, -2, np.inf])

# --------------------------------------------------------------- histograms


def test_counts_are_those_of_numpy_over_the_shared_range():
    tensors = {"FP32": floats(7, 11), "INT8": 2 * floats(5, 3, seed=1)}
    made = compute_histograms(tensors, bins=13)
    both = np.concatenate([array.ravel() for array in tensors.values()]).astype(np.float64)
    for name, array in tensors.items():
        counts, edges = np.histogram(array.astype(np.float64), 13, (both.min(), both.max()))
        np.testing.assert_array_equal(made.counts[name], counts)
        np.testing.assert_array_equal(made.edges, edges)


def test_every_variant_shares_the_edges():
    made = compute_histograms({"a": np.float32([0, 1]), "b": np.float32([-3, 5])}, bins=8)
    assert (made.edges[0], made.edges[-1], made.edges.size) == (-3, 5, 9)


@pytest.mark.parametrize("seed", range(5))
def test_every_finite_value_is_in_a_bin(seed):
    tensors = {"a": floats(9, 11, seed=seed), "b": floats(4, seed=seed + 50) * 100}
    made = compute_histograms(tensors)
    assert {n: int(c.sum()) for n, c in made.counts.items()} == {"a": 99, "b": 4}


def test_what_is_not_finite_is_counted_outside():
    made = compute_histograms({"a": STRANGE, "b": np.float32([1])})
    assert dict(made.outside) == {"a": 3, "b": 0}
    assert made.counts["a"].sum() == 2


def test_equal_values_get_bins_of_width_1_around_them():
    made = compute_histograms({"a": np.full(7, 3, np.float32)}, bins=4)
    assert (made.edges[0], made.edges[-1]) == (2.5, 3.5)
    assert made.counts["a"].sum() == 7


@pytest.mark.parametrize("value", [1e30, -3e38, 1e-45, 2.0**24, 2.0**60])
def test_equal_values_of_any_size_are_counted(value):
    made = compute_histograms({"a": np.full(7, value, np.float32)}, bins=4)
    assert made.counts["a"].sum() == 7
    assert (np.diff(made.edges) > 0).all()


def test_the_widest_range_of_float32_is_counted():
    limit = np.finfo(np.float32).max
    made = compute_histograms({"a": np.float32([-limit, 0, limit])}, bins=4)
    assert made.counts["a"].sum() == 3


@pytest.mark.parametrize(
    "values", [np.zeros(0, np.float32), np.float32([np.nan])], ids=["empty", "NaN"]
)
def test_nothing_to_count_gives_empty_bins(values):
    made = compute_histograms({"a": values}, bins=4)
    assert made.counts["a"].tolist() == [0, 0, 0, 0]


# --------------------------------------------------------------- summaries


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), [0.5]], ids=repr
)
def test_a_scalar_is_its_own_summary(value):
    assert create_summary_stats(value) == SummaryStats(1, 0.5, 0.5, 0.5)


def test_a_scalar_is_written_as_its_value():
    assert str(create_summary_stats(np.float32(0.0123))) == "0.0123"


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5)], ids=str)
def test_an_array_is_summed_up_as_numpy_does(shape):
    array = floats(*shape)
    stats = create_summary_stats(array)
    wide = array.astype(np.float64)
    assert stats == SummaryStats(array.size, wide.min(), wide.max(), wide.mean())


def test_an_array_is_written_as_min_max_and_mean():
    assert str(create_summary_stats([1, 2, 6])) == "min 1, max 6, mean 3"


def test_nothing_is_written_as_none():
    stats = create_summary_stats(np.zeros(0, np.float32))
    assert str(stats) == "none"
    assert (stats.count, math.isnan(stats.mean)) == (0, True)


def test_nan_in_is_nan_out():
    stats = create_summary_stats(np.float32([1, np.nan]))
    assert [math.isnan(x) for x in (stats.min, stats.max, stats.mean)] == [True, True, True]


@pytest.mark.parametrize("data_type", ["int4", "uint4", "int8", "uint8", "float8e4m3fn", "int32"])
def test_narrow_types_are_summed_up_without_wrapping(data_type):
    array = codes(data_type, 3, 7)
    wide = array.astype(np.float64)
    assert create_summary_stats(array) == SummaryStats(21, wide.min(), wide.max(), wide.mean())


def test_the_mean_of_float16_does_not_overflow():
    assert create_summary_stats(np.full(100, 60000, np.float16)).mean == 60000


def test_bfloat16_is_read_as_a_number():
    assert create_summary_stats(ml_dtypes.bfloat16(0.5)).min == 0.5


def test_a_signalling_nan_is_on_no_grid():
    # Found by fuzzing: to convert one raises a flag of the processor.
    weights = np.full((2, 9), 0x7F800001, np.uint32).view(np.float32)
    assert describe_grid(weights) is None
