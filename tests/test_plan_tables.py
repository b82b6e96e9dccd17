"""A plan by measurement in words and tables: what it brings, on whose word, at what cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from planned_for_tests import PLAN, PLANS, level

from playground.utils.parameter_inspector import (
    PlanEnd,
    Saved,
    SavedPlan,
    Target,
    TargetKind,
    WritingNote,
    WritingNoteKind,
)
from playground.utils.tables import plan_tables

WORSE = replace(PLAN, held_back_after=level(5.0))
STOPPED = replace(
    PLAN, end=PlanEnd.STOPPED, held_back_before=None, held_back_after=None, sides_after=None
)


def test_one_sentence_says_from_where_to_where_on_which_samples_and_at_what_cost():
    assert plan_tables.summarize_measured(PLAN, 10_000) == (
        "From 7.6 dB to 29.2 dB on 4 samples that did not decide: 3 tensors in 16 bits, 1 in "
        "float; 300 B more (+3.0%)."
    )


def test_both_halves_and_the_split_are_said():
    lines = plan_tables.explain_measured(PLAN)
    assert "On the 5 samples that decided: 7.5 dB → 31.0 dB." in lines
    assert "Weights alone: 20.0 dB → 32.0 dB; activations alone: 8.0 dB → 30.0 dB." in lines


def test_a_plan_that_loses_on_the_other_half_is_no_gain_and_not_green():
    assert plan_tables.summarize_measured(WORSE).startswith("No gain to count on: from 7.6 dB to 5")
    assert plan_tables.judge_plan(WORSE) == "warning"
    assert plan_tables.offer_plan(WORSE) == ""


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (PLAN, "fine"),
        (STOPPED, "note"),
        (replace(PLAN, judging=PLAN.deciding), "note"),
        (replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 30.0)), "warning"),
        (replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 29.0)), "fine"),
        (replace(PLAN, steps=()), "note"),
    ],
)
def test_only_what_others_confirm_is_green(plan, kind):
    assert plan_tables.judge_plan(plan) == kind


def test_a_target_that_only_the_deciding_half_has_is_said():
    plan = replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 30.0))
    assert any("but not on the others" in line for line in plan_tables.explain_measured(plan))


def test_a_stopped_plan_says_that_nobody_judged_it():
    assert "5 samples that decided" in plan_tables.summarize_measured(STOPPED)
    assert any(
        "the other half was not asked" in one for one in plan_tables.explain_measured(STOPPED)
    )


def test_the_first_screen_says_what_the_button_brings_and_changes():
    assert plan_tables.offer_plan(PLAN) == (
        "7.6 dB → 29.2 dB, measured on 4 samples that did not decide: 3 tensors in 16 bits, 1 in "
        "float"
    )


def test_the_named_plans_stand_beside_the_plan_with_their_numbers():
    table = plan_tables.create_plans_table(PLANS)
    assert table["Plan"].tolist() == [
        "The file now",
        "The plan",
        "16-bit activations",
        "Per channel everywhere",
    ]
    assert table["Output, judging half"].tolist() == ["7.6 dB", "29.2 dB", "21.0 dB", "21.0 dB"]
    assert table["Output, deciding half"].tolist() == ["7.5 dB", "31.0 dB", "22.0 dB", "9.0 dB"]
    assert table["Costs"].tolist() == ["–", "300 bytes more", "no bytes", "300 bytes more"]


def test_answers_are_those_of_float_where_there_are_no_labels():
    assert "Same answers as float" in plan_tables.create_plans_table(PLANS)
    labelled = replace(PLAN, before=level(7.5, 0.5), held_back_before=level(7.6, 0.25))
    assert plan_tables.create_plans_table((labelled,))["Right answers"][0] == "25%"


def test_each_change_has_its_tensor_layer_and_the_step_that_made_it():
    table = plan_tables.create_move_table(PLAN)
    assert table["Tensor"].tolist()[:2] == ["a and 1 that share its scale", "w"]
    assert table["Read by"].tolist() == ["layer0 and 1 more", "layer2", "layer3"]
    assert table["Becomes"].tolist()[:2] == ["16 bits, int16", "float"]
    assert table.iloc[:, 3].tolist() == ["1: 15.0 dB", "2: 31.0 dB", "2: 31.0 dB"]


@pytest.mark.parametrize(
    ("db", "words", "kind"),
    [
        (29.0, ": 29.0 dB on 4 samples, as planned.", "success"),
        (20.0, "20.0 dB on 4 samples, not as planned: 29.2 dB was measured.", "warn"),
    ],
)
def test_a_written_file_is_as_planned_or_not(db, words, kind):
    saved = Saved(Path("x.onnx"), ("layer2",), 1100, 1000, None)
    done = SavedPlan(saved, PLAN, db)
    first, second = plan_tables.describe_saved_plan(done)
    assert words in first
    assert "1,000 → 1,100 bytes (+10.0%)" in second
    assert plan_tables.judge_saved_plan(done) == kind


def test_what_became_of_many_layers_is_said_once_and_counted():
    notes = tuple(WritingNote(WritingNoteKind.BIAS_ADDED, f"layer{i}") for i in range(3))
    saved = Saved(Path("x.onnx"), ("layer2",), 1100, 1000, None, notes)
    *_, last = plan_tables.describe_saved_plan(SavedPlan(saved, PLAN, 29.0))
    assert last.startswith("layer0: ") and "so it is in 2 more layers" in last


def test_one_scale_that_was_raised_is_one_scale():
    note = WritingNote(WritingNoteKind.SCALES_RAISED, "Conv", channels=1, sqnr_db=(41.2, 40.1))
    saved = Saved(Path("x.onnx"), ("Conv",), 1100, 1000, None, (note,))
    *_, last = plan_tables.describe_saved_plan(SavedPlan(saved, PLAN, 29.0))
    assert "1 scale raised" in last and "from 41.2 to 40.1 dB" in last
