"""The JSON holds every number, and nothing that JSON does not know."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hostile_names import make_hostile

from playground.utils import exports


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


def test_json_holds_every_number_and_nothing_that_json_does_not_know(hostile):
    comparison, findings = hostile

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = exports.create_json(comparison, findings)
    content = json.loads(text, parse_constant=refuse)
    assert [layer["layer"] for layer in content["layers"]] == list(comparison.weights)
    for layer in content["layers"]:
        for variant, one in layer["variants"].items():
            for name, expected in comparison.weights[layer["layer"]][variant].metrics.items():
                actual = one["metrics"][name]
                actual = math.nan if actual is None else float(actual)
                np.testing.assert_array_equal(actual, expected)
    assert [f["layer"] for f in content["findings"]] == list(comparison.weights)
    assert {f["numbers"]["x"] for f in content["findings"]} == {"Infinity"}
