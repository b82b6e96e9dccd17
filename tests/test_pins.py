"""What is installed to serve the page is named by version and by hash, and by no host."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = (ROOT / "requirements.txt").read_text(encoding="utf-8")
ENTRY = re.compile(
    r"^([\w.-]+)==([^\s;\\]+)[^\\\n]*((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)$", re.M
)


def pins() -> dict[str, str]:
    return {name: version for name, version, _ in ENTRY.findall(PINNED)}


def test_each_pin_has_hashes_and_nothing_else_is_in_the_list():
    assert ENTRY.sub("", PINNED).strip() == ""
    assert len(pins()) > 30


def test_the_two_lists_of_versions_agree():
    listed = dict(one.split("==") for one in PROJECT["tool"]["uv"]["constraint-dependencies"])
    assert {name: listed.get(name) for name in pins()} == pins()


def test_whatever_serving_the_page_installs_is_pinned():
    waiting = [Requirement(one) for one in PROJECT["project"]["dependencies"]]
    seen: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in seen or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += [Requirement(further) for further in requires(name) or ()]
    assert seen <= set(pins())


def test_no_package_host_is_named():
    assert "://" not in PINNED
