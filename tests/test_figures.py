"""The charts, tested by what they hold: vertices, steps, limits and words, not pixels."""

from __future__ import annotations

import io
import math
import re
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from playground.utils import figures
from playground.utils.parameter_inspector import (
    CodeCounts,
    LayerRanges,
    MeasuredWeight,
    compare_variants,
    compute_histograms,
    count_codes,
    load_model,
)
from playground.utils.tables.count_tables import compute_layer_errors

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
    ax = panels(figures.heatmap.draw_heatmap(ROWS, VARIANTS))[VARIANTS.index(variant)]
    assert extents(bars(ax)) == [row.ranges[variant] for row in ROWS if variant in row.ranges]


def row_labels(ax):
    return [text for text in ax.texts if text.get_position()[0] < 0]


def test_rows_stand_in_graph_order_from_the_top():
    ax = panels(figures.heatmap.draw_heatmap(ROWS, VARIANTS))[0]
    heights = [path.vertices[:, 1].mean() for path in bars(ax).get_paths()[:3]]
    pixels = [ax.transData.transform((0, y))[1] for y in (0, 1, 2)]
    assert np.argsort(heights).tolist() == [0, 1, 2]
    assert pixels == sorted(pixels, reverse=True)
    labels = row_labels(ax)
    assert {label.get_text(): label.get_position()[1] for label in labels} == {
        "stem": 0, "wide": 1, "head": 2,
    }  # fmt: skip


def test_the_width_of_the_range_decides_the_colour_in_every_panel():
    axes = panels(figures.heatmap.draw_heatmap(ROWS, VARIANTS))
    for ax, variant in zip(axes, VARIANTS, strict=True):
        widths = [r.ranges[variant][1] - r.ranges[variant][0] for r in ROWS if variant in r.ranges]
        assert bars(ax).get_array().tolist() == pytest.approx(widths)
        assert bars(ax).get_cmap().name == "viridis"
    assert len({(bars(ax).norm.vmin, bars(ax).norm.vmax) for ax in axes}) == 1
    assert bars(axes[0]).norm.vmax == 14.0


@pytest.mark.parametrize("log", [False, True])
def test_all_panels_share_one_axis_that_holds_every_bar(log):
    axes = panels(figures.heatmap.draw_heatmap(ROWS, VARIANTS, log=log))
    (limits,) = {ax.get_xlim() for ax in axes}
    assert limits[0] < -4.5
    assert limits[1] > 9.5


def test_a_variant_without_the_layer_says_so_in_its_row():
    ax = panels(figures.heatmap.draw_heatmap(ROWS, VARIANTS))[1]
    (note,) = [text for text in ax.texts if text.get_text() == "no range"]
    assert note.get_position()[1] == 2


def test_the_heatmap_says_the_widest_layer_of_each_variant_in_numbers():
    alt = figures.heatmap.render_heatmap(ROWS, VARIANTS).alt
    assert "3 layers in FP32, INT8, UINT8" in alt
    assert "Widest in INT8: wide, 14 wide, from −4.5 to 9.5." in alt


@pytest.mark.parametrize("count", [1, 6, 7, 34])
def test_a_page_of_the_heatmap_has_room_for_the_names_of_its_variants(count):
    variants = [f"INT8 (a build of some name, no. {i})" for i in range(count)]
    pages = figures.heatmap.page_variants(variants)
    assert [name for page in pages.values() for name in page] == variants
    for page in pages.values():
        rows = [LayerRanges("W" * 40, "Conv", dict.fromkeys(page, (-1.0, 2.0)))]
        figure = figures.heatmap.draw_heatmap(rows, page)
        figure.draw_without_rendering()
        ends = [
            (ax._left_title.get_window_extent().x1, ax.get_window_extent().x1 + 0.3 * figure.dpi)
            for ax in panels(figure)
        ]
        assert all(title < next_panel for title, next_panel in ends)


@pytest.mark.parametrize("count", [1, 10, 59, 100, 500])
def test_labels_of_rows_never_overlap_and_the_figure_has_a_limit(count):
    figure = figures.heatmap.draw_heatmap(rows_of(count), ["FP32"])
    ax = panels(figure)[0]
    ticks = [label.get_position()[1] for label in row_labels(ax)]
    assert ticks and ticks[0] == 0
    row_inches = ax.get_position().height * figure.get_figheight() / count
    apart = np.diff(ticks).min() * row_inches if len(ticks) > 1 else math.inf
    assert apart >= figures.style.SMALL / 72
    assert figure.get_figheight() <= 18


def test_the_longest_label_stays_inside_the_figure():
    rows = [LayerRanges("W" * 30, "Conv", {"FP32": (-1.0, 1.0)}), *rows_of(2)]
    figure = figures.heatmap.draw_heatmap(rows, ["FP32"])
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
    assert figures.heatmap.render_heatmap(rows, ["FP32"], log=log).png.startswith(b"\x89PNG")


def test_names_of_a_model_are_never_read_as_mathematics():
    rows = [LayerRanges(HOSTILE, "Conv", {HOSTILE: (-1.0, 1.0)})]
    figure = figures.heatmap.draw_heatmap(rows, [HOSTILE])
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    shown = [text for text in texts if "foo" in text.get_text()]
    assert len(shown) == 2
    assert not any(text.get_parse_math() for text in shown)
    assert figures.heatmap.render_heatmap(rows, [HOSTILE]).png


@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_click_in_the_middle_of_a_row_and_its_outline_mean_the_same_row(count):
    layout = figures.heatmap.HeatmapLayout(count)
    picture = figures.style.Picture(b"drawn", "")
    ax = figures.heatmap.create_click_axes(picture, count)
    for row in range(count):
        top, height = layout.row_box(row)
        display = (0, (1 - top - height / 2) * ax.figure.bbox.height)
        y = ax.transData.inverted().transform(display)[1]
        assert layout.clicked_row(SimpleNamespace(y_min=y, y_max=y)) == row


def test_the_rows_of_the_outline_are_the_rows_of_the_panels():
    figure = figures.heatmap.draw_heatmap(ROWS, VARIANTS)
    box = panels(figure)[2].get_position()
    top, height = figures.heatmap.HeatmapLayout(3).row_box(0)
    assert (1 - top, 3 * height) == pytest.approx((box.y1, box.height))


@pytest.mark.parametrize(
    "selection", [SimpleNamespace(y_min=3.2, y_max=9.0), SimpleNamespace(vertices=()), None]
)
def test_a_selection_beside_the_rows_or_of_another_kind_selects_nothing(selection):
    assert figures.heatmap.HeatmapLayout(3).clicked_row(selection) is None


def test_the_click_axes_give_back_the_picture_without_drawing():
    file = io.BytesIO()
    figures.heatmap.create_click_axes(figures.style.Picture(b"drawn", ""), 3).figure.savefig(
        file, format="png"
    )
    assert file.getvalue() == b"drawn"


def test_histograms_hold_the_counts_that_numpy_finds(histograms):
    values, record = histograms
    for ax, array in zip(
        panels(figures.weight_charts.draw_histograms(record)), values.values(), strict=True
    ):
        (steps,) = ax.patches
        counts, edges = np.histogram(array, bins=11, range=(record.edges[0], record.edges[-1]))
        assert steps.get_data().values.tolist() == counts.tolist()
        assert steps.get_data().edges == pytest.approx(edges)


@pytest.mark.parametrize("log", [False, True])
def test_histograms_share_their_range_and_their_counts(histograms, log):
    axes = panels(figures.weight_charts.draw_histograms(histograms[1], log=log))
    assert len({(ax.get_xlim(), ax.get_ylim(), ax.get_yscale()) for ax in axes}) == 1
    assert axes[0].get_yscale() == ("log" if log else "linear")
    assert axes[0].get_ylim()[1] > max(counts.max() for counts in histograms[1].counts.values())


def test_histograms_tell_their_fullest_bin_in_numbers():
    record = compute_histograms({"FP32": np.array([0.0, 3.9, 4.0, 4.0, np.nan])}, bins=4)
    alt = figures.weight_charts.describe_histograms(record, "stem")
    assert alt == (
        "Weights of stem in 4 equal bins from 0 to 4. "
        "FP32: 4 weights in 2 of the bins, most of them (3) near 3.5."
    )


def test_weights_that_are_not_finite_are_counted_in_words():
    record = compute_histograms({"FP32": np.array([1.0, np.nan, np.inf])})
    (ax,) = panels(figures.weight_charts.draw_histograms(record))
    assert "2 not finite, not drawn" in [text.get_text() for text in ax.texts]


CODES = np.random.default_rng(2).integers(-90, 91, (7, 5, 3)).astype(np.int8)
CODES[:, 0, 0] = (127, 127, 127, 127, 127, -127, 127)
STEPS = np.array([1, 2, 4, 8, 16, 32, 0.5], np.float32) / 100
ROUNDING = np.random.default_rng(3).uniform(-0.4, 0.4, CODES.shape)
ROUNDING[4, 1:] *= 100


def conv(codes: np.ndarray | None, weight: np.ndarray, scale: np.ndarray) -> onnx.ModelProto:
    """Return one Conv, its weight float or as codes with a scale for each channel."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    stored = {"w": weight} if codes is None else {"q": codes, "s": scale}
    if codes is not None:
        nodes.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (1, 5, 9)), ("y", (1, len(weight), 7)))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    opset = [helper.make_opsetid("", 21)]
    graph = helper.make_graph(nodes, "graph", *ends, tensors)
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def scan_of(codes: np.ndarray, scale: np.ndarray, rounding: np.ndarray | None):
    steps = scale.reshape(-1, 1, 1)
    values = codes.astype(np.float32) * steps
    variants = {}
    if rounding is not None:
        weight = (values + rounding * steps).astype(np.float32)
        variants["FP32"] = load_model(conv(None, weight, scale))
    variants["INT8"] = load_model(conv(codes, values, scale))
    return compare_variants(variants)


@pytest.fixture(scope="module")
def comparison():
    return scan_of(CODES, STEPS, ROUNDING)


@pytest.fixture(scope="module")
def measured(comparison) -> dict[str, MeasuredWeight]:
    return {"INT8": comparison.weights["conv"]["INT8"]}


@pytest.fixture(scope="module")
def alone() -> dict[str, MeasuredWeight]:
    return dict(scan_of(CODES, STEPS, None).weights["conv"])


COLORS = figures.style.color_variants(["FP32", "INT8"])


def decibels() -> np.ndarray:
    steps = STEPS.reshape(-1, 1, 1)
    exact = (CODES * steps + ROUNDING * steps).reshape(7, -1)
    error = (ROUNDING * steps).reshape(7, -1)
    return 20 * np.log10(np.linalg.norm(exact, axis=1) / np.linalg.norm(error, axis=1))


def test_every_channel_has_a_point_at_its_sqnr_and_a_bar_over_its_range(measured):
    above, below = figures.channel_charts.draw_channels(measured, COLORS).axes
    points = np.asarray(above.collections[0].get_offsets())
    assert points[:, 0].tolist() == list(range(7))
    assert points[:, 1] == pytest.approx(decibels(), rel=1e-3)
    values = (CODES * STEPS.reshape(-1, 1, 1)).reshape(7, -1)
    heights = [path.vertices[:, 1] for path in below.collections[0].get_paths()]
    assert [h.min() for h in heights] == pytest.approx(values.min(axis=1), rel=1e-5)
    assert [h.max() for h in heights] == pytest.approx(values.max(axis=1), rel=1e-5)


def test_the_worst_channels_are_marked_by_shape_and_named_in_numbers(measured):
    worst = np.argsort(decibels())[:3]
    assert figures.channel_charts.worst_channels(measured["INT8"]) == worst.tolist()
    figure = figures.channel_charts.draw_channels(measured, COLORS)
    assert figure.axes[0].collections[1].get_offsets()[:, 0].tolist() == worst.tolist()
    named = f"worst no. {worst[0]} ({decibels()[worst[0]]:.1f} dB), {worst[1]} ("
    assert figure.axes[0].get_title(loc="right").startswith(named.replace("-", "−"))
    assert named.replace("-", "−") in figures.channel_charts.describe_channels(measured, "conv")


def test_without_a_float_original_the_widest_channels_are_named(alone):
    figure = figures.channel_charts.draw_channels(alone, COLORS)
    (ax,) = figure.axes
    widths = 127 * STEPS
    order = np.argsort(-widths)[:3]
    first = f"{order[0]} ({widths.max() / np.median(widths):.3g}×)"
    assert ax.get_title(loc="right").startswith(f"widest no. {first}, {order[1]} (")
    assert "SQNR" not in figures.channel_charts.describe_channels(alone)


def test_a_channel_left_at_nothing_is_not_named_as_the_worst():
    scale = STEPS.copy()
    scale[2] = 1e-33
    noise = np.where(np.arange(7).reshape(-1, 1, 1) == 2, -0.9 * CODES, ROUNDING)
    one = scan_of(CODES, scale, noise).weights["conv"]["INT8"]
    assert 2 not in figures.channel_charts.worst_channels(one)


@pytest.mark.parametrize("count", [1, 160, 161, 1000])
def test_any_number_of_channels_is_drawn_and_many_as_one_outline(count):
    codes = np.random.default_rng(4).integers(-127, 128, (count, 5, 1)).astype(np.int8)
    scale = np.full(count, 0.01, np.float32)
    one = dict(scan_of(codes, scale, None).weights["conv"])
    (ax,) = figures.channel_charts.draw_channels(one, COLORS).axes
    if count > figures.channel_charts.MOST_BARS:
        assert ax.patches[0].get_data().values == pytest.approx(one["INT8"].sums.high)
    else:
        assert len(ax.collections[0].get_paths()) == count
    assert figures.channel_charts.render_channels(one, COLORS).png


def test_every_code_has_its_count_and_the_rails_stand_out(measured):
    codes = count_codes(measured)
    ax = figures.code_charts.draw_codes(codes, COLORS).axes[0]
    steps, *rails = ax.patches
    expected = np.bincount(CODES.reshape(-1).astype(int) + 128, minlength=256)
    assert steps.get_data().values.tolist() == expected.tolist()
    assert steps.get_data().edges[0] == -128.5
    middles = [rail.get_x() + rail.get_width() / 2 for rail in rails]
    assert middles == pytest.approx([-127, 127])
    assert [rail.get_height() for rail in rails] == [1, 6]
    assert ax.get_title(loc="right").endswith(f"{7 / CODES.size:.2%} at the rails")
    words = figures.code_charts.describe_codes(codes, "conv")
    assert f"{np.unique(CODES).size} of 256 codes occur" in words
    assert "1 at −127, 6 at 127." in words


def test_sixteen_bit_codes_are_drawn_several_to_a_step():
    counts = np.zeros(65536, np.int64)
    counts[[5, 40000, 40001]] = (2, 3, 4)
    ax = figures.code_charts.plot_codes(CodeCounts(-32768, counts, (-32767, 32767)), color="k")
    values = ax.patches[0].get_data().values
    assert len(values) == 256
    assert (values.sum(), values[40000 // 256]) == (9, 7)


def test_float_weights_have_no_codes(comparison):
    assert count_codes({"FP32": comparison.weights["conv"]["FP32"]}) == {}


@pytest.mark.parametrize("log", [False, True])
def test_errors_in_steps_hold_the_counts_that_numpy_finds(comparison, log):
    errors, _ = compute_layer_errors(comparison, "conv")
    ax = figures.weight_charts.draw_errors(errors, COLORS, log=log).axes[0]
    edges = ax.patches[0].get_data().edges
    counts, _ = np.histogram(ROUNDING, edges)
    assert np.abs(ax.patches[0].get_data().values - counts).max() <= 1  # float32 at an edge
    assert {line.get_xdata()[0] for line in ax.lines} == {-0.5, 0.5}
    beyond = f"{(np.abs(ROUNDING) > 0.5).mean():.2%}"
    assert f"{beyond} beyond" in ax.get_title(loc="right")
    words = figures.weight_charts.describe_errors(errors, "conv")
    assert f"{beyond} of {ROUNDING.size} weights beyond half a step" in words


def test_a_variant_keeps_its_colour_in_every_chart(measured):
    figure = figures.code_charts.draw_codes(count_codes(measured), COLORS)
    assert to_rgb(figure.axes[0].patches[0].get_facecolor()) == to_rgb(
        figures.style.VARIANT_COLORS[1]
    )


def test_the_charts_of_a_layer_take_any_name():
    measured = {HOSTILE: scan_of(CODES, STEPS, None).weights["conv"]["INT8"]}
    colors = figures.style.color_variants([HOSTILE])
    assert figures.channel_charts.render_channels(measured, colors, about=HOSTILE).png
    assert figures.code_charts.render_codes(count_codes(measured), colors, about=HOSTILE).png


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_title_and_note_of_a_panel_keep_apart(comparison, measured, count):
    many = {f"variant {i}": measured["INT8"] for i in range(count)}
    colors = figures.style.color_variants(list(many))
    errors, _ = compute_layer_errors(comparison, "conv")
    for figure in (
        figures.channel_charts.draw_channels(many, colors),
        figures.code_charts.draw_codes(count_codes(many), colors),
        figures.weight_charts.draw_errors(dict.fromkeys(many, errors["INT8"]), colors),
    ):
        figure.canvas.draw()
        for ax in panels(figure):
            left, right = ax._left_title.get_window_extent(), ax._right_title.get_window_extent()
            assert left.x1 < right.x0


def test_a_chart_on_the_page_is_an_image_with_its_words_as_plain_text():
    shown = figures.panels.frame_picture(figures.style.Picture(b"drawn", '<b> "x"'))
    assert 'src="data:image/png;base64,ZHJhd24="' in shown
    assert 'alt="&lt;b&gt; &quot;x&quot;"' in shown


def test_the_tint_is_set_for_every_row_of_the_layer_and_stronger_for_the_variant():
    style = figures.panels.tint_rows([2, 5])
    assert "--table-row-2:" in style
    assert "--table-row-5:" in style
    strong = figures.panels.tint_rows([2, 5], [5])
    assert "--table-row-2: #e8590c33;" in strong
    assert "--table-row-5: #e8590c66;" in strong
    assert "transparent" in figures.panels.style_row("2", "layer", "conv")["backgroundColor"]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_every_variant_has_a_panel_and_none_covers_another(count):
    record = compute_histograms({f"V{i}": np.arange(i + 2.0) for i in range(count)})
    boxes = [ax.get_position() for ax in panels(figures.weight_charts.draw_histograms(record))]
    assert len(boxes) == count
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


def test_a_picture_is_transparent_where_nothing_is_drawn(histograms):
    png = figures.weight_charts.render_histograms(histograms[1]).png
    assert Image.open(io.BytesIO(png)).convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize(("page", "brighter"), [("#ffffff", False), ("#181c1a", True)])
def test_text_is_legible_on_the_light_and_on_the_dark_page(page, brighter):
    (factor,) = re.findall(r"\.dark .* brightness\(([\d.]+)\)", figures.panels.PAGE_STYLE)
    ink = tuple(
        min(1, part * (float(factor) if brighter else 1)) for part in to_rgb(figures.style.INK)
    )
    light, dark = sorted((luminance(ink), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(color: str | tuple[float, ...]) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_long_name_is_cut_in_the_middle_and_keeps_both_ends():
    assert figures.style.shorten("stage1/block2/conv3/Conv", 11) == "stage…/Conv"
    assert figures.style.shorten("stem") == "stem"
    assert all(len(figures.style.shorten("x" * 300, n)) == n for n in range(3, 40))


def test_labels_that_would_be_alike_lose_the_beginning_that_all_share():
    names = [f"/encoder/layer.{i}/attention/output/MatMul" for i in range(10, 16)]
    labels = figures.style.shorten_together(names)
    assert labels[0].startswith("…10/")
    assert len(set(labels)) == 6
    assert figures.style.shorten_together(["stem", "head"]) == ["stem", "head"]


def test_a_character_without_a_glyph_becomes_a_box_and_lines_become_one():
    assert figures.style.shorten("a\n b层\x00") == "a b□□"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (-1.23456, "−1.23"), (0.00012345, "0.000123"), (12345.6, "12,346"), (1e9, "1e+09")],
)
def test_numbers_keep_three_digits(number, text):
    assert figures.style.format_number(number) == text


def test_viewers_who_draw_at_once_get_their_own_pictures():
    rows = {i: rows_of(i) for i in range(1, 7)}
    alone = {i: figures.heatmap.render_heatmap(rows[i], ["FP32"]).png for i in rows}
    together: dict[int, bytes] = {}

    def draw(i: int) -> None:
        together[i] = figures.heatmap.render_heatmap(rows[i], ["FP32"]).png

    threads = [threading.Thread(target=draw, args=(i,)) for i in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
