"""Faults planted in activations and structure: what a file proves without data.

Small graphs written by hand, in the QDQ and in the QOperator form. Importing this module lists them
beside the faults of `planted_faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from models_for_tests import floats, make_model
from onnx import NodeProto, TensorProto, helper
from planted_faults import Variants, pair, plant, quantize

MICROSOFT = "com.microsoft"
U8, I8, U16 = np.uint8, np.int8, np.uint16
LOWEST = U8(0)


class Graph:
    """Collects nodes and constants; each method returns the name of what it adds."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        self.inputs: dict[str, tuple[int, ...]] = inputs or {"x": (2, 6)}
        self.nodes: list[NodeProto] = []
        self.arrays: dict[str, Any] = {}
        self.input_types: dict[str, int] = {}

    def constant(self, name: str, array: Any) -> str:
        self.arrays[name] = np.asarray(array)
        return name

    def add(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name, **attributes))
        return name

    def scale(self, name: str, step: float, zero: Any) -> list[str]:
        return [
            self.constant(f"{name}_scale", np.float32(step)),
            self.constant(f"{name}_zero", zero),
        ]

    def quantize(self, tensor: str, step: float, zero: Any = LOWEST, name: str = "") -> str:
        name = name or f"{tensor}_quantized"
        return self.add("QuantizeLinear", [tensor, *self.scale(name, step, zero)], name)

    def dequantize(self, tensor: str, step: float, zero: Any = LOWEST) -> str:
        name = f"{tensor}_read"
        return self.add("DequantizeLinear", [tensor, *self.scale(name, step, zero)], name)

    def both(self, tensor: str, step: float, zero: Any = LOWEST) -> str:
        return self.dequantize(self.quantize(tensor, step, zero), step, zero)

    def codes(self, name: str, array: np.ndarray, step: float, code_type: Any = I8) -> str:
        """Return the values of a constant that is stored as codes alone."""
        codes = np.rint(array / np.float32(step)).astype(code_type)
        return self.dequantize(self.constant(name, codes), step, code_type(0))

    def weight(self, name: str, array: np.ndarray, axis: int) -> str:
        codes, scale = quantize(array, axis)
        held = [self.constant(f"{name}_codes", codes), self.constant(f"{name}_scales", scale)]
        return self.add("DequantizeLinear", held, f"{name}_values", axis=axis)

    def model(self, output: str, **options: Any) -> onnx.ModelProto:
        domains = {node.domain for node in self.nodes} - {""}
        return make_model(
            self.nodes,
            self.arrays,
            inputs=self.inputs,
            input_types=self.input_types,
            outputs=[output],
            domains=sorted(domains),
            **options,
        )


def alone(graph: Graph, output: str) -> Variants:
    return {"variant": graph.model(output)}


# --------------------------------------------------------------- a range that is swallowed


@plant("swallowed-range", "concat", "error")
def scores_beside_boxes() -> Variants:
    """scores of a Sigmoid stand beside boxes, in steps of 2.5."""
    graph = Graph(boxes=(2, 4), logits=(2, 6))
    score = graph.add("Sigmoid", ["logits"], "sigmoid")
    joined = graph.add("Concat", ["boxes", score], "concat", axis=1)
    return alone(graph, graph.both(joined, 2.5))


@plant("swallowed-range", "concat", "error")
def scores_moved() -> Variants:
    """the same through Transpose, Reshape and Slice, the scores those of a Softmax."""
    graph = Graph(boxes=(2, 4), logits=(6, 2))
    score = graph.add("Softmax", ["logits"], "softmax")
    moved = graph.add("Transpose", [score], "transpose", perm=[1, 0])
    joined = graph.add("Concat", ["boxes", moved], "concat", axis=1)
    shape = graph.constant("shape", np.array([1, -1]))
    return alone(graph, graph.both(graph.add("Reshape", [joined, shape], "reshape"), 2.5))


@plant("swallowed-range", "concat", "error")
def scores_in_a_qlinear_concat() -> Variants:
    """a QLinearConcat gives scores and boxes one scale."""
    graph = Graph(boxes=(2, 4), logits=(2, 6))
    score = graph.quantize(graph.add("Sigmoid", ["logits"], "sigmoid"), 1 / 255)
    boxes = graph.quantize("boxes", 2.5)
    operands = [
        *graph.scale("out", 2.5, U8(0)),
        *(boxes, *graph.scale("a", 2.5, U8(0))),
        *(score, *graph.scale("b", 1 / 255, U8(0))),
    ]
    joined = graph.add("QLinearConcat", operands, "concat", axis=1, domain=MICROSOFT)
    return alone(graph, graph.dequantize(joined, 2.5))


@plant("swallowed-range", "where", "error")
def scores_chosen() -> Variants:
    """a Where takes a Tanh or a box."""
    graph = Graph(boxes=(2, 6), x=(2, 6))
    zero = graph.constant("zero", np.float32(0))
    wide = graph.add("Greater", ["boxes", zero], "greater")
    chosen = graph.add("Where", [wide, "boxes", graph.add("Tanh", ["x"], "tanh")], "where")
    return alone(graph, graph.both(chosen, 3.0, U8(128)))


@plant("swallowed-range", "concat", "warning")
def clipped_beside_boxes() -> Variants:
    """what a Clip keeps within 0 to 6 has twelve codes."""
    graph = Graph(boxes=(2, 4), x=(2, 6))
    ends = [graph.constant("low", np.float32(0)), graph.constant("high", np.float32(6))]
    clipped = graph.add("Clip", ["x", *ends], "clip")
    joined = graph.add("Concat", ["boxes", clipped], "concat", axis=1)
    return alone(graph, graph.both(joined, 0.5))


@plant("swallowed-range", "add", "error")
def scores_below_a_mask() -> Variants:
    """what its own quantizer bounds to 10 is added to a mask of -10,000."""
    graph = Graph(scores=(2, 6), mask=(2, 6))
    scores = graph.both("scores", 20 / 255, U8(128))
    added = graph.add("Add", [scores, "mask"], "add")
    return alone(graph, graph.add("Softmax", [graph.both(added, 10020 / 255, U8(255))], "softmax"))


@plant("swallowed-range", "add", "error")
def scores_below_a_mask_in_integers() -> Variants:
    """the same in a QLinearAdd."""
    graph = Graph(scores=(2, 6), mask=(2, 6))
    step, coarse = 20 / 255, 10020 / 255
    operands = [
        *(graph.quantize("scores", step, U8(128)), *graph.scale("a", step, U8(128))),
        *(graph.quantize("mask", coarse, U8(255)), *graph.scale("b", coarse, U8(255))),
        *graph.scale("out", coarse, U8(255)),
    ]
    added = graph.add("QLinearAdd", operands, "add", domain=MICROSOFT)
    return alone(graph, graph.dequantize(added, coarse, U8(255)))


@plant("swallowed-range", "mul", "warning")
def coarse_product() -> Variants:
    """the product of a Sigmoid and a Tanh has eight codes."""
    graph = Graph(a=(2, 6), b=(2, 6))
    factors = [graph.add("Sigmoid", ["a"], "sigmoid"), graph.add("Tanh", ["b"], "tanh")]
    return alone(graph, graph.both(graph.add("Mul", factors, "mul"), 0.25, I8(0)))


@plant("swallowed-range", "concat", "error")
def scores_quantized_again() -> Variants:
    """a Concat in uint16 keeps the scores, the uint8 behind it does not."""
    graph = Graph(boxes=(2, 4), logits=(2, 6))
    score = graph.add("Sigmoid", ["logits"], "sigmoid")
    joined = graph.add("Concat", ["boxes", score], "concat", axis=1)
    fine = graph.both(joined, 0.01, U16(0))
    return alone(graph, graph.both(graph.add("Flatten", [fine], "flatten"), 2.5))


# --------------------------------------------------------------- a scale that no number needs


@plant("impossible-scale", "", "error")
def mask_as_data() -> Variants:
    """a mask of the lowest float32 and the scores it is added to have a scale of 1e36."""
    graph = Graph(scores=(2, 6), keep=(2, 6))
    lowest = np.float32(np.finfo(np.float32).min)
    step = float(-lowest / 255)
    held = graph.codes("mask", np.zeros(1, np.float32), step, U8)
    mask = graph.add("Mul", ["keep", held], "mul")
    read = graph.both(mask, step, U8(255))
    return alone(graph, graph.both(graph.add("Add", ["scores", read], "add"), step, U8(255)))


@plant("impossible-scale", "add", "error")
def activation_of_millions() -> Variants:
    """an activation has a scale of ten million."""
    graph = Graph()
    added = graph.add("Add", ["x", graph.constant("c", floats(6))], "add")
    return alone(graph, graph.both(added, 1e7, U8(128)))


@plant("impossible-scale", "mul", "error")
def codes_beyond_float16() -> Variants:
    """codes of a constant are beyond float16."""
    graph = Graph()
    graph.input_types["x"] = TensorProto.FLOAT16
    held = graph.constant("codes", np.array([1, 2, 3, 4, 5, 120], np.int8))
    scale = [graph.constant("s", np.float16(1000)), graph.constant("z", I8(0))]
    read = graph.add("DequantizeLinear", [held, *scale], "factor")
    return alone(graph, graph.add("Mul", ["x", read], "mul"))


@plant("impossible-scale", "mul", "error")
def mask_that_reads_infinite() -> Variants:
    """the lowest float32 is stored in uint16 so that it reads -inf."""
    graph = Graph(keep=(2, 6))
    step = np.float32(np.float64(np.finfo(np.float32).max) / 65535 * (1 + 1e-7))
    held = graph.constant("mask", np.zeros(1, np.uint16))
    read = graph.dequantize(held, float(step), U16(65535))
    return alone(graph, graph.add("Mul", ["keep", read], "mul"))


# --------------------------------------------------------------- Q and DQ that differ


@plant("quantizer-mismatch", "relu", "error")
def other_scale() -> Variants:
    """codes are read by a scale a tenth larger."""
    graph = Graph()
    read = graph.dequantize(graph.quantize("x", 0.02, I8(0)), 0.022, I8(0))
    return alone(graph, graph.add("Relu", [read], "relu"))


@plant("quantizer-mismatch", "relu", "error")
def other_zero_point() -> Variants:
    """codes are read by another zero-point, behind a Reshape and a MaxPool."""
    graph = Graph(x=(1, 2, 4, 4))
    pooled = graph.add("MaxPool", [graph.quantize("x", 0.02, U8(128))], "pool", kernel_shape=[2, 2])
    shape = graph.constant("shape", np.array([1, -1]))
    flat = graph.add("Reshape", [pooled, shape], "reshape")
    return alone(graph, graph.add("Relu", [graph.dequantize(flat, 0.02, U8(0))], "relu"))


@plant("quantizer-mismatch", "add", "error")
def other_scale_between_integer_operators() -> Variants:
    """a QLinearAdd reads what a QLinearSigmoid writes by another scale."""
    graph = Graph()
    operands = [graph.quantize("x", 0.05, U8(128)), *graph.scale("a", 0.05, U8(128))]
    operands += graph.scale("b", 1 / 255, U8(0))
    score = graph.add("QLinearSigmoid", operands, "sigmoid", domain=MICROSOFT)
    read = [score, *graph.scale("c", 1 / 127, U8(0))]
    added = graph.add(
        "QLinearAdd", [*read, *read, *graph.scale("d", 2 / 127, U8(0))], "add", domain=MICROSOFT
    )
    return alone(graph, graph.dequantize(added, 2 / 127))


@plant("quantizer-mismatch", "relu", "error")
def codes_of_two_scales_joined() -> Variants:
    """codes of two scales are joined, and read by the one."""
    graph = Graph(a=(2, 4), b=(2, 6))
    codes = [graph.quantize("a", 0.02, I8(0)), graph.quantize("b", 0.03, I8(0))]
    joined = graph.add("Concat", codes, "concat", axis=1)
    return alone(graph, graph.add("Relu", [graph.dequantize(joined, 0.02, I8(0))], "relu"))


# --------------------------------------------------------------- a constant that is lost


def normalized(quantized: str, step: float, ending: str = "Div") -> Graph:
    """Return a normalization spelled out, with one quantizer: behind its Add or its Sqrt."""
    graph = Graph()
    variance = graph.add("ReduceMean", [graph.add("Mul", ["x", "x"], "square")], "mean", keepdims=1)
    found = graph.add("Add", [variance, graph.constant("epsilon", np.float32(1e-5))], "add")
    found = graph.both(found, step) if quantized == "add" else found
    if ending == "Pow":
        factor = graph.add("Pow", [found, graph.constant("p", np.float32(-0.5))], "power")
        graph.add("Mul", ["x", factor], "normal")
        return graph
    found = graph.add("Sqrt", [found], "root")
    found = graph.both(found, step) if quantized == "root" else found
    if ending == "Reciprocal":
        graph.add("Mul", ["x", graph.add("Reciprocal", [found], "inverse")], "normal")
    else:
        graph.add("Div", ["x", found], "normal")
    return graph


@plant("lost-constant", "add", "warning")
def epsilon_in_the_variance() -> Variants:
    """an epsilon of 1e-5 is added in steps of 0.01."""
    return alone(normalized("add", 0.01), "normal")


@plant("lost-constant", "add", "warning")
def epsilon_behind_the_root() -> Variants:
    """the root of it is quantized in steps of 0.08, and then divided by."""
    return alone(normalized("root", 0.08), "normal")


@plant("lost-constant", "add", "warning")
def epsilon_before_a_reciprocal() -> Variants:
    """the same before a Reciprocal."""
    return alone(normalized("root", 0.08, "Reciprocal"), "normal")


@plant("lost-constant", "add", "warning")
def epsilon_before_a_negative_power() -> Variants:
    """the same before a Pow of -0.5."""
    return alone(normalized("add", 0.01, "Pow"), "normal")


@plant("lost-constant", "clip", "warning")
def floor_of_a_logarithm() -> Variants:
    """a Clip keeps a logarithm from zero by 1e-6, its result has steps of 1/255."""
    graph = Graph()
    ends = [graph.constant("low", np.float32(1e-6)), graph.constant("high", np.float32(1))]
    clipped = graph.both(graph.add("Clip", ["x", *ends], "clip"), 1 / 255)
    return alone(graph, graph.add("Log", [clipped], "log"))


@plant("lost-constant", "mul", "error")
def factor_quantized_to_zero() -> Variants:
    """a factor of 1e-3 is quantized in steps of 0.1."""
    graph = Graph()
    held = graph.both(graph.constant("factor", np.full(6, 1e-3, np.float32)), 0.1, I8(0))
    return alone(graph, graph.add("Mul", ["x", held], "mul"))


@plant(
    "lost-constant",
    "mul",
    "error",
    values_differ="a factor of zeros points nowhere, as another layer's would",
)
def factor_stored_as_zero() -> Variants:
    """the codes of a factor are zero, the float factor is not."""
    exact, graph = Graph(), Graph()
    exact.add("Mul", ["x", exact.constant("factor", np.full(6, 1e-3, np.float32))], "mul")
    held = graph.codes("factor_codes", np.zeros(6, np.float32), 0.1)
    graph.add("Mul", ["x", held], "mul")
    return pair(graph.model("mul"), exact.model("mul"))


# --------------------------------------------------------------- another network


def two_convolutions(between: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> onnx.ModelProto:
    """Return Conv, the operators between, Conv, in float."""
    graph = Graph(x=(1, 3, 9, 9))
    found = graph.add("Conv", ["x", graph.constant("w1", floats(5, 3, 3, 3))], "conv1")
    for op_type, given in between:
        held = [graph.constant(f"{op_type}_{k}", v) for k, v in given.items()]
        found = graph.add(op_type, [found, *held], op_type.lower())
    graph.add("Conv", [found, graph.constant("w2", floats(7, 5, 2, 2, seed=4))], "conv2")
    return graph.model("conv2")


def two_quantized(
    step: float, zero: Any, between: Callable[[Graph, str], str] | None = None
) -> onnx.ModelProto:
    """Return the same in QDQ form, with what ``between`` adds behind the first Conv."""
    graph = Graph(x=(1, 3, 9, 9))
    read = graph.both("x", 0.03, I8(0))
    found = graph.add("Conv", [read, graph.weight("w1", floats(5, 3, 3, 3), 0)], "conv1")
    if between is not None:
        found = between(graph, found)
    read = graph.both(found, step, zero)
    graph.add("Conv", [read, graph.weight("w2", floats(7, 5, 2, 2, seed=4), 0)], "conv2")
    return graph.model("conv2")


@plant("changed-network", "relu", "error")
def relu_left_out() -> Variants:
    """a Relu is left out, and the zero-point in its place is in the middle."""
    return pair(two_quantized(0.1, I8(0)), two_convolutions([("Relu", {})]))


@plant("changed-network", "clip", "error")
def clip_left_out() -> Variants:
    """a Clip to 6 is left out, and the quantization in its place reaches 25."""
    clip = [("Clip", {"low": np.float32(0), "high": np.float32(6)})]
    return pair(two_quantized(0.1, U8(0)), two_convolutions(clip))


@plant("changed-network", "leakyrelu", "error")
def leaky_relu_left_out() -> Variants:
    """a LeakyRelu is left out: no quantization does the same."""
    return pair(two_quantized(0.1, U8(0)), two_convolutions([("LeakyRelu", {})]))


@plant("changed-network", "relu", "error")
def relu_left_out_of_integers() -> Variants:
    """a QLinearConv takes the place of Conv and Relu, with a zero-point in the middle."""
    graph = Graph(x=(1, 3, 9, 9))
    (w1, s1), (w2, s2) = (
        quantize(floats(*s, seed=k), 0) for s, k in (((5, 3, 3, 3), 0), ((7, 5, 2, 2), 4))
    )
    found, before = graph.quantize("x", 0.03, I8(0)), (0.03, I8(0))
    for name, codes, scale, after in (("conv1", w1, s1, 0.1), ("conv2", w2, s2, 0.2)):
        weight = [graph.constant(f"{name}_w", codes), graph.constant(f"{name}_s", scale)]
        zeros = graph.constant(f"{name}_z", np.zeros(len(scale), np.int8))
        operands = [found, *graph.scale(f"{name}_x", *before), *weight, zeros]
        operands += graph.scale(f"{name}_y", after, I8(0))
        found, before = graph.add("QLinearConv", operands, name), (after, I8(0))
    variant = graph.model(graph.dequantize(found, 0.2, I8(0)))
    return pair(variant, two_convolutions([("Relu", {})]))


@plant("changed-network", "relu", "warning")
def relu_put_in() -> Variants:
    """a Relu is put in."""
    relu = lambda graph, found: graph.add("Relu", [found], "relu")  # noqa: E731
    return pair(two_quantized(0.1, U8(0), relu), two_convolutions())


@plant("changed-network", "mul", "note")
def factor_put_in() -> Variants:
    """a factor for each channel is put in."""

    def between(graph: Graph, found: str) -> str:
        factor = graph.constant("factor", 1 + np.abs(floats(1, 5, 1, 1)))
        return graph.add("Mul", [found, factor], "mul")

    return pair(two_quantized(0.1, I8(0), between), two_convolutions())


# --------------------------------------------------------------- small parameters


def with_outlier(size: int, typical: float, outlier: float, seed: int = 0) -> np.ndarray:
    values = np.float32(typical) * (1 + 0.5 * np.random.default_rng(seed).random(size))
    values[size // 2] = outlier
    return values.astype(np.float32)


def layer_norm(gamma: np.ndarray, beta: np.ndarray) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return LayerNormalization and MatMul in float, and with int8 parameters."""
    exact, graph, weight = Graph(x=(3, 24)), Graph(x=(3, 24)), floats(24, 10)
    given = [exact.constant("gamma", gamma), exact.constant("beta", beta)]
    found = exact.add("LayerNormalization", ["x", *given], "norm")
    exact.add("MatMul", [found, exact.constant("w", weight)], "fc")
    stored = [
        graph.codes(name, array, float(np.abs(array).max() / 127))
        for name, array in (("gamma_codes", gamma), ("beta_codes", beta))
    ]
    found = graph.both(graph.add("LayerNormalization", ["x", *stored], "norm"), 0.1, I8(0))
    graph.add("MatMul", [found, graph.weight("w", weight, 1)], "fc")
    return exact.model("fc"), graph.model("fc")


@plant("coarse-parameter", "norm", "error")
def outlier_in_a_scale() -> Variants:
    """one factor of a LayerNormalization is a hundred times the others."""
    exact, variant = layer_norm(with_outlier(24, 0.3, 30), floats(24))
    return pair(variant, exact)


@plant("coarse-parameter", "norm", "error")
def outlier_in_a_scale_alone() -> Variants:
    """the same without the float original."""
    return {"variant": outlier_in_a_scale()["variant"]}


@plant("coarse-parameter", "norm", "error")
def outlier_in_a_shift() -> Variants:
    """one shift of a LayerNormalization is three hundred times the others."""
    exact, variant = layer_norm(1 + 0.1 * floats(24), with_outlier(24, 0.04, 12))
    return pair(variant, exact)


@plant("coarse-parameter", "norm", "error")
def outlier_in_a_batch_norm() -> Variants:
    """one factor of a BatchNormalization is a hundred times the others."""
    graph = Graph(x=(1, 24, 4, 4))
    factor = graph.codes("factor", with_outlier(24, 0.3, 30), 30 / 127)
    rest = [
        graph.constant(n, a)
        for n, a in (("b", floats(24)), ("m", floats(24)), ("v", np.abs(floats(24)) + 1))
    ]
    return alone(graph, graph.add("BatchNormalization", ["x", factor, *rest], "norm"))


@plant("coarse-parameter", "prelu", "error")
def outlier_in_a_slope() -> Variants:
    """one slope of a PRelu is a hundred times the others."""
    graph = Graph(x=(1, 24, 4, 4))
    slope = graph.codes("slope", with_outlier(24, 0.02, 2).reshape(24, 1, 1), 2 / 127)
    return alone(graph, graph.add("PRelu", ["x", slope], "prelu"))


@plant("coarse-parameter", "conv", "error")
def outlier_in_a_bias() -> Variants:
    """a bias is int8 with a scale of its own, and one of its numbers is wide."""
    graph = Graph(x=(1, 3, 9, 9))
    bias = graph.codes("bias", with_outlier(24, 0.04, 12), 12 / 127)
    weight = graph.weight("w", floats(24, 3, 3, 3), 0)
    read = graph.both("x", 0.03, I8(0))
    return alone(graph, graph.add("Conv", [read, weight, bias], "conv"))


# --------------------------------------------------------------- what runs in float


@plant("runs-in-float", "matmul", "note")
def weights_alone() -> Variants:
    """weights are quantized, no activation is."""
    graph = Graph()
    return alone(graph, graph.add("MatMul", ["x", graph.weight("w", floats(6, 9), 1)], "matmul"))


@plant("runs-in-float", "attend", "note")
def attention_in_float() -> Variants:
    """a product of two activations is left in float in a static build."""
    graph = Graph()
    read = graph.both("x", 0.03, I8(0))
    keys = graph.add("MatMul", [read, graph.weight("w", floats(6, 6), 1)], "keys")
    turned = graph.add("Transpose", [keys], "turned", perm=[1, 0])
    return alone(graph, graph.add("MatMul", [keys, turned], "attend"))


@plant("runs-in-float", "second", "note")
def float_between_quantized() -> Variants:
    """a quantized weight meets a float activation in a static build."""
    graph = Graph()
    read = graph.both("x", 0.03, I8(0))
    first = graph.add("MatMul", [read, graph.weight("w", floats(6, 6), 1)], "first")
    weight = graph.weight("v", floats(6, 6, seed=3), 1)
    return alone(graph, graph.add("MatMul", [graph.add("Tanh", [first], "tanh"), weight], "second"))
