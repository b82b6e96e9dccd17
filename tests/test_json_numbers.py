"""A number in JSON is itself, and what JSON has no number for is null or a word."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest

from playground.utils.exports.json_numbers import json_number, json_numbers

LIMITS = (0.0, -0.0, 1 / 3, -1e-300, 5e-324, 1.7976931348623157e308, float(np.float32(0.1)))


def through_strict_json(content: object) -> object:
    """Write and read as RFC 8259 has it: NaN and Infinity are no numbers there."""
    return json.loads(json.dumps(content, allow_nan=False))


@pytest.mark.parametrize("number", LIMITS)
def test_a_finite_number_comes_back_in_every_bit(number):
    assert struct.pack("d", through_strict_json(json_number(number))) == struct.pack("d", number)


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_an_infinite_number_is_a_word_that_reads_as_it(number):
    found = through_strict_json(json_number(number))
    assert isinstance(found, str) and float(found) == number


@pytest.mark.parametrize("number", [math.nan, -math.nan])
def test_an_unknown_number_is_null(number):
    assert through_strict_json(json_number(number)) is None


def test_numbers_of_numpy_are_written_as_those_of_python():
    found = json_numbers({"a": np.float32(0.5), "b": np.float64("nan"), "c": np.int64(3)})
    assert through_strict_json(found) == {"a": 0.5, "b": None, "c": 3}
