"""What flows through a layer, drawn: each code at its value, under the range that a scale holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from measured_for_tests import HISTOGRAM, compare_measured, make_statistics

from playground.utils.figures import LAYER_CHARTS, activation_charts
from playground.utils.figures.style import ALERT, INK
from playground.utils.parameter_inspector import LayerQuantizer, Role, list_layer_activations

COLOR = "#d9822b"


def shown(**more):
    """Return the panel of conv's input with other statistics."""
    one = list_layer_activations(compare_measured(), "conv")["INT8"][0]
    changed = LayerQuantizer(
        Role.INPUT, one.quantizer, one.noise, replace(make_statistics(1), **more)
    )
    (panel,) = activation_charts.list_activations({"INT8": [changed]})
    return panel


def spans(ax):
    """Return colour -> the x-range of each rectangle."""
    found = {}
    for patch in ax.patches:
        if isinstance(patch, Rectangle):
            span = (patch.get_x(), patch.get_x() + patch.get_width())
            found.setdefault(to_hex(patch.get_facecolor()), []).append(span)
    return found


def test_each_count_stands_at_the_value_of_its_code():
    ax = activation_charts.plot_flow(shown(), color=COLOR, log=False)
    values, edges, _ = ax.patches[0].get_data()
    assert values.tolist() == HISTOGRAM.tolist()
    # Code 100 is 0 and each further one 0.5 more.
    assert (edges[100] + edges[101]) / 2 == pytest.approx(0)
    assert (edges[255] + edges[256]) / 2 == pytest.approx(77.5)


def test_what_was_seen_beyond_the_scale_is_red():
    found = spans(activation_charts.plot_ranges_held(shown(), color=COLOR))
    assert found == {INK: [(-50, 77.5)], ALERT: [(-60, -50)], COLOR: [(-50, 70)]}


def test_the_code_that_clipped_values_share_is_red_and_the_share_is_written():
    ax = activation_charts.plot_flow(shown(), color=COLOR, log=False)
    assert [text.get_text() for text in ax.texts] == ["2.50% clipped"]
    ((left, _),) = spans(ax)[ALERT]
    assert left == pytest.approx(-50.25)


def test_without_clipping_nothing_is_red():
    panel = shown(low=-40.0, clipped_share=0.0)
    found = spans(activation_charts.plot_ranges_held(panel, color=COLOR))
    assert found == {INK: [(-50, 77.5)], COLOR: [(-40, 70)]}
    assert activation_charts.plot_flow(panel, color=COLOR).texts[:] == []


def test_marks_stand_where_all_but_a_thousandth_ends():
    ax = activation_charts.plot_ranges_held(shown(), color=COLOR)
    assert [line.get_xdata()[0] for line in ax.lines] == [-40, 40]


def test_what_lies_far_beyond_the_scale_does_not_squeeze_the_picture():
    assert shown(low=-1e30, high=1e30).limits == pytest.approx((-113.75, 141.25))


def test_a_scale_of_each_run_is_drawn_by_codes_and_clips_nothing():
    ax = activation_charts.plot_flow(shown(represented=None), color=COLOR, log=False)
    assert ax.patches[0].get_data().edges[[0, -1]].tolist() == [-0.5, 255.5]
    assert ax.get_xlabel() == "code"
    strip = activation_charts.plot_ranges_held(shown(represented=None), color=COLOR)
    assert spans(strip) == {COLOR: [(-60, 70)]}


def test_what_could_not_be_counted_says_so():
    ax = activation_charts.plot_flow(shown(histogram=None), color=COLOR)
    assert [text.get_text() for text in ax.texts] == ["not counted"]


@pytest.mark.parametrize(("counts", "is_log"), [([9, 1, 1], True), ([3, 3, 3, 3], False)])
def test_counts_are_logarithmic_where_one_bin_would_hide_the_others(counts, is_log):
    assert activation_charts.needs_log(np.array(counts)) is is_log


def test_the_chart_of_a_layer_says_its_numbers_in_words():
    picture = LAYER_CHARTS["activations"].render(compare_measured(), "conv", None)
    assert "of conv" in picture.alt
    assert "INT8 · input, x: values from −60 to 70; its scale holds −50 to 77.5" in picture.alt
    assert "2.50% clipped; SQNR 24.5 dB; 50% of the noise." in picture.alt


def test_a_layer_without_activations_or_not_measured_has_no_picture():
    assert LAYER_CHARTS["activations"].render(compare_measured(), "none", None) is None
    unknown = compare_measured(statistics=None)
    assert LAYER_CHARTS["activations"].render(unknown, "conv", None) is None


def test_more_activations_than_there_is_room_for_are_counted():
    panels = [shown()] * 11
    picture = activation_charts.render_activations(panels, {"INT8": COLOR})
    assert picture.notes == ("3 more activations of this layer are in the table only.",)
