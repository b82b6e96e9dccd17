"""A Gemm quantized by hand, and what is measured of its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from models_for_tests import constant, dequantize_node, make_model
from onnx import helper

from playground.utils.parameter_inspector import MeasuredWeight, compare_variants, load_model

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


def draw_gaussian() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((CHANNELS, COUNT // CHANNELS), np.float32)
