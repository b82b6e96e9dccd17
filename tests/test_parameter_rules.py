"""Rules about parameters: what is told of scales, zero-points and axes, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
from judged_models import finding_of
from planted_faults import healthy_int8, pair, problems_of, with_one

from playground.utils.parameter_inspector import Layer
from playground.utils.parameter_inspector.facts import Refusal, RefusalKind
from playground.utils.parameter_inspector.judging.parameter_rules import (
    is_about_axis,
    is_about_zero_point,
)


@pytest.mark.parametrize(
    ("scale", "kind"), [(0.0, "zero"), (-0.5, "negative"), (np.nan, "NaN"), (np.inf, "infinite")]
)
def test_a_bad_scale_is_counted_by_its_kind_and_its_channel_is_named(scale, kind):
    model = healthy_int8()
    with_one(model, "W1_scale", 5, scale)
    (finding,) = [one for one in problems_of(pair(model)) if one.rule == "bad-scale"]
    assert finding.numbers == {kind: 1, "scales": 24}
    assert finding.facts.indices == (5,)


def test_the_planted_bias_overflow_names_the_node_to_exclude():
    facts = finding_of("bias_beyond_int32").facts
    assert facts.kept_in_float.nodes.are_all_named
    assert "fc" in facts.kept_in_float.nodes.nodes


def refused_scale(axis: int, shape: tuple[int, ...], scales: int) -> Refusal:
    return Refusal(RefusalKind.SCALE_SHAPE, axis=axis, shape=shape, scale_shape=(scales,))


@pytest.mark.parametrize(
    ("op_type", "refusal", "expected"),
    [
        ("Conv", refused_scale(1, (4, 3, 2, 2), 4), True),  # as many as output channels
        ("Conv", refused_scale(1, (4, 3, 2, 2), 5), False),  # as many as nothing
        ("Conv", refused_scale(0, (4, 3, 2, 2), 3), False),  # along the right axis
        ("ConvTranspose", refused_scale(0, (4, 3, 2, 2), 3), True),
        ("MatMul", refused_scale(0, (4, 3), 3), True),
        ("Add", refused_scale(0, (4, 3), 3), False),  # has no axis of output channels
        ("Conv", Refusal(RefusalKind.AXIS_OUTSIDE, axis=7, shape=(4, 3, 2, 2)), True),
        ("Conv", Refusal(RefusalKind.NO_SCALE, operator="Conv"), False),
    ],
)
def test_a_refused_scale_is_about_the_axis_where_it_fits_the_operators_own(
    op_type, refusal, expected
):
    layer = Layer("layer", "layer", op_type, "", 0, ("x",), ("y",))
    assert is_about_axis(refusal, layer) is expected
    assert not is_about_axis(refusal, None)


def test_a_zero_point_of_another_type_is_about_the_zero_point():
    assert is_about_zero_point(Refusal(RefusalKind.ZERO_POINT_TYPE, data_type="uint8"))
    assert not is_about_zero_point(Refusal(RefusalKind.ZERO_POINT_SHAPE))
