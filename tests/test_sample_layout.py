"""Where the axis of samples is."""

from __future__ import annotations

import numpy as np
import pytest

from playground.utils.parameter_inspector.running.sample_layout import (
    find_layout,
    fits,
    fixed_rows,
    lay_out_sets,
)
from playground.utils.parameter_inspector.running.sample_problems import (
    ModelInput,
    SampleProblemKind,
    SamplesError,
)


def wanted(**shapes) -> list[ModelInput]:
    return [ModelInput(name, "float32", shape) for name, shape in shapes.items()]


def zeros(**shapes) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "shape, asked, is_fitting",
    [
        ((2, 3), ("n", 3), True),
        ((2, 3), (None, 4), False),
        ((2, 3), (2,), False),
        ((), (), True),
        ((7,), None, True),
    ],
)
def test_only_fixed_dimensions_have_to_agree(shape, asked, is_fitting):
    assert fits(shape, asked) is is_fitting


def test_the_first_dimension_that_is_fixed_is_how_many_run_together():
    assert fixed_rows(wanted(a=("n", 3), b=(8, 2))) == 8
    assert fixed_rows(wanted(a=("n", 3), b=(), c=None)) is None


@pytest.mark.parametrize(
    "asked, given, stacked, count",
    [
        (("n", 3), (5, 3), False, 5),
        ((2, 3), (6, 3), False, 6),  # three runs of two rows
        ((2, 3), (5, 2, 3), True, 5),
        ((), (5,), True, 5),
    ],
)
def test_the_axis_of_samples_is_the_first_of_the_model_or_in_front_of_it(
    asked, given, stacked, count
):
    layout = find_layout(zeros(x=given), wanted(x=asked), "s.npz")
    assert (layout.stacked, layout.count, layout.counted) == (stacked, count, ("x",))


def test_sets_that_differ_in_shape_cannot_be_fed_together():
    sets = [zeros(x=(1, 3)), zeros(x=(1, 4))]
    with pytest.raises(SamplesError) as raised:
        lay_out_sets(sets, wanted(x=("n", None)), "folder")
    assert raised.value.problem.kind is SampleProblemKind.SETS_DIFFER


@pytest.mark.parametrize("rows, stacked, shape", [(1, False, (3, 4)), (2, True, (3, 2, 4))])
def test_sets_of_one_row_become_rows_and_others_a_stack(rows, stacked, shape):
    sets = [{"x": np.full((rows, 4), number, np.float32)} for number in range(3)]
    layout = lay_out_sets(sets, wanted(x=("n", 4)), "folder")
    assert (layout.stacked, layout.count, layout.arrays["x"].shape) == (stacked, 3, shape)
    numbers = layout.arrays["x"].reshape(3, -1)[:, 0]
    np.testing.assert_array_equal(numbers, [0, 1, 2])
