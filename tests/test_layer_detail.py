"""The chosen layer: one picture at once, the rest after it, names as text, words behind marks."""

from __future__ import annotations

import marimo as mo
import pytest
from comparisons_for_tests import compare_lossy, make_finding
from measured_for_tests import compare_measured

from playground.utils.figures import LAYER_CHARTS, Picture
from playground.utils.page import layer_detail, selection

SWITCH = mo.ui.switch(label="Logarithmic counts")


@pytest.fixture
def asked(monkeypatch) -> dict[str, str]:
    """What the address asks for."""
    query: dict[str, str] = {}
    monkeypatch.setattr(selection.mo, "query_params", lambda: query)
    return query


def write(comparison, layer="conv", findings=(), variant="INT8") -> list[str]:
    return list(
        layer_detail.write_details(
            comparison, "files", findings, layer, variant, SWITCH, "<i>share</i>"
        )
    )


def test_a_layer_is_shown_with_one_picture_before_all_are_drawn(asked):
    first, whole = write(compare_lossy(), findings=[make_finding("error")])
    assert first.count("<img") == 1
    assert whole.startswith(first)
    # All charts but what flows, which is not measured.
    assert whole.count("<img") == len(LAYER_CHARTS) - 1
    assert "Weight shape" in whole
    assert "What helps" in whole


def test_every_chart_of_the_list_is_shown_once_under_its_title(asked):
    whole = write(compare_measured())[-1]
    for chart in LAYER_CHARTS.values():
        title = chart.caption.partition("**:")[0].strip("*")
        assert whole.count(f"<summary><b>{title}</b></summary>") == 1
    assert whole.count("<img") == len(LAYER_CHARTS)


def test_what_flows_is_seen_first_where_it_costs_more_than_the_weight(asked):
    # Inputs and outputs of conv cost three quarters, its weight a tenth: make_outputs.
    assert layer_detail.order_charts(compare_measured(), "conv", "INT8")[0] == "activations"
    assert layer_detail.order_charts(compare_lossy(), "conv", "INT8")[0] == "histograms"
    heavy = compare_measured(alone=(0.9, 0.01, 0.01, 0.01))
    assert layer_detail.order_charts(heavy, "conv", "INT8")[0] == "histograms"


def test_findings_of_the_shown_variant_come_first(asked):
    findings = [make_finding("error", variant="other"), make_finding("warning")]
    first = write(compare_lossy(), findings=findings)[0]
    assert first.index("▲ warning in INT8") < first.index("✕ error in other")


def test_the_page_scrolls_to_a_layer_that_was_chosen_and_not_to_the_one_that_opens(asked):
    assert "data-scroll-to" not in write(compare_lossy())[0]
    asked["layer"] = "conv"
    assert 'data-scroll-to="layer"' in write(compare_lossy())[0]
    assert layer_detail.mark_chosen("a") != layer_detail.mark_chosen("b")


def test_a_layer_without_weights_says_so(asked):
    assert layer_detail.NOTHING_TO_DRAW in write(compare_lossy(), "relu")[0]


def test_a_caption_is_a_title_with_its_words_behind_a_question_mark():
    assert layer_detail.frame_caption("**The <b>**: how **often** & why.") == (
        '<details class="playground-help"><summary><b>The &lt;b&gt;</b></summary>'
        "<p>How <b>often</b> &amp; why.</p></details>"
    )


def test_what_cannot_be_drawn_is_a_sentence():
    assert layer_detail.frame_chart("codes", Picture(b"", "", ("<gone>",))) == "<p>&lt;gone&gt;</p>"
    assert layer_detail.frame_chart("codes", Picture(b"", "")) == ""


def test_the_list_stands_before_the_layer_in_reading_order():
    both = layer_detail.place_beside([mo.Html("LIST"), None], "DETAIL").text
    assert both.index('id="layers"') < both.index("LIST") < both.index('id="layer"')
    assert "wide" not in both
    assert "wide" in layer_detail.place_beside([], "", wide=True).text


def test_what_is_shown_meanwhile_gives_way_to_the_last(monkeypatch):
    shown = []
    monkeypatch.setattr(layer_detail.mo.output, "replace", lambda one: shown.append(one.text))
    last = layer_detail.show_both([], iter(["one", "two", "three"]))
    assert ["one" in shown[0], "two" in shown[1], len(shown)] == [True, True, 2]
    assert "three" in last.text
