"""The page around the pictures: text alternatives, the selection, the ink."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from playground.utils.figures import (
    style,
)
from playground.utils.page import frames


def test_a_chart_on_the_page_is_an_image_with_its_words_as_plain_text():
    shown = frames.frame_picture(style.Picture(b"drawn", '<b> "x"'))
    assert 'src="data:image/png;base64,ZHJhd24="' in shown
    assert 'alt="&lt;b&gt; &quot;x&quot;"' in shown


def test_the_tint_is_set_for_every_row_of_the_layer_and_stronger_for_the_variant():
    style = frames.tint_rows([2, 5])
    assert "--table-row-2:" in style
    assert "--table-row-5:" in style
    strong = frames.tint_rows([2, 5], [5])
    assert "--table-row-2: #e8590c33;" in strong
    assert "--table-row-5: #e8590c66;" in strong
    assert "transparent" in frames.style_row("2", "layer", "conv")["backgroundColor"]


def luminance(color: str | tuple[float, ...]) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(("page", "brighter"), [("#ffffff", False), ("#181c1a", True)])
def test_text_is_legible_on_the_light_and_on_the_dark_page(page, brighter):
    css = Path(frames.__file__).with_name("page.css").read_text(encoding="utf-8")
    (factor,) = re.findall(r"\.dark .* brightness\(([\d.]+)\)", css)
    ink = tuple(min(1, part * (float(factor) if brighter else 1)) for part in to_rgb(style.INK))
    light, dark = sorted((luminance(ink), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_layers_name_is_an_element_with_the_whole_name_on_hover_and_no_link():
    framed = frames.frame_name("http://a.b/<x>", "…<x>")
    assert framed == (
        '<span class="playground-name" title="http://a.b/&lt;x&gt;">…&lt;x&gt;</span>'
    )


@pytest.mark.parametrize(
    ("part", "filled"), [(0.5, "50.0%"), (2.0, "100.0%"), (float("nan"), "0.0%"), (None, "0.0%")]
)
def test_a_bar_is_filled_as_far_as_its_number_and_never_beyond_its_ends(part, filled):
    assert f"--part:{filled}" in frames.frame_bar(part, "<1%")
    assert "&lt;1%" in frames.frame_bar(part, "<1%")


def test_a_finding_that_is_cut_is_whole_on_hover():
    assert 'title="✕ &lt;long&gt;"' in frames.frame_cut("✕ <long>")


def test_over_a_picture_there_is_a_place_for_what_answers_to_the_pointer():
    shown = frames.frame_picture(style.Picture(b"drawn", "x"))
    assert "<figure><img" in shown
    css = Path(frames.__file__).with_name("page.css").read_text(encoding="utf-8")
    assert re.search(r"\.playground-chart figure \{ position: relative;", css)
