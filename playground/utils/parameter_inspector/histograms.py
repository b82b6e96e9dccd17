"""Exact histograms of one layer's weights: every variant over the same bins, no weight left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .counting import count_bytes
from .metrics import Measured
from .passes import Compared, OpenWeight, Scratch
from .quantization import Quantization, code_limits, numpy_dtype
from .rows import Part

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


def compute_layer_histograms(
    measured: Mapping[str, Measured], bins: int = DEFAULT_BINS
) -> Histograms:
    """Return exact histograms of the dequantized weights of measured layers, by variant name.

    Codes that share one scale were counted by the pass over them; the other weights are read chunk
    by chunk. The range is the one that the pass found.

    Raises:
        ValueError: more than 256 bins.
        UnavailableError: bytes are missing.
    """
    if bins > MAX_BINS:
        raise ValueError(f"{bins} bins asked for, at most {MAX_BINS} can be counted")
    lows = [m.metrics["range_low"] for m in measured.values()]
    highs = [m.metrics["range_high"] for m in measured.values()]
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low == low]
    edges = compute_edges(
        min((k[0] for k in known), default=0.0), max((k[1] for k in known), default=0.0), bins
    )
    counts = {name: _count_weight(one, edges) for name, one in measured.items()}
    sizes = {name: one.sums.channel_count * one.sums.fan_in for name, one in measured.items()}
    outside = {name: sizes[name] - int(counts[name].sum()) for name in measured}
    return Histograms(edges, counts, outside)


def compute_edges(low: float, high: float, bins: int = DEFAULT_BINS) -> np.ndarray:
    """Return the edges of equal bins from ``low`` to ``high``; around them where they are equal."""
    if low == high:
        half = max(0.5, abs(low) / 2**20)
        low, high = low - half, high + half
    return np.linspace(low, high, bins + 1)


def _count_weight(measured: Measured, edges: np.ndarray) -> np.ndarray:
    quantization, code_counts = measured.quantization, measured.sums.code_counts
    if quantization is not None and quantization.scale.size == 1 and code_counts is not None:
        return _count_codes(measured, quantization, code_counts, edges)

    inside = measured.sums.not_finite == 0

    def count(opened: OpenWeight, parts: Sequence[Part]) -> np.ndarray:
        counts = np.zeros(len(edges) - 1, np.int64)
        for part in parts:
            values = opened.values(part, opened.codes(part))
            counts += count_in_bins(values, edges, inside=inside, scratch=opened.scratch)
        return counts

    return np.stack(Compared(measured.weight, measured.layer).share_out(count)).sum(axis=0)


def _count_codes(
    measured: Measured, quantization: Quantization, code_counts: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Return the counts of codes that share one scale, each code at its value."""
    first = int(code_limits(quantization.data_type)[0])
    codes = np.arange(first, first + code_counts.size).astype(numpy_dtype(quantization.data_type))
    with np.errstate(all="ignore"):
        values = measured.weight.round_as_cast(quantization.dequantize(codes))
    known = np.isfinite(values) & (code_counts > 0)
    weights = code_counts[known]
    return np.histogram(values[known].astype(np.float64), edges, weights=weights)[0]


def count_in_bins(
    values: np.ndarray, edges: np.ndarray, *, inside: bool = False, scratch: Scratch | None = None
) -> np.ndarray:
    """Return how many values are in each of the equal bins, as ``numpy.histogram`` counts them.

    A bin holds its lower edge, the last one its upper edge too; NaN and infinities are in none, and
    nothing else is outside all bins. ``inside`` says that all are known to be in some bin. The
    bin is computed in float32, and looked up for the few values so near to an edge that this
    could err.
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
        exact = np.searchsorted(edges, flat[near].astype(np.float64), side="right") - 1
        index[near] = np.minimum(exact, bins - 1)
    return count_bytes(index)[:bins]
