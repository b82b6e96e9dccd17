"""Viewers share results: made once, kept by what they came from, bounded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from playground.utils.parameter_inspector import sharing
from playground.utils.parameter_inspector.sharing import (
    FolderLooks,
    SharedCache,
    identify_file,
    identify_folder,
    list_model_files,
)


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


def test_who_waits_for_another_may_leave():
    cache, making, go = SharedCache(size=2), threading.Event(), threading.Event()

    def make() -> str:
        making.set()
        assert go.wait(60)
        return "result"

    def leave() -> None:
        raise ConnectionError("left")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, "scan", make)
        assert making.wait(60)
        with pytest.raises(ConnectionError):
            cache.get("scan", make, waiting=leave)
        go.set()
        assert first.result() == "result"


def test_a_making_that_was_stopped_is_made_once_by_those_who_wait():
    cache, made, both_wait = SharedCache(size=2), [], threading.Barrier(3, timeout=60)

    def stop() -> str:
        both_wait.wait()
        raise ConnectionError("left")

    def ask() -> str:
        both_wait.wait()
        return cache.get("scan", lambda: made.append("once") or "result")

    with ThreadPoolExecutor(3) as pool:
        stopped = pool.submit(cache.get, "scan", stop)
        answers = [pool.submit(ask) for _ in range(2)]
        assert [answer.result() for answer in answers] == ["result", "result"]
        assert isinstance(stopped.exception(), ConnectionError)
    assert made == ["once"]


def test_a_folder_is_looked_at_once_for_all_who_watch(tmp_path, monkeypatch):
    now, looked = [0.0], []
    monkeypatch.setattr(sharing, "identify_folder", lambda folder: looked.append(folder) or now[0])
    looks = FolderLooks(seconds=1.0, clock=lambda: now[0])
    assert [looks.look(tmp_path) for _ in range(24)] == [0.0] * 24
    now[0] = 0.9
    looks.look(tmp_path)
    assert len(looked) == 1
    now[0] = 1.1
    assert [looks.look(tmp_path) for _ in range(24)] == [1.1] * 24
    assert len(looked) == 2


def test_who_comes_while_another_looks_is_told_what_was_seen_before(tmp_path, monkeypatch):
    now, looking, go = [0.0], threading.Event(), threading.Event()

    def look(folder):
        if now[0] > 0:
            looking.set()
            assert go.wait(60)
        return now[0]

    monkeypatch.setattr(sharing, "identify_folder", look)
    looks = FolderLooks(seconds=1.0, clock=lambda: now[0])
    looks.look(tmp_path)
    now[0] = 2.0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(looks.look, tmp_path)
        assert looking.wait(60)
        assert looks.look(tmp_path) == 0.0
        go.set()
        assert first.result() == 2.0


def test_of_a_folder_of_many_files_some_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_MODELS", 3)
    for i in range(5):
        (tmp_path / f"{i}.onnx").write_bytes(b"")
    paths, more = list_model_files(tmp_path)
    assert ([path.name for path in paths], more) == (["0.onnx", "1.onnx", "2.onnx"], 2)
    before = identify_folder(tmp_path)
    (tmp_path / "9.onnx").write_bytes(b"")
    assert identify_folder(tmp_path) != before


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert identify_folder(tmp_path / "absent") == ()
