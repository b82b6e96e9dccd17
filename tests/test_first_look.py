"""The first screen in a browser: what it holds, where a click, a key or a link lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served_page import HISTOGRAMS, WAIT, WORST, Viewer

PLACES = {"desk": (1440, 900), "tablet": (1024, 768), "wide": (1920, 1080), "phone": (390, 844)}
Look = Callable[..., Viewer]


@pytest.fixture
def look(browser, address: str) -> Iterator[Look]:
    """Open the page on a screen; every page ends without an error."""
    viewers = []

    def open_at(query: str, place: str = "desk") -> Viewer:
        page = browser.new_page()
        width, height = PLACES[place]
        page.set_viewport_size({"width": width, "height": height})
        viewers.append(Viewer(page, f"{address}?{query}"))
        return viewers[-1]

    yield open_at
    for viewer in viewers:
        viewer.page.close()
        assert viewer.errors == []


def box(locator) -> dict[str, float]:
    locator.wait_for()
    found = locator.bounding_box()
    assert found is not None
    return found | {"bottom": found["y"] + found["height"], "right": found["x"] + found["width"]}


def assert_in_view(viewer: Viewer, locator) -> None:
    """Wait until the element's top is in the upper part of the screen."""
    locator.wait_for()
    script = "one => { const y = one.getBoundingClientRect().top;"
    script += " return y >= -1 && y < 0.7 * innerHeight; }"
    viewer.page.wait_for_function(script, arg=locator.element_handle())


def chosen(viewer: Viewer):
    return viewer.page.locator(".playground-detail h3")


# What it holds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["desk", "tablet", "wide"])
def test_the_first_screen_holds_news_sentence_button_ten_layers_and_a_picture(look, place):
    viewer = look("model=dscnn", place)
    width, height = PLACES[place]
    page = viewer.page
    rows = page.locator("marimo-table").first.get_by_role("row")
    rows.nth(10).wait_for()
    parts = {
        "network": page.get_by_label("Network", exact=True),
        "worst news": page.get_by_role("tab", name="UINT8 1 error, 1 warning"),
        "other news": page.get_by_role("tab", name="INT8 not measured"),
        "sentence": page.locator(".playground-verdict > p").filter(visible=True).first,
        "button": page.get_by_role("button", name="Measure on 16 samples"),
        **{f"layer {i}": rows.nth(i).get_by_role("cell").first for i in range(1, 11)},
        "bar": rows.nth(1).locator(".playground-bar"),
        "chosen layer": chosen(viewer),
        "picture": page.locator(HISTOGRAMS),
    }
    boxes = {name: box(part) for name, part in parts.items()}
    outside = {
        name: place
        for name, place in boxes.items()
        if place["y"] < 0 or place["bottom"] > height or place["x"] < 0 or place["right"] > width
    }
    assert outside == {}
    # Beside the list, and large enough to read.
    assert boxes["picture"]["x"] > boxes["bar"]["right"]
    assert boxes["picture"]["y"] < boxes["layer 10"]["bottom"]
    assert boxes["picture"]["width"] > 0.4 * width


def test_the_large_sentence_says_what_happened_and_what_is_not_known(look):
    page = look("model=dscnn").page
    said = page.locator(".playground-verdict > p").filter(visible=True).first
    assert said.inner_text() == (
        "UINT8: channels that use only a few codes, in 2 layers, worst in /block1/conv_dw/Conv. "
        "What the output loses is not measured yet."
    )
    small = float(
        page.locator("label").first.evaluate("one => parseFloat(getComputedStyle(one).fontSize)")
    )
    assert said.evaluate("one => parseFloat(getComputedStyle(one).fontSize)") > 1.2 * small


def test_the_list_has_six_columns_and_the_address_remembers_the_others(look):
    viewer = look("model=dscnn")
    page = viewer.page
    heads = page.locator("marimo-table").first.get_by_role("columnheader")
    page.locator("marimo-table").first.get_by_role("row").nth(3).wait_for()
    assert [head.inner_text().split("\n")[0] for head in heads.all()] == [
        "layer",
        "variant",
        "weight error",
        "worst channel, dB",
        "finding",
        "type",
    ]
    page.get_by_label("More columns").click()
    page.get_by_role("option", name="data type").click()
    heads.filter(has_text="data type").wait_for()
    page.reload()
    heads.filter(has_text="data type").wait_for()


def test_constants_are_folded_away_behind_a_line_that_counts_them(look):
    page = look("model=constants").page
    page.get_by_text("1 row, ").wait_for()
    page.get_by_role("switch", name="Show 2 constants and one-dimensional parameters").click()
    page.get_by_text("3 rows, ").wait_for()


def test_long_names_are_shortened_to_what_tells_them_apart_and_whole_on_hover(look):
    page = look("model=named").page
    names = page.locator("marimo-table .playground-name")
    names.nth(1).wait_for()
    shown = {one.inner_text(): one.get_attribute("title") for one in names.all()}
    assert len(shown) == 6
    assert all(len(short) < len(whole) for short, whole in shown.items())
    page.get_by_placeholder("Search").fill("auto_model/encoder/layer.2/attention")
    page.get_by_text("1 row, ").wait_for()


def test_an_address_as_a_name_is_neither_a_link_nor_fetched(look, browser):
    asked: list[str] = []
    browser.on("request", lambda request: asked.append(request.url))
    viewer = look("model=addresses")
    cell = viewer.page.locator("marimo-table .playground-name").first
    cell.wait_for()
    assert "example.invalid" in cell.inner_text()
    viewer.page.get_by_role("switch", name="All variants").count()
    viewer.show("ranges")
    assert viewer.page.locator("marimo-table a[href*='example.invalid']").count() == 0
    assert viewer.page.locator("img[src*='example.invalid']").count() == 0
    assert [url for url in asked if url.startswith("https://example.invalid")] == []


def test_prose_stands_behind_question_marks_and_terms_explain_themselves(look):
    page = look("model=dscnn").page
    prose = page.get_by_text("stores its weights as small integers")
    assert not prose.is_visible()
    page.get_by_text("What is this page?").click()
    prose.wait_for()
    term = page.locator(".playground-verdict abbr", has_text="channels").filter(visible=True).first
    term.focus()
    tip = term.evaluate("one => getComputedStyle(one, '::after').content")
    assert "one index of a weight's output axis" in tip


# Where one lands ----------------------------------------------------------------------------------


def test_the_list_stays_and_a_click_lands_on_its_layer_from_far_below(look):
    viewer = look("model=dscnn")
    page = viewer.page
    page.locator("img[alt*='in steps of the scale']").scroll_into_view_if_needed()
    assert not page.evaluate(
        "document.querySelector('.playground-detail h3').getBoundingClientRect().top > 0"
    )
    row = page.locator("marimo-table").first.get_by_role("row", name="/block5/conv_dw/Conv")
    assert 0 < box(row)["y"] < 900
    row.get_by_role("cell").first.click()
    viewer.wait_for_layer("/block5/conv_dw/Conv")
    assert_in_view(viewer, chosen(viewer))
    assert 0 < box(row)["y"] < 900


def test_a_click_where_the_layer_is_in_sight_does_not_move_the_page(look):
    viewer = look("model=dscnn")
    viewer.click_table("/block5/conv_dw/Conv", column=0)
    viewer.wait_for_layer("/block5/conv_dw/Conv")
    assert viewer.page.evaluate("document.getElementById('App').scrollTop") == 0


def test_on_a_phone_the_layer_is_below_the_list_and_a_click_lands_there_and_back(look):
    viewer = look("model=dscnn", "phone")
    listed, detail = (
        box(viewer.page.locator(part)) for part in (".playground-list", ".playground-detail")
    )
    assert detail["y"] >= listed["bottom"]
    viewer.click_table("/block2/conv_pw/Conv", column=0)
    viewer.wait_for_layer("/block2/conv_pw/Conv")
    assert_in_view(viewer, chosen(viewer))
    viewer.page.get_by_role("link", name="Back to the layers").click()
    assert_in_view(viewer, viewer.page.locator("#layers"))
    assert viewer.layer_in_address == "/block2/conv_pw/Conv"


@pytest.mark.parametrize("place", ["desk", "phone"])
def test_a_link_to_a_layer_lands_on_it(look, place):
    viewer = look("model=dscnn&layer=/block3/conv_pw/Conv&variant=INT8", place)
    viewer.wait_for_layer("/block3/conv_pw/Conv")
    assert_in_view(viewer, chosen(viewer))
    assert viewer.page.get_by_role("tab", selected=True).inner_text().startswith("INT8")


def test_a_link_to_a_section_lands_on_it(look):
    viewer = look("model=dscnn#what-would-fix-it")
    assert_in_view(viewer, viewer.page.get_by_role("heading", name="What would fix it?"))


def test_the_keyboard_goes_from_tab_to_tab_and_stays_there(look):
    viewer = look("model=dscnn")
    page = viewer.page
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("tab", name="INT8 not measured", selected=True).wait_for()
    page.get_by_role("tabpanel").get_by_text("INT8: weights look fine").wait_for()
    page.wait_for_function("new URLSearchParams(location.search).get('variant') === 'INT8'")
    assert page.get_by_role("tab", name="INT8 not measured").evaluate(
        "one => one.getRootNode().activeElement === one"
    )


def test_the_link_that_is_copied_opens_what_is_shown(look, browser):
    browser.grant_permissions(["clipboard-read", "clipboard-write"])
    viewer = look("model=dscnn")
    viewer.click_table("/block4/conv_dw/Conv", column=0)
    viewer.wait_for_layer("/block4/conv_dw/Conv")
    viewer.page.get_by_role("link", name="Copy link").click()
    viewer.page.get_by_role("link", name="Copied").wait_for()
    link = viewer.page.evaluate("navigator.clipboard.readText()")
    viewer.page.goto(link)
    viewer.wait_for_layer("/block4/conv_dw/Conv")
    viewer.page.get_by_role("tab", name="UINT8", selected=True).wait_for()


def test_the_report_is_a_button_of_the_first_screen(look):
    viewer = look("model=resnet8")
    with viewer.page.expect_download(timeout=4 * WAIT) as download:
        viewer.page.get_by_role("link", name="Report").click()
    assert download.value.suggested_filename == "resnet8-report.html"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "INT8 not measured" in text


def test_the_worst_layer_of_the_worst_variant_is_chosen(look):
    viewer = look("model=dscnn")
    assert chosen(viewer).inner_text() == WORST
    assert viewer.page.get_by_role("tab", selected=True).inner_text().startswith("UINT8")
