"""No constant that could hold codes is passed over: each is read, said, or known to be no weight.

The search for such constants is another's: `constant_search` walks the protobuf and shares no code
with the playground.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import test_decoders
import test_tracing
from constant_search import find_constants, find_silent
from models_for_tests import (
    codes,
    convnet,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    scales,
)
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from spelled_out_cases import (
    BEFORE,
    BEHIND,
    INTEGERS,
    TABLES,
    UNSCALED,
    dynamic,
    not_one_quantization,
    product,
)

from playground.utils.parameter_inspector import (
    find_layer,
    list_constants,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.facts import ConstantRole, RefusalKind

node = helper.make_node
SHIPPED = sorted((Path(__file__).parents[1] / "models").rglob("*int8.onnx"))


def silent_in(model: onnx.ModelProto) -> list[str]:
    opened = load_model(model)
    return find_silent(model, list_layers(opened), list_constants(opened))


# --------------------------------------------------------------- 0 unaccounted


def every_form() -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    for kind, make in (*BEFORE.items(), *BEHIND.items(), *TABLES.items()):
        yield f"spelled out: {kind}", lambda make=make: make().model
    for kind, form in not_one_quantization().items():
        yield f"no one quantization: {kind}", lambda form=form: form.model
    for kind, behind in INTEGERS.items():
        yield f"integers: {kind}", partial(dynamic, behind)
    for kind, behind in UNSCALED.items():
        yield f"unscaled: {kind}", lambda behind=behind: product(behind=behind).model
    for kind, make in test_tracing.FORMS.items():
        yield f"traced: {kind}", lambda make=make: make().model
    for kind, make in (*test_decoders.FORMS.items(), *test_decoders.VARIATIONS.items()):
        yield f"decoded: {kind}", lambda make=make: make().model


FORMS = dict(every_form())


@pytest.mark.parametrize("kind", FORMS)
def test_no_form_of_storage_is_passed_over(kind):
    assert silent_in(FORMS[kind]()) == []


TOOLS: dict[str, Callable[[onnx.ModelProto, Path], onnx.ModelProto]] = {
    "QDQ": quantized_statically,
    "QDQ per channel": partial(quantized_statically, per_channel=True),
    "QDQ int16": partial(
        quantized_statically, weight_type=QuantType.QInt16, activation_type=QuantType.QUInt16
    ),
    "QDQ int4": partial(quantized_statically, weight_type=QuantType.QInt4),
    "QOperator": partial(quantized_statically, quant_format=QuantFormat.QOperator),
    "dynamic": quantized_dynamically,
    "dynamic per channel": partial(quantized_dynamically, per_channel=True),
}


@pytest.mark.parametrize("make", [convnet, mlp])
@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_that_a_quantizer_writes_is_passed_over(make, tool, tmp_path):
    model = TOOLS[tool](make(), tmp_path)
    assert find_constants(model)
    assert silent_in(model) == []


@pytest.mark.parametrize("bits", [4, 8])
def test_nothing_that_the_blocks_quantizer_writes_is_passed_over(bits):
    quantizer = MatMulNBitsQuantizer(mlp(), block_size=16, bits=bits)
    quantizer.process()
    assert find_constants(quantizer.model.model)
    assert silent_in(quantizer.model.model) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_nothing_in_the_models_that_ship_is_passed_over(path):
    model = onnx.load(path)
    assert find_constants(model)
    assert silent_in(model) == []


# --------------------------------------------------------------- the search itself


def test_the_search_finds_the_codes_of_a_plain_model():
    found = find_constants(int8_conv())
    assert [(one.name, one.reaches) for one in found] == [("q", ["Conv"])]


def test_the_search_reports_a_weight_that_is_not_listed():
    opened = load_model(int8_conv())
    assert find_silent(int8_conv(), list_layers(opened), ()) == ["q (5, 3, 2, 4): is not listed"]


def test_the_search_reports_codes_that_are_read_as_a_float_weight():
    opened = load_model(int8_conv())
    layers = [
        replace(layer, parameters=tuple(replace(p, quantization=None) for p in layer.parameters))
        for layer in list_layers(opened)
    ]
    (said,) = find_silent(int8_conv(), layers, list_constants(opened))
    assert "part of a float weight" in said


@pytest.mark.parametrize("role", [ConstantRole.INDEX, ConstantRole.UNREAD, ConstantRole.NUMBERS])
def test_the_search_reports_a_weight_that_is_said_to_be_something_else(role):
    opened = load_model(int8_conv())
    listed = [replace(one, role=role) for one in list_constants(opened)]
    assert find_silent(int8_conv(), list_layers(opened), listed)


# --------------------------------------------------------------- what is no weight, by kind


def whole(*dims: int, most: int = 5, dtype: type = np.int64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, dims).astype(dtype)


def reads(op_type: str, *inputs: str, **attributes) -> onnx.NodeProto:
    return node(op_type, list(inputs), ["y"], "layer", **attributes)


RoleOf = tuple[Sequence[onnx.NodeProto], dict[str, np.ndarray], ConstantRole]
NO_WEIGHTS: dict[str, RoleOf] = {
    "indices": ([reads("Gather", "x", "k")], {"k": whole(20)}, ConstantRole.INDEX),
    "int32 indices": (
        [reads("Gather", "x", "k")], {"k": whole(20, dtype=np.int32)}, ConstantRole.INDEX,
    ),
    "indices that are computed with": (
        [node("Shape", ["x"], ["n"], end=1), node("Mod", ["k", "n"], ["i"]),
         reads("Gather", "x", "i")],
        {"k": whole(20)}, ConstantRole.INDEX,
    ),
    "indices behind a Cast": (
        [node("Cast", ["k"], ["i"], to=TensorProto.INT64), reads("Gather", "x", "i")],
        {"k": whole(20, dtype=np.uint8)}, ConstantRole.INDEX,
    ),
    "indices of ScatterND": (
        [reads("ScatterND", "x", "k", "u")], {"k": whole(20, 1), "u": floats(20, 24)},
        ConstantRole.INDEX,
    ),
    "an index table": (
        [node("Cast", ["x"], ["f"], to=TensorProto.INT64), node("Gather", ["k", "f"], ["i"]),
         reads("Gather", "x", "i")],
        {"k": whole(30)}, ConstantRole.INDEX,
    ),
    "the shape of a Reshape": (
        [reads("Reshape", "x", "k")],
        {"k": np.array([24, *(1,) * 17, -1])}, ConstantRole.SHAPE,
    ),
    "pads": ([node("Unsqueeze", ["x", "a"], ["u"]), reads("Pad", "u", "k")],
             {"a": np.arange(7), "k": whole(18)}, ConstantRole.SHAPE),
    "a condition": (
        [node("Cast", ["k"], ["c"], to=TensorProto.BOOL), reads("Where", "c", "x", "v")],
        {"k": whole(5, 24, most=2, dtype=np.uint8), "v": np.float32(0)}, ConstantRole.MASK,
    ),
    "numbers that are compared": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Less", ["i", "k"], ["c"]),
         reads("Where", "c", "x", "v")],
        {"k": whole(5, 24), "v": np.float32(0)}, ConstantRole.MASK,
    ),
    "positions that are computed with": (
        [node("Cast", ["k"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "v"], ["p"]),
         reads("Add", "x", "p")],
        {"k": np.arange(24), "v": np.float32(0.1)}, ConstantRole.PARAMETER,
    ),
    "a constant that nobody reads": ([reads("Relu", "x")], {"k": whole(20)}, ConstantRole.UNREAD),
    "zero-points of activations": (
        [node("QuantizeLinear", ["x", "s", "k"], ["q"], axis=1),
         node("DequantizeLinear", ["q", "s", "k"], ["d"], axis=1), reads("Relu", "d")],
        {"s": scales(24), "k": whole(24, dtype=np.uint8)}, ConstantRole.QUANTIZATION,
    ),
}  # fmt: skip


def no_weight(kind: str) -> onnx.ModelProto:
    nodes, arrays, _ = NO_WEIGHTS[kind]
    return make_model(nodes, arrays, inputs={"x": (5, 24)})


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_a_constant_that_is_no_weight_is_listed_by_its_kind(kind):
    listed = {one.name: one.role for one in list_constants(load_model(no_weight(kind)))}
    assert listed["k"] is NO_WEIGHTS[kind][2]


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_a_constant_that_is_no_weight_is_not_quantized_and_nothing_is_said(kind):
    for layer in list_layers(load_model(no_weight(kind))):
        assert not any(parameter.is_quantized for parameter in layer.parameters)
        assert not layer.not_understood


def test_a_pruning_mask_makes_no_codes_of_a_float_weight():
    arrays = {"W": floats(24, 5), "k": whole(24, 5, most=2, dtype=np.uint8)}
    nodes = [node("Cast", ["k"], ["m"], to=TensorProto.FLOAT), node("Mul", ["m", "W"], ["w"]),
             reads("MatMul", "x", "w")]  # fmt: skip
    layer = find_layer(load_model(make_model(nodes, arrays, inputs={"x": (5, 24)})), "layer")
    assert layer.weight.name == "W"
    assert not layer.not_understood
    assert not layer.is_quantized


# --------------------------------------------------------------- what is not understood


def unread(*nodes: onnx.NodeProto, **arrays: np.ndarray) -> onnx.ModelProto:
    return make_model(list(nodes), {"q": codes("int8", 24, 5)} | arrays, inputs={"x": (5, 24)})


UP = node("Cast", ["q"], ["c"], to=TensorProto.FLOAT)
NOT_UNDERSTOOD: dict[str, Callable[[], onnx.ModelProto]] = {
    "scaled by the input": lambda: unread(
        UP, node("ReduceMax", ["x"], ["a"], keepdims=0), node("Mul", ["c", "a"], ["w"]),
        reads("MatMul", "x", "w"),
    ),
    "in a shape that is computed": lambda: unread(
        node("Shape", ["x"], ["n"], start=1), node("Concat", ["n", "five"], ["to"], axis=0),
        dequantize_node(("q", "s"), "d", axis=1), node("Reshape", ["d", "to"], ["w"]),
        reads("MatMul", "x", "w"), s=scales(5), five=np.array([5]),
    ),
    "an operand that is only cast": lambda: unread(
        UP, node("Transpose", ["x"], ["t"]), reads("Mul", "t", "c"),
    ),
    "a table that no scale follows": lambda: unread(
        node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Gather", ["q", "i"], ["g"]),
        node("Cast", ["g"], ["y"], to=TensorProto.FLOAT),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_UNDERSTOOD)
def test_codes_that_are_used_in_a_way_that_is_not_known_are_said_where_they_are_used(kind):
    opened = load_model(NOT_UNDERSTOOD[kind]())
    said = [refusal for layer in list_layers(opened) for refusal in layer.not_understood]
    assert {(one.kind, one.name) for one in said} == {(RefusalKind.CODES_UNREAD, "q")}
    roles = {one.role for one in list_constants(opened) if one.name == "q"}
    assert roles == {ConstantRole.NOT_UNDERSTOOD}
