"""Names that are free in a graph, for what is added to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count


class FreeNames:
    """The names that a graph has, and new ones: the stem, else the stem with the next number."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(2))

    def take(self, name: str) -> None:
        """Note a name that is in use."""
        self._taken.add(name)

    def new(self, stem: str) -> str:
        """Return a name that nothing has, and take it."""
        name = stem
        while name in self._taken:
            name = f"{stem}_{next(self._numbers[stem])}"
        self._taken.add(name)
        return name
