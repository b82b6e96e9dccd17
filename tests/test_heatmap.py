"""The heatmap: every range of a network, its rows to be clicked."""

from __future__ import annotations

import io
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from comparisons_for_tests import (
    HOSTILE,
)
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from playground.utils.figures import (
    heatmap,
    style,
)
from playground.utils.parameter_inspector import (
    LayerRanges,
)


def panels(figure: Figure) -> list:
    """Return the Axes of the variants, in order."""
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


VARIANTS = ("FP32", "INT8", "UINT8")


ROWS = (
    LayerRanges("stem", "Conv", {"FP32": (-1.0, 2.0), "INT8": (-1.1, 2.1), "UINT8": (-1.2, 2.3)}),
    LayerRanges("wide", "Conv", {"FP32": (-4.0, 9.0), "INT8": (-4.5, 9.5), "UINT8": (-3.0, 8.0)}),
    LayerRanges("head", "Gemm", {"FP32": (0.25, 0.5), "UINT8": (0.2, 0.6)}),
)


def bars(ax) -> PolyCollection:
    """Return the one collection that is coloured by a number."""
    (found,) = [one for one in ax.collections if one.get_array() is not None]
    return found


def extents(collection: PolyCollection) -> list[tuple[float, float]]:
    vertices = [path.vertices[:, 0] for path in collection.get_paths()]
    return [(float(x.min()), float(x.max())) for x in vertices]


def rows_of(count: int) -> list[LayerRanges]:
    return [LayerRanges(f"layer{i}", "Conv", {"FP32": (-1.0, i + 1.0)}) for i in range(count)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bar_runs_from_the_lowest_to_the_highest_weight_of_its_layer(variant):
    ax = panels(heatmap.draw_heatmap(ROWS, VARIANTS))[VARIANTS.index(variant)]
    assert extents(bars(ax)) == [row.ranges[variant] for row in ROWS if variant in row.ranges]


def row_labels(ax):
    return [text for text in ax.texts if text.get_position()[0] < 0]


def test_rows_stand_in_graph_order_from_the_top():
    ax = panels(heatmap.draw_heatmap(ROWS, VARIANTS))[0]
    heights = [path.vertices[:, 1].mean() for path in bars(ax).get_paths()[:3]]
    pixels = [ax.transData.transform((0, y))[1] for y in (0, 1, 2)]
    assert np.argsort(heights).tolist() == [0, 1, 2]
    assert pixels == sorted(pixels, reverse=True)
    labels = row_labels(ax)
    assert {label.get_text(): label.get_position()[1] for label in labels} == {
        "stem": 0, "wide": 1, "head": 2,
    }  # fmt: skip


def test_the_width_of_the_range_decides_the_colour_in_every_panel():
    axes = panels(heatmap.draw_heatmap(ROWS, VARIANTS))
    for ax, variant in zip(axes, VARIANTS, strict=True):
        widths = [r.ranges[variant][1] - r.ranges[variant][0] for r in ROWS if variant in r.ranges]
        assert bars(ax).get_array().tolist() == pytest.approx(widths)
        assert bars(ax).get_cmap().name == "viridis"
    assert len({(bars(ax).norm.vmin, bars(ax).norm.vmax) for ax in axes}) == 1
    assert bars(axes[0]).norm.vmax == 14.0


@pytest.mark.parametrize("log", [False, True])
def test_all_panels_share_one_axis_that_holds_every_bar(log):
    axes = panels(heatmap.draw_heatmap(ROWS, VARIANTS, log=log))
    (limits,) = {ax.get_xlim() for ax in axes}
    assert limits[0] < -4.5
    assert limits[1] > 9.5


def test_a_variant_without_the_layer_leaves_its_row_empty():
    ax = panels(heatmap.draw_heatmap(ROWS, VARIANTS))[1]
    assert len(bars(ax).get_paths()) == 2
    assert [text.get_text() for text in ax.texts] == []


def test_the_heatmap_says_the_widest_layer_of_each_variant_in_numbers():
    alt = heatmap.render_heatmap(ROWS, VARIANTS).alt
    assert "3 layers in FP32, INT8, UINT8" in alt
    assert "Widest in INT8: wide, 14 wide, from −4.5 to 9.5." in alt


@pytest.mark.parametrize("count", [1, 6, 7, 34])
def test_a_page_of_the_heatmap_has_room_for_the_names_of_its_variants(count):
    variants = [f"INT8 (a build of some name, no. {i})" for i in range(count)]
    pages = heatmap.page_variants(variants)
    assert [name for page in pages.values() for name in page] == variants
    for page in pages.values():
        rows = [LayerRanges("W" * 40, "Conv", dict.fromkeys(page, (-1.0, 2.0)))]
        figure = heatmap.draw_heatmap(rows, page)
        figure.draw_without_rendering()
        ends = [
            (ax._left_title.get_window_extent().x1, ax.get_window_extent().x1 + 0.3 * figure.dpi)
            for ax in panels(figure)
        ]
        assert all(title < next_panel for title, next_panel in ends)


@pytest.mark.parametrize("count", [1, 10, 59, 100, 500])
def test_every_row_has_a_label_and_no_two_overlap(count):
    figure = heatmap.draw_heatmap(rows_of(count), ["FP32"])
    ax = panels(figure)[0]
    ticks = [label.get_position()[1] for label in row_labels(ax)]
    assert ticks and ticks[0] == 0
    row_inches = ax.get_position().height * figure.get_figheight() / count
    apart = np.diff(ticks).min() * row_inches if len(ticks) > 1 else math.inf
    assert apart >= style.SMALL / 72
    assert len(ticks) == len({label.get_text() for label in row_labels(ax)}) == count
    # Hundreds of rows are a picture that a page can hold.
    assert figure.get_figheight() * figure.dpi < 10_000


def test_the_longest_label_stays_inside_the_figure():
    rows = [LayerRanges("W" * 30, "Conv", {"FP32": (-1.0, 1.0)}), *rows_of(2)]
    figure = heatmap.draw_heatmap(rows, ["FP32"])
    figure.canvas.draw()
    ax = panels(figure)[0]
    boxes = [label.get_window_extent() for label in row_labels(ax)]
    assert len(boxes) == 3
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) < ax.get_window_extent().x0


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "limits",
    [(0.0, 0.0), (2.0, 2.0), (-3.0, -1.0), (-1e-30, 1e-30), (-3e38, 3e38), (5.0, 7e5)],
)
def test_a_range_of_any_size_is_drawn_without_a_warning(limits, log):
    rows = [LayerRanges("only", "Conv", {"FP32": limits}), LayerRanges("none", "Conv", {})]
    assert heatmap.render_heatmap(rows, ["FP32"], log=log).png.startswith(b"\x89PNG")


def test_names_of_a_model_are_never_read_as_mathematics():
    rows = [LayerRanges(HOSTILE, "Conv", {HOSTILE: (-1.0, 1.0)})]
    figure = heatmap.draw_heatmap(rows, [HOSTILE])
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    shown = [text for text in texts if "foo" in text.get_text()]
    assert len(shown) == 2
    assert not any(text.get_parse_math() for text in shown)
    assert heatmap.render_heatmap(rows, [HOSTILE]).png


@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_click_in_the_middle_of_a_row_and_its_outline_mean_the_same_row(count):
    layout = heatmap.HeatmapLayout(count)
    picture = style.Picture(b"drawn", "")
    ax = heatmap.create_click_axes(picture, count)
    for row in range(count):
        top, height = layout.row_box(row)
        display = (0, (1 - top - height / 2) * ax.figure.bbox.height)
        y = ax.transData.inverted().transform(display)[1]
        assert layout.clicked_row(SimpleNamespace(y_min=y, y_max=y)) == row


def test_the_rows_of_the_outline_are_the_rows_of_the_panels():
    figure = heatmap.draw_heatmap(ROWS, VARIANTS)
    box = panels(figure)[2].get_position()
    top, height = heatmap.HeatmapLayout(3).row_box(0)
    assert (1 - top, 3 * height) == pytest.approx((box.y1, box.height))


@pytest.mark.parametrize(
    "selection", [SimpleNamespace(y_min=3.2, y_max=9.0), SimpleNamespace(vertices=()), None]
)
def test_a_selection_beside_the_rows_or_of_another_kind_selects_nothing(selection):
    assert heatmap.HeatmapLayout(3).clicked_row(selection) is None


def test_the_click_axes_give_back_the_picture_without_drawing():
    file = io.BytesIO()
    heatmap.create_click_axes(style.Picture(b"drawn", ""), 3).figure.savefig(file, format="png")
    assert file.getvalue() == b"drawn"


def test_viewers_who_draw_at_once_get_their_own_pictures():
    rows = {i: rows_of(i) for i in range(1, 7)}
    alone = {i: heatmap.render_heatmap(rows[i], ["FP32"]).png for i in rows}
    together: dict[int, bytes] = {}

    def draw(i: int) -> None:
        together[i] = heatmap.render_heatmap(rows[i], ["FP32"]).png

    threads = [threading.Thread(target=draw, args=(i,)) for i in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.parametrize(
    ("widths", "dwarfs"),
    [((1, 1, 1), False), ((1, 1, 21), True), ((1, 1, 20), False), ((), False), ((0, 0, 5), False)],
)
def test_one_range_dwarfs_the_rest_where_it_is_twenty_times_the_median(widths, dwarfs):
    rows = [LayerRanges(str(i), "Conv", {"FP32": (0.0, w)}) for i, w in enumerate(widths)]
    assert heatmap.one_dwarfs_the_rest(rows) is dwarfs
