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
    if one.quantization is None or one.sums.step_max is None:
        return None
    factor = one.pair.reference_factor if one.pair is not None else None
    compared = Compared(one.weight, one.layer, original.weight, original.layer, factor)
    largest = float(one.sums.step_max.max(initial=0))
    if not np.isfinite(largest):  # a scale of 0, somewhere: the pass did not keep the others apart
        largest = max(compared.share_out(_find_largest), default=0.0)
    limit = max(1.0, float(np.ceil(largest)))
    edges = np.linspace(-limit, limit, ERROR_BINS + 1)

    def count(opened: OpenWeight, parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
        counts, sums = np.zeros(ERROR_BINS, np.int64), np.zeros(3)
        for part in parts:
            steps = _steps(opened, part)
            counts += count_in_bins(steps, edges)
            beyond = np.count_nonzero(np.abs(steps) > HALF_STEP)
            sums += np.array([steps.size, _square_sum(steps), beyond], np.float64)
        return counts, sums

    shares = compared.share_out(count)
    counts = np.stack([counts for counts, _ in shares]).sum(axis=0)
    size, squares, beyond = np.stack([sums for _, sums in shares]).sum(axis=0)
    if not size:
        return None
    rms = float(np.sqrt(squares / size))
    return ErrorSteps(edges, counts, int(size), rms, largest, float(beyond / size))


def _steps(opened: OpenWeight, part: Part) -> np.ndarray:
    """Return the finite errors of a chunk, flat."""
    values = opened.values(part, opened.codes(part))
    steps = np.subtract(opened.original(part), values, out=values)
    steps /= np.abs(opened.cut_parameters(part)[0])
    flat = steps.reshape(-1)
    return flat if np.isfinite(flat.sum(dtype=np.float64)) else flat[np.isfinite(flat)]


def _find_largest(opened: OpenWeight, parts: Sequence[Part]) -> float:
    return max((float(np.abs(_steps(opened, p)).max(initial=0)) for p in parts), default=0.0)


def _square_sum(steps: np.ndarray) -> float:
    wide = steps.astype(np.float64)
    return float(wide @ wide)
