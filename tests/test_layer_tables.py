"""The layers to choose from, and the parameters of one: rounded, explained, no gap unsaid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from comparisons_for_tests import (
    compare_equal,
    create_model,
    lose_bytes,
)

from playground.utils.parameter_inspector import (
    Comparison,
    Pairing,
    compare_variants,
    load_model,
)
from playground.utils.tables import (
    layer_tables,
)


@pytest.fixture(scope="module")
def parameters():
    table = layer_tables.create_parameter_table(compare_equal(), "conv")
    return table.set_index("Parameter")


@pytest.mark.parametrize(
    ("parameter", "fp32", "int8"),
    [
        ("Node type", "Conv", "Conv"),
        ("Weight shape", "5 × 3 × 2 × 4", "5 × 3 × 2 × 4"),
        ("Data type", "float32", "int8"),
        ("Granularity", "–", "per-channel"),
        ("Axis", "–", "0"),
        ("Scale", "–", "min 0.1, max 0.5, mean 0.3"),
        ("Zero-point", "–", "min 1, max 6, mean 3.2"),
        ("Input", "–", "uint8, per-tensor, scale 0.25, zero-point 7"),
    ],
)
def test_the_parameter_table_holds(parameters, parameter, fp32, int8):
    assert parameters.loc[parameter, ["FP32", "INT8"]].tolist() == [fp32, int8]


def test_the_bias_tells_its_own_quantization(parameters):
    assert parameters.loc["Bias", "FP32"] == "5 numbers, float32"
    expected = "5 numbers, int32, per-channel, scale min 0.0125, max 0.0625, mean 0.0375"
    assert parameters.loc["Bias", "INT8"].startswith(expected)


def test_every_parameter_is_explained_and_none_is_empty_everywhere(parameters):
    assert all(parameters["Meaning"].str.len() > 0)
    assert not (parameters[["FP32", "INT8"]] == "–").all(axis=1).any()
    assert "Block size" not in parameters.index


def test_every_layer_is_an_option_in_graph_order_and_the_quantized_are_marked():
    options = layer_tables.create_layer_options(compare_equal())
    assert list(options) == ["◆ conv · Conv", "– relu · Relu", "– abs · Abs"]
    assert list(options.values()) == ["conv", "relu", "abs"]


def test_a_layer_that_only_a_variant_has_is_an_option_too():
    pairings = {"INT8": Pairing((), ("conv",), ("conv", "relu"))}
    alone = replace(compare_equal(), pairings=pairings)
    names = ["conv", "relu", "abs", "conv (only in INT8)", "relu (only in INT8)"]
    assert list(layer_tables.create_layer_options(alone).values()) == names


def test_a_layer_without_quantization_parameters_is_told_in_a_sentence():
    (sentence,) = layer_tables.explain_layer(compare_equal(), "relu")
    assert sentence.startswith("This layer has no quantization parameters in FP32 and INT8")
    assert layer_tables.explain_layer(compare_equal(), "conv") == []


def unpair(name: str) -> Comparison:
    """Return the two variants without the pair of one layer, which only FP32 has then."""
    pairs = [pair for pair in compare_equal().pairings["INT8"].pairs if pair.original != name]
    return replace(compare_equal(), pairings={"INT8": Pairing(tuple(pairs), (name,), ())})


def test_a_layer_that_a_variant_lacks_is_told_in_a_sentence():
    sentence, *_ = layer_tables.explain_layer(unpair("conv"), "conv")
    assert sentence == "This layer was not found in INT8."


def test_a_layer_that_a_quantizer_merged_is_explained():
    assert "merge" in layer_tables.explain_layer(unpair("relu"), "relu")[0]


def test_a_scale_that_cannot_be_read_is_told_in_its_cell(tmp_path):
    onnx.save(lose_bytes(create_model(True), 1), tmp_path / "int8.onnx")
    comparison = compare_variants({"INT8": load_model(tmp_path / "int8.onnx")})
    table = layer_tables.create_parameter_table(comparison, "conv")
    assert "gone.bin" in table.set_index("Parameter").loc["Scale", "INT8"]


def test_equal_zero_points_are_one_number():
    assert layer_tables.format_zero_point(np.zeros(32, np.int8)) == "0 in all 32"
    assert layer_tables.format_zero_point(np.array(128, np.uint8)) == "128"
