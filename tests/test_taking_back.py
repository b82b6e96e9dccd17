"""The page's part of a plan by measurement: what is offered, searched for, shown and written."""

from __future__ import annotations

import html
import threading
from dataclasses import replace

import numpy as np
import pytest
from comparisons_for_tests import compare_equal
from planned_for_tests import HOSTILE, PLAN, PLANS, WIDENED
from plans_for_tests import SAMPLES, compare_spoiled, quantized_name

from playground.utils import tables
from playground.utils.page import first_screen, taking_back
from playground.utils.page.shared_runs import RunOn
from playground.utils.page.shared_searches import SharedSearches
from playground.utils.page.taking_back import AskedPlan, PlanSetters
from playground.utils.parameter_inspector import (
    PlanEnd,
    PlanName,
    PlanProgress,
    SampleKind,
    Samples,
    Target,
    TargetKind,
    plan_by_measurement,
    read_samples,
)

WAIT = 60.0
SYNTHETIC = RunOn(None, "", None)


def run_on(labels=None) -> RunOn:
    inputs = {"x": np.zeros((9, 2), np.float32)}
    return RunOn(Samples(inputs, labels, SampleKind.FILE, "samples.npz", 9, 9), "", "identity")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(taking_back, "_searches", SharedSearches(size=4))


def test_without_samples_it_is_said_that_weights_are_planned_and_the_output_is_unknown():
    why = taking_back.why_no_search(compare_equal(), "INT8", SYNTHETIC)
    assert "Without samples no plan can be measured" in why
    assert "what that brings the output is not known" in why
    assert taking_back.why_no_search(compare_equal(), "INT8", run_on()) == ""


def test_samples_that_cannot_be_used_are_told_first():
    why = taking_back.why_no_search(compare_equal(), "INT8", RunOn(None, "No 'x'.", None))
    assert why.startswith("No 'x'. Without samples")


def test_an_accuracy_is_asked_for_only_where_there_are_labels():
    labelled = taking_back.create_target_kind(run_on(np.zeros(9, np.int64)))
    assert "an accuracy" in labelled.options
    assert "an accuracy" not in taking_back.create_target_kind(run_on()).options
    assert labelled.value == taking_back.AS_GOOD


@pytest.mark.parametrize(
    ("kind", "value", "target"),
    [
        (taking_back.AS_GOOD, None, None),
        ("an output SQNR", 25, Target(TargetKind.OUTPUT_SQNR, 25.0)),
        ("an accuracy", 97, Target(TargetKind.ACCURACY, 0.97)),
    ],
)
def test_the_controls_make_the_target(kind, value, target):
    assert taking_back.create_goal(kind, value) == target


class Viewer:
    """Takes what a search tells."""

    def __init__(self) -> None:
        self.plans, self.news, self.steps, self.ended = {}, [], [], []
        self.done = threading.Event()
        self.setters = PlanSetters(
            self._end, self._keep, self.news.append, self.steps.append, lambda: self.plans
        )

    def _keep(self, plans) -> None:
        self.plans = plans

    def _end(self, ended) -> None:
        self.ended.append(ended)
        self.done.set()


def search(monkeypatch, plan_by_measurement) -> Viewer:
    monkeypatch.setattr(taking_back, "plan_by_measurement", plan_by_measurement)
    viewer = Viewer()
    asked = AskedPlan("INT8", None, threading.Event())
    taking_back.plan_beside(compare_equal(), run_on(), asked, viewer.setters)
    assert viewer.done.wait(WAIT)
    return viewer


def test_a_search_beside_the_page_ends_with_its_plans_for_all_viewers(monkeypatch):
    viewer = search(monkeypatch, lambda *_, **__: PLANS)
    assert viewer.plans == {"INT8": PLANS}
    assert viewer.ended == [None]
    assert viewer.steps[-1] is None
    assert taking_back.recall_plans(compare_equal(), run_on())["INT8"] == PLANS


def test_a_plan_that_was_stopped_is_shown_but_not_kept_for_others(monkeypatch):
    stopped = replace(PLAN, end=PlanEnd.STOPPED)
    viewer = search(monkeypatch, lambda *_, **__: (stopped,))
    assert viewer.plans["INT8"][0].end is PlanEnd.STOPPED
    assert taking_back.recall_plans(compare_equal(), run_on()) == {}


def test_what_goes_wrong_in_a_search_is_told_with_the_variant(monkeypatch):
    def fail(*_, **__):
        raise ValueError("the models do not run.")

    assert search(monkeypatch, fail).ended == [("INT8: The models do not run.",)]


def test_while_it_searches_the_page_tells_runs_and_levels():
    stop = taking_back.create_plan_stop(AskedPlan("INT8", None, threading.Event()))
    text = html.unescape(taking_back.show_plan_news(PlanProgress(12, PLAN), stop).text)
    assert "12 runs: 7.5 -> 31.0 dB" in text
    assert "Searching for a plan" in text and "Stop" in text
    assert "Starting" in taking_back.show_plan_news(None, stop).text


def test_the_steps_so_far_are_drawn_with_the_named_plans():
    text = taking_back.show_plan_so_far(PlanProgress(3, PLAN, (WIDENED,))).text
    assert "16-bit activations 22.0 dB" in html.unescape(text)
    assert taking_back.show_plan_so_far(None) is None


def test_what_was_found_is_a_sentence_a_curve_and_a_table():
    text = html.unescape(taking_back.show_found(PLANS, 10_000).text)
    assert "playground-fine" in text
    assert "Per channel everywhere" in text
    assert "Output SQNR against changed tensors" in text


def test_names_of_tensors_are_plain_text():
    text = taking_back.show_moves(PLAN).text
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text


def test_the_plan_to_take_is_the_named_one_or_the_first_that_changes_anything():
    assert taking_back.find_taken(PLANS, PlanName.SIXTEEN_BITS) is WIDENED
    empty = replace(PLAN, steps=())
    assert taking_back.find_taken((empty, WIDENED), PlanName.MEASURED) is WIDENED
    assert taking_back.find_taken((empty,), PlanName.MEASURED) is None


def test_the_choice_of_plans_leaves_out_those_that_change_nothing():
    chosen = []
    empty = replace(PLAN, steps=())
    choice = taking_back.create_plan_choice((empty, *PLANS[1:]), WIDENED, chosen.append)
    assert list(choice.options) == ["16-bit activations", "per channel everywhere"]
    choice._update("per channel everywhere")
    assert chosen == [PlanName.PER_CHANNEL]


def test_the_first_screens_button_says_what_a_known_plan_brings():
    comparison = compare_equal()
    ranked = tables.rank_layers(comparison, ())
    panels = first_screen.frame_panels(comparison, (), ranked, {"INT8": PLANS})
    text = html.unescape(panels["INT8"])
    assert "Take it back</a>" in text
    assert "7.6" in text and "3 tensors in 16 bits" in text


def test_a_real_plan_is_written_run_and_offered_for_download(tmp_path):
    comparison = compare_spoiled(tmp_path)
    name = quantized_name(comparison)
    samples = read_samples(comparison, SAMPLES)
    plan = plan_by_measurement(comparison, name, samples)[0]
    shown = taking_back.write_plan(comparison, plan, name, RunOn(samples, "", "id"), "net")
    text = html.unescape(shown.text)
    assert "Written and run by onnxruntime" in text and ", as planned" in text
    assert f"Download net-{name}-better.onnx" in text
