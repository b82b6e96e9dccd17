"""How many threads the process may use, and the work dealt out to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Work of fewer parts is not worth another thread.
FEW_PARTS = 8

P = TypeVar("P")
T = TypeVar("T")


def thread_count() -> int:
    """Return how many processors this process may use: not those that a container hides."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def deal_out(parts: Sequence[P], work: Callable[[Sequence[P]], T]) -> list[T]:
    """Return what ``work`` made of the parts: of all at once, of each thread's share if many.

    Of n threads the first gets the parts 0, n, 2n ..., the second those after them.
    """
    if len(parts) <= FEW_PARTS:
        return [work(parts)]
    count = min(thread_count(), len(parts))
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, [parts[i::count] for i in range(count)]))
