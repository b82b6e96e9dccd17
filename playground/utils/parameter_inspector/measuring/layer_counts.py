"""What the charts of one layer count, in one pass over each weight: its values and its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..facts import Refusal
from ..quantization import UnavailableError, code_limits, numpy_dtype
from ..streaming.chunks import Part, Scratch
from ..streaming.compared_weights import Compared, OpenWeight, is_as_read
from .histograms import (
    DEFAULT_BINS,
    MAX_BINS,
    Beyond,
    Histograms,
    compute_edges,
    count_in_bins,
    find_center,
)
from .metrics import MeasuredWeight

ERROR_BINS = 64
MOST_LOOKS = 3  # each at the eighth of the range before, or less, that holds most weights
# float32 rounds x / scale; what lies this far beyond half a step is more than rounding.
HALF_STEP = np.float32(0.5 + 1e-3)


@dataclass(frozen=True, eq=False)
class ErrorSteps:
    """The errors of a weight, in steps of its scale; NaN and infinities left out.

    Attributes:
        edges: of the bins, symmetric around 0, at least from -1 to 1.
        rms: root-mean-square error; rounding alone gives 1/sqrt(12) = 0.289.
        largest: the largest absolute error.
        beyond_half_share: share of the weights whose error is more than rounding makes.
    """

    edges: np.ndarray
    counts: np.ndarray
    count: int
    rms: float
    largest: float
    beyond_half_share: float


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """What was counted of one layer, by variant name.

    Attributes:
        histograms: of the dequantized weights, every variant over the same bins.
        errors: of each quantized weight that has a float original.
        missing: why a variant is in neither, or not in the errors: its bytes, or those of the
            original, are no longer there.
    """

    histograms: Histograms
    errors: Mapping[str, ErrorSteps]
    missing: Mapping[str, Refusal]


def count_layer(measured: Mapping[str, MeasuredWeight], bins: int = DEFAULT_BINS) -> LayerCounts:
    """Return exact counts of a layer's weights and of their errors.

    The bins of the weights run from the lowest to the highest value that the comparison found;
    where a few far values would leave the others in a bin or two, over the range of the others.

    Args:
        measured: by variant name, the float original first.

    Raises:
        ValueError: more than 256 bins.
    """
    if bins > MAX_BINS:
        raise ValueError(f"{bins} bins asked for, at most {MAX_BINS} can be counted")
    counting = _Counting(measured, _find_edges(measured, bins))
    for name, weight in measured.items():
        if counting.has_errors(name):
            counting.count_pair(name, weight)
    for name, weight in measured.items():
        counting.count_alone(name, weight)
    counted = counting.result()
    return replace(counted, histograms=_narrow(measured, counted.histograms, bins))


def _narrow(
    measured: Mapping[str, MeasuredWeight], histograms: Histograms, bins: int
) -> Histograms:
    """Return histograms over the bins of most weights, as often narrowed as that takes."""
    for _ in range(MOST_LOOKS):
        center = find_center(histograms)
        if center is None:
            break
        low, high = histograms.edges[center.start], histograms.edges[center.stop]
        edges = compute_edges(float(low), float(high), bins)
        try:
            counts = {
                name: _count_alone(measured[name], edges, inside=False)
                for name in histograms.counts
            }
        except UnavailableError:  # gone since it was counted, and what was counted holds
            break
        beyond = {
            name: _count_beyond(measured[name], histograms, name, center, int(counts[name].sum()))
            for name in counts
        }
        histograms = Histograms(edges, counts, histograms.outside, beyond)
    return histograms


def _count_beyond(
    measured: MeasuredWeight, before: Histograms, name: str, center: range, inside: int
) -> Beyond:
    """Return what lies beyond some bins of ``before``, which hold ``inside`` values."""
    below = int(before.counts[name][: center.start].sum())
    below += before.beyond[name].below if name in before.beyond else 0
    above = before.count_finite(name) - below - inside
    metrics = measured.metrics
    return Beyond(below, above, metrics["range_low"], metrics["range_high"])


def _find_edges(measured: Mapping[str, MeasuredWeight], bins: int) -> np.ndarray:
    lows = [m.metrics["range_low"] for m in measured.values()]
    highs = [m.metrics["range_high"] for m in measured.values()]
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low == low]
    return compute_edges(
        min((k[0] for k in known), default=0.0), max((k[1] for k in known), default=0.0), bins
    )


class _Counting:
    """The counts of a layer so far. The first variant is the one that the others have lost."""

    def __init__(self, measured: Mapping[str, MeasuredWeight], edges: np.ndarray) -> None:
        self._measured, self._edges = measured, edges
        self._original = next(iter(measured), "")
        self._counts: dict[str, np.ndarray] = {}
        self._errors: dict[str, ErrorSteps] = {}
        self._missing: dict[str, Refusal] = {}

    def has_errors(self, name: str) -> bool:
        weight = self._measured[name]
        compared = weight.quantization is not None and weight.sums.step_max is not None
        return name != self._original and compared

    def count_pair(self, name: str, weight: MeasuredWeight) -> None:
        """Count a weight and its errors, and the original with it where it is read anyway."""
        original_too = self._original not in self._counts
        original = self._measured[self._original]
        try:
            counts = _PairCount(weight, original, self._edges, original_too=original_too).run()
        except UnavailableError as error:
            self._missing[name] = error.refusal
            return
        self._counts[name] = counts.values
        if counts.original is not None:
            self._counts[self._original] = counts.original
        if counts.errors is not None:
            self._errors[name] = counts.errors

    def count_alone(self, name: str, weight: MeasuredWeight) -> None:
        """Count a weight that was not counted yet."""
        if name in self._counts:
            return
        try:
            self._counts[name] = _count_alone(weight, self._edges)
        except UnavailableError as error:
            self._missing[name] = error.refusal

    def result(self) -> LayerCounts:
        counts = {name: self._counts[name] for name in self._measured if name in self._counts}
        outside = {
            name: sums.channel_count * sums.fan_in - int(counts[name].sum())
            for name, sums in ((name, self._measured[name].sums) for name in counts)
        }
        histograms = Histograms(self._edges, counts, outside)
        return LayerCounts(histograms, self._errors, self._missing)


class _Pair(NamedTuple):
    """Counts of a weight, of its float original where asked for, and the errors between them."""

    values: np.ndarray
    original: np.ndarray | None
    errors: ErrorSteps | None


class _PairCount:
    """The pass over a weight and its original.

    The original is not counted where what is read of it was folded or cast.
    """

    def __init__(
        self,
        weight: MeasuredWeight,
        original: MeasuredWeight,
        edges: np.ndarray,
        *,
        original_too: bool,
    ) -> None:
        factor = weight.pair.original_factor if weight.pair is not None else None
        self._weight, self._original, self._edges = weight, original, edges
        self._compared = Compared(
            weight.weight, weight.layer, original.weight, original.layer, factor
        )
        self._original_too = original_too and is_as_read(original.weight, factor)
        self._coded = _count_codes(weight, edges)

    def run(self) -> _Pair:
        self._range = _measure_errors(self._weight, self._compared)
        limit = max(1.0, float(np.ceil(self._range.largest)))
        self._error_edges = np.linspace(-limit, limit, ERROR_BINS + 1)
        shares = zip(*self._compared.share_out(self._count), strict=True)
        weights, originals, errors, beyond = (np.sum(share, axis=0) for share in shares)
        return _Pair(
            weights if self._coded is None else self._coded,
            originals if self._original_too else None,
            self._error_steps(errors, int(beyond)),
        )

    def _count(self, opened: OpenWeight, parts: Sequence[Part]) -> list[np.ndarray]:
        """Return the counts of weights, originals, errors and large errors in some chunks."""
        weights, originals = np.zeros((2, len(self._edges) - 1), np.int64)
        errors, beyond = np.zeros(ERROR_BINS, np.int64), np.zeros((), np.int64)
        for part in parts:
            values, original = opened.values(part, opened.codes(part)), opened.original_values(part)
            if self._coded is None:
                weights += _count_values(self._weight, values, self._edges, opened.scratch)
            if self._original_too:
                originals += _count_values(self._original, original, self._edges, opened.scratch)
            steps = _to_steps(opened, part, original, values)
            if not self._range.is_finite:
                steps = steps[np.isfinite(steps)]
            errors += count_in_bins(steps, self._error_edges, inside=True, scratch=opened.scratch)
            if self._range.largest > HALF_STEP:
                beyond += np.count_nonzero(np.abs(steps) > HALF_STEP)
        return [weights, originals, errors, beyond]

    def _error_steps(self, counts: np.ndarray, beyond: int) -> ErrorSteps | None:
        size = int(counts.sum())
        if not size:
            return None
        rms = float(np.sqrt(self._range.squares / size))
        return ErrorSteps(self._error_edges, counts, size, rms, self._range.largest, beyond / size)


class _ErrorRange(NamedTuple):
    """Whether all errors are finite; of those that are, the largest and the sum of squares.

    In steps of the scale.
    """

    is_finite: bool
    largest: float
    squares: float


def _measure_errors(weight: MeasuredWeight, compared: Compared) -> _ErrorRange:
    sums = weight.sums
    assert sums.step_max is not None and sums.step_square is not None
    largest = float(sums.step_max.max(initial=0))
    if np.isfinite(largest):
        return _ErrorRange(True, largest, float(sums.step_square.sum()))
    # A scale of 0, somewhere: the comparison did not keep the others apart.
    shares = compared.share_out(_measure_finite)
    return _ErrorRange(False, max(share[0] for share in shares), sum(share[1] for share in shares))


def _measure_finite(opened: OpenWeight, parts: Sequence[Part]) -> tuple[float, float]:
    """Return the largest of the finite errors in some chunks, and the sum of their squares."""
    largest = squares = 0.0
    for part in parts:
        values, original = opened.values(part, opened.codes(part)), opened.original_values(part)
        steps = _to_steps(opened, part, original, values)
        steps = steps[np.isfinite(steps)]
        largest = max(largest, float(np.abs(steps).max(initial=0)))
        squares += float(np.square(steps, dtype=np.float64).sum())
    return largest, squares


def _to_steps(
    opened: OpenWeight, part: Part, original: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return the errors of a chunk in steps of its scale, flat; ``values`` are overwritten."""
    steps = np.subtract(original, values, out=values)
    steps /= np.abs(opened.cut_parameters(part)[0])
    return steps.reshape(-1)


def _count_alone(weight: MeasuredWeight, edges: np.ndarray, *, inside: bool = True) -> np.ndarray:
    """Return the counts of a weight's values, by a pass over it alone.

    Args:
        inside: every finite value is in some bin.
    """
    coded = _count_codes(weight, edges)
    if coded is not None:
        return coded

    def count(opened: OpenWeight, parts: Sequence[Part]) -> np.ndarray:
        counts = np.zeros(len(edges) - 1, np.int64)
        for part in parts:
            values = opened.values(part, opened.codes(part))
            is_inside = inside and weight.sums.not_finite == 0
            counts += count_in_bins(values, edges, inside=is_inside, scratch=opened.scratch)
        return counts

    return np.sum(Compared(weight.weight, weight.layer).share_out(count), axis=0)


def _count_values(
    weight: MeasuredWeight, values: np.ndarray, edges: np.ndarray, scratch: Scratch
) -> np.ndarray:
    return count_in_bins(values, edges, inside=weight.sums.not_finite == 0, scratch=scratch)


def _count_codes(weight: MeasuredWeight, edges: np.ndarray) -> np.ndarray | None:
    """Return the counts of codes that share one scale, each code at its value; else None."""
    quantization, code_counts = weight.quantization, weight.sums.code_counts
    if quantization is None or quantization.scale.size != 1 or code_counts is None:
        return None
    first = int(code_limits(quantization.data_type)[0])
    codes = np.arange(first, first + code_counts.size).astype(numpy_dtype(quantization.data_type))
    with np.errstate(all="ignore"):
        values = weight.weight.round_as_cast(quantization.dequantize(codes))
    known = np.isfinite(values) & (code_counts > 0)
    counts = code_counts[known]
    return np.histogram(values[known].astype(np.float64), edges, weights=counts)[0]
