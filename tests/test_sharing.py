"""Viewers share results: made once, kept by what they came from, bounded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from playground.utils.parameter_inspector.sharing import SharedCache, identify_file


def test_a_result_is_made_once_and_the_oldest_leaves():
    cache, made = SharedCache(size=2), []

    def make(name):
        made.append(name)
        return name.upper()

    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name, lambda name=name: make(name)) == name.upper()
    assert made == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_two_who_ask_at_once_wait_for_one_making():
    cache, made, both_asked = SharedCache(size=2), [], threading.Barrier(2, timeout=30)

    def ask():
        both_asked.wait()
        return cache.get("scan", lambda: made.append("once") or "result")

    with ThreadPoolExecutor(2) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(2)]]
    assert answers == ["result", "result"]
    assert made == ["once"]


def test_a_making_that_fails_is_tried_again_by_the_next():
    cache = SharedCache(size=2)
    with pytest.raises(OSError, match="disk"):
        cache.get("scan", lambda: (_ for _ in ()).throw(OSError("disk")))
    assert cache.get("scan", lambda: "result") == "result"


def test_a_file_that_changes_has_another_identity(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"one")
    before = identify_file(file)
    assert identify_file(file) == before
    file.write_bytes(b"three")
    assert identify_file(file) != before


def test_no_file_has_no_identity():
    assert identify_file(None) is None
