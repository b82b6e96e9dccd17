"""One layer on trial: opened, tried, its controls, and a sentence where that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparisons_for_tests import compare_lossy

from playground.utils import tables
from playground.utils.page import trying
from playground.utils.parameter_inspector import compare_variants, open_folder
from playground.utils.parameter_inspector.changing.schemes import Scheme

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def on_trial():
    weight, why = trying.open_trial_weight("files", compare_lossy(), "INT8", "conv")
    assert why == ""
    return weight


def test_a_weight_is_opened_once_for_all_viewers(on_trial):
    again, _ = trying.open_trial_weight("files", compare_lossy(), "INT8", "conv")
    assert again is on_trial
    assert not trying.is_large(on_trial)


def test_a_weight_without_a_float_original_has_nothing_to_try():
    variants = open_folder(ROOT / "models" / "dscnn").variants
    alone = compare_variants({"INT8": variants["INT8"]})
    weight, why = trying.open_trial_weight("alone", alone, "INT8", "/dense/Gemm")
    assert weight is None
    assert why == "There is no float original of this layer to quantize again."


def test_a_scheme_is_attempted_once_for_all_viewers(on_trial):
    first, why = trying.attempt_scheme("files", "INT8", on_trial, Scheme("int4"))
    again, _ = trying.attempt_scheme("files", "INT8", on_trial, Scheme("int4"))
    assert (first is again, why) == (True, "")
    assert first.proposed.scheme == Scheme("int4")


def test_a_scheme_that_does_not_fit_the_weight_is_a_sentence(on_trial):
    scheme = Scheme("int8", "per-channel", axis=9)
    trial, why = trying.attempt_scheme("files", "INT8", on_trial, scheme)
    assert trial is None
    assert why[0].isupper() and why.endswith(".")


def test_the_candidates_are_listed_best_worst_channel_first(on_trial):
    candidates, _ = trying.find_candidates("files", "INT8", on_trial)
    levels = [one.worst_channel_sqnr_db for one in candidates]
    assert levels == sorted(levels, reverse=True)


def test_every_part_of_a_scheme_has_a_control_that_changes_it_alone(on_trial):
    chosen = []
    *controls, undo = trying.create_controls(on_trial.scheme, on_trial, chosen.append)
    assert len(controls) == len(tables.CONTROLS)
    controls[list(tables.CONTROLS).index("data_type")]._on_change("uint8")
    assert (chosen[-1].data_type, chosen[-1].granularity) == ("uint8", on_trial.scheme.granularity)
    undo._on_change(None)
    assert chosen[-1] == on_trial.scheme


def test_a_trial_that_cannot_run_is_shown_with_a_warning(on_trial):
    trial, _ = trying.attempt_scheme("files", "INT8", on_trial, Scheme("float8e5m2"))
    shown = trying.show_trial_numbers(trial).text
    assert "onnxruntime cannot run float8e5m2" in shown
    assert "Proposed" in shown
