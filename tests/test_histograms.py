"""The histograms of a layer are exact, however its weight is stored and however it is read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import codes, dequantize_node, floats, int8_conv, matmul_model, scales

from playground.utils.parameter_inspector import (
    compare_variants,
    compute_histograms,
    count_layer,
    load_model,
)
from playground.utils.parameter_inspector.measuring.histograms import count_in_bins
from playground.utils.parameter_inspector.streaming import compared_weights as passes

MODELS = {
    "per channel": int8_conv,
    "uint4": lambda: int8_conv(data_type="uint4"),
    "MatMul, channels last": lambda: matmul_model(
        [dequantize_node(axis=1)],
        {"q": codes("int8", 40, 31), "s": scales(31), "z": codes("int8", 31, seed=9)},
    ),
    "float": lambda: matmul_model([], {"w": floats(40, 31)}),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("bins", [7, 64, 256])
def test_counts_are_those_of_numpy_over_the_layers_values(kind, bins, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 100)
    path = tmp_path / "model.onnx"
    onnx.save(MODELS[kind](), path)
    (row,) = compare_variants({"X": load_model(path)}).weights.values()
    made = count_layer(row, bins).histograms
    values = row["X"].weight.values.astype(np.float64).ravel()
    counts, edges = np.histogram(values, bins, (values.min(), values.max()))
    np.testing.assert_array_equal(made.edges, edges)
    np.testing.assert_array_equal(made.counts["X"], counts)
    assert made.outside == {"X": 0}


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (-0.3, 7.1), (1000.0, 1000.5), (1e-30, 2e-30), (-3e38, 3e38)]
)
def test_values_on_and_beside_every_edge_are_in_the_bin_that_numpy_says(low, high):
    edges = np.linspace(low, high, 65)
    near = np.float32(edges)
    values = np.concatenate(
        [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    )
    wide = values.astype(np.float64)
    inside = values[(wide >= low) & (wide <= high)]
    expected = np.histogram(inside.astype(np.float64), edges)[0]
    np.testing.assert_array_equal(count_in_bins(inside, edges), expected)


def test_what_is_not_finite_is_in_no_bin():
    values = np.float32([np.nan, 0.2, np.inf, 0.9, -np.inf])
    np.testing.assert_array_equal(count_in_bins(values, np.linspace(0, 1, 3)), [1, 1])


def test_values_on_a_grid_fall_where_numpy_puts_them():
    values = (np.arange(-128, 128, dtype=np.float32) * np.float32(0.1)).repeat(300)
    edges = np.linspace(float(values.min()), float(values.max()), 65)
    np.testing.assert_array_equal(count_in_bins(values, edges), np.histogram(values, edges)[0])


def test_more_bins_than_a_byte_can_name_are_refused():
    (row,) = compare_variants({"X": load_model(int8_conv())}).weights.values()
    with pytest.raises(ValueError, match="257 bins"):
        count_layer(row, 257)


def test_bins_too_narrow_for_float32_are_counted_in_float64():
    values = np.float32([1e-41, 2e-41, 3e-41, 9e-41])
    edges = np.linspace(1e-41, 9e-41, 9)
    expected = np.histogram(values.astype(np.float64), edges)[0]
    np.testing.assert_array_equal(count_in_bins(values, edges, inside=True), expected)


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
