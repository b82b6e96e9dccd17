"""Several people at once: nobody sees another's picture, nothing fails, and their memory goes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from models_for_tests import load_script

ROOT = Path(__file__).parents[1]
T = TypeVar("T")
# Pools of the memory allocator; a model, a scan or a picture for each switch would be far more.
MOST_LEFT_BYTES = 40 * 2**20


@pytest.fixture(scope="module")
def viewers() -> ModuleType:
    return load_script(ROOT / "tests" / "benchmarks" / "viewers.py")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own: the tests that drive a browser keep a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_two_viewers_who_switch_for_a_minute_as_fast_as_they_can_disturb_nobody(viewers):
    layers, _ = viewers.render_alone(ROOT / "models" / "resnet8")
    seen = run(viewers.visit(ROOT / "models", "resnet8", layers, seconds=60))
    assert seen.errors == []
    assert seen.wrong == []
    assert seen.checked > len(seen.switches) > 2 * len(layers)
    assert seen.rest_after - seen.rest_before < MOST_LEFT_BYTES


def test_neither_a_forged_choice_nor_a_link_opens_what_is_not_offered(viewers, tmp_path):
    shutil.copytree(ROOT / "models" / "dscnn", tmp_path / "models" / "dscnn")
    shutil.copytree(ROOT / "models" / "resnet8", tmp_path / "secret")
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "empty" / "empty.onnx").touch()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret")
    forged = ("../secret", str(tmp_path / "secret"), "secret", "dscnn/../../secret", "link", "..")

    async def forge(asked: str) -> str:
        async with (
            viewers.serve(tmp_path / "models") as server,
            viewers.open_viewer(server, "forger", asked) as viewer,
        ):
            network, options = viewer.find_dropdown("Network")
            assert list(options) == ["dscnn", "empty"]
            for choice in forged:
                viewer.choose(network, choice)
                await viewer.wait_until_rests()
                assert "/block1/conv_dw/Conv" in str(viewer.outputs)
                assert "/stack1/" not in str(viewer.outputs)
            # The page still answers, to what is offered.
            viewer.choose(network, "empty")
            await viewer.wait_until_rests()
            assert "empty.onnx is empty" in str(viewer.outputs)
            return str(viewer.errors)

    for asked in ("dscnn", "../secret"):
        assert run(forge(asked)) == "[]"
