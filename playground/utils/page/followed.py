"""Long work beside the page, done once for all who ask for the same, while somebody follows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Work(Protocol):
    """What is done in a thread of its own.

    Attributes:
        cancel: set when nobody follows it any more.
        followers: how many do.
    """

    cancel: threading.Event
    followers: int

    def work(self) -> None: ...


W = TypeVar("W", bound=Work)


class Followed(Generic[W]):
    """The work that goes on, by what it is about."""

    def __init__(self) -> None:
        self._running: dict[Hashable, W] = {}
        self._lock = threading.Lock()

    def join(self, key: Hashable, create: Callable[[], W]) -> W:
        """Return the work of a key, perhaps begun by another viewer. Who joins has to leave."""
        with self._lock:
            work = self._running.get(key)
            if work is None or work.cancel.is_set():
                work = self._running[key] = create()
                threading.Thread(target=self._do, args=(key, work), daemon=True).start()
            work.followers += 1
            return work

    def leave(self, work: W) -> None:
        """Follow it no longer. It ends when nobody does."""
        with self._lock:
            work.followers -= 1
            if not work.followers:
                work.cancel.set()

    def _do(self, key: Hashable, work: W) -> None:
        try:
            work.work()
        finally:
            with self._lock:
                if self._running.get(key) is work:
                    del self._running[key]
