"""Quantizers that only data movement joins are one."""

import numpy as np
import pytest
from networks_to_run import conv_network, model, node, quantize, switch

SCALE = {"s": np.float32(0.1), "z": np.uint8(0)}


@pytest.fixture(scope="module")
def placement(tmp_path_factory):
    return switch(
        conv_network(), quantize(conv_network(), tmp_path_factory.mktemp("grouping"))
    ).placement


def pair(source: str, scale: str = "s", zero: str = "z") -> list:
    codes = f"{source}_codes"
    return [
        node("QuantizeLinear", f"{source} {scale} {zero}", codes),
        node("DequantizeLinear", f"{codes} {scale} {zero}", f"{source}_dq"),
    ]


def test_a_pooling_and_what_it_reads_are_one_group(placement):
    by_tensor = {q.tensor: q for q in placement.quantizers}
    assert by_tensor["r2"].scale == by_tensor["pool"].scale
    assert by_tensor["r2"].group == by_tensor["pool"].group != by_tensor["r1"].group


@pytest.mark.parametrize("scale, is_one", [(0.6, True), (0.5, False)])
def test_a_constant_factor_joins_only_what_keeps_its_codes(scale, is_one):
    original = model(
        [node("Relu", "x", "a"), node("Mul", "a six", "b"), node("Neg", "b", "y")],
        {"x": [4]}, ["y"], {"six": np.float32(6)},
    )  # fmt: skip
    variant = model(
        [
            node("Relu", "x", "a"), *pair("a"), node("Mul", "a_dq six", "b"), *pair("b", "s2"),
            node("Neg", "b_dq", "y"),
        ],
        {"x": [4]}, ["y"], {"six": np.float32(6), **SCALE, "s2": np.float32(scale)},
    )  # fmt: skip
    groups = {q.tensor: q.group for q in switch(original, variant).placement.quantizers}
    assert (groups["a"] == groups["b"]) is is_one


def groups_of(moved, second_scale="s", second_zero="z", constants=SCALE):
    """Return the group of a tensor, a, and of what is moved from it, b, both quantized."""
    original = model(
        [node("Relu", "x", "a"), moved("a", "b"), node("Neg", "b", "y")],
        {"x": [2, 4]}, ["y"], constants,
    )  # fmt: skip
    variant = model(
        [
            node("Relu", "x", "a"), *pair("a"), moved("a_dq", "b"),
            *pair("b", second_scale, second_zero), node("Neg", "b_dq", "y"),
        ],
        {"x": [2, 4]}, ["y"], {**SCALE, **constants},
    )  # fmt: skip
    return {q.tensor: q.group for q in switch(original, variant).placement.quantizers}


def transpose(source, target):
    return node("Transpose", source, target, perm=[1, 0])


def test_a_transposed_tensor_of_the_same_codes_is_the_same_group():
    groups = groups_of(transpose)
    assert groups["a"] == groups["b"] == 0


@pytest.mark.parametrize(
    "second",
    [{"s2": np.float32(0.1001), "z": np.uint8(0)}, {"s": np.float32(0.1), "z2": np.uint8(1)}],
)
def test_other_scales_or_zero_points_are_other_codes(second):
    scale, zero = second
    groups = groups_of(transpose, scale, zero, second)
    assert groups["a"] != groups["b"]


def test_an_operator_that_computes_joins_nothing():
    groups = groups_of(lambda source, target: node("Exp", source, target))
    assert groups["a"] != groups["b"]


@pytest.mark.parametrize("divisor, is_one", [(4, True), (-4, False)])
def test_a_division_joins_only_by_a_positive_number(divisor, is_one):
    constants = {"n": np.float32(divisor), "s2": np.float32(0.1 / 4)}
    groups = groups_of(
        lambda source, target: node("Div", f"{source} n", target), "s2", "z", constants
    )
    assert (groups["a"] == groups["b"]) is is_one
