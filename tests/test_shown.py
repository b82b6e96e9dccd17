"""What the page shows is plain text, whatever a name holds, and nothing where there is nothing."""

from __future__ import annotations

import pandas as pd
import pytest
from comparisons_for_tests import HOSTILE, make_finding

from playground.utils.figures import LAYER_CHARTS, Picture
from playground.utils.page import shown
from playground.utils.parameter_inspector import group_by_cause

SCRIPT = "<script>1</script>"


def test_a_sentence_of_a_callout_is_plain_text():
    assert SCRIPT not in shown.say([SCRIPT], "warn").text
    assert "&amp;lt;script&amp;gt;" in shown.say([SCRIPT], "warn").text


def test_nothing_to_say_is_nothing_to_show():
    assert shown.say([]) is None
    assert shown.stack([None, None]) is None
    assert shown.show_problems("layer", "lost", pd.DataFrame({"Layer": []})) is None


def test_what_stands_alone_is_not_stacked():
    only = shown.say(["only"])
    assert shown.stack([None, only]) is only


def test_a_finding_is_plain_text_but_for_its_code():
    html = shown.write_finding(make_finding("error", variant="<b>"))
    assert "<b>✕ error in &lt;b&gt;: " in html
    assert "What helps: Quantize per-channel, <code>quantize_static(" in html


def test_a_table_on_the_page_is_plain_text_with_row_headings():
    table = pd.DataFrame([("<b>", '"x"', "&")], columns=["Only in", "Layer", "No counterpart in"])
    html = shown.frame_table(table)
    assert '<th scope="row">&lt;b&gt;</th><td>&quot;x&quot;</td><td>&amp;</td>' in html
    assert 'aria-label="Table by only in"' in html
    assert "<b>" not in html


@pytest.mark.parametrize("explained", [True, False])
def test_a_last_column_steps_back_only_where_it_is_asked_to(explained):
    html = shown.frame_table(pd.DataFrame({"Meaning": ["x"]}), explained=explained)
    assert ("playground-explained" in html) is explained


def test_a_list_of_problems_counts_them_in_its_title():
    table = pd.DataFrame({"Layer": ["a"]})
    assert (
        "1 layer without a counterpart"
        in shown.show_problems("layer", "without a counterpart", table).text
    )


def test_a_text_to_copy_keeps_its_lines_and_can_be_reached_by_the_keyboard():
    code = shown.show_code(f"first\n    '{SCRIPT}'", 'a "label"').text
    assert "first\n    &#x27;&lt;script&gt;" in code
    assert 'tabindex="0"' in code
    assert 'aria-label="a &quot;label&quot;"' in code


def test_progress_is_a_bar_with_its_numbers_and_the_layer_as_plain_text():
    bar = shown.show_progress("Layers tried", 3, 14, f"{HOSTILE}{SCRIPT}").text
    assert 'max="14" value="3"' in bar
    assert "3 of 14 layers tried" in bar
    assert "<script>" not in bar


def test_a_picture_that_could_not_be_drawn_is_a_sentence():
    assert (
        "No weights here."
        in shown.show_picture(Picture(b"", ""), otherwise="No weights here.").text
    )
    assert "cannot be read" in shown.show_picture(Picture(b"", "", ("It cannot be read",))).text
    assert shown.show_picture(Picture(b"", "")) is None


def test_what_a_picture_could_not_show_stands_below_it():
    text = shown.show_picture(Picture(b"drawn", "alt", ("INT8 cannot be read",))).text
    assert text.index("<img") < text.index("INT8 cannot be read")


def test_every_chart_of_a_layer_has_its_caption_above_it():
    assert set(LAYER_CHARTS) < set(shown.render_captions())


def test_layers_of_one_cause_are_told_once_with_each_in_a_list_that_is_closed():
    findings = [make_finding("error", name) for name in ("conv", "<dense>")]
    (group,) = group_by_cause(findings)
    text = shown.write_group(group)
    assert text.count("share one scale for all channels") == 1
    assert "<summary>Each of the 2 findings</summary>" in text
    assert "<dense>" not in text


def test_the_words_behind_a_question_mark_are_plain_text():
    assert shown.frame_help("<a>", "<b>") == (
        '<details class="playground-help"><summary>&lt;a&gt;</summary><p>&lt;b&gt;</p></details>'
    )
