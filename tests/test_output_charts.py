"""What the output loses, drawn: a bar for each of the worst quantizers, and the recovered curve."""

from __future__ import annotations

import math

import pytest
from measured_for_tests import (
    QUANTIZERS,
    compare_measured,
    make_groups,
    make_outputs,
    make_quantizer,
)

from playground.utils.figures import OUTPUT_CHARTS, output_charts
from playground.utils.figures.style import shorten_apart
from playground.utils.parameter_inspector import Recovered, Split


def bars_of(ax):
    """Return kind -> the right end of each bar, by its row."""
    found = {}
    for bars in ax.collections:
        boxes = [path.get_extents() for path in bars.get_paths()]
        found[bars.get_label()] = {round((b.y0 + b.y1) / 2): b.x1 for b in boxes}
    return found


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_each_bar_is_as_long_as_the_share_the_worst_first():
    bars = bars_of(output_charts.plot_shares(make_outputs()))
    assert bars["activation"] == pytest.approx({0: 0.5, 1: 0.25, 2: 0.15})
    assert bars["weight"] == pytest.approx({3: 0.1})


def test_weights_and_activations_differ_by_more_than_colour():
    by_kind = {
        bars.get_label(): bars for bars in output_charts.plot_shares(make_outputs()).collections
    }
    assert by_kind["activation"].get_hatch() and not by_kind["weight"].get_hatch()


def test_a_weight_is_named_by_its_layer_and_an_activation_by_its_tensor():
    shown = texts(output_charts.plot_shares(make_outputs()))
    assert [name for name in shown if "%" not in name] == ["x", "r", "y", "conv"]
    assert [share for share in shown if "%" in share] == ["50%", "25%", "15%", "10%"]


def test_what_has_no_bar_is_summed_up():
    many = [make_quantizer(i, f"t{i}", "abs") for i in range(20)]
    outputs = make_outputs(groups=make_groups([20.0 - i for i in range(20)], many))
    ax = output_charts.plot_shares(outputs)
    assert len(bars_of(ax)["activation"]) == 15
    assert texts(ax)[-2:] == ["5 others", "7%"]  # 5 + 4 + 3 + 2 + 1 of 210


def test_a_share_too_small_to_see_has_no_bar():
    ax = output_charts.plot_shares(make_outputs([1.0, 1e-5, 1e-5, 1e-5]))
    assert bars_of(ax)["weight"] == pytest.approx({0: 1 / 1.00003})
    assert bars_of(ax)["activation"] == {}
    assert "3 others" in texts(ax)


def test_the_curve_begins_at_the_file_and_shows_each_point():
    ax = output_charts.plot_recovered(make_outputs())
    curve, *levels = ax.lines
    assert list(curve.get_ydata()) == [7.0, 9.5, 12.25]
    ticks = [ax.xaxis.get_major_formatter()(at, 0) for at in ax.get_xticks()]
    assert ticks == ["0", "1", "2"]
    assert sorted(line.get_ydata()[0] for line in levels) == [7.0, 17.0]
    assert {"the file 7.0", "all activations float 17.0", "12.2"} <= set(texts(ax))


def test_what_is_lossless_or_unknown_has_no_place_on_the_curve():
    outputs = make_outputs(
        recovered=(Recovered(1, math.inf), Recovered(2, math.nan), Recovered(3, 20.0)),
        split=Split(math.inf, 7.0, 0.0, 0.2),
    )
    assert output_charts.list_points(outputs) == [(0, 7.0), (3, 20.0)]
    assert output_charts.list_levels(outputs) == {}
    assert output_charts.render_shares(outputs).png


def test_the_picture_says_its_numbers_in_words():
    picture = OUTPUT_CHARTS["shares"].render(compare_measured(), "INT8")
    assert "of INT8, the worst of 4: the activation x 50%" in picture.alt
    assert "0: 7.0 dB, 1: 9.5 dB, 2: 12.2 dB; all activations float 17.0 dB" in picture.alt


def test_before_anything_is_measured_there_is_no_picture():
    comparison = compare_measured(groups=())
    assert OUTPUT_CHARTS["shares"].render(comparison, "INT8") is None
    assert OUTPUT_CHARTS["shares"].render(comparison, "FP32") is None


def test_hostile_names_are_drawn_as_they_are():
    hostile = [make_quantizer(0, "$\\frac_1$", "abs"), *QUANTIZERS[1:]]
    outputs = make_outputs(groups=make_groups([4.0, 1.0, 1.0, 1.0], hostile))
    assert "$\\frac_1$" in texts(output_charts.plot_shares(outputs))
    assert output_charts.render_shares(outputs).png


def test_names_keep_what_tells_them_apart():
    names = [f"/model/auto_model/encoder/layer.{i}/attention/self/Add_output_0" for i in range(12)]
    short = shorten_apart(names, 30)
    assert len(set(short)) == 12
    assert all(len(name) <= 30 and f"layer.{i}/" in name for i, name in enumerate(short))
    assert shorten_apart(["a/b", "c/d"], 30) == ["a/b", "c/d"]
