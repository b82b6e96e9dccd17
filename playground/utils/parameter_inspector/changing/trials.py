"""One weight on trial: what it is today beside what another scheme would make of it.

`open_weight` reads the float weight and the file's once; then `attempt` is quick: for a control.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.histograms import compute_edges, count_in_bins
from ..quantization import is_integer
from ..records import Layer, WeightTensor
from ..sharing import SharedCache
from .planning import Candidate, list_candidates, read_current, read_exact, why_not_run
from .schemes import (
    BLOCK_SIZES,
    CLIPPINGS,
    DATA_TYPES,
    GRANULARITIES,
    Part,
    Scheme,
    compute_sqnr_db,
    data_type_bits,
    lowest_db,
    own_axis,
    requantize,
    share_out,
)

# What viewers share: the weights on trial, the last ones only, and what came of schemes.
opened: SharedCache[WeightOnTrial] = SharedCache(size=4)
attempts: SharedCache[Trial] = SharedCache(size=64)
candidates: SharedCache[tuple[Candidate, ...]] = SharedCache(size=64)

PERCENTILES = (99.0, 99.9, 99.99, 99.999)
USUAL_BLOCK_SIZE = 32


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
    """What the file holds, and what a scheme would make of it, over the same bins.

    Attributes:
        edges: of the bins, in the unit of the weights.
        exact_counts: of the float weight.
        why_not_run: why onnxruntime cannot run the layer under the scheme; None where it can.
    """

    edges: np.ndarray
    exact_counts: np.ndarray
    current: Outcome
    tried: Outcome
    why_not_run: str | None


@dataclass(frozen=True, eq=False)
class WeightOnTrial:
    """A weight of a variant, its float original, and what the file says of it.

    Attributes:
        exact, held: the float weight and today's values, in the layer's frame.
        scale_type: what the file's scales are stored as; a change keeps it.
    """

    layer_name: str
    layer: Layer
    exact: np.ndarray
    held: np.ndarray
    scheme: Scheme
    byte_count: int
    scale_type: str

    @property
    def channel_axis(self) -> int:
        weight = self.layer.weight
        return (weight.channel_axis or 0) if weight is not None else 0

    def attempt(self, scheme: Scheme) -> Trial:
        """Return what a scheme would make of the weight, beside today.

        Raises:
            ValueError: as `requantize`. The message is one sentence.
        """
        done = requantize(self.exact, scheme, self.channel_axis, self.scale_type)
        ends = *self._ends_today, *_ends(done.values)
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        edges = compute_edges(low, high)
        exact, held = self._counted.get(
            (low, high), lambda: (_count(self.exact, edges), _count(self.held, edges))
        )
        tried = _count(done.values, edges)
        tensor_db, channels_db = self._today_db
        return Trial(
            edges,
            exact,
            Outcome(self.scheme, tensor_db, channels_db, self.byte_count, held),
            Outcome(scheme, done.sqnr_db, done.channel_sqnr_db, done.byte_count, tried),
            why_not_run(self.layer, scheme),
        )

    @cached_property
    def _ends_today(self) -> tuple[float, ...]:
        return *_ends(self.exact), *_ends(self.held)

    @cached_property
    def _counted(self) -> SharedCache[tuple[np.ndarray, np.ndarray]]:
        """Counts of float and today: most schemes do not leave the range that these two have."""
        return SharedCache(size=8)

    @cached_property
    def _today_db(self) -> tuple[float, np.ndarray]:
        return compute_sqnr_db(self.exact, self.held, self.channel_axis)

    def list_candidates(self) -> tuple[Candidate, ...]:
        """Return the sensible schemes, best worst channel first, today's left out."""
        found = list_candidates(
            self.exact, self.scheme, self.channel_axis, self.held, scale_type=self.scale_type
        )
        return tuple(one for one in found if one.scheme != self.scheme)


def open_weight(comparison: Comparison, variant: str, layer_name: str) -> WeightOnTrial:
    """Return the weight of a row and its float original, both read.

    Raises:
        ValueError: there is nothing to compare, or no scheme to start from; one sentence.
        UnavailableError: bytes are missing.
    """
    exact = read_exact(comparison, variant, layer_name).astype(np.float32, copy=False)
    measured = comparison.measured(layer_name, variant)
    current = read_current(measured.weight)
    return WeightOnTrial(layer_name, measured.layer, exact, measured.weight.values, *current)


def _ends(array: np.ndarray) -> tuple[float, ...]:
    """Return the lowest and the highest finite value; nothing where there is none."""

    def find(part: Part) -> tuple[float, ...]:
        ends = float(array[part].min()), float(array[part].max())
        if np.isfinite(ends).all():
            return ends
        finite = array[part][np.isfinite(array[part])]
        return (float(finite.min()), float(finite.max())) if finite.size else ()

    ends = [end for found in share_out(find, array) for end in found] if array.size else []
    return (min(ends), max(ends)) if ends else ()


def _count(array: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts = share_out(lambda part: count_in_bins(np.asarray(array[part]), edges), array)
    return np.sum([np.zeros(len(edges) - 1, np.int64), *counts], axis=0)


# ------------------------------------------------- the parts of a scheme, and what fits what


def change_scheme(scheme: Scheme, part: str, value: object) -> Scheme:
    """Return a scheme with one part changed, and the others as near as they fit it."""
    parts: dict[str, Any] = asdict(scheme) | {part: value}
    if not is_integer(parts["data_type"]):
        parts |= {"symmetric": True, "bits": None, "reduce_range": False}
    elif parts["bits"] not in _list_bits(parts["data_type"]):
        parts["bits"] = None
    if is_integer(parts["data_type"]) and not _can_reduce(parts["data_type"], parts["bits"]):
        parts["reduce_range"] = False
    if parts["granularity"] != "per-block":
        parts["block_size"] = None
    elif parts["block_size"] is None:
        parts["block_size"] = USUAL_BLOCK_SIZE
    if parts["granularity"] == "per-tensor" or part == "granularity":
        parts["axis"] = None
    if parts["clipping"] == "std" and parts["data_type"] != "float8e4m3fn":
        parts["clipping"] = "min-max"
    return Scheme(**parts)


def list_choices(scheme: Scheme, weight: WeightTensor) -> dict[str, tuple[Any, ...]]:
    """Return part of a scheme -> the values that fit the others; one alone is no choice."""
    integer = is_integer(scheme.data_type)
    tensor, blocked = scheme.granularity == "per-tensor", scheme.granularity == "per-block"
    reducible = integer and _can_reduce(scheme.data_type, scheme.bits)
    own = own_axis(scheme.granularity, weight.channel_axis or 0, len(weight.shape))
    axes = (axis for axis in range(len(weight.shape)) if axis != own)
    sizes = sorted({*BLOCK_SIZES, scheme.block_size or USUAL_BLOCK_SIZE})
    clips = CLIPPINGS if scheme.data_type == "float8e4m3fn" else CLIPPINGS[:-1]
    cuts = sorted({*PERCENTILES, scheme.percentile})
    return {
        "data_type": DATA_TYPES,
        "bits": _list_bits(scheme.data_type) if integer else (None,),
        "granularity": GRANULARITIES if weight.shape else GRANULARITIES[:1],
        "axis": (None,) if tensor else (None, *axes),
        "block_size": tuple(sizes) if blocked else (None,),
        "symmetric": (True, False) if integer else (True,),
        "reduce_range": (False, True) if reducible else (False,),
        "clipping": clips,
        "percentile": tuple(cuts) if scheme.clipping == "percentile" else (scheme.percentile,),
    }


def _list_bits(data_type: str) -> tuple[int | None, ...]:
    """Return the numbers of bits that leave codes unused, after None: all of them."""
    return None, *range(min(8, data_type_bits(data_type) - 1), 1, -1)


def _can_reduce(data_type: str, bits: int | None) -> bool:
    return (bits or data_type_bits(data_type)) >= 3
