"""A tool's own quantizer is read wherever it stands: before a Transpose as before the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from models_for_tests import floats, make_model, run_onnxruntime, same_bits, scales
from onnx import TensorProto, helper

from playground.utils.parameter_inspector import describe_refusal, list_layers, load_model
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.operators import QONNX_DOMAINS
from playground.utils.parameter_inspector.reading.custom_quantizers import ENCODERS, QUANTIZERS
from playground.utils.parameter_inspector.records import Layer

node = helper.make_node
W = floats(5, 7)
ROWS = scales(5).reshape(5, 1)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Nodes that make ``w`` of a float ``W`` [5, 7], and what ``w`` is by their definition."""

    nodes: tuple[onnx.NodeProto, ...]
    arrays: dict[str, np.ndarray]
    values: np.ndarray
    data_type: str


def qonnx_quant() -> Quantizer:
    arrays = {"W": W, "s": ROWS, "z": np.float32(0), "b": np.float32(4)}
    made = node("Quant", list(arrays), ["w"], domain=QONNX_DOMAINS[0], signed=1, narrow=1)
    return Quantizer((made,), arrays, np.round(np.clip(W / ROWS, -7, 7)) * ROWS, "int4")


def qonnx_bipolar() -> Quantizer:
    made = node("BipolarQuant", ["W", "s"], ["w"], domain=QONNX_DOMAINS[1])
    return Quantizer((made,), {"W": W, "s": ROWS}, np.where(W >= 0, ROWS, -ROWS), "int2")


def mct() -> Quantizer:
    t = np.float32([2, 1, 0.5, 4, 0.25])
    s = (t / 128).reshape(5, 1)
    made = node("WeightsPOTQuantizer", ["W", "t"], ["w"], domain="mct_quantizers", num_bits=8,
                per_channel=1, channel_axis=0, signed=1)  # fmt: skip
    values = np.clip(np.round(W / s), -128, 127) * s
    return Quantizer((made,), {"W": W, "t": t}, values, "int8")


def tensorrt_float8() -> Quantizer:
    """onnxruntime's own float8 quantizers compute the same under other names."""
    arrays = {"W": W * 100, "s": np.float32(0.1)}
    zero = helper.make_tensor("f8", TensorProto.FLOAT8E4M3FN, (), [0.0])
    standard = [
        node("QuantizeLinear", ["W", "s", "f8"], ["q"]),
        node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    model = make_model(standard, arrays, inputs={}, opset=19)
    model.graph.initializer.append(zero)
    (values,) = run_onnxruntime(model, {}, ["y"])
    assert np.abs(values).max() < np.abs(W * 100).max()  # some are saturated
    made = (
        node("TRT_FP8QuantizeLinear", ["W", "s"], ["q"], domain="trt"),
        node("TRT_FP8DequantizeLinear", ["q", "s"], ["w"], domain="trt"),
    )
    return Quantizer(made, arrays, values, "float8e4m3fn")


QUANTIZERS_OF_TOOLS: dict[str, Callable[[], Quantizer]] = {
    "QONNX Quant": qonnx_quant,
    "QONNX BipolarQuant": qonnx_bipolar,
    "MCT": mct,
    "TensorRT float8": tensorrt_float8,
}
BETWEEN = {
    "nothing": ((), lambda w: w.reshape(5, 7)),
    "Transpose": ((node("Transpose", ["w"], ["v"], perm=[1, 0]),), np.transpose),
    "Identity and Transpose": (
        (node("Identity", ["w"], ["i"]), node("Transpose", ["i"], ["v"])), np.transpose),
    "Reshape": ((node("Reshape", ["w", "shape"], ["v"]),), lambda w: w.reshape(7, 5)),
    "Flatten": ((node("Flatten", ["w"], ["v"], axis=1),), lambda w: w),
}  # fmt: skip


def model_of(quantizer: Quantizer, between: tuple[onnx.NodeProto, ...]) -> onnx.ModelProto:
    name = between[-1].output[0] if between else "w"
    product = node("MatMul", ["x", name], ["y"], "mm")
    arrays = quantizer.arrays | {"shape": np.int64([7, 5])}
    return make_model([*quantizer.nodes, *between, product], arrays, inputs={"x": (2, 7)})


def the_layer(model: onnx.ModelProto) -> Layer:
    (layer,) = list_layers(load_model(model))
    return layer


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("kind", QUANTIZERS_OF_TOOLS)
def test_a_quantizer_before_layout_operators_is_read_as_one(kind, between):
    quantizer, (nodes, rearrange) = QUANTIZERS_OF_TOOLS[kind](), BETWEEN[between]
    layer = the_layer(model_of(quantizer, nodes))
    assert layer.not_understood == ()
    assert layer.weight.data_type == quantizer.data_type
    same_bits(layer.weight.values, rearrange(quantizer.values.astype(np.float32) + 0))


@pytest.mark.parametrize("kind", QUANTIZERS_OF_TOOLS)
def test_what_is_computed_from_the_values_of_a_quantizer_is_exact_and_said(kind):
    quantizer = QUANTIZERS_OF_TOOLS[kind]()
    halves = node("Concat", ["w", "w"], ["v"], axis=1)
    layer = the_layer(model_of(quantizer, (halves,)))
    (reason,) = layer.not_understood
    assert reason.kind is RefusalKind.COMPUTED_FROM_CODES
    expected = quantizer.values.astype(np.float32) + 0
    same_bits(layer.weight.values, np.concatenate([expected, expected], axis=1))


@pytest.mark.parametrize("between", BETWEEN)
def test_a_quantizer_with_an_attribute_that_is_not_known_is_refused_wherever_it_stands(between):
    quantizer = qonnx_quant()
    quantizer.nodes[0].attribute.append(helper.make_attribute("stochastic", 1))
    layer = the_layer(model_of(quantizer, BETWEEN[between][0]))
    assert layer.weight is None
    (reason,) = map(describe_refusal, layer.not_understood)
    assert "'stochastic' of Quant" in reason


def test_every_quantizer_of_a_tool_stands_in_a_test():
    made = [one.op_type for make in QUANTIZERS_OF_TOOLS.values() for one in make().nodes]
    names = {op_type for _, op_type in (*QUANTIZERS, *ENCODERS)}
    assert names - set(made) == {"IntQuant", "WeightsSymmetricQuantizer"}  # of the same function
