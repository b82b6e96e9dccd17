"""What viewers of one process share: results kept by what they were made from, and bounded."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")
# Where a network is: a folder of which every file is a variant, or the files themselves.
Place = Path | tuple[Path, ...]

# More variants of one network than anybody compares.
MOST_MODELS = 512
SECONDS_BETWEEN_QUESTIONS = 0.3


class WorkCancelledError(Exception):
    """Who asked for a comparison or a plan stopped it. The message says how far it came."""


class SharedCache(Generic[T]):
    """A bounded cache for threads: each result is made once, the one used longest ago leaves."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: OrderedDict[Hashable, T] = OrderedDict()
        # A lock lives as long as somebody makes or waits.
        self._making: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._results)

    def peek(self, key: Hashable) -> T | None:
        """Return what was made for ``key``, None where nothing was."""
        with self._lock:
            return self._results.get(key)

    def get(
        self, key: Hashable, make: Callable[[], T], waiting: Callable[[], None] | None = None
    ) -> T:
        """Return what ``make`` made for ``key``; two who ask at once wait for one making.

        Args:
            waiting: called again and again while another makes it; what it raises ends the wait.
        """
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
            making = self._making.setdefault(key, threading.Lock())
        while not making.acquire(timeout=SECONDS_BETWEEN_QUESTIONS):
            if waiting is not None:
                waiting()
        try:
            with self._lock:
                if key in self._results:
                    return self._results[key]
            result = make()
            with self._lock:
                self._results[key] = result
                while len(self._results) > self._size:
                    self._results.popitem(last=False)
            return result
        finally:
            making.release()


class FolderLooks:
    """Looks at folders for all who watch them: at each once in a while, however many ask."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: SharedCache[_Look] = SharedCache(size=64)

    def look(self, place: Place) -> Hashable:
        """Return what `identify_folder` says, or said not long ago.

        Who comes while another looks is not kept waiting.
        """
        seen = self._seen.get(str(place), _Look)
        if (seen.time is None or self._clock() - seen.time >= self._seconds) and (
            seen.lock.acquire(blocking=seen.time is None)
        ):
            try:
                if seen.time is None or self._clock() - seen.time >= self._seconds:
                    seen.identity = identify_folder(place)
                    seen.time = self._clock()
            finally:
                seen.lock.release()
        return seen.identity


@dataclass(eq=False)
class _Look:
    time: float | None = None
    identity: Hashable = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def list_model_files(place: Place) -> tuple[tuple[Path, ...], int]:
    """Return the files that hold the variants of a network, and how many more there are.

    Of a folder its ``.onnx`` files by name, `MOST_MODELS` at most.

    Raises:
        OSError: the folder cannot be read.
    """
    if isinstance(place, tuple):
        return place, 0
    with os.scandir(place) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".onnx"))
    return tuple(place / name for name in names[:MOST_MODELS]), max(0, len(names) - MOST_MODELS)


def identify_folder(place: Place) -> tuple[Hashable, ...]:
    """Return what changes when a model of the place is changed, added or removed.

    Empty where the folder cannot be read.
    """
    try:
        paths, more = list_model_files(place)
    except OSError:
        return ()
    return (*map(identify_file, paths), *([more] if more else []))


def identify_file(path: Path | None) -> Hashable:
    """Return what changes when the file does; None without a file.

    Programs may keep time and size of what they exchange; its inode or its ctime then differs.
    """
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere
        return str(path)
    return (
        str(path.absolute()),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
