"""What a team asks of a build: each output under it is an error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from outputs_for_tests import loss, measured, network, outputs

from playground.utils.parameter_inspector.judging.finding_wording import describe_finding
from playground.utils.parameter_inspector.judging.thresholds import (
    NothingToCompareError,
    Thresholds,
    find_missed,
)


def missed(thresholds, *losses, proto=None):
    return list(find_missed(measured(outputs(losses=losses), proto), thresholds))


@pytest.mark.parametrize(("least", "count"), [(14.9, 0), (15.1, 1)])
def test_an_output_under_the_decibels_that_are_asked_for_is_an_error(least, count):
    findings = missed(Thresholds(sqnr_db=least), loss(15.0))
    assert [one.severity for one in findings] == ["error"] * count


def test_the_output_and_its_worst_sample_are_named():
    (finding,) = missed(Thresholds(sqnr_db=20), loss(30.0, "a"), loss([9.0, 3.0], "b"))
    said = describe_finding(finding)
    assert "Output 'b' keeps 5.0 dB on 16 samples, under the 20.0 dB" in said
    assert "sample 1 (counted from 0) with 3.0 dB" in said


@pytest.mark.parametrize(("what", "least"), [("agreement", 0.9), ("accuracy", 0.9)])
def test_scores_are_compared_where_an_output_has_them(what, least):
    scored = loss(40.0, **{what: 0.8})
    (finding,) = missed(Thresholds(**{what: least}), scored, loss(40.0, "other"))
    assert "80%" in describe_finding(finding) and "90%" in describe_finding(finding)
    assert missed(Thresholds(**{what: 0.8}), scored) == []


def test_agreement_of_a_softmax_is_taken_before_that_of_other_outputs():
    scores, other = loss(40.0, agreement=1.0), loss(40.0, "d", agreement=0.1)
    asked = Thresholds(agreement=0.9)
    assert missed(asked, scores, other, proto=network(ends_in="Softmax")) == []


@pytest.mark.parametrize("what", ["agreement", "accuracy"])
def test_what_no_output_has_cannot_be_asked_for(what):
    with pytest.raises(NothingToCompareError):
        missed(Thresholds(**{what: 0.5}), loss(40.0))


def test_an_output_that_is_not_finite_is_under_every_threshold():
    assert len(missed(Thresholds(sqnr_db=-1000), loss(-math.inf))) == 1


def test_noise_where_float_is_silent_is_under_every_threshold():
    noisy = replace(loss(), signal=np.zeros(2))
    assert len(missed(Thresholds(sqnr_db=-1000), noisy)) == 1


def test_an_output_that_is_silent_in_both_is_none():
    silent = replace(loss(), signal=np.zeros(2), noise=np.zeros(2))
    assert missed(Thresholds(sqnr_db=50), silent, loss(60.0, "b")) == []


@pytest.mark.parametrize(
    "asked",
    [{"sqnr_db": math.nan}, {"sqnr_db": math.inf}, {"agreement": 1.1}, {"accuracy": math.nan}],
)
def test_nonsense_cannot_be_asked_for(asked):
    with pytest.raises(ValueError, match=r"share|decibels"):
        Thresholds(**asked)
