"""The page for people who did not build the model: any eyes, no mouse, files from anybody."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from models_for_tests import load_script
from served_page import HISTOGRAMS, SCRIPT, TRIAL, WORST, Viewer

ROOT = Path(__file__).resolve().parents[1]

# Elements that marimo draws and the page cannot name or colour: (rule, part of the element).
MARIMOS_OWN = {
    ("button-name", 'aria-haspopup="menu"'): "its menu in the corner of a served page",
    ("color-contrast", ">No selection<"): "the line under a table",
}


class Visitor(Viewer):
    """A viewer of whatever there is, histograms or not."""

    def wait_until_idle(self) -> None:
        while not self.completed:
            self.socket.wait_for_event("framereceived")


@pytest.fixture
def visit(browser, address: str):
    """Open the page of a network; every page ends without an error."""
    visitors = []

    def open_at(scheme: str = "light", **query: str) -> Visitor:
        page = browser.new_page()
        page.emulate_media(color_scheme=scheme)
        visitors.append(Visitor(page, f"{address}?{urlencode(query)}"))
        return visitors[-1]

    yield open_at
    for visitor in visitors:
        visitor.page.close()
        assert visitor.errors == []


def find_serious(page) -> list[tuple[str, str]]:
    """Return rule and element of each serious violation in what the page itself shows."""
    violations = Axe().run(page).response["violations"]
    found = [
        (one["id"], node["html"])
        for one in violations
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    return [
        (rule, element)
        for rule, element in found
        if not any(rule == known and part in element for known, part in MARIMOS_OWN)
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_page(visit, scheme):
    page = visit(scheme, model="dscnn").page
    page.wait_for_selector(TRIAL, state="attached")
    page.get_by_role("link", name="model-explorer.json").wait_for()
    # Those of the tab that is not shown stay hidden.
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    page.get_by_text("stores its weights as small integers").wait_for()
    page.wait_for_selector(f"html.{scheme}, body.{scheme}", state="attached")
    assert find_serious(page) == []


def test_axe_would_find_a_picture_without_words_and_a_control_without_a_label(visit):
    page = visit(model="dscnn").page
    page.wait_for_selector(TRIAL, state="attached")
    plant = "(one, html) => one.insertAdjacentHTML('beforeend', html)"
    page.locator(".playground-chart").first.evaluate(plant, "<img src='data:,'>")
    controls = page.locator(".playground-controls")
    controls.evaluate(plant, "<input><p style='color: #bbb'>pale</p>")
    assert [rule for rule, _ in find_serious(page)] == ["color-contrast", "image-alt", "label"]


FOCUSED = "one => one.matches(':focus-visible')"
LOOK = "one => Object.values(getComputedStyle(one)).join()"


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(visit):
    page = visit(model="dscnn").page
    page.wait_for_selector(TRIAL, state="attached")
    for control in (
        page.get_by_label("Network"),
        page.get_by_role("tab", selected=True),
        page.get_by_role("link", name="Copy link"),
        page.get_by_role("switch", name="logarithmic counts"),
        page.get_by_role("button", name="Layer", exact=True),
    ):
        before = control.evaluate(LOOK)
        control.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert control.evaluate(FOCUSED)
        handle = control.element_handle()
        page.wait_for_function(f"([one, before]) => ({LOOK})(one) !== before", arg=[handle, before])


def test_the_keyboard_skips_the_layers(visit):
    visitor = visit(model="dscnn")
    page = visitor.page
    page.get_by_role("link", name="model-explorer.json").wait_for()
    for layer in ("", "/block2/conv_pw/Conv"):
        if layer:
            visitor.click_table(layer, column=2)
            page.wait_for_selector(f"{HISTOGRAMS}[alt*='{layer}']", state="attached")
        page.evaluate("window.here = true")
        link, address = page.get_by_role("link", name="Skip the layers"), page.url.split("#")[0]
        link.focus()
        assert link.evaluate("one => getComputedStyle(one).opacity") == "1"
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}#layer")
        page.keyboard.press("Tab")
        # Past the list: the next stop is beside the chosen layer.
        assert page.evaluate("document.activeElement.closest('.playground-detail') !== null")
        assert page.evaluate("window.here")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("sound", "FP32"),
        ("cut", "cut.onnx is not a complete ONNX file"),
        ("page", "page.onnx is a web page or XML"),
        ("pointer", "pointer.onnx is a Git LFS pointer"),
        (r"two\nlines", f"{SCRIPT}.onnx is empty"),  # as it is shown
        (r"$\frac", f"INT8 ({SCRIPT}0)"),
        (SCRIPT, SCRIPT),
    ],
)
def test_each_network_of_a_folder_from_strangers_opens_or_says_why_not(visit, network, said):
    page = visit(model=network).page
    page.get_by_text(said).filter(visible=True).first.wait_for()
    assert page.get_by_text("internal error").count() == 0
    shown = page.get_by_label("Network").evaluate("one => one.selectedOptions[0].text")
    assert shown == network
    if network not in ("cut", "pointer"):
        page.wait_for_selector(HISTOGRAMS, state="attached")
    page.get_by_label("Network").select_option("dscnn")
    page.wait_for_selector(f"{HISTOGRAMS}[alt*='{WORST}']", state="attached")
    assert page.evaluate("window.hacked") is None


# Keeps the text alternative of every picture that the page holds from now on, for a moment even.
REMEMBER = """() => {
    window.drawn = new Set()
    const look = () => document.querySelectorAll("img").forEach(one => window.drawn.add(one.alt))
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true})
}"""


def test_another_network_opens_while_the_weights_of_one_are_read(visit, models_folder):
    # 16 GB that take no room: a hole in a file.
    pairs = load_script(ROOT / "tests" / "benchmarks" / "pairs.py")
    pairs.write_sparse(models_folder / "slow", count=96)
    page = visit(model="slow").page
    reading = page.get_by_role("progressbar", name="Weights read")
    reading.wait_for()
    page.get_by_text("of 96 weights read").wait_for()
    page.evaluate(REMEMBER)
    page.get_by_label("Network").select_option("dscnn")
    page.wait_for_selector(f"{HISTOGRAMS}[alt*='{WORST}']", state="attached")
    assert reading.count() == 0
    drawn = page.evaluate("[...window.drawn].join()")
    assert WORST in drawn
    assert "layer0" not in drawn
