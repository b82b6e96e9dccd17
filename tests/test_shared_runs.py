"""One measuring for all who ask for the same; it ends with the last of them."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import onnx
import pytest
from comparisons_for_tests import compare_equal
from measured_for_tests import make_outputs
from models_for_running import looping_while_true

from playground.utils.page import shared_runs
from playground.utils.page.shared_runs import RunOn, SharedRun, Wish, follow_runs
from playground.utils.parameter_inspector import (
    Limits,
    Outputs,
    Progress,
    SampleKind,
    Samples,
    SharedCache,
    Turn,
    compare_variants,
    load_model,
)
from playground.utils.parameter_inspector.running import process

SYNTHETIC = RunOn(None, "", None)
WAIT = 60.0


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(shared_runs, "_outputs", SharedCache[Outputs](size=8))


class Measuring:
    """Stands for measuring: goes on until it is let go or cancelled."""

    def __init__(self, monkeypatch, outputs: Outputs | Exception) -> None:
        self.outputs, self.calls = outputs, 0
        self.begun, self.go = threading.Event(), threading.Event()
        self.cancel: threading.Event | None = None
        monkeypatch.setattr(shared_runs, "measure_outputs", self)

    def __call__(self, _comparison, _samples, _variant, *, progress, cancel, **_):
        self.calls += 1
        self.cancel = cancel
        progress(Progress(3, 9, make_outputs(complete=False)))
        self.begun.set()
        while not self.go.wait(0.01) and not cancel.is_set():
            pass
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return replace(self.outputs, complete=self.go.is_set())


class Follower:
    """A viewer who wants INT8 measured."""

    def __init__(self, comparison=None, **more) -> None:
        self.news, self.kept, self.stop = [], {}, threading.Event()
        self.told, self.sentences = threading.Event(), None
        wish = Wish(comparison or compare_equal(), ("INT8",), SYNTHETIC, False, **more)
        self.thread = threading.Thread(target=self._follow, args=(wish,))
        self.thread.start()

    def _follow(self, wish: Wish) -> None:
        self.sentences = follow_runs(wish, self.stop.is_set, self._tell, self._keep)

    def _tell(self, news) -> None:
        self.news.append(news)
        if news.progress is not None or news.ahead:
            self.told.set()

    def _keep(self, variant, outputs) -> None:
        self.kept[variant] = outputs

    def end(self) -> None:
        self.thread.join(WAIT)
        assert not self.thread.is_alive()


def test_two_viewers_who_want_the_same_wait_for_one_measuring(monkeypatch):
    measuring = Measuring(monkeypatch, make_outputs())
    both = Follower(), Follower()
    for one in both:
        assert one.told.wait(WAIT)
    measuring.go.set()
    for one in both:
        one.end()
    assert measuring.calls == 1
    assert both[0].kept["INT8"] is both[1].kept["INT8"]
    assert both[0].news[-1].progress.runs_left == 9


def test_what_is_complete_is_there_at_once_for_who_comes_later(monkeypatch):
    measuring = Measuring(monkeypatch, make_outputs())
    measuring.go.set()
    for _ in range(2):
        follower = Follower()
        follower.end()
        assert follower.kept["INT8"].complete
    assert measuring.calls == 1
    assert list(shared_runs.recall_outputs(compare_equal(), SYNTHETIC, False)) == ["INT8"]
    assert shared_runs.recall_outputs(compare_equal(), SYNTHETIC, True) == {}


def test_who_stops_keeps_what_is_known_and_the_others_go_on(monkeypatch):
    measuring = Measuring(monkeypatch, make_outputs())
    leaving, staying = Follower(), Follower()
    for one in (leaving, staying):
        assert one.told.wait(WAIT)
    leaving.stop.set()
    leaving.end()
    assert not leaving.kept["INT8"].complete
    assert leaving.kept["INT8"].groups
    assert not measuring.cancel.is_set()
    measuring.go.set()
    staying.end()
    assert staying.kept["INT8"].complete


def test_the_measuring_ends_with_the_last_viewer_and_is_not_kept(monkeypatch):
    measuring = Measuring(monkeypatch, make_outputs())
    follower = Follower()
    assert follower.told.wait(WAIT)
    follower.stop.set()
    follower.end()
    assert measuring.cancel.wait(WAIT)
    assert shared_runs.recall_outputs(compare_equal(), SYNTHETIC, False) == {}


def test_another_measuring_of_the_server_comes_first_and_that_is_told(monkeypatch):
    measuring = Measuring(monkeypatch, make_outputs())
    with Turn():
        follower = Follower()
        assert follower.told.wait(WAIT)
        assert follower.news[-1].ahead == 1
        assert measuring.calls == 0
    measuring.go.set()
    follower.end()
    assert measuring.calls == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("the model is too large."), "INT8: The model is too large."),
        (MemoryError(), "INT8: There is not enough memory."),
    ],
)
def test_what_goes_wrong_is_one_sentence(monkeypatch, error, sentence):
    Measuring(monkeypatch, error).go.set()
    follower = Follower()
    follower.end()
    assert (follower.sentences, follower.kept) == ([sentence], {})


def test_what_nobody_thought_of_is_in_the_log_and_the_page_says_so(monkeypatch):
    logged = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda error: logged.set())
    Measuring(monkeypatch, KeyError("unforeseen")).go.set()
    follower = Follower()
    follower.end()
    assert follower.sentences == [f"INT8: {shared_runs.FAILED}"]
    assert logged.wait(WAIT)


# Models that do not end well, with a real child process -------------------------------------------


def ones() -> RunOn:
    samples = Samples(
        {"x": np.ones((2, 3), np.float32)}, None, SampleKind.FILE, "samples.npz", 2, 2
    )
    return RunOn(samples, "", "ones")


def compare_looping():
    looping = load_model(onnx.load_from_string(looping_while_true()))
    return compare_variants({"FP32": looping, "INT8": looping})


def test_a_model_that_loops_for_ever_ends_in_one_sentence():
    wish = Wish(compare_looping(), ("INT8",), ones(), False, Limits(run_seconds=2.0))
    (sentence,) = follow_runs(wish, lambda: False, lambda news: None, lambda *_: None)
    assert sentence == "INT8: The model was stopped: it took longer than 2 s for one run."


def test_a_child_that_is_killed_ends_in_one_sentence(monkeypatch):
    killed = threading.Event()
    start = process.Child.load

    def load(child, *asked, **more):
        if not killed.is_set():
            killed.set()
            os.kill(child.pid, signal.SIGKILL)
        return start(child, *asked, **more)

    monkeypatch.setattr(process.Child, "load", load)
    wish = Wish(compare_looping(), ("INT8",), ones(), False)
    (sentence,) = follow_runs(wish, lambda: False, lambda news: None, lambda *_: None)
    assert "its process was killed from outside" in sentence


def test_stop_ends_a_model_that_loops():
    run = SharedRun(lambda progress, cancel: _measure_looping(cancel))
    thread = threading.Thread(target=run.work)
    thread.start()
    run.cancel.set()
    thread.join(WAIT)
    assert run.done.is_set()
    assert run.outputs is None or not run.outputs.complete


def _measure_looping(cancel: threading.Event) -> Outputs:
    return shared_runs.measure_outputs(compare_looping(), ones().samples, "INT8", cancel=cancel)
