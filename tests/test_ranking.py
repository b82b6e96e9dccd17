"""The ranking: worst first, every metric a column, numbers written as their kind asks."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons_for_tests import (
    ERRORS,
    SPREAD,
    VALUES,
    compare_equal,
    compare_lossy,
    make_finding,
    make_ranked,
)
from measured_for_tests import compare_measured

from playground.utils import spelling
from playground.utils.parameter_inspector import (
    METRICS,
    Comparison,
    LayerRanges,
    compare_variants,
)
from playground.utils.parameter_inspector.judging.finding_wording import TITLES
from playground.utils.parameter_inspector.judging.findings import Finding
from playground.utils.tables import (
    ranking,
)


def ranking_of(comparison, findings=()):
    ranked = ranking.rank_layers(comparison, findings)
    return ranking.create_ranking(ranked, comparison)


def test_the_ranking_has_a_row_for_each_quantized_layer_with_numpys_numbers():
    comparison = compare_lossy()
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


def test_every_metric_has_a_column_of_its_own_with_its_definition_as_tooltip():
    table = ranking_of(compare_lossy())
    meanings = ranking.explain_ranking(table)
    assert list(meanings) == list(table.columns)
    for metric in METRICS:
        assert meanings[spelling.name_metric(metric)] == metric.definition


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (
            make_ranked("a", worst_channel_sqnr_db=12.0),
            make_ranked("b", worst_channel_sqnr_db=30.0),
        ),
        (
            make_ranked("a", worst_channel_sqnr_db=12.0),
            make_ranked("b", "error", worst_channel_sqnr_db=13.0),
        ),
        (make_ranked("a", "error"), make_ranked("b", worst_channel_sqnr_db=0.0)),
        (make_ranked("a", worst_channel_sqnr_db=50.0), make_ranked("b", "warning")),
        (make_ranked("a", "warning", range_disparity=2.0), make_ranked("b", range_disparity=9.0)),
        (make_ranked("a", range_disparity=9.0), make_ranked("b", range_disparity=2.0)),
        (make_ranked("a", range_disparity=2.0), make_ranked("b")),
        (make_ranked("a"), make_ranked("b", worst_channel_sqnr_db=np.inf)),
    ],
)
def test_the_worst_channel_decides_and_without_it_severity_then_disparity(worse, better):
    assert worse.badness < better.badness


def test_a_finding_about_a_layer_without_weights_has_a_row_too():
    comparison = compare_lossy()
    table = ranking_of(comparison, [make_finding("error", "relu")])
    assert table["layer"].tolist() == ["relu", "conv"]
    assert table["severity"].tolist() == ["✕ error", "–"]
    assert np.isnan(table["SQNR, dB"][0])


def test_the_worst_finding_gives_the_severity_and_all_are_named():
    lossy = compare_lossy()
    findings = [make_finding("note", rule="u8s8-saturation"), make_finding("warning")]
    (row,) = ranking_of(lossy, findings).to_dict("records")
    assert row["severity"] == "▲ warning"
    assert row["finding"].split("; ") == [TITLES[f.rule] for f in findings]


@pytest.mark.parametrize(
    ("names", "judged"),
    [(["FP32", "INT8"], ["INT8"]), (["INT8"], ["INT8"]), (["FP32"], ["FP32"])],
)
def test_the_float_original_is_judged_only_if_it_is_alone(names, judged):
    variants = compare_equal().variants
    models = {name: variants[name] for name in names}
    assert ranking.list_judged(compare_variants(models)) == judged


def test_two_quantized_builds_without_a_float_one_are_both_judged():
    variants = compare_equal().variants
    models = {"A": variants["INT8"], "B": variants["INT8"]}
    table = ranking_of(compare_variants(models))
    assert table["variant"].tolist() == ["A", "B"]
    assert table["range disparity, ×"].notna().all()


def test_what_needs_the_missing_float_original_stands_last():
    variants = compare_equal().variants
    models = {"INT8": variants["INT8"]}
    table = ranking_of(compare_variants(models))
    known = table.notna().any().tolist()
    assert known == sorted(known, reverse=True)
    assert len(known) == 7 + len(METRICS) + 1


RANKED = [
    make_ranked("a", "error"),
    make_ranked("b", "warning"),
    make_ranked("c", "note"),
    make_ranked("d"),
]


@pytest.mark.parametrize(
    ("level", "layers"), [("error", "a"), ("warning", "ab"), ("note", "abc"), ("", "abcd")]
)
def test_the_filter_keeps_what_is_at_least_so_bad(level, layers):
    assert "".join(one.layer_name for one in ranking.select_ranked(RANKED, level)) == layers


def test_the_filter_offers_what_occurs_and_counts_its_rows():
    options = ["all 4 rows", "✕ error · 1", "▲ warning or worse · 2", "● note or worse · 3"]
    assert list(ranking.create_severity_options(RANKED)) == options
    assert list(ranking.create_severity_options(RANKED[3:])) == ["all 1 row"]


@pytest.mark.parametrize(
    ("column", "number", "text"),
    [
        ("SQNR, dB", 36.0, "36.0"),
        ("SQNR, dB", -1.25, "−1.2"),
        ("SQNR, dB", np.inf, "lossless"),
        ("SQNR, dB", np.nan, "–"),
        ("SQNR, dB", None, "–"),
        ("channels < 20 dB", 0.96875, "96.9%"),
        ("codes used", 1.0, "100.0%"),
        ("dead channels", 15.0, "15"),
        ("lowest", -0.0123456, "−0.0123"),
        ("width", 0.5, "0.5"),
    ],
)
def test_a_number_of_the_ranking_is_written_for_reading(column, number, text):
    formats = ranking.format_ranking(ranking_of(compare_lossy()))
    assert formats[column](number) == text


def test_the_network_is_judged_in_one_sentence():
    comparison = compare_lossy()
    findings = [
        make_finding("error", ""),
        make_finding("error"),
        make_finding("warning", rule="bad-scale"),
    ]
    ranked = ranking.rank_layers(comparison, findings)
    sentence = ranking.summarize_findings(findings, ranked)
    assert sentence.startswith("2 errors, 1 warning: the worst is")
    assert sentence.endswith("(INT8, conv).")


def test_a_healthy_network_says_so_plainly_and_on_what_grounds():
    lossy, variants = compare_lossy(), compare_equal().variants
    ranked = ranking.rank_layers(lossy, [])
    sentence = ranking.summarize_findings([], ranked)
    # A green light would be a promise about activations, too.
    assert sentence.startswith("Weights look fine; activations not measured: none of the 30 rules")
    assert "1 of 1 quantized weights were compared" in sentence
    alone = {"INT8": variants["INT8"]}
    ranked = ranking.rank_layers(compare_variants(alone), [])
    assert "no float original to compare with" in ranking.summarize_findings([], ranked)
    alone = {"FP32": variants["FP32"]}
    ranked = ranking.rank_layers(compare_variants(alone), [])
    assert "nothing to judge" in ranking.summarize_findings([], ranked)


def test_the_metric_that_colours_a_graph_is_the_first_that_is_known():
    lossy = compare_lossy()
    ranked = ranking.rank_layers(lossy, [])
    assert ranking.choose_metric(ranked) == "worst channel, dB"
    assert ranking.choose_metric([make_ranked("a", dead_channels=1.0)]) == "dead channels"
    assert ranking.choose_metric([]) == "worst channel, dB"


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1200])
def test_the_pages_of_the_heatmap_hold_every_row_once_and_none_more_than_fits(count):
    rows = [LayerRanges(str(i), "Conv", {}) for i in range(count)]
    pages = [ranking.select_page(rows, start) for start in ranking.list_pages(rows).values()]
    assert [row for page in pages for row in page] == rows
    assert max(map(len, pages)) <= 500
    assert len(pages) == max(1, -(-count // 500))


def test_the_ranking_of_many_layers_asks_for_each_finding_once():
    class Counted(Finding):
        asked = 0

        def __getattribute__(self, name):
            Counted.asked += name == "layer"
            return super().__getattribute__(name)

    found = [Counted(**vars(make_finding("note", str(i)))) for i in range(50)]
    Counted.asked = 0
    ranked = ranking.rank_layers(Comparison({}, {}, {}, {}), found)
    assert {one.layer_name for one in ranked} == {str(i) for i in range(50)}
    assert Counted.asked < 10 * len(found)


# Once the outputs are measured --------------------------------------------------------------------


def test_measured_layers_are_ranked_by_share_those_without_weights_among_them():
    measured = compare_measured()
    ranked = ranking.rank_layers(measured, [])
    assert [one.layer_name for one in ranked] == ["conv", "abs"]
    table = ranking.create_ranking(ranked, measured)
    assert table["share"].tolist() == pytest.approx([0.85, 0.4])
    assert table["by weight"].fillna(-1).tolist() == pytest.approx([0.1, -1])
    assert table["by outputs"].tolist() == pytest.approx([0.25, 0.15])
    assert table["operator"].tolist() == ["Conv", "Abs"]
    assert table["activations, dB"].tolist() == [24.5, 25.5]


def test_every_column_of_a_measured_ranking_is_explained_and_written():
    measured = compare_measured()
    table = ranking.create_ranking(ranking.rank_layers(measured, []), measured)
    assert list(ranking.explain_ranking(table)) == list(table.columns)
    assert ranking.format_ranking(table)["share"](0.85) == "85%"


def test_before_measuring_no_column_asks_for_what_is_not_known():
    assert not {"share", "clipped"} & set(ranking_of(compare_lossy(), []).columns)


def test_only_when_all_variants_were_run_no_findings_are_good_news():
    ranked = ranking.rank_layers(compare_measured(), [])
    assert ranking.summarize_findings([], ranked).startswith("No findings: ")
    assert ranking.is_settled(ranked)
