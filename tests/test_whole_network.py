"""The whole network as a picture: damage or ranges in the place of the list."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from comparisons_for_tests import compare_lossy
from measured_for_tests import compare_measured

from playground.utils import tables
from playground.utils.page import drawing, whole_network
from playground.utils.parameter_inspector import LayerRanges, compare_variants


def pictured(view, comparison):
    return whole_network.list_pictured(view, tables.rank_layers(comparison, []), comparison)


def show(view, comparison):
    """Return the picture of a view with its controls, as HTML."""
    shown = pictured(view, comparison)
    picture = whole_network.draw_pictured(shown, shown.rows, shown.variants, view, log=False)
    clicks = drawing.make_clickable(picture, len(shown.rows)) if shown.rows else None
    switch = whole_network.create_range_switch(shown)
    return whole_network.show_pictured(shown, picture, clicks, [switch, switch, switch])


def test_the_list_has_no_picture():
    assert show("list", compare_lossy()) is None
    assert not pictured("list", compare_lossy()).rows


@pytest.mark.parametrize(
    ("view", "words"),
    [("damage", "Share of the noise of 2 layers"), ("ranges", "Range of the weights of 1 layers")],
)
def test_a_picture_says_its_claim_in_words_and_can_be_scrolled_by_keyboard(view, words):
    text = show(view, compare_measured()).text
    assert words in text
    assert 'tabindex="0" role="region" aria-label="Picture of all layers"' in text


def test_only_ranges_have_an_axis_to_choose_and_one_page_nothing():
    assert "marimo-switch" not in show("damage", compare_measured()).text
    assert show("ranges", compare_measured()).text.count("<marimo-switch") == 1


@pytest.mark.parametrize(("widest", "log"), [(2.0, False), (30.0, True)])
def test_the_axis_is_logarithmic_by_itself_where_one_layer_dwarfs_the_rest(widest, log):
    rows = [LayerRanges(str(i), "Conv", {"FP32": (0.0, w)}) for i, w in enumerate((1, 1, widest))]
    shown = whole_network.Pictured("ranges", rows, ["FP32"])
    assert whole_network.create_range_switch(shown).value is log


def test_a_click_names_its_row_and_beside_the_rows_none():
    def click(y):
        return SimpleNamespace(value=SimpleNamespace(y_min=y, y_max=y))

    assert whole_network.find_clicked(click(1.2), 3) == 1
    assert whole_network.find_clicked(click(3.2), 3) is None
    assert whole_network.find_clicked(None, 3) is None


@pytest.mark.parametrize("view", ["damage", "ranges"])
def test_where_there_is_nothing_to_picture_a_sentence_says_why(view):
    alone = compare_variants({"FP32": compare_lossy().variants["FP32"]})
    assert ("Nothing is known here" in show(view, alone).text) is (view == "damage")
