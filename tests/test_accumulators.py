"""What a pass gathers: counts of codes, ends, errors outside the codes' reach."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import (
    CONV_INPUT,
    MICROSOFT,
    floats,
    make_model,
    scales,
)
from onnx import helper
from weight_cases import (
    OPERATORS,
    Operator,
    make_case,
    plain_case,
)

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.measuring.weight_sums import WeightSums, sum_weight
from playground.utils.parameter_inspector.streaming import compared_weights as passes


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_levels_of_the_first_channel_are_counted(operator):
    case = make_case(OPERATORS[operator])
    found = case.summed()
    assert found.level_count == np.unique(case.operator.rows(case.x)[0]).size > 1
    assert found.of_original().level_count == found.level_count


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
