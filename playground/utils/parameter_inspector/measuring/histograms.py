"""Exact histograms of one layer's weights: every variant over the same bins, no weight left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..streaming.chunks import Scratch
from ..streaming.code_counter import count_bytes

DEFAULT_BINS = 64
# Bins are counted as bytes.
MAX_BINS = 256
# Of all bins together: beyond, float32 overflows where a position is computed.
FLOAT32_WIDTHS = 1e-34, 1e38


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


def compute_histograms(values: Mapping[str, np.ndarray], bins: int = DEFAULT_BINS) -> Histograms:
    """Return exact histograms of every tensor over one shared range.

    The bins run from the lowest to the highest finite value of all; where all values are equal,
    half a unit to either side (more, where the values are too large for that).
    """
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    filled = [array for array in finite.values() if array.size]
    low = min((float(array.min()) for array in filled), default=0.0)
    high = max((float(array.max()) for array in filled), default=0.0)
    edges = compute_edges(low, high, bins)
    counts = {name: np.histogram(array, edges)[0] for name, array in finite.items()}
    outside = {name: values[name].size - finite[name].size for name in values}
    return Histograms(edges, counts, outside)


def compute_edges(low: float, high: float, bins: int = DEFAULT_BINS) -> np.ndarray:
    """Return the edges of equal bins from ``low`` to ``high``; around them where they are equal."""
    if low == high:
        half = max(0.5, abs(low) / 2**20)
        low, high = low - half, high + half
    return np.linspace(low, high, bins + 1)


def count_in_bins(
    values: np.ndarray, edges: np.ndarray, *, inside: bool = False, scratch: Scratch | None = None
) -> np.ndarray:
    """Return how many values are in each of the equal bins, as ``numpy.histogram`` counts them.

    A bin holds its lower edge, the last one its upper edge too; NaN and infinities are in none, and
    nothing else is outside all bins. The bin is computed in float32, twice: with the most that
    this can err taken away, and added. Where the two differ it is looked up.

    Args:
        edges: of at most 256 bins.
        inside: all values are known to be in some bin.
        scratch: arrays to use again.
    """
    bins = len(edges) - 1
    low, high = float(edges[0]), float(edges[-1])
    flat = values.T.reshape(-1) if values.flags.f_contiguous else values.reshape(-1)
    reach = max(abs(low), abs(high)) / (high - low)
    doubt = 8 * bins * (reach + 1) * float(np.finfo(np.float32).eps)
    computable = FLOAT32_WIDTHS[0] < high - low < FLOAT32_WIDTHS[1] and doubt < 0.1
    if not computable or flat.dtype != np.float32:
        return np.histogram(flat[np.isfinite(flat)].astype(np.float64), edges)[0]
    scratch = scratch or Scratch()
    position = scratch.take("position", flat.shape)
    index, above = (scratch.take(use, flat.shape, np.uint8) for use in ("index", "above"))
    per_unit = bins / (high - low)
    np.multiply(flat, np.float32(per_unit), out=position)
    position += np.float32(-low * per_unit - doubt)
    if not inside and not (position.min(initial=0) > -0.5 and position.max(initial=0) < bins + 0.5):
        return np.histogram(flat[np.isfinite(flat)].astype(np.float64), edges)[0]
    np.copyto(index, position, casting="unsafe")
    position += np.float32(2 * doubt)
    np.copyto(above, position, casting="unsafe")
    near = np.flatnonzero(index != above)
    if near.size:
        looked_up = np.searchsorted(edges, flat[near].astype(np.float64), side="right") - 1
        index[near] = np.minimum(looked_up, bins - 1)
    return count_bytes(index)[:bins]
