"""How long a page takes from the command, or from its address, to what it has to say."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAIT = 120_000  # milliseconds; a bound for what hangs
BARE = """import marimo

app = marimo.App()


@app.cell
def say():
    import marimo as mo

    mo.md("# Heading")
    return (mo,)


@app.cell
def ask(mo):
    mo.md("The last words")
    return


if __name__ == "__main__":
    app.run()
"""


@dataclass(frozen=True)
class Start:
    """Seconds: from the command, and from the address once the server is warm."""

    cold: float
    warm: float

    def best_of(self, other: Start) -> Start:
        return Start(min(self.cold, other.cold), min(self.warm, other.warm))


def time_bare(browser: Any) -> Start:
    """Time a page of two cells."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "bare.py"
        notebook.write_text(BARE, encoding="utf-8")
        command = [sys.executable, "-m", "marimo", "run", str(notebook), "--no-token"]
        return time_start(browser, command, "The last words")


def time_ours(browser: Any, models: Path, words: str) -> Start:
    """Time the page about some models, until it says ``words``."""
    command = [sys.executable, "-m", "playground", "run", str(models), "--no-token"]
    return time_start(browser, command, words)


def time_start(browser: Any, command: Sequence[str], words: str) -> Start:
    start = time.perf_counter()
    with serve(command) as address:
        cold = open_page(browser, address, words, start)
        return Start(cold, open_page(browser, address, words, time.perf_counter()))


def open_page(browser: Any, address: str, words: str, start: float) -> float:
    """Return the seconds since ``start`` at which a page that is opened now says ``words``."""
    page = browser.new_page()
    try:
        page.goto(address, timeout=WAIT)
        page.get_by_text(words).filter(visible=True).first.wait_for(timeout=WAIT)
        return time.perf_counter() - start
    finally:
        page.close()


@contextmanager
def serve(command: Sequence[str]) -> Iterator[str]:
    """Run a command that serves a page, on a free port; yield the address once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [*command, "--headless", "--port", str(port)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not listens(port):
            if server.poll() is not None:
                raise RuntimeError(f"{command} ended before it listened")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser before anything is timed: it is there when somebody has a page to open."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT / "tests"))
    from conftest import CHROMIUM, SWITCHES

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
