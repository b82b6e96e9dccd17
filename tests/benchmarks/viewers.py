"""Drives many viewers of one `marimo run`, each switching layers, and looks at what they are shown.

    python tests/benchmarks/viewers.py [--models FOLDER] [--network NAME] [--sessions 24]
    python tests/benchmarks/viewers.py --measuring dscnn

The second form lets one viewer measure the outputs of a network while another switches layers.

A viewer speaks the page's own protocol: a websocket that tells the cells' outputs, a request for
each choice in the dropdown, a request for each picture. Each picture is compared, byte for byte,
with what `figures` renders of that layer alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import html
import http.client
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "playground" / "quantization.py"

START_SECONDS = 60.0  # bounds for a server that hangs, not promises about speed
SESSION_SECONDS = 1  # a session that was left is kept so long
RUN_SECONDS = 120.0

_DROPDOWN = re.compile(
    r"<marimo-ui-element object-id='([^']+)'[^>]*>\s*<marimo-dropdown ([^>]*)>", re.DOTALL
)
_BUTTON = re.compile(
    r"<marimo-ui-element object-id='([^']+)'[^>]*>\s*<marimo-button ([^>]*)>", re.DOTALL
)
_IMAGE = re.compile(r"<img\b[^>]*>")
_ATTRIBUTE = re.compile(r"""\b(src|alt|data-label|data-options)=(?:'([^']*)'|"([^"]*)")""")

# How the buttons begin that measure what the outputs lose, and search for what takes it back.
MEASURE, PLAN = "Measure on", "Find what takes it back"


@dataclass(frozen=True)
class Layer:
    """A layer, and what `figures` renders of it alone: text alternative -> hash of the PNG."""

    name: str
    pictures: Mapping[str, str]


@dataclass(frozen=True)
class Switch:
    """One choice of a layer: how long until the page rested, what it then showed.

    Attributes:
        checked: pictures that are exactly those of the layer.
        wrong: pictures of another layer, or not those of the layer; the text alternatives.
        received: bytes of the messages.
    """

    seconds: float
    checked: int
    wrong: tuple[str, ...]
    received: int


@dataclass(frozen=True)
class Drive:
    """What the viewers saw.

    Attributes:
        first_page: seconds from the first viewer's arrival until the page rested.
        first_switches: of that viewer, each layer for the first time.
        switches: of all the viewers together.
        errors: what cells and requests said.
        grown: bytes that the server grew by, from one viewer who had seen every layer to all.
    """

    sessions: int
    first_page: float
    first_switches: Sequence[Switch]
    switches: Sequence[Switch]
    errors: Sequence[str]
    first_bytes: int
    grown: int

    @property
    def p95(self) -> float:
        seconds = sorted(switch.seconds for switch in self.switches)
        return seconds[int(0.95 * (len(seconds) - 1) + 0.5)]

    @property
    def median(self) -> float:
        return statistics.median(switch.seconds for switch in self.switches)

    @property
    def wrong(self) -> list[str]:
        every = (*self.first_switches, *self.switches)
        return [alt for switch in every for alt in switch.wrong]

    @property
    def checked(self) -> int:
        return sum(switch.checked for switch in (*self.first_switches, *self.switches))

    @property
    def bytes_per_session(self) -> float:
        return self.grown / max(1, self.sessions - 1)


# What a layer looks like when one is alone ----------------------------------------------------


def render_alone(folder: Path, count: int | None = None) -> tuple[list[Layer], float]:
    """Return the layers of a network as `figures` renders them, and the seconds for one layer.

    Args:
        count: how many of the layers, from the first; all if not given.
    """
    from playground.utils import figures
    from playground.utils.parameter_inspector import (
        compare_folder,
        open_folder,
    )

    opened = open_folder(folder)
    comparison = compare_folder(opened)

    def render(layer: str) -> Iterable[figures.Picture]:
        drawn = (chart.render(comparison, layer, None) for chart in figures.LAYER_CHARTS.values())
        yield from (picture for picture in drawn if picture is not None)

    layers, seconds = [], []
    for name in list(comparison.weights)[:count]:
        start = time.perf_counter()
        pictures = {picture.alt: _hash(picture.png) for picture in render(name)}
        seconds.append(time.perf_counter() - start)
        layers.append(Layer(name, pictures))
    return layers, statistics.median(seconds)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# The server -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def resident_bytes(self) -> int:
        """Memory of the server in RAM, and of the processes it started."""
        own, children = self.process.pid, Path(f"/proc/{self.process.pid}/task")
        pids = [own]
        for task in children.iterdir():
            pids += [int(pid) for pid in (task / "children").read_text().split()]
        return sum(_resident_bytes(pid) for pid in pids)


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


@asynccontextmanager
async def serve(
    models: Path,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[Server]:
    """Serve the page on a free port, and end that server afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "marimo", "run", str(NOTEBOOK), "--headless", "--no-token"),
        *("--no-skew-protection", "--host", "127.0.0.1", "--port", str(port), *options),
        *("--", "--models", str(models)),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await _wait_until_served(process, port)
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _wait_until_served(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise RuntimeError("the page was not served")


# A viewer -------------------------------------------------------------------------------------


@dataclass(eq=False)
class Viewer:
    """One session: what its cells show now, and what went wrong."""

    name: str
    port: int
    socket: ClientConnection
    http: http.client.HTTPConnection
    outputs: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    received: int = 0

    async def wait_until_rests(self) -> None:
        """Read messages until every cell that was to run has run."""
        async with asyncio.timeout(RUN_SECONDS):
            while True:
                text = await self.socket.recv()
                self.received += len(text)
                message = json.loads(text)
                if message["op"] == "completed-run":
                    return
                if message["op"] == "cell-op":
                    self._keep(message["data"])

    def _keep(self, data: Mapping[str, object]) -> None:
        output = data.get("output")
        if not isinstance(output, dict):
            return
        if output.get("channel") == "marimo-error":
            # Behind a sentence that stands where there is nothing to show, other cells do not run.
            wrong = [one for one in output["data"] if one.get("type") != "ancestor-stopped"]
            self.errors += [f"{self.name}: {one}" for one in wrong]
        shown = output.get("data")
        self.outputs[str(data["cell_id"])] = shown if isinstance(shown, str) else json.dumps(shown)

    async def wait_until_open(self) -> None:
        """Wait until the page shows its layers: what takes long is measured beside it."""
        await self.wait_until_rests()
        while not any("Layer" in label for label, _, _ in self._dropdowns()):
            await self.wait_until_rests()

    def find_dropdown(self, label: str) -> tuple[str, dict[str, str]]:
        """Return the dropdown's id, and its options by the layer they begin with."""
        for shown, object_id, options in self._dropdowns():
            if label in shown:
                return object_id, {option: option for option in options}
        raise LookupError(f"the page has no dropdown {label!r}")

    def _dropdowns(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield label, id and options of each dropdown."""
        for shown in self.outputs.values():
            for object_id, attributes in _DROPDOWN.findall(shown):
                found = _attributes(attributes)
                yield found.get("data-label", ""), object_id, json.loads(found["data-options"])

    def images(self) -> dict[str, str]:
        """Return the address of every picture by its text alternative."""
        found = {}
        for shown in self.outputs.values():
            for image in _IMAGE.findall(shown):
                attributes = _attributes(image)
                found[attributes.get("alt", "")] = attributes.get("src", "")
        return found

    def find_button(self, label: str) -> str | None:
        """Return the id of a button, None where the page does not show it."""
        for shown in self.outputs.values():
            for object_id, attributes in _BUTTON.findall(shown):
                if label in _attributes(attributes).get("data-label", ""):
                    return str(object_id)
        return None

    def choose(self, object_id: str, option: str) -> None:
        self.send(object_id, [option])

    def send(self, object_id: str, value: object) -> None:
        """Set the value of a control; that of a button counts its clicks."""
        body = json.dumps({"objectIds": [object_id], "values": [value]})
        headers = {"Content-Type": "application/json", "Marimo-Session-Id": self.name}
        self._request("POST", "/api/kernel/set_ui_element_value", body, headers)

    def fetch(self, address: str) -> bytes:
        """Return the bytes of a picture, from a data address or from the server."""
        if address.startswith("data:"):
            return b64decode(address.partition(",")[2])
        return self._request("GET", address.removeprefix("."), None, {})

    def _request(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> bytes:
        self.http.request(method, path, body, headers)
        response = self.http.getresponse()
        content = response.read()
        if response.status != 200:
            self.errors.append(f"{self.name}: {method} {path}: {response.status}")
        return content

    async def switch(self, option: str, layer: Layer, others: Collection[str]) -> Switch:
        """Choose a layer, wait for its pictures, and compare them.

        Args:
            others: the text alternatives of every layer's pictures.
        """
        before, start = self.received, time.perf_counter()
        object_id, _ = self.find_dropdown("Layer")
        await asyncio.to_thread(self.choose, object_id, option)
        await self.wait_until_rests()
        while not layer.pictures.keys() <= self.images().keys():
            await self.wait_until_rests()
        shown = self.images()
        pictures = {
            alt: await asyncio.to_thread(self.fetch, shown[alt]) for alt in shown if alt in others
        }
        seconds = time.perf_counter() - start
        wrong = [alt for alt, png in pictures.items() if layer.pictures.get(alt) != _hash(png)]
        return Switch(seconds, len(pictures) - len(wrong), tuple(wrong), self.received - before)


def _attributes(tag: str) -> dict[str, str]:
    return {
        name: html.unescape(single or double) for name, single, double in _ATTRIBUTE.findall(tag)
    }


@asynccontextmanager
async def open_viewer(server: Server, name: str, network: str) -> AsyncIterator[Viewer]:
    """Open a session on a network and wait until its page shows the layers."""
    address = f"ws://127.0.0.1:{server.port}/ws?session_id={name}&model={network}"
    async with connect(address, max_size=None) as socket_:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=RUN_SECONDS)
        viewer = Viewer(name, server.port, socket_, connection)
        try:
            await viewer.wait_until_open()
            yield viewer
        finally:
            connection.close()


# Many of them ---------------------------------------------------------------------------------


async def drive(
    models: Path,
    network: str,
    layers: Sequence[Layer],
    *,
    sessions: int,
    switches: int,
    pause: float,
    progress: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> Drive:
    """Let one viewer see every layer, then ``sessions`` viewers switch layers at the same time.

    Args:
        switches: of each viewer.
        pause: mean seconds that a viewer looks at a layer; half as long to half as long again.
    """
    others = {alt for layer in layers for alt in layer.pictures}
    async with serve(models, environment) as server:
        viewers: list[Viewer] = []
        async with asyncio.timeout(RUN_SECONDS * 5), AsyncExitStack() as opened:
            start = time.perf_counter()
            first = await opened.enter_async_context(open_viewer(server, "s_first0", network))
            first_page = time.perf_counter() - start
            options = _match_options(first, layers)
            first_switches = [
                await first.switch(options[layer.name], layer, others)
                for layer in (*layers[1:], layers[0])
            ]
            first_bytes = server.resident_bytes
            viewers.append(first)
            for i in range(1, sessions):
                progress(f"viewer {i + 1} of {sessions} arrives")
                viewers.append(
                    await opened.enter_async_context(open_viewer(server, f"s_view{i:02d}", network))
                )
            progress(f"{sessions} viewers switch layers")
            chance = random.Random(0)
            pauses = ([pause * chance.uniform(0.5, 1.5) for _ in range(switches)] for _ in viewers)
            seen = await asyncio.gather(
                *(_browse(viewer, layers, options, others, next(pauses)) for viewer in viewers)
            )
            grown = server.resident_bytes - first_bytes
            errors = [error for viewer in viewers for error in viewer.errors]
    return Drive(
        sessions,
        first_page,
        first_switches,
        [switch for one in seen for switch in one],
        errors,
        first_bytes,
        grown,
    )


@dataclass(frozen=True)
class Visit:
    """What viewers saw who came, switched layers without a pause, and left.

    Attributes:
        rest_before, rest_after: the server's bytes when nobody was there.
    """

    switches: Sequence[Switch]
    errors: Sequence[str]
    rest_before: int
    rest_after: int

    @property
    def wrong(self) -> list[str]:
        return [alt for switch in self.switches for alt in switch.wrong]

    @property
    def checked(self) -> int:
        return sum(switch.checked for switch in self.switches)


async def visit(
    models: Path, network: str, layers: Sequence[Layer], *, seconds: float, sessions: int = 2
) -> Visit:
    """Let viewers switch layers as fast as they can, after others have done so and left."""
    others = {alt for layer in layers for alt in layer.pictures}

    async def come_and_go(server: Server, name: str, seconds: float) -> Visit:
        before = server.resident_bytes
        async with AsyncExitStack() as opened:
            viewers = [
                await opened.enter_async_context(open_viewer(server, f"s_{name}{i}", network))
                for i in range(sessions)
            ]
            options, end = _match_options(viewers[0], layers), time.monotonic() + seconds
            pauses = itertools.takewhile(lambda _: time.monotonic() < end, itertools.repeat(0.0))
            seen = await asyncio.gather(
                *(_browse(viewer, layers, options, others, pauses) for viewer in viewers)
            )
        await asyncio.sleep(SESSION_SECONDS + 4)  # the server looks once a second who has gone
        errors = [error for viewer in viewers for error in viewer.errors]
        switches = [switch for one in seen for switch in one]
        return Visit(switches, errors, before, server.resident_bytes)

    async with serve(models, options=["--session-ttl", str(SESSION_SECONDS)]) as server:
        first = await come_and_go(server, "first", min(seconds, 20))
        second = await come_and_go(server, "later", seconds)
    errors = [*first.errors, *second.errors]
    return Visit([*first.switches, *second.switches], errors, first.rest_after, second.rest_after)


def _match_options(viewer: Viewer, layers: Sequence[Layer]) -> dict[str, str]:
    """Return the option of each layer: the one that its name is the longest part of."""
    _, options = viewer.find_dropdown("Layer")
    return {
        layer.name: next(o for o in options if layer.name in re.split(r"\s", o)) for layer in layers
    }


async def _browse(
    viewer: Viewer,
    layers: Sequence[Layer],
    options: Mapping[str, str],
    others: Collection[str],
    pauses: Iterable[float],
) -> list[Switch]:
    """Switch to some other layer after each of the pauses, in seconds."""
    chance, seen, last = random.Random(viewer.name), [], layers[0]
    for pause in pauses:
        await asyncio.sleep(pause)
        last = chance.choice([layer for layer in layers if layer is not last])
        seen.append(await viewer.switch(options[last.name], last, others))
    return seen


async def measure_beside(
    models: Path,
    network: str,
    layers: Sequence[Layer],
    measured: str,
    pause: float,
    label: str = MEASURE,
) -> tuple[list[Switch], float, list[str]]:
    """Let one viewer switch layers for as long as another measures the outputs of a network.

    Args:
        label: how the button begins that the other one presses.

    Returns:
        the switches, the seconds that the measuring took, and the errors of both.
    """
    others = {alt for layer in layers for alt in layer.pictures}
    async with serve(models) as server, AsyncExitStack() as opened:
        asks = await opened.enter_async_context(open_viewer(server, "s_measure", measured))
        looks = await opened.enter_async_context(open_viewer(server, "s_looking", network))
        options, done = _match_options(looks, layers), asyncio.Event()
        for layer in layers:  # what is drawn for the first time is another question
            await looks.switch(options[layer.name], layer, others)

        async def measure() -> float:
            start = time.perf_counter()
            button = asks.find_button(label)
            assert button is not None, f"there is no button {label!r}"
            await asyncio.to_thread(asks.send, button, 1)
            while asks.find_button("Stop") is None:
                await asks.wait_until_rests()
            while asks.find_button("Stop") is not None:
                await asks.wait_until_rests()
            done.set()
            return time.perf_counter() - start

        pauses = itertools.takewhile(lambda _: not done.is_set(), itertools.repeat(pause))
        seconds, switches = await asyncio.gather(
            measure(), _browse(looks, layers, options, others, pauses)
        )
        return switches, seconds, [*asks.errors, *looks.errors]


def measuring(
    models: Path, network: str, layers: Sequence[Layer], measured: str, pause: float, label: str
) -> int:
    switches, seconds, errors = asyncio.run(
        measure_beside(models, network, layers, measured, pause, label)
    )
    waits = sorted(switch.seconds for switch in switches)
    print(f"{measured}, {label!r}: {seconds:.2f} s")
    print(f"{len(waits):3d} switches meanwhile, median    {statistics.median(waits):8.2f} s")
    print(f"{len(waits):3d} switches meanwhile, p95       {waits[int(0.95 * len(waits))]:8.2f} s")
    for error in errors[:5]:
        print(error)
    return 1 if errors or any(switch.wrong for switch in switches) else 0


def hurry(models: Path, network: str, layers: Sequence[Layer], seconds: float) -> int:
    seen = asyncio.run(visit(models, network, layers, seconds=seconds))
    grown = (seen.rest_after - seen.rest_before) / 2**20
    print(f"{len(seen.switches)} switches, pictures checked {seen.checked}, ", end="")
    print(f"not the viewer's own {len(seen.wrong)}, errors {len(seen.errors)}")
    print(f"server with nobody there {seen.rest_before / 2**20:.0f} MB, {grown:+.1f} MB afterwards")
    return 1 if seen.wrong or seen.errors else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Drive many viewers of one server.")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--network", default="resnet8")
    parser.add_argument("--sessions", type=int, default=24)
    parser.add_argument("--switches", type=int, default=8)
    parser.add_argument("--pause", type=float, default=2.0)
    parser.add_argument("--layers", type=int, help="visit only the first of them")
    parser.add_argument("--hurry", type=float, help="two viewers without a pause, so many seconds")
    parser.add_argument("--measuring", metavar="NETWORK", help="that another viewer measures")
    parser.add_argument("--planning", metavar="NETWORK", help="that another viewer plans")
    arguments = parser.parse_args()
    layers, alone = render_alone(arguments.models / arguments.network, arguments.layers)
    for asked, label in ((arguments.measuring, MEASURE), (arguments.planning, PLAN)):
        if asked:
            where = arguments.models, arguments.network, layers
            return measuring(*where, asked, arguments.pause, label)
    if arguments.hurry:
        return hurry(arguments.models, arguments.network, layers, arguments.hurry)
    driven = asyncio.run(
        drive(
            arguments.models,
            arguments.network,
            layers,
            sessions=arguments.sessions,
            switches=arguments.switches,
            pause=arguments.pause,
            progress=lambda text: print(text, file=sys.stderr),
        )
    )
    print(f"a layer's pictures drawn alone   {alone:8.2f} s")
    print(f"first page                       {driven.first_page:8.2f} s")
    first = statistics.median(switch.seconds for switch in driven.first_switches)
    print(f"one viewer, first sight, median  {first:8.2f} s")
    print(f"{driven.sessions:2d} viewers, median               {driven.median:8.2f} s")
    print(f"{driven.sessions:2d} viewers, p95                  {driven.p95:8.2f} s")
    print(f"messages of a switch             {driven.switches[0].received / 1024:8.0f} KB")
    print(f"server with one viewer           {driven.first_bytes / 2**20:8.0f} MB")
    print(f"each further viewer              {driven.bytes_per_session / 2**20:8.1f} MB")
    print(f"pictures checked {driven.checked}, not the viewer's own {len(driven.wrong)}")
    for error in driven.errors[:5]:
        print(error)
    return 1 if driven.wrong or driven.errors else 0


if __name__ == "__main__":
    sys.exit(main())
