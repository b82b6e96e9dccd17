"""What could become of the activation quantizers of a group: ranges, widths, signedness, float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..measuring.outputs import ActivationStatistics, Quantizer
from ..quantization import code_limits
from ..running.statistics_model import representable
from ..running.tunable_model import is_tunable
from .moves import ActivationScheme, Move, MoveKind, RangeRule

PERCENTILES = (99.99, 99.9)
# Of each end: which parts of it are tried for the range of the least squared error.
PARTS = np.linspace(0.1, 1.0, 37)
# A range of the file that is wider than this many times what was seen is not kept in 16 bits.
MUCH_WIDER = 4.0
# A range that differs by less from the file's is the file's.
SAME_RANGE = 0.01
LARGEST_SCALE = float(np.finfo(np.float32).max) / 65536


@dataclass(frozen=True, eq=False)
class Observed:
    """What went through a group on the samples, in the frame of its first quantizer.

    Attributes:
        low, high: of the float tensors.
        values, counts: of a histogram; empty where there is none.
    """

    low: float
    high: float
    values: np.ndarray
    counts: np.ndarray


def list_activation_moves(
    quantizers: Sequence[Quantizer], statistics: Mapping[int, ActivationStatistics]
) -> tuple[Move, ...]:
    """Return what could be tried on a group, the least change first; the last one is float."""
    group = tuple(quantizers)
    observed = observe(group, statistics)
    moves = list(_list_ranges(group, observed)) if observed is not None else []
    return *moves, Move(MoveKind.FREE, group)


def observe(
    group: Sequence[Quantizer], statistics: Mapping[int, ActivationStatistics]
) -> Observed | None:
    """Return what was seen of a group; None where nothing was, or a range cannot be set."""
    if not all(is_tunable(quantizer) for quantizer in group):
        return None
    seen = [(one, statistics[one.index]) for one in group if one.index in statistics]
    if not seen:
        return None
    factors = [scale_factor(group[0], quantizer) for quantizer, _ in seen]
    known = [one for _, one in seen]
    low = min(one.low / factor for one, factor in zip(known, factors, strict=True))
    high = max(one.high / factor for one, factor in zip(known, factors, strict=True))
    if not np.isfinite([low, high]).all():
        return None
    values, counts = _join_histograms(seen, factors)
    return Observed(low, high, values, counts)


def scale_factor(first: Quantizer, other: Quantizer) -> float:
    """Return how many times the scale of the first the scale of another one of its group is."""
    assert first.scale is not None and other.scale is not None
    return float(other.scale.reshape(-1)[0]) / float(first.scale.reshape(-1)[0])


def _join_histograms(
    seen: Sequence[tuple[Quantizer, ActivationStatistics]], factors: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    values, counts = [np.zeros(0)], [np.zeros(0)]
    for (_, one), factor in zip(seen, factors, strict=True):
        if one.histogram is None or one.represented is None:
            continue
        low, high = one.represented
        kept = np.flatnonzero(one.histogram)
        centres = np.linspace(low, high, one.histogram.size)[kept] / factor
        # What was clipped lies anywhere up to what was seen: the ends stand for it.
        centres[kept == 0] = min(centres[kept == 0].min(initial=0.0), one.low / factor)
        last = kept == one.histogram.size - 1
        centres[last] = max(centres[last].max(initial=0.0), one.high / factor)
        values.append(centres)
        counts.append(one.histogram[kept].astype(np.float64))
    return np.concatenate(values), np.concatenate(counts)


def _list_ranges(group: tuple[Quantizer, ...], observed: Observed) -> Iterator[Move]:
    first = group[0]
    current = representable(first)
    assert current is not None  # what was observed has one scale
    tried: list[tuple[float, float]] = [current]
    data_type = first.data_type
    for rule, percentile, ends in _list_ends(observed, data_type):
        if not any(_is_same_range(ends, other) for other in tried):
            tried.append(ends)
            scheme = fit_scheme(data_type, ends, symmetric=_is_symmetric(first))
            yield Move(MoveKind.RANGE, group, scheme, rule, percentile)
    if _is_symmetric(first):
        ends = observed.low, observed.high
        scheme = fit_scheme(_other_sign(data_type, observed), ends, symmetric=False)
        yield Move(MoveKind.SIGN, group, scheme, RangeRule.MIN_MAX)
    if not first.data_type.endswith("16"):
        wide = _wide_range(current, observed)
        scheme = fit_scheme("int16" if first.data_type.startswith("int") else "uint16", wide)
        yield Move(MoveKind.WIDEN, group, scheme, RangeRule.MIN_MAX)


def _list_ends(
    observed: Observed, data_type: str
) -> Iterator[tuple[RangeRule, float | None, tuple[float, float]]]:
    yield RangeRule.MIN_MAX, None, (observed.low, observed.high)
    if observed.counts.sum() > 0:
        low, high = code_limits(data_type)
        ends = least_squares_range(observed, int(high - low))
        yield RangeRule.LEAST_SQUARES, None, ends
        for percentile in PERCENTILES:
            yield RangeRule.PERCENTILE, percentile, percentile_range(observed, percentile)


def percentile_range(observed: Observed, percentile: float) -> tuple[float, float]:
    """Return the ends that leave out, on both sides together, what is beyond a percentile."""
    order = np.argsort(observed.values)
    values, counts = observed.values[order], observed.counts[order]
    below = np.cumsum(counts) / counts.sum()
    beyond = (1 - percentile / 100) / 2
    ends = (int(np.searchsorted(below, part)) for part in (beyond, 1 - beyond))
    low, high = (float(values[min(end, values.size - 1)]) for end in ends)
    return low, high


def least_squares_range(observed: Observed, steps: int) -> tuple[float, float]:
    """Return the ends with the least squared error, of all parts of the observed ones.

    Inside, codes are ``range / steps`` apart and wrong by the square of that over 12; outside, by
    the square of the distance.
    """
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    lows = PARTS * low if low < 0 else np.zeros(1)
    highs = PARTS * high if high > 0 else np.zeros(1)
    values, counts = observed.values, observed.counts
    below = np.array([(counts * np.square(np.minimum(values - end, 0))).sum() for end in lows])
    above = np.array([(counts * np.square(np.maximum(values - end, 0))).sum() for end in highs])
    step = (highs[None, :] - lows[:, None]) / steps
    error = below[:, None] + above[None, :] + counts.sum() * np.square(step) / 12
    row, column = divmod(int(np.argmin(error)), highs.size)
    return float(lows[row]), float(highs[column])


def fit_scheme(
    data_type: str, ends: tuple[float, float], symmetric: bool = False
) -> ActivationScheme:
    """Return the scale and zero-point that hold a range and zero.

    Source: ``compute_scale_zp`` of onnxruntime's quantizer.
    """
    lowest, highest = code_limits(data_type)
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    if symmetric:
        widest = max(-low, high)
        low, high = -widest, widest
        if lowest < 0:
            lowest = -highest
    scale = np.float32(min((high - low) / (highest - lowest), LARGEST_SCALE))
    if not scale >= np.finfo(np.float32).tiny:
        scale = np.float32(1.0)
    middle = np.rint(np.float64(lowest) - low / np.float64(scale))
    zero_point = int(np.clip(middle, *code_limits(data_type)))
    return ActivationScheme(data_type, float(scale), zero_point)


def _is_symmetric(quantizer: Quantizer) -> bool:
    low, high = code_limits(quantizer.data_type)
    return quantizer.zero == (0 if low < 0 else (high + 1) // 2)


def _other_sign(data_type: str, observed: Observed) -> str:
    unsigned = data_type.removeprefix("u")
    return f"u{unsigned}" if observed.low >= 0 or data_type == unsigned else unsigned


def _is_same_range(one: tuple[float, float], other: tuple[float, float]) -> bool:
    width = max(other[1] - other[0], 1e-30)
    ends = (min(one[0], 0.0), max(one[1], 0.0))
    return all(abs(a - b) < SAME_RANGE * width for a, b in zip(ends, other, strict=True))


def _wide_range(current: tuple[float, float], observed: Observed) -> tuple[float, float]:
    """Return what 16 bits are to hold: all that was seen, and what the file holds if it is near."""
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if current[1] - current[0] > MUCH_WIDER * (high - low):
        return low, high
    return min(low, current[0]), max(high, current[1])


def move_for(move: Move, quantizer: Quantizer) -> ActivationScheme:
    """Return the scheme of one quantizer of a move's group: its scale goes along with a factor."""
    assert move.activation is not None
    factor = scale_factor(move.quantizers[0], quantizer)
    return replace(move.activation, scale=float(np.float32(move.activation.scale * factor)))
