"""Long searches beside the page: one for all viewers who ask for the same.

A search goes on while somebody follows it: it ends early when the last of them has left or pressed
Stop, with what there is by then. What was searched wholly is kept for those to come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..parameter_inspector import RunEndedError, SharedCache
from ..spelling import capitalize
from .background import SECONDS_BETWEEN_NEWS
from .followed import Followed

T = TypeVar("T")
FAILED = "The search failed; the log of the server says why."


@dataclass(frozen=True, eq=False)
class Searching(Generic[T]):
    """What is searched for.

    Attributes:
        key: what the result belongs to.
        search: takes whom to tell what there is so far, and the event that stops it.
        is_whole: whether a result is worth keeping for all.
    """

    key: Hashable
    search: Callable[[Callable[[T], None], threading.Event], T]
    is_whole: Callable[[T], bool]


class SharedSearch(Generic[T]):
    """One search, in a thread of its own, for all who follow it."""

    def __init__(self, searching: Searching[T], keep: Callable[[T], None]) -> None:
        self.done, self.cancel = threading.Event(), threading.Event()
        self.found: T | None = None
        self.why = ""
        self.followers = 0
        self._searching, self._keep = searching, keep

    def work(self) -> None:
        """Search. What goes wrong is one sentence in ``why``."""
        self.why = FAILED
        try:
            found = self.found = self._searching.search(self._tell, self.cancel)
            self.why = ""
            if self._searching.is_whole(found):
                self._keep(found)
        except (RunEndedError, ValueError, OSError, MemoryError) as ended:
            # A search that is stopped before it found anything ends without a word.
            stopped = self.cancel.is_set()
            self.why = "" if stopped else capitalize(str(ended) or "there is not enough memory.")
        finally:
            self.done.set()

    def _tell(self, found: T) -> None:
        self.found = found


class SharedSearches(Generic[T]):
    """The searches of one kind that go on, and what came of those that are done."""

    def __init__(self, size: int) -> None:
        self._found: SharedCache[T] = SharedCache(size=size)
        self._running: Followed[SharedSearch[T]] = Followed()

    def recall(self, key: Hashable) -> T | None:
        """Return what was searched wholly before, by any viewer."""
        return self._found.peek(key)

    def follow(
        self, searching: Searching[T], cancelled: Callable[[], bool], tell: Callable[[T], None]
    ) -> tuple[T | None, str]:
        """Return what is found, or what there is when it is cancelled; and what went wrong.

        Args:
            tell: is called with what there is so far, some times a second.
        """
        known = self.recall(searching.key)
        if known is not None:
            return known, ""

        def keep(found: T) -> None:
            self._found.get(searching.key, lambda: found)

        run = self._running.join(searching.key, lambda: SharedSearch(searching, keep))
        try:
            while not run.done.wait(SECONDS_BETWEEN_NEWS) and not cancelled():
                if run.found is not None:
                    tell(run.found)
        finally:
            self._running.leave(run)
        return run.found, run.why if run.done.is_set() else ""
