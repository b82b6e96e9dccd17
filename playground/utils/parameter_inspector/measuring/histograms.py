"""Exact histograms of one layer's weights: every variant over the same bins, no weight left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..streaming.chunks import Scratch
from ..streaming.code_counter import count_bytes

DEFAULT_BINS = 64
# Bins are counted as bytes.
MAX_BINS = 256
# The share of the weights that a view may leave out at both ends, for the others to be seen, and
# the share of the bins that the others then had.
FEW = 0.05
NARROW = 0.125
# Of all bins together: beyond, float32 overflows where a position is computed.
FLOAT32_WIDTHS = 1e-34, 1e38


@dataclass(frozen=True)
class Beyond:
    """How many values lie below and above the bins, and the lowest and the highest of all."""

    below: int
    above: int
    lowest: float
    highest: float


NOTHING_BEYOND = Beyond(0, 0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Histograms:
    """Counts of several tensors over the same bins.

    Attributes:
        edges: bins + 1 bin edges, in the unit of the weights.
        counts: by variant name, one count for each bin.
        outside: by variant name, how many values are NaN or infinite and in no bin.
        beyond: by variant name, what lies below and above all bins, where they were narrowed.
    """

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]
    outside: Mapping[str, int]
    beyond: Mapping[str, Beyond] = field(default_factory=dict)

    def count_finite(self, name: str) -> int:
        """Return how many values of a variant are in a bin, or beyond all bins."""
        beyond = self.beyond.get(name, NOTHING_BEYOND)
        return int(self.counts[name].sum()) + beyond.below + beyond.above


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


def find_center(histograms: Histograms) -> range | None:
    """Return the bins to look at, where a few far values leave the others in a bin or two.

    All but, at either end, those that hold at most half of `FEW` of the weights of every variant;
    None where what is left takes more than `NARROW` of the bins.
    """
    firsts, lasts = [], []
    for name, counts in histograms.counts.items():
        beyond = histograms.beyond.get(name, NOTHING_BEYOND)
        most = FEW / 2 * histograms.count_finite(name)
        if counts.any():
            firsts.append(np.searchsorted(beyond.below + counts.cumsum(), most, "right"))
            down = beyond.above + counts[::-1].cumsum()
            lasts.append(counts.size - np.searchsorted(down, most, "right"))
    center = range(int(min(firsts)), int(max(lasts))) if firsts else range(0)
    return center if 0 < len(center) <= NARROW * (histograms.edges.size - 1) else None


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
