"""The served page, opened in a browser: one server for all tests, and what a viewer does."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import onnx
import pytest
from hostile_names import chain
from models_for_tests import convnet, floats, int8_conv, make_model
from onnx import TensorProto, helper, numpy_helper
from test_strangers import named

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "playground" / "quantization.py"
WAIT = 30_000  # milliseconds; a bound for a broken page, not a promise about speed
SCRIPT = '<img src=x onerror="window.hacked=1">'
HOSTILE = '<img src=x onerror="window.hacked=1">$\\foo_1$'
# Of the selected layer; section 4 explains its controls in a table of the same kind.
PARAMETERS = ":not(.playground-details) > .playground-table:has-text('Meaning')"
HISTOGRAMS = "img[alt*='equal bins']"
CHANNELS, CODES = "img[alt*='Output channels']", "img[alt*='Integer codes']"
ERRORS = "img[alt*='in steps of the scale']"
TRIAL, TRADE_OFF = "img[alt*='Another quantization']", "img[alt*='Bytes of the weights against']"
WORST = "/block1/conv_dw/Conv"


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory) -> Path:
    """The shipped models, beside damaged files, hostile names and a long chain of layers."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("dscnn", "resnet8"):
        shutil.copytree(ROOT / "models" / name, folder / name)
    # Of their own, for what is measured is kept for all who open a network later.
    for name in ("measured", "stopped"):
        shutil.copytree(ROOT / "models" / "dscnn", folder / name)
    (folder / "odd").mkdir()
    (folder / "odd" / "cut.onnx").write_bytes((ROOT / "models/dscnn/fp32.onnx").read_bytes()[:999])
    for name in ("odd", "changing"):
        (folder / name).mkdir(exist_ok=True)
        onnx.save(create_odd_model(), folder / name / "odd.onnx")
    (folder / "deep").mkdir()
    for name, quantized in (("fp32", False), ("int8", True)):
        onnx.save(create_deep_model(quantized), folder / "deep" / f"{name}.onnx")
    save_strangers(folder)
    save_named(folder)
    return folder


def save_named(folder: Path) -> None:
    """Save a network with constants, one of long names, and one whose names are addresses."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "matmul"),
        helper.make_node("Mul", ["a", "one"], ["b"], "scaled"),
        helper.make_node("Add", ["b", "row"], ["y"], "shifted"),
    ]
    arrays = {"w": floats(7, 5), "one": np.float32([[3.0]]), "row": floats(1, 5, seed=3)}
    models = {"constants": make_model(nodes, arrays, inputs={"x": (2, 7)})}
    names = {
        "named": [
            f"/model/model.0/auto_model/encoder/layer.{i}/{part}/MatMul"
            for i in range(3)
            for part in ("attention/output/dense", "intermediate/dense")
        ],
        "addresses": [f"https://example.invalid/pixel{i}.png" for i in range(2)],
    }
    models |= {network: chain(of, quantized=False) for network, of in names.items()}
    for network, model in models.items():
        (folder / network).mkdir()
        onnx.save(model, folder / network / "fp32.onnx")


def save_strangers(folder: Path) -> None:
    """Save seven networks: one sound, three of which a file cannot be read, three of odd names."""
    whole = convnet().SerializeToString()
    many = {f"{SCRIPT}{i}.onnx": int8_conv().SerializeToString() for i in range(7)}
    odd = {
        f"{i}{kind}.onnx": named(name, quantized=kind == "q").SerializeToString()
        for i, name in enumerate((SCRIPT, r"$\frac", "two\nlines", ""))
        for kind in ("", "q")
    }
    networks = {
        "sound": {"fp32.onnx": whole},
        "cut": {"cut.onnx": whole[: len(whole) // 2]},
        "page": {"page.onnx": b"<!DOCTYPE html><p>404</p>", "fp32.onnx": whole},
        "pointer": {"pointer.onnx": b"version https://git-lfs.github.com/spec/v1\n"},
        SCRIPT: odd,
        r"$\frac": many,
        "two\nlines": {f"{SCRIPT}.onnx": b"", "fp32.onnx": whole},
    }
    for network, files in networks.items():
        (folder / network).mkdir()
        for name, content in files.items():
            (folder / network / name).write_bytes(content)


def create_deep_model(quantized: bool, layers: int = 60, width: int = 256) -> onnx.ModelProto:
    """Return a chain of MatMuls, so many that trying every layer takes a while."""
    rng, arrays, nodes = np.random.default_rng(0), {"s": np.float32(0.02)}, []
    for i in range(layers):
        exact = rng.normal(size=(width, width)).astype(np.float32)
        arrays[f"w{i}"] = (
            (exact / 0.02).round().clip(-128, 127).astype(np.int8) if quantized else exact
        )
        if quantized:
            nodes.append(helper.make_node("DequantizeLinear", [f"w{i}", "s"], [f"v{i}"]))
        weight = f"v{i}" if quantized else f"w{i}"
        nodes.append(helper.make_node("MatMul", [f"h{i}", weight], [f"h{i + 1}"], f"layer{i}"))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])]
        for name in ("h0", f"h{layers}")
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(helper.make_graph(nodes, "deep", *ends, initializers))


def create_odd_model() -> onnx.ModelProto:
    """Return a float network of two layers: one of a hostile name, one of a very long one."""
    weight = numpy_helper.from_array(np.linspace(-2, 5, 12, dtype=np.float32).reshape(3, 4), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name=HOSTILE),
        helper.make_node("Relu", ["y"], ["z"], name="long" * 75),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, width])]
        for name, width in (("x", 3), ("z", 4))
    ]
    return helper.make_model(helper.make_graph(nodes, "odd", *ends, [weight]))


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the notebook on a free port, and stop that server afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "marimo", "run", str(NOTEBOOK), "--headless", "--no-token"),
            *("--host", "127.0.0.1", "--port", str(port), "--", "--models", str(folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    said = iter(server.stdout.readline, "")
    assert any(f":{port}" in line for line in said), "the server ended before it was ready"
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.stdout.close()
        server.wait()


@pytest.fixture(scope="session")
def address(models_folder: Path, browser: object) -> Iterator[str]:
    """The one server of all tests that open the page."""
    with serve(models_folder) as address:
        yield address


class Viewer:
    """One open page: the layers it shows, what its console said, which cells ran."""

    def __init__(self, page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.runs: Counter[str] = Counter()
        self.completed = 0
        self.running: set[str] = set()
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("websocket", lambda socket: socket.on("framereceived", self._count_runs))
        with page.expect_websocket() as socket:
            page.goto(url)
        self.socket = socket.value
        self.wait_until_idle()

    def _count_runs(self, frame: str | bytes) -> None:
        message = json.loads(frame)
        data = message.get("data") or message
        self.completed += message.get("op") == "completed-run"
        if message.get("op") != "cell-op" or data.get("status") is None:
            return
        # While it runs, a cell may tell more than once what it shows; and one whose readers were
        # stopped by a cell above is queued, and never runs.
        if data["status"] == "running" and data["cell_id"] not in self.running:
            self.runs[data["cell_id"]] += 1
        ended = {data["cell_id"]} if data["status"] != "running" else set()
        self.running = (self.running | {data["cell_id"]}) - ended

    def wait_until_idle(self) -> None:
        """Wait for the first run of all cells, and for the histograms or what stands for them."""
        while not self.completed:
            self.socket.wait_for_event("framereceived")
        self.page.wait_for_selector(f"{HISTOGRAMS}, :text('no weights to draw')", state="attached")

    @contextmanager
    def count_runs(self) -> Iterator[Counter[str]]:
        """Count how often each cell runs for what is done within, until all have."""
        self.runs.clear()
        before = self.completed
        yield self.runs
        while self.completed == before:
            self.socket.wait_for_event("framereceived")

    @property
    def layer_in_address(self) -> str | None:
        return parse_qs(urlsplit(self.page.url).query).get("layer", [None])[0]

    @property
    def variant_in_address(self) -> str | None:
        return parse_qs(urlsplit(self.page.url).query).get("variant", [None])[0]

    def show(self, view: str) -> None:
        """Show the list, the damage or the ranges."""
        self.page.get_by_role("radio", name=view).click()
        if view != "list":
            self.page.locator(".playground-heatmap canvas").wait_for()

    def show_every_variant(self) -> None:
        self.page.get_by_role("switch", name="All variants").click()

    def tints(self, layer: str) -> dict[str, str]:
        """Return variant -> the colour of its row of a layer in the ranking."""
        rows = self.page.locator("marimo-table").get_by_role("row", name=layer)
        script = "all => all.map(r => [r.cells[1].innerText, getComputedStyle(r.cells[1])])"
        script = script.replace("(r.cells[1])]", "(r.cells[1]).backgroundColor]")
        return dict(rows.evaluate_all(script))

    @property
    def parameters(self) -> str:
        return self.page.locator(PARAMETERS).inner_text()

    def choose_layer(self, name: str) -> None:
        self.page.get_by_role("button", name="Layer", exact=True).click()
        self.page.get_by_role("option", name=name).click()

    def control(self, label: str):
        """Return a control of section 4; several charts and sections have a variant to choose."""
        return self.page.locator(".playground-controls").get_by_label(label, exact=True)

    def shown_scheme(self) -> dict[str, str]:
        labels = ("Variant", "Data type", "Bits", "Granularity", "Zero-point", "Clipping")
        script = "one => one.selectedOptions[0].textContent"
        return {label: self.control(label).evaluate(script) for label in labels}

    def wait_for_trial(self, words: str) -> None:
        """Wait until the picture of section 4 and the numbers above it say ``words``."""
        self.page.wait_for_selector(f"{TRIAL}[alt*='Proposed: {words}']", state="attached")
        self.numbers.get_by_text(words).first.wait_for()

    @property
    def numbers(self):
        return self.page.locator(".playground-table", has_text="SQNR of the worst channel")

    def plan(self) -> None:
        """Try every layer, and wait for the curve."""
        self.page.get_by_role("button", name="Try every layer").click()
        self.page.wait_for_selector(TRADE_OFF, state="attached")

    def click_table(self, layer: str, column: int) -> None:
        row = self.page.locator("marimo-table").first.get_by_role("row", name=layer)
        row.get_by_role("cell").nth(column).click()

    def wait_for_layer(self, name: str) -> None:
        """Wait until histograms, table, dropdown and address all show ``name``."""
        page = self.page
        page.wait_for_selector(f"{HISTOGRAMS}[alt*='{name}']", state="attached")
        page.locator(PARAMETERS).get_by_text(name).first.wait_for()
        page.locator("marimo-dropdown").get_by_text(f"{name} ·").first.wait_for(state="attached")
        script = "name => new URLSearchParams(location.search).get('layer') === name"
        page.wait_for_function(script, arg=name)

    def outlined_row(self, rows: int) -> int | None:
        """Return the row of the heatmap that the outline lies over."""
        outline = self.page.locator("[data-testid=selected-row]")
        if not outline.is_visible():
            return None
        box, row = outline.bounding_box(), self.row_height(rows)
        return round((box["y"] + box["height"] / 2 - self.rows_top(rows)) / row - 0.5)

    def click_heatmap(self, row: int, rows: int, x: float = 0.5) -> None:
        box = self.page.locator(".playground-heatmap").bounding_box()
        y = self.rows_top(rows) + (row + 0.5) * self.row_height(rows)
        self.page.mouse.click(box["x"] + x * box["width"], y)

    # Where the rows lie, from the picture's own proportions: 0.42 inches above, 0.25 each.
    def inch(self) -> float:
        return self.page.locator(".playground-heatmap canvas").bounding_box()["width"] / 8

    def rows_top(self, rows: int) -> float:
        return (
            self.page.locator(".playground-heatmap canvas").bounding_box()["y"] + 0.42 * self.inch()
        )

    def row_height(self, rows: int) -> float:
        return 0.25 * self.inch()
