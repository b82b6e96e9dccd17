"""Fewer moves that are enough, asked as seldom as may be."""

import pytest
from measured_for_tests import make_quantizer

from playground.utils.parameter_inspector import Move, MoveKind
from playground.utils.parameter_inspector.changing.shortening import cut_moves, shorten_moves

MOVES = [Move(MoveKind.FREE, (make_quantizer(i, f"t{i}"),)) for i in range(40)]


@pytest.mark.parametrize("needed", [1, 7, 39, 40])
def test_the_fewest_first_moves_that_are_enough_are_kept(needed):
    asked = []

    def is_enough(some):
        asked.append(len(some))
        return len(some) >= needed

    assert cut_moves(MOVES, is_enough) == MOVES[:needed]
    assert len(asked) <= 6


def test_moves_that_nothing_needs_are_left_out_wherever_they_stand():
    needed = {MOVES[3], MOVES[20], MOVES[38]}
    assert set(shorten_moves(MOVES, lambda some: needed <= set(some), most=200)) == needed


def test_it_is_not_asked_more_often_than_allowed():
    asked = []
    shorten_moves(MOVES, lambda some: bool(asked.append(some)), most=5)
    assert len(asked) == 5


def test_without_moves_there_is_nothing_to_ask():
    assert cut_moves([], lambda some: True) == shorten_moves([], lambda some: True, 9) == []
