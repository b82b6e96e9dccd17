"""Layers without weights, paired by where they stand."""

import numpy as np
import onnx
from networks_to_run import conv_network, model, node, quantize
from onnx import helper
from onnxruntime.quantization import QuantFormat

from playground.utils.parameter_inspector import load_model, pair_layers
from playground.utils.parameter_inspector.pairing.structure import extend_by_structure
from playground.utils.parameter_inspector.reading.edges import Network


def scramble(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node and tensor another name, the inputs and outputs of the graph too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph, names = copy.graph, {}

    def new(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}") if name else ""

    for one in graph.node:
        one.name = f"n{len(names)}"
        one.input[:] = map(new, one.input)
        one.output[:] = map(new, one.output)
    for value in (*graph.initializer, *graph.input, *graph.output):
        value.name = new(value.name)
    del graph.value_info[:]
    return copy


def pairs(original: onnx.ModelProto, variant: onnx.ModelProto) -> dict[str, str]:
    ours, theirs = load_model(original), load_model(variant)
    found = extend_by_structure(ours, theirs, pair_layers(ours, theirs))
    return {pair.original: pair.variant for pair in found.pairs}


def operators(original: onnx.ModelProto, variant: onnx.ModelProto) -> dict[str, str]:
    """Return the operator of the variant by the original's node."""
    by_name = {one.name: one.op_type for one in variant.graph.node}
    return {name.removesuffix("_node"): by_name[v] for name, v in pairs(original, variant).items()}


def test_all_layers_are_paired_where_no_name_is_left(tmp_path):
    found = operators(conv_network(), scramble(quantize(conv_network(), tmp_path)))
    assert found == {
        "c1": "Conv", "c2": "Conv", "sum": "Add", "pool": "MaxPool", "mean": "GlobalAveragePool",
        "flat": "Flatten", "y": "Gemm",
    }  # fmt: skip


def test_quantized_operators_are_their_float_partners(tmp_path):
    variant = quantize(conv_network(), tmp_path, quant_format=QuantFormat.QOperator)
    found = operators(conv_network(), scramble(variant))
    assert found["sum"] == "QLinearAdd"
    assert found["mean"] == "QLinearGlobalAveragePool"
    assert found["y"] == "QGemm"


def test_the_bias_of_one_graph_is_not_the_sum_of_the_other():
    random = np.random.default_rng(0)
    weight = random.normal(size=(6, 6)).astype(np.float32)
    bias = random.normal(size=6).astype(np.float32)
    original = model(
        [node("MatMul", "x w", "m"), node("Add", "m b", "biased"), node("Add", "biased x", "y")],
        {"x": ["N", 6]}, ["y"], {"w": weight, "b": bias},
    )  # fmt: skip
    variant = model(
        [node("Gemm", "x w b", "g"), node("Add", "g x", "y")],
        {"x": ["N", 6]}, ["y"], {"w": weight, "b": bias},
    )  # fmt: skip
    found = pairs(original, scramble(variant))
    by_output = {one.name: one.op_type for one in scramble(variant).graph.node}
    assert {name: by_output[v] for name, v in found.items()} == {"m_node": "Gemm", "y_node": "Add"}


def test_operands_of_a_sum_that_changed_places_are_found_by_their_makers():
    weights = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    constants = {"w1": weights[0], "w2": weights[1]}
    nodes = [
        node("MatMul", "x w1", "a"), node("MatMul", "x w2", "b"),
        node("Sigmoid", "a", "sa"), node("Sigmoid", "b", "sb"),
    ]  # fmt: skip
    original = model([*nodes, node("Add", "sa sb", "y")], {"x": ["N", 4]}, ["y"], constants)
    variant = model([*nodes, node("Add", "sb sa", "y")], {"x": ["N", 4]}, ["y"], constants)
    renamed = scramble(variant)
    names = [one.name for one in renamed.graph.node]
    found = pairs(original, renamed)
    assert (found["sa_node"], found["sb_node"]) == (names[2], names[3])


def test_a_name_that_structure_contradicts_is_not_believed():
    weights = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    constants = {"w1": weights[0], "w2": weights[1]}

    def network(first: str, second: str) -> onnx.ModelProto:
        tanhs = [
            helper.make_node("Tanh", ["a"], ["ta"], name=first),
            helper.make_node("Tanh", ["b"], ["tb"], name=second),
        ]
        products = [node("MatMul", "x w1", "a"), node("MatMul", "ta w2", "b")]
        nodes = [products[0], tanhs[0], products[1], tanhs[1]]
        return model(nodes, {"x": ["N", 4]}, ["tb"], constants)

    found = pairs(network("one", "two"), network("two", "one"))
    assert (found["one"], found["two"]) == ("two", "one")


def test_readers_in_the_same_place_are_told_apart_by_name():
    def network(first: str, second: str) -> onnx.ModelProto:
        outputs = [f"{first}_out", f"{second}_out"]
        nodes = [
            helper.make_node("Relu", ["x"], ["r"], name="relu"),
            helper.make_node("Exp", ["r"], ["e1"], name=first),
            helper.make_node("Exp", ["r"], ["e2"], name=second),
            helper.make_node("Concat", ["e1", "e2"], ["y"], name="all", axis=0),
        ]
        del outputs
        return model(nodes, {"x": [3]}, ["y"])

    ours, theirs = load_model(network("left", "right")), load_model(network("left", "right"))
    found = extend_by_structure(ours, theirs, pair_layers(ours, theirs))
    assert {(pair.original, pair.variant) for pair in found.pairs} >= {
        ("left", "left"),
        ("right", "right"),
    }


def test_a_dropped_relu_stays_alone(tmp_path):
    assert "r2_node" not in pairs(conv_network(), quantize(conv_network(), tmp_path))


def test_bodies_of_a_branch_are_paired_where_they_stand():
    def network(name: str) -> onnx.ModelProto:
        inner = [
            helper.make_node("Mul", ["x", "x"], [f"{name}m"], name=f"{name}mul"),
            helper.make_node("Neg", [f"{name}m"], [f"{name}o"], name=f"{name}neg"),
        ]
        then = helper.make_graph(inner, "then", [], [onnx.ValueInfoProto(name=f"{name}o")])
        other = [helper.make_node("Abs", ["x"], [f"{name}a"], name=f"{name}abs")]
        last = helper.make_graph(other, "else", [], [onnx.ValueInfoProto(name=f"{name}a")])
        choice = helper.make_node(
            "If", ["yes"], ["y"], name=f"{name}if", then_branch=then, else_branch=last
        )
        most = helper.make_node("ReduceMax", ["x"], [f"{name}most"], name=f"{name}max", keepdims=0)
        yes = helper.make_node("Cast", [f"{name}most"], ["yes"], name=f"{name}cast", to=9)
        return model([most, yes, choice], {"x": [2]}, ["y"])

    found = pairs(network("p"), network("q"))
    assert found == {f"p{one}": f"q{one}" for one in ("max", "cast", "if", "mul", "neg", "abs")}


def test_each_edge_is_looked_at_a_bounded_number_of_times(monkeypatch):
    """The walk is linear: twice the layers ask for at most a little more than twice the looks."""

    def looks(length: int) -> int:
        nodes = [node("Exp", f"t{i}" if i else "x", f"t{i + 1}") for i in range(length)]
        ours = load_model(model(nodes, {"x": [2]}, [f"t{length}"]))
        theirs = load_model(scramble(model(nodes, {"x": [2]}, [f"t{length}"])))
        pairing = pair_layers(ours, theirs)
        asked = 0
        moving = Network.moving

        def counted(self: Network, layer: str) -> object:
            nonlocal asked
            asked += 1
            return moving(self, layer)

        with monkeypatch.context() as patch:
            patch.setattr(Network, "moving", counted)
            found = extend_by_structure(ours, theirs, pairing)
        assert len(found.pairs) == length
        return asked

    assert looks(400) <= 2.2 * looks(200)
