"""Which weights share a scale."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import floats

from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.scale_groups import ScaleGroups
from playground.utils.parameter_inspector.changing.schemes import Scheme


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_outside_the_weight_is_refused(axis):
    with pytest.raises(ValueError, match=r"outside a weight of shape \(3, 4\)"):
        requantize(floats(3, 4), Scheme(granularity="per-channel", axis=axis))
    with pytest.raises(ValueError, match=r"outside a weight of shape \(3, 4\)"):
        requantize(floats(3, 4), Scheme(), channel_axis=axis)


WEIGHT = floats(5, 7, 3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_channel_is_a_group_and_has_its_scale_where_the_axis_is(axis):
    groups = ScaleGroups.of(WEIGHT, Scheme(granularity="per-channel", axis=axis), 0)
    expected = [WEIGHT.take(i, axis).ravel() for i in range(WEIGHT.shape[axis])]
    np.testing.assert_array_equal(np.sort(groups.weights), np.sort(expected))
    assert groups.to_scale_shape(np.arange(WEIGHT.shape[axis])).shape == (WEIGHT.shape[axis],)


def test_a_short_last_block_is_filled_up_with_zeros():
    scheme = Scheme(granularity="per-block", block_size=4, axis=1)
    groups = ScaleGroups.of(WEIGHT, scheme, 0)
    assert groups.weights.shape == (5 * 2 * 3, 4)
    shaped = groups.to_scale_shape(np.abs(groups.weights).max(axis=1))
    expected = np.stack([np.abs(WEIGHT[:, :4]).max(1), np.abs(WEIGHT[:, 4:]).max(1)], axis=1)
    np.testing.assert_array_equal(shaped, expected)


def test_the_ends_of_a_group_hold_zero():
    groups = ScaleGroups.of(np.abs(WEIGHT) + 1, Scheme(), 0)
    low, high = groups.find_ends()
    assert (low.tolist(), high.tolist()) == ([0], [np.abs(WEIGHT).max() + 1])
