"""The histograms of a layer's weights and of their errors hold what numpy counts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from comparisons_for_tests import (
    COLORS,
    ROUNDING,
    compare_charted,
)
from matplotlib.figure import Figure
from PIL import Image

from playground.utils.figures import (
    layer_charts,
    weight_charts,
)
from playground.utils.parameter_inspector import (
    compute_histograms,
)


def panels(figure: Figure) -> list:
    """Return the Axes of the variants, in order."""
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


@pytest.fixture
def histograms():
    generator = np.random.default_rng(0)
    values = {
        "FP32": generator.normal(size=(5, 3, 7)).astype(np.float32),
        "INT8": generator.normal(size=(5, 3, 7)).astype(np.float32) * 2,
    }
    return values, compute_histograms(values, bins=11)


def test_histograms_hold_the_counts_that_numpy_finds(histograms):
    values, record = histograms
    for ax, array in zip(
        panels(weight_charts.draw_histograms(record)), values.values(), strict=True
    ):
        (steps,) = ax.patches
        counts, edges = np.histogram(array, bins=11, range=(record.edges[0], record.edges[-1]))
        assert steps.get_data().values.tolist() == counts.tolist()
        assert steps.get_data().edges == pytest.approx(edges)


@pytest.mark.parametrize("log", [False, True])
def test_histograms_share_their_range_and_their_counts(histograms, log):
    axes = panels(weight_charts.draw_histograms(histograms[1], log=log))
    assert len({(ax.get_xlim(), ax.get_ylim(), ax.get_yscale()) for ax in axes}) == 1
    assert axes[0].get_yscale() == ("log" if log else "linear")
    assert axes[0].get_ylim()[1] > max(counts.max() for counts in histograms[1].counts.values())


def test_histograms_tell_their_fullest_bin_in_numbers():
    record = compute_histograms({"FP32": np.array([0.0, 3.9, 4.0, 4.0, np.nan])}, bins=4)
    alt = weight_charts.describe_histograms(record, "stem")
    assert alt == (
        "Weights of stem in 4 equal bins from 0 to 4. "
        "FP32: 4 weights in 2 of the bins, most of them (3) near 3.5."
    )


def test_weights_that_are_not_finite_are_counted_in_words():
    record = compute_histograms({"FP32": np.array([1.0, np.nan, np.inf])})
    (ax,) = panels(weight_charts.draw_histograms(record))
    assert "2 not finite, not drawn" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_every_variant_has_a_panel_and_none_covers_another(count):
    record = compute_histograms({f"V{i}": np.arange(i + 2.0) for i in range(count)})
    boxes = [ax.get_position() for ax in panels(weight_charts.draw_histograms(record))]
    assert len(boxes) == count
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


def test_a_picture_is_transparent_where_nothing_is_drawn(histograms):
    png = weight_charts.render_histograms(histograms[1]).png
    assert Image.open(io.BytesIO(png)).convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("log", [False, True])
def test_errors_in_steps_hold_the_counts_that_numpy_finds(log):
    errors, _ = layer_charts.compute_layer_errors(compare_charted(), "conv")
    ax = weight_charts.draw_errors(errors, COLORS, log=log).axes[0]
    edges = ax.patches[0].get_data().edges
    counts, _ = np.histogram(ROUNDING, edges)
    assert np.abs(ax.patches[0].get_data().values - counts).max() <= 1  # float32 at an edge
    assert {line.get_xdata()[0] for line in ax.lines} == {-0.5, 0.5}
    beyond = f"{(np.abs(ROUNDING) > 0.5).mean():.2%}"
    assert f"{beyond} beyond" in ax.get_title(loc="right")
    words = weight_charts.describe_errors(errors, "conv")
    assert f"{beyond} of {ROUNDING.size} weights beyond half a step" in words
