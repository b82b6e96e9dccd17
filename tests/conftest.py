"""The browser that all tests of the page share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from served_page import address, models_folder

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


# One server for every test that opens the page.
__all__ = ["address", "browser", "models_folder"]


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        missing = "no Chromium on this machine: the page was not tested in a browser"
        pytest.fail(missing) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        # One context: the pages share what the browser keeps of marimo itself.
        yield browser.new_context(viewport={"width": 1280, "height": 9000})
        browser.close()
