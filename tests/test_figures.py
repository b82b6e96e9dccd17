"""The charts, tested by what they hold: vertices, steps, limits and words, not pixels."""

from __future__ import annotations

import io
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from playground.utils import figures
from playground.utils.parameter_inspector import LayerRanges, compute_histograms

VARIANTS = ("FP32", "INT8", "UINT8")
ROWS = (
    LayerRanges("stem", "Conv", {"FP32": (-1.0, 2.0), "INT8": (-1.1, 2.1), "UINT8": (-1.2, 2.3)}),
    LayerRanges("wide", "Conv", {"FP32": (-4.0, 9.0), "INT8": (-4.5, 9.5), "UINT8": (-3.0, 8.0)}),
    LayerRanges("head", "Gemm", {"FP32": (0.25, 0.5), "UINT8": (0.2, 0.6)}),
)
HOSTILE = r"block$\foo$_1 <b> 层 \x00"


def panels(figure: Figure) -> list:
    """Return the Axes of the variants, in order."""
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


def bars(ax) -> PolyCollection:
    """Return the one collection that is coloured by a number."""
    (found,) = [one for one in ax.collections if one.get_array() is not None]
    return found


def extents(collection: PolyCollection) -> list[tuple[float, float]]:
    vertices = [path.vertices[:, 0] for path in collection.get_paths()]
    return [(float(x.min()), float(x.max())) for x in vertices]


def rows_of(count: int) -> list[LayerRanges]:
    return [LayerRanges(f"layer{i}", "Conv", {"FP32": (-1.0, i + 1.0)}) for i in range(count)]


@pytest.fixture
def histograms():
    generator = np.random.default_rng(0)
    values = {
        "FP32": generator.normal(size=(5, 3, 7)).astype(np.float32),
        "INT8": generator.normal(size=(5, 3, 7)).astype(np.float32) * 2,
    }
    return values, compute_histograms(values, bins=11)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bar_runs_from_the_lowest_to_the_highest_weight_of_its_layer(variant):
    ax = panels(figures.draw_heatmap(ROWS, VARIANTS))[VARIANTS.index(variant)]
    assert extents(bars(ax)) == [row.ranges[variant] for row in ROWS if variant in row.ranges]


def test_rows_stand_in_graph_order_from_the_top():
    ax = panels(figures.draw_heatmap(ROWS, VARIANTS))[0]
    heights = [path.vertices[:, 1].mean() for path in bars(ax).get_paths()[:3]]
    pixels = [ax.transData.transform((0, y))[1] for y in (0, 1, 2)]
    assert np.argsort(heights).tolist() == [0, 1, 2]
    assert pixels == sorted(pixels, reverse=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stem", "wide", "head"]


def test_the_width_of_the_range_decides_the_colour_in_every_panel():
    axes = panels(figures.draw_heatmap(ROWS, VARIANTS))
    for ax, variant in zip(axes, VARIANTS, strict=True):
        widths = [r.ranges[variant][1] - r.ranges[variant][0] for r in ROWS if variant in r.ranges]
        assert bars(ax).get_array().tolist() == pytest.approx(widths)
        assert bars(ax).get_cmap().name == "viridis"
    assert len({(bars(ax).norm.vmin, bars(ax).norm.vmax) for ax in axes}) == 1
    assert bars(axes[0]).norm.vmax == 14.0


@pytest.mark.parametrize("log", [False, True])
def test_all_panels_share_one_axis_that_holds_every_bar(log):
    axes = panels(figures.draw_heatmap(ROWS, VARIANTS, log=log))
    (limits,) = {ax.get_xlim() for ax in axes}
    assert limits[0] < -4.5
    assert limits[1] > 9.5


def test_a_variant_without_the_layer_says_so_in_its_row():
    ax = panels(figures.draw_heatmap(ROWS, VARIANTS))[1]
    (note,) = [text for text in ax.texts if text.get_text() == "no range"]
    assert note.get_position()[1] == 2


def test_the_heatmap_says_the_widest_layer_of_each_variant_in_numbers():
    alt = figures.render_heatmap(ROWS, VARIANTS).alt
    assert "3 layers in FP32, INT8, UINT8" in alt
    assert "Widest in INT8: wide, 14 wide, from −4.5 to 9.5." in alt


@pytest.mark.parametrize("count", [1, 10, 59, 100, 500])
def test_labels_of_rows_never_overlap_and_the_figure_has_a_limit(count):
    figure = figures.draw_heatmap(rows_of(count), ["FP32"])
    ax = panels(figure)[0]
    ticks = ax.get_yticks()
    row_inches = ax.get_position().height * figure.get_figheight() / count
    apart = np.diff(ticks).min() * row_inches if len(ticks) > 1 else math.inf
    assert apart >= figures.SMALL / 72
    assert figure.get_figheight() <= 18


def test_the_longest_label_stays_inside_the_figure():
    rows = [LayerRanges("W" * 30, "Conv", {"FP32": (-1.0, 1.0)}), *rows_of(2)]
    figure = figures.draw_heatmap(rows, ["FP32"])
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in panels(figure)[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "limits",
    [(0.0, 0.0), (2.0, 2.0), (-3.0, -1.0), (-1e-30, 1e-30), (-3e38, 3e38), (5.0, 7e5)],
)
def test_a_range_of_any_size_is_drawn_without_a_warning(limits, log):
    rows = [LayerRanges("only", "Conv", {"FP32": limits}), LayerRanges("none", "Conv", {})]
    assert figures.render_heatmap(rows, ["FP32"], log=log).png.startswith(b"\x89PNG")


def test_names_of_a_model_are_never_read_as_mathematics():
    rows = [LayerRanges(HOSTILE, "Conv", {HOSTILE: (-1.0, 1.0)})]
    figure = figures.draw_heatmap(rows, [HOSTILE])
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    shown = [text for text in texts if "foo" in text.get_text()]
    assert len(shown) == 2
    assert not any(text.get_parse_math() for text in shown)
    assert figures.render_heatmap(rows, [HOSTILE]).png


@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_click_in_the_middle_of_a_row_and_its_outline_mean_the_same_row(count):
    layout = figures.HeatmapLayout(count)
    picture = figures.Picture(b"drawn", "")
    ax = figures.create_click_axes(picture, count)
    for row in range(count):
        top, height = layout.row_box(row)
        display = (0, (1 - top - height / 2) * ax.figure.bbox.height)
        y = ax.transData.inverted().transform(display)[1]
        assert layout.clicked_row(SimpleNamespace(y_min=y, y_max=y)) == row


def test_the_rows_of_the_outline_are_the_rows_of_the_panels():
    figure = figures.draw_heatmap(ROWS, VARIANTS)
    box = panels(figure)[2].get_position()
    top, height = figures.HeatmapLayout(3).row_box(0)
    assert (1 - top, 3 * height) == pytest.approx((box.y1, box.height))


@pytest.mark.parametrize(
    "selection", [SimpleNamespace(y_min=3.2, y_max=9.0), SimpleNamespace(vertices=()), None]
)
def test_a_selection_beside_the_rows_or_of_another_kind_selects_nothing(selection):
    assert figures.HeatmapLayout(3).clicked_row(selection) is None


def test_the_click_axes_give_back_the_picture_without_drawing():
    file = io.BytesIO()
    figures.create_click_axes(figures.Picture(b"drawn", ""), 3).figure.savefig(file, format="png")
    assert file.getvalue() == b"drawn"


def test_histograms_hold_the_counts_that_numpy_finds(histograms):
    values, record = histograms
    for ax, array in zip(panels(figures.draw_histograms(record)), values.values(), strict=True):
        (steps,) = ax.patches
        counts, edges = np.histogram(array, bins=11, range=(record.edges[0], record.edges[-1]))
        assert steps.get_data().values.tolist() == counts.tolist()
        assert steps.get_data().edges == pytest.approx(edges)


@pytest.mark.parametrize("log", [False, True])
def test_histograms_share_their_range_and_their_counts(histograms, log):
    axes = panels(figures.draw_histograms(histograms[1], log=log))
    assert len({(ax.get_xlim(), ax.get_ylim(), ax.get_yscale()) for ax in axes}) == 1
    assert axes[0].get_yscale() == ("log" if log else "linear")
    assert axes[0].get_ylim()[1] > max(counts.max() for counts in histograms[1].counts.values())


def test_histograms_tell_their_fullest_bin_in_numbers():
    record = compute_histograms({"FP32": np.array([0.0, 3.9, 4.0, 4.0, np.nan])}, bins=4)
    alt = figures.describe_histograms(record, "stem")
    assert alt == (
        "Weights of stem in 4 equal bins from 0 to 4. "
        "FP32: 4 weights in 2 of the bins, most of them (3) near 3.5."
    )


def test_weights_that_are_not_finite_are_counted_in_words():
    record = compute_histograms({"FP32": np.array([1.0, np.nan, np.inf])})
    (ax,) = panels(figures.draw_histograms(record))
    assert "2 not finite, not drawn" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_every_variant_has_a_panel_and_none_covers_another(count):
    record = compute_histograms({f"V{i}": np.arange(i + 2.0) for i in range(count)})
    boxes = [ax.get_position() for ax in panels(figures.draw_histograms(record))]
    assert len(boxes) == count
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


def test_a_picture_is_transparent_where_nothing_is_drawn(histograms):
    png = figures.render_histograms(histograms[1]).png
    assert Image.open(io.BytesIO(png)).convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("page", ["#ffffff", "#181c1a"])
def test_text_is_legible_on_the_light_and_on_the_dark_page(page):
    light, dark = sorted((luminance(figures.INK), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4


def luminance(color: str) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_long_name_is_cut_in_the_middle_and_keeps_both_ends():
    assert figures.shorten("stage1/block2/conv3/Conv", 11) == "stage…/Conv"
    assert figures.shorten("stem") == "stem"
    assert all(len(figures.shorten("x" * 300, n)) == n for n in range(3, 40))


def test_labels_that_would_be_alike_lose_the_beginning_that_all_share():
    names = [f"/encoder/layer.{i}/attention/output/MatMul" for i in range(10, 16)]
    labels = figures.shorten_together(names)
    assert labels[0].startswith("…10/")
    assert len(set(labels)) == 6
    assert figures.shorten_together(["stem", "head"]) == ["stem", "head"]


def test_a_character_without_a_glyph_becomes_a_box_and_lines_become_one():
    assert figures.shorten("a\n b层\x00") == "a b□□"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (-1.23456, "−1.23"), (0.00012345, "0.000123"), (12345.6, "12,346"), (1e9, "1e+09")],
)
def test_numbers_keep_three_digits(number, text):
    assert figures.format_number(number) == text


def test_viewers_who_draw_at_once_get_their_own_pictures():
    rows = {i: rows_of(i) for i in range(1, 7)}
    alone = {i: figures.render_heatmap(rows[i], ["FP32"]).png for i in rows}
    together: dict[int, bytes] = {}

    def draw(i: int) -> None:
        together[i] = figures.render_heatmap(rows[i], ["FP32"]).png

    threads = [threading.Thread(target=draw, args=(i,)) for i in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
