"""The report is one file that loads nothing, runs nothing, and tells the worst first."""

from __future__ import annotations

import base64
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from comparisons_for_tests import make_finding
from hostile_names import HOSTILE, chain
from models_for_tests import floats, make_model
from onnx import helper
from planted_findings import plant_finding

from playground.utils import report, tables
from playground.utils.exports import escape_unprintable
from playground.utils.parameter_inspector import compare_variants, list_layers, open_folder
from playground.utils.parameter_inspector.judging.findings import Finding

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SWITCHES = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
TAGS = set(
    "html head meta title style body header h1 p nav a ol li div main section h2 table thead tbody "
    "tr th td span b code ul article details summary figure img input abbr h3".split()
)
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """What a browser would see: tags, attributes, text, and the text of each tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def write_report(folder: Path, *findings: Finding) -> str:
    opened = open_folder(folder)
    return report.create_report(opened, compare_variants(opened.variants), findings)


def save_chain(folder: Path, names, variants=("float", "int8")) -> Path:
    for variant in variants:
        onnx.save(chain(names, quantized=variant == "int8"), folder / f"{variant}.onnx")
    return folder


@pytest.fixture(scope="module")
def shipped() -> str:
    error = plant_finding(
        "planted", "error", "UINT8", "/block3/conv_dw/Conv", "So `it` is.", "Do.", {}
    )
    return write_report(ROOT / "models/dscnn", error)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    folder = save_chain(tmp_path_factory.mktemp("hostile"), HOSTILE)
    rows = [layer.name for layer in list_layers(open_folder(folder).variants["FP32"])]
    found = [
        plant_finding(f"rule {r}", "error", "INT8", r, f"evidence {r}", f"do {r}", {}) for r in rows
    ]
    return write_report(folder, *found)


# One file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shipped", "hostile"])
def test_nothing_is_loaded_and_nothing_runs(name, request):
    page = Page(request.getfixturevalue(name))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert all(address.startswith("data:image/png;base64,") for address in page.attributes("src"))
    assert all(address.startswith("#") for address in page.attributes("href"))
    assert [key for _, attrs in page.tags for key in attrs if key.startswith("on")] == []
    assert "url(" not in request.getfixturevalue(name)
    assert "@import" not in request.getfixturevalue(name)


def test_every_link_leads_to_one_place(shipped):
    page = Page(shipped)
    places = page.attributes("id")
    assert len(places) == len(set(places))
    assert {address[1:] for address in page.attributes("href")} <= set(places)


def test_every_tag_is_closed(shipped):
    assert Page(shipped).open == []


def test_every_picture_is_a_png_with_a_text_alternative(shipped):
    page = Page(shipped)
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    # Ranges and damage; then, for each layer, its histograms, channels, codes and errors.
    assert len(pictures) == 2 + 14 * 4
    for attrs in pictures:
        data = base64.b64decode(str(attrs["src"]).partition(",")[2], validate=True)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert attrs["alt"]


def test_the_length_does_not_depend_on_how_many_weights_there_are(tmp_path):
    lengths = []
    for width in (11, 1100):
        folder = tmp_path / str(width)
        folder.mkdir()
        node = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")
        model = make_model([node], {"w": floats(1100, width)}, inputs={"x": (2, 1100)})
        onnx.save(model, folder / "float.onnx")
        lengths.append(len(write_report(folder)))
    assert max(lengths) < 1.25 * min(lengths)


def test_no_weight_stands_in_the_text(tmp_path):
    text = write_report(save_chain(tmp_path, ["a"], ["float"]))
    shown = set(re.findall(r"-?\d+\.\d+", Page(text).text.replace("−", "-")))
    weights = np.sort(floats(7, 7).reshape(-1))[1:-1]  # the ends of the range are a statistic
    assert not shown & {f"{weight:.{digits}g}" for weight in weights for digits in range(3, 9)}


def test_a_hundred_layers_stay_under_15_megabytes(tmp_path, monkeypatch):
    lengths = []
    for count, detailed in ((2, 1), (7, 1), (2, 2)):
        monkeypatch.setattr(report, "DETAILED_LAYERS", detailed)
        folder = tmp_path / f"{count}-{detailed}"
        folder.mkdir()
        names = [f"/stage{i}/block/layer/MatMul" for i in range(count)]
        lengths.append(len(write_report(save_chain(folder, names))))
    monkeypatch.undo()
    layer, details = (lengths[1] - lengths[0]) / 5, lengths[2] - lengths[0]
    assert lengths[0] + 98 * layer + (report.DETAILED_LAYERS - 1) * details < 15e6


def test_the_worst_layers_have_every_chart_and_the_others_their_histograms(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DETAILED_LAYERS", 1)
    text = write_report(save_chain(tmp_path, ["a", "b"]))
    charts = [str(attrs["alt"]) for tag, attrs in Page(text).tags if tag == "img"]
    assert sum("equal bins" in alt for alt in charts) == 2
    for words in ("Output channels", "Integer codes", "in steps of the scale"):
        assert sum(words in alt for alt in charts) == 1


def test_two_reports_of_the_same_models_are_equal(tmp_path):
    folder = save_chain(tmp_path, ["a", "b"])
    assert write_report(folder) == write_report(folder)


# What it tells ------------------------------------------------------------------------------------


def layers_in_order(text: str) -> list[str]:
    """Return the layers of the table of contents."""
    contents = text[text.index("<ol>") : text.index("</ol>")]
    return re.findall(r"<span class=name>(.*?)</span>", contents)


def test_layers_come_in_the_order_of_their_worst_channel(shipped):
    """block1/conv_dw has by far the lowest SQNR, block2/conv_dw the next: see models/README.md."""
    assert layers_in_order(shipped)[:2] == ["/block1/conv_dw/Conv", "/block2/conv_dw/Conv"]
    assert len(layers_in_order(shipped)) == 14


def test_a_finding_stands_in_the_list_and_with_its_layer(shipped):
    assert shipped.count("So <code>it</code> is.") == 2
    assert shipped.count("<b>What helps:</b> Do.") == 2


def test_each_variant_stands_in_the_overview(shipped):
    text = Page(shipped).text
    for name in ("fp32.onnx", "int8.onnx", "uint8.onnx"):
        assert name in text


def test_a_layer_without_weights_that_has_a_finding_has_its_place(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    onnx.save(make_model([node], inputs={"x": (2, 3)}), tmp_path / "model.onnx")
    (name,) = open_folder(tmp_path).variants
    text = write_report(
        tmp_path, plant_finding("a-rule", "note", name, "relu", "It is so.", "Do.", {})
    )
    assert layers_in_order(text) == ["relu"]


def test_findings_of_one_cause_are_one_with_each_in_a_list_that_is_closed(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["p"], "first"),
        helper.make_node("Relu", ["p"], ["y"], "second"),
    ]
    onnx.save(make_model(nodes, inputs={"x": (2, 3)}), tmp_path / "model.onnx")
    (name,) = open_folder(tmp_path).variants
    found = [make_finding("error", layer, variant=name) for layer in ("first", "second")]
    text = write_report(tmp_path, *found)
    listed = text[text.index('id="findings"') : text.index('id="layers"')]
    assert listed.count("share one scale for all channels") == 1
    assert "<summary>Each of the 2 findings</summary>" in listed


def test_a_network_without_weights_says_so(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    onnx.save(make_model([node], inputs={"x": (2, 3)}), tmp_path / "model.onnx")
    text = write_report(tmp_path)
    assert "No layer of this network has weights." in text
    assert "Nothing was found." in text


def test_a_quantized_model_alone_says_that_there_is_nothing_to_compare_with(tmp_path):
    text = write_report(save_chain(tmp_path, ["a"], ["int8"]))
    assert "Without a float original there is no SQNR" in text


def test_a_weight_that_is_not_there_is_said_and_hides_no_other(tmp_path):
    save_chain(tmp_path, ["a", "b"], ["float"])
    model = onnx.load(tmp_path / "float.onnx")
    onnx.save(model, tmp_path / "float.onnx", save_as_external_data=True, location="held",
              size_threshold=0)  # fmt: skip
    held = tmp_path / "held"
    held.write_bytes(held.read_bytes()[: 7 * 7 * 4])
    text = write_report(tmp_path)
    assert "1 parameter not read or not understood" in text
    assert sum(tag == "img" for tag, _ in Page(text).tags) == 2


def test_every_name_is_shown_as_plain_text(hostile):
    text = Page(hostile).text
    for name in HOSTILE:
        if name and len(name) < 100:
            assert escape_unprintable(name) in text
    assert [c for c in text if not c.isprintable() and c not in "\n\u00a0"] == []


def test_progress_counts_every_layer(tmp_path):
    opened = open_folder(save_chain(tmp_path, ["a", "b", "c"]))
    seen = []
    report.create_report(
        opened, compare_variants(opened.variants), [], lambda *counted: seen.append(counted)
    )
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert {total for _, total, _ in seen} == {3}


# In a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_browser():
    """Return what runs a function of a browser; its thread is its own, as Playwright wants."""
    if CHROMIUM is None:
        missing = "no Chromium on this machine: the report was not tested in a browser"
        pytest.fail(missing) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        launch = partial(playwright.chromium.launch, executable_path=CHROMIUM, args=SWITCHES)
        browser = thread.submit(launch).result()
        yield lambda run, *arguments: thread.submit(run, browser, *arguments).result()
        thread.submit(browser.close).result()
        thread.submit(playwright.stop).result()


def look(browser, path: Path, scheme: str, width: int) -> tuple[int, list[str], list[str]]:
    """Open a file without a network; return its width, what it said and what it asked for."""
    viewport = {"width": width, "height": 900}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(path.as_uri())
    shown = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    return shown, said, asked


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1024, 1920])
@pytest.mark.parametrize("name", ["shipped", "hostile"])
def test_a_browser_shows_it_offline_within_its_width(
    in_browser, tmp_path, request, name, scheme, width
):
    path = tmp_path / "report.html"
    path.write_text(request.getfixturevalue(name), encoding="utf-8")
    shown, said, asked = in_browser(look, path, scheme, width)
    assert shown <= width
    assert said == []
    assert [scheme for scheme in asked if scheme != "data"] == ["file"]


def follow_a_link(browser, path: Path) -> tuple[bool, bool]:
    """Return whether the tenth layer is to be seen, before and after its link is clicked."""
    page = browser.new_page()
    page.goto(path.as_uri())
    target = page.locator("#layer-9")
    before = target.is_visible()
    page.locator(".ranking a[href='#layer-9']").first.click()
    target.wait_for(state="visible")
    after = target.is_visible()
    page.close()
    return before, after


def test_a_link_of_the_ranking_opens_the_layer_it_leads_to(in_browser, tmp_path, shipped):
    path = tmp_path / "report.html"
    path.write_text(shipped, encoding="utf-8")
    assert in_browser(follow_a_link, path) == (False, True)


def find_clipped(browser, path: Path) -> list[tuple[int, int]]:
    """Return the tables that are wider than an A4 page when it is printed, of all that is folded.

    Each with its width and the room that it has; no cell may hold more than it shows.
    """
    page = browser.new_page(viewport={"width": 718, "height": 1000})  # A4 less its margins, 96 dpi
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    found = page.evaluate(
        """() => [...document.querySelectorAll("table")].map(table => {
            const cells = [...table.querySelectorAll("th, td")];
            const inner = Math.max(...cells.map(c => c.scrollWidth - c.clientWidth));
            return [table.scrollWidth + Math.max(inner - 1, 0), table.parentElement.clientWidth];
        })"""
    )
    shown = page.locator("details:not([open]) table").first.bounding_box()
    page.close()
    assert found
    assert shown is not None and shown["height"] > 0
    return [(width, room) for width, room in found if width > room]


@pytest.mark.parametrize("name", ["shipped", "hostile"])
def test_no_table_is_clipped_in_print_and_what_is_folded_is_printed(
    in_browser, tmp_path, request, name
):
    path = tmp_path / "report.html"
    path.write_text(request.getfixturevalue(name), encoding="utf-8")
    assert in_browser(find_clipped, path) == []


def test_the_report_says_what_the_page_says(shipped):
    folder = open_folder(ROOT / "models/dscnn")
    comparison = compare_variants(folder.variants)
    error = plant_finding(
        "planted", "error", "UINT8", "/block3/conv_dw/Conv", "So `it` is.", "Do.", {}
    )
    ranked = tables.rank_layers(comparison, [error])
    text = Page(shipped).text
    for variant in ("INT8", "UINT8"):
        assert tables.describe_variant_loss(comparison, [error], ranked, variant) in text
        assert tables.spell_news(comparison, [error], variant) in text
    for heading in tables.create_ranking(ranked, comparison).table.columns:
        assert heading in text


def test_constants_are_folded_away_behind_a_line_that_counts_them(tmp_path):
    arrays = {"w": floats(7, 5), "one": np.float32([[3.0]])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "matmul"),
        helper.make_node("Mul", ["a", "one"], ["y"], "scaled"),
    ]
    onnx.save(make_model(nodes, arrays, inputs={"x": (2, 7)}), tmp_path / "model.onnx")
    text = write_report(tmp_path)
    folded = text[text.index("<summary>1 constant or one-dimensional parameter</summary>") :]
    assert "scaled" in folded[: folded.index("</details>")]
