"""The page around the pictures: text alternatives, the selection, the ink."""

from __future__ import annotations

import re

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
    (factor,) = re.findall(r"\.dark .* brightness\(([\d.]+)\)", frames.PAGE_STYLE)
    ink = tuple(min(1, part * (float(factor) if brighter else 1)) for part in to_rgb(style.INK))
    light, dark = sorted((luminance(ink), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
