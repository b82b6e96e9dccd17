"""The columns of the ranking: six to read, every metric by choice, written as their kind asks."""

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
from playground.utils.parameter_inspector import METRICS, compare_variants
from playground.utils.parameter_inspector.judging.finding_wording import TITLES
from playground.utils.tables import ranking, ranking_columns


def ranking_of(comparison, findings=(), *, every: bool = True):
    """Return the table with all columns, or with the six."""
    ranked = ranking.rank_layers(comparison, findings)
    more = ranking_columns.list_more_columns(ranked, comparison) if every else ()
    return ranking_columns.create_ranking(ranked, comparison, more).table


def test_the_ranking_has_six_columns_and_the_others_are_asked_for():
    table = ranking_of(compare_lossy(), every=False)
    six = ["layer", "variant", "weight error", "worst channel, dB", "finding", "type"]
    assert list(table.columns) == six
    measured = ranking_of(compare_measured(), every=False)
    assert list(measured.columns) == [*six[:2], "share", *six[3:]]
    ranked = ranking.rank_layers(compare_lossy(), [])
    more = ranking_columns.create_ranking(ranked, compare_lossy(), ["SQNR, dB", "gone"]).table
    assert list(more.columns) == [*six, "SQNR, dB"]


@pytest.mark.parametrize(
    ("decibels", "error"), [(0.0, 1.0), (20.0, 0.1), (-6.0, 1.0), (np.inf, 0.0), (40.0, 0.01)]
)
def test_the_bar_of_a_weight_is_its_error_as_a_part_of_its_size(decibels, error):
    assert ranking_columns.relative_error(decibels) == pytest.approx(error)


def test_what_is_not_compared_has_no_bar():
    assert np.isnan(ranking_columns.relative_error(np.nan))


def test_the_ranking_has_a_row_for_each_quantized_layer_with_numpys_numbers():
    comparison = compare_lossy()
    (row,) = ranking_of(comparison).to_dict("records")
    exact = (VALUES + ERRORS * SPREAD).astype(np.float64).reshape(5, -1)
    error = exact - VALUES.reshape(5, -1)
    decibels = 20 * np.log10(np.linalg.norm(exact, axis=1) / np.linalg.norm(error, axis=1))
    assert (row["layer"], row["variant"], row["type"]) == ("conv", "INT8", "Conv")
    assert row["worst channel, dB"] == pytest.approx(decibels.min(), rel=1e-4)
    assert row["channel no."] == decibels.argmin()
    assert row["lowest"] == pytest.approx(VALUES.min())
    assert row["width"] == pytest.approx(np.ptp(VALUES))
    assert row["paired by"] == "✓ name and values"


def test_every_metric_has_a_column_of_its_own_with_its_definition_as_tooltip():
    table = ranking_of(compare_lossy())
    meanings = ranking_columns.explain_ranking(table)
    assert list(meanings) == list(table.columns)
    for metric in METRICS:
        assert meanings[spelling.name_metric(metric)] == metric.definition


def test_two_quantized_builds_without_a_float_one_are_both_judged():
    variants = compare_equal().variants
    models = {"A": variants["INT8"], "B": variants["INT8"]}
    table = ranking_of(compare_variants(models))
    assert table["variant"].tolist() == ["A", "B"]
    assert table["range disparity, ×"].notna().all()


def test_what_needs_the_missing_float_original_is_not_offered():
    alone = compare_variants({"INT8": compare_equal().variants["INT8"]})
    ranked = ranking.rank_layers(alone, [])
    offered = ranking_columns.list_more_columns(ranked, alone)
    assert "range disparity, ×" in offered
    assert not {"SQNR, dB", "max error", "share"} & set(offered)


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
    formats = ranking_columns.format_ranking(ranking_of(compare_lossy()))
    assert formats[column](number) == text


def test_the_metric_that_colours_a_graph_is_the_first_that_is_known():
    lossy = compare_lossy()
    ranked = ranking.rank_layers(lossy, [])
    assert ranking_columns.choose_metric(ranked) == "worst channel, dB"
    assert ranking_columns.choose_metric([make_ranked("a", dead_channels=1.0)]) == "dead channels"
    assert ranking_columns.choose_metric([]) == "worst channel, dB"


def test_every_column_of_a_measured_ranking_is_explained_and_written():
    table = ranking_of(compare_measured())
    assert list(ranking_columns.explain_ranking(table)) == list(table.columns)
    assert ranking_columns.format_ranking(table)["share"](0.85) == "85%"
    assert ranking_columns.format_ranking(table)["weight error"](0.85) == "85%"


def test_before_measuring_no_column_asks_for_what_is_not_known():
    assert not {"share", "clipped"} & set(ranking_of(compare_lossy(), []).columns)


def test_a_finding_about_a_layer_without_weights_has_a_row_too():
    comparison = compare_lossy()
    table = ranking_of(comparison, [make_finding("error", "relu")])
    assert table["layer"].tolist() == ["relu", "conv"]
    assert table["finding"].str[0].tolist() == ["✕", "–"]
    assert np.isnan(table["SQNR, dB"][0])


def test_the_worst_finding_gives_the_severity_and_all_are_named():
    lossy = compare_lossy()
    findings = [make_finding("note", rule="u8s8-saturation"), make_finding("warning")]
    (row,) = ranking_of(lossy, findings).to_dict("records")
    assert row["finding"] == f"▲ {'; '.join(TITLES[f.rule] for f in findings)}"


def test_a_measured_ranking_has_the_shares_and_where_they_come_from():
    table = ranking_of(compare_measured())
    assert table["share"].tolist() == pytest.approx([0.85, 0.4])
    assert table["by weight"].fillna(-1).tolist() == pytest.approx([0.1, -1])
    assert table["by outputs"].tolist() == pytest.approx([0.25, 0.15])
    assert table["type"].tolist() == ["Conv", "Abs"]
    assert table["activations, dB"].tolist() == [24.5, 25.5]
