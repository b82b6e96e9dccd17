"""A layer is found in a graph viewer where one node alone has its name."""

from __future__ import annotations

from hostile_names import chain

from playground.utils.exports.layer_lookup import find_layer_in
from playground.utils.exports.node_targets import find_targets
from playground.utils.parameter_inspector import compare_variants, load_model


def compare(float_names: list[str], quantized_names: list[str]):
    return compare_variants({
        "FP32": load_model(chain(float_names, quantized=False)),
        "INT8": load_model(chain(quantized_names, quantized=True)),
    })  # fmt: skip


def test_names_of_several_nodes_and_of_none_are_no_target():
    comparison = compare(["a", "twice", "twice", ""], ["a", "twice", "twice", ""])
    assert find_targets(comparison, None) == {"a": "a"}


def test_targets_are_the_names_in_the_graph_that_is_open():
    comparison = compare(["a", "b"], ["a_q", "b_q"])
    assert find_targets(comparison, "INT8") == {"a": "a_q", "b": "b_q"}


def test_a_layer_that_a_variant_lacks_is_none():
    comparison = compare(["a"], ["a", "b"])
    assert find_layer_in(comparison, "FP32", "b") is None
    assert find_layer_in(comparison, "INT8", "b").node_name == "b"
