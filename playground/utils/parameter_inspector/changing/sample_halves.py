"""Two halves of the samples: one decides, the other judges."""

from __future__ import annotations

from collections.abc import Sequence


def split_samples(order: Sequence[int], rows_per_run: int) -> tuple[list[int], list[int]]:
    """Return the samples that decide and those that judge, two halves that are alike.

    Args:
        order: all samples, those that the file treats worst first: the halves take them in turn,
            the worst one decides. One run alone does both.
    """
    if rows_per_run > 1:
        rows = sorted(order)
        runs = [rows[i : i + rows_per_run] for i in range(0, len(rows), rows_per_run)]
    else:
        runs = [[row] for row in order]
    sides: tuple[list[int], list[int]] = ([], [])
    for at, run in enumerate(runs):
        sides[(at + 1) // 2 % 2].extend(run)
    return sorted(sides[0]), sorted(sides[1]) or sorted(sides[0])
