"""Weights are the same where reading them gives the same numbers in the same frame."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import MICROSOFT, codes, dequantize_node, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.streaming.same_weights import identify_weight

ARRAYS = {
    "w": np.ones((5, 7), np.float32),
    "same": np.ones((5, 7), np.float32),
    "q": codes("int8", 5, 7),
    "s": scales(7),
    "s5": scales(5),
    "z": codes("int8", 7, seed=9),
    "blob": np.zeros((6, 2, 8), np.uint8),
    "bs": scales(12),
}
NODES = {
    "w": (),
    "same": (),
    "transposed": (helper.make_node("Transpose", ["w"], ["transposed"]),),
    "transposed too": (helper.make_node("Transpose", ["w"], ["transposed too"]),),
    "in columns": (dequantize_node(["q", "s", "z"], "in columns", axis=1),),
    "in columns too": (dequantize_node(["q", "s", "z"], "in columns too", axis=1),),
    "without zero-point": (dequantize_node(["q", "s"], "without zero-point", axis=1),),
    "in rows": (dequantize_node(["q", "s5"], "in rows", axis=0),),
}


def identify(first: str, second: str) -> bool:
    """Return whether the weights of two layers are said to be the same."""
    nodes = [node for name in NODES for node in NODES[name]]
    layers = [
        helper.make_node("MatMul", ["x", name], [f"y{i}"], f"m{i}")
        for i, name in enumerate((first, second))
    ]
    model = make_model([*nodes, *layers], ARRAYS, inputs={"x": (2, 5)}, outputs=["y0"])
    one, other = (layer for layer in list_layers(load_model(model)) if layer.op_type == "MatMul")
    return identify_weight(one.weight, one) == identify_weight(other.weight, other)


@pytest.mark.parametrize(
    ("first", "second"),
    [("w", "w"), ("transposed", "transposed too"), ("in columns", "in columns too")],
)
def test_what_the_file_holds_once_is_the_same(first, second):
    assert identify(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("w", "same"),
        ("w", "transposed"),
        ("in columns", "without zero-point"),
        ("in columns", "in rows"),
        ("w", "in columns"),
    ],
)
def test_what_is_read_otherwise_is_not(first, second):
    assert not identify(first, second)


@pytest.mark.parametrize(("blocks", "same"), [((16, 16), True), ((16, 32), False)])
def test_packed_codes_are_the_same_where_they_are_unpacked_alike(blocks, same):
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", f"b{block}", f"s{block}"], [f"y{i}"], f"m{i}",
            domain=MICROSOFT, K=32, N=6, bits=4, block_size=block,
        )
        for i, block in enumerate(blocks)
    ]  # fmt: skip
    arrays = {"b16": ARRAYS["blob"], "s16": ARRAYS["bs"], "b32": np.zeros((6, 1, 16), np.uint8),
              "s32": scales(6)}  # fmt: skip
    model = make_model(nodes, arrays, inputs={"x": (2, 32)}, outputs=["y0"], domains=[MICROSOFT])
    one, other = list_layers(load_model(model))
    assert one.weight is not None and other.weight is not None
    assert (identify_weight(one.weight, one) == identify_weight(other.weight, other)) is same
