"""Healthy quantized networks, and the same with one fault planted: one entry per fault.

Every maker is deterministic. A planted model differs from its healthy host in nothing else: where a
fault changes a weight's scale, its bias follows, unless the bias is the fault.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from models_for_tests import (
    dequantize_node,
    floats,
    make_model,
    quantized_statically,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic

from playground.utils.parameter_inspector import compare_variants, load_model
from playground.utils.parameter_inspector.judging.rules import Finding, find_problems

Variants = Mapping[str, onnx.ModelProto]

INT8_PER_CHANNEL = {
    "per_channel": True,
    "weight_type": QuantType.QInt8,
    "activation_type": QuantType.QInt8,
}
UINT8_PER_TENSOR = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}
SHAPES = {"W1": (24, 3, 3, 5), "W2": (24, 1, 3, 4), "W3": (40, 24, 1, 1), "W4": (10, 40)}
LAYERS = {"W1": "conv1", "W2": "depthwise", "W3": "pointwise", "W4": "fc"}


# --------------------------------------------------------------- healthy networks


def float_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Return Gaussian weights, and biases about as large as what they are added to."""
    weights = {
        name: floats(*shape, seed=seed + i) for i, (name, shape) in enumerate(SHAPES.items())
    }
    biases = {
        name.replace("W", "b"): floats(shape[0], seed=seed + 10 + i)
        for i, (name, shape) in enumerate(SHAPES.items())
    }
    return weights | biases


def float_network(**changed: np.ndarray) -> onnx.ModelProto:
    """Return Conv, depthwise Conv, pointwise Conv and Gemm; no dimension means two things."""
    nodes = [
        helper.make_node("Conv", ["x", "W1", "b1"], ["c1"], "conv1"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "W2", "b2"], ["c2"], "depthwise", group=24),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "W3", "b3"], ["c3"], "pointwise"),
        helper.make_node("GlobalAveragePool", ["c3"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "W4", "b4"], ["y"], "fc", transB=1),
    ]
    arrays = float_arrays() | changed
    model = make_model(nodes, arrays, inputs={"x": (1, 3, 12, 13)}, opset=17, ir_version=8)
    shape = (1, arrays["W4"].shape[0])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    return model


@contextmanager
def quietly() -> Any:
    """onnxruntime's quantizer advises to pre-process every model, through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def quantized(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    copy = onnx.load_from_string(
        model.SerializeToString()
    )  # the quantizer changes what it is given
    with tempfile.TemporaryDirectory() as folder, quietly():
        return quantized_statically(copy, Path(folder), **options)


@cache
def _host(per_channel: bool) -> bytes:
    options = INT8_PER_CHANNEL if per_channel else UINT8_PER_TENSOR
    return quantized(float_network(), **options).SerializeToString()


def healthy_int8() -> onnx.ModelProto:
    """Return the network in int8, weights per-channel, activations int8."""
    return onnx.load_from_string(_host(True))


def healthy_uint8() -> onnx.ModelProto:
    """Return the network in uint8, per-tensor."""
    return onnx.load_from_string(_host(False))


def pair(variant: onnx.ModelProto, original: onnx.ModelProto | None = None) -> Variants:
    return {"FP32": original or float_network(), "variant": variant}


def tied_network(first: bool, second: bool) -> onnx.ModelProto:
    """Return a table that a Gather and, transposed, a MatMul read; each quantized or not."""
    table = floats(30, 20)
    codes, scale = quantize(table)
    nodes = [
        dequantize_node(("table_quantized", "table_scale"), "table_values"),
        helper.make_node("Transpose", ["table_values" if second else "table"], ["turned"]),
        helper.make_node("Gather", ["table_values" if first else "table", "ids"], ["g"], "embed"),
        helper.make_node("MatMul", ["g", "W"], ["h"], "middle"),
        helper.make_node("MatMul", ["h", "turned"], ["y"], "head"),
    ]
    held = {"W": floats(20, 20, seed=3)} | ({} if first and second else {"table": table})
    if first or second:
        held |= {"table_quantized": codes, "table_scale": scale}
        nodes[:0] = [dequantize_node(("Wq", "Ws"), "Wv")]
        held["Wq"], held["Ws"] = quantize(held.pop("W"))
        nodes[-2].input[1] = "Wv"
    else:
        del nodes[0]
    return make_model(nodes, held, inputs={"ids": (7,)}, input_types={"ids": TensorProto.INT64})


def quantize(
    values: np.ndarray, axis: int | None = None, top: int = 127, code_type: Any = np.int8
) -> tuple[np.ndarray, np.ndarray]:
    """Return symmetric codes and the scale max abs / ``top``, per tensor or along an axis."""
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    scale = np.abs(values).max(axis=others, keepdims=axis is not None) / np.float32(top)
    codes = np.clip(np.rint(values / scale), -top, top).astype(code_type)
    return codes, scale.reshape(-1 if axis is not None else ()).astype(np.float32)


# --------------------------------------------------------------- editing a model


def read(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(_initializer(model, name)).copy()


def write(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    _initializer(model, name).CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def with_one(model: onnx.ModelProto, name: str, index: int, value: float) -> onnx.ModelProto:
    """Return the model with one number of a tensor changed (the only one, of a scalar)."""
    array = read(model, name)
    array.reshape(-1)[index] = value
    write(model, name, array)
    return model


def with_scale_times(
    model: onnx.ModelProto, weight: str, factor: float, channel: int | None = None
) -> onnx.ModelProto:
    """Return the model with a weight quantized by another scale; its bias follows."""
    bias = weight.replace("W", "b")
    where = np.zeros(SHAPES[weight][0], bool)
    where[slice(None) if channel is None else channel] = True
    factors = np.where(where, np.float32(factor), np.float32(1))
    for name in (f"{weight}_scale", f"{bias}_quantized_scale"):
        scale = read(model, name)
        write(model, name, scale * factors if scale.size > 1 else scale * np.float32(factor))
    scale = read(model, f"{weight}_scale").reshape(-1, *[1] * (len(SHAPES[weight]) - 1))
    codes, zero = read(model, f"{weight}_quantized"), read(model, f"{weight}_zero_point")
    info, shift = np.iinfo(codes.dtype), int(zero.reshape(-1)[0])
    wanted = np.rint(float_arrays()[weight] / scale) + shift
    write(model, f"{weight}_quantized",
          np.clip(wanted, max(info.min, -127), info.max).astype(codes.dtype))  # fmt: skip
    steps = np.rint(read(model, f"{bias}_quantized") / factors)
    write(model, f"{bias}_quantized", steps.astype(np.int32))
    return model


def without_node(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with a node taken out: its output becomes its first input."""
    node = next(node for node in model.graph.node if node.name == name)
    for other in model.graph.node:
        other.input[:] = [node.input[0] if i == node.output[0] else i for i in other.input]
    model.graph.node.remove(node)
    return model


def unfolded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network in float again, its weights the values of the quantized model."""
    arrays = {}
    for name in SHAPES:
        codes, scale = read(model, f"{name}_quantized"), read(model, f"{name}_scale")
        shape = [-1] + [1] * (codes.ndim - 1)
        arrays[name] = codes.astype(np.float32) * scale.reshape(shape)
    return float_network(**arrays)


# --------------------------------------------------------------- the faults


@dataclass(frozen=True, eq=False)
class Fault:
    """One planted fault.

    Attributes:
        rule: the finding that is expected.
        layer: the row it must name; empty for the whole file.
        make: the variants, the reference first.
        severity: that is expected.
        companions: other rules that may speak too, each with the reason why that is right.
    """

    rule: str
    name: str
    layer: str
    make: Callable[[], Variants]
    severity: str
    companions: Mapping[str, str] = field(default_factory=dict)


FAULTS: list[Fault] = []


def plant(
    rule: str, layer: str, severity: str, **companions: str
) -> Callable[[Callable[[], Variants]], Callable[[], Variants]]:
    """List a maker as a fault; its docstring's first line is the fault's name."""

    def add(make: Callable[[], Variants]) -> Callable[[], Variants]:
        name = (make.__doc__ or "").strip().splitlines()[0].rstrip(".")
        named = {rule.replace("_", "-"): reason for rule, reason in companions.items()}
        FAULTS.append(Fault(rule, name, layer, make, severity, named))
        return make

    return add


def _narrowed(name: str, count: int, factor: float) -> np.ndarray:
    weight = float_arrays()[name]
    weight[:count] *= factor
    return weight


@plant("channel-collapse", "conv1", "warning")
def wiped_channel() -> Variants:
    """the codes of one channel are all zero."""
    model = healthy_int8()
    codes = read(model, "W1_quantized")
    codes[3] = 0
    write(model, "W1_quantized", codes)
    return pair(model)


@plant("channel-collapse", "conv1", "error")
def narrow_channels() -> Variants:
    """seven of 24 channels are 60 times narrower, under one scale."""
    original = float_network(W1=_narrowed("W1", 7, 1 / 60))
    return pair(quantized(original, **UINT8_PER_TENSOR), original)


@plant("channel-collapse", "conv1", "warning")
def narrow_channels_alone() -> Variants:
    """the same without the float original."""
    return {"variant": narrow_channels()["variant"]}


@plant("channel-collapse", "fc", "error")
def narrow_channels_int4() -> Variants:
    """two of ten channels are 30 times narrower, under one int4 scale."""
    original = float_network(W4=_narrowed("W4", 2, 1 / 30))
    return pair(_with_dense(original, top=7, code_type=ml_dtypes.int4), original)


def _with_dense(model: onnx.ModelProto, axis: int | None = None, **options: Any) -> onnx.ModelProto:
    """Return the healthy int8 network with the last layer quantized by hand, its bias in float."""
    codes, scale = quantize(read(model, "W4"), axis, **options)
    result = healthy_int8()
    write(result, "W4_quantized", codes)
    write(result, "W4_scale", scale)
    write(result, "W4_zero_point", np.zeros(scale.shape, codes.dtype))
    result.opset_import[0].version = 21
    for node in result.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == "W4_quantized":
            axes = [attribute for attribute in node.attribute if attribute.name == "axis"]
            axes[0].i = axis or 0
        if node.name == "fc":
            node.input[2] = "b4_float"
    result.graph.initializer.append(numpy_helper.from_array(read(model, "b4"), "b4_float"))
    return result


@plant("range-disparity", "depthwise", "warning")
def wide_filter() -> Variants:
    """one depthwise filter is six times wider, under one scale."""
    original = float_network(W2=_narrowed("W2", 1, 6))
    return pair(quantized(original, **UINT8_PER_TENSOR), original)


@plant("range-disparity", "depthwise", "warning")
def wide_filter_alone() -> Variants:
    """the same without the float original."""
    return {"variant": wide_filter()["variant"]}


@plant("range-disparity", "pointwise", "warning")
def wide_pointwise() -> Variants:
    """two channels of a pointwise layer are six times wider, under one scale."""
    original = float_network(W3=_narrowed("W3", 2, 6))
    return pair(quantized(original, **UINT8_PER_TENSOR), original)


@plant("channel-collapse", "depthwise", "error")
def folded_filter() -> Variants:
    """one depthwise filter is 400 times wider, as batch-norm folding makes them."""
    original = float_network(W2=_narrowed("W2", 1, 400))
    return pair(quantized(original, **UINT8_PER_TENSOR), original)


@plant("does-not-load", "", "error")
def attribute_of_a_later_opset() -> Variants:
    """an attribute that the opset does not have, as the axis of opset 11 and 12."""
    model = healthy_int8()
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    node.attribute.append(onnx.helper.make_attribute("block_size", 0))
    return pair(model)


@plant("wasted-bytes", "", "note")
def constant_that_nobody_reads() -> Variants:
    """a constant of 40,000 bytes that no node reads."""
    model = healthy_int8()
    left = np.zeros((100, 100), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(left, "left_over"))
    return pair(model)


@plant("other-network", "", "error")
def weights_of_another_run() -> Variants:
    """every weight is drawn anew: another training run."""
    rng, arrays = np.random.default_rng(99), float_arrays()
    drawn = {
        name: rng.normal(0, 0.1, array.shape).astype(np.float32)
        for name, array in arrays.items()
        if name.startswith("W")
    }
    return pair(quantized(float_network(**drawn), **UINT8_PER_TENSOR))


@plant("dead-weight", "pointwise", "error")
def codes_that_were_lost() -> Variants:
    """every code of a layer is the zero-point."""
    model = healthy_int8()
    write(model, "W3_quantized", np.zeros_like(read(model, "W3_quantized")))
    return pair(model)


@plant("clipping", "conv1", "warning")
def clipped() -> Variants:
    """the scale of every channel is a tenth too small."""
    return pair(with_scale_times(healthy_int8(), "W1", 0.9))


@plant("clipping", "pointwise", "error")
def clipped_hard() -> Variants:
    """the scale of one channel is a tenth of what it should be."""
    return pair(with_scale_times(healthy_int8(), "W3", 0.1, channel=5))


@plant("clipping", "pointwise", "error")
def clipped_per_tensor() -> Variants:
    """one scale for all, six times too small."""
    return pair(with_scale_times(healthy_uint8(), "W3", 1 / 6))


@plant("saturation", "conv1", "warning")
def saturated() -> Variants:
    """the scale is half of what it should be, and there is no float original."""
    return {"variant": with_scale_times(healthy_int8(), "W1", 0.5)}


@plant("saturation", "pointwise", "warning")
def saturated_per_tensor() -> Variants:
    """one uint8 scale, a third of what it should be, and there is no float original."""
    return {"variant": with_scale_times(healthy_uint8(), "W3", 1 / 3)}


@plant("scale-too-wide", "conv1", "warning")
def wide_scale() -> Variants:
    """the scale is six times too wide in every channel."""
    return pair(with_scale_times(healthy_int8(), "W1", 6))


@plant("scale-too-wide", "conv1", "error")
def wide_scale_of_a_channel() -> Variants:
    """the scale of one channel is fifty times too wide."""
    return pair(with_scale_times(healthy_int8(), "W1", 50, channel=2))


@plant("scale-too-wide", "conv1", "error")
def dead_by_scale() -> Variants:
    """the scale of one channel is 500 times too wide: no code of it is left."""
    return pair(with_scale_times(healthy_int8(), "W1", 500, channel=2))


@plant("scale-too-wide", "pointwise", "error")
def wide_scale_alone() -> Variants:
    """one uint8 scale twenty times too wide, and there is no float original."""
    return {"variant": with_scale_times(healthy_uint8(), "W3", 20)}


@plant("scale-too-wide", "matmul", "warning")
def outliers() -> Variants:
    """one weight of 6,000 in every channel is 16 sigma wide, under one int4 scale."""
    weight = floats(6000, 5)
    weight[8] = 16
    codes, scale = quantize(weight, top=7, code_type=ml_dtypes.int4)
    node = helper.make_node("MatMul", ["x", "W"], ["y"], "matmul")
    original = make_model([node], {"W": weight}, inputs={"x": (3, 6000)})
    nodes = [dequantize_node(("q", "s"), "W"), node]
    return pair(make_model(nodes, {"q": codes, "s": scale}, inputs={"x": (3, 6000)}), original)


@plant("unused-codes", "pointwise", "warning")
def coarse_codes() -> Variants:
    """every code is a multiple of 16: four bits stored in eight."""
    return pair(_coarse(healthy_int8(), 16))


@plant("unused-codes", "pointwise", "warning")
def coarse_codes_alone() -> Variants:
    """the same in uint8, and there is no float original."""
    return {"variant": _coarse(healthy_uint8(), 16)}


def _coarse(model: onnx.ModelProto, step: int) -> onnx.ModelProto:
    codes = read(model, "W3_quantized")
    info, zero = np.iinfo(codes.dtype), int(read(model, "W3_zero_point").reshape(-1)[0])
    coarse = np.rint((codes.astype(int) - zero) / step) * step + zero
    write(model, "W3_quantized", np.clip(coarse, info.min, info.max).astype(codes.dtype))
    return model


@plant("bad-scale", "conv1", "error")
def zero_scale() -> Variants:
    """the scale of one channel is zero."""
    return pair(with_one(healthy_int8(), "W1_scale", 4, 0.0))


@plant("bad-scale", "conv1", "error")
def negative_scale() -> Variants:
    """the scale of one channel is negative."""
    return pair(with_one(healthy_int8(), "W1_scale", 4, -0.01))


@plant("bad-scale", "pointwise", "error")
def nan_scale() -> Variants:
    """the one scale of a weight is NaN."""
    return pair(with_one(healthy_uint8(), "W3_scale", 0, np.nan))


@plant("bad-scale", "fc", "error")
def infinite_scale() -> Variants:
    """the scale of one channel is infinite."""
    return pair(with_one(healthy_int8(), "W4_scale", 9, np.inf))


@plant("bad-scale", "conv1", "error")
def zero_activation_scale() -> Variants:
    """the scale of an activation is zero."""
    return pair(with_one(healthy_uint8(), "r1_scale", 0, 0.0))


@plant("bad-scale", "depthwise", "error")
def nan_bias_scale() -> Variants:
    """the scale of one channel of a bias is NaN."""
    return pair(with_one(healthy_int8(), "b2_quantized_scale", 6, np.nan))


@plant("bad-scale", "conv1", "error")
def zero_scale_alone() -> Variants:
    """the scale of one channel is zero, and there is no float original."""
    return {"variant": zero_scale()["variant"]}


@plant("zero-point-range", "pointwise", "error")
def zero_point_of_another_type() -> Variants:
    """the zero-point is uint8, the codes are int8."""
    model = healthy_int8()
    write(model, "W3_zero_point", np.full(40, 200, np.uint8))
    return pair(model)


@plant("zero-point-range", "conv", "error")
def zero_point_beyond_the_codes() -> Variants:
    """the codes are clipped to [-7, 7], the zero-point is 9."""
    weight = floats(6, 5, 3, 2)
    codes, scale = quantize(weight - 9 * np.abs(weight).max() / 7, top=7)
    codes, scale = quantize(weight, top=7)
    nodes = [
        helper.make_node("Clip", ["q", "low", "high"], ["clipped"]),
        dequantize_node(("clipped", "s", "z"), "w"),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    arrays = {"q": codes, "s": scale, "z": np.int8(9), "low": np.int8(-7), "high": np.int8(7)}
    return {"variant": make_model(nodes, arrays, inputs={"x": (1, 5, 8, 9)})}


@plant("bias-scale", "conv1", "error")
def foreign_bias_scale() -> Variants:
    """the bias scale is one and a half times s_x·s_w in one channel."""
    model = healthy_int8()
    scale = read(model, "b1_quantized_scale")
    return pair(with_one(model, "b1_quantized_scale", 8, 1.5 * scale[8]))


@plant("bias-scale", "pointwise", "error")
def foreign_bias_scale_alone() -> Variants:
    """one bias scale, twice s_x·s_w, and there is no float original."""
    model = healthy_uint8()
    scale = read(model, "b3_quantized_scale")
    return {"variant": with_one(model, "b3_quantized_scale", 0, 2 * float(scale.reshape(-1)[0]))}


@plant("bias-scale", "fc", "error")
def shifted_bias() -> Variants:
    """the zero-point of a bias is 5."""
    return pair(with_one(healthy_uint8(), "b4_quantized_zero_point", 0, 5))


@plant("bias-scale", "fc", "error")
def gemm_beta() -> Variants:
    """onnxruntime's own: Gemm's beta of 2 is multiplied into the bias scale and set to 1."""
    original = float_network()
    gemm = next(node for node in original.graph.node if node.name == "fc")
    gemm.attribute.append(helper.make_attribute("beta", 2.0))
    return pair(quantized(original, **INT8_PER_CHANNEL), original)


@plant("bias-overflow", "depthwise", "error")
def saturated_bias() -> Variants:
    """one code of a bias is the highest of int32."""
    return pair(with_one(healthy_int8(), "b2_quantized", 11, 2**31 - 1))


@plant("bias-overflow", "fc", "warning")
def bias_beyond_int32() -> Variants:
    """a channel's weight is 1e-10 of the others, its bias is still float."""
    original = float_network(W4=_narrowed("W4", 1, 1e-10))
    return pair(_with_dense(original, axis=0), original)


@plant("axis-mismatch", "fc", "error")
def wrong_axis() -> Variants:
    """a Gemm's scales run along its inputs."""
    return pair(_with_dense(float_network(), axis=1))


@plant("axis-mismatch", "conv1", "error")
def forgotten_axis() -> Variants:
    """a Conv's DequantizeLinear has the default axis, 1."""
    model = healthy_int8()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == "W1_quantized":
            del node.attribute[:]
    return pair(model)


@plant("axis-mismatch", "conv", "error")
def wrong_axis_of_a_square() -> Variants:
    """a square Conv's scales run along its inputs, through a Transpose."""
    weight = floats(8, 8, 3, 5)
    turned = np.ascontiguousarray(weight.transpose(2, 1, 0, 3))
    codes, scale = quantize(turned, axis=1)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    nodes = [
        dequantize_node(("q", "s"), "values", axis=1),
        helper.make_node("Transpose", ["values"], ["w"], perm=[2, 1, 0, 3]),
        conv,
    ]
    original = make_model([conv], {"w": weight}, inputs={"x": (1, 8, 9, 10)})
    return pair(make_model(nodes, {"q": codes, "s": scale}, inputs={"x": (1, 8, 9, 10)}), original)


@plant("u8s8-saturation", "", "note")
def unsigned_times_signed() -> Variants:
    """uint8 activations, int8 weights over their whole range."""
    options = INT8_PER_CHANNEL | {"activation_type": QuantType.QUInt8}
    return pair(quantized(float_network(), **options))


@plant("left-in-float", "depthwise", "note")
def excluded() -> Variants:
    """a small layer is left out."""
    return pair(quantized(float_network(), nodes_to_exclude=["depthwise"], **INT8_PER_CHANNEL))


@plant("left-in-float", "conv1", "warning")
def excluded_most() -> Variants:
    """the layer with half of the weights is left out."""
    return pair(quantized(float_network(), nodes_to_exclude=["conv1"], **INT8_PER_CHANNEL))


@plant("tied-weight", "embed", "warning")
def tied() -> Variants:
    """a table is quantized for the MatMul, float for the Gather."""
    return pair(tied_network(False, True), tied_network(False, False))


@plant("tied-weight", "head", "warning")
def tied_the_other_way() -> Variants:
    """the same table quantized for the Gather, float for the MatMul."""
    return pair(tied_network(True, False), tied_network(False, False))


@plant("grid-snapped", "", "warning")
def snapped() -> Variants:
    """the values of an int8 model in float, without a scale."""
    return pair(unfolded(healthy_int8()))


@plant("grid-snapped", "", "warning")
def snapped_alone() -> Variants:
    """the same without the float original."""
    return {"variant": unfolded(healthy_int8())}


@plant("not-quantized", "", "warning")
def not_quantized() -> Variants:
    """the variant is the float original."""
    return pair(float_network())


@plant("not-quantized", "", "error")
def called_quantized() -> Variants:
    """a float file is called model_int8."""
    model = float_network()
    model.graph.name = "model_int8"
    return {"model_int8": model}


@plant("not-quantized", "", "warning")
def only_activations() -> Variants:
    """activations are quantized, weights are not."""
    model = float_network()
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        dequantize_node(("xq", "xs", "xz"), "xv"),
    ]
    for tensor in (np.float32(0.03), np.uint8(120)):
        name = "xs" if tensor.dtype == np.float32 else "xz"
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(tensor), name))
    model.graph.node[0].input[0] = "xv"
    whole = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(whole)
    return {"variant": model}


@plant("layers-lost", "depthwise", "error")
def lost() -> Variants:
    """one layer is gone."""
    return pair(without_node(healthy_int8(), "depthwise"))


@plant("layers-lost", "", "error")
def lost_most() -> Variants:
    """all layers but one are gone."""
    model = healthy_int8()
    for name in ("conv1", "depthwise", "pointwise"):
        without_node(model, name)
    return pair(model)


@plant("values-differ", "pointwise", "warning")
def another_training() -> Variants:
    """one layer is of another training."""
    other = float_network(W3=floats(*SHAPES["W3"], seed=77))
    return pair(quantized(other, **INT8_PER_CHANNEL))


@plant("values-differ", "fc", "warning")
def foreign_scale() -> Variants:
    """the scale of a weight is three times what its codes were made with."""
    model = healthy_int8()
    for name in ("W4_scale", "b4_quantized_scale"):
        write(model, name, 3 * read(model, name))
    write(model, "b4_quantized", np.rint(read(model, "b4_quantized") / 3).astype(np.int32))
    return pair(model)


@plant("not-understood", "conv1", "warning")
def double_scale() -> Variants:
    """a scale is float64, which ONNX does not allow."""
    model = healthy_int8()
    write(model, "W1_scale", read(model, "W1_scale").astype(np.float64))
    return pair(model)


# --------------------------------------------------------------- faults in trained networks


def _operands(model: onnx.ModelProto) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by layer, the codes, scale and zero-point of its weight and of its bias."""
    made = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    return {
        node.name: (list(made[node.input[1]].input), list(made[node.input[2]].input))
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def _wipe(model: onnx.ModelProto, weight: list[str], bias: list[str]) -> None:
    codes = read(model, weight[0])
    codes[1] = 0
    write(model, weight[0], codes)


def _set_scale(model: onnx.ModelProto, weight: list[str], bias: list[str], value: float) -> None:
    with_one(model, weight[1], 1, value)


def _double_bias_scale(model: onnx.ModelProto, weight: list[str], bias: list[str]) -> None:
    write(model, bias[1], 2 * read(model, bias[1]))


def _saturate_bias(model: onnx.ModelProto, weight: list[str], bias: list[str]) -> None:
    with_one(model, bias[0], 2, -(2**31) + 1)


def _unsign_zero_point(model: onnx.ModelProto, weight: list[str], bias: list[str]) -> None:
    write(model, weight[2], read(model, weight[2]).astype(np.uint8))


def _widen(model: onnx.ModelProto, weight: list[str], bias: list[str]) -> None:
    """Give every channel a scale 20 times too wide, and the bias with it."""
    codes = read(model, weight[0]).astype(np.float32)
    write(model, weight[0], np.rint(codes / 20).astype(np.int8))
    write(model, bias[0], np.rint(read(model, bias[0]) / 20).astype(np.int32))
    for name in (weight[1], bias[1]):
        write(model, name, 20 * read(model, name))


IN_ANY_LAYER: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("channel-collapse", "the codes of a channel are wiped", _wipe),
    ("bad-scale", "a scale is zero", partial(_set_scale, value=0.0)),
    ("bad-scale", "a scale is NaN", partial(_set_scale, value=np.nan)),
    ("bias-scale", "the bias scale is doubled", _double_bias_scale),
    ("bias-overflow", "a bias code is at the limit", _saturate_bias),
    ("zero-point-range", "the zero-point is unsigned", _unsign_zero_point),
    ("scale-too-wide", "the scale is 20 times too wide", _widen),
)


def faults_in(folder: Path) -> Iterator[Fault]:
    """Yield faults planted into each layer of a trained network, int8 per-channel."""
    for layer in _operands(onnx.load(folder / "int8.onnx")):
        for rule, name, change in IN_ANY_LAYER:
            make = partial(_changed, folder, layer, change)
            yield Fault(rule, f"{name}, {folder.name}{layer}", layer, make, "error")


def _changed(folder: Path, layer: str, change: Callable[..., None]) -> Variants:
    model = onnx.load(folder / "int8.onnx")
    change(model, *_operands(model)[layer])
    return pair(model, onnx.load(folder / "fp32.onnx"))


# --------------------------------------------------------------- healthy models


def healthy_models() -> dict[str, Callable[[], Variants]]:
    """Return what no rule may call an error or a warning, by name."""
    reduced = INT8_PER_CHANNEL | {"reduce_range": True}
    operators = INT8_PER_CHANNEL | {"quant_format": QuantFormat.QOperator}
    return {
        "float alone": lambda: {"FP32": float_network()},
        "int8 per-channel": lambda: pair(healthy_int8()),
        "int8 per-channel alone": lambda: {"variant": healthy_int8()},
        "uint8 per-tensor": lambda: pair(healthy_uint8()),
        "uint8 per-tensor alone": lambda: {"variant": healthy_uint8()},
        "reduce_range": lambda: pair(quantized(float_network(), **reduced)),
        "QOperator": lambda: pair(quantized(float_network(), **operators)),
        "int4, last layer": lambda: pair(_with_dense(float_network(), 0, top=7,
                                                     code_type=ml_dtypes.int4)),
        "pruned channels": lambda: _of(W1=_narrowed("W1", 5, 0.0)),
        "pruned channels per-tensor": lambda: _of(UINT8_PER_TENSOR, W1=_narrowed("W1", 5, 0.0)),
        "channels of 1e-30": lambda: _of(W1=_narrowed("W1", 20, 1e-30)),
        "channels of 1e-30 per-tensor": lambda: _of(UINT8_PER_TENSOR,
                                                    W1=_narrowed("W1", 5, 1e-30)),
        "wide filter per-channel": lambda: _of(W2=_narrowed("W2", 1, 400)),
        "sparse": lambda: _of(W3=_sparse(0.95)),
        "uniform": lambda: _of(W3=_uniform()),
        "mean kernel alone": lambda: {"variant": _of(W2=_mean())["variant"]},
        "mean kernel": lambda: _of(W2=_mean()),
        "scales widened for the bias": lambda: _of(b1=1e7 * float_arrays()["b1"]),
        "zeros at the rail alone": zeros_at_the_rail,
        "a few channels barely weak": lambda: _of(UINT8_PER_TENSOR, W3=_narrowed("W3", 1, 0.07)),
        "all of one operator left out, dynamic": left_out_of_dynamic,
        "table quantized for both": lambda: pair(tied_network(True, True),
                                                 tied_network(False, False)),
    }  # fmt: skip


def _of(options: Mapping[str, Any] = INT8_PER_CHANNEL, **changed: np.ndarray) -> Variants:
    original = float_network(**changed)
    return pair(quantized(original, **options), original)


def zeros_at_the_rail() -> Variants:
    """Return weights that are zero or more, mostly zero: the lowest code is the zero-point."""
    rng = np.random.default_rng(9)
    weight = np.where(rng.random(SHAPES["W3"]) < 0.85, 0, rng.random(SHAPES["W3"]))
    model = quantized(float_network(W3=weight.astype(np.float32)), **UINT8_PER_TENSOR)
    assert read(model, "W3_zero_point") == 0
    return {"variant": model}


def left_out_of_dynamic() -> Variants:
    """Return a build of `quantize_dynamic` of which most weights are a Conv's, in float."""
    original = float_network()
    with tempfile.TemporaryDirectory() as folder, quietly():
        source, target = Path(folder, "float.onnx"), Path(folder, "dynamic.onnx")
        onnx.save(original, source)
        quantize_dynamic(
            source, target, op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8
        )
        return pair(onnx.load(target), original)


def _sparse(share: float) -> np.ndarray:
    weight = float_arrays()["W3"]
    weight[np.random.default_rng(9).random(weight.shape) < share] = 0
    return weight


def _mean() -> np.ndarray:
    return np.full(SHAPES["W2"], 1 / 12, np.float32)


def _uniform() -> np.ndarray:
    return np.random.default_rng(9).uniform(-1, 1, SHAPES["W3"]).astype(np.float32)


# --------------------------------------------------------------- judging


def problems_of(variants: Variants) -> tuple[Finding, ...]:
    models = {name: load_model(model) for name, model in variants.items()}
    return find_problems(compare_variants(models))


def is_found(fault: Fault, findings: tuple[Finding, ...]) -> bool:
    return any((f.rule, f.layer_name) == (fault.rule, fault.layer) for f in findings)


def false_alarms(fault: Fault, findings: tuple[Finding, ...]) -> list[Finding]:
    """Return the errors and warnings that neither are the fault nor follow from it."""
    return [
        finding
        for finding in findings
        if finding.severity != "note"
        and (finding.rule, finding.layer_name) != (fault.rule, fault.layer)
        and not (finding.rule in fault.companions and finding.layer_name == fault.layer)
    ]
