"""The picture of damage: a cell for each layer and variant, by one map of viridis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba

from playground.utils.figures import damage

VARIANTS = ("INT8", "UINT8")
ROWS = [
    ("stem", {"INT8": 0.02, "UINT8": 0.9}),
    ("block/conv", {"INT8": math.nan, "UINT8": 0.0}),
    ("head", {"INT8": 0.5, "UINT8": 0.0005}),
]


def draw(rows=ROWS):
    return damage.draw_damage(rows, VARIANTS, "share of the noise")


def test_every_cell_has_its_colour_of_one_scale_and_the_unknown_one_none():
    ax = draw().axes[0]
    (cells,) = ax.collections
    colors = cells.get_facecolor()
    assert len(colors) == 6
    assert tuple(colors[1]) == pytest.approx(colormaps["viridis"](1.0))  # the most there is
    assert tuple(colors[3]) == pytest.approx(colormaps["viridis"](0.0))
    assert tuple(colors[2]) == pytest.approx(to_rgba("#80808022"))
    place = math.log(0.02 / 0.001) / math.log(0.9 / 0.001)
    assert tuple(colors[0]) == pytest.approx(colormaps["viridis"](place), abs=0.01)


def test_a_cell_lies_in_the_row_of_its_layer_and_the_column_of_its_variant():
    (cells,) = draw().axes[0].collections
    middles = [path.vertices[:4].mean(axis=0) for path in cells.get_paths()]
    expected = [(column + 0.5, row) for row in range(3) for column in range(2)]
    assert np.array(middles) == pytest.approx(np.array(expected))


def test_numbers_stand_in_the_cells_while_there_is_room_and_names_beside_every_row():
    texts = [text.get_text() for text in draw().axes[0].texts]
    assert {"2%", "90%", "0%", "50%", "0.1%", *VARIANTS} <= set(texts)
    assert {name for name, _ in ROWS} <= set(texts)
    many = [(f"layer{i}", {"INT8": 0.1, "UINT8": 0.2}) for i in range(500)]
    texts = [text.get_text() for text in draw(many).axes[0].texts]
    assert sum(text.startswith("layer") for text in texts) == 500
    assert "10%" not in texts


def luminance(color) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(color)[:3]
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("share", np.geomspace(0.001, 1, 25))
def test_a_number_can_be_read_on_its_colour(share):
    rows = [("a", {"X": share}), ("b", {"X": 1.0})]
    ax = damage.plot_damage(rows, ["X"], norm=damage.damage_norm(rows))
    (cells,) = ax.collections
    ink, ground = luminance(ax.texts[0].get_color()), luminance(cells.get_facecolor()[0])
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def test_the_picture_says_the_costliest_layer_of_each_variant():
    alt = damage.render_damage(ROWS, VARIANTS, "share of the noise").alt
    assert alt.startswith("Share of the noise of 3 layers in INT8, UINT8.")
    assert "Most in INT8: head, 50%." in alt
    assert "Most in UINT8: stem, 90%." in alt
    unknown = damage.describe_damage([("a", {"X": math.nan})], ["X"], "weight error")
    assert unknown.endswith("X: not known.")
