"""Work beside the page: how far it is, what came of it, and that it ends when it is told to."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from comparisons_for_tests import compare_equal

from playground.utils.page import background
from playground.utils.parameter_inspector import (
    WorkCancelledError,
    identify_folder,
    open_folder,
    summarize_variant,
)

ROOT = Path(__file__).resolve().parents[1]


def search_on_a_thread(key, search):
    """Run a search as the page does; return the event that stops it, and what it sets."""
    said, progress, done, stop = [], [], threading.Event(), threading.Event()

    def set_run(result):
        said.append(result)
        done.set()

    background.search_beside(key, search, stop, set_run, progress.append)
    return stop, done, said, progress


def test_a_search_tells_how_far_it_is_and_its_result_is_kept_for_all_viewers():
    calls = []

    def search(progress, cancelled):
        calls.append(cancelled())
        progress(1, 2, "stem")
        return "options", "left out"

    for told in ([(0, 1, ""), (1, 2, "stem")], [(0, 1, "")]):
        _, done, said, progress = search_on_a_thread("kept", search)
        assert done.wait(30)
        assert said == [("options", "left out")]
        assert progress == told
    assert calls == [False]


def test_a_search_that_is_stopped_says_so_and_can_begin_again():
    began = threading.Event()

    def search(progress, cancelled):
        began.set()
        while not cancelled():
            progress(3, 9, "stem")
        raise WorkCancelledError("stopped after 3 of 9 layers")

    stop, done, said, progress = search_on_a_thread("stopped", search)
    assert began.wait(30)
    stop.set()
    assert done.wait(30)
    assert said == ["Stopped after 3 of 9 layers."]
    assert progress[:2] == [(0, 1, ""), (3, 9, "stem")]
    _, done, said, _ = search_on_a_thread("stopped", lambda *_: ("a", "b"))
    assert done.wait(30)
    assert said == [("a", "b")]


def test_a_search_that_fails_ends_with_a_sentence():
    def search(progress, cancelled):
        raise MemoryError

    _, done, said, _ = search_on_a_thread("failed", search)
    assert done.wait(30)
    assert said == ["There is not enough memory."]


def test_a_folder_is_measured_and_judged_beside_the_page_and_then_it_is_told():
    done, told = threading.Event(), []

    def tell(measured):
        told.append(measured)
        done.set()

    background.start_measuring(open_folder(ROOT / "models" / "resnet8"), tell, told.append)
    assert done.wait(60)
    assert told[-1] is True


def test_measuring_that_fails_is_told_too_so_that_the_page_can_show_why(monkeypatch):
    done = threading.Event()
    ended = []
    monkeypatch.setattr(threading, "excepthook", lambda args: ended.append(args.exc_type))

    def fail(*_):
        raise OSError

    monkeypatch.setattr(background, "compare_folder", fail)
    background.start_measuring(SimpleNamespace(), lambda _: done.set(), lambda _: None)
    assert done.wait(30)


@pytest.mark.parametrize(("mode", "count", "beside"), [
    ("run", 10**9, True), ("edit", 10**9, True), ("script", 10**9, False), ("run", 10, False),
])  # fmt: skip
def test_only_what_takes_long_is_measured_beside_a_page(monkeypatch, mode, count, beside):
    monkeypatch.setattr(background.mo, "app_meta", lambda: SimpleNamespace(mode=mode))
    summary = SimpleNamespace(weight_layer_count=1, weight_count=count)
    assert background.takes_long([summary]) is beside


def test_a_small_network_does_not_take_long(monkeypatch):
    monkeypatch.setattr(background.mo, "app_meta", lambda: SimpleNamespace(mode="run"))
    summaries = [summarize_variant(*one) for one in compare_equal().variants.items()]
    assert not background.takes_long(summaries)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(background, "SECONDS_BETWEEN_LOOKS", 0)


def test_a_folder_that_changes_is_told_once_and_the_watching_ends(monkeypatch, quick, tmp_path):
    monkeypatch.setattr(background.mo, "app_meta", lambda: SimpleNamespace(mode="run"))
    told = threading.Event()
    opened = identify_folder(tmp_path)
    (tmp_path / "new.onnx").write_bytes(b"1")
    background.watch_folder(tmp_path, opened, lambda changed: changed and told.set())
    assert told.wait(30)


def test_a_file_that_is_open_at_last_is_told(monkeypatch, quick, tmp_path):
    monkeypatch.setattr(background.mo, "app_meta", lambda: SimpleNamespace(mode="run"))
    told, opening = threading.Event(), SimpleNamespace(is_done=False)
    background.watch_folder(
        tmp_path, identify_folder(tmp_path), lambda changed: changed and told.set(), [opening]
    )
    assert not told.is_set()
    opening.is_done = True
    assert told.wait(30)


def test_a_script_watches_nothing(tmp_path):
    before = threading.active_count()
    background.watch_folder(tmp_path, None, lambda _: None)
    assert threading.active_count() == before


def test_a_model_that_changes_appears_or_goes_makes_the_folder_another(tmp_path):
    model = tmp_path / "int8.onnx"
    seen = [identify_folder(tmp_path)]
    for change in (
        lambda: model.write_bytes(b"1"),
        lambda: model.write_bytes(b"12"),
        lambda: (tmp_path / "uint8.onnx").write_bytes(b"1"),
        model.unlink,
    ):
        change()
        assert identify_folder(tmp_path) not in seen
        seen.append(identify_folder(tmp_path))
    (tmp_path / "notes.txt").write_bytes(b"1")
    assert identify_folder(tmp_path) == seen[-1]


def test_what_a_served_page_holds_is_frozen_and_a_script_freezes_nothing(monkeypatch):
    background.settle()
    assert gc.get_freeze_count() == 0
    monkeypatch.setattr(background.mo, "app_meta", lambda: SimpleNamespace(mode="run"))
    try:
        background.settle()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
