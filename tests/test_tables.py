"""The tables and the sentences: every number rounded for reading, every gap said in words."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from models_for_tests import make_model
from onnx import TensorProto, helper, numpy_helper

from playground.utils import tables
from playground.utils.parameter_inspector import (
    METRICS,
    Comparison,
    LayerPair,
    LayerRanges,
    Pairing,
    VariantSummary,
    compare_variants,
    find_layer,
    layer_names,
    load_model,
    pair_variants,
)
from playground.utils.parameter_inspector.judging.rules import Finding

SHAPE = (5, 3, 2, 4)
SCALE = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
ZERO_POINT = np.array([1, 2, 3, 4, 6], np.int8)
BIAS = np.arange(5, dtype=np.int32)
CODES = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)


SPREAD = SCALE.reshape(5, 1, 1, 1)
VALUES = (CODES - ZERO_POINT.reshape(5, 1, 1, 1).astype(np.float32)) * SPREAD
# In steps of the scale: what rounding leaves, and one weight that was cut off.
ERRORS = np.random.default_rng(1).uniform(-0.49, 0.49, SHAPE).astype(np.float32)
ERRORS[3, 1, 0, 2] = 2.75


def create_model(quantized: bool, errors: np.ndarray | float = 0.0) -> onnx.ModelProto:
    """Return Conv -> Relu -> Abs, the Conv quantized per channel with its input, or float.

    Args:
        errors: float weight - value, in steps.
    """
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
        arrays = {"w": VALUES + errors * SPREAD, "b": np.zeros(5, np.float32)}
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
    table = tables.layer_tables.create_parameter_table(
        variants, layer_names(variants, "conv", pairings)
    )
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
    options = tables.layer_tables.create_layer_options(variants, pairings)
    assert list(options) == ["◆ conv · Conv", "– relu · Relu", "– abs · Abs"]
    assert list(options.values()) == ["conv", "relu", "abs"]


def test_a_layer_that_only_a_variant_has_is_an_option_too(variants):
    alone = {"INT8": Pairing((), ("conv",), ("conv", "relu"))}
    others = {"FP32": variants["FP32"], "INT8": variants["INT8"]}
    rows = ["conv", "relu", "abs", "conv (only in INT8)", "relu (only in INT8)"]
    assert list(tables.layer_tables.create_layer_options(others, alone).values()) == rows


def test_a_layer_without_quantization_parameters_is_told_in_a_sentence(variants, pairings):
    (sentence,) = tables.layer_tables.explain_layer(
        variants, layer_names(variants, "relu", pairings)
    )
    assert sentence.startswith("This layer has no quantization parameters in FP32 and INT8")
    assert (
        tables.layer_tables.explain_layer(variants, layer_names(variants, "conv", pairings)) == []
    )


def test_a_layer_that_a_variant_lacks_is_told_in_a_sentence(variants):
    sentences = tables.layer_tables.explain_layer(variants, {"INT8": "conv"})
    assert sentences == ["This layer was not found in FP32."]


def test_a_layer_that_a_quantizer_merged_is_explained(variants):
    sentences = tables.layer_tables.explain_layer(variants, {"FP32": "relu"})
    assert "merge" in sentences[0]


# The ranking


@pytest.fixture(scope="module")
def lossy():
    """Return variants whose weights differ by ERRORS, and their comparison."""
    models = {
        "FP32": load_model(create_model(False, ERRORS)),
        "INT8": load_model(create_model(True)),
    }
    return compare_variants(models)


def finding(severity: str, layer: str = "conv", variant: str = "INT8", rule: str = "clipping"):
    return Finding(rule, severity, variant, layer, "It has 3.", "Do `this`.")


def stub(layer: str, severity: str = "", **metrics: float) -> tables.ranking.RankedLayer:
    numbers = {metric.name: np.nan for metric in METRICS} | metrics
    found = (finding(severity, layer),) if severity else ()
    return tables.ranking.RankedLayer(layer, "INT8", SimpleNamespace(metrics=numbers), found)


def ranking_of(comparison, findings=()):
    ranked = tables.ranking.rank_layers(comparison, findings)
    return tables.ranking.create_ranking(ranked, comparison.pairings)


def test_the_ranking_has_a_row_for_each_quantized_layer_with_numpys_numbers(lossy):
    comparison = lossy
    (row,) = ranking_of(comparison).to_dict("records")
    exact = (VALUES + ERRORS * SPREAD).astype(np.float64).reshape(5, -1)
    error = exact - VALUES.reshape(5, -1)
    decibels = 20 * np.log10(np.linalg.norm(exact, axis=1) / np.linalg.norm(error, axis=1))
    assert (row["layer"], row["variant"], row["operator"]) == ("conv", "INT8", "Conv")
    assert row["worst channel, dB"] == pytest.approx(decibels.min(), rel=1e-4)
    assert row["channel no."] == decibels.argmin()
    assert row["lowest"] == pytest.approx(VALUES.min())
    assert row["width"] == pytest.approx(np.ptp(VALUES))
    assert row["paired by"] == "✓ name and values"


def test_every_metric_has_a_column_of_its_own_with_its_definition_as_tooltip(lossy):
    table = ranking_of(lossy, lossy[0])
    meanings = tables.ranking.explain_ranking(table)
    assert list(meanings) == list(table.columns)
    for metric in METRICS:
        assert meanings[tables.ranking.name_metric(metric)] == metric.definition


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (stub("a", worst_channel_sqnr_db=12.0), stub("b", worst_channel_sqnr_db=30.0)),
        (stub("a", worst_channel_sqnr_db=12.0), stub("b", "error", worst_channel_sqnr_db=13.0)),
        (stub("a", "error"), stub("b", worst_channel_sqnr_db=0.0)),
        (stub("a", worst_channel_sqnr_db=50.0), stub("b", "warning")),
        (stub("a", "warning", range_disparity=2.0), stub("b", range_disparity=9.0)),
        (stub("a", range_disparity=9.0), stub("b", range_disparity=2.0)),
        (stub("a", range_disparity=2.0), stub("b")),
        (stub("a"), stub("b", worst_channel_sqnr_db=np.inf)),
    ],
)
def test_the_worst_channel_decides_and_without_it_severity_then_disparity(worse, better):
    assert worse.badness < better.badness


def test_a_finding_about_a_layer_without_weights_has_a_row_too(lossy):
    comparison = lossy
    table = ranking_of(comparison, [finding("error", "relu")])
    assert table["layer"].tolist() == ["relu", "conv"]
    assert table["severity"].tolist() == ["✕ error", "–"]
    assert np.isnan(table["SQNR, dB"][0])


def test_the_worst_finding_gives_the_severity_and_all_are_named(lossy):
    findings = [finding("note", rule="u8s8-saturation"), finding("warning")]
    (row,) = ranking_of(lossy, findings).to_dict("records")
    assert row["severity"] == "▲ warning"
    assert row["finding"].split("; ") == [tables.finding_tables.TITLES[f.rule] for f in findings]


@pytest.mark.parametrize(
    ("names", "judged"),
    [(["FP32", "INT8"], ["INT8"]), (["INT8"], ["INT8"]), (["FP32"], ["FP32"])],
)
def test_the_float_original_is_judged_only_if_it_is_alone(variants, names, judged):
    models = {name: variants[name] for name in names}
    assert tables.ranking.list_judged(compare_variants(models)) == judged


def test_two_quantized_builds_without_a_float_one_are_both_judged(variants):
    models = {"A": variants["INT8"], "B": variants["INT8"]}
    table = ranking_of(compare_variants(models))
    assert table["variant"].tolist() == ["A", "B"]
    assert table["range disparity, ×"].notna().all()


def test_what_needs_the_missing_float_original_stands_last(variants):
    models = {"INT8": variants["INT8"]}
    table = ranking_of(compare_variants(models))
    known = table.notna().any().tolist()
    assert known == sorted(known, reverse=True)
    assert len(known) == 7 + len(METRICS) + 1


RANKED = [stub("a", "error"), stub("b", "warning"), stub("c", "note"), stub("d")]


@pytest.mark.parametrize(
    ("level", "layers"), [("error", "a"), ("warning", "ab"), ("note", "abc"), ("", "abcd")]
)
def test_the_filter_keeps_what_is_at_least_so_bad(level, layers):
    assert "".join(one.layer for one in tables.ranking.select_ranked(RANKED, level)) == layers


def test_the_filter_offers_what_occurs_and_counts_its_rows():
    options = ["all 4 rows", "✕ error · 1", "▲ warning or worse · 2", "● note or worse · 3"]
    assert list(tables.ranking.create_severity_options(RANKED)) == options
    assert list(tables.ranking.create_severity_options(RANKED[3:])) == ["all 1 rows"]


@pytest.mark.parametrize(
    ("column", "number", "text"),
    [
        ("SQNR, dB", 36.0, "36.0"),
        ("SQNR, dB", -1.25, "−1.2"),
        ("SQNR, dB", np.inf, "exact"),
        ("SQNR, dB", np.nan, "–"),
        ("SQNR, dB", None, "–"),
        ("channels < 20 dB", 0.96875, "96.9%"),
        ("codes used", 1.0, "100.0%"),
        ("dead channels", 15.0, "15"),
        ("lowest", -0.0123456, "−0.0123"),
        ("width", 0.5, "0.5"),
    ],
)
def test_a_number_of_the_ranking_is_written_for_reading(lossy, column, number, text):
    formats = tables.ranking.format_ranking(ranking_of(lossy, lossy[0]))
    assert formats[column](number) == text


# The findings


def test_the_network_is_judged_in_one_sentence(lossy):
    comparison = lossy
    findings = [finding("error", ""), finding("error"), finding("warning", rule="bad-scale")]
    ranked = tables.ranking.rank_layers(comparison, findings)
    sentence = tables.ranking.summarize_findings(findings, ranked)
    assert sentence.startswith("2 errors, 1 warning: the worst is")
    assert sentence.endswith("(INT8, conv).")


def test_a_healthy_network_says_so_plainly_and_on_what_grounds(lossy, variants):
    ranked = tables.ranking.rank_layers(lossy, [])
    sentence = tables.ranking.summarize_findings([], ranked)
    assert sentence.startswith("No findings")
    assert "1 of 1 quantized weights were compared" in sentence
    alone = {"INT8": variants["INT8"]}
    ranked = tables.ranking.rank_layers(list(alone), compare_variants(alone), [])
    assert "no float original to compare with" in tables.ranking.summarize_findings([], ranked)
    alone = {"FP32": variants["FP32"]}
    ranked = tables.ranking.rank_layers(list(alone), compare_variants(alone), [])
    assert "nothing to judge" in tables.ranking.summarize_findings([], ranked)


def test_a_callout_is_plain_text_but_for_its_code():
    lines = tables.finding_tables.explain_finding(
        Finding("clipping", "error", "<b>", "conv", "a & `x<y>`", "Do `this`.")
    )
    html = tables.text.to_callout(lines)
    assert "✕ error in &lt;b&gt;: " in html
    assert "<div>a &amp; <code>x&lt;y&gt;</code></div>" in html
    assert "What helps: Do <code>this</code>." in html


def test_layers_with_errors_and_warnings_are_ticked_to_be_left_out(lossy):
    findings = [finding("note"), finding("warning", "relu"), finding("error", "")]
    assert tables.finding_tables.list_layers_to_exclude(lossy, findings) == (
        ["conv", "relu"],
        ["relu"],
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [("dscnn", "dscnn"), ("../a b/ü.onnx", "a-b-.onnx"), ("..", "model"), ("<>", "model")],
)
def test_the_name_of_a_file_to_download_is_safe(name, file):
    assert tables.text.name_file(name) == file


def test_the_metric_that_colours_a_graph_is_the_first_that_is_known(lossy):
    ranked = tables.ranking.rank_layers(lossy, [])
    assert tables.ranking.choose_metric(ranked) == "worst channel, dB"
    assert tables.ranking.choose_metric([stub("a", dead_channels=1.0)]) == "dead channels"
    assert tables.ranking.choose_metric([]) == "worst channel, dB"


# The errors in steps


def test_errors_are_counted_in_steps_of_the_scale(lossy):
    errors, problems = tables.count_tables.compute_layer_errors(lossy, "conv")
    one = errors["INT8"]
    assert (list(errors), problems, one.count) == (["INT8"], [], ERRORS.size)
    assert one.largest == pytest.approx(2.75, rel=1e-3)
    assert one.rms == pytest.approx(np.sqrt(np.mean(np.square(ERRORS, dtype=float))), rel=1e-3)
    assert one.beyond_half_share == 1 / ERRORS.size
    assert (one.edges[0], one.edges[-1], one.counts.sum()) == (-3, 3, ERRORS.size)
    assert one.rms == pytest.approx(lossy.weights["conv"]["INT8"].metrics["rmse_steps"])


def test_half_a_step_is_an_edge_of_the_bins_and_no_error_is_beyond_it_by_rounding():
    exact = np.array([[-0.5], [0.25], [0.50001], [100]], np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
    codes = {"q": np.array([[0], [0], [0], [100]], np.int8), "s": np.float32(1)}
    dequantize = helper.make_node("DequantizeLinear", ["q", "s"], ["w"])
    comparison = compare_variants(
        {
            "FP32": load_model(make_model([node], {"w": exact}, inputs={"x": (2, 4)})),
            "INT8": load_model(make_model([dequantize, node], codes, inputs={"x": (2, 4)})),
        }
    )
    one = tables.count_tables.compute_layer_errors(comparison, "fc")[0]["INT8"]
    assert one.count == 4
    assert 0.5 in one.edges
    assert one.beyond_half_share == 0


def test_a_weight_without_a_float_original_has_no_errors(variants):
    alone = {"INT8": variants["INT8"]}
    assert tables.count_tables.compute_layer_errors(compare_variants(alone), "conv") == ({}, [])
    assert tables.count_tables.compute_layer_errors(compare_variants(alone), "relu") == ({}, [])


# The pairing


def pairing_of(*pairs: LayerPair) -> Pairing:
    return Pairing(pairs, ("left",), ("over", "spare"))


AGREED = LayerPair("conv", "conv_q", "name and values", 0.98765)
GUESSED = LayerPair("conv", "conv_q", "order: a guess", 0.1)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (AGREED, "✓ name and values"),
        (GUESSED, "? order: a guess"),
        (LayerPair("conv", "conv", "name only: values differ", 0.1), "? name only: values differ"),
        (None, "✗ not paired"),
    ],
)
def test_the_evidence_of_a_pair_is_marked(pair, text):
    assert tables.pairing_tables.mark_evidence(pair) == text


def test_the_pairing_of_a_layer_names_its_partner_and_the_likeness():
    table = tables.pairing_tables.create_pairing_table(
        {"INT8": pairing_of(AGREED), "X": pairing_of()}, "conv"
    )
    assert table.values.tolist() == [
        ["INT8", "conv_q", "✓ name and values", "0.988", "–"],
        ["X", "–", "✗ not paired", "–", "–"],
    ]


def test_unpaired_layers_are_listed_on_both_sides():
    table = tables.pairing_tables.create_unpaired_table("FP32", {"INT8": pairing_of()})
    assert table.values.tolist() == [
        ["FP32", "left", "INT8"],
        ["INT8", "over", "FP32"],
        ["INT8", "spare", "FP32"],
    ]


def test_what_was_not_understood_is_listed_with_operator_and_reason():
    model = create_model(True)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(SCALE[:3], "s"))
    table = tables.pairing_tables.create_not_understood_table(
        compare_variants({"INT8": load_model(model)})
    )
    variant, layer, operator, reason = table.iloc[0]
    assert (variant, layer, operator) == ("INT8", "conv", "Conv")
    assert "(3,)" in reason


def test_a_model_that_is_understood_lists_nothing(variants):
    assert len(tables.pairing_tables.create_not_understood_table(compare_variants(variants))) == 0


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
    assert tables.overview.describe_variant(SUMMARY, SUMMARY) == "float32 × 5"
    expected = "int8 × 3, float32 × 2 · 3.0× smaller · 2 left float"
    assert tables.overview.describe_variant(INT8, SUMMARY) == expected
    assert "3.0× larger" in tables.overview.describe_variant(SUMMARY, INT8)


def test_the_variant_table_has_a_row_for_each_file():
    table = tables.overview.create_variant_table([SUMMARY, INT8]).set_index("Variant")
    assert table.loc["INT8", ["Size", "quantized", "left float"]].tolist() == ["100 kB", 3, 2]
    assert table.loc["FP32", "Weights"] == "12,345"


@pytest.mark.parametrize(
    ("summaries", "words"),
    [([INT8], "no float original"), ([SUMMARY], "no quantized variant"), ([SUMMARY, INT8], None)],
)
def test_a_folder_that_lacks_a_side_says_which(summaries, words):
    sentences = tables.overview.explain_variants(summaries)
    assert [words in sentence for sentence in sentences] == ([True] if words else [])


def test_a_link_to_a_missing_layer_is_told_in_a_sentence():
    assert "the layer 'stem'" in tables.text.explain_link("layer", "stem", ["conv"])[0]
    assert tables.text.explain_link("layer", "conv", ["conv"]) == []
    assert tables.text.explain_link("layer", None, ["conv"]) == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [("int8", "INT8"), ("INT8", "INT8"), ("int4", "int4"), ("fp32 (A)", "FP32 (a)"), (None, None)],
)
def test_a_link_names_a_variant_in_any_case(asked, found):
    assert tables.text.match_name(asked, ["FP32 (a)", "INT8", "uint8"]) == found


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1200])
def test_the_pages_of_the_heatmap_hold_every_row_once_and_none_more_than_fits(count):
    rows = [LayerRanges(str(i), "Conv", {}) for i in range(count)]
    pages = [
        tables.ranking.select_page(rows, start)
        for start in tables.ranking.list_pages(rows).values()
    ]
    assert [row for page in pages for row in page] == rows
    assert max(map(len, pages)) <= 500
    assert len(pages) == max(1, -(-count // 500))


def test_the_ranking_of_many_layers_asks_for_each_finding_once():
    class Counted(Finding):
        asked = 0

        def __getattribute__(self, name):
            Counted.asked += name == "layer"
            return super().__getattribute__(name)

    found = [Counted(**vars(finding("note", str(i)))) for i in range(50)]
    Counted.asked = 0
    ranked = tables.ranking.rank_layers(Comparison({}, {}, {}, {}), found)
    assert {one.layer for one in ranked} == {str(i) for i in range(50)}
    assert Counted.asked < 10 * len(found)


def test_histograms_hold_every_weight_of_every_variant(variants):
    histograms, problems = tables.count_tables.count_weights(compare_variants(variants), "conv")
    assert problems == []
    for name, model in variants.items():
        assert histograms.counts[name].sum() == find_layer(model, "conv").weight.values.size


def test_a_layer_without_weights_has_no_histograms(variants):
    assert tables.count_tables.count_weights(compare_variants(variants), "relu") == (None, [])


def test_weights_that_cannot_be_read_are_told_beside_those_that_can(variants, tmp_path):
    model = create_model(True)
    codes = model.graph.initializer[0]
    codes.ClearField("raw_data")
    codes.data_location = TensorProto.EXTERNAL
    codes.external_data.add(key="location", value="gone.bin")
    onnx.save(model, tmp_path / "int8.onnx")
    models = {"FP32": variants["FP32"], "INT8": load_model(tmp_path / "int8.onnx")}
    histograms, problems = tables.count_tables.count_weights(compare_variants(models), "conv")
    assert list(histograms.counts) == ["FP32"]
    assert [problem.split(" cannot")[0] for problem in problems] == ["The weight of INT8"]
    assert "gone.bin" in problems[0]


def test_a_scale_that_cannot_be_read_is_told_in_its_cell(tmp_path):
    model = create_model(True)
    scale = model.graph.initializer[1]
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="gone.bin")
    onnx.save(model, tmp_path / "int8.onnx")
    table = tables.layer_tables.create_parameter_table(
        {"INT8": load_model(tmp_path / "int8.onnx")}, {"INT8": "conv"}
    )
    assert "gone.bin" in table.set_index("Parameter").loc["Scale", "INT8"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (82966, "83 kB"), (3_593_903, "3.59 MB"), (2e9, "2 GB")],
)
def test_sizes_are_said_as_people_say_them(count, text):
    assert tables.text.format_bytes(count) == text


def test_equal_zero_points_are_one_number():
    assert tables.layer_tables.format_zero_point(np.zeros(32, np.int8)) == "0 in all 32"
    assert tables.layer_tables.format_zero_point(np.array(128, np.uint8)) == "128"


def test_a_table_on_the_page_is_plain_text_with_row_headings():
    table = tables.pairing_tables.create_unpaired_table("<b>", {"&": Pairing((), ('"x"',), ())})
    html = tables.text.to_html(table)
    assert '<th scope="row">&lt;b&gt;</th><td>&quot;x&quot;</td><td>&amp;</td>' in html
    assert "<b>" not in html
