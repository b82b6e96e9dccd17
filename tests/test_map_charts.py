"""The accuracy map: numbers in their cells, the file's own outlined, a click finds its cell."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from matplotlib.colors import to_rgba
from planned_for_tests import PLANS, level

from playground.utils.figures import map_charts
from playground.utils.figures.map_charts import MapLayout
from playground.utils.figures.style import FAINT
from playground.utils.parameter_inspector import (
    ACTIVATION_BITS,
    GRANULARITIES,
    WEIGHT_BITS,
    AccuracyMap,
    PlanName,
    Widths,
    list_widths,
)
from playground.utils.tables import map_words

OWN = Widths(8, 8, "per-tensor")
CELLS = {widths: level(2.0 * number - 10.0) for number, widths in enumerate(list_widths())}
FOUND = AccuracyMap(OWN, CELLS, 16, complete=True)
SOME = AccuracyMap(OWN, {Widths(7, 5, "per-channel"): level(12.3, 0.5)}, 16)


def plot(found, granularity):
    return map_charts.plot_cells(found, granularity, norm=map_charts.level_norm(found))


def test_each_cell_has_its_decibels_and_the_share_below():
    ax = plot(SOME, "per-channel")
    row, column = WEIGHT_BITS.index(7), ACTIVATION_BITS.index(5)
    inside = {t.get_text(): t.get_position() for t in ax.texts if t.get_transform() == ax.transData}
    assert set(inside) == {"12.3", "50%"}
    assert [round(place) for place in inside["12.3"]] == [column, row]


def test_cells_that_are_not_measured_yet_are_faint_and_have_no_number():
    colors = plot(SOME, "per-channel").collections[0].get_facecolors()
    assert len(colors) == len(WEIGHT_BITS) * len(ACTIVATION_BITS)
    assert sum(tuple(one) == to_rgba(FAINT) for one in colors) == len(colors) - 1


def test_the_best_cell_is_brighter_than_the_worst_in_both_panels():
    norm = map_charts.level_norm(FOUND)
    assert norm(max(one.sqnr_db for one in CELLS.values())) == 1.0
    assert norm(0.0) == 0.0


def test_the_files_own_cell_is_outlined_in_its_panel_only():
    assert len(plot(FOUND, "per-channel").collections) == 1
    ax = plot(FOUND, "per-tensor")
    (box,) = ax.collections[1].get_paths()
    x, y = box.vertices[:-1].mean(axis=0)
    assert (round(x), round(y)) == (ACTIVATION_BITS.index(8), WEIGHT_BITS.index(8))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_click_in_the_middle_of_a_drawn_cell_finds_it(granularity):
    layout = MapLayout.of(FOUND)
    figure = map_charts.draw_accuracy_map(FOUND)
    ax = figure.axes[GRANULARITIES.index(granularity)]
    width, height = figure.get_size_inches()
    for row, weight_bits in enumerate(WEIGHT_BITS):
        for column, bits in enumerate(ACTIVATION_BITS):
            x, y = figure.transFigure.inverted().transform(ax.transData.transform((column, row)))
            x, y = x * width, (1 - y) * height
            clicked = SimpleNamespace(x_min=x, x_max=x, y_min=y, y_max=y)
            assert layout.clicked_cell(clicked) == Widths(weight_bits, bits, granularity)


def test_a_click_beside_the_cells_finds_none():
    assert MapLayout.of(FOUND).find_cell(0.1, 0.1) is None
    assert MapLayout.of(FOUND).clicked_cell(None) is None


def test_the_text_alternative_names_best_worst_and_own():
    words = map_charts.describe_map(FOUND)
    assert "84 cells measured" in words
    assert "the file itself has weights 8 bits per-tensor, activations 8 bits" in words
    assert "worst weights 8 bits per-channel, activations 16 bits, -10.0 dB" in words


# In words -----------------------------------------------------------------------------------------


def test_a_cell_says_what_it_keeps_against_the_files_own():
    words = map_words.describe_cell(FOUND, Widths(8, 16, "per-channel"))
    own = CELLS[OWN].sqnr_db
    assert words.startswith("Weights 8 bits per-channel, activations 16 bits: -10.0 dB")
    assert f"−{own + 10:.1f} dB against the file's own widths" in words


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        (Widths(8, 16, "per-channel"), "The recipe makes such a build"),
        (Widths(4, 8, "per-channel"), "The recipe makes such a build"),
        (Widths(7, 8, "per-tensor"), "no weights of 7 bits: this"),
        (Widths(6, 5, "per-tensor"), "no weights of 6 bits and no activations of 5 bits: this"),
        (Widths(8, None, "per-tensor"), "no case for quantize_static"),
    ],
)
def test_what_cannot_be_built_is_said(widths, words):
    assert words in map_words.explain_build(widths)


@pytest.mark.parametrize(
    ("widths", "name"),
    [
        (Widths(8, 16, "per-tensor"), PlanName.SIXTEEN_BITS),
        (Widths(8, 8, "per-channel"), PlanName.PER_CHANNEL),
        (Widths(8, 16, "per-channel"), None),
        (Widths(4, 16, "per-tensor"), None),
        (OWN, None),
    ],
)
def test_a_cell_that_moves_lead_to_has_the_named_plan(widths, name):
    plan = map_words.find_reaching(FOUND, widths, PLANS)
    assert (None if plan is None else plan.name) is name
