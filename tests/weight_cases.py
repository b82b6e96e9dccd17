"""Quantized weights of every operator beside their float originals, as models and plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models_for_tests import CONV_INPUT, codes, constant, dequantize_node, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.measuring.weight_sums import sum_weight


@dataclass(frozen=True)
class Operator:
    """An operator, the shape of its weight, where that has its output channels."""

    op_type: str
    shape: tuple[int, ...]
    axis: int
    attributes: dict[str, Any]

    def node(self, weight: str) -> onnx.NodeProto:
        return helper.make_node(self.op_type, ["x", weight], ["y"], "layer", **self.attributes)

    def rows(self, array: np.ndarray) -> np.ndarray:
        """Return one row for each output channel."""
        if array.ndim == 2:
            return array if self.axis == 0 else array.T
        if self.op_type != "ConvTranspose":
            picked = [np.take(array, i, axis=self.axis) for i in range(self.shape[self.axis])]
        else:
            group = self.attributes.get("group", 1)
            parts = np.split(array, group, axis=0)
            picked = [part[:, c] for part in parts for c in range(array.shape[1])]
        return np.stack([one.reshape(-1) for one in picked])


OPERATORS = {
    "Conv": Operator("Conv", (5, 3, 2, 4), 0, {}),
    "ConvTranspose": Operator("ConvTranspose", (3, 5, 2, 4), 1, {}),
    "ConvTranspose in groups": Operator("ConvTranspose", (6, 5, 2, 4), 1, {"group": 3}),
    "MatMul": Operator("MatMul", (13, 6), 1, {}),
    "Gemm": Operator("Gemm", (13, 6), 1, {}),
    "Gemm transB": Operator("Gemm", (6, 13), 0, {"transB": 1}),
}


BLOCK = 4


def shape_of_scale(shape: tuple[int, ...], granularity: str, axis: int) -> tuple[int, ...]:
    if granularity == "per tensor":
        return ()
    if granularity == "per channel":
        return (shape[axis],)
    return tuple(-(-d // BLOCK) if i == axis else d for i, d in enumerate(shape))


def spread(parameter: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Return a scale or zero-point for each element, by ONNX's definition."""
    if parameter.ndim == 0:
        return np.full(shape, parameter)
    if parameter.ndim == 1:
        parameter = parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return np.broadcast_to(parameter, shape)
    repeated = np.repeat(parameter, BLOCK, axis=axis)
    return np.take(repeated, range(shape[axis]), axis=axis)


@dataclass
class Case:
    """A quantized weight with its float original, as models and as plain arrays."""

    operator: Operator
    variant: onnx.ModelProto
    original: onnx.ModelProto
    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    x: np.ndarray
    values: np.ndarray

    def summed(self, folder: Path | None = None, *, outside: bool = True, **options: Any) -> Any:
        """Sum it in memory, or from files: the weights beside the model, or inside it."""
        models: list[Any] = [self.variant, self.original]
        if folder is not None:
            paths = [folder / "variant.onnx", folder / "reference.onnx"]
            for path, model in zip(paths, models, strict=True):
                copy = onnx.ModelProto()
                copy.CopyFrom(model)
                external = {"save_as_external_data": True, "size_threshold": 0} if outside else {}
                onnx.save(copy, path, **external)
            models = paths
        ((weight, layer), (exact, original)) = (
            (layer.weight, layer) for model in models for layer in list_layers(load_model(model))
        )
        return sum_weight(weight, layer, exact, original, **options)


def make_case(
    operator: Operator,
    data_type: str = "int8",
    granularity: str = "per tensor",
    axis: int | None = None,
    seed: int = 0,
) -> Case:
    shape = operator.shape
    if axis is None:
        axis = operator.axis if granularity == "per channel" else 1 - operator.axis
    wanted = shape_of_scale(shape, granularity, axis)
    s = np.asarray(scales(*wanted, seed=seed + 1))
    is_float = data_type.startswith("float")
    z = np.asarray(codes(data_type, *wanted, seed=seed + 3))
    if is_float:
        z = np.zeros(wanted, z.dtype)
    q = codes(data_type, *shape, seed=seed + 2)
    full_scale, full_zero = spread(s, shape, axis), spread(z, shape, axis)
    dead = [slice(None)] * len(shape)
    dead[operator.axis] = 1
    q[tuple(dead)] = full_zero[tuple(dead)]
    attributes = {"axis": axis} if wanted else {}
    if granularity == "per block":
        attributes["block_size"] = BLOCK
    nodes = [dequantize_node(**attributes), operator.node("w")]
    arrays = [constant("q", q), constant("s", s), constant("z", z)]
    variant = make_model(nodes, arrays, inputs={"x": CONV_INPUT}, opset=21)
    values = (q.astype(np.float64) - full_zero.astype(np.float64)) * full_scale
    values = values.astype(np.float32)
    rng = np.random.default_rng(seed + 9)
    # Noise below half a step, never so little that "outside the limits" is a matter of rounding;
    # and here and there an x far beyond what the codes can hold.
    noise = rng.uniform(0.2, 0.5, shape) * rng.choice([-1, 1], shape)
    x = values + (noise * full_scale).astype(np.float32)
    if shape[0] * shape[1] > 1:
        span = 70000 if "16" in data_type else 700
        x = np.where(rng.random(shape) < 0.1, x + span * full_scale, x).astype(np.float32)
    original = make_model([operator.node("w")], {"w": x}, inputs={"x": CONV_INPUT})
    return Case(operator, variant, original, q, full_scale, full_zero, x, values)


def plain_case(operator: Operator, q: np.ndarray, s: Any, x: np.ndarray) -> Case:
    s = np.asarray(s, np.float32)
    nodes = [dequantize_node(("q", "s")), operator.node("w")]
    arrays = [constant("q", q), constant("s", s)]
    variant = make_model(nodes, arrays, inputs={"x": CONV_INPUT})
    original = make_model([operator.node("w")], {"w": x}, inputs={"x": CONV_INPUT})
    values = (q.astype(np.float64) * s).astype(np.float32)
    full = np.broadcast_to(s, q.shape)
    return Case(operator, variant, original, q, full, np.zeros(q.shape, q.dtype), x, values)
