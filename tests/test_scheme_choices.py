"""Which parts of a scheme fit which, and what a change of one does to the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models_for_tests import codes, dequantize_node, floats, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import compare_variants, load_model
from playground.utils.parameter_inspector.changing.scheme_choices import change_scheme, list_choices
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trials import WeightOnTrial, open_weight

SHAPE = (7, 12)  # of a MatMul: its channels are the columns


@pytest.fixture
def matmul() -> WeightOnTrial:
    """A MatMul with a uint8 scale for the whole tensor, beside its float original."""
    exact = floats(*SHAPE)
    parts = {"q": codes("uint8", *SHAPE), "s": scales(), "z": np.uint8(100)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")
    inputs = {"x": (2, SHAPE[0])}
    held = (parts["q"].astype(np.float32) - 100) * parts["s"]
    models = (
        make_model([node], {"w": held + 0.3 * parts["s"] * np.sign(exact)}, inputs=inputs),
        make_model([dequantize_node(), node], parts, inputs=inputs),
    )
    variants = dict(zip(("FP32", "UINT8"), map(load_model, models), strict=True))
    return open_weight(compare_variants(variants), "UINT8", "matmul")


STARTS = (
    Scheme(),
    Scheme("uint4", "per-block", symmetric=False, block_size=8),
    Scheme("int8", "per-channel", axis=0, bits=3, reduce_range=True),
    Scheme("float8e4m3fn", clipping="std"),
    Scheme("int2", clipping="percentile", percentile=95.0),
)


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_every_choice_that_is_offered_can_be_taken_from_every_start(start, matmul):
    weight = matmul.layer.weight
    for part, values in list_choices(start, weight).items():
        assert getattr(start, part) in values
        for value in values:
            changed = change_scheme(start, part, value)
            assert getattr(changed, part) == value
            # What came of it can be tried, and its own choices hold it again.
            assert matmul.attempt(changed).proposed.scheme == changed
            choices = list_choices(changed, weight)
            assert all(getattr(changed, one) in choices[one] for one in choices)


def test_a_choice_leaves_the_parts_alone_that_still_fit():
    start = Scheme("int8", "per-channel", bits=4, reduce_range=True, clipping="mse")
    assert change_scheme(start, "granularity", "per-tensor") == replace(
        start, granularity="per-tensor"
    )
    assert change_scheme(start, "data_type", "int4") == replace(start, data_type="int4", bits=None)
    assert change_scheme(start, "data_type", "float8e5m2") == Scheme(
        "float8e5m2", "per-channel", clipping="mse"
    )
    blocked = change_scheme(start, "granularity", "per-block")
    assert (blocked.block_size, blocked.axis) == (32, None)


@pytest.mark.parametrize(
    ("scheme", "single"),
    [
        (Scheme(), {"axis", "block_size", "percentile"}),
        (Scheme("float4e2m1", "per-channel"), {"bits", "block_size", "symmetric", "reduce_range"}),
        (Scheme("int2", "per-block", block_size=16), {"bits", "reduce_range"}),
    ],
    ids=["int8", "float4", "blocks"],
)
def test_what_does_not_fit_the_rest_of_a_scheme_is_not_offered(scheme, single, matmul):
    choices = list_choices(scheme, matmul.layer.weight)
    assert single <= {part for part, values in choices.items() if len(values) == 1}
    assert ("std" in choices["clipping"]) == (scheme.data_type == "float8e4m3fn")
