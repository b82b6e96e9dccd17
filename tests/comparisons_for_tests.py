"""Small comparisons of a float network with a quantized one, for the tests of tables and charts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from models_for_tests import convnet, quantized_statically
from onnx import TensorProto, helper, numpy_helper

from playground.utils.figures.style import color_variants
from playground.utils.parameter_inspector import (
    METRICS,
    Comparison,
    MeasuredWeight,
    compare_variants,
    load_model,
)
from playground.utils.parameter_inspector.judging.findings import (
    Finding,
    FinerSteps,
    KeptInFloat,
    NodesToExclude,
)
from playground.utils.parameter_inspector.judging.resolution_facts import RangeDisparity
from playground.utils.tables import RankedLayer

# Conv -> Relu -> Abs, the Conv per channel, every dimension different -----------------------------

SHAPE = (5, 3, 2, 4)
SCALE = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
ZERO_POINT = np.array([1, 2, 3, 4, 6], np.int8)
BIAS = np.arange(5, dtype=np.int32)
CODES = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
SPREAD = SCALE.reshape(5, 1, 1, 1)
VALUES = (CODES - ZERO_POINT.reshape(5, 1, 1, 1).astype(np.float32)) * SPREAD
# In steps of the scale: what rounding leaves, and one weight that was cut off.
ERRORS = np.random.default_rng(1).uniform(-0.49, 0.49, SHAPE).astype(np.float32)
ERRORS[3, 1, 0, 2] = 2.75


def create_model(quantized: bool, errors: np.ndarray | float = 0.0) -> onnx.ModelProto:
    """Return Conv -> Relu -> Abs, the Conv quantized per channel with its input, or float.

    Args:
        errors: float weight - value, in steps.
    """
    arrays, nodes, weight = {}, [], ["x", "w", "b"]
    if quantized:
        arrays = {"q": CODES, "s": SCALE, "z": ZERO_POINT, "bq": BIAS, "bs": SCALE / 8}
        arrays |= {"xs": np.float32(0.25), "xz": np.uint8(7), "bz": np.zeros(5, np.int32)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
            helper.make_node("DequantizeLinear", ["bq", "bs", "bz"], ["b"], axis=0),
        ]
        weight = ["xd", "w", "b"]
    else:
        arrays = {"w": VALUES + errors * SPREAD, "b": np.zeros(5, np.float32)}
    nodes += [
        helper.make_node("Conv", weight, ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Abs", ["r"], ["y"], "abs"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (1, 3, 6, 7)), ("y", (1, 5, 5, 4)))
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(
        helper.make_graph(nodes, "graph", *ends, stored),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


@cache
def compare_equal() -> Comparison:
    """Return the float network beside int8 values that equal it."""
    return compare_models(FP32=create_model(False), INT8=create_model(True))


@cache
def compare_lossy() -> Comparison:
    """Return the float network beside int8 values that differ by ERRORS."""
    return compare_models(FP32=create_model(False, ERRORS), INT8=create_model(True))


def compare_models(**models: onnx.ModelProto) -> Comparison:
    return compare_variants({name: load_model(model) for name, model in models.items()})


def compare_convnets(folder: Path) -> Comparison:
    """Compare a float net of Conv and Gemm with what onnxruntime's quantizer makes of it."""
    return compare_models(FP32=convnet(), INT8=quantized_statically(convnet(), folder))


def lose_bytes(model: onnx.ModelProto, initializer: int) -> onnx.ModelProto:
    """Point one of the initializers to an external file that is not there."""
    lost = model.graph.initializer[initializer]
    lost.ClearField("raw_data")
    lost.data_location = TensorProto.EXTERNAL
    lost.external_data.add(key="location", value="gone.bin")
    return model


def make_finding(
    severity: str, layer_name: str = "conv", variant: str = "INT8", rule: str = "range-disparity"
) -> Finding:
    alone = KeptInFloat(NodesToExclude((layer_name,), True, "FP32", False), has_readers=False)
    remedy = FinerSteps(has_one_scale=True, kept_in_float=alone)
    facts = RangeDisparity(ratio=40.0, bits=8, op_type="Conv", is_depthwise=True, remedy=remedy)
    return Finding(rule, severity, variant, layer_name, facts)


def make_ranked(layer_name: str, severity: str = "", **metrics: float) -> RankedLayer:
    """Return a row of the ranking with these metrics, the others unknown."""

    class Measured:
        pass

    measured = Measured()
    measured.metrics = dict.fromkeys((metric.name for metric in METRICS), np.nan) | metrics
    found = (make_finding(severity, layer_name),) if severity else ()
    return RankedLayer(layer_name, "INT8", measured, found)


# One Conv of seven channels, for the charts -------------------------------------------------------

CHART_CODES = np.random.default_rng(2).integers(-90, 91, (7, 5, 3)).astype(np.int8)
CHART_CODES[:, 0, 0] = (127, 127, 127, 127, 127, -127, 127)
STEPS = np.array([1, 2, 4, 8, 16, 32, 0.5], np.float32) / 100
ROUNDING = np.random.default_rng(3).uniform(-0.4, 0.4, CHART_CODES.shape)
ROUNDING[4, 1:] *= 100
COLORS = color_variants(["FP32", "INT8"])
HOSTILE = r"block$\foo$_1 <b> 层 \x00"


def make_conv(codes: np.ndarray | None, weight: np.ndarray, scale: np.ndarray) -> onnx.ModelProto:
    """Return one Conv, its weight float or as codes with a scale for each channel."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    stored = {"w": weight} if codes is None else {"q": codes, "s": scale}
    if codes is not None:
        nodes.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (1, 5, 9)), ("y", (1, len(weight), 7)))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    opset = [helper.make_opsetid("", 21)]
    graph = helper.make_graph(nodes, "graph", *ends, tensors)
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def compare_convs(codes: np.ndarray, scale: np.ndarray, rounding: np.ndarray | None) -> Comparison:
    """Return one Conv as codes, beside its float original where ``rounding`` is given."""
    steps = scale.reshape(-1, 1, 1)
    values = codes.astype(np.float32) * steps
    variants = {}
    if rounding is not None:
        weight = (values + rounding * steps).astype(np.float32)
        variants["FP32"] = load_model(make_conv(None, weight, scale))
    variants["INT8"] = load_model(make_conv(codes, values, scale))
    return compare_variants(variants)


@cache
def compare_charted() -> Comparison:
    return compare_convs(CHART_CODES, STEPS, ROUNDING)


def measure_charted() -> dict[str, MeasuredWeight]:
    return {"INT8": compare_charted().measured("conv", "INT8")}
