"""What viewers of one process share: results kept by what they were made from, and bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkCancelledError(Exception):
    """Who asked for a comparison or a plan stopped it. The message says how far it came."""


class SharedCache(Generic[T]):
    """A bounded cache for threads: each result is made once, the one used longest ago leaves."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._results)

    def peek(self, key: Hashable) -> T | None:
        """Return what was made for ``key``, None where nothing was."""
        with self._lock:
            return self._results.get(key)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` made for ``key``; two who ask at once wait for one making."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._results:
                    return self._results[key]
            try:
                result = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._results[key] = result
                while len(self._results) > self._size:
                    self._results.popitem(last=False)
            return result


def identify_folder(folder: Path) -> tuple[Hashable, ...]:
    """Return what changes when a model of the folder is changed, added or removed."""
    return tuple(identify_file(path) for path in sorted(folder.glob("*.onnx")))


def identify_file(path: Path | None) -> Hashable:
    """Return what changes when the file does: its path, time and size; None without a file."""
    if path is None:
        return None
    try:
        status = path.stat()
        return str(path.resolve()), status.st_mtime_ns, status.st_size
    except (OSError, RuntimeError):  # a link that leads nowhere
        return str(path)
