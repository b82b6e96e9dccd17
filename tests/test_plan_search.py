"""Plans by measurement: onnxruntime on the written file is the judge."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from plans_for_tests import SAMPLES, compare_spoiled, output_db, quantized_name

from playground.utils.parameter_inspector import (
    MoveKind,
    PlanEnd,
    PlanName,
    SampleKind,
    Target,
    TargetKind,
    plan_by_measurement,
    read_samples,
    save_plan,
)
from playground.utils.parameter_inspector.changing.measured_plans import Level
from playground.utils.parameter_inspector.changing.sample_halves import split_samples


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    return compare_spoiled(tmp_path_factory.mktemp("spoiled"))


@pytest.fixture(scope="module")
def plans(spoiled):
    return plan_by_measurement(spoiled, quantized_name(spoiled), SAMPLES)


@pytest.fixture(scope="module")
def plan(plans):
    return plans[0]


def test_the_tensor_that_was_spoiled_is_among_the_first_that_change(plan):
    first = plan.steps[0].moves + (plan.steps[1].moves if len(plan.steps) > 1 else ())
    assert "r2" in {quantizer.tensor for move in first for quantizer in move.quantizers}


def test_the_plan_is_better_on_samples_that_did_not_decide(plan):
    assert plan.held_back_after.sqnr_db > plan.held_back_before.sqnr_db + 10
    assert not set(plan.deciding) & set(plan.judging)


def test_each_step_says_what_the_moves_up_to_it_reach(plan):
    assert plan.steps
    assert plan.after == plan.steps[-1].level
    assert plan.after.typical_db > plan.before.typical_db


def test_the_written_file_does_what_was_measured(spoiled, plan, tmp_path):
    name = quantized_name(spoiled)
    samples = read_samples(spoiled, SAMPLES)
    done = save_plan(spoiled, name, plan, samples, tmp_path / "better.onnx")
    judging = {key: array[list(plan.judging)] for key, array in SAMPLES.items()}
    assert done.is_as_planned
    assert output_db(tmp_path / "better.onnx", judging) == pytest.approx(
        plan.held_back_after.sqnr_db, abs=0.5
    )


def test_the_level_before_is_that_of_the_file(spoiled, plan):
    path = spoiled.variants[quantized_name(spoiled)].path
    deciding = {key: array[list(plan.deciding)] for key, array in SAMPLES.items()}
    assert plan.before.sqnr_db == pytest.approx(output_db(path, deciding), abs=0.1)


def test_a_target_is_reached_at_less_cost_than_all_that_helps(spoiled, plan):
    target = Target(TargetKind.OUTPUT_SQNR, plan.before.sqnr_db + 5)
    aimed = plan_by_measurement(spoiled, quantized_name(spoiled), SAMPLES, target)[0]
    assert aimed.end is PlanEnd.REACHED
    assert aimed.after.sqnr_db >= target.value
    assert len(aimed.moves) <= len(plan.moves)


def test_a_target_that_is_met_already_needs_no_move(spoiled):
    target = Target(TargetKind.OUTPUT_SQNR, 0.0)
    aimed = plan_by_measurement(spoiled, quantized_name(spoiled), SAMPLES, target)[0]
    assert aimed.moves == () and aimed.end is PlanEnd.REACHED


def test_a_target_out_of_reach_is_no_refusal(spoiled):
    target = Target(TargetKind.OUTPUT_SQNR, 200.0)
    aimed = plan_by_measurement(spoiled, quantized_name(spoiled), SAMPLES, target)[0]
    assert aimed.end is PlanEnd.NOTHING_HELPS and aimed.is_reached is False
    assert aimed.moves


def test_the_named_plans_are_measured_too(plans):
    named = {plan.name: plan for plan in plans[1:]}
    assert {PlanName.SIXTEEN_BITS, PlanName.LEAVE_OUT} <= set(named)
    wide = named[PlanName.SIXTEEN_BITS]
    assert {move.kind for move in wide.moves} == {MoveKind.WIDEN}
    assert wide.held_back_after.sqnr_db > wide.held_back_before.sqnr_db


def test_stop_keeps_what_there_is(spoiled):
    cancel, seen = threading.Event(), []

    def progress(so_far):
        seen.append(so_far)
        if so_far.plan.steps:
            cancel.set()

    plan = plan_by_measurement(
        spoiled, quantized_name(spoiled), SAMPLES, progress=progress, cancel=cancel
    )[0]
    assert plan.end is PlanEnd.STOPPED
    assert plan.steps and seen


def test_synthetic_inputs_are_said_to_be_synthetic(spoiled):
    plan = plan_by_measurement(spoiled, quantized_name(spoiled))[0]
    assert plan.sample_kind is SampleKind.SYNTHETIC


def test_halves_take_the_worst_samples_in_turn():
    deciding, judging = split_samples([5, 2, 7, 0, 1, 3], 1)
    assert sorted(deciding + judging) == [0, 1, 2, 3, 5, 7]
    assert 5 in deciding and {2, 7} <= set(judging)


def test_one_sample_decides_and_judges():
    assert split_samples([0], 1) == ([0], [0])


def test_samples_of_one_run_stay_together():
    deciding, judging = split_samples([3, 0, 1, 2], 2)
    assert (deciding, judging) == ([0, 1], [2, 3])


def test_few_scores_do_not_reach_a_target_by_chance():
    lucky = Level(sqnr_db=40.0, noise=0.01, is_small=True)
    target = Target(TargetKind.OUTPUT_SQNR, 30.0)
    assert lucky.has(target) and not lucky.reaches(target)
    assert replace(lucky, noise=1e-4).reaches(target)
    assert np.isclose(lucky.typical_db, 20.0)
