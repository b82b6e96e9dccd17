"""The same layer across variants: names propose, values decide, and doubt is said.

The nets are made here, so who goes with whom is known: by the tensor that each layer reads.
"""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from models_for_tests import (
    dequantize_node,
    floats,
    make_model,
    mlp,
)
from onnx import TensorProto, helper, numpy_helper
from pairing_cases import TOOLS, WEIGHTS, chain, quantize_tower, tower

from playground.utils.parameter_inspector import list_layers, load_model, pair_layers
from playground.utils.parameter_inspector.facts import Evidence


@pytest.fixture(scope="module")
def variants(tmp_path_factory) -> dict[str, onnx.ModelProto]:
    return quantize_tower(tmp_path_factory.mktemp("pairing"))


def partners(original: onnx.ModelProto, variant: onnx.ModelProto) -> dict[str, str]:
    """Return the pairs by the names of their weights: float one -> the other one."""
    models = load_model(original), load_model(variant)
    weights = [{x.name: x.weight.name for x in list_layers(m) if x.weight} for m in models]
    made = pair_layers(*models)
    return {weights[0][p.original]: weights[1][p.variant] for p in made.pairs if p.score}


def evidence(original: onnx.ModelProto, variant: onnx.ModelProto) -> dict[str, Evidence]:
    made = pair_layers(load_model(original), load_model(variant))
    return {pair.original: pair.evidence for pair in made.pairs}


def spelled_by(tool: str, weight: str) -> str:
    """Return how the tool named the codes of a weight, as read in its files."""
    if tool == "MatMulNBits":
        return f"{weight}_Q4" if weight[0] == "M" else weight
    return f"{weight}_quantized"


@pytest.mark.parametrize("tool", TOOLS)
def test_every_layer_is_paired_with_the_one_made_from_it(variants, tool):
    found = partners(tower(), variants[tool])
    assert found == {weight: spelled_by(tool, weight) for weight in WEIGHTS}


@pytest.mark.parametrize("tool", TOOLS)
def test_names_and_values_are_the_evidence_where_both_agree(variants, tool):
    made = pair_layers(load_model(tower()), load_model(variants[tool]))
    assert {p.evidence for p in made.pairs if p.score is not None} == {Evidence.NAME_AND_VALUES}
    assert made.unpaired_original == made.unpaired_variant == ()


@pytest.mark.parametrize("tool", TOOLS)
def test_weights_in_a_file_beside_the_model_are_paired_as_those_in_memory(variants, tool, tmp_path):
    models, paths = (tower(), variants[tool]), (tmp_path / "a.onnx", tmp_path / "b.onnx")
    for model, path in zip(models, paths, strict=True):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        onnx.save(copy, path, save_as_external_data=True, location=f"{path.stem}.data",
                  size_threshold=0)  # fmt: skip
    found = pair_layers(*map(load_model, paths)).pairs
    wanted = pair_layers(*map(load_model, models)).pairs
    facts = [[(p.original, p.variant, p.evidence, p.score) for p in pairs]
             for pairs in (found, wanted)]  # fmt: skip
    assert facts[0] == facts[1]


@pytest.mark.parametrize("second", TOOLS)
@pytest.mark.parametrize("first", TOOLS)
def test_two_quantized_variants_are_paired_with_each_other(variants, first, second):
    found = partners(variants[first], variants[second])
    assert found == {spelled_by(first, w): spelled_by(second, w) for w in WEIGHTS}


# --------------------------------------------------------------- nothing but values


def scrambled(
    model: onnx.ModelProto, seed: int, *, rescale: bool = True
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return the model under other names, in another valid order, each channel of its own scale.

    And what each old name became.
    """
    rng = np.random.default_rng(seed)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    if rescale:
        read = {n.input[1] for n in graph.node if n.op_type == "DequantizeLinear"}
        for tensor in graph.initializer:
            scale = numpy_helper.to_array(tensor)
            if tensor.name in read and scale.dtype == np.float32:
                scale = scale * np.exp(rng.standard_normal(scale.shape)).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(scale), tensor.name))
    old = {name for n in graph.node for name in (*n.input, *n.output)} - {""}
    old |= {t.name for t in (*graph.initializer, *graph.input, *graph.output)}
    numbers = rng.permutation(len(old))
    names = {name: f"t{number}" for name, number in zip(sorted(old), numbers, strict=True)}
    del graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for i, node in enumerate(graph.node):
        node.name = f"n{numbers[i]}"
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names.get(name, "") for name in node.output]
    waiting = list(graph.node)
    known = {t.name for t in (*graph.initializer, *graph.input)} | {""}
    del graph.node[:]
    while waiting:
        ready = [node for node in waiting if set(node.input) <= known]
        node = ready[rng.integers(len(ready))]
        waiting.remove(node)
        known.update(node.output)
        graph.node.append(node)
    tensors = [graph.initializer[i] for i in rng.permutation(len(graph.initializer))]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return result, names


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tool", TOOLS)
def test_without_names_and_order_and_with_rescaled_channels_no_pair_is_wrong(variants, tool, seed):
    variant, names = scrambled(variants[tool], seed)
    onnx.checker.check_model(variant)
    truth = {weight: names[spelled_by(tool, weight)] for weight in WEIGHTS}
    assert partners(tower(), variant) == truth


@pytest.mark.parametrize("tool", TOOLS)
def test_values_are_the_evidence_where_names_say_nothing(variants, tool):
    variant, _ = scrambled(variants[tool], seed=7)
    made = pair_layers(load_model(tower()), load_model(variant))
    assert {p.evidence for p in made.pairs if p.score is not None} == {Evidence.VALUES}


def test_values_overrule_names_that_were_exchanged(variants):
    variant = onnx.ModelProto()
    variant.CopyFrom(variants["QDQ per channel"])
    exchange = {"W1": "W2", "W2": "W1"}
    for node in variant.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in ("W1_quantized", "W2_quantized"):
            w = exchange[node.input[0][:2]]
            node.input[:] = [f"{w}_quantized", f"{w}_scale", f"{w}_zero_point"]
    found = partners(tower(), variant)
    assert (found["W1"], found["W2"]) == ("W1_quantized", "W2_quantized")


def test_channels_of_another_sign_are_the_same_layer():
    variant = tower()
    for tensor in variant.graph.initializer:
        if tensor.name == "W1":
            signs = np.float32([1, -1, -1, 1, 1, -1, 1, -1])[:, None, None, None]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * signs, "W1"))
    variant, names = scrambled(variant, seed=1)
    assert partners(tower(), variant)["W1"] == names["W1"]


# --------------------------------------------------------------- equal weights


def pairs_of(original: onnx.ModelProto, variant: onnx.ModelProto) -> list[tuple[str, str]]:
    made = pair_layers(load_model(original), load_model(variant))
    return [(pair.original, pair.variant) for pair in made.pairs]


def other_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every name replaced, in the order it has."""
    names = {"x": "input"}
    for i, node in enumerate(model.graph.node):
        names |= {name: f"u{i}_{j}" for j, name in enumerate((*node.input[1:], *node.output))}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value in (*result.graph.input, *result.graph.output, *result.graph.initializer):
        value.name = names[value.name]
    for i, node in enumerate(result.graph.node):
        node.name = f"b{i}"
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    return result


def test_equal_weights_are_paired_by_position():
    same = floats(6, 6)
    net = chain(same, floats(6, 6, seed=1), same, same)
    found = pairs_of(net, other_names(net))
    assert found == [(f"a{i}", f"b{i}") for i in range(4)]


def test_a_weight_read_by_two_layers_is_paired_by_position():
    net = chain(floats(6, 6), floats(6, 6, seed=1), floats(6, 6, seed=2))
    net.graph.node[2].input[1] = "V0"
    del net.graph.initializer[2]
    renamed = other_names(chain(floats(6, 6), floats(6, 6, seed=1), floats(6, 6)))
    assert pairs_of(net, renamed) == [("a0", "b0"), ("a1", "b1"), ("a2", "b2")]


def test_equal_weights_are_paired_by_name_where_there_is_one():
    same = floats(6, 6)
    variant = chain(same, same, same)
    for node, name in zip(variant.graph.node, ["a2", "a0", "a1"], strict=True):
        node.name = name
    for i, node in enumerate(variant.graph.node):
        node.input[1] = variant.graph.initializer[i].name = f"other{i}"
        node.output[0] = f"o{i}"
        node.input[0] = f"o{i - 1}" if i else "x"
    variant.graph.output[0].name = "o2"
    found = pairs_of(chain(same, same, same), variant)
    assert found == [("a0", "a0"), ("a1", "a1"), ("a2", "a2")]


# --------------------------------------------------------------- what does not fit is said


def test_a_model_trained_again_is_paired_by_name_and_says_that_values_differ():
    found = evidence(chain(floats(6, 6), floats(6, 6, seed=1)), chain(floats(6, 6, seed=8),
                     floats(6, 6, seed=9)))  # fmt: skip
    assert found == dict.fromkeys(("a0", "a1"), Evidence.NAME_ONLY)


def test_a_pair_by_order_is_called_a_guess():
    net = chain(floats(6, 6), floats(6, 6, seed=1))
    stranger = other_names(chain(floats(6, 6, seed=8), floats(6, 6, seed=9)))
    made = pair_layers(load_model(net), load_model(stranger))
    assert [(p.original, p.variant) for p in made.pairs] == [("a0", "b0"), ("a1", "b1")]
    assert {pair.evidence for pair in made.pairs} == {Evidence.ORDER}


def head(classes: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "body"], ["h"], "body"),
        helper.make_node("Gemm", ["h", "head"], ["y"], "head"),
    ]
    arrays = {"body": floats(6, 7), "head": floats(7, classes, seed=1)}
    return make_model(nodes, arrays, inputs={"x": (5, 6)})


def test_a_head_of_another_number_of_classes_stays_unpaired_on_both_sides():
    made = pair_layers(load_model(head(3)), load_model(head(2)))
    assert [pair.original for pair in made.pairs] == ["body"]
    assert (made.unpaired_original, made.unpaired_variant) == (("head",), ("head",))


def test_layers_that_the_variant_lost_are_listed():
    arrays = [floats(6, 6, seed=i) for i in range(4)]
    made = pair_layers(load_model(chain(*arrays)), load_model(chain(arrays[2], names="kept")))
    assert [(p.original, p.variant) for p in made.pairs] == [("a2", "kept")]
    assert made.unpaired_original == ("a0", "a1", "a3")
    assert made.unpaired_variant == ()


def test_layers_that_only_the_variant_has_are_listed():
    arrays = [floats(6, 6, seed=i) for i in range(3)]
    made = pair_layers(load_model(chain(arrays[1], names="one")), load_model(chain(*arrays)))
    assert made.unpaired_variant == ("a0", "a2")


def test_a_layer_whose_scale_does_not_fit_is_paired_by_name_and_hides_no_other():
    nodes = [
        dequantize_node(("q", "s")),
        helper.make_node("MatMul", ["x", "w"], ["h"], "a0"),
        helper.make_node("MatMul", ["h", "V1"], ["y"], "a1"),
    ]
    arrays = {"q": np.zeros((6, 6), np.int8), "s": np.ones(4, np.float32), "V1": floats(6, 6)}
    broken = make_model(nodes, arrays, inputs={"x": (2, 6)})
    found = evidence(chain(floats(6, 6, seed=3), floats(6, 6)), broken)
    assert found == {"a0": Evidence.NAME, "a1": Evidence.NAME_AND_VALUES}


def test_a_layer_whose_bytes_are_missing_and_whose_name_is_lost_is_listed_on_both_sides(tmp_path):
    net, missing = chain(floats(6, 6)), other_names(chain(floats(6, 6)))
    tensor = missing.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="absent.data")
    (tmp_path / "m.onnx").write_bytes(missing.SerializeToString())
    made = pair_layers(load_model(net), load_model(tmp_path / "m.onnx"))
    assert made.pairs == ()
    assert (made.unpaired_original, made.unpaired_variant) == (("a0",), ("b0",))


def test_a_layer_whose_bytes_are_missing_is_paired_by_name_and_hides_no_other(tmp_path):
    net = chain(floats(6, 6), floats(6, 6, seed=1))
    missing = chain(floats(6, 6), floats(6, 6, seed=1))
    tensor = missing.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="absent.data")
    (tmp_path / "m.onnx").write_bytes(missing.SerializeToString())
    made = pair_layers(load_model(net), load_model(tmp_path / "m.onnx"))
    found = {pair.original: (pair.variant, pair.evidence) for pair in made.pairs}
    assert found == {"a0": ("a0", Evidence.NAME), "a1": ("a1", Evidence.NAME_AND_VALUES)}
    assert made.of_original("a0").score is None


def test_a_layer_without_a_weight_is_paired_by_name_alone(variants):
    made = pair_layers(load_model(mlp()), load_model(mlp()))
    relu = made.of_original("relu")
    assert (relu.variant, relu.evidence, relu.score) == ("relu", Evidence.NAME, None)


def test_empty_names_are_no_names():
    net = chain(floats(6, 6), floats(6, 6, seed=1), names="")
    stranger = other_names(chain(floats(6, 6, seed=8), floats(6, 6, seed=9)))
    for node in stranger.graph.node:
        node.name = ""
    assert set(evidence(net, stranger).values()) == {Evidence.ORDER}


def test_a_model_without_weights_has_no_pairs_and_nothing_unpaired():
    empty = make_model([helper.make_node("Neg", ["x"], ["y"], "neg")])
    made = pair_layers(load_model(empty), load_model(chain(floats(6, 6))))
    assert (made.pairs, made.unpaired_original, made.unpaired_variant) == ((), (), ("a0",))


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (5, 0, 2, 4)], ids=str)
def test_a_weight_of_no_elements_stops_no_pairing(shape):
    nodes = [
        helper.make_node("Conv", ["x", "E"], ["e"], "empty"),
        helper.make_node("Conv", ["x", "W"], ["y"], "sound"),
    ]
    net = make_model(nodes, {"E": np.zeros(shape, np.float32), "W": floats(5, 3, 2, 4)})
    assert ("sound", "sound") in pairs_of(net, net)


def test_every_evidence_is_given_somewhere():
    net = chain(*(floats(6, 6, seed=i) for i in range(3)))
    variant = other_names(chain(floats(6, 6), floats(6, 6, seed=8), floats(6, 6, seed=9)))
    variant.graph.node[1].name = "a1"
    found = list(evidence(net, variant).values())
    found += evidence(net, net).values()
    found += [p.evidence for p in pair_layers(load_model(mlp()), load_model(mlp())).pairs]
    # Where a layer stands is looked at when a model is to be run: `pair_by_structure` gives that.
    assert set(found) == set(Evidence) - {Evidence.STRUCTURE}


def test_pairs_come_in_the_order_of_the_float_model(variants):
    models = load_model(tower()), load_model(scrambled(variants["QDQ per channel"], seed=3)[0])
    order = [layer.name for layer in list_layers(models[0])]
    found = [pair.original for pair in pair_layers(*models).pairs]
    assert found == sorted(found, key=order.index)


def test_each_layer_is_in_one_pair_at_most(variants):
    for variant in variants.values():
        made = pair_layers(load_model(tower()), load_model(variant))
        for side in ("original", "variant"):
            names = [getattr(pair, side) for pair in made.pairs]
            assert len(names) == len(set(names))


def test_who_waits_hears_of_every_weight():
    net = chain(*(floats(6, 6, seed=i) for i in range(3)))
    told = []
    pair_layers(load_model(net), load_model(net), told.append)
    assert told == ["a0", "a1", "a2"] * 2


# --------------------------------------------------------------- cost


def test_pairing_costs_far_less_than_every_cosine_of_every_two_weights():
    count, width = 32, 768
    arrays = [floats(width, width, seed=i) for i in range(count)]
    nodes = [
        helper.make_node("MatMul", [f"h{i}" if i else "x", f"V{i}"], [f"h{i + 1}"])
        for i in range(len(arrays))
    ]
    tensors = {f"V{i}": array for i, array in enumerate(arrays)}
    net = make_model(nodes, tensors, inputs={"x": (2, width)}, outputs=[f"h{count}"])
    models = load_model(net), load_model(other_names(net))
    for model in models:
        list_layers(model)
    start = time.process_time()
    made = pair_layers(*models)
    pairing_time = time.process_time() - start
    start = time.process_time()
    best = [int(np.argmax([mean_abs_cosine_fast(a, b) for b in arrays])) for a in arrays]
    all_pairs_time = time.process_time() - start
    assert best == list(range(count))
    assert len(made.pairs) == count
    assert pairing_time < all_pairs_time / 2


def mean_abs_cosine_fast(a: np.ndarray, b: np.ndarray) -> float:
    dot = np.einsum("kc,kc->c", a, b)
    return float(np.mean(np.abs(dot) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)))
