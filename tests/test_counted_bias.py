"""Biases fit into int32 in whatever a plan proposes, and what is measured is what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import convnet, floats, quantized_statically
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from rewriting_cases import run

from playground.utils.parameter_inspector import (
    compare_variants,
    load_model,
    plan_model,
    save_moves,
)
from playground.utils.parameter_inspector.changing.candidates import list_candidates
from playground.utils.parameter_inspector.changing.counted_bias import CountedBias
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme

# The last channel is small, but for its bias: its own scale is too fine to count that bias in.
FACTOR, LARGE_BIAS = 1e-3, 3000.0


def lopsided() -> onnx.ModelProto:
    model = convnet()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == "W1":
            array[-1] *= FACTOR
        if tensor.name == "b1":
            array[-1] = LARGE_BIAS
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """The plan for the network with one scale for each weight, and the folder of its files."""
    onnx.save(lopsided(), tmp_path / "fp32.onnx")
    types = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}
    onnx.save(quantized_statically(lopsided(), tmp_path, **types), tmp_path / "uint8.onnx")
    paths = [tmp_path / "fp32.onnx", tmp_path / "uint8.onnx"]
    variants = {path.stem: load_model(path) for path in paths}
    comparison = compare_variants(variants)
    plan = plan_model(comparison, "uint8", target_sqnr_db=30)
    save_moves(comparison, "uint8", plan.moves, tmp_path / "out.onnx")
    return plan, tmp_path


def test_a_bias_that_does_not_fit_raises_its_own_scale_and_no_layer_is_refused(planned):
    plan, folder = planned
    raised = {c.layer_name: c.proposed.raised for c in plan.changes}
    assert raised.pop("conv1") == 1 and not any(raised.values())
    constants = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(folder / "out.onnx").graph.initializer
    }
    assert np.abs(constants["b1_quantized"][-1].astype(np.int64)) == pytest.approx(2**31, rel=1e-3)


def test_the_written_file_runs_near_the_float_one(planned):
    _, folder = planned
    feeds = {"x": floats(1, 3, 10, 11, seed=5)}
    expected, found = (run(folder / name, feeds) for name in ("fp32.onnx", "out.onnx"))
    assert found == pytest.approx(expected, abs=float(0.05 * np.abs(expected).max()))


def test_what_was_planned_is_what_the_file_holds(planned):
    plan, folder = planned
    change = next(one for one in plan.changes if one.layer_name == "conv1")
    layer = load_model(folder / "out.onnx")
    comparison = compare_variants({"fp32": load_model(folder / "fp32.onnx"), "out": layer})
    metrics = comparison.measured(change.layer_name, "out").metrics
    assert change.proposed.sqnr_db == pytest.approx(metrics["sqnr_db"], abs=1e-3)


def test_raising_costs_what_the_wider_scale_loses():
    weight = floats(3, 2, 2, 2)
    bias = CountedBias(np.array([0.0, 0.0, 40.0]), 1e-7)
    scheme = Scheme(granularity="per-channel")
    found = list_candidates(weight, Scheme(), schemes=[scheme], bias=bias)
    raised = next(one for one in found if one.scheme == scheme)
    free, held = requantize(weight, scheme), requantize(weight, scheme, bias=bias)
    assert raised.raised == 1
    assert raised.raising_cost_db == pytest.approx(
        free.worst_channel_sqnr_db - held.worst_channel_sqnr_db
    )
    assert raised.raising_cost_db > 1


def test_scales_that_hold_their_bias_are_not_touched():
    weight, scheme = floats(3, 2, 2, 2), Scheme(granularity="per-channel")
    held = requantize(weight, scheme, bias=CountedBias(np.ones(3), 0.02))
    assert held.raised == 0
    free = requantize(weight, scheme)
    np.testing.assert_array_equal(held.quantization.scale, free.quantization.scale)
