"""A page full of addresses asks no server but its own, guarded as `run` serves it or not."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from served_page import ROOT, Viewer, serve


class Foreign:
    """Another server: what it was asked for."""

    def __init__(self) -> None:
        hits = self.hits = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hits.append(self.path)
                self.send_response(200)
                self.send_header("content-type", "image/png")
                self.send_header("access-control-allow-origin", "*")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def foreign() -> Iterator[Foreign]:
    one = Foreign()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join()


def list_names(address: str) -> list[str]:
    return [
        f"{address}/1",  # so short that the ranking shows it whole
        f"{address}/plain.png",
        f" {address}/blank.png",
        f"see {address}/words.png now",
        f"![x]({address}/picture.png)",
        f"[x]({address}/link)",
        f"<img src={address}/tag.png>",
        f"//{urlsplit(address).netloc}/no-scheme.png",
        "data:image/png;base64,iVBORw0KGgo=",
        f'=HYPERLINK("{address}/formula")',
    ]


def create_network(names: list[str], quantized: bool) -> onnx.ModelProto:
    """Return a chain of layers of these names, their tensors and the producer called so too."""
    generator, nodes, arrays = np.random.default_rng(0), [], {}
    for i, name in enumerate(names):
        exact = generator.normal(size=(8, 8)).astype(np.float32)
        weight = f"{name} w"
        if quantized:
            # So coarse that each of them is found fault with, and named in sentences.
            arrays |= {f"{name} q": np.rint(exact / 2).astype(np.int8), f"{name} s": np.float32(2)}
            inputs = [f"{name} q", f"{name} s"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [weight], f"{name} d"))
        else:
            arrays[weight] = exact
        nodes.append(helper.make_node("MatMul", [f"h{i}", weight], [f"h{i + 1}"], name))
    ends = [
        [helper.make_tensor_value_info(f"h{i}", onnx.TensorProto.FLOAT, ["n", 8])]
        for i in (0, len(names))
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, names[0], *ends, stored)
    return helper.make_model(graph, producer_name=names[0])


@pytest.fixture(scope="module")
def folder(foreign, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("addresses")
    for name, quantized in (("fp32", False), ("int8", True)):
        model = create_network(list_names(foreign.address), quantized)
        onnx.save(model, path / f"{name}.onnx")
    return path


@contextmanager
def serve_guarded(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "playground", "run", str(folder), "--headless", "--no-token",
         "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        said = iter(server.stdout.readline, "")
        assert any(f":{port}" in line for line in said), "the server ended before it was ready"
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.stdout.close()
        server.wait()


SERVERS: dict[str, Callable] = {"guarded": serve_guarded, "not guarded": serve}


@pytest.fixture(scope="module", params=SERVERS)
def visited(request, folder, browser) -> Iterator[tuple[str, Viewer]]:
    with SERVERS[request.param](folder) as address:
        page = browser.new_page()
        try:
            yield request.param, Viewer(page, address)
        finally:
            page.close()


def test_names_that_are_addresses_are_text_for_the_browser_too(visited, foreign):
    _, viewer = visited
    asked: list[str] = []
    own = urlsplit(viewer.page.url).netloc
    viewer.page.on("request", lambda one: asked.append(one.url))
    rows = viewer.page.locator("marimo-table").first.get_by_role("row")
    assert rows.count() > len(list_names(""))
    for row in rows.all():
        row.get_by_role("cell").or_(row.get_by_role("columnheader")).first.hover()
    shortest = list_names(foreign.address)[0]
    assert rows.get_by_text(shortest, exact=True).first.is_visible()
    for name in list_names(foreign.address)[:3]:
        # A longer one is cut; what it is called in full is said on hover.
        named = viewer.page.get_by_title(name, exact=True)
        rows.filter(has=named).first.get_by_role("cell").first.click()
        viewer.wait_for_layer(name)
    assert [url for url in asked if url.startswith("http") and urlsplit(url).netloc != own] == []
    assert foreign.hits == []
    links = viewer.page.locator(f"a[href*='{urlsplit(foreign.address).netloc}']")
    assert links.count() == 0
    assert viewer.errors == []


# What a name would do that came to be markup after all.
INTRUDERS = {
    "a picture": "<img src='{}/picture'>",
    "a style": "<link rel=stylesheet href='{}/style'>",
    "a background": "<p style='background: url({}/background)'>x</p>",
    "a page in the page": "<iframe src='{}/page'></iframe>",
    "a script": "<img src='data:,' onerror=\"fetch('{}/script')\">",
}


def test_what_became_markup_after_all_reaches_no_other_server_where_it_is_guarded(visited, foreign):
    how, viewer = visited
    page = viewer.page
    listen = """() => { window.refused = []; document.addEventListener("securitypolicyviolation",
        one => window.refused.push(one.blockedURI)) }"""
    page.evaluate(listen)
    plant = "(one, html) => one.insertAdjacentHTML('beforeend', html)"
    for intruder in INTRUDERS.values():
        page.locator("body").evaluate(plant, intruder.format(foreign.address))
    # It has its say before the answer to what was asked after it.
    script = "address => fetch(address + '/asked').then(() => true, () => false)"
    let_through = page.evaluate(script, foreign.address)
    if how == "guarded":  # a frame that was refused never lets the network be idle
        refused = "all => all.every(one => window.refused.includes(one))"
        reached = ("/picture", "/style", "/background", "", "/asked")  # of a frame, its origin
        page.wait_for_function(
            refused, arg=["inline", *(f"{foreign.address}{path}" for path in reached)]
        )
    else:
        page.wait_for_load_state("networkidle")
    paths = set(foreign.hits)
    foreign.hits.clear()
    assert let_through == (how == "not guarded")
    expected = {"/picture", "/style", "/background", "/page", "/script", "/asked"}
    assert paths == (expected if how == "not guarded" else set())
