"""The channels of a layer: every one drawn, the worst marked and named."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons_for_tests import (
    CHART_CODES,
    COLORS,
    ROUNDING,
    STEPS,
    compare_convs,
    measure_charted,
)

from playground.utils.figures import (
    channel_charts,
)


def decibels() -> np.ndarray:
    steps = STEPS.reshape(-1, 1, 1)
    exact = (CHART_CODES * steps + ROUNDING * steps).reshape(7, -1)
    error = (ROUNDING * steps).reshape(7, -1)
    return 20 * np.log10(np.linalg.norm(exact, axis=1) / np.linalg.norm(error, axis=1))


def test_every_channel_has_a_point_at_its_sqnr_and_a_bar_over_its_range():
    measured = measure_charted()
    above, below = channel_charts.draw_channels(measured, COLORS).axes
    points = np.asarray(above.collections[0].get_offsets())
    assert points[:, 0].tolist() == list(range(7))
    assert points[:, 1] == pytest.approx(decibels(), rel=1e-3)
    values = (CHART_CODES * STEPS.reshape(-1, 1, 1)).reshape(7, -1)
    heights = [path.vertices[:, 1] for path in below.collections[0].get_paths()]
    assert [h.min() for h in heights] == pytest.approx(values.min(axis=1), rel=1e-5)
    assert [h.max() for h in heights] == pytest.approx(values.max(axis=1), rel=1e-5)


def test_the_worst_channels_are_marked_by_shape_and_named_in_numbers():
    measured = measure_charted()
    worst = np.argsort(decibels())[:3]
    assert channel_charts.worst_channels(measured["INT8"]) == worst.tolist()
    figure = channel_charts.draw_channels(measured, COLORS)
    assert figure.axes[0].collections[1].get_offsets()[:, 0].tolist() == worst.tolist()
    named = f"worst no. {worst[0]} ({decibels()[worst[0]]:.1f} dB), {worst[1]} ("
    assert figure.axes[0].get_title(loc="right").startswith(named.replace("-", "−"))
    assert named.replace("-", "−") in channel_charts.describe_channels(measured, "conv")


def test_without_a_float_original_the_widest_channels_are_named():
    alone = compare_convs(CHART_CODES, STEPS, None).weights["conv"]
    figure = channel_charts.draw_channels(alone, COLORS)
    (ax,) = figure.axes
    widths = 127 * STEPS
    order = np.argsort(-widths)[:3]
    first = f"{order[0]} ({widths.max() / np.median(widths):.3g}×)"
    assert ax.get_title(loc="right").startswith(f"widest no. {first}, {order[1]} (")
    assert "SQNR" not in channel_charts.describe_channels(alone)


def test_a_channel_left_at_nothing_is_not_named_as_the_worst():
    scale = STEPS.copy()
    scale[2] = 1e-33
    noise = np.where(np.arange(7).reshape(-1, 1, 1) == 2, -0.9 * CHART_CODES, ROUNDING)
    one = compare_convs(CHART_CODES, scale, noise).weights["conv"]["INT8"]
    assert 2 not in channel_charts.worst_channels(one)


@pytest.mark.parametrize("count", [1, 160, 161, 1000])
def test_any_number_of_channels_is_drawn_and_many_as_one_outline(count):
    codes = np.random.default_rng(4).integers(-127, 128, (count, 5, 1)).astype(np.int8)
    scale = np.full(count, 0.01, np.float32)
    one = dict(compare_convs(codes, scale, None).weights["conv"])
    (ax,) = channel_charts.draw_channels(one, COLORS).axes
    if count > channel_charts.MOST_BARS:
        assert ax.patches[0].get_data().values == pytest.approx(one["INT8"].sums.high)
    else:
        assert len(ax.collections[0].get_paths()) == count
    assert channel_charts.render_channels(one, COLORS).png
