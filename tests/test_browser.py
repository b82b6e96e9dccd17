"""The page in a real browser: what a person does, and what they then see.

Without Chromium these tests are skipped; with REQUIRE_BROWSER=1 they fail instead.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from served_page import (
    CHANNELS,
    CODES,
    ERRORS,
    HISTOGRAMS,
    HOSTILE,
    PARAMETERS,
    ROOT,
    TRADE_OFF,
    TRIAL,
    WORST,
    Viewer,
)


@pytest.fixture
def open_page(browser, address: str):
    """Open the page at a query such as ``model=resnet8``; every page ends without an error."""
    viewers = []

    def open_at(query: str = "model=resnet8") -> Viewer:
        viewers.append(Viewer(browser.new_page(), f"{address}?{query}"))
        return viewers[-1]

    yield open_at
    for viewer in viewers:
        viewer.page.close()
        assert viewer.errors == []


def test_the_ranges_say_their_claim_in_numbers(open_page):
    viewer = open_page()
    viewer.show("ranges")
    heatmap = viewer.page.get_by_role("group", name="Range of the weights of 10 layers")
    heatmap.wait_for()
    assert "Widest in FP32: /conv/Conv, 5.48 wide" in heatmap.get_attribute("aria-label")
    assert viewer.page.locator(".playground-heatmap canvas").count() == 1


def test_a_layer_of_the_dropdown_changes_table_histograms_outline_and_address(open_page):
    viewer = open_page()
    viewer.show("ranges")
    before = viewer.parameters
    viewer.choose_layer("/stack2/skip/conv/Conv")
    viewer.wait_for_layer("/stack2/skip/conv/Conv")
    assert viewer.parameters != before
    assert viewer.outlined_row(10) == 5


def test_a_click_anywhere_on_a_row_of_the_table_selects_its_layer(open_page):
    viewer = open_page()
    viewer.click_table("/stack3/conv1/Conv", column=3)
    viewer.wait_for_layer("/stack3/conv1/Conv")
    viewer.show("ranges")
    viewer.page.locator("[data-testid=selected-row]").wait_for()
    assert viewer.outlined_row(10) == 6


def test_a_click_on_a_table_that_was_searched_selects_the_row_one_sees(open_page):
    viewer = open_page()
    viewer.page.get_by_placeholder("Search").fill("skip")
    viewer.page.get_by_text("2 rows").wait_for()
    viewer.click_table("/stack3/skip/conv/Conv", column=0)
    viewer.wait_for_layer("/stack3/skip/conv/Conv")


@pytest.mark.parametrize("view", ["damage", "ranges"])
def test_a_click_anywhere_on_a_row_of_a_picture_selects_its_layer(open_page, view):
    viewer = open_page()
    viewer.show(view)
    for x, row, layer in ((0.05, 8, "/stack3/skip/conv/Conv"), (0.85, 6, "/stack3/conv1/Conv")):
        viewer.click_heatmap(row, 10, x)
        viewer.wait_for_layer(layer)
        assert viewer.outlined_row(10) == row


def test_a_click_on_a_picture_runs_each_cell_at_most_once_and_draws_it_never(open_page):
    viewer = open_page()
    viewer.show("ranges")
    canvas = viewer.page.locator(".playground-heatmap canvas").element_handle()
    viewer.runs.clear()
    viewer.click_heatmap(8, 10)
    viewer.wait_for_layer("/stack3/skip/conv/Conv")
    viewer.choose_layer("/dense/Gemm")
    viewer.wait_for_layer("/dense/Gemm")
    assert max(viewer.runs.values()) == 2
    assert canvas.evaluate("element => element.isConnected")


def test_a_click_on_the_list_runs_each_cell_at_most_once_and_makes_the_list_never(open_page):
    viewer = open_page()
    row = viewer.page.locator("marimo-table").get_by_role("row").nth(4).element_handle()
    viewer.runs.clear()
    for layer in ("/stack1/conv2/Conv", "/dense/Gemm"):
        viewer.click_table(layer, column=2)
        viewer.wait_for_layer(layer)
    assert max(viewer.runs.values()) == 2
    assert row.evaluate("element => element.isConnected")


def test_a_reload_keeps_the_layer_of_the_address(open_page):
    viewer = open_page("model=resnet8&layer=/stack1/conv2/Conv")
    viewer.wait_for_layer("/stack1/conv2/Conv")
    viewer.page.reload()
    viewer.wait_for_layer("/stack1/conv2/Conv")


def test_a_link_names_layer_and_variant_whose_row_stands_out(open_page):
    viewer = open_page("model=dscnn&variant=int8&layer=/block2/conv_dw/Conv")
    viewer.wait_for_layer("/block2/conv_dw/Conv")
    viewer.show_every_variant()
    viewer.page.get_by_text("28 rows, ").wait_for()
    tints = viewer.tints("/block2/conv_dw/Conv")
    assert tints["INT8"] == "rgba(232, 89, 12, 0.4)"
    assert tints["UINT8"] == "rgba(232, 89, 12, 0.2)"


def test_a_link_to_a_variant_that_is_not_there_says_so(open_page):
    viewer = open_page("model=dscnn&variant=int4")
    viewer.page.get_by_text("the variant 'int4', which is not here").wait_for()
    viewer.page.locator(f"{HISTOGRAMS}[alt*='{WORST}']").wait_for(state="attached")


def test_a_file_that_changes_is_noticed_and_opened_again_by_a_reload(open_page, models_folder):
    viewer = open_page("model=changing&layer=longlong")
    said = viewer.page.get_by_text("The files in this folder have changed.")
    assert said.count() == 0
    shutil.copy(models_folder / "resnet8" / "int8.onnx", models_folder / "changing")
    said.wait_for()
    viewer.page.reload()
    viewer.page.get_by_role("tab", name="INT8").wait_for()
    assert said.count() == 0


@pytest.mark.parametrize("width", [1024, 1920])
def test_nothing_but_a_table_scrolls_sideways(open_page, width):
    viewer = open_page("model=dscnn")
    viewer.page.set_viewport_size({"width": width, "height": 1000})
    script = "[document.documentElement.scrollWidth, innerWidth]"
    shown, space = viewer.page.evaluate(script)
    assert shown <= space


def test_the_outline_lies_exactly_over_the_last_row(open_page):
    viewer = open_page("model=resnet8&layer=/dense/Gemm")
    viewer.wait_for_layer("/dense/Gemm")
    viewer.show("ranges")
    outline = viewer.page.locator("[data-testid=selected-row]")
    outline.wait_for()
    outline = outline.bounding_box()
    top = viewer.rows_top(10) + 9 * viewer.row_height(10)
    assert outline["y"] == pytest.approx(top, abs=1.5)
    assert outline["height"] == pytest.approx(viewer.row_height(10), abs=2.5)


def test_a_table_that_was_closed_has_room_between_its_columns(open_page):
    page = open_page("model=dscnn").page
    for title in ("The files", "How this layer was recognized"):
        page.get_by_text(title, exact=True).click()
        cell = page.locator("details", has_text=title).locator("td").first
        assert cell.evaluate("one => parseFloat(getComputedStyle(one).paddingRight)") >= 8


def test_the_keyboard_alone_chooses_a_layer(open_page):
    viewer = open_page("model=resnet8&layer=/dense/Gemm")
    page = viewer.page
    page.get_by_role("button", name="Layer", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("option").first.wait_for()
    page.keyboard.type("stack2/skip")
    page.keyboard.press("Enter")
    viewer.wait_for_layer("/stack2/skip/conv/Conv")


def test_a_layer_without_quantization_parameters_says_so(open_page):
    viewer = open_page()
    viewer.show("ranges")
    viewer.choose_layer("/relu/Relu")
    viewer.page.get_by_text("no quantization parameters").wait_for()
    viewer.page.get_by_text("no weights to draw").wait_for()
    assert viewer.outlined_row(10) is None


def test_a_link_to_a_layer_that_is_not_there_says_so_and_opens_the_worst(open_page):
    viewer = open_page("model=dscnn&layer=/stack9/conv")
    viewer.page.get_by_text("/stack9/conv").wait_for()
    viewer.page.locator(f"{HISTOGRAMS}[alt*='{WORST}']").wait_for(state="attached")


def test_another_network_opens_with_its_own_first_layer(open_page):
    viewer = open_page("model=resnet8&layer=/dense/Gemm")
    viewer.show("ranges")
    viewer.page.get_by_label("Network").select_option("dscnn")
    viewer.page.get_by_role("group", name="Range of the weights of 14 layers").wait_for()
    viewer.page.locator(f"{HISTOGRAMS}[alt*='{WORST}']").wait_for(state="attached")
    assert viewer.layer_in_address is None


def test_the_switch_draws_the_counts_on_a_logarithmic_axis(open_page):
    viewer = open_page()
    before = viewer.page.locator(HISTOGRAMS).get_attribute("src")
    viewer.page.get_by_role("switch", name="logarithmic counts").click()
    viewer.page.wait_for_function(
        "before => document.querySelector(`img[alt*='equal bins']`).src !== before", arg=before
    )


def test_the_ranking_begins_with_the_worst_layer_and_a_click_shows_its_findings(open_page):
    viewer = open_page("model=dscnn&layer=/dense/Gemm")
    page = viewer.page
    page.get_by_role("tab", name="UINT8 1 error, 1 warning").wait_for()
    first = page.locator("marimo-table").get_by_role("row").nth(1)
    assert first.get_by_role("cell").first.inner_text() == WORST
    shown = page.locator(".playground-detail").get_by_text("error in UINT8").count()
    first.get_by_role("cell").nth(4).click()
    viewer.wait_for_layer(WORST)
    detail = page.locator(".playground-detail")
    detail.get_by_text("What helps: Quantize per-channel").first.wait_for()
    # In a line beside the layer's name, and in full below its picture.
    told = detail.get_by_text("error in UINT8").count()
    assert (shown, told) == (0, 2)
    for chart in (CHANNELS, CODES, ERRORS):
        page.wait_for_selector(f"{chart}[alt*='{WORST}'][alt*='UINT8: ']", state="attached")
    assert "31 under 20 dB" in page.locator(CHANNELS).get_attribute("alt")
    # Its row is tinted, and the table is still the one that was clicked.
    assert viewer.tints(WORST) == {"UINT8": "rgba(232, 89, 12, 0.4)"}
    assert viewer.variant_in_address == "UINT8"
    assert first.element_handle().evaluate("element => element.isConnected")


def test_the_ranking_is_filtered_by_severity(open_page):
    viewer = open_page("model=dscnn")
    viewer.page.get_by_text("14 rows, ").wait_for()
    viewer.page.get_by_label("Show", exact=True).select_option("▲ warning or worse · 2")
    viewer.page.get_by_text("2 rows, ").wait_for()
    viewer.click_table("/block2/conv_dw/Conv", column=3)
    viewer.wait_for_layer("/block2/conv_dw/Conv")


def test_a_healthy_network_says_so_and_offers_no_filter(open_page):
    viewer = open_page("model=resnet8")
    said = viewer.page.get_by_text("weights look fine").filter(visible=True)
    said.first.wait_for()
    assert viewer.page.locator(".playground-fine").count() == 0
    assert viewer.page.get_by_label("Show", exact=True).count() == 0


def test_the_downloads_are_files_that_parse(open_page):
    viewer = open_page("model=dscnn")
    files = {}
    for name in ("metrics.csv", "findings.csv", "netron.json", "model-explorer.json"):
        with viewer.page.expect_download() as download:
            viewer.page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == f"dscnn-{name}"
        files[name] = Path(download.value.path()).read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(files["metrics.csv"])))
    assert len(lines) == 14 * 3
    worst = {
        line["variant"]: line["worst_channel_sqnr_db"] for line in lines if WORST in line.values()
    }
    assert (worst["FP32"], float(worst["UINT8"])) == ("", 0.0)
    assert len(list(csv.DictReader(io.StringIO(files["findings.csv"])))) == 2
    assert json.loads(files["netron.json"])["signature"] == "netron:attachment"
    assert json.loads(files["model-explorer.json"])["results"][WORST] == {"value": 0.0}


def test_the_ticked_layers_and_the_tool_decide_the_text_to_paste(open_page):
    viewer = open_page("model=dscnn")
    page = viewer.page
    code = page.get_by_role("region", name="The text to paste")
    code.get_by_text("nodes_to_exclude = [").wait_for()
    code.focus()
    assert code.evaluate("element => element === document.activeElement")
    assert f"'{WORST}'" in code.inner_text()
    assert "/dense/Gemm" not in code.inner_text()
    page.get_by_label("Layers", exact=True).click()
    page.get_by_role("option", name="/dense/Gemm").click()
    code.get_by_text("'/dense/Gemm'").wait_for()
    page.keyboard.press("Escape")
    page.get_by_label("For", exact=True).select_option("NNCF")
    code.get_by_text("nncf.IgnoredScope").wait_for()
    page.get_by_label("For", exact=True).select_option("onnxruntime, a scale for each channel")
    code.get_by_text("tensor_quant_overrides = {").wait_for()


def test_the_controls_begin_with_the_current_scheme_and_a_change_shows_what_it_would_do(open_page):
    viewer = open_page("model=dscnn")
    viewer.wait_for_trial("uint8 per-tensor asymmetric")
    current = {
        "Variant": "UINT8",
        "Data type": "uint8",
        "Bits": "all 8",
        "Granularity": "per-tensor",
        "Zero-point": "asymmetric",
        "Clipping": "none",
    }
    assert viewer.shown_scheme() == current
    assert viewer.control("Axis").is_disabled()
    assert viewer.control("Block size").is_disabled()
    before = viewer.page.locator(TRIAL).get_attribute("src")
    viewer.control("Granularity").select_option("per-channel")
    viewer.wait_for_trial("uint8 per-channel asymmetric")
    assert viewer.page.locator(TRIAL).get_attribute("src") != before
    assert "+47.5 dB" in viewer.numbers.inner_text()
    assert "+52.9%" in viewer.numbers.inner_text()
    assert viewer.control("Axis").is_enabled()
    viewer.page.get_by_role("button", name="Undo changes").click()
    viewer.wait_for_trial("uint8 per-tensor asymmetric")
    assert viewer.shown_scheme() == current


def test_a_change_of_a_control_runs_each_cell_once_and_draws_nothing_of_section_3(open_page):
    viewer = open_page("model=dscnn")
    viewer.wait_for_trial("uint8 per-tensor asymmetric")
    with viewer.count_runs() as runs:
        viewer.control("Data type").select_option("int4")
    viewer.wait_for_trial("int4 per-tensor asymmetric")
    assert set(runs.values()) == {1}
    # The controls, the numbers, the picture, the two buttons, what they write and what they show.
    assert 3 <= len(runs) <= 7


def test_a_scheme_that_onnxruntime_cannot_run_says_so_and_is_not_written(open_page):
    viewer = open_page("model=dscnn")
    # Nothing is changed yet: there is nothing to write.
    assert viewer.page.get_by_role("button", name="Write this change").is_disabled()
    viewer.control("Data type").select_option("float8e5m2")
    viewer.wait_for_trial("float8e5m2 per-tensor")
    page = viewer.page
    page.get_by_text(
        "onnxruntime cannot run float8e5m2 weights beside quantized activations."
    ).wait_for()
    assert viewer.control("Zero-point").is_disabled()
    page.get_by_role("button", name="Write this change into a model").click()
    page.get_by_text("This cannot be written: layer '/block1/conv_dw/Conv'").wait_for()


def test_another_variant_or_layer_begins_with_its_own_scheme(open_page):
    viewer = open_page("model=dscnn")
    with viewer.count_runs():
        viewer.control("Data type").select_option("int4")
    viewer.wait_for_trial("int4 per-tensor asymmetric")
    with viewer.count_runs() as runs:
        viewer.control("Variant").select_option("INT8")
    viewer.wait_for_trial("int8 per-channel symmetric")
    assert set(runs.values()) == {1}
    assert viewer.variant_in_address == "INT8"
    viewer.choose_layer("/dense/Gemm")
    viewer.page.wait_for_selector(f"{TRIAL}[alt*='/dense/Gemm'][alt*='INT8']", state="attached")
    assert viewer.shown_scheme()["Granularity"] == "per-channel"


def test_a_candidate_under_a_size_is_applied_by_one_button(open_page):
    viewer = open_page("model=dscnn")
    page = viewer.page
    page.get_by_role("button", name="Use this scheme: int16 per-channel symmetric").wait_for()
    page.get_by_label("Size", exact=True).select_option("at most the current size: 293 B")
    page.get_by_role("button", name="Use this scheme: int4 per-channel symmetric, clipped").click()
    viewer.wait_for_trial("int4 per-channel symmetric, clipped for the least error")
    assert viewer.shown_scheme()["Clipping"] == "least error"


def test_the_plan_reaches_its_target_and_the_slider_moves_without_another_search(open_page):
    viewer = open_page("model=dscnn")
    viewer.plan()
    page = viewer.page
    page.get_by_text("3 of 14 layers change: worst channel 0.0 dB → 31.2 dB").wait_for()
    overrides = page.get_by_role("region", name="TensorQuantOverrides")
    assert "'block1.conv_dw.weight': [{" in overrides.inner_text()
    viewer.runs.clear()
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    # All 53,728 weights as int16, with a scale and a zero-point for each of 1,034 channels.
    page.wait_for_selector(f"{TRADE_OFF}[alt*='the target 113,660 bytes']", state="attached")
    assert page.get_by_role("button", name="Stop").count() == 0
    page.get_by_role("radio", name="size of the weights").click()
    page.wait_for_selector(f"{TRADE_OFF}[alt*='the target 53,643 bytes']", state="attached")


def test_a_search_can_be_stopped_and_the_page_answers_meanwhile(open_page):
    viewer = open_page("model=deep")
    page = viewer.page
    page.get_by_role("button", name="Try every layer").click()
    stop = page.get_by_role("button", name="Stop")
    page.get_by_role("progressbar", name="Layers tried").wait_for()
    viewer.control("Data type").select_option("int4")
    viewer.wait_for_trial("int4 per-tensor symmetric")
    stop.click()
    page.get_by_text("Stopped after").wait_for()
    assert page.locator(TRADE_OFF).count() == 0
    page.get_by_role("button", name="Try every layer again").wait_for()


def test_the_samples_confirm_the_plan_and_its_model_runs_after_the_download(open_page):
    viewer = open_page("model=dscnn")
    viewer.plan()
    page = viewer.page
    page.get_by_role("button", name="Run these changes on the samples").click()
    truth = page.locator(".playground-table", has_text="Accuracy")
    truth.wait_for()
    for words in ("71 of 180, 39.4%", "180 of 180, 100.0%", "37.1 dB"):
        assert words in truth.inner_text()
    page.get_by_role("button", name="Write these changes into a model").click()
    said = page.get_by_text("The file is ready: 82,966 → 83,316 bytes")
    said.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download dscnn-UINT8-changed.onnx").click()
    content = Path(download.value.path()).read_bytes()
    assert f"82,966 → {len(content):,} bytes" in said.inner_text()
    onnx.checker.check_model(content, full_check=True)
    with np.load(ROOT / "models/dscnn/samples.npz") as samples:
        image, labels = samples["image"].astype(np.float32), samples["labels"]
    (scores,) = onnxruntime.InferenceSession(content).run(None, {"image": image})
    assert (scores.argmax(axis=1) == labels).all()


def test_a_hostile_name_is_shown_as_text_and_a_damaged_file_in_a_sentence(open_page):
    viewer = open_page("model=odd")
    viewer.page.get_by_text("cut.onnx is not a complete ONNX file").wait_for()
    viewer.page.locator(PARAMETERS).get_by_text(HOSTILE).wait_for()
    viewer.choose_layer("longlong")
    viewer.page.get_by_text("no weights to draw").wait_for()
    assert viewer.page.evaluate("window.hacked") is None


# Measuring the outputs ----------------------------------------------------------------------------

SHARES, FLOW = "img[alt*='Share of the noise']", "img[alt*='What flows through']"


def measure(viewer: Viewer) -> None:
    """Press the button, and wait until the measuring goes on."""
    viewer.page.get_by_role("button", name="Measure on 16 samples").click()
    viewer.page.get_by_role("button", name="Stop").wait_for()


def test_outputs_are_measured_when_they_are_asked_for_and_every_viewer_sees_them(open_page):
    viewer = open_page("model=measured")
    viewer.page.get_by_role("tab", name="INT8 not measured").first.wait_for()
    measure(viewer)
    viewer.page.get_by_role("progressbar", name="Runs of the network").wait_for()
    viewer.page.get_by_text("measured UINT8 keeps ").filter(visible=True).first.wait_for()
    viewer.page.get_by_role("tab", name="INT8 keeps ").first.wait_for()
    viewer.page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert viewer.page.get_by_role("button", name="Measure on").count() == 0
    viewer.page.wait_for_selector(f"{SHARES}[alt*='of UINT8']", state="attached")
    viewer.page.wait_for_selector(f"{FLOW}[alt*='{WORST}']", state="attached")
    viewer.page.get_by_role("row", name="/pool/GlobalAveragePool").first.wait_for()
    other = open_page("model=measured")
    other.page.get_by_text("measured UINT8 keeps ").filter(visible=True).first.wait_for()
    other.page.wait_for_selector(SHARES, state="attached")


def test_a_measuring_that_is_stopped_can_be_asked_for_again(open_page):
    viewer = open_page("model=stopped")
    measure(viewer)
    viewer.page.get_by_role("button", name="Stop").click()
    viewer.page.get_by_role("button", name="Measure on 16 samples").wait_for()
    viewer.page.get_by_role("button", name="Stop").wait_for(state="detached")
    viewer.choose_layer("/dense/Gemm")
    viewer.wait_for_layer("/dense/Gemm")


# Plans by measurement -----------------------------------------------------------------------------

CURVE, WIDTHS = "img[alt*='Output SQNR against changed']", "[aria-label*='at each pair of widths']"


def test_a_plan_is_searched_for_shown_written_and_promised_on_the_first_screen(open_page):
    viewer = open_page("model=measured&variant=uint8")
    page = viewer.page
    page.get_by_role("button", name="Find what takes it back").click()
    page.locator("p", has_text="that did not decide: ").wait_for()
    page.wait_for_selector(CURVE, state="attached")
    page.get_by_role("row", name="16-bit activations").wait_for()
    page.get_by_role("link", name="Take it back").wait_for()
    # marimo keeps a hidden copy of what its tabs show.
    spans = page.locator(".playground-verdict span", has_text="measured on 8")
    spans.filter(visible=True).first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Recipe for quantize_static").click()
    assert "quantize_static(" in Path(download.value.path()).read_text(encoding="utf-8")
    page.get_by_role("button", name="Write the file").click()
    page.get_by_text("with all of its optimizations").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download measured-UINT8-better.onnx").click()
    content = Path(download.value.path()).read_bytes()
    onnx.checker.check_model(content, full_check=True)
    with np.load(ROOT / "models/dscnn/samples.npz") as samples:
        image, labels = samples["image"].astype(np.float32), samples["labels"]
    (scores,) = onnxruntime.InferenceSession(content).run(None, {"image": image})
    assert (scores.argmax(axis=1) == labels).mean() > 0.95


def test_the_map_fills_and_a_click_on_a_cell_says_what_it_keeps(open_page):
    viewer = open_page("model=measured&variant=int8")
    page = viewer.page
    page.get_by_role("button", name="How low can it go?").click()
    page.get_by_role("progressbar", name="Cells of the map").wait_for()
    page.wait_for_selector(f"{WIDTHS}[aria-label*='84 cells']", state="attached")
    canvas = page.locator(".playground-map canvas")
    canvas.wait_for()
    box = canvas.bounding_box()
    inch = box["width"] / 8
    page.mouse.click(box["x"] + 1.0 * inch, box["y"] + 0.6 * inch)
    page.get_by_text("Weights 8 bits per-channel, activations 16 bits: ").wait_for()
    page.get_by_label("Cell", exact=True).select_option(
        "Weights 7 bits per-channel, activations 16 bits"
    )
    page.get_by_text("no weights of 7 bits").wait_for()


def test_a_search_for_a_plan_that_is_stopped_keeps_what_there_is(open_page):
    viewer = open_page("model=stopped&variant=uint8")
    page = viewer.page
    page.get_by_role("button", name="Find what takes it back").click()
    page.get_by_role("progressbar", name="Searching for a plan").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Find what takes it back").wait_for()
    assert page.get_by_role("button", name="Stop").count() == 0
