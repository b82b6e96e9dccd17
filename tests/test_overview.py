"""What each file of a folder is, and what the folder lacks."""

from __future__ import annotations

import dataclasses

import pytest

from playground.utils.parameter_inspector import (
    VariantSummary,
)
from playground.utils.tables import (
    overview,
)

SUMMARY = VariantSummary(
    name="FP32",
    file_name="fp32.onnx",
    file_bytes=300_000,
    opset=21,
    producer="",
    layer_count=7,
    weight_layer_count=5,
    quantized_count=0,
    float_count=5,
    not_understood_count=0,
    data_types={"float32": 5},
    weight_count=12345,
)


INT8 = dataclasses.replace(
    SUMMARY,
    name="INT8",
    file_bytes=100_000,
    quantized_count=3,
    float_count=2,
    data_types={"int8": 3, "float32": 2},
)


def test_a_files_size_is_measured_against_the_originals():
    assert overview.describe_size(SUMMARY, SUMMARY) == "300 kB"
    assert overview.describe_size(INT8, SUMMARY) == "100 kB, 3.0× smaller"
    assert overview.describe_size(SUMMARY, INT8) == "300 kB, 3.0× larger"


def test_the_variant_table_has_a_row_for_each_file():
    table = overview.create_variant_table([SUMMARY, INT8]).set_index("Variant")
    assert table.loc["INT8", ["Size", "quantized", "left float"]].tolist() == [
        "100 kB, 3.0× smaller",
        3,
        2,
    ]
    assert table.loc["FP32", "Weights"] == "12,345"


@pytest.mark.parametrize(
    ("summaries", "words"),
    [([INT8], "no float original"), ([SUMMARY], "no quantized variant"), ([SUMMARY, INT8], None)],
)
def test_a_folder_that_lacks_a_side_says_which(summaries, words):
    sentences = overview.explain_variants(summaries)
    assert [words in sentence for sentence in sentences] == ([True] if words else [])
