"""Differences between runs become numbers, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from playground.utils.parameter_inspector.running.comparisons import (
    agreement_db,
    choose_judged,
    create_losses,
    relative_noise,
)
from playground.utils.parameter_inspector.running.replies import Differences, LoadedModel, Port


def differ(noise, signal, **more) -> Differences:
    return Differences(np.array(noise, np.float64), np.array(signal, np.float64), **more)


def loaded(*outputs: tuple[str, str, bool]) -> LoadedModel:
    return LoadedModel((), tuple(Port(n, t, (1,), known) for n, t, known in outputs), 0.0)


def test_real_outputs_are_judged_and_integers_only_where_there_is_nothing_else():
    scores, label = ("scores", "tensor(float)", True), ("label", "tensor(int64)", True)
    text = ("text", "tensor(string)", False)
    names = ["scores", "label", "text"]
    assert choose_judged(loaded(label, scores, text), names) == ("scores",)
    assert choose_judged(loaded(label, text), names) == ("label",)
    assert choose_judged(loaded(label, scores), ["label"]) == ("label",)


def test_agreement_is_that_of_the_output_that_agrees_least():
    found = {"a": differ([1, 1], [100, 100]), "b": differ([1], [10]), "c": differ([0], [5])}
    assert agreement_db(found) == pytest.approx(10)
    assert agreement_db({"c": found["c"]}) == np.inf
    assert agreement_db({}) == np.inf


def test_a_small_output_counts_like_a_large_one():
    found = {"large": differ([1e6], [1e8]), "small": differ([3e-6], [1e-4])}
    assert relative_noise(found) == pytest.approx((0.01 + 0.03) / 2)


def test_an_output_without_a_signal_is_left_out_of_the_mean():
    found = {"zero": differ([1], [0]), "a": differ([1], [4])}
    assert relative_noise(found) == pytest.approx(0.25)
    assert relative_noise({"zero": found["zero"]}) == 0


def test_agreement_and_accuracy_are_shares_of_all_argmaxes():
    counts = {"positions": 4, "agreeing": np.array([4, 2]), "correct": np.array([1, 1])}
    exact = {"y": differ([0, 0], [1, 1], positions=4, correct=np.array([4, 3]))}
    (loss,) = create_losses({"y": differ([1, 0], [1, 1], **counts)}, exact)
    assert (loss.agreement, loss.accuracy, loss.float_accuracy) == (6 / 8, 2 / 8, 7 / 8)
    (loss,) = create_losses({"y": differ([1, 0], [1, 1])}, {})
    assert (loss.agreement, loss.accuracy, loss.float_accuracy) == (None, None, None)


@pytest.mark.parametrize("largest, is_apart", [(1e12, True), (1.0, False)])
def test_channels_are_told_apart_only_where_they_differ_much(largest, is_apart):
    signal = np.array([[largest, 1, 1], [largest, 1, 1]])
    noise = np.array([[1.0, 2, 3], [4, 5, 6]])
    found = differ(
        noise.sum(axis=1), signal.sum(axis=1), channel_noise=noise, channel_signal=signal
    )
    (loss,) = create_losses({"y": found}, {})
    assert (loss.channel_noise is not None) is is_apart
    if is_apart:
        np.testing.assert_array_equal(loss.channel_noise, [5, 7, 9])
