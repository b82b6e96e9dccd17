"""Section 4 in words and pictures: every number of a trial and of a plan, beside today's."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from playground.utils.figures import trial_charts as figures
from playground.utils.figures.style import (
    color_variants,
    draw_ticks,
    encode_png,
    format_axis,
    new_figure,
)
from playground.utils.parameter_inspector.changing.planning import (
    Candidate,
    LayerOptions,
    TradeOff,
    choose,
)
from playground.utils.parameter_inspector.changing.rewriting import Saved, Truth, VariantTruth
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trials import Outcome, Trial
from playground.utils.tables import text
from playground.utils.tables import trial_tables as tables

HOSTILE = r"<script>1</script> block$\foo$_1"
COLORS = color_variants(["FP32", "INT8", "UINT8"])
TODAY = Outcome(Scheme("uint8"), 39.24, np.array([0.0, 52.5, math.nan]), 293, np.array([1, 8, 3]))
TRIED = Outcome(
    Scheme("int8", "per-channel"), 46.6, np.array([44.04, math.inf, 47.5]), 448, np.array([4, 6, 2])
)
TRIAL = Trial(np.array([-1.0, 0.0, 1.0, 2.0]), np.array([3, 5, 4]), TODAY, TRIED, None)


def layer(row: str, *candidates: Candidate, current: Candidate) -> LayerOptions:
    return LayerOptions(row, f"{row}_q", f"{row}.weight", (4, 3), 0, current, candidates)


def candidate(worst: float, size: int, gain: float = 0.0, **scheme: object) -> Candidate:
    made = Scheme(**scheme)  # type: ignore[arg-type]
    return Candidate(made, worst + 3, worst, size, gain)


BAD = layer(
    "bad",
    candidate(30.0, 150, 29.0, granularity="per-channel"),
    candidate(60.0, 200, 59.0, data_type="int16"),
    current=candidate(1.0, 100),
)
FINE = layer(
    HOSTILE,
    candidate(25.0, 600, -20.0, data_type="int4"),
    current=candidate(45.0, 1000),
)
OPTIONS = (BAD, FINE)


def test_the_numbers_of_a_trial_stand_beside_todays_with_the_difference():
    rows = {row[0]: row[1:] for row in tables.create_trial_table(TRIAL).values.tolist()}
    assert rows == {
        "Scheme": ["uint8 per-tensor symmetric", "int8 per-channel symmetric", ""],
        "SQNR of the tensor": ["39.2 dB", "46.6 dB", "+7.4 dB"],
        "SQNR of the worst channel": ["0.0 dB", "44.0 dB", "+44.0 dB"],
        "Bytes, with scales and zero-points": ["293", "448", "+52.9 %"],
    }


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        (30.0, 30.0, "no change"),
        (10.0, 30.25, "−20.2 dB"),
        (math.inf, 30.0, "now exact"),
        (30.0, math.inf, "no longer exact"),
        (math.inf, math.inf, "no change"),
        (math.nan, 30.0, "–"),
    ],
)
def test_a_difference_in_decibels_is_said_even_where_it_is_no_number(after, before, words):
    assert tables.format_gain(after, before) == words


def test_growth_is_in_percent_with_its_sign():
    assert tables.format_growth(1004, 1000) == "+0.4 %"
    assert tables.format_growth(644, 1000) == "−35.6 %"
    assert tables.format_growth(2624, 1000) == "+162 %"
    assert tables.format_growth(1000, 1000) == "no change"


def test_a_trial_that_cannot_run_says_so_and_one_that_can_says_nothing():
    assert tables.explain_trial(TRIAL) == []
    assert tables.explain_trial(replace(TRIAL, why_not_run="it cannot run")) == ["It cannot run."]


def test_the_size_limits_leave_something_and_select_by_bytes():
    found = (candidate(60, 200), candidate(30, 150), candidate(20, 75))
    limits = tables.create_size_limits(found, 100)
    assert list(limits.values()) == [None, 200, 110, 100, 75]  # half of it would leave nothing
    assert "at most today's size: 100 B" in limits
    kept = [tables.select_affordable(found, most) for most in limits.values()]
    assert [len(one) for one in kept] == [3, 3, 1, 1, 1]


def test_the_candidates_say_what_they_gain_cost_and_whether_they_run():
    layer_of = SimpleNamespace(op_type="Conv", inputs=("x",))
    on_trial = SimpleNamespace(layer=layer_of, byte_count=100)
    found = [BAD.candidates[0], candidate(25, 100, -3.5, data_type="float8e5m2")]
    table = tables.create_candidate_table(found, on_trial)  # type: ignore[arg-type]
    assert table["against today"].tolist() == ["+29.0 dB", "−3.5 dB"]
    assert table["bytes"].tolist() == [150, 100]
    assert table["more bytes"].tolist() == ["+50.0 %", "no change"]
    assert table["runs in onnxruntime"].tolist() == [
        "yes",
        "onnxruntime cannot run float8e5m2 weights beside quantized activations",
    ]


def test_a_plan_is_a_row_for_each_change_and_a_sentence_for_all():
    plan = choose(OPTIONS, {}, target_sqnr_db=28.0)
    assert tables.create_change_table(plan).values.tolist() == [
        [
            "bad",
            "int8 per-tensor symmetric",
            "int8 per-channel symmetric",
            "1.0 dB → 30.0 dB",
            "100 → 150",
        ]
    ]
    assert tables.summarize_plan(plan) == (
        "1 of 2 layers change: worst channel 1.0 dB → 30.0 dB, weights 1,100 → 1,150 bytes "
        "(+4.5 %)."
    )
    assert tables.explain_unreachable(plan) == []


def test_a_plan_that_changes_nothing_and_one_that_misses_its_target_say_so():
    assert tables.summarize_plan(choose(OPTIONS, {}, 0.5)).startswith("No layer has to change: ")
    (sentence,) = tables.explain_unreachable(choose(OPTIONS, {}, 50.0))
    assert sentence.startswith(f"{HOSTILE}: its worst channel reaches at most 45.0 dB")
    (sentence,) = tables.explain_unreachable(choose(OPTIONS, {}, target_bytes=5))
    assert sentence == "The weights take at least 700 bytes, more than 5."


def test_the_sliders_reach_from_the_cheapest_to_the_best_and_begin_where_it_stops_to_hurt():
    curve = choose(OPTIONS, {}, 0.0).curve
    assert curve[0] == TradeOff(700, 1.0)
    assert tables.list_sqnr_targets(curve) == (1, 45, 30)
    assert tables.list_sqnr_targets([TradeOff(9, 40.5), TradeOff(9, math.inf)]) == (40, 41, 40)
    assert tables.list_sqnr_targets([]) == (0, 1, 1)
    sizes = tables.list_size_targets(choose(OPTIONS, {}, 0.0))
    assert sizes == sorted({700, 750, 1100, 1150, 1200} & set(sizes))
    assert {700, 1100} <= set(sizes)


def test_what_the_samples_say_is_counted_and_compared():
    truth = Truth(
        450, VariantTruth(1.0, None), VariantTruth(163 / 450, 2.04), VariantTruth(1.0, 37.1)
    )
    assert tables.create_truth_table(truth).values.tolist() == [
        ["Float", "450 of 450, 100.0%", "the reference"],
        ["Today", "163 of 450, 36.2%", "2.0 dB"],
        ["Changed", "450 of 450, 100.0%", "37.1 dB"],
    ]
    unlabelled = Truth(9, *(VariantTruth(None, db) for db in (None, 2.0, math.inf)))
    table = tables.create_truth_table(unlabelled)
    assert list(table.columns) == ["Model", "SQNR of the outputs"]
    assert table.values.tolist()[2] == ["Changed", "exact"]


def test_what_was_written_names_sizes_and_a_raised_opset(tmp_path):
    saved = Saved(tmp_path, ("a", "b"), 83854, 82966, None)
    assert "82,966 → 83,854 bytes; 2 of its layers" in tables.describe_saved(saved)
    assert "now opset 21" in tables.describe_saved(replace(saved, raised_opset=21))


def test_progress_and_text_to_copy_hold_names_as_plain_text():
    shown = text.describe_progress("Layers tried", 3, 14, HOSTILE)
    assert 'max="14" value="3"' in shown
    assert "3 of 14 layers tried" in shown
    code = text.to_code(f"'{HOSTILE}'", 'a "label"')
    assert 'tabindex="0"' in code
    assert 'aria-label="a &quot;label&quot;"' in code
    assert "<script>" not in shown + code


def steps(ax) -> list[int]:
    (stairs,) = ax.patches
    return stairs.get_data().values.tolist()


def test_the_picture_of_a_trial_holds_the_three_counts_over_the_same_axes():
    float_, current, tried, _ = figures.draw_trial(TRIAL, "UINT8", COLORS).axes
    assert [steps(ax) for ax in (float_, current, tried)] == [[3, 5, 4], [1, 8, 3], [4, 6, 2]]
    assert float_.get_ylim() == current.get_ylim() == tried.get_ylim()
    assert float_.get_xlim() == current.get_xlim() == tried.get_xlim() == (-1.0, 2.0)
    assert [ax.get_title(loc="left") for ax in (float_, current, tried)] == [
        "float",
        "UINT8 today",
        "tried",
    ]
    assert to_rgb(current.patches[0].get_facecolor()) == to_rgb(COLORS["UINT8"])


def test_the_channels_of_today_are_rings_and_those_that_are_tried_dots():
    ax = figures.plot_channels(TODAY, TRIED, color="k")
    current, tried, limit = ax.lines
    np.testing.assert_array_equal(current.get_ydata(), [0.0, 52.5, np.nan])
    np.testing.assert_array_equal(tried.get_ydata(), [44.04, np.nan, 47.5])
    assert current.get_markerfacecolor() == "none"
    assert tried.get_markersize() < current.get_markersize()
    assert set(limit.get_ydata()) == {20.0}
    assert "1 exact tried, not drawn" in ax.get_title(loc="right")
    assert ax.get_ylim()[1] > 52.5


def test_the_text_alternative_of_a_trial_states_its_numbers():
    words = figures.describe_trial(TRIAL, "UINT8", "stem")
    assert "weights of stem, from −1 to 2" in words
    assert "UINT8 today: uint8 per-tensor symmetric, tensor 39.2 dB, worst channel 0.0 dB" in words
    assert "1 of 3 channels under 20 dB, 293 bytes" in words
    assert "Tried: int8 per-channel symmetric, tensor 46.6 dB, worst channel 44.0 dB" in words


def test_a_hostile_name_and_a_weight_without_channels_draw():
    nothing = replace(TODAY, channel_sqnr_db=np.full(3, math.nan))
    trial = replace(TRIAL, current=nothing, tried=nothing)
    colors = {HOSTILE: "k"}
    for log in (False, True):
        assert figures.render_trial(trial, HOSTILE, colors, log=log, about=HOSTILE).png


def test_the_curve_marks_today_and_the_target():
    plan = choose(OPTIONS, {}, target_sqnr_db=28.0)
    ax = figures.plot_trade_off(plan)
    curve, current, chosen, limit = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), [p.byte_count for p in plan.curve])
    np.testing.assert_array_equal(curve.get_ydata(), [p.worst_sqnr_db for p in plan.curve])
    assert (current.get_xdata()[0], current.get_ydata()[0]) == (1100, 1.0)
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (1150, 30.0)
    assert set(limit.get_ydata()) == {20.0}
    words = figures.describe_trade_off(plan)
    assert "today 1,100 bytes at 1.0 dB, the target 1,150 bytes at 30.0 dB" in words
    assert "fewest bytes 700 bytes at 1.0 dB" in words


def test_the_ticks_stand_as_texts_where_the_axes_would_have_them_and_none_outside():
    ax = new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.set(xticks=[1, 2], yticks=[-30, 30, 40])
    ax.set(xlim=(0, 3), ylim=(20, 50))
    for axis in (ax.xaxis, ax.yaxis):
        format_axis(axis)
    draw_ticks(ax)
    written = [(one.get_text(), *one.get_position()) for one in ax.texts]
    assert written == [("1", 1, 0), ("2", 2, 0), ("30", 0, 30), ("40", 0, 40)]
    assert not [*ax.get_xticks(), *ax.get_yticks()]


def test_only_the_first_histogram_of_a_trial_has_numbers_beside_its_counts():
    shown = [
        any(one.get_position()[0] == 0 and one.get_ha() == "right" for one in ax.texts)
        for ax in figures.draw_trial(TRIAL, "UINT8", COLORS).axes
    ]
    assert shown == [True, False, False, True]


def test_a_picture_is_a_png_of_the_pixels_that_were_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
