"""Graphs that onnxruntime loads and onnx_ir does not: opened, and read as onnxruntime does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import at_input, codes, floats, make_model, run_onnxruntime, same_bits
from onnx import TensorProto, TypeProto, helper, numpy_helper

from playground.utils.parameter_inspector import (
    ModelFileError,
    compare_variants,
    describe_finding,
    find_layer,
    find_problems,
    list_layers,
    load_model,
)

node = helper.make_node
FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
MAP = helper.make_map_type_proto(TensorProto.INT64, FLOAT)
TYPES = {
    "map": MAP,
    "sequence of maps": helper.make_sequence_type_proto(MAP),
    "sequence of tensors": helper.make_sequence_type_proto(FLOAT),
    "sequence of sequences": helper.make_sequence_type_proto(
        helper.make_sequence_type_proto(FLOAT)
    ),
    "optional map": helper.make_optional_type_proto(MAP),
    "optional sequence": helper.make_optional_type_proto(helper.make_sequence_type_proto(FLOAT)),
    "map of maps": helper.make_map_type_proto(TensorProto.STRING, MAP),
    "sequence of nothing": helper.make_sequence_type_proto(TypeProto()),
}


def classifier(kind: TypeProto, place: str) -> onnx.ModelProto:
    """A quantized product; ``kind`` is the type of something that is not its weight."""
    nodes = [
        node("DequantizeLinear", ["q", "s"], ["w"]),
        node("Gemm", ["x", "w"], ["p"], "fc"),
        node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    arrays = {"q": codes("int8", 4, 3), "s": np.float32(0.02)}
    if place == "attribute":
        nodes.append(node("Optional", [], ["o"], type=kind))
    if place == "branch":
        arrays["c"] = np.array(True)
        branches = [
            helper.make_graph(
                [node("Identity", ["z"], [name])], name, [], [helper.make_value_info(name, kind)]
            )
            for name in ("t", "e")
        ]
        nodes.append(node("If", ["c"], ["b"], then_branch=branches[0], else_branch=branches[1]))
    model = make_model(nodes, arrays, inputs={"x": (1, 4)}, outputs=["p"], opset=17)
    values = {"input": model.graph.input, "output": model.graph.output}
    values["value_info"] = model.graph.value_info
    if place in values:
        values[place].append(helper.make_value_info("z" if place != "input" else "m", kind))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return model


@pytest.mark.parametrize("place", ["input", "output", "value_info", "attribute", "branch"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_type_that_no_tensor_has_hides_no_weight(kind, place):
    weight = find_layer(load_model(classifier(TYPES[kind], place)), "fc").weight
    same_bits(weight.values, codes("int8", 4, 3).astype(np.float32) * np.float32(0.02))


def test_a_classifier_that_onnxruntime_runs_is_opened():
    model = classifier(TYPES["sequence of maps"], "output")
    ((first,),) = run_onnxruntime(model, {"x": np.ones((1, 4), np.float32)}, ["z"])
    assert sorted(first) == [0, 1, 2]
    assert [layer.op_type for layer in list_layers(load_model(model))] == ["Gemm", "ZipMap"]


def test_opening_a_model_leaves_its_types_as_they_were():
    model = classifier(MAP, "output")
    content = model.SerializeToString()
    load_model(model)
    assert model.SerializeToString() == content


def test_a_sparse_constant_is_read_dense():
    values = helper.make_tensor("", TensorProto.FLOAT, (3,), [1.5, -2.0, 4.0])
    places = helper.make_tensor("", TensorProto.INT64, (3,), [1, 4, 11])
    sparse = helper.make_sparse_tensor(values, places, (4, 3))
    nodes = [
        node("Constant", [], ["W"], sparse_value=sparse),
        node("MatMul", ["x", "W"], ["y"], "matmul"),
    ]
    model = make_model(nodes, {}, inputs={"x": (4, 4)})
    (product,) = run_onnxruntime(model, {"x": np.eye(4, dtype=np.float32)}, ["y"])
    same_bits(find_layer(load_model(model), "matmul").weight.values, product)


# --------------------------------------------------------------- a name defined twice


def repeated(initializers: int, constants: int, size: int, raw: bool) -> onnx.ModelProto:
    """A product of ``W``, which so many initializers and Constant nodes are called."""

    def tensor(seed: int) -> TensorProto:
        values = floats(size, 1, seed=seed)
        if raw:
            return numpy_helper.from_array(values, "W")
        return helper.make_tensor("W", TensorProto.FLOAT, values.shape, values.ravel())

    nodes = [node("Constant", [], ["W"], value=tensor(10 + i)) for i in range(constants)]
    nodes.append(node("MatMul", ["x", "W"], ["y"], "matmul"))
    held = [tensor(i) for i in range(initializers)]
    return make_model(nodes, held, inputs={"x": (2, size)})


@pytest.mark.parametrize("raw", [False, True], ids=["numbers", "bytes"])
@pytest.mark.parametrize("size", [31, 32], ids=["124 bytes", "128 bytes"])
@pytest.mark.parametrize(("initializers", "constants"), [(2, 0), (3, 0), (1, 1), (0, 2), (2, 2)])
def test_of_constants_of_one_name_the_one_that_onnxruntime_uses_is_read(
    initializers, constants, size, raw
):
    model = repeated(initializers, constants, size, raw)
    identity = np.eye(2, size, dtype=np.float32)
    (product,) = run_onnxruntime(model, {"x": identity}, ["y"])
    weight = find_layer(load_model(model), "matmul").weight
    same_bits(weight.values[:2], product)


def test_numbers_in_attributes_of_constants_are_counted_as_onnxruntime_counts_them():
    nodes = [node("Constant", [], ["W"], value_floats=[float(i)] * 40) for i in (1, 2, 3)]
    nodes.append(node("Add", ["x", "W"], ["y"], "add"))
    model = make_model(nodes, {}, inputs={"x": (40,)})
    weight = find_layer(load_model(model), "add").weight
    same_bits(weight.values, run_onnxruntime(model, {"x": np.zeros(40, np.float32)}, ["y"])[0])


def test_that_a_constant_is_given_twice_is_said():
    comparison = compare_variants({"FP32": load_model(repeated(1, 1, 40, raw=True))})
    (finding,) = [f for f in find_problems(comparison) if f.rule == "does-not-load"]
    assert finding.severity == "note"
    said = describe_finding(finding)
    assert "given more than once under one name" in said
    assert "W" in said


def in_branch(*nodes: onnx.NodeProto, held: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    def branch(name: str, *inner: onnx.NodeProto) -> onnx.GraphProto:
        made = [*inner, node("Identity", ["W"], [name])]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        return helper.make_graph(made, name, [], outputs, list(held) if inner else [])

    constant = node("Constant", [], ["W"], value=weight(9))
    either = node(
        "If", ["c"], ["i"], then_branch=branch("t", *nodes), else_branch=branch("e", constant)
    )
    return make_model(
        [either, node("Add", ["x", "i"], ["y"])], {"c": np.array(True)}, inputs={"x": (3,)}
    )


def weight(seed: int, *shape: int) -> TensorProto:
    return numpy_helper.from_array(floats(*(shape or (3,)), seed=seed), "W")


TWICE = {
    "a node and an initializer": make_model(
        [node("Relu", ["x"], ["W"]), node("Add", ["x", "W"], ["y"])], [weight(0)],
        inputs={"x": (3,)}),
    "a node and an input": make_model(
        [node("Relu", ["x"], ["W"]), node("Add", ["x", "W"], ["y"])],
        inputs={"x": (3,), "W": (3,)}),
    "two nodes": make_model(
        [node("Relu", ["x"], ["W"]), node("Neg", ["x"], ["W"]), node("Add", ["x", "W"], ["y"])],
        inputs={"x": (3,)}),
    "two outputs of one node": make_model(
        [node("Split", ["x"], ["W", "W"], num_outputs=2), node("Relu", ["W"], ["y"])],
        inputs={"x": (4,)}),
    "initializers of two shapes": make_model(
        [node("Add", ["x", "W"], ["y"])], [weight(0), weight(1, 1)], inputs={"x": (3,)}),
    "constants of a branch": in_branch(
        node("Constant", [], ["W"], value=weight(0)), node("Constant", [], ["W"], value=weight(1))),
    "a constant and an initializer of a branch": in_branch(
        node("Constant", [], ["W"], value=weight(0)), held=(weight(1),)),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWICE)
def test_a_name_that_onnxruntime_refuses_to_define_twice_is_refused_in_one_sentence(kind):
    model = TWICE[kind]
    with pytest.raises(Exception, match=r"\[ONNXRuntimeError\]"):
        at_input(model, "y")
    with pytest.raises(ModelFileError, match=r"'W' is defined twice, by an? .* and an? "):
        load_model(model)


def test_an_initializer_may_be_an_input_as_well():
    model = make_model(
        [node("Add", ["x", "W"], ["y"], "add")], [weight(0)], inputs={"x": (3,), "W": (3,)}
    )
    same_bits(find_layer(load_model(model), "add").weight.values, floats(3))
