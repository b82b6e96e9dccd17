"""Section 4 in pictures: the current scheme beside the proposed one, and what more costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from matplotlib.colors import to_rgb
from trials_for_tests import CURRENT, HOSTILE, OPTIONS, PROPOSED, TRIAL

from playground.utils.figures import (
    style,
    trial_charts,
)
from playground.utils.parameter_inspector.changing.planning import choose

COLORS = style.color_variants(["FP32", "INT8", "UINT8"])


def steps(ax) -> list[int]:
    (stairs,) = ax.patches
    return stairs.get_data().values.tolist()


def test_the_picture_of_a_trial_holds_the_three_counts_over_the_same_axes():
    float_, current, proposed, _ = trial_charts.draw_trial(TRIAL, "UINT8", COLORS).axes
    assert [steps(ax) for ax in (float_, current, proposed)] == [[3, 5, 4], [1, 8, 3], [4, 6, 2]]
    assert float_.get_ylim() == current.get_ylim() == proposed.get_ylim()
    assert float_.get_xlim() == current.get_xlim() == proposed.get_xlim() == (-1.0, 2.0)
    assert [ax.get_title(loc="left") for ax in (float_, current, proposed)] == [
        "float",
        "UINT8, current",
        "proposed",
    ]
    assert to_rgb(current.patches[0].get_facecolor()) == to_rgb(COLORS["UINT8"])


def test_current_channels_are_rings_and_proposed_ones_dots():
    ax = trial_charts.plot_channels(CURRENT, PROPOSED, color="k")
    current, proposed, limit = ax.lines
    np.testing.assert_array_equal(current.get_ydata(), [0.0, 52.5, np.nan])
    np.testing.assert_array_equal(proposed.get_ydata(), [44.04, np.nan, 47.5])
    assert current.get_markerfacecolor() == "none"
    assert proposed.get_markersize() < current.get_markersize()
    assert set(limit.get_ydata()) == {20.0}
    assert "proposed: 1 lossless, not drawn" in ax.get_title(loc="right")
    assert ax.get_ylim()[1] > 52.5


def test_the_text_alternative_of_a_trial_states_its_numbers():
    words = trial_charts.describe_trial(TRIAL, "UINT8", "stem")
    assert "weights of stem, from −1 to 2" in words
    assert (
        "UINT8, current: uint8 per-tensor symmetric, tensor 39.2 dB, worst channel 0.0 dB" in words
    )
    assert "1 of 3 channels under 20 dB, 293 bytes" in words
    assert "Proposed: int8 per-channel symmetric, tensor 46.6 dB, worst channel 44.0 dB" in words


def test_a_hostile_name_and_a_weight_without_channels_draw():
    nothing = replace(CURRENT, channel_sqnr_db=np.full(3, math.nan))
    trial = replace(TRIAL, current=nothing, proposed=nothing)
    colors = {HOSTILE: "k"}
    for log in (False, True):
        assert trial_charts.render_trial(trial, HOSTILE, colors, log=log, about=HOSTILE).png


def test_the_curve_marks_today_and_the_target():
    plan = choose(OPTIONS, (), target_sqnr_db=28.0)
    ax = trial_charts.plot_trade_off(plan)
    curve, current, chosen, limit = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), [p.byte_count for p in plan.curve])
    np.testing.assert_array_equal(curve.get_ydata(), [p.level_db for p in plan.curve])
    assert (current.get_xdata()[0], current.get_ydata()[0]) == (1100, 1.0)
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (1150, 30.0)
    assert set(limit.get_ydata()) == {20.0}
    words = trial_charts.describe_trade_off(plan)
    assert "current 1,100 bytes at 1.0 dB, the target 1,150 bytes at 30.0 dB" in words
    assert "fewest bytes 700 bytes at 1.0 dB" in words


def test_only_the_first_histogram_of_a_trial_has_numbers_beside_its_counts():
    shown = [
        any(one.get_position()[0] == 0 and one.get_ha() == "right" for one in ax.texts)
        for ax in trial_charts.draw_trial(TRIAL, "UINT8", COLORS).axes
    ]
    assert shown == [True, False, False, True]
