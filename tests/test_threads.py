"""Work is dealt out to as many threads as the process may use, and comes back whole."""

from __future__ import annotations

import os
import threading

import pytest

from playground.utils.parameter_inspector.streaming import threads


def test_there_are_as_many_threads_as_the_process_may_use_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 6}, raising=False)
    assert threads.thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert threads.thread_count() == 5


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_part_is_worked_on_once_whatever_the_number_of_threads(count, monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: count)
    shares = threads.deal_out(range(31), list)
    assert [share[0] for share in shares] == list(range(count))
    assert sorted(part for share in shares for part in share) == list(range(31))


def test_few_parts_stay_with_the_thread_that_asks(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    (identity,) = threads.deal_out(range(threads.FEW_PARTS), lambda _: threading.get_ident())
    assert identity == threading.get_ident()
