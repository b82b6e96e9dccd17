"""What was measured of the outputs is JSON that any parser reads, whatever the numbers are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from outputs_for_tests import activation, loss, measured, outputs

from playground.utils.exports.output_records import create_outputs_json, list_output_lines


def refuse(word: str) -> None:
    raise ValueError(word)


def read_strictly(text: str) -> dict[str, object]:
    """Read as RFC 8259 has it: NaN and Infinity are no numbers there."""
    return json.loads(text, parse_constant=refuse)["outputs"]["INT8"]


def test_each_sample_has_its_own_decibels():
    comparison = measured(outputs(losses=(loss((12.0, 31.0, 20.0)),)))
    (found,) = read_strictly(create_outputs_json(comparison))["outputs"]
    assert found["sample_sqnr_db"] == pytest.approx([12, 31, 20])
    assert found["worst_sample"] == 0


def test_a_lossless_output_reads_as_infinite():
    comparison = measured(outputs(losses=(loss((math.inf,)),)))
    (found,) = read_strictly(create_outputs_json(comparison))["outputs"]
    assert float(found["sqnr_db"]) == np.inf


def test_the_rows_of_a_terminal_and_the_rest_add_up_to_every_share():
    shares = [0.4, 0.2, 0.1, 0.06, 0.05, 0.05, 0.04, 0.03, 0.03, 0.02, 0.01, 0.01]
    quantizers = [activation(i, name) for i, name in enumerate("rpstqabcdefg")]
    comparison = measured(outputs(*quantizers, shares=shares))
    lines = list(list_output_lines(comparison, "INT8"))
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["share"])
    percents = [float(line.split("%")[0]) for line in lines[start + 1 :] if "%" in line[:9]]
    assert len(percents) == 11
    assert sum(percents) == pytest.approx(100, abs=0.6)
