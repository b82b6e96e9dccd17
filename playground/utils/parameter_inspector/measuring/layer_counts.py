"""What the charts of one layer count, in one pass over each weight: its values and its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..quantization import UnavailableError, code_limits, numpy_dtype
from ..streaming.chunks import Part, Scratch
from ..streaming.compared_weights import Compared, OpenWeight, is_as_read
from .histograms import DEFAULT_BINS, MAX_BINS, Histograms, compute_edges, count_in_bins
from .metrics import MeasuredWeight

ERROR_BINS = 64
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
    missing: Mapping[str, str]


def count_layer(measured: Mapping[str, MeasuredWeight], bins: int = DEFAULT_BINS) -> LayerCounts:
    """Return exact counts of a layer's weights and of their errors.

    The bins of the weights run from the lowest to the highest value that the comparison found.

    Args:
        measured: by variant name, the float original first.

    Raises:
        ValueError: more than 256 bins.
    """
    if bins > MAX_BINS:
        raise ValueError(f"{bins} bins asked for, at most {MAX_BINS} can be counted")
    edges = _find_edges(measured, bins)
    counts, errors = dict[str, np.ndarray](), dict[str, ErrorSteps]()
    missing = dict[str, str]()
    first = next(iter(measured), "")
    for name, one in measured.items():
        if name == first or one.quantization is None or one.sums.step_max is None:
            continue
        try:
            found = _count_pair(one, measured[first], edges, original_too=first not in counts)
        except UnavailableError as error:
            missing[name] = str(error)
            continue
        counts[name] = found.values
        if found.original is not None:
            counts[first] = found.original
        if found.errors is not None:
            errors[name] = found.errors
    for name, one in measured.items():
        if name in counts:
            continue
        try:
            counts[name] = _count_alone(one, edges)
        except UnavailableError as error:
            missing[name] = str(error)
    counts = {name: counts[name] for name in measured if name in counts}
    sizes = {name: one.sums.channel_count * one.sums.fan_in for name, one in measured.items()}
    outside = {name: sizes[name] - int(found.sum()) for name, found in counts.items()}
    return LayerCounts(Histograms(edges, counts, outside), errors, missing)


def _find_edges(measured: Mapping[str, MeasuredWeight], bins: int) -> np.ndarray:
    lows = [m.metrics["range_low"] for m in measured.values()]
    highs = [m.metrics["range_high"] for m in measured.values()]
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low == low]
    return compute_edges(
        min((k[0] for k in known), default=0.0), max((k[1] for k in known), default=0.0), bins
    )


class _Pair(NamedTuple):
    """Counts of a weight, of its float original where asked for, and the errors between them."""

    values: np.ndarray
    original: np.ndarray | None
    errors: ErrorSteps | None


def _count_pair(
    one: MeasuredWeight, original: MeasuredWeight, edges: np.ndarray, *, original_too: bool
) -> _Pair:
    """Count both in one pass; not the original where what is read of it was folded or cast."""
    factor = one.pair.original_factor if one.pair is not None else None
    compared = Compared(one.weight, one.layer, original.weight, original.layer, factor)
    finite, largest, squares = _measure_errors(one, compared)
    limit = max(1.0, float(np.ceil(largest)))
    error_edges = np.linspace(-limit, limit, ERROR_BINS + 1)
    coded = _count_codes(one, edges)
    original_too = original_too and is_as_read(original.weight, factor)

    def count(opened: OpenWeight, parts: Sequence[Part]) -> list[np.ndarray]:
        weights, exacts = np.zeros((2, len(edges) - 1), np.int64)
        errors, beyond = np.zeros(ERROR_BINS, np.int64), np.zeros((), np.int64)
        for part in parts:
            values, exact = opened.values(part, opened.codes(part)), opened.original_values(part)
            if coded is None:
                weights += _count_values(one, values, edges, opened.scratch)
            if original_too:
                exacts += _count_values(original, exact, edges, opened.scratch)
            steps = _to_steps(opened, part, exact, values)
            if not finite:
                steps = steps[np.isfinite(steps)]
            errors += count_in_bins(steps, error_edges, inside=True, scratch=opened.scratch)
            if largest > HALF_STEP:
                beyond += np.count_nonzero(np.abs(steps) > HALF_STEP)
        return [weights, exacts, errors, beyond]

    shares = zip(*compared.share_out(count), strict=True)
    weights, exacts, errors, beyond = (np.sum(share, axis=0) for share in shares)
    values, size = weights if coded is None else coded, int(errors.sum())
    own = exacts if original_too else None
    if not size:
        return _Pair(values, own, None)
    rms = float(np.sqrt(squares / size))
    error_steps = ErrorSteps(error_edges, errors, size, rms, largest, float(beyond / size))
    return _Pair(values, own, error_steps)


def _measure_errors(one: MeasuredWeight, compared: Compared) -> tuple[bool, float, float]:
    """Return whether all errors are finite; of those that are, the largest and the sum of squares.

    Both in steps of the scale.
    """
    assert one.sums.step_max is not None and one.sums.step_square is not None
    largest = float(one.sums.step_max.max(initial=0))
    if np.isfinite(largest):
        return True, largest, float(one.sums.step_square.sum())

    # A scale of 0, somewhere: the comparison did not keep the others apart.
    def measure(opened: OpenWeight, parts: Sequence[Part]) -> tuple[float, float]:
        largest = squares = 0.0
        for part in parts:
            values, exact = opened.values(part, opened.codes(part)), opened.original_values(part)
            steps = _to_steps(opened, part, exact, values)
            steps = steps[np.isfinite(steps)]
            largest = max(largest, float(np.abs(steps).max(initial=0)))
            squares += float(np.square(steps, dtype=np.float64).sum())
        return largest, squares

    found = compared.share_out(measure)
    return False, max(one[0] for one in found), sum(one[1] for one in found)


def _to_steps(opened: OpenWeight, part: Part, exact: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the errors of a chunk in steps of its scale, flat; ``values`` are overwritten."""
    steps = np.subtract(exact, values, out=values)
    steps /= np.abs(opened.cut_parameters(part)[0])
    return steps.reshape(-1)


def _count_alone(one: MeasuredWeight, edges: np.ndarray) -> np.ndarray:
    """Return the counts of a weight's values, by a pass over it alone."""
    coded = _count_codes(one, edges)
    if coded is not None:
        return coded

    def count(opened: OpenWeight, parts: Sequence[Part]) -> np.ndarray:
        counts = np.zeros(len(edges) - 1, np.int64)
        for part in parts:
            values = opened.values(part, opened.codes(part))
            counts += _count_values(one, values, edges, opened.scratch)
        return counts

    return np.sum(Compared(one.weight, one.layer).share_out(count), axis=0)


def _count_values(
    one: MeasuredWeight, values: np.ndarray, edges: np.ndarray, scratch: Scratch
) -> np.ndarray:
    return count_in_bins(values, edges, inside=one.sums.not_finite == 0, scratch=scratch)


def _count_codes(one: MeasuredWeight, edges: np.ndarray) -> np.ndarray | None:
    """Return the counts of codes that share one scale, each code at its value; else None."""
    quantization, code_counts = one.quantization, one.sums.code_counts
    if quantization is None or quantization.scale.size != 1 or code_counts is None:
        return None
    first = int(code_limits(quantization.data_type)[0])
    codes = np.arange(first, first + code_counts.size).astype(numpy_dtype(quantization.data_type))
    with np.errstate(all="ignore"):
        values = one.weight.round_as_cast(quantization.dequantize(codes))
    known = np.isfinite(values) & (code_counts > 0)
    weights = code_counts[known]
    return np.histogram(values[known].astype(np.float64), edges, weights=weights)[0]
