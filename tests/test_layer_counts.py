"""What is counted of a layer is what numpy counts on the whole of it, however it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import dequantize_node, floats, make_model, matmul_model
from onnx import helper

from playground.utils.parameter_inspector import (
    ErrorSteps,
    MeasuredWeight,
    compare_variants,
    count_layer,
    load_model,
)
from playground.utils.parameter_inspector.streaming import compared_weights as passes
from playground.utils.parameter_inspector.streaming import threads

INNER, CHANNELS = 37, 23


def quantized(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return int8 codes of a MatMul's weight, a scale for each column."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.rint(x / scale)).clip(-100, 100).astype(np.int8)


def measure(
    x: np.ndarray,
    scales: Mapping[str, np.ndarray],
    folder: Path,
    factor: float = 1,
    cast: bool = False,
) -> dict[str, MeasuredWeight]:
    """Return a MatMul's float weight and the int8 weights of the variants, measured.

    Args:
        scales: by variant; the codes are those of ``x``.
        factor: what the scales in the file are multiplied by, and thereby the values.
        cast: the float weight is rounded to float16 by the graph.
    """
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
    inputs = {"x": (2, len(x))}
    models = {"FP32": make_model([matmul], {"w": x}, inputs=inputs)}
    if cast:
        nodes = [
            helper.make_node("Cast", ["stored"], ["half"], to=onnx.TensorProto.FLOAT16),
            helper.make_node("Cast", ["half"], ["w"], to=onnx.TensorProto.FLOAT),
        ]
        models["FP32"] = make_model([*nodes, matmul], {"stored": x}, inputs=inputs)
    for name, scale in scales.items():
        held = np.float32(factor) * scale
        arrays = {"q": quantized(x, scale), "s": held, "z": np.zeros(scale.shape, np.int8)}
        models[name] = make_model([dequantize_node(axis=1), matmul], arrays, inputs=inputs)
    for name, model in models.items():
        outside = {"save_as_external_data": True, "size_threshold": 0, "location": f"{name}.bin"}
        onnx.save(model, folder / f"{name}.onnx", **outside)
    comparison = compare_variants({name: load_model(folder / f"{name}.onnx") for name in models})
    return dict(comparison.weights["fc"])


def errors_of(x: np.ndarray, scale: np.ndarray, folder: Path) -> tuple[ErrorSteps, np.ndarray]:
    """Return what was found, and every error in steps as numpy computes it."""
    q = quantized(x, scale)
    found = count_layer(measure(x, {"INT8": scale}, folder)).errors["INT8"]
    with np.errstate(all="ignore"):
        steps = (x - q.astype(np.float32) * scale) / np.abs(scale)
    return found, steps[np.isfinite(steps)]


@pytest.mark.parametrize(("chunk", "few"), [(10**6, 8), (50, 8), (50, 10**6)], ids=str)
@pytest.mark.parametrize(
    "kind", ["rounded", "hardly clipped", "clipped", "a scale of zero", "negative scales"]
)
def test_errors_are_those_of_numpy(kind, chunk, few, tmp_path, monkeypatch):
    """In one piece, in pieces that two threads share, and in pieces of one thread."""
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(threads, "FEW_PARTS", few)
    x = floats(INNER, CHANNELS)
    scale = np.abs(x).max(axis=0) / np.float32(100)
    if kind == "clipped":
        scale[4] /= 3
    if kind == "hardly clipped":  # by less than a step
        scale[4] /= np.float32(1.008)
    if kind == "a scale of zero":
        scale[7] = 0
    if kind == "negative scales":
        scale[::2] *= -1
    found, steps = errors_of(x, scale, tmp_path)
    largest = np.abs(steps).max()
    counts, edges = np.histogram(steps, len(found.counts), (found.edges[0], found.edges[-1]))
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.edges, edges, atol=1e-12)
    assert found.edges[-1] == max(1, np.ceil(largest))
    assert found.count == steps.size == found.counts.sum()
    assert found.rms == pytest.approx(np.sqrt(np.mean(steps.astype(np.float64) ** 2)))
    assert found.largest == pytest.approx(largest)
    assert found.beyond_half_share == np.mean(np.abs(steps) > 0.501)
    assert (found.beyond_half_share > 0) == ("clipped" in kind)
    assert (largest < 1) == (kind != "clipped")


@pytest.mark.parametrize("chunk", [10**6, 50])
@pytest.mark.parametrize("kind", ["as it is", "rescaled", "cast"])
def test_every_variant_and_the_original_are_counted_over_the_same_bins(
    kind, chunk, tmp_path, monkeypatch
):
    """Also where what a comparison reads of the original are not its own values."""
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    x = floats(INNER, CHANNELS)
    scale = np.abs(x).max(axis=0) / np.float32(100)
    if kind == "rescaled":
        row = measure(x, {"VARIANT": scale}, tmp_path, factor=2)
        compared, scale = x * row["VARIANT"].pair.original_factor, 2 * scale
    else:
        scales = {"VARIANT": scale, "TENSOR": scale.max()}
        row = measure(x, scales, tmp_path, cast=kind == "cast")
        compared = x
    counts = count_layer(row)
    values = {name: one.weight.values.ravel().astype(float) for name, one in row.items()}
    every = np.concatenate(list(values.values()))
    np.testing.assert_array_equal(counts.histograms.edges[[0, -1]], [every.min(), every.max()])
    assert list(counts.histograms.counts) == list(row)
    for name, array in values.items():
        expected = np.histogram(array, counts.histograms.edges)[0]
        np.testing.assert_array_equal(counts.histograms.counts[name], expected)
    assert set(counts.errors) == set(row) - {"FP32"}
    steps = (compared - row["VARIANT"].weight.values) / scale
    assert counts.errors["VARIANT"].rms == pytest.approx(np.sqrt(np.mean(steps**2)), rel=1e-5)


def test_what_is_gone_is_named_and_takes_nothing_else_along(tmp_path):
    x = floats(INNER, CHANNELS)
    scale = np.abs(x).max() / np.float32(100)
    row = measure(x, {"B": scale, "C": scale}, tmp_path)
    before = count_layer(row)
    (tmp_path / "B.bin").unlink()
    found = count_layer(row)
    assert list(found.histograms.counts) == ["FP32", "B", "C"]  # the comparison counted the codes
    for name, counts in before.histograms.counts.items():
        np.testing.assert_array_equal(found.histograms.counts[name], counts)
    assert list(found.errors) == ["C"]
    assert list(found.missing) == ["B"]
    assert found.missing["B"].location == "B.bin"
    (tmp_path / "FP32.bin").unlink()
    found = count_layer(row)
    assert (list(found.histograms.counts), list(found.errors)) == (["B", "C"], [])
    assert sorted(found.missing) == ["B", "C", "FP32"]


def test_a_layer_is_counted_once_for_all_who_ask():
    model = matmul_model(
        [dequantize_node()], {"q": np.int8([[1, 2]]), "s": np.float32(1), "z": np.int8(0)}, inner=1
    )
    comparison = compare_variants({"INT8": load_model(model)})
    assert comparison.count_layer("matmul") is comparison.count_layer("matmul")
