"""One weight on trial: the current scheme beside what another would make of the weight.

`open_weight` reads the float weight and the file's once; then `attempt` is quick: for a control.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.histograms import compute_edges, count_in_bins
from ..records import Layer
from ..sharing import SharedCache
from ..streaming.array_parts import ArrayPart, share_out
from .candidates import Candidate, list_candidates
from .layer_options import read_current
from .originals import read_original
from .requantizing import requantize
from .runtime_support import why_not_run
from .schemes import Scheme
from .weight_errors import compute_sqnr_db, lowest_db


@dataclass(frozen=True, eq=False)
class Outcome:
    """A weight under one scheme.

    Attributes:
        channel_sqnr_db: of each output channel; NaN for one that is all zero.
        byte_count: codes, scales and zero-points.
        counts: of the values, in the bins of the trial.
    """

    scheme: Scheme
    sqnr_db: float
    channel_sqnr_db: np.ndarray
    byte_count: int
    counts: np.ndarray

    @property
    def worst_channel_sqnr_db(self) -> float:
        """NaN where every channel is zero."""
        return lowest_db(self.channel_sqnr_db)


@dataclass(frozen=True, eq=False)
class Trial:
    """What the file has, and what a scheme would make of it, over the same bins.

    Attributes:
        edges: of the bins, in the unit of the weights.
        original_counts: of the float weight.
        why_not_run: why onnxruntime cannot run the layer under the scheme; None where it can.
    """

    edges: np.ndarray
    original_counts: np.ndarray
    current: Outcome
    proposed: Outcome
    why_not_run: str | None


@dataclass(frozen=True, eq=False)
class WeightOnTrial:
    """A weight of a variant, its float original, and what the file says of it.

    Attributes:
        original, current_values: the float weight and what the file has, in the layer's frame.
        scale_type: what the file's scales are stored as; a change keeps it.
    """

    layer_name: str
    layer: Layer
    original: np.ndarray
    current_values: np.ndarray
    scheme: Scheme
    byte_count: int
    scale_type: str

    @property
    def channel_axis(self) -> int:
        weight = self.layer.weight
        return (weight.channel_axis or 0) if weight is not None else 0

    def attempt(self, scheme: Scheme) -> Trial:
        """Return what a scheme would make of the weight, beside the current one.

        Raises:
            ValueError: as `requantize`. The message is one sentence.
        """
        done = requantize(self.original, scheme, self.channel_axis, self.scale_type)
        ends = *self._current_ends, *_ends(done.values)
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        edges = compute_edges(low, high)
        original_counts, current_counts = self._counted.get(
            (low, high), lambda: (_count(self.original, edges), _count(self.current_values, edges))
        )
        counts = _count(done.values, edges)
        tensor_db, channels_db = self._current_db
        return Trial(
            edges,
            original_counts,
            Outcome(self.scheme, tensor_db, channels_db, self.byte_count, current_counts),
            Outcome(scheme, done.sqnr_db, done.channel_sqnr_db, done.byte_count, counts),
            why_not_run(self.layer, scheme),
        )

    @cached_property
    def _current_ends(self) -> tuple[float, ...]:
        return *_ends(self.original), *_ends(self.current_values)

    @cached_property
    def _counted(self) -> SharedCache[tuple[np.ndarray, np.ndarray]]:
        """Counts of original and current: most schemes do not leave the range of these two."""
        return SharedCache(size=8)

    @cached_property
    def _current_db(self) -> tuple[float, np.ndarray]:
        return compute_sqnr_db(self.original, self.current_values, self.channel_axis)

    def list_candidates(self) -> tuple[Candidate, ...]:
        """Return the sensible schemes, best worst channel first, the current one left out."""
        candidates = list_candidates(
            self.original,
            self.scheme,
            self.channel_axis,
            self.current_values,
            scale_type=self.scale_type,
        )
        return tuple(one for one in candidates if one.scheme != self.scheme)


def open_weight(comparison: Comparison, variant: str, layer_name: str) -> WeightOnTrial:
    """Return the weight of a layer and its float original, both read.

    Raises:
        ValueError: there is nothing to compare, or no scheme to start from; one sentence.
        UnavailableError: bytes are missing.
    """
    original = read_original(comparison, variant, layer_name).astype(np.float32, copy=False)
    measured = comparison.measured(layer_name, variant)
    current = read_current(layer_name, measured.weight)
    return WeightOnTrial(layer_name, measured.layer, original, measured.weight.values, *current)


def _ends(array: np.ndarray) -> tuple[float, ...]:
    """Return the lowest and the highest finite value; nothing where there is none."""

    def find(part: ArrayPart) -> tuple[float, ...]:
        ends = float(array[part].min()), float(array[part].max())
        if np.isfinite(ends).all():
            return ends
        finite = array[part][np.isfinite(array[part])]
        return (float(finite.min()), float(finite.max())) if finite.size else ()

    ends = [end for pair in share_out(find, array) for end in pair] if array.size else []
    return (min(ends), max(ends)) if ends else ()


def _count(array: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts = share_out(lambda part: count_in_bins(np.asarray(array[part]), edges), array)
    return np.sum([np.zeros(len(edges) - 1, np.int64), *counts], axis=0)
