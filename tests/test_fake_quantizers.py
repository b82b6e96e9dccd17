"""QONNX's quantizers in standard operators, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from networks_to_run import all_on, model, node, run, run_switched, switch
from onnx import helper

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.constants import ConstantTable
from playground.utils.parameter_inspector.running.fake_quantizers import (
    FakeQuantizer,
    create_fake_nodes,
    read_fake_quantizer,
)

DOMAIN = "qonnx.custom_op.general"


@pytest.mark.parametrize("narrow, signed, low, high", [(0, 1, -8, 7), (1, 1, -7, 7), (0, 0, 0, 15)])
def test_qonnx_quantizers_round_half_to_even_and_saturate(narrow, signed, low, high):
    original = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": [7]}, ["y"])
    quant = helper.make_node(
        "Quant", ["a", "s", "z", "bits"], ["a_q"], domain="qonnx.custom_op.general",
        narrow=narrow, signed=signed, rounding_mode="ROUND",
    )  # fmt: skip
    variant = model(
        [node("Relu", "x", "a"), quant, node("Neg", "a_q", "y")], {"x": [7]}, ["y"],
        {"s": np.float32(0.5), "z": np.float32(0), "bits": np.float32(4)},
        domains=["qonnx.custom_op.general"],
    )  # fmt: skip
    switched = switch(original, variant)
    x = np.array([0, 0.25, 0.75, 1.2, 3.4, 7.4, 100], np.float32)
    found = run_switched(switched, {"x": x}, all_on(switched))[0]
    np.testing.assert_array_equal(found, -np.clip(np.rint(x / 0.5), low, high) * np.float32(0.5))


def quantizer_of(operator: str, *parameters: float, **attributes: object) -> FakeQuantizer | None:
    names = [f"p{i}" for i in range(len(parameters))]
    quant = helper.make_node(operator, ["x", *names], ["y"], domain=DOMAIN, **attributes)
    constants = {n: np.float32(p) for n, p in zip(names, parameters, strict=True)}
    opened = load_model(model([quant], {"x": [3]}, ["y"], constants, domains=[DOMAIN]))
    return read_fake_quantizer(opened.graph[0], ConstantTable(opened))


def compute(quantizer: FakeQuantizer, x: np.ndarray) -> np.ndarray:
    held: dict[str, np.ndarray] = {}

    def hold(array: np.ndarray) -> str:
        held[f"c{len(held)}"] = array
        return f"c{len(held) - 1}"

    nodes = list(create_fake_nodes(quantizer, "x", hold, lambda stem: f"new_{len(held)}_{stem}"))
    last = nodes[-1].output[0]
    return run(model(nodes, {"x": x.shape}, [last], held), {"x": x})[0]


X = np.array([-9, -1.25, -0.3, 0, 0.3, 1.25, 9], np.float32)


@pytest.mark.parametrize(
    "mode, rounded", [("ROUND", np.rint), ("ceil", np.ceil), ("FLOOR", np.floor)]
)
def test_a_quantizer_rounds_as_its_mode_says(mode, rounded):
    quantizer = quantizer_of("Quant", 0.5, 1, 4, rounding_mode=mode)
    expected = (np.clip(rounded(X / 0.5 + 1), -8, 7) - 1) * 0.5
    np.testing.assert_array_equal(compute(quantizer, X), expected.astype(np.float32))


def test_a_bipolar_quantizer_has_the_scale_with_the_sign_of_what_it_reads():
    found = compute(quantizer_of("BipolarQuant", 0.25), X)
    np.testing.assert_array_equal(found, np.where(X < 0, -0.25, 0.25).astype(np.float32))


def test_a_rounding_that_onnx_lacks_is_not_known():
    assert quantizer_of("Quant", 0.5, 0, 4, rounding_mode="HALF_UP") is None
    assert quantizer_of("Quant", 0.5, 0, 4, rounding_mode="ROUND") is not None
