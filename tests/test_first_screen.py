"""The first screen as HTML: names are text in tabs too, and the way back is a link."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import parse_qs

import marimo as mo
import pytest
from comparisons_for_tests import compare_equal, compare_lossy, make_finding
from hostile_names import HOSTILE
from measured_for_tests import compare_measured

from playground.utils import tables
from playground.utils.page import first_screen


class Read(HTMLParser):
    """The text that a browser shows, and the tags that it takes for markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(text)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.isprintable() and name])
def test_a_tab_shows_a_name_as_it_is_whatever_markdown_would_read_in_it(name):
    shown = Read(mo.md(first_screen.label_tab(name, "keeps 1.6 dB, 36% of 100% right")).text)
    assert name.strip() in shown.text
    assert "keeps 1.6 dB, 36% of 100% right" in shown.text
    assert set(shown.tags) == {"span", "b"}


def test_each_variant_has_a_tab_with_its_news_and_choosing_one_tells_its_name():
    chosen = []
    tabs = first_screen.create_variant_tabs(
        {"A": "<p>a</p>", "B_1": "<p>b</p>"}, {"A": "fine", "B_1": "1 error"}, "B_1", chosen.append
    )
    assert tabs.value == first_screen.label_tab("B_1", "1 error")
    assert "<p>b</p>" in tabs.text
    tabs._update("0")
    assert chosen == ["A"]


def frame(comparison, findings=()):
    ranked = tables.rank_layers(comparison, findings)
    return first_screen.frame_panel(comparison, findings, ranked, "INT8")


def test_the_panel_has_the_colour_of_the_worst_finding_and_green_only_when_measured():
    assert "playground-error" in frame(compare_lossy(), [make_finding("error")])
    assert "playground-note" in frame(compare_equal())
    assert "playground-fine" in frame(compare_measured())


def test_the_button_leads_to_what_would_fix_it_with_what_that_brings_and_costs():
    panel = frame(compare_measured())
    assert '<a class="playground-button" href="#what-would-fix-it">Take it back</a>' in panel
    words = html.unescape(re.sub("<[^>]+>", "", panel))
    assert "7.0 dB → 12.2 dB with 2 of 4 quantizers in float" in words
    # Before anything is known, it leads there and promises nothing.
    unmeasured = frame(compare_lossy())
    assert "Take it back" not in unmeasured
    assert 'href="#what-would-fix-it">What would fix it?</a>' in unmeasured


def test_what_was_found_is_folded_behind_the_sentence():
    panel = frame(compare_lossy(), [make_finding("error", name) for name in ("conv", "<dense>")])
    assert panel.index("<p>") < panel.index("<details") < panel.index("What helps")
    assert "<dense>" not in panel
    assert "INT8" in panel


def test_terms_of_the_sentence_have_their_meaning_as_a_tooltip():
    assert 'title="one index of a weight&#x27;s output axis' in frame(
        compare_lossy(), [make_finding("error")]
    )


def test_the_link_names_network_layer_and_variant_whatever_they_are_called():
    link = first_screen.frame_link("a&b", '/x"<', "INT8 (a)")
    (address,) = re.findall(r'href="\?([^"]*)"', link)
    query = parse_qs(html.unescape(address))
    assert query == {"model": ["a&b"], "layer": ['/x"<'], "variant": ["INT8 (a)"]}
    assert "variant" not in first_screen.frame_link("m", "l", None)


def test_the_report_stands_beside_the_link():
    assert first_screen.frame_sharing(mo.Html("R"), "<a>L</a>").count("R") == 1
