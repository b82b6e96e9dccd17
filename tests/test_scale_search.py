"""What a scale loses is what the best range of all that were tried would gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from models_for_tests import constant, dequantize_node, floats, make_model
from onnx import helper

from playground.utils.parameter_inspector import (
    MeasuredWeight,
    compare_variants,
    load_model,
)

COUNT = 2_000_000
CHANNELS = 8


def gemm(
    nodes: list[onnx.NodeProto], arrays: dict[str, Any], columns: int, bias: bool = False
) -> onnx.ModelProto:
    inputs = ["a", "w", *(["b"] if bias else [])]
    layer = helper.make_node("Gemm", inputs, ["y"], "fc", transB=1)
    tensors = [constant(name, array) for name, array in arrays.items()]
    return make_model([*nodes, layer], tensors, inputs={"x": (2, columns)}, opset=21)


def quantized(
    q: np.ndarray,
    s: Any,
    z: Any = None,
    *,
    bias: np.ndarray | None = None,
    bias_scale: Any = None,
    input_scale: float = 0.5,
) -> onnx.ModelProto:
    """Return a Gemm with Q and DQ around its input and its weight, per tensor or per channel."""
    s = np.asarray(s, np.float32)
    z = np.zeros(s.shape, q.dtype) if z is None else np.asarray(z, q.dtype)
    arrays = {"q": q, "s": s, "z": z, "xs": np.float32(input_scale), "xz": np.int8(3)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        dequantize_node(("xq", "xs", "xz"), "a"),
        dequantize_node(**({"axis": 0} if s.ndim else {})),
    ]
    if bias is not None and bias_scale is not None:
        arrays |= {"bq": bias, "bs": np.asarray(bias_scale, np.float32)}
        per_channel = {"axis": 0} if arrays["bs"].ndim else {}
        nodes.append(dequantize_node(("bq", "bs"), "b", **per_channel))
    elif bias is not None:
        arrays["b"] = bias
    return gemm(nodes, arrays, q.shape[1], bias is not None)


def measured(x: np.ndarray | None, variant: onnx.ModelProto) -> MeasuredWeight:
    """Return the layer as the pass over both files measures it; of the variant alone without x."""
    variants = {"INT8": load_model(variant)}
    if x is not None:
        identity = helper.make_node("Relu", ["x"], ["a"])
        original = gemm([identity], {"w": x}, x.shape[1])
        variants = {"FP32": load_model(original), **variants}
    return compare_variants(variants).weights["fc"]["INT8"]


def symmetric(x: np.ndarray, limit: float | None = None, bits: int = 8) -> onnx.ModelProto:
    """Return x quantized per tensor to -top..top, top = 2^(bits - 1) - 1."""
    top = 2 ** (bits - 1) - 1
    s = np.float32((np.abs(x).max() if limit is None else limit) / top)
    dtype = ml_dtypes.int4 if bits == 4 else np.int8
    return quantized(np.clip(np.rint(x / s), -top, top).astype(np.int8).astype(dtype), s)


def metrics_of(x: np.ndarray, **options: Any) -> Mapping[str, float]:
    return measured(x, symmetric(x, **options)).metrics


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((CHANNELS, COUNT // CHANNELS), np.float32)


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
