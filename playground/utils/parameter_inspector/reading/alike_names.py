"""Names of which several may be alike, told apart by a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count


def number_alike(names: Iterable[str]) -> list[str]:
    """Return the names, the second of those that are alike as ``name #2``, and so on.

    A number that another name has already is left out. Takes one sweep, however many are alike.
    """
    wanted = list(names)
    taken, seen = set(wanted), set[str]()
    numbers: dict[str, Iterator[int]] = {}
    result = []
    for name in wanted:
        unique = name
        if name in seen:
            following = numbers.setdefault(name, count(2))
            unique = next(n for n in (f"{name} #{i}" for i in following) if n not in taken)
            taken.add(unique)
        seen.add(name)
        result.append(unique)
    return result
