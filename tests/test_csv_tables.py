"""Spreadsheets read every number and name back, and no cell as a formula."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hostile_names import HOSTILE, make_hostile

from playground.utils import exports
from playground.utils.parameter_inspector import METRICS


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


def test_pandas_reads_every_metric_back_from_the_csv(hostile):
    comparison, findings = hostile
    table = pd.read_csv(io.StringIO(exports.create_metrics_csv(comparison, findings)))
    measured = [one for row in comparison.weights.values() for one in row.values()]
    assert len(table) == len(measured)
    for metric in METRICS:
        expected = [one.metrics[metric.name] for one in measured]
        np.testing.assert_array_equal(table[metric.name].astype(float), expected)


def test_a_metric_that_a_layer_cannot_have_is_an_empty_cell(hostile):
    comparison, _ = hostile
    line = next(csv.DictReader(io.StringIO(exports.create_metrics_csv(comparison))))
    assert line["variant"] == "FP32"
    assert line["sqnr_db"] == ""


def test_no_text_cell_of_a_csv_begins_a_formula(hostile):
    comparison, findings = hostile
    metrics = list(csv.DictReader(io.StringIO(exports.create_metrics_csv(comparison, findings))))
    texts = [line[key] for line in metrics for key in ("layer", "layer_in_file", "findings")]
    texts += [
        cell
        for line in csv.reader(io.StringIO(exports.create_findings_csv(findings)))
        for cell in line
    ]
    assert len(texts) > len(HOSTILE)
    assert [text for text in texts if text[:1] in tuple("=+-@\t\r\n")] == []


def test_a_csv_keeps_every_name_to_the_last_character(hostile):
    comparison, findings = hostile
    lines = csv.reader(io.StringIO(exports.create_findings_csv(findings), newline=""))
    _, *names = [line[3] for line in lines]
    expected = [("'" if row[:1] in tuple("=+-@\t\r\n") else "") + row for row in comparison.weights]
    assert names == expected
