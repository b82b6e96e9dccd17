"""A weight (and its float original) -> numbers: one function per metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .records import SummaryStats


def create_summary_stats(array: np.ndarray | float) -> SummaryStats:
    """Return the one number of a scalar, or lowest, highest and mean of an array.

    Narrow types (int4, float8, float16) are read as float64; NaN in, NaN out.
    """
    numbers = np.asarray(array).astype(np.float64).reshape(-1)
    if numbers.size == 0:
        return SummaryStats(0, np.nan, np.nan, np.nan)
    return SummaryStats(
        numbers.size, float(numbers.min()), float(numbers.max()), float(numbers.mean())
    )


def compute_range(values: np.ndarray) -> tuple[float, float] | None:
    """Return the lowest and highest finite value, None where there is none."""
    finite = values[np.isfinite(values)] if not np.isfinite(values).all() else values
    return (float(finite.min()), float(finite.max())) if finite.size else None


@dataclass(frozen=True, eq=False)
class Histograms:
    """Counts of several tensors over the same bins.

    Attributes:
        edges: bins + 1 bin edges, in the unit of the weights.
        counts: by variant name, one count for each bin.
        outside: by variant name, how many values are NaN or infinite and in no bin.
    """

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]
    outside: Mapping[str, int]


def compute_histograms(values: Mapping[str, np.ndarray], bins: int = 64) -> Histograms:
    """Return exact histograms of every tensor over one shared range.

    The bins run from the lowest to the highest finite value of all; equal values get one bin of
    width 1 around them.
    """
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    filled = [array for array in finite.values() if array.size]
    low = min((float(array.min()) for array in filled), default=0.0)
    high = max((float(array.max()) for array in filled), default=0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    counts = {name: np.histogram(array, edges)[0] for name, array in finite.items()}
    outside = {name: values[name].size - finite[name].size for name in values}
    return Histograms(edges, counts, outside)
