"""The pointer, the keyboard and a finger over a chart of the served page: each is told numbers."""

from __future__ import annotations

import onnx
from onnx import numpy_helper
from served_page import HISTOGRAMS, ROOT, WORST, Viewer

TIP = "one => getComputedStyle(one, '::after').content.replaceAll('\"', '')"


def count_in_bin(text: str) -> int:
    """Return how many weights of the shipped network's layer a spot's words are about, by numpy."""
    low, high = (float(end.replace("−", "-")) for end in text.split(": ")[0].split(" to "))
    model = onnx.load(ROOT / "models" / "dscnn" / "fp32.onnx")
    (node,) = [node for node in model.graph.node if node.name == WORST]
    (weight,) = [one for one in model.graph.initializer if one.name == node.input[1]]
    values = numpy_helper.to_array(weight)
    return int(((values >= low) & (values < high)).sum())


def test_a_chart_names_what_is_under_the_pointer_with_its_number(browser, address):
    viewer = Viewer(browser.new_page(), f"{address}?model=dscnn&layer={WORST}")
    spots = viewer.page.locator(f"figure:has({HISTOGRAMS}) .spots input")
    texts = [one.get_attribute("aria-label") for one in spots.all()[:40]]
    filled = next(i for i, text in enumerate(texts) if count_in_bin(text) > 5)
    assert spots.nth(filled).evaluate(TIP) == "none"
    spots.nth(filled).hover()
    assert spots.nth(filled).evaluate(TIP) == texts[filled]
    said = int(texts[filled].split(": ")[1].split()[0].replace(",", ""))
    # Three digits of an edge are said: a weight beside it may be on its other side.
    assert abs(said - count_in_bin(texts[filled])) <= 2
    viewer.page.close()


def test_the_arrow_keys_go_from_number_to_number_and_a_tab_past_them_all(browser, address):
    viewer = Viewer(browser.new_page(), f"{address}?model=dscnn&layer={WORST}")
    page = viewer.page
    figure = page.locator(f"figure:has({HISTOGRAMS})")
    spots = figure.locator(".spots input")
    page.locator(f".playground-chart:has({HISTOGRAMS})").focus()
    page.keyboard.press("Tab")
    assert spots.nth(0).evaluate("one => one === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert spots.nth(1).evaluate("one => one === document.activeElement")
    assert spots.nth(1).evaluate(TIP) == spots.nth(1).get_attribute("aria-label")
    page.keyboard.press("Tab")
    assert not figure.evaluate("one => one.contains(document.activeElement)")
    page.close()


def test_a_row_of_the_picture_of_all_layers_says_its_ranges_and_still_takes_the_click(
    browser, address
):
    viewer = Viewer(browser.new_page(), f"{address}?model=resnet8")
    viewer.show("ranges")
    spot = viewer.page.locator(".playground-heatmap .spots input").nth(6)
    box = spot.bounding_box()
    viewer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.page.locator(".playground-heatmap .spots input.here").wait_for()
    assert spot.evaluate(TIP).startswith("/stack3/conv1/Conv")
    viewer.click_heatmap(6, 10)
    viewer.wait_for_layer("/stack3/conv1/Conv")
    viewer.page.close()
