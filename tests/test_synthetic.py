"""Inputs made up where there are no samples: of the shapes, types and ranges that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from playground.utils.parameter_inspector.facts import SampleKind
from playground.utils.parameter_inspector.running.sample_problems import (
    ModelInput,
    SampleProblemKind,
    SamplesError,
)
from playground.utils.parameter_inspector.running.synthetic import make_synthetic

IMAGE = ModelInput("x", "float32", ("n", 3, None))


def test_synthetic_floats_lie_between_0_and_1():
    found = make_synthetic([ModelInput("x", "float32", ("n", 3, 50, 60))])
    values = found.inputs["x"]
    assert (found.kind, found.count, values.shape) == (SampleKind.SYNTHETIC, 4, (4, 3, 50, 60))
    assert 0 <= values.min() < 0.01 and 0.99 < values.max() <= 1


def test_synthetic_integers_stay_below_the_length_of_their_table():
    wanted = [ModelInput(name, "int64", ("n", 1000)) for name in ("ids", "types")]
    found = make_synthetic(wanted, {"ids": 30})
    assert set(found.inputs["ids"].flat) == set(range(30))
    assert set(found.inputs["types"].flat) == {0, 1}


@pytest.mark.parametrize("name, data_type", [("attention_mask", "int64"), ("keep", "bool")])
def test_synthetic_masks_let_everything_through(name, data_type):
    found = make_synthetic([ModelInput(name, data_type, ("n", 9))])
    np.testing.assert_array_equal(found.inputs[name], np.ones((4, 9)))


def test_synthetic_samples_repeat_themselves():
    first, second = (make_synthetic([IMAGE], seed=3).inputs["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "shape, expected",
    [
        (("n", 3, "h", "w"), (4, 3, 64, 64)),
        (("n", "h", "w", 3), (4, 64, 64, 3)),
        ((1, 3, 8, 9), (4, 3, 8, 9)),
        (("n", None), (4, 16)),
        ((7, 5), (4, 7, 5)),
        ((), (4,)),
    ],
)
def test_open_sizes_of_synthetic_samples_are_chosen(shape, expected):
    assert make_synthetic([ModelInput("x", "float32", shape)]).inputs["x"].shape == expected


def test_an_axis_of_one_name_has_one_size():
    wanted = [ModelInput(name, "int64", ("n", "length")) for name in ("ids", "mask")]
    found = make_synthetic(wanted, sizes={"length": 11}, count=2)
    assert {array.shape for array in found.inputs.values()} == {(2, 11)}


def test_an_index_stays_within_its_type():
    found = make_synthetic([ModelInput("ids", "uint8", ("n", 5000))], {"ids": 100_000})
    assert set(found.inputs["ids"].flat) == set(range(256))


def test_an_input_of_text_cannot_be_made_up():
    with pytest.raises(SamplesError) as raised:
        make_synthetic([IMAGE, ModelInput("words", "string", ("n",))])
    assert raised.value.problem.kind is SampleProblemKind.UNSUPPORTED
    assert raised.value.problem.array == "words"
