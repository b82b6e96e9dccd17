"""Quantizing again, as the sentence of a finding says, ends it and gives back what was lost.

Each fault is made as people make it: by an option of onnxruntime's quantizer, or by an edit of what
it wrote. Each cure is an option of onnxruntime's quantizer, or the command that is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType
from remedies import Method, Network, create_model, create_normal, output_db, quantize

from playground.utils.parameter_inspector import (
    compare_variants,
    load_model,
    plan_model,
    save_moves,
)
from playground.utils.parameter_inspector.judging.findings import Finding
from playground.utils.parameter_inspector.judging.rules import find_problems

# Less is the luck of a few samples.
CLEARLY_DB = 2.0
SYMMETRIC = {"ActivationSymmetric": True}
INT8_ACTIVATIONS = {"activation_type": QuantType.QInt8}
SIXTEEN = {"activation_type": QuantType.QUInt16, "weight_type": QuantType.QInt16}
Write = Callable[[Network, Path], Path]


# ------------------------------------------------- networks


def two_convolutions(path: Path, bias: float = 0.1, scale: float = 1.0) -> Network:
    """Return Conv, Relu, Conv, both with a bias: ``conv1`` and ``conv2``."""
    make = helper.make_node
    rng = np.random.default_rng(5)
    constants = {
        "w1": create_normal(8, 4, 3, 3) * np.float32(scale),
        "b1": bias * rng.normal(0, 1, 8).astype(np.float32),
        "w2": create_normal(6, 8, 3, 3),
        "b2": 0.1 * rng.normal(0, 1, 6).astype(np.float32),
    }
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["p"], name="conv1"),
        make("Relu", ["p"], ["q"], name="relu"),
        make("Conv", ["q", "w2", "b2"], ["y"], name="conv2"),
    ]
    return create_model(path, nodes, constants, (1, 4, 12, 12))


wide_bias = partial(two_convolutions, bias=3, scale=1e-2)


def square_convolution(path: Path) -> Network:
    """Return two convolutions; scales along either channel axis fit the first weight."""
    make = helper.make_node
    weight = create_normal(8, 8, 3, 3)
    weight *= (1 + np.arange(8, dtype=np.float32)).reshape(1, 8, 1, 1)
    nodes = [
        make("Conv", ["x", "w1"], ["p"], name="conv1"),
        make("Conv", ["p", "w2"], ["y"], name="conv2"),
    ]
    constants = {"w1": weight, "w2": create_normal(6, 8, 3, 3)}
    return create_model(path, nodes, constants, (1, 8, 9, 9))


def far_outliers(path: Path) -> Network:
    """Return a product whose weight has one number in each channel, 60 times as wide as the others.

    What meets these is seldom there, so that the many narrow ones have their say.
    """
    rng = np.random.default_rng(7)
    weight = rng.normal(0, 0.02, (512, 32)).astype(np.float32)
    weight[rng.integers(0, 512, 32), np.arange(32)] = 1.2
    node = helper.make_node("MatMul", ["x", "w1"], ["y"], name="conv1")
    return create_model(path, [node], {"w1": weight}, (8, 512))


def tied_embedding(path: Path) -> Network:
    """Return a table that a Gather reads and that a MatMul multiplies by."""
    make = helper.make_node
    nodes = [
        make("MatMul", ["x", "w1"], ["p"], name="product"),
        make("Gather", ["w1", "rows"], ["e"], name="lookup"),
        make("Add", ["p", "e"], ["y"], name="sum"),
    ]
    constants = {"w1": create_normal(16, 16), "rows": np.array([3, 1, 4, 1, 5])}
    return create_model(path, nodes, constants, (5, 16))


def product_of_activations(path: Path) -> Network:
    make = helper.make_node
    nodes = [
        make("Gemm", ["x", "w1"], ["p"], name="layer"),
        make("Softmax", ["p"], ["shares"], name="shares"),
        make("Tanh", ["p"], ["values"], name="values"),
        make("Transpose", ["values"], ["turned"], name="turn", perm=[1, 0]),
        make("MatMul", ["shares", "turned"], ["y"], name="product"),
    ]
    return create_model(path, nodes, {"w1": create_normal(32, 16)}, (6, 32))


# ------------------------------------------------- what makes and what ends a fault


def static(**options: Any) -> Write:
    """Return what writes a static QDQ build."""
    return lambda network, path: quantize(network, Method.STATIC_QDQ, path, **options)


def in_qoperator(**extra: bool) -> Write:
    return lambda network, path: quantize(
        network, Method.STATIC_QOPERATOR, path, extra_options=extra
    )


def edited(edit: Callable[[dict[str, np.ndarray]], None], **options: Any) -> Write:
    """Return what writes a static QDQ build whose constants were edited afterwards."""

    def write(network: Network, path: Path) -> Path:
        model = onnx.load(quantize(network, Method.STATIC_QDQ, path, **options))
        arrays = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
        edit(arrays)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
        onnx.save(model, path)
        return path

    return write


def double_bias_scale(arrays: dict[str, np.ndarray]) -> None:
    arrays["b1_quantized_scale"] *= 2


def clip_weights(arrays: dict[str, np.ndarray]) -> None:
    values = arrays["w1_quantized"].astype(np.float32)
    arrays["w1_scale"] /= 3
    arrays["w1_quantized"] = np.clip(values * 3, -127, 127).astype(np.int8)


def keep_four_bits(arrays: dict[str, np.ndarray]) -> None:
    codes = np.rint(arrays["w1_quantized"] / 16.0).clip(-7, 7)
    arrays["w1_quantized"] = (16 * codes).astype(np.int8)


def lose_codes(arrays: dict[str, np.ndarray]) -> None:
    arrays["w1_quantized"][:] = 0


def widen_scale(arrays: dict[str, np.ndarray]) -> None:
    arrays["w1_quantized"] = np.rint(arrays["w1_quantized"] / 40.0).astype(np.int8)
    arrays["w1_scale"] *= 40


def zero_scale(arrays: dict[str, np.ndarray]) -> None:
    arrays["w1_scale"] *= 0


def retype_zero_point(arrays: dict[str, np.ndarray]) -> None:
    arrays["w1_zero_point"] = np.asarray(0, np.uint8)


def write_zero_point(arrays: dict[str, np.ndarray]) -> None:
    arrays["w1_zero_point"] = np.asarray(0, arrays["w1_quantized"].dtype)


def leave_bias_no_room(arrays: dict[str, np.ndarray]) -> None:
    """Give the weights the scale of their own range, as onnxruntime did before 1.21."""
    values = arrays["w1_quantized"] * np.float64(arrays["w1_scale"])
    product = arrays["b1_quantized_scale"] / arrays["w1_scale"]
    bias = arrays["b1_quantized"] * np.float64(arrays["b1_quantized_scale"])
    arrays["w1_scale"] = np.asarray(np.abs(values).max() / 32767, np.float32)
    arrays["w1_quantized"] = np.rint(values / arrays["w1_scale"]).astype(np.int16)
    arrays["b1_quantized_scale"] = np.asarray(product * arrays["w1_scale"], np.float32)
    steps = np.rint(bias / arrays["b1_quantized_scale"])
    arrays["b1_quantized"] = steps.clip(-(2**31), 2**31 - 1).astype(np.int32)


def without_relu(network: Network, path: Path) -> Path:
    """Write a symmetric build without its Relu, as onnxruntime did before it kept it there."""
    options = {**INT8_ACTIVATIONS, "extra_options": SYMMETRIC}
    model = onnx.load(quantize(network, Method.STATIC_QDQ, path, **options))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    reader = next(node for node in model.graph.node if relu.output[0] in node.input)
    reader.input[0] = relu.input[0]
    model.graph.node.remove(relu)
    onnx.save(model, path)
    return path


def with_a_constant_left_over(network: Network, path: Path) -> Path:
    model = onnx.load(quantize(network, Method.STATIC_QDQ, path))
    left = np.zeros((100, 100), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(left, "left_over"))
    onnx.save(model, path)
    return path


def without_unused(network: Network, path: Path) -> Path:
    model = onnx_ir.load(with_a_constant_left_over(network, path))
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    onnx_ir.save(model, path)
    return path


def read_by_another_scale(network: Network, path: Path) -> Path:
    """Write a build in which what reads ``q`` has a scale of its own."""
    model = onnx.load(quantize(network, Method.STATIC_QDQ, path))
    reader = next(
        n
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0].startswith("q_")
    )
    held = next(t for t in model.graph.initializer if t.name == reader.input[1])
    other = numpy_helper.from_array(1.5 * numpy_helper.to_array(held), "another_scale")
    model.graph.initializer.append(other)
    reader.input[1] = "another_scale"
    onnx.save(model, path)
    return path


def scales_along_axis(axis: int, network: Network, path: Path) -> Path:
    """Write a per-channel build whose weight ``w1`` has its scales along an axis."""
    model = onnx.load(quantize(network, Method.STATIC_QDQ, path, per_channel=True))
    weight = next(
        numpy_helper.to_array(t)
        for t in onnx.load(network.path).graph.initializer
        if t.name == "w1"
    )
    others = tuple(i for i in range(4) if i != axis)
    scale = (np.abs(weight).max(axis=others) / 127).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(4)]
    codes = np.rint(weight / scale.reshape(shape)).clip(-127, 127).astype(np.int8)
    new = {"w1_quantized": codes, "w1_scale": scale}
    for tensor in model.graph.initializer:
        if tensor.name in new:
            tensor.CopyFrom(numpy_helper.from_array(new[tensor.name], tensor.name))
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == "w1_quantized":
            node.ClearField("attribute")
            node.attribute.append(helper.make_attribute("axis", axis))
    onnx.save(model, path)
    return path


def weights_only(network: Network, path: Path) -> Path:
    """Write a build whose first weight alone is stored as codes."""
    model = onnx.load(network.path)
    held = next(t for t in model.graph.initializer if t.name == "w1")
    weight = numpy_helper.to_array(held)
    scale = np.float32(np.abs(weight).max() / 127)
    held.CopyFrom(numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), "w1_codes"))
    model.graph.initializer.append(numpy_helper.from_array(scale, "w1_scale"))
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["w1_codes", "w1_scale"], ["w1"], name="read")
    )
    onnx.save(model, path)
    return path


def snapped(network: Network, path: Path) -> Path:
    """Write the float model with the values that codes would have, as a tool that forgets them."""
    model = onnx.load(network.path)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w"):
            weight = numpy_helper.to_array(tensor)
            step = np.float32(np.abs(weight).max() / 7)
            tensor.CopyFrom(numpy_helper.from_array(np.rint(weight / step) * step, tensor.name))
    onnx.save(model, path)
    return path


def requantized(write: Write, network: Network, path: Path) -> Path:
    """Write what `playground requantize` makes of a file, 30 dB in each channel."""
    ill = write(network, path.with_suffix(".ill.onnx"))
    models = {"FP32": load_model(network.path), "INT8": load_model(ill)}
    compared = compare_variants(models)
    plan = plan_model(compared, "INT8", 35.0)
    save_moves(compared, "INT8", plan.moves, path)
    return path


# ------------------------------------------------- the table


@dataclass(frozen=True)
class Case:
    """A fault, and what its sentence says to do.

    Attributes:
        gains_db: how much better the output is, at least; None where what is promised is not an
            output, but a file that computes otherwise.
        alone: the file is judged without its original.
    """

    rule: str
    cure_name: str
    network: Callable[[Path], Network]
    ill: Write
    cure: Write
    gains_db: float | None = CLEARLY_DB
    alone: bool = False


STATIC = static()
CASES = [
    Case("bias-scale", "again", two_convolutions, edited(double_bias_scale), STATIC),
    Case("axis-mismatch", "along the output channels", square_convolution,
         partial(scales_along_axis, 1), static(per_channel=True)),
    Case("clipping", "full range", two_convolutions, edited(clip_weights), STATIC),
    Case("saturation", "full range", two_convolutions, edited(clip_weights), STATIC, alone=True),
    Case("unused-codes", "from the float weight", two_convolutions, edited(keep_four_bits), STATIC,
         alone=True),
    Case("unused-codes", "requantize", far_outliers, static(per_channel=True),
         partial(requantized, static(per_channel=True))),
    Case("scale-too-wide", "from the float weight", two_convolutions, edited(widen_scale), STATIC),
    Case("bad-scale", "again", two_convolutions, edited(zero_scale), STATIC),
    Case("zero-point-range", "in the codes' type", two_convolutions, edited(retype_zero_point),
         edited(write_zero_point), None),
    Case("wasted-bytes", "remove what is unused", two_convolutions, with_a_constant_left_over,
         without_unused, None),
    Case("dead-weight", "from the float weight", two_convolutions, edited(lose_codes), STATIC),
    Case("quantizer-mismatch", "again", two_convolutions, read_by_another_scale, STATIC),
    Case("changed-network", "keep the operator", two_convolutions, without_relu,
         static(**INT8_ACTIVATIONS,
                extra_options={**SYMMETRIC, "QDQKeepRemovableActivations": True})),
    Case("changed-network", "no symmetric activations", two_convolutions, without_relu,
         static(**INT8_ACTIVATIONS)),
    Case("bias-overflow", "again", wide_bias, edited(leave_bias_no_room, **SIXTEEN),
         static(**SIXTEEN)),
    Case("bias-overflow", "int8 weights", wide_bias, edited(leave_bias_no_room, **SIXTEEN),
         static(activation_type=QuantType.QUInt16)),
    Case("bias-overflow", "left in float", wide_bias, edited(leave_bias_no_room, **SIXTEEN),
         static(**SIXTEEN, nodes_to_exclude=["conv1", "relu", "conv2"])),
    Case("tied-weight", "the other operator too", tied_embedding,
         static(op_types_to_quantize=["MatMul"]),
         static(op_types_to_quantize=["MatMul", "Gather"]), None),
    Case("tied-weight", "neither", tied_embedding, static(op_types_to_quantize=["MatMul"]),
         static(op_types_to_quantize=["MatMul"], nodes_to_exclude=["product"]), None),
    Case("grid-snapped", "with its quantizers", two_convolutions, snapped, STATIC, None,
         alone=True),
    Case("runs-in-float", "activations too", two_convolutions, weights_only, STATIC, None),
    Case("runs-in-float", "products too", product_of_activations,
         static(op_types_to_quantize=["Gemm"]), static(op_types_to_quantize=["Gemm", "MatMul"]),
         None),
    Case("runs-in-float", "products too, as QOperator", product_of_activations,
         in_qoperator(MatMulConstBOnly=True), in_qoperator(), None),
]  # fmt: skip
each_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.rule}: {case.cure_name}"
)


def findings_of(case: Case, network: Network, file: Path) -> list[Finding]:
    models = {} if case.alone else {"FP32": load_model(network.path)}
    found = find_problems(compare_variants({**models, "INT8": load_model(file)}))
    return [finding for finding in found if finding.rule == case.rule]


@each_case
def test_what_a_remedy_says_ends_the_finding(case, tmp_path):
    network = case.network(tmp_path / "float.onnx")
    assert findings_of(case, network, case.ill(network, tmp_path / "ill.onnx"))
    assert findings_of(case, network, case.cure(network, tmp_path / "cured.onnx")) == []


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.gains_db is not None],
    ids=lambda case: f"{case.rule}: {case.cure_name}",
)
def test_what_a_remedy_says_gives_the_output_back(case, tmp_path):
    network = case.network(tmp_path / "float.onnx")
    before = output_db(network, case.ill(network, tmp_path / "ill.onnx"))
    after = output_db(network, case.cure(network, tmp_path / "cured.onnx"))
    assert not before > after - case.gains_db  # NaN where nothing is left
