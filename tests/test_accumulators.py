"""What a pass gathers: counts of codes, ends, errors outside the codes' reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_INPUT,
    MICROSOFT,
    codes,
    constant,
    dequantize_node,
    floats,
    make_model,
    scales,
)
from onnx import helper

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.measuring.weight_sums import WeightSums, sum_weight
from playground.utils.parameter_inspector.streaming import compared_weights as passes


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


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_levels_of_the_first_channel_are_counted(operator):
    case = make_case(OPERATORS[operator])
    found = case.summed()
    assert found.level_count == np.unique(case.operator.rows(case.x)[0]).size > 1
    assert found.of_original().level_count == found.level_count


def plain_case(operator: Operator, q: np.ndarray, s: Any, x: np.ndarray) -> Case:
    s = np.asarray(s, np.float32)
    nodes = [dequantize_node(("q", "s")), operator.node("w")]
    arrays = [constant("q", q), constant("s", s)]
    variant = make_model(nodes, arrays, inputs={"x": CONV_INPUT})
    original = make_model([operator.node("w")], {"w": x}, inputs={"x": CONV_INPUT})
    values = (q.astype(np.float64) * s).astype(np.float32)
    full = np.broadcast_to(s, q.shape)
    return Case(operator, variant, original, q, full, np.zeros(q.shape, q.dtype), x, values)


@pytest.mark.parametrize("code", [-128, -127, -1, 0, 1, 127])
def test_a_single_code_is_counted_in_its_place(code):
    q = np.full((1, 3), code, np.int8)
    operator = Operator("Gemm", q.shape, 0, {"transB": 1})
    found = plain_case(operator, q, 0.5, floats(1, 3)).summed().code_counts
    assert (np.flatnonzero(found).tolist(), found.sum()) == ([code + 128], 3)


# --------------------------------------------------------------- numbers that are none, and none


def float_case(x: np.ndarray, v: np.ndarray) -> WeightSums:
    operator = OPERATORS["MatMul"]
    models = [make_model([operator.node("w")], {"w": a}, inputs={"x": CONV_INPUT}) for a in (v, x)]
    (layer,), (original,) = (list_layers(load_model(model)) for model in models)
    return sum_weight(layer.weight, layer, original.weight, original)


@pytest.mark.parametrize("chunk", [3, 10**6])
def test_what_is_not_finite_is_counted_and_left_out_of_the_range(chunk, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    v = floats(7, 3)
    v[2, 0], v[4, 0], v[5, 2], v[:, 1] = np.nan, np.inf, -np.inf, np.nan
    found = float_case(floats(7, 3, seed=1), v)
    assert found.not_finite == 10
    finite = np.where(np.isfinite(v), v, np.nan)
    for name, numpy_function in (("low", np.nanmin), ("high", np.nanmax)):
        limits = getattr(found, name)
        assert np.isnan(limits).tolist() == [False, True, False]
        for channel in (0, 2):
            assert limits[channel] == numpy_function(finite[:, channel])


def test_nan_in_the_original_is_not_counted_as_nan_of_the_weight():
    x = floats(7, 3)
    x[2, 0] = np.nan
    found = float_case(x, floats(7, 3, seed=1))
    assert found.not_finite == 0
    assert np.isnan(found.e_square).tolist() == [True, False, False]
    assert found.float_low[0] == np.nanmin(x[:, 0])


@pytest.mark.parametrize("chunk", [10**6, 4])
def test_an_infinity_of_the_original_is_no_clipping_however_it_is_read(chunk, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    x = floats(7, 3)
    x[0, 0], x[2, 0], x[5, 1] = 900, np.inf, -np.inf
    q = np.nan_to_num(np.rint(x * 2)).clip(-128, 127).astype(np.int8)
    found = plain_case(OPERATORS["MatMul"], q, 0.5, x).summed()
    assert found.outside_square.tolist() == [(900 - 63.5) ** 2, 0, 0]


def test_a_codebook_reaches_from_its_lowest_to_its_highest_level():
    """MatMulBnb4 in NF4: sixteen levels from -1 to 1, one largest absolute value for each block."""
    rows, columns, block = 5, 48, 16
    packed = np.random.default_rng(1).integers(0, 256, rows * columns // 2).astype(np.uint8)
    arrays = {"b": packed, "m": scales(rows * columns // block)}
    node = helper.make_node(
        "MatMulBnb4", ["x", *arrays], ["y"], "layer", domain=MICROSOFT, N=rows, K=columns,
        block_size=block, quant_type=1,
    )  # fmt: skip
    variant = make_model([node], arrays, inputs={"x": (2, columns)}, domains=[MICROSOFT])
    x = floats(columns, rows) * np.float32(0.1)
    original = make_model([OPERATORS["MatMul"].node("w")], {"w": x}, inputs={"x": (2, columns)})
    (layer,), (original,) = (list_layers(load_model(m)) for m in (variant, original))
    found = sum_weight(layer.weight, layer, original.weight, original)
    e = x.T.astype(np.float64) - layer.weight.values
    widest = np.repeat(arrays["m"], block).reshape(rows, columns)
    beyond = np.abs(x.T) > widest
    assert 0 < beyond.sum() < beyond.size
    np.testing.assert_allclose(found.e_square, (e**2).sum(axis=1), rtol=2e-6)
    np.testing.assert_allclose(
        found.outside_square, np.where(beyond, e**2, 0).sum(axis=1), rtol=2e-6
    )
    nibbles = np.stack([packed >> 4, packed & 15])
    np.testing.assert_array_equal(found.code_counts, np.bincount(nibbles.reshape(-1)))
    assert found.searched is None


@pytest.mark.parametrize("rails", ["inside", "beyond"])
def test_limits_narrower_than_the_data_type_are_where_outside_begins(rails):
    """A Quant of three bits, narrow: -3..3, whatever the type that holds it."""
    s, x = np.float32(0.25), floats(13, 6) * np.float32(0.2 if rails == "inside" else 2)
    x = np.clip(x, -0.75, 0.75) if rails == "inside" else x
    arrays = {"v": x, "s": s, "z": np.float32(0), "bits": np.float32(3)}
    quant = helper.make_node(
        "Quant", list(arrays), ["w"], domain="qonnx.custom_op.general", signed=1, narrow=1,
        rounding_mode="ROUND",
    )  # fmt: skip
    nodes = [quant, OPERATORS["MatMul"].node("w")]
    model = make_model(nodes, arrays, inputs={"x": CONV_INPUT}, domains=["qonnx.custom_op.general"])
    original = make_model([OPERATORS["MatMul"].node("w")], {"w": x}, inputs={"x": CONV_INPUT})
    (layer,), (original,) = (list_layers(load_model(m)) for m in (model, original))
    found = sum_weight(layer.weight, layer, original.weight, original)
    v = np.clip(np.rint(x / s), -3, 3) * s
    np.testing.assert_allclose(found.low, v.min(axis=0))
    beyond = np.where(np.abs(x) > 0.75, (x.astype(np.float64) - v) ** 2, 0).sum(axis=0)
    np.testing.assert_allclose(found.outside_square, beyond, rtol=2e-6)
    assert bool(beyond.any()) == (rails == "beyond")
