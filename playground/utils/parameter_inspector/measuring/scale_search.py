"""The scale that loses least of some weights: tried coarsely, then finely around the best.

`search_factors` is the search itself, for whoever can measure what a factor loses;
`search_scale` is what the metrics ask: how much better the current scale could be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..quantization import Quantization

# First every fourth factor, then those around the best of each channel.
FACTORS = np.geomspace(1 / 16, 4.0, 49)
STRIDE = 4

Losses = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class BestFactors:
    """What a search found of each channel: the factor, what it loses, whether all were finite."""

    factors: np.ndarray
    losses: np.ndarray
    is_finite: bool


def search_factors(
    measure: Losses, coarse: np.ndarray, refine: Callable[[np.ndarray], np.ndarray]
) -> BestFactors:
    """Return the factor of each channel that loses least.

    Args:
        measure: what factors (trials, channels), or (trials, 1) for the same of all, lose:
            (trials, channels).
        coarse: the factors tried first, (trials,).
        refine: the index of each channel's best one of these -> those tried then, (trials,
            channels).
    """
    tried = measure(coarse[:, None])
    around = refine(tried.argmin(axis=0))
    near = measure(around)
    index, every = near.argmin(axis=0), np.arange(near.shape[1])
    return BestFactors(
        np.broadcast_to(around, near.shape)[index, every],
        np.minimum(tried.min(axis=0), near[index, every]),
        bool(np.isfinite(tried).all()),
    )


def search_scale(
    values: np.ndarray,
    counts: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    quantization: Quantization,
) -> tuple[float, float] | None:
    """Return the squared error at the current scale and at the best one; None beyond float32.

    Each channel (the whole tensor, where it has one scale) may change its scale by a factor.

    Args:
        values: of the float weight, (channels, weights).
        counts: how many weights each of them stands for, the same shape.
        scale, zero_point: that broadcast against them; float64 and float32.
    """
    widest = np.abs(scale).max(initial=0)
    losses = _RoundingLosses(
        values, counts * (scale / widest) ** 2, scale, zero_point, quantization
    )
    current = losses.measure(np.ones((1, 1)))[0]
    best = search_factors(losses.measure, FACTORS[::STRIDE], _neighbours)
    if not (np.isfinite(current).all() and best.is_finite):
        return None
    lowest = np.minimum(best.losses, current)
    return float(current.sum() * widest**2), float(lowest.sum() * widest**2)


def _neighbours(index: np.ndarray) -> np.ndarray:
    """Return the fine factors around a coarse one."""
    offsets = np.arange(1 - STRIDE, STRIDE)[:, None]
    return FACTORS[np.clip(STRIDE * index + offsets, 0, len(FACTORS) - 1)]


class _RoundingLosses:
    """What rounding loses of some weights under other scales, in squared steps."""

    def __init__(
        self,
        values: np.ndarray,
        counts: np.ndarray,
        scale: np.ndarray,
        zero_point: np.ndarray,
        quantization: Quantization,
    ) -> None:
        self._steps = (values / scale).astype(np.float32)
        self._counts = counts.astype(np.float32)
        low, high = quantization.code_limits
        self._low, self._high = np.float32(low) - zero_point, np.float32(high) - zero_point
        self._pooled = quantization.granularity == "per-tensor"

    def measure(self, factors: np.ndarray) -> np.ndarray:
        """Return the squared error of each channel under its factors, (factors, channels)."""
        factors = factors.astype(np.float32)[:, :, None]
        codes = self._steps * (1 / factors)
        np.rint(codes, out=codes)
        np.minimum(np.maximum(codes, self._low, out=codes), self._high, out=codes)
        codes *= factors
        np.subtract(self._steps, codes, out=codes)
        errors = np.vecdot(np.square(codes, out=codes), self._counts).astype(np.float64)
        return errors.sum(axis=1, keepdims=True) if self._pooled else errors
