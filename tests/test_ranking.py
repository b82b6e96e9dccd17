"""The ranking: worst first, and what is folded away."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from comparisons_for_tests import (
    compare_equal,
    compare_lossy,
    make_finding,
    make_ranked,
)
from measured_for_tests import compare_measured
from models_for_tests import floats, make_model
from onnx import helper

from playground.utils.parameter_inspector import (
    Comparison,
    compare_variants,
    load_model,
)
from playground.utils.parameter_inspector.judging.findings import Finding
from playground.utils.tables import (
    ranking,
)


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


@pytest.mark.parametrize(
    ("names", "judged"),
    [(["FP32", "INT8"], ["INT8"]), (["INT8"], ["INT8"]), (["FP32"], ["FP32"])],
)
def test_the_float_original_is_judged_only_if_it_is_alone(names, judged):
    variants = compare_equal().variants
    models = {name: variants[name] for name in names}
    assert ranking.list_judged(compare_variants(models)) == judged


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


def test_only_when_all_variants_were_run_no_findings_are_good_news():
    ranked = ranking.rank_layers(compare_measured(), [])
    assert ranking.summarize_findings([], ranked).startswith("No findings: ")
    assert ranking.is_settled(ranked)


def test_measured_layers_are_ranked_by_share_those_without_weights_among_them():
    ranked = ranking.rank_layers(compare_measured(), [])
    assert [one.layer_name for one in ranked] == ["conv", "abs"]


# What is folded away ------------------------------------------------------------------------------


def compare_with_constants() -> Comparison:
    """Return a network of a MatMul of 7 by 5, a constant of one number and one of a single row."""
    arrays = {"w": floats(7, 5), "one": np.float32([[3.0]]), "row": floats(1, 5, seed=3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "matmul"),
        helper.make_node("Mul", ["a", "one"], ["b"], "scaled"),
        helper.make_node("Add", ["b", "row"], ["y"], "shifted"),
    ]
    return compare_variants({"FP32": load_model(make_model(nodes, arrays, inputs={"x": (2, 7)}))})


def test_constants_and_parameters_of_one_dimension_are_folded_away_and_counted():
    ranked = ranking.rank_layers(compare_with_constants(), [])
    shown, folded = ranking.fold_constants(ranked)
    assert [one.layer_name for one in shown] == ["matmul"]
    assert {one.layer_name for one in folded} == {"scaled", "shifted"}
    assert ranking.count_constants(folded) == "2 constants and one-dimensional parameters"
    assert ranking.count_constants(folded[:1]) == "1 constant or one-dimensional parameter"
    assert ranking.count_constants([]) == ""


def test_a_constant_with_an_error_is_not_folded_away_and_one_with_a_note_is():
    comparison = compare_with_constants()
    found = [
        make_finding("error", "scaled", variant="FP32"),
        make_finding("note", "shifted", variant="FP32"),
    ]
    shown, folded = ranking.fold_constants(ranking.rank_layers(comparison, found))
    assert {one.layer_name for one in shown} == {"scaled", "matmul"}
    assert [one.layer_name for one in folded] == ["shifted"]


@pytest.mark.parametrize(("share", "is_shown"), [(0.01, True), (0.009, False)])
def test_a_constant_that_costs_a_hundredth_is_not_folded_away(share, is_shown):
    ranked = ranking.rank_layers(compare_with_constants(), [])
    costly = [replace(one, run=SimpleNamespace(share=share)) for one in ranked]
    shown, _ = ranking.fold_constants(costly)
    assert ("scaled" in {one.layer_name for one in shown}) is is_shown


def test_where_there_is_nothing_else_constants_are_shown():
    ranked = ranking.rank_layers(compare_with_constants(), [])
    constants = [one for one in ranked if one.layer_name != "matmul"]
    assert ranking.fold_constants(constants) == (constants, [])


def test_the_rows_of_one_variant_keep_their_order():
    rows = [make_ranked("a"), replace(make_ranked("b"), variant="X"), make_ranked("c")]
    assert ranking.select_variant(rows, "X") == [rows[1]]
    assert ranking.select_variant(rows, rows[0].variant) == [rows[0], rows[2]]
