"""The first screen in words: the worst news first, causes that are measured, no early green."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparisons_for_tests import compare_equal, compare_lossy, make_finding
from measured_for_tests import compare_measured, make_outputs

from playground.utils import tables
from playground.utils.parameter_inspector import (
    OutputLoss,
    Recovered,
    compare_variants,
    group_by_cause,
)
from playground.utils.tables import verdict


def compare_two():
    """Return a comparison of which two variants are the same file."""
    models = compare_lossy().variants
    return compare_variants({"FP32": models["FP32"], "A": models["INT8"], "B": models["INT8"]})


def describe(comparison, findings=(), variant="INT8"):
    ranked = tables.rank_layers(comparison, findings)
    return verdict.describe_variant_loss(comparison, findings, ranked, variant)


def test_the_variant_with_the_worst_findings_comes_first():
    findings = [make_finding("warning", variant="A"), make_finding("error", variant="B")]
    assert verdict.order_variants(compare_two(), findings) == ["B", "A"]


def test_the_variant_whose_output_keeps_least_comes_first_and_the_unmeasured_last():
    comparison = compare_two().with_outputs({"B": make_outputs()})
    assert verdict.order_variants(comparison, [make_finding("error", variant="A")]) == ["B", "A"]
    both = {"A": make_outputs(sqnr_db=3.0), "B": make_outputs(sqnr_db=7.0)}
    assert verdict.order_variants(compare_two().with_outputs(both), []) == ["A", "B"]


def test_the_news_of_a_variant_are_its_findings_until_its_output_is_measured():
    findings = [make_finding("error"), make_finding("warning"), make_finding("note")]
    assert verdict.spell_news(compare_lossy(), findings, "INT8") == "1 error, 1 warning"
    assert verdict.spell_news(compare_lossy(), [make_finding("note")], "INT8") == "not measured"
    assert verdict.spell_news(compare_measured(), findings, "INT8") == "keeps 7.0 dB"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"accuracy": 0.36, "float_accuracy": 1.0, "agreement": 0.4}, ", 36% of 100% right"),
        ({"agreement": 0.93}, ", 93% same answers"),
    ],
)
def test_the_news_tell_how_many_answers_are_right_or_those_of_float(known, words):
    loss = OutputLoss("y", np.array([1.0]), np.array([10.0]), **known)
    news = verdict.spell_news(compare_measured(losses=(loss,)), [], "INT8")
    assert news == f"keeps 7.0 dB{words}"


def test_before_measuring_the_sentence_names_the_worst_cause_and_what_is_not_known():
    findings = [make_finding("warning", "relu", rule="clipping"), make_finding("error")]
    assert describe(compare_lossy(), findings) == (
        "INT8: one scale for channels of very different width, in conv. What the output loses is "
        "not measured yet."
    )


def test_weights_that_look_fine_are_no_good_news_before_the_output_is_measured():
    sentence = describe(compare_lossy())
    assert "weights look fine" in sentence
    assert "not measured yet" in sentence
    alone = compare_variants({"FP32": compare_lossy().variants["FP32"]})
    assert "nothing to judge" in describe(alone, variant="FP32")


def test_a_measured_loss_is_told_with_the_cause_whose_layers_cost_most():
    # The weight of conv costs 10%, all that abs has 40%: make_outputs.
    findings = [make_finding("error", "conv"), make_finding("warning", "abs", rule="other-rule")]
    sentence = describe(compare_measured(), findings)
    assert "INT8 keeps 7.0 dB of the output" in sentence
    assert sentence.endswith("Why: other-rule, in abs.")
    only = describe(compare_measured(), findings[:1])
    assert only.endswith("Why: one scale for channels of very different width, in conv.")


def test_what_costs_next_to_nothing_is_no_cause():
    comparison = compare_measured(alone=(0.001, 0.1, 0.05, 0.03))
    assert verdict.find_cause(comparison, [make_finding("error", "conv")], "INT8") is None
    assert "Why" not in describe(comparison, [make_finding("error", "conv")])


@pytest.mark.parametrize("severity", ["note", "error"])
def test_neither_a_note_nor_the_loss_itself_is_its_cause(severity):
    rule = "output-lost" if severity == "error" else "range-disparity"
    found = [make_finding(severity, "abs", rule=rule)]
    assert verdict.find_cause(compare_measured(), found, "INT8") is None


def test_a_cause_of_several_layers_counts_them_and_names_the_worst():
    (group,) = group_by_cause([make_finding("error", name) for name in ("conv", "relu")])
    words = "one scale for channels of very different width, in 2 layers, worst in conv"
    assert verdict.name_cause(group) == words
    (whole,) = group_by_cause([make_finding("error", "")])
    assert verdict.name_cause(whole) == "one scale for channels of very different width"


def test_the_way_back_says_what_it_brings_and_costs_and_is_not_offered_for_little():
    words = "7.0 dB → 12.2 dB with 2 of 4 quantizers in float"
    assert verdict.offer_way_back(compare_measured(), "INT8") == words
    assert verdict.offer_way_back(compare_equal(), "INT8") == ""
    little = compare_measured(recovered=(Recovered(1, 7.5),))
    assert verdict.offer_way_back(little, "INT8") == ""


def test_the_severity_of_a_variant_is_that_of_its_own_findings():
    findings = [make_finding("error", variant="A"), make_finding("note", variant="B")]
    assert verdict.judge_variant(findings, "B") == "note"
    assert verdict.judge_variant(findings, "C") == ""


def test_a_name_that_turns_the_text_is_spelled_out():
    (group,) = group_by_cause([make_finding("error", "\u202econv")])
    assert "\u202e" not in verdict.name_cause(replace(group))
