"""An array that is worked on part by part is worked on whole, in order, each part once."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import floats

from playground.utils.parameter_inspector.streaming import array_parts
from playground.utils.parameter_inspector.streaming.array_parts import (
    leading_axis,
    list_array_parts,
    share_out,
    sum_squares_along,
)

ARRAYS = {
    "matrix": floats(50, 7),
    "transposed": floats(50, 7).T,
    "images": floats(6, 5, 3, 2),
    "channels last": np.moveaxis(floats(6, 5, 3, 2), 0, -1),
    "vector": floats(40),
    "number": np.float32(3),
    "empty": np.zeros((0, 4), np.float32),
    "no columns": np.zeros((4, 0), np.float32),
}


@pytest.mark.parametrize("elements", [1, 9, 64, 10**6])
@pytest.mark.parametrize("kind", ARRAYS)
def test_every_element_is_in_one_part(kind, elements, monkeypatch):
    monkeypatch.setattr(array_parts, "PART_ELEMENTS", elements)
    array = np.asarray(ARRAYS[kind])
    seen = np.zeros(array.shape, int)
    for part in list_array_parts(array):
        seen[part] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("kind", ARRAYS)
def test_results_come_in_the_order_of_the_parts(kind, monkeypatch):
    monkeypatch.setattr(array_parts, "PART_ELEMENTS", 3)
    array = np.asarray(ARRAYS[kind])
    assert share_out(lambda part: part, array) == list_array_parts(array)


@pytest.mark.parametrize(("kind", "axis"), [("matrix", 0), ("transposed", 1), ("images", 0),
                                            ("channels last", 3), ("number", 0)])  # fmt: skip
def test_parts_run_along_the_axis_that_is_outermost_in_memory(kind, axis):
    assert leading_axis(np.asarray(ARRAYS[kind])) == axis


@pytest.mark.parametrize("elements", [1, 9, 10**6])
@pytest.mark.parametrize("kind", sorted(set(ARRAYS) - {"number"}))
def test_squares_are_summed_along_every_axis_in_float64(kind, elements, monkeypatch):
    monkeypatch.setattr(array_parts, "PART_ELEMENTS", elements)
    array = 1000 + ARRAYS[kind]
    for axis in range(array.ndim):
        others = tuple(i for i in range(array.ndim) if i != axis)
        wanted = (array.astype(np.float64) ** 2).sum(axis=others)
        np.testing.assert_allclose(sum_squares_along(array, axis), wanted, rtol=1e-12)
