"""Section 4 in words: every number of a trial and of a plan, current beside proposed."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

from trials_for_tests import BAD, HOSTILE, OPTIONS, TRIAL, candidate

from playground.utils.figures import (
    style,
)
from playground.utils.parameter_inspector.changing.planning import TradeOff, choose
from playground.utils.parameter_inspector.changing.rewriting import Saved
from playground.utils.parameter_inspector.changing.trial_runs import Truth, VariantTruth
from playground.utils.tables import (
    trial_tables,
)

COLORS = style.color_variants(["FP32", "INT8", "UINT8"])


def test_the_numbers_of_a_trial_stand_beside_todays_with_the_difference():
    rows = {row[0]: row[1:] for row in trial_tables.create_trial_table(TRIAL).values.tolist()}
    assert rows == {
        "Scheme": ["uint8 per-tensor symmetric", "int8 per-channel symmetric", ""],
        "SQNR of the tensor": ["39.2 dB", "46.6 dB", "+7.4 dB"],
        "SQNR of the worst channel": ["0.0 dB", "44.0 dB", "+44.0 dB"],
        "Bytes, with scales and zero-points": ["293", "448", "+52.9%"],
    }


def test_a_trial_that_cannot_run_says_so_and_one_that_can_says_nothing():
    assert trial_tables.explain_trial(TRIAL) == []
    assert trial_tables.explain_trial(replace(TRIAL, why_not_run="it cannot run")) == [
        "It cannot run."
    ]


def test_the_size_limits_leave_something_and_select_by_bytes():
    found = (candidate(60, 200), candidate(30, 150), candidate(20, 75))
    limits = trial_tables.create_size_limits(found, 100)
    assert list(limits.values()) == [None, 200, 110, 100, 75]  # half of it would leave nothing
    assert "at most the current size: 100 B" in limits
    kept = [trial_tables.select_affordable(found, most) for most in limits.values()]
    assert [len(one) for one in kept] == [3, 3, 1, 1, 1]


def test_the_candidates_say_what_they_gain_cost_and_whether_they_run():
    layer_of = SimpleNamespace(op_type="Conv", inputs=("x",))
    on_trial = SimpleNamespace(layer=layer_of, byte_count=100)
    found = [BAD.candidates[0], candidate(25, 100, -3.5, data_type="float8e5m2")]
    table = trial_tables.create_candidate_table(found, on_trial)  # type: ignore[arg-type]
    assert table["gain"].tolist() == ["+29.0 dB", "−3.5 dB"]
    assert table["bytes"].tolist() == [150, 100]
    assert table["more bytes"].tolist() == ["+50.0%", "no change"]
    assert table["runs in onnxruntime"].tolist() == [
        "yes",
        "onnxruntime cannot run float8e5m2 weights beside quantized activations",
    ]


def test_a_plan_is_a_row_for_each_change_and_a_sentence_for_all():
    plan = choose(OPTIONS, (), target_sqnr_db=28.0)
    assert trial_tables.create_change_table(plan).values.tolist() == [
        [
            "bad",
            "int8 per-tensor symmetric",
            "int8 per-channel symmetric",
            "1.0 dB → 30.0 dB",
            "100 → 150",
        ]
    ]
    assert trial_tables.summarize_plan(plan) == (
        "1 of 2 layers change: worst channel 1.0 dB → 30.0 dB, weights 1,100 → 1,150 bytes (+4.5%)."
    )
    assert trial_tables.explain_unreachable(plan) == []


def test_a_plan_that_changes_nothing_and_one_that_misses_its_target_say_so():
    assert trial_tables.summarize_plan(choose(OPTIONS, (), 0.5)).startswith(
        "No layer has to change: "
    )
    (sentence,) = trial_tables.explain_unreachable(choose(OPTIONS, (), 50.0))
    assert sentence.startswith(f"{HOSTILE}: its worst channel reaches at most 45.0 dB")
    (sentence,) = trial_tables.explain_unreachable(choose(OPTIONS, (), target_bytes=5))
    assert sentence == "The weights take at least 700 bytes, more than 5."


def test_the_sliders_reach_from_the_cheapest_to_the_best_and_begin_where_it_stops_to_hurt():
    curve = choose(OPTIONS, (), 0.0).curve
    assert curve[0] == TradeOff(700, 1.0)
    assert trial_tables.list_sqnr_targets(curve) == (1, 60, 30)
    assert trial_tables.list_sqnr_targets([TradeOff(9, 40.5), TradeOff(9, math.inf)]) == (
        40,
        41,
        40,
    )
    assert trial_tables.list_sqnr_targets([]) == (0, 1, 1)
    sizes = trial_tables.list_size_targets(choose(OPTIONS, (), 0.0))
    assert sizes == sorted({700, 750, 1100, 1150, 1200} & set(sizes))
    assert {700, 1100} <= set(sizes)


def test_what_the_samples_say_is_counted_and_compared():
    truth = Truth(
        450, VariantTruth(1.0, None), VariantTruth(163 / 450, 2.04), VariantTruth(1.0, 37.1)
    )
    assert trial_tables.create_truth_table(truth).values.tolist() == [
        ["Original", "450 of 450, 100.0%", "–"],
        ["Current", "163 of 450, 36.2%", "2.0 dB"],
        ["Changed", "450 of 450, 100.0%", "37.1 dB"],
    ]
    unlabelled = Truth(9, *(VariantTruth(None, db) for db in (None, 2.0, math.inf)))
    table = trial_tables.create_truth_table(unlabelled)
    assert list(table.columns) == ["Model", "Output SQNR against the original"]
    assert table.values.tolist()[2] == ["Changed", "lossless"]


def test_what_was_written_names_sizes_and_a_raised_opset(tmp_path):
    saved = Saved(tmp_path, ("a", "b"), 83854, 82966, None)
    assert "82,966 → 83,854 bytes; 2 of its layers" in trial_tables.describe_saved(saved)
    assert "now opset 21" in trial_tables.describe_saved(replace(saved, raised_opset=21))
