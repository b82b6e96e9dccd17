"""Fewer moves that are enough: asked as seldom as may be, for each answer is a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .moves import Move

IsEnough = Callable[[Sequence[Move]], bool]


def cut_moves(moves: Sequence[Move], is_enough: IsEnough) -> list[Move]:
    """Return the fewest of the first moves that are enough, taking it that more is better."""
    low, high = 0, len(moves)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(moves[:middle]) else (middle, high)
    return list(moves[:high])


def shorten_moves(moves: Sequence[Move], is_enough: IsEnough, most: int) -> list[Move]:
    """Return fewer moves that are enough: stretches are left out, halved where that is too much.

    Args:
        most: how often to ask.
    """
    kept, size, asked = list(moves), len(moves) // 2, 0
    while size >= 1 and asked < most:
        at = len(kept)
        while at > 0 and asked < most:
            some = kept[: max(0, at - size)] + kept[at:]
            asked += 1
            if len(some) < len(kept) and is_enough(some):
                kept = some
            at -= size
        size //= 2
    return kept
