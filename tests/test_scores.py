"""Which outputs of a network are scores."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks_to_run import model, node

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.scores import (
    may_put_out_scores,
    puts_out_scores,
)


def judge(operator: str, shape=None) -> tuple[bool, bool]:
    inputs, constants = ("x", {})
    if operator == "Gemm":
        inputs, constants = ("x w", {"w": np.ones((4, 3), np.float32)})
    proto = model([node(operator, inputs, "y")], {"x": [2, 4]}, ["y"], constants)
    if shape is not None:
        proto.graph.output[0].CopyFrom(
            onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
        )
    opened = load_model(proto)
    return puts_out_scores(opened, "y"), may_put_out_scores(opened, "y")


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [None, ["N", 4], ["N", 4, 8, 8]])
def test_what_comes_out_of_a_softmax_is_scores(operator, shape):
    assert judge(operator, shape) == (True, True)


@pytest.mark.parametrize("operator, shape", [("Gemm", None), ("Relu", ["N", 4])])
def test_a_row_of_numbers_may_be_scores(operator, shape):
    assert judge(operator, shape) == (False, True)


@pytest.mark.parametrize("shape", [None, ["N", 3, 8, 8]])
def test_an_image_is_no_scores(shape):
    assert judge("Relu", shape) == (False, False)
