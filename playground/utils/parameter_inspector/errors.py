"""How far the values of a weight are from the float original, in steps of their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .histograms import count_in_bins
from .metrics import Measured
from .passes import Compared, OpenWeight
from .rows import Part

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


def compute_error_steps(one: Measured, original: Measured) -> ErrorSteps | None:
    """Return the errors of a quantized weight, None where it cannot be compared.

    Raises:
        UnavailableError: bytes are missing.
    """
    if one.quantization is None or one.sums.step_max is None or one.sums.step_square is None:
        return None
    factor = one.pair.reference_factor if one.pair is not None else None
    compared = Compared(one.weight, one.layer, original.weight, original.layer, factor)
    largest = float(one.sums.step_max.max(initial=0))
    finite = bool(np.isfinite(largest))
    if not finite:  # a scale of 0, somewhere: the pass did not keep the others apart
        largest = max(compared.share_out(_find_largest), default=0.0)
    limit = max(1.0, float(np.ceil(largest)))
    edges = np.linspace(-limit, limit, ERROR_BINS + 1)

    def count(opened: OpenWeight, parts: Sequence[Part]) -> tuple[np.ndarray, int, float]:
        counts, beyond, squares = np.zeros(ERROR_BINS, np.int64), 0, 0.0
        for part in parts:
            steps = _steps(opened, part)
            if not finite:
                steps = steps[np.isfinite(steps)]
                squares += float(np.square(steps, dtype=np.float64).sum())
            counts += count_in_bins(steps, edges, inside=True, scratch=opened.scratch)
            if largest > HALF_STEP:
                beyond += int(np.count_nonzero(np.abs(steps) > HALF_STEP))
        return counts, beyond, squares

    shares = compared.share_out(count)
    counts = np.stack([counts for counts, _, _ in shares]).sum(axis=0)
    size, beyond = int(counts.sum()), sum(beyond for _, beyond, _ in shares)
    if not size:
        return None
    squares = one.sums.step_square.sum() if finite else sum(found for _, _, found in shares)
    return ErrorSteps(edges, counts, size, float(np.sqrt(squares / size)), largest, beyond / size)


def _steps(opened: OpenWeight, part: Part) -> np.ndarray:
    """Return the errors of a chunk, flat."""
    values = opened.values(part, opened.codes(part))
    steps = np.subtract(opened.original(part), values, out=values)
    steps /= np.abs(opened.cut_parameters(part)[0])
    return steps.reshape(-1)


def _find_largest(opened: OpenWeight, parts: Sequence[Part]) -> float:
    def largest(steps: np.ndarray) -> float:
        return float(np.abs(steps[np.isfinite(steps)]).max(initial=0))

    return max((largest(_steps(opened, part)) for part in parts), default=0.0)
