"""Many pictures at once, drawn by processes of their own: matplotlib draws on one core only.

A picture is the same whoever draws it, so nothing in a report depends on how many cores there are.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..parameter_inspector.streaming.threads import thread_count
from .layer_charts import Drawing
from .style import Picture

# A process takes as long to start as it takes to draw so many.
DRAWINGS_OF_A_START = 12


def draw_here(drawings: Sequence[Drawing]) -> Iterator[Picture]:
    """Yield the pictures in their order."""
    return (drawing() for drawing in drawings)


def draw_on_all_cores(drawings: Sequence[Drawing]) -> Iterator[Picture]:
    """Yield the pictures in their order, drawn here and by a process for each other core.

    They are started anew (spawn), which is the same on every system and minds no thread; so it is
    for programs that can be imported again, as a command can. Where none can be started, all is
    drawn here.
    """
    others = min(thread_count() - 1, len(drawings) // DRAWINGS_OF_A_START)
    if others < 1:
        yield from draw_here(drawings)
        return
    try:
        pool = ProcessPoolExecutor(
            others, multiprocessing.get_context("spawn"), _leave_interrupts_to_who_asked
        )
        futures = [pool.submit(_draw, drawing) for drawing in drawings]
    except OSError:  # a system that has no semaphores, or no room for a process
        yield from draw_here(drawings)
        return
    try:
        here = _take_from_the_end(drawings, futures)
        for i, future in enumerate(futures):
            yield here[i] if i in here else _receive(drawings[i], future)
    finally:
        pool.shutdown(cancel_futures=True)


def _take_from_the_end(
    drawings: Sequence[Drawing], futures: Sequence[Future[Picture]]
) -> dict[int, Picture]:
    """Draw, from the last on, what no other process has begun yet."""
    here: dict[int, Picture] = {}
    for i in reversed(range(len(drawings))):
        if not futures[i].cancel():
            break
        here[i] = drawings[i]()
    return here


def _receive(drawing: Drawing, future: Future[Picture]) -> Picture:
    try:
        return future.result()
    except BrokenProcessPool:  # ended from outside, as where memory is short
        return drawing()


def _draw(drawing: Drawing) -> Picture:
    return drawing()


def _leave_interrupts_to_who_asked() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
