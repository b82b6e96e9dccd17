"""Pictures that viewers share: drawn once for each layer, file and axis."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from comparisons_for_tests import compare_equal
from measured_for_tests import compare_measured, make_outputs

from playground.utils.figures import LAYER_CHARTS
from playground.utils.page import drawing

FILES = ("fp32", "int8")


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What is drawn from now on, each with a cache of its own."""
    calls = []
    charts = {
        name: replace(chart, prepare=lambda *asked, name=name: calls.append((name, *asked[1:])))
        for name, chart in LAYER_CHARTS.items()
    }
    monkeypatch.setattr(drawing, "LAYER_CHARTS", charts)
    monkeypatch.setattr(drawing, "pictures", type(drawing.pictures)(size=8))
    return calls


def test_a_chart_is_drawn_once_for_all_who_look_at_the_layer(drawn):
    for _ in range(3):
        drawing.draw_layer_chart("codes", compare_equal(), FILES, "conv", True)
    assert drawn == [("codes", "conv", True)]


@pytest.mark.parametrize("other", [
    ("channels", FILES, "conv", False), ("codes", ("fp32", "new"), "conv", False),
    ("codes", FILES, "relu", False), ("codes", FILES, "conv", True),
])  # fmt: skip
def test_another_chart_file_layer_or_axis_is_another_picture(drawn, other):
    name, *rest = other
    drawing.draw_layer_chart("codes", compare_equal(), FILES, "conv", False)
    drawing.draw_layer_chart(name, compare_equal(), *rest)
    assert len(drawn) == 2


def test_what_a_layer_has_not_is_a_picture_without_bytes(drawn):
    assert drawing.draw_layer_chart("codes", compare_equal(), FILES, "conv").png == b""


@pytest.mark.parametrize("name", LAYER_CHARTS)
def test_every_chart_of_the_list_can_be_drawn_on_the_page(name):
    picture = drawing.draw_layer_chart(name, compare_measured(), "measured", "conv")
    assert picture.png.startswith(b"\x89PNG")


def test_the_heatmap_of_another_page_of_layers_is_another_picture(monkeypatch):
    monkeypatch.setattr(drawing, "pictures", type(drawing.pictures)(size=8))
    asked = []
    monkeypatch.setattr(drawing, "render_heatmap", lambda *one, log: asked.append(one) or log)
    ranges = compare_equal().ranges
    for page in (ranges, ranges, ranges[:0]):
        drawing.draw_heatmap(page, ["FP32", "INT8"], FILES, log=False)
    assert [len(page) for page, _ in asked] == [1, 0]


@pytest.mark.parametrize(("count", "spins"), [(4_000_000, False), (4_000_001, True)])
def test_only_what_takes_long_has_a_spinner(count, spins):
    assert isinstance(drawing.spin_if_many("Reading", count), nullcontext) is not spins


def test_what_flows_is_drawn_again_once_it_is_measured_and_the_weights_are_not(drawn):
    for comparison in (compare_equal(), compare_equal().with_outputs({"INT8": make_outputs()})):
        for name in ("codes", "activations"):
            drawing.draw_layer_chart(name, comparison, FILES, "conv")
    assert [name for name, *_ in drawn] == ["codes", "activations", "activations"]
