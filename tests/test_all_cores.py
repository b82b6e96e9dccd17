"""Pictures drawn by several processes are those that one draws, in the order that was asked for."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial

import pytest
from comparisons_for_tests import compare_lossy
from measured_for_tests import compare_measured

from playground.utils.figures import LAYER_CHARTS, all_cores, draw_here, draw_on_all_cores
from playground.utils.figures.style import Picture


def draw_numbered(number: int) -> Picture:
    return Picture(str(os.getpid()).encode(), str(number))


def draw_where_we_are(asker: int) -> Picture:
    """Draw in the process that asked; end every other one from outside."""
    if os.getpid() != asker:
        os.kill(os.getpid(), 9)
    return Picture(b"here", "")


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(all_cores, "thread_count", lambda: 3)


def test_pictures_come_in_order_from_more_than_one_process(three_cores):
    drawn = list(draw_on_all_cores([partial(draw_numbered, i) for i in range(40)]))
    assert [picture.alt for picture in drawn] == [str(i) for i in range(40)]


def test_every_chart_is_the_same_picture_from_another_process(three_cores, monkeypatch):
    monkeypatch.setattr(all_cores, "DRAWINGS_OF_A_START", 1)
    # All by others: what nobody draws here is drawn by them.
    monkeypatch.setattr(all_cores, "_take_from_the_end", lambda *_: {})
    prepared = [chart.prepare(compare_measured(), "conv", None) for chart in LAYER_CHARTS.values()]
    prepared.append(LAYER_CHARTS["errors"].prepare(compare_lossy(), "conv", None))
    drawings = [one for one in prepared if one is not None]
    assert len(drawings) > 4
    assert list(draw_on_all_cores(drawings)) == list(draw_here(drawings))


@pytest.mark.parametrize(("cores", "count"), [(1, 40), (8, 3)])
def test_on_one_core_and_for_a_few_no_process_is_started(monkeypatch, cores, count):
    monkeypatch.setattr(all_cores, "thread_count", lambda: cores)
    monkeypatch.setattr(multiprocessing, "get_context", None)
    drawn = draw_on_all_cores([partial(draw_numbered, i) for i in range(count)])
    assert {picture.png for picture in drawn} == {str(os.getpid()).encode()}


def test_where_no_process_can_be_started_all_is_drawn_here(three_cores, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(all_cores, "ProcessPoolExecutor", refuse)
    drawn = draw_on_all_cores([partial(draw_numbered, i) for i in range(40)])
    assert {picture.png for picture in drawn} == {str(os.getpid()).encode()}


def test_what_a_process_that_was_ended_had_begun_is_drawn_here(three_cores):
    drawn = list(draw_on_all_cores([partial(draw_where_we_are, os.getpid()) for _ in range(40)]))
    assert [picture.png for picture in drawn] == [b"here"] * 40
