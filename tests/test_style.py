"""What every chart shares: names made short, colours, ticks, legible text, PNGs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from comparisons_for_tests import (
    CHART_CODES,
    COLORS,
    HOSTILE,
    STEPS,
    compare_charted,
    compare_convs,
    measure_charted,
)
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from playground.utils.figures import (
    channel_charts,
    code_charts,
    layer_charts,
    style,
    weight_charts,
)
from playground.utils.parameter_inspector import (
    count_codes,
)


def panels(figure: Figure) -> list:
    """Return the Axes of the variants, in order."""
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


def test_a_variant_keeps_its_colour_in_every_chart():
    measured = measure_charted()
    figure = code_charts.draw_codes(count_codes(measured), COLORS)
    assert to_rgb(figure.axes[0].patches[0].get_facecolor()) == to_rgb(style.VARIANT_COLORS[1])


def test_the_charts_of_a_layer_take_any_name():
    measured = {HOSTILE: compare_convs(CHART_CODES, STEPS, None).weights["conv"]["INT8"]}
    colors = style.color_variants([HOSTILE])
    assert channel_charts.render_channels(measured, colors, about=HOSTILE).png
    assert code_charts.render_codes(count_codes(measured), colors, about=HOSTILE).png


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_title_and_note_of_a_panel_keep_apart(count):
    many = {f"variant {i}": measure_charted()["INT8"] for i in range(count)}
    colors = style.color_variants(list(many))
    errors, _ = layer_charts.compute_layer_errors(compare_charted(), "conv")
    for figure in (
        channel_charts.draw_channels(many, colors),
        code_charts.draw_codes(count_codes(many), colors),
        weight_charts.draw_errors(dict.fromkeys(many, errors["INT8"]), colors),
    ):
        figure.canvas.draw()
        for ax in panels(figure):
            left, right = ax._left_title.get_window_extent(), ax._right_title.get_window_extent()
            assert left.x1 < right.x0


def test_a_long_name_is_cut_in_the_middle_and_keeps_both_ends():
    assert style.shorten("stage1/block2/conv3/Conv", 11) == "stage…/Conv"
    assert style.shorten("stem") == "stem"
    assert all(len(style.shorten("x" * 300, n)) == n for n in range(3, 40))


def test_a_character_without_a_glyph_becomes_a_box_and_lines_become_one():
    assert style.shorten("a\n b层\x00") == "a b□□"


def test_the_ticks_stand_as_texts_where_the_axes_would_have_them_and_none_outside():
    ax = style.new_figure(3).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.set(xticks=[1, 2], yticks=[-30, 30, 40])
    ax.set(xlim=(0, 3), ylim=(20, 50))
    for axis in (ax.xaxis, ax.yaxis):
        style.format_axis(axis)
    style.draw_ticks(ax)
    written = [(one.get_text(), *one.get_position()) for one in ax.texts]
    assert written == [("1", 1, 0), ("2", 2, 0), ("30", 0, 30), ("40", 0, 40)]
    assert not [*ax.get_xticks(), *ax.get_yticks()]


def test_a_picture_is_a_png_of_the_pixels_that_were_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    with Image.open(io.BytesIO(style.encode_png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), pixels)


def test_of_more_colours_than_a_byte_can_name_the_most_frequent_stay_exact():
    rare = np.random.default_rng(0).integers(0, 256, (40, 40, 4), np.uint8)
    pixels = np.concatenate([np.full((40, 60, 4), (76, 143, 208, 255), np.uint8), rare], axis=1)
    with Image.open(io.BytesIO(style.encode_png(pixels))) as image:
        shown = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(shown[:, :60], pixels[:, :60])
    assert len(np.unique(shown.reshape(-1, 4), axis=0)) == style.MOST_COLORS


def test_a_shade_that_has_no_place_is_shown_as_the_nearest_that_has_one():
    colors = np.array([[0, 0, 0, 255], [250, 250, 250, 255], [9, 9, 9, 255]], np.uint8)
    found, indices = style.index_colors(colors[np.array([[0, 0, 0, 1, 1, 2]])], 2)
    np.testing.assert_array_equal(found[indices][0, -1], colors[0])


def test_the_ticks_of_a_panel_are_drawn_as_texts_in_every_picture():
    figure, ((ax,),) = style.add_panels(["one"])
    ax.set(xlim=(0, 3), ylim=(0, 50))
    style.to_png(figure)
    assert not [*ax.get_xticks(), *ax.get_yticks()]
    assert {"0", "10", "50"} <= {text.get_text() for text in ax.texts}
