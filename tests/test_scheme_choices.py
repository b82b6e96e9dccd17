"""Which parts of a scheme fit which, and what a change of one does to the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trial_cases import open_matmul

from playground.utils.parameter_inspector.changing.scheme_choices import change_scheme, list_choices
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trials import WeightOnTrial


@pytest.fixture
def matmul() -> WeightOnTrial:
    return open_matmul()


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
