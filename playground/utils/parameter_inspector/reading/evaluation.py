"""Constants that are computed from others: each once, within bounds, and freed when read last."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from ..budgets import NUMBERS_A_STEP, OutOfStepsError, spend
from ..facts import Refusal, RefusalKind
from ..quantization import Source, UnavailableError
from .growth import MAX_GROWN_ELEMENTS

# What is held at a time to compute a constant: so much, and so much for each byte of the file that
# it is made from. Packed codes are eight times as large as floats, and an operator has its result
# beside its input.
MAX_HELD_BYTES = 64_000_000
HELD_BYTES_A_BYTE = 16
# What is computed on the way to a constant, counted in numbers.
MAX_COMPUTED_ELEMENTS = 1 << 28
COMPUTED_ELEMENTS_A_BYTE = 64
# What was evaluated for several layers is held for the next one.
MAX_CACHED_BYTES = 64_000_000


class Deferred:
    """A constant that is computed from other constants when it is read.

    Attributes:
        is_shared: several nodes read it.
    """

    name: str
    inputs: tuple[Source | None, ...]
    is_shared: bool

    @property
    def data_type(self) -> str:
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def read(self) -> np.ndarray:
        """Return the array. Raises ``UnavailableError`` where an operator refuses its inputs."""
        return evaluate(self)

    def compute(self, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
        """Return the constant made of its inputs' arrays.

        Raises:
            UnavailableError: they do not fit.
        """
        raise NotImplementedError

    def read_at_once(self) -> np.ndarray | None:
        """Return the constant, None where it has to be evaluated step by step."""
        return None


def evaluate(root: Deferred) -> np.ndarray:
    """Return the array of a constant: as it was evaluated before, or evaluated now.

    Raises:
        UnavailableError: an operator refuses its inputs, or bytes are missing.
    """
    known = _evaluated.get(root)
    if known is not None:
        return known
    try:
        found = root.read_at_once()
        if found is None:
            found = _Evaluation(root).run()
    except OutOfStepsError:  # of who asks now: others may have steps left
        raise
    except UnavailableError as error:
        _evaluated.add(root, error.refusal)
        raise
    _evaluated.add(root, found)
    return found


def count_computed(name: str, elements: int, leaf_bytes: int, newly: int) -> None:
    """Charge for numbers that were computed.

    Args:
        elements: computed so far on the way to a constant, from ``leaf_bytes`` of the file.
        newly: of those, what is not charged yet.

    Raises:
        UnavailableError: they are more than a constant of that size is worth.
    """
    spend(1 + newly // NUMBERS_A_STEP)
    if elements > MAX_COMPUTED_ELEMENTS + COMPUTED_ELEMENTS_A_BYTE * leaf_bytes:
        raise UnavailableError(Refusal(RefusalKind.GROWS_TOO_LARGE, name=name))


class _Evaluation:
    """One constant and what it depends on, each evaluated once and freed when it was read last.

    What is held at a time and what is computed in all are bounded by what the file holds of it.
    """

    def __init__(self, root: Deferred) -> None:
        self._root = root
        self._arrays: dict[int, np.ndarray] = {}
        self._here: list[Deferred] = []
        self._behind: dict[int, list[Source]] = {}
        self._readers: Counter[int] = Counter()
        self._held = self._computed = self._leaf_bytes = 0
        self._may_grow = MAX_GROWN_ELEMENTS

    def run(self) -> np.ndarray:
        self._count_readers()
        stack: list[Source] = [self._root]
        while stack:
            source = stack[-1]
            if id(source) in self._arrays:
                stack.pop()
            elif id(source) not in self._behind:
                self._keep(source, self._read(source))
            elif missing := [s for s in self._behind[id(source)] if id(s) not in self._arrays]:
                stack.extend(reversed(missing))
            else:
                self._compute(source)
        return self._arrays[id(self._root)]

    def _count_readers(self) -> None:
        """Note what has to be computed, and how often each array will be read."""
        waiting: list[Source] = [self._root]
        while waiting:
            source = waiting.pop()
            if id(source) in self._behind or not self._is_computed_here(source):
                continue
            behind = list({id(s): s for s in source.inputs if s is not None}.values())
            self._behind[id(source)] = behind
            self._here.append(source)
            self._readers.update(map(id, behind))
            waiting += behind

    def _is_computed_here(self, source: Source) -> TypeGuard[Deferred]:
        return isinstance(source, Deferred) and (
            source is self._root or not _evaluated.knows(source)
        )

    def _read(self, source: Source) -> np.ndarray:
        array = _evaluated.get(source) if isinstance(source, Deferred) else None
        array = source.read() if array is None else array
        self._leaf_bytes += array.nbytes
        return array

    def _compute(self, source: Source) -> None:
        assert isinstance(source, Deferred)
        inputs = [None if s is None else self._arrays[id(s)] for s in source.inputs]
        largest = max((array.size for array in inputs if array is not None), default=0)
        try:
            array = source.compute(inputs)
        except UnavailableError as error:
            self._give_up(source, error.refusal)
            raise
        self._may_grow -= max(0, array.size - largest)
        self._computed += max(array.size, largest)
        if self._may_grow < 0:
            raise UnavailableError(Refusal(RefusalKind.GROWS_TOO_LARGE, name=self._root.name))
        count_computed(
            self._root.name, self._computed, self._leaf_bytes, newly=max(array.size, largest)
        )
        self._keep(source, array)
        if source.is_shared and source is not self._root:
            _evaluated.add(source, array)
        for behind in self._behind[id(source)]:
            self._readers[id(behind)] -= 1
            if not self._readers[id(behind)]:
                self._held -= self._arrays.pop(id(behind)).nbytes

    def _give_up(self, failed: Deferred, refusal: Refusal) -> None:
        """Note that what others read too, and is made from this, cannot be computed either."""
        made_from: dict[int, list[Deferred]] = defaultdict(list)
        for source in self._here:
            for behind in self._behind[id(source)]:
                made_from[id(behind)].append(source)
        waiting, seen = [failed], set[int]()
        while waiting:
            given_up = waiting.pop()
            if id(given_up) not in seen:
                seen.add(id(given_up))
                waiting += made_from[id(given_up)]
                if given_up.is_shared:
                    _evaluated.add(given_up, refusal)

    def _keep(self, source: Source, array: np.ndarray) -> None:
        self._arrays[id(source)] = array
        self._held += array.nbytes
        if self._held > MAX_HELD_BYTES + HELD_BYTES_A_BYTE * self._leaf_bytes:
            raise UnavailableError(Refusal(RefusalKind.HOLDS_TOO_MUCH, name=self._root.name))


class _Evaluated:
    """What was evaluated last and may be asked for again, or why it cannot be: for all threads.

    Bounded in bytes; the one that was used longest ago leaves. A constant goes with its model.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._lock = threading.RLock()  # a constant may go while this thread is in here
        self._found: OrderedDict[weakref.ref[Deferred], np.ndarray | Refusal] = OrderedDict()

    def knows(self, source: Deferred) -> bool:
        with self._lock:
            return weakref.ref(source) in self._found

    def get(self, source: Deferred) -> np.ndarray | None:
        """Return the array, None where it is not there. Raises what evaluating it raised."""
        key = weakref.ref(source)
        with self._lock:
            found = self._found.get(key)
            if found is None:
                return None
            self._found.move_to_end(key)
        if isinstance(found, Refusal):
            raise UnavailableError(found)
        return found

    def add(self, source: Deferred, found: np.ndarray | Refusal) -> None:
        key = weakref.ref(source, self._forget)
        with self._lock:
            self._forget(key)
            self._found[key] = found
            self._bytes += _bytes_of(found)
            while self._bytes > self._most_bytes and self._found:
                self._forget(next(iter(self._found)))

    def _forget(self, key: weakref.ref[Deferred]) -> None:
        with self._lock:
            found = self._found.pop(key, None)
            self._bytes -= 0 if found is None else _bytes_of(found)


def _bytes_of(found: np.ndarray | Refusal) -> int:
    return found.nbytes + 1000 if isinstance(found, np.ndarray) else 1000


_evaluated = _Evaluated(MAX_CACHED_BYTES)
