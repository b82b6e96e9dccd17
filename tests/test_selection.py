"""What a link asks for, and what a viewer has selected."""

from __future__ import annotations

import pytest
from comparisons_for_tests import make_ranked

from playground.utils.page import selection


def test_a_link_to_a_missing_layer_is_told_in_a_sentence():
    assert "the layer 'stem'" in selection.explain_link("layer", "stem", ["conv"])[0]
    assert selection.explain_link("layer", "conv", ["conv"]) == []
    assert selection.explain_link("layer", None, ["conv"]) == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [("int8", "INT8"), ("INT8", "INT8"), ("int4", "int4"), ("fp32 (A)", "FP32 (a)"), (None, None)],
)
def test_a_link_names_a_variant_in_any_case(asked, found):
    assert selection.match_name(asked, ["FP32 (a)", "INT8", "uint8"]) == found


class Query(dict):
    """The address, as marimo gives it."""

    set = dict.__setitem__

    def remove(self, key):
        self.pop(key, None)

    def to_dict(self):
        return dict(self)

    def get_all(self, key):
        return self.get(key, [])

    def append(self, key, value):
        self.setdefault(key, []).append(value)


@pytest.fixture
def query(monkeypatch) -> Query:
    address = Query()
    monkeypatch.setattr(selection.mo, "query_params", lambda: address)
    return address


def test_a_link_selects_layer_and_variant_and_an_empty_one_the_first_layer(query):
    get_layer, get_variant, _, _, asked = selection.remember_selection(["conv", "fc"], ["INT8"])
    assert (get_layer(), get_variant(), asked) == ("conv", "INT8", (None, None))
    query |= {"layer": "fc", "variant": "int8"}
    get_layer, get_variant, _, _, asked = selection.remember_selection(["conv", "fc"], ["INT8"])
    assert (get_layer(), get_variant(), asked) == ("fc", "INT8", ("fc", "INT8"))


def test_what_a_link_asks_for_in_vain_is_told_and_the_first_layer_selected(query):
    query |= {"layer": "gone", "variant": "int4"}
    get_layer, get_variant, _, _, asked = selection.remember_selection(["conv"], ["INT8"])
    assert (get_layer(), get_variant(), asked) == ("conv", "INT8", ("gone", "int4"))


def test_a_selection_is_written_into_the_address(query):
    _, _, _, select, _ = selection.remember_selection(["conv", "fc"], ["INT8"])
    select("conv")  # it is selected, but not yet in a link to share
    assert query == {"layer": "conv"}
    select("fc", "INT8")
    assert query == {"layer": "fc", "variant": "INT8"}


def test_what_is_not_given_or_not_there_stays_as_it_is(query):
    get_layer, _, _, select, _ = selection.remember_selection(["conv"], ["A", "B"])
    select(variant="B")
    assert (get_layer(), query) == ("conv", {"variant": "B"})
    select("gone", "FP32")
    assert query == {"variant": "B"}


def test_another_network_leaves_nothing_of_the_one_before_in_the_address(query):
    query |= {"model": "dscnn", "layer": "fc", "variant": "INT8", "access_token": "t"}
    selection.open_network("resnet8")
    assert query == {"model": "resnet8", "access_token": "t"}


def test_the_last_of_what_an_address_says_twice_counts(query):
    query["layer"] = ["conv", "fc"]
    assert selection.read_query("layer") == "fc"


def test_the_link_past_the_ranking_names_the_whole_address(query):
    assert 'href="#3-why"' in selection.show_skip_link("Skip", "3-why").text
    query |= {"model": "a&b", "layer": "/x"}
    shown = selection.show_skip_link("Skip", "3-why").text
    assert 'href="?model=a%26b&amp;layer=%2Fx#3-why"' in shown


def test_the_selected_layer_is_tinted_in_the_ranking_and_outlined_in_the_heatmap():
    rows = [make_ranked("conv"), make_ranked("fc"), make_ranked("conv")]
    style = selection.mark_selected("conv", None, rows, ["fc", "conv"]).text
    assert "--table-row-0: #e8590c33;" in style
    assert "--table-row-1" not in style
    assert "--selected-row-display: block" in style
    assert "--selected-row-top: " in style
    beside = selection.mark_selected("relu", None, rows, ["fc", "conv"]).text
    assert "--selected-row-display: none" in beside


def test_the_address_remembers_the_columns_beside_the_six(query):
    assert selection.read_columns() == []
    selection.write_columns(["SQNR, dB", "width"])
    assert query == {"columns": ["SQNR, dB", "width"]}
    assert selection.read_columns() == ["SQNR, dB", "width"]
    selection.write_columns(["width"])
    assert query == {"columns": ["width"]}


def test_only_an_address_that_names_a_layer_says_that_somebody_chose_it(query):
    assert not selection.was_asked()
    query["layer"] = "conv"
    assert selection.was_asked()


def test_the_tabs_are_made_again_for_the_choices_of_others_only(query):
    _, get_variant, get_tab, select, _ = selection.remember_selection(["conv"], ["A", "B", "C"])
    select(variant="B", by_tab=True)
    assert (get_variant(), get_tab()) == ("B", "A")
    select("conv", "C")
    assert (get_variant(), get_tab()) == ("C", "C")
