"""The curve of a measured plan: what each step reaches, the named plans, the levels as lines."""

from __future__ import annotations

from dataclasses import replace

from planned_for_tests import PLAN, PLANS

from playground.utils.figures import plan_charts
from playground.utils.parameter_inspector import Target, TargetKind


def lines(ax):
    return [
        (list(map(float, one.get_xdata())), list(map(float, one.get_ydata()))) for one in ax.lines
    ]


def test_the_curve_holds_the_file_and_each_step_by_the_tensors_changed_so_far():
    assert plan_charts.list_points(PLAN) == [(0, 7.5), (2, 15.0), (4, 31.0)]
    curve, *_ = lines(plan_charts.plot_steps(PLAN))
    assert curve == ([0.0, 2.0, 4.0], [7.5, 15.0, 31.0])


def test_a_tensor_that_changes_twice_counts_once():
    again = replace(PLAN, steps=(*PLAN.steps, replace(PLAN.steps[0])))
    assert plan_charts.list_points(again)[-1][0] == 4


def test_each_named_plan_has_a_mark_of_its_own_shape():
    ax = plan_charts.plot_steps(PLAN, PLANS[1:])
    marks = {one.get_marker(): (one.get_xdata()[0], one.get_ydata()[0]) for one in ax.lines}
    assert marks["^"] == (3, 22.0)
    assert marks["s"] == (1, 9.0)
    assert {"16-bit activations", "per channel everywhere"} <= {t.get_text() for t in ax.texts}


def test_everything_and_the_target_are_lines_that_differ():
    plan = replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 35.0))
    ax = plan_charts.plot_steps(plan)
    flat = {
        one.get_ydata()[0]: one._dash_pattern
        for one in ax.lines
        if len(set(one.get_ydata())) == 1
        and len(one.get_ydata()) == 2
        and one.get_marker() == "None"
    }
    assert set(flat) == {28.0, 35.0}
    assert flat[28.0] != flat[35.0]
    assert ax.get_ylim()[1] > 35.0


def test_a_target_of_another_kind_is_no_line():
    plan = replace(PLAN, target=Target(TargetKind.ACCURACY, 0.9))
    assert [level for level, *_ in plan_charts.list_levels(plan)] == [28.0]


def test_the_steps_are_numbered_as_in_the_table():
    assert {"1", "2"} <= {text.get_text() for text in plan_charts.plot_steps(PLAN).texts}


def test_a_search_that_found_no_step_yet_is_drawn():
    picture = plan_charts.render_measured_plan(replace(PLAN, steps=(), everything=None))
    assert picture.png.startswith(b"\x89PNG")
    assert "7.5 dB now" in picture.alt


def test_the_text_alternative_states_each_step_and_plan():
    words = plan_charts.describe_curve(PLAN, PLANS[1:])
    assert "2 changed 15.0 dB, 4 changed 31.0 dB" in words
    assert "16-bit activations 22.0 dB" in words
    assert "all in 16 bits and per channel 28.0 dB" in words


def test_numbers_that_would_meet_are_left_out_but_never_the_last():
    assert plan_charts.choose_numbered([1, 2, 50, 99, 100]) == [1, 2, 4]
    assert plan_charts.choose_numbered([]) == []
