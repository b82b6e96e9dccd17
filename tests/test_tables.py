"""The tables and the sentences: every number rounded for reading, every gap said in words."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from playground.utils import tables
from playground.utils.parameter_inspector import (
    LayerPair,
    LayerRanges,
    Pairing,
    VariantSummary,
    compute_all_layer_ranges,
    find_layer,
    layer_names,
    load_model,
    pair_variants,
)

SHAPE = (5, 3, 2, 4)
SCALE = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
ZERO_POINT = np.array([1, 2, 3, 4, 6], np.int8)
BIAS = np.arange(5, dtype=np.int32)
CODES = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)


def create_model(quantized: bool) -> onnx.ModelProto:
    """Return Conv -> Relu -> Abs, the Conv quantized per channel with its input, or float."""
    arrays, nodes, weight = {}, [], ["x", "w", "b"]
    if quantized:
        arrays = {"q": CODES, "s": SCALE, "z": ZERO_POINT, "bq": BIAS, "bs": SCALE / 8}
        arrays |= {"xs": np.float32(0.25), "xz": np.uint8(7), "bz": np.zeros(5, np.int32)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
            helper.make_node("DequantizeLinear", ["bq", "bs", "bz"], ["b"], axis=0),
        ]
        weight = ["xd", "w", "b"]
    else:
        steps = CODES.astype(np.float32) - ZERO_POINT.reshape(5, 1, 1, 1)
        arrays = {"w": steps * SCALE.reshape(5, 1, 1, 1), "b": np.zeros(5, np.float32)}
    nodes += [
        helper.make_node("Conv", weight, ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Abs", ["r"], ["y"], "abs"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (1, 3, 6, 7)), ("y", (1, 5, 5, 4)))
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(
        helper.make_graph(nodes, "graph", *ends, stored),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


@pytest.fixture(scope="module")
def variants():
    return {"FP32": load_model(create_model(False)), "INT8": load_model(create_model(True))}


@pytest.fixture(scope="module")
def pairings(variants):
    return pair_variants(variants)


@pytest.fixture(scope="module")
def parameters(variants, pairings):
    table = tables.create_parameter_table(variants, layer_names(variants, "conv", pairings))
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
    assert all(parameters["In words"].str.len() > 0)
    assert not (parameters[["FP32", "INT8"]] == "–").all(axis=1).any()
    assert "Block size" not in parameters.index


def test_every_layer_is_an_option_in_graph_order_and_the_quantized_are_marked(variants, pairings):
    options = tables.create_layer_options(variants, pairings)
    assert list(options) == ["◆ conv · Conv", "– relu · Relu", "– abs · Abs"]
    assert list(options.values()) == ["conv", "relu", "abs"]


def test_a_layer_that_only_a_variant_has_is_an_option_too(variants):
    alone = {"INT8": Pairing((), ("conv",), ("conv", "relu"))}
    others = {"FP32": variants["FP32"], "INT8": variants["INT8"]}
    rows = ["conv", "relu", "abs", "conv (only in INT8)", "relu (only in INT8)"]
    assert list(tables.create_layer_options(others, alone).values()) == rows


def test_a_layer_without_quantization_parameters_is_told_in_a_sentence(variants, pairings):
    (sentence,) = tables.explain_layer(variants, layer_names(variants, "relu", pairings))
    assert sentence.startswith("This layer has no quantization parameters in FP32 and INT8")
    assert tables.explain_layer(variants, layer_names(variants, "conv", pairings)) == []


def test_a_layer_that_a_variant_lacks_is_told_in_a_sentence(variants):
    sentences = tables.explain_layer(variants, {"INT8": "conv"})
    assert sentences == ["This layer was not found in FP32."]


def test_a_layer_that_a_quantizer_merged_is_explained(variants):
    sentences = tables.explain_layer(variants, {"FP32": "relu"})
    assert "merge" in sentences[0]


@pytest.fixture(scope="module")
def range_table(variants, pairings):
    ranges = compute_all_layer_ranges(variants, pairings)
    return tables.create_range_table(ranges, list(variants), pairings)


def test_the_range_table_has_the_rows_of_the_heatmap_and_numpys_numbers(range_table):
    values = (CODES - ZERO_POINT.reshape(5, 1, 1, 1).astype(np.float64)) * SCALE.reshape(5, 1, 1, 1)
    (row,) = range_table.to_dict("records")
    assert row["layer"] == "conv"
    for name in ("FP32", "INT8"):
        assert row[f"{name} low"] == pytest.approx(values.min(), rel=1e-3)
        assert row[f"{name} high"] == pytest.approx(values.max(), rel=1e-3)
        assert row[f"{name} width"] == pytest.approx(np.ptp(values), rel=1e-3)


def test_every_column_of_the_range_table_has_a_tooltip(range_table):
    assert set(tables.explain_columns(range_table)) == set(range_table.columns)


def test_a_range_that_is_missing_leaves_its_cells_empty():
    rows = [LayerRanges("a", "Conv", {"FP32": (-1.23456, 2.0)}), LayerRanges("b", "Conv", {})]
    table = tables.create_range_table(rows, ["FP32"], {})
    assert table["FP32 low"].tolist()[0] == -1.235
    assert table.iloc[1][["FP32 low", "FP32 high", "FP32 width"]].isna().all()
    assert "paired by" not in table


def pairing_of(*pairs: LayerPair) -> Pairing:
    return Pairing(pairs, ("left",), ("over", "spare"))


AGREED = LayerPair("conv", "conv_q", "name and values", 0.98765)
GUESSED = LayerPair("conv", "conv_q", "order: a guess", 0.1)


@pytest.mark.parametrize(
    ("pairings", "text"),
    [
        ({"INT8": pairing_of(AGREED), "UINT8": pairing_of(AGREED)}, "✓ name and values"),
        ({"INT8": pairing_of(GUESSED)}, "? order: a guess"),
        (
            {"INT8": pairing_of(LayerPair("conv", "conv", "name only: values differ", 0.1))},
            "? name",
        ),
        ({"INT8": pairing_of(AGREED), "UINT8": pairing_of()}, "UINT8: ✗ not paired"),
        ({}, "–"),
    ],
)
def test_the_evidence_of_a_pair_is_marked_and_said_once(pairings, text):
    assert text in tables.describe_pairing("conv", pairings)
    assert tables.describe_pairing("conv", pairings).count("name and values") <= 1


def test_the_pairing_of_a_layer_names_its_partner_and_the_likeness():
    table = tables.create_pairing_table({"INT8": pairing_of(AGREED), "X": pairing_of()}, "conv")
    assert table.values.tolist() == [
        ["INT8", "conv_q", "✓ name and values", "0.988", "–"],
        ["X", "–", "✗ not paired", "–", "–"],
    ]


def test_unpaired_layers_are_listed_on_both_sides():
    table = tables.create_unpaired_table("FP32", {"INT8": pairing_of()})
    assert table.values.tolist() == [
        ["FP32", "left", "INT8"],
        ["INT8", "over", "FP32"],
        ["INT8", "spare", "FP32"],
    ]


def test_what_was_not_understood_is_listed_with_operator_and_reason():
    model = create_model(True)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(SCALE[:3], "s"))
    table = tables.create_not_understood_table({"INT8": load_model(model)})
    variant, layer, operator, reason = table.iloc[0]
    assert (variant, layer, operator) == ("INT8", "conv", "Conv")
    assert "(3,)" in reason


def test_a_model_that_is_understood_lists_nothing(variants):
    assert len(tables.create_not_understood_table(variants)) == 0


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


def test_a_variant_is_described_by_its_types_its_size_and_what_stayed_float():
    assert tables.describe_variant(SUMMARY, SUMMARY) == "float32 × 5"
    expected = "int8 × 3, float32 × 2 · 3.0× smaller · 2 left float"
    assert tables.describe_variant(INT8, SUMMARY) == expected
    assert "3.0× larger" in tables.describe_variant(SUMMARY, INT8)


def test_the_variant_table_has_a_row_for_each_file():
    table = tables.create_variant_table([SUMMARY, INT8]).set_index("Variant")
    assert table.loc["INT8", ["Size", "quantized", "left float"]].tolist() == ["100 kB", 3, 2]
    assert table.loc["FP32", "Weights"] == "12,345"


@pytest.mark.parametrize(
    ("summaries", "words"),
    [([INT8], "no float original"), ([SUMMARY], "no quantized variant"), ([SUMMARY, INT8], None)],
)
def test_a_folder_that_lacks_a_side_says_which(summaries, words):
    sentences = tables.explain_variants(summaries)
    assert [words in sentence for sentence in sentences] == ([True] if words else [])


def test_a_link_to_a_missing_layer_is_told_in_a_sentence():
    assert "the layer 'stem'" in tables.explain_link("layer", "stem", ["conv"])[0]
    assert tables.explain_link("layer", "conv", ["conv"]) == []
    assert tables.explain_link("layer", None, ["conv"]) == []


def test_weights_that_cannot_be_read_are_told_beside_those_that_can(variants, tmp_path):
    model = create_model(True)
    codes = model.graph.initializer[0]
    codes.ClearField("raw_data")
    codes.data_location = TensorProto.EXTERNAL
    codes.external_data.add(key="location", value="gone.bin")
    onnx.save(model, tmp_path / "int8.onnx")
    models = {"FP32": variants["FP32"], "INT8": load_model(tmp_path / "int8.onnx")}
    weights = {name: find_layer(model, "conv").weight for name, model in models.items()}
    values, problems = tables.read_values(weights)
    assert list(values) == ["FP32"]
    assert len(problems) == 1
    assert "gone.bin" in problems[0]


def test_a_scale_that_cannot_be_read_is_told_in_its_cell(tmp_path):
    model = create_model(True)
    scale = model.graph.initializer[1]
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="gone.bin")
    onnx.save(model, tmp_path / "int8.onnx")
    table = tables.create_parameter_table(
        {"INT8": load_model(tmp_path / "int8.onnx")}, {"INT8": "conv"}
    )
    assert "gone.bin" in table.set_index("Parameter").loc["Scale", "INT8"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (82966, "83 kB"), (3_593_903, "3.59 MB"), (2e9, "2 GB")],
)
def test_sizes_are_said_as_people_say_them(count, text):
    assert tables.format_bytes(count) == text


def test_equal_zero_points_are_one_number():
    assert tables.format_zero_point(np.zeros(32, np.int8)) == "0 in all 32"
    assert tables.format_zero_point(np.array(128, np.uint8)) == "128"


def test_a_table_on_the_page_is_plain_text_with_row_headings():
    table = tables.create_unpaired_table("<b>", {"&": Pairing((), ('"x"',), ())})
    html = tables.to_html(table)
    assert '<th scope="row">&lt;b&gt;</th><td>&quot;x&quot;</td><td>&amp;</td>' in html
    assert "<b>" not in html
