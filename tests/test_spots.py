"""What is under the pointer says the numbers that are drawn there: no pixel is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons_for_tests import compare_models
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from models_for_tests import make_model
from onnx import helper

from playground.utils.figures import (
    channel_charts,
    code_charts,
    damage,
    heatmap,
    spots,
    weight_charts,
)
from playground.utils.figures.spots import MOST_SPOTS, Spot
from playground.utils.parameter_inspector import CodeCounts, Comparison, Histograms, LayerRanges


def find(shown: tuple[Spot, ...] | list[Spot], x: float, y: float) -> str:
    (text,) = [spot.text for spot in shown if spot.holds(x, y)]
    return text


@pytest.mark.parametrize("log", [False, True])
def test_the_spot_under_the_centre_of_a_bin_says_its_count(log):
    edges = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    counts = {"FP32": np.array([3, 1204, 5, 6]), "INT8": np.array([7, 8, 0, 19])}
    record = Histograms(edges, counts, {})
    picture = weight_charts.render_histograms(record, log=log)
    figure = weight_charts.draw_histograms(record, log=log)
    for ax, of_variant in zip(figure.axes, counts.values(), strict=True):
        box = ax.get_position()
        for i, count in enumerate(of_variant):
            x = box.x0 + (i + 0.5) / 4 * box.width
            assert f": {count:,} weight" in find(picture.spots, x, 1 - box.y1 + 0.3 * box.height)
    assert "−1 to 0: 1,204 weights" in [spot.text for spot in picture.spots]


def test_bins_side_by_side_that_hold_nothing_are_one_spot():
    counts = np.array([4, 0, 0, 0, 5])
    picture = weight_charts.render_histograms(Histograms(np.arange(6.0), {"FP32": counts}, {}))
    assert [spot.text for spot in picture.spots] == [
        "0 to 1: 4 weights", "1 to 4: 0 weights", "4 to 5: 5 weights"
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "most"), [(7, 3), (200, 200), (201, 200), (1, 9), (4096, 66)])
def test_neighbours_are_joined_until_there_are_not_too_many_and_none_is_left_out(count, most):
    runs = spots.join_neighbours(count, most)
    assert len(runs) <= most
    assert [one for run in runs for one in run] == list(range(count))


def test_codes_that_have_no_room_each_are_counted_together():
    counts = np.arange(256)
    codes = {name: CodeCounts(-128, counts, (-128, 127)) for name in ("A", "B", "C")}
    picture = code_charts.render_codes(codes, dict.fromkeys(codes, "#4c8fd0"))
    assert len(picture.spots) <= MOST_SPOTS
    said = sum(int(spot.text.split(": ")[1].split()[0].replace(",", "")) for spot in picture.spots)
    assert said == 3 * counts.sum()
    assert picture.spots[-1].text == "codes 124 to 127 (a rail): 1,014 weights"


@pytest.mark.parametrize("count", [3, 41, 700])
def test_the_spot_over_a_row_names_its_layer_with_its_numbers(count):
    rows = [
        LayerRanges(f"layer{i}", "Conv", {"FP32": (-1.5, float(i)), "INT8": (-2, 2)})
        for i in range(count)
    ]
    picture = heatmap.render_heatmap(rows, ["FP32", "INT8"])
    assert len(picture.spots) <= MOST_SPOTS
    layout = heatmap.HeatmapLayout(count)
    for row in (0, 1, count - 1):
        top, height = layout.row_box(row)
        text = find(picture.spots, 0.5, top + height / 2)
        assert f"layer{row}" in text
        assert f"FP32 −1.5 to {heatmap.format_number(row)}" in text


def test_the_spot_over_a_row_of_the_damage_has_the_number_of_every_variant():
    rows = [("stem", {"INT8": 0.25, "UINT8": 0.031}), ("head", {"INT8": float("nan")})]
    picture = damage.render_damage(rows, ["INT8", "UINT8"], "share of the noise")
    assert [spot.text for spot in picture.spots] == [
        "stem\nshare of the noise: INT8 25%, UINT8 3%",
        "head\nshare of the noise: INT8 –, UINT8 –",
    ]


def test_a_column_outside_the_limits_has_no_spot_and_one_at_their_edge_is_cut():
    ax = Figure().add_axes((0.25, 0.0, 0.5, 1.0))
    ax.set_xlim(0, 10)
    shown = spots.point_at_columns([ax], [(-5, -1), (-1, 5), (5, 10)], ["out", "cut", "in"])
    assert [(spot.text, spot.left, spot.width) for spot in shown] == [
        ("cut", pytest.approx(0.25), pytest.approx(0.25)),
        ("in", pytest.approx(0.5), pytest.approx(0.25)),
    ]


def test_a_few_far_weights_do_not_leave_the_others_in_one_bin_and_are_counted():
    near = np.linspace(-1, 1, 500).astype(np.float32)
    record = count_one(np.concatenate([near, np.float32([41.2, 40, -30, 39])]))
    assert record.edges[0] <= -1 and record.edges[-1] >= 1
    assert (record.counts["FP32"] > 0).sum() > 8
    beyond = record.beyond["FP32"]
    assert (beyond.below, beyond.above) == (1, 3)
    assert record.count_finite("FP32") == 504
    (ax,) = weight_charts.draw_histograms(record).axes
    said = [text.get_text() for text in ax.texts]
    assert "3 beyond, up to 41.2 ▶" in said
    assert "◀ 1 beyond, down to −30" in said
    assert "3 beyond, up to 41.2" in weight_charts.describe_histograms(record)


def test_the_bins_of_a_narrowed_view_hold_what_numpy_counts_in_them():
    values = np.random.default_rng(1).normal(size=900).astype(np.float32)
    values[:5] = [1e3, -50, 700, 1e3, 900]
    record = count_one(values)
    inside = values[(values >= record.edges[0]) & (values <= record.edges[-1])]
    assert record.counts["FP32"].tolist() == np.histogram(inside, record.edges)[0].tolist()
    beyond = record.beyond["FP32"]
    assert beyond.below == (values < record.edges[0]).sum()
    assert beyond.above == (values > record.edges[-1]).sum()


def test_weights_without_outliers_are_seen_whole():
    values = np.random.default_rng(2).normal(size=5000).astype(np.float32)
    record = count_one(values)
    assert record.beyond == {}
    assert (record.edges[0], record.edges[-1]) == (values.min(), values.max())


def compare_one(weight: np.ndarray) -> Comparison:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")]
    model = make_model(nodes, {"w": weight}, inputs={"x": (2, weight.shape[0])})
    return compare_models(FP32=model)


def count_one(values: np.ndarray) -> Histograms:
    """Return what is counted of one float layer."""
    return compare_one(values.reshape(-1, 1)).count_layer("matmul").histograms


def channel_axes(weights: np.ndarray) -> Axes:
    """Return the ranges of the channels, a row of ``weights`` each."""
    measured = compare_one(np.ascontiguousarray(weights.T)).by_variant("matmul")
    (ax,) = channel_charts.draw_channels(measured, {"FP32": "#4c8fd0"}).axes
    return ax


def test_a_channel_that_dwarfs_the_others_is_cut_and_marked():
    weights = np.ones((40, 6), np.float32) * np.linspace(0.2, 1.0, 40)[:, None].astype(np.float32)
    weights[:, 0] *= -1
    weights[7] *= 500
    ax = channel_axes(weights)
    assert ax.get_ylim()[1] < 2
    assert f"1 beyond, up to {weights.max():.3g}" in [text.get_text() for text in ax.texts]


def test_channels_of_which_none_dwarfs_the_others_are_seen_whole():
    weights = np.ones((40, 6), np.float32) * np.linspace(0.2, 1.0, 40)[:, None].astype(np.float32)
    ax = channel_axes(weights)
    assert ax.get_ylim()[1] >= 1.0
    assert not ax.texts
