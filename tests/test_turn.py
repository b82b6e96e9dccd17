"""One run at a time: turns come in order, and who waits for one can stop waiting."""

from __future__ import annotations

import threading

import pytest

from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.running.endings import RunEndedError
from playground.utils.parameter_inspector.running.turn import Turn, Turns


def test_turns_come_one_at_a_time_in_the_order_asked_for():
    turns, order, waits = Turns(), [], threading.Semaphore(0)
    second, third = Turn(turns=turns), Turn(turns=turns)

    def take(turn, name):
        with turn:
            order.append((name, turns.waiting))
        waits.release()

    with Turn(turns=turns):
        for turn, name in ((second, "second"), (third, "third")):
            threading.Thread(target=take, args=(turn, name)).start()
            with turns.changed:
                assert turns.changed.wait_for(lambda turn=turn: turn.ahead > 0, 60)
        assert (turns.busy, turns.waiting, second.ahead, third.ahead) == (True, 2, 1, 2)
    assert waits.acquire(timeout=60) and waits.acquire(timeout=60)
    assert order == [("second", 1), ("third", 0)]
    assert not turns.busy


def test_who_waits_can_stop_waiting():
    turns, cancel = Turns(), threading.Event()
    cancel.set()
    with Turn(turns=turns):
        with pytest.raises(RunEndedError) as raised, Turn(cancel, turns=turns):
            raise AssertionError("two turns at a time")
        assert turns.waiting == 0
    assert raised.value.ending.kind is EndingKind.CANCELLED


def test_a_turn_that_ends_in_an_error_is_given_back():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), Turn(turns=turns):
        raise ZeroDivisionError
    assert not turns.busy
    with Turn(turns=turns) as turn:
        assert (turns.busy, turns.waiting, turn.ahead) == (True, 0, 0)
