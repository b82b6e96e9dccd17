"""Measured plans as sentences."""

import math
from dataclasses import replace

import pytest
from measured_for_tests import make_quantizer

from playground.utils.parameter_inspector import (
    ActivationScheme,
    Cost,
    Level,
    MeasuredPlan,
    Move,
    MoveKind,
    PlanEnd,
    PlanName,
    PlanProgress,
    PlanStep,
    SampleKind,
    Scheme,
    Sides,
    Target,
    TargetKind,
    describe_cost,
    describe_level,
    describe_move,
    describe_plan_lines,
    describe_plan_progress,
    merge_moves,
    name_moved,
    summarize_moves,
)
from playground.utils.parameter_inspector.changing.moves import RangeRule

ACTIVATION, WEIGHT = make_quantizer(1, "x", "conv"), make_quantizer(0, "w", "conv", weight=True)
WIDE = Move(MoveKind.WIDEN, (ACTIVATION,), ActivationScheme("uint16", 0.5, 0))
FREE = Move(MoveKind.FREE, (ACTIVATION,))
OTHER = Move(MoveKind.REQUANTIZE, (WEIGHT,), weight=Scheme("int8", "per-channel"), added_bytes=1024)
BEFORE, AFTER = Level(7.6, 10**-0.76), Level(29.2, 10**-2.92, agreement=0.975, accuracy=0.98)
PLAN = MeasuredPlan(
    PlanName.MEASURED,
    BEFORE,
    AFTER,
    (PlanStep((WIDE, OTHER), AFTER, Cost.of((WIDE, OTHER))),),
    held_back_before=replace(BEFORE, sqnr_db=8.0),
    held_back_after=replace(AFTER, sqnr_db=28.4),
    sides_before=Sides(27.5, 7.7),
    sides_after=Sides(28.0, 33.0),
    target=Target(TargetKind.OUTPUT_SQNR, 25.0),
    end=PlanEnd.REACHED,
    deciding=(0, 2),
    judging=(1, 3),
)


@pytest.mark.parametrize(
    "move, said",
    [
        (WIDE, "16 bits, uint16"),
        (FREE, "float"),
        (OTHER, "int8 per-channel symmetric"),
        (
            Move(
                MoveKind.RANGE, (ACTIVATION,), ActivationScheme("uint8", 1.0, 5), RangeRule.MIN_MAX
            ),
            "another range: -5 to 250, all that was seen",
        ),
        (
            Move(
                MoveKind.RANGE,
                (ACTIVATION,),
                ActivationScheme("uint8", 1.0, 5),
                RangeRule.PERCENTILE,
                99.9,
            ),
            "another range: -5 to 250, 99.9 % of what was seen",
        ),
    ],
)
def test_a_move_says_what_becomes_of_a_tensor(move, said):
    assert describe_move(move) == said


def test_a_weight_is_named_by_its_layer_and_an_activation_by_itself():
    assert name_moved(OTHER) == "weight of conv"
    assert name_moved(WIDE) == "x"


def test_moves_are_counted_by_kind():
    assert summarize_moves([WIDE, OTHER]) == "1 tensor in 16 bits, 1 under another scheme"
    assert summarize_moves([]) == "no changes"


def test_costs_are_bytes_wide_tensors_and_floats():
    assert describe_cost(Cost(1024, 2, 1)) == "2 tensors of 16 bits, 1 in float, 1,024 bytes more"
    assert describe_cost(Cost()) == "nothing"


def test_a_level_says_answers_only_where_there_are_any():
    assert describe_level(BEFORE) == "7.6 dB"
    assert describe_level(AFTER) == "29.2 dB, 97.5% of its answers the original's, accuracy 98.0%"


def test_both_halves_and_both_sides_are_said():
    said = list(describe_plan_lines(PLAN))
    assert said[1].startswith("on 2 samples that decided: 7.6 dB -> 29.2 dB")
    assert said[2].startswith("on 2 samples that judge: 8.0 dB -> 28.4 dB")
    assert said[3] == "weights alone 27.5 -> 28.0 dB, activations alone 7.7 -> 33.0 dB"
    assert said[4] == "target reached: 25 dB at the output"


def test_a_target_that_only_the_deciding_half_reaches_is_said_to_be_so():
    missed = replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 29.0))
    assert "but not on the others" in list(describe_plan_lines(missed))[4]
    assert (
        "target missed"
        in list(describe_plan_lines(replace(PLAN, target=Target(TargetKind.OUTPUT_SQNR, 60.0))))[4]
    )


def test_synthetic_inputs_are_called_so():
    made_up = replace(PLAN, sample_kind=SampleKind.SYNTHETIC)
    assert "2 synthetic inputs" in list(describe_plan_lines(made_up))[1]


def test_progress_says_what_is_reached_so_far():
    assert describe_plan_progress(PlanProgress(12, None)) == "12 runs: getting ready"
    assert describe_plan_progress(PlanProgress(1234, PLAN)) == (
        "1,234 runs: 7.6 -> 29.2 dB with 1 tensor of 16 bits, 1,024 bytes more"
    )


def test_a_later_move_replaces_an_earlier_one_of_the_same_tensor():
    assert merge_moves([WIDE, OTHER, FREE]) == (OTHER, FREE)


def test_a_level_without_noise_has_no_end():
    assert Level(math.inf, 0.0).typical_db == math.inf
