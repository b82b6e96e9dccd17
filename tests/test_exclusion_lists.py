"""What is pasted into a quantizer names the right nodes, and does nothing else."""

from __future__ import annotations

import ast

import pytest
from comparisons_for_tests import compare_convnets
from hostile_names import HOSTILE, chain, make_hostile, pasted, rows_of
from models_for_tests import convnet, quantized_statically

from playground.utils import exports
from playground.utils.parameter_inspector import compare_variants, load_model


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


@pytest.fixture(scope="module")
def convnets(tmp_path_factory):
    return compare_convnets(tmp_path_factory.mktemp("exports"))


def names_in(value: ast.expr) -> list[str]:
    """Return the list, or the ``names`` of a call."""
    if isinstance(value, ast.Call):
        (keyword,) = value.keywords
        assert keyword.arg == "names"
        value = keyword.value
    return ast.literal_eval(value)


@pytest.mark.parametrize("tool", exports.EXCLUSIONS)
def test_pasted_exclusion_names_the_float_models_own_nodes(hostile, tool):
    comparison, _ = hostile
    exclusion = exports.create_exclusion(comparison, comparison.weights)
    names = names_in(pasted(exports.EXCLUSIONS[tool](exclusion)))
    assert names == list(dict.fromkeys(name for name in HOSTILE if name))


@pytest.mark.parametrize("tool", exports.EXCLUSIONS)
def test_pasted_exclusion_of_nothing_is_an_empty_list(convnets, tool):
    comparison = convnets
    exclusion = exports.create_exclusion(comparison, [])
    assert names_in(pasted(exports.EXCLUSIONS[tool](exclusion))) == []


def test_exclusion_says_which_layer_has_no_node_name(hostile):
    comparison, _ = hostile
    (row,) = rows_of(hostile, [""])
    exclusion = exports.create_exclusion(comparison, [row])
    assert exclusion.names == ()
    assert f"{row!r} has no node name in FP32" in exclusion.notes[0]
    assert exclusion.notes[0] in exports.exclude_in_onnxruntime(exclusion)


def test_exclusion_says_that_a_name_is_of_two_nodes(hostile):
    comparison, _ = hostile
    exclusion = exports.create_exclusion(comparison, rows_of(hostile, ["twice"])[:1])
    assert exclusion.names == ("twice",)
    assert "2 nodes are called 'twice'" in exclusion.notes[0]


def test_exclusion_says_that_a_layer_is_not_in_the_first_variant():
    variants = {
        "FP32": load_model(chain(["a"], quantized=False)),
        "INT8": load_model(chain(["a", "b"], quantized=True)),
    }
    comparison = compare_variants(variants)
    exclusion = exports.create_exclusion(comparison, ["a", "b"])
    assert exclusion.names == ("a",)
    assert exclusion.notes == ("'b' is not in FP32, so it cannot be left out there.",)


def test_exclusion_says_that_there_is_no_float_original():
    variants = {"INT8": load_model(chain(["a"], quantized=True))}
    exclusion = exports.create_exclusion(compare_variants(variants), ["a"])
    assert exclusion.names == ("a",)
    assert "There is no float original here" in exclusion.notes[0]


def test_onnxruntime_leaves_the_pasted_layer_float(convnets, tmp_path):
    comparison = convnets
    exclusion = exports.create_exclusion(comparison, ["conv10"])
    nodes = ast.literal_eval(pasted(exports.exclude_in_onnxruntime(exclusion)))
    proto = quantized_statically(convnet(), tmp_path, nodes_to_exclude=nodes)
    held = {tensor.name for tensor in proto.graph.initializer}
    assert [w in held for w in ("W1", "W10", "W2")] == [False, True, False]


def test_what_reads_a_layer_is_left_out_along_in_onnxruntime_alone(convnets):
    exclusion = exports.create_exclusion(convnets, ["conv1"])
    assert exclusion.names == ("conv1",)
    assert names_in(pasted(exports.exclude_in_onnxruntime(exclusion)))[1:] == [*exclusion.along]
    assert exclusion.along
    assert names_in(pasted(exports.exclude_in_nncf(exclusion))) == ["conv1"]
