"""Names and sentences as HTML: plain text but for what we write ourselves."""

from __future__ import annotations

import pandas as pd
import pytest

from playground.utils import markup
from playground.utils.tables import TERMS


def test_nothing_of_a_name_is_markup_and_nothing_turns_the_text():
    assert markup.escape("<b>\u202e\"&'") == "&lt;b&gt;\\u202e&quot;&amp;&#x27;"


def test_what_stands_in_backticks_looks_like_code():
    assert markup.mark_code("Do `a<b`, not `c`.") == ("Do <code>a&lt;b</code>, not <code>c</code>.")
    assert markup.mark_code("one ` alone") == "one ` alone"


def test_the_first_cell_of_a_row_is_its_heading():
    html = markup.write_table(["<Layer>", "Type"], [["a", "<i>b</i>"]], "ranking")
    assert html == (
        '<table class="ranking"><thead><tr><th scope="col">&lt;Layer&gt;</th>'
        '<th scope="col">Type</th></tr></thead>'
        '<tbody><tr><th scope="row">a</th><td><i>b</i></td></tr></tbody></table>'
    )


def test_the_cells_of_a_table_are_text_in_its_order():
    table = pd.DataFrame({"Layers": [3], "Name": ["a"]})
    assert markup.list_cells(table) == (["Layers", "Name"], [["3", "a"]])


def test_what_is_folded_has_its_title_as_plain_text():
    assert markup.fold("<3", "<p>body</p>", "x") == (
        '<details class="x"><summary>&lt;3</summary><p>body</p></details>'
    )


def test_a_term_has_its_meaning_where_it_is_first_said():
    text = markup.explain_terms("2 layers of 3 layers lose 6 dB < all")
    assert text.count("<abbr") == 2
    assert text.index(f'title="{markup.escape(TERMS["layer"])}">layers</abbr>') < text.index("of 3")
    assert text.endswith("&lt; all")


@pytest.mark.parametrize(
    "name", ["/scale/Mul", "encoder.layer.0", "a-scale", "scale_1", "rescaled"]
)
def test_a_part_of_a_name_is_no_term(name):
    assert markup.explain_terms(name) == name


def test_terms_are_the_only_markup_in_what_is_explained():
    assert "<img" not in markup.explain_terms("<img src=x> scale")
