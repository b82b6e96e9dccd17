"""How far values lie from the float weight that they stand for: the SQNR of tensor and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..measuring.sqnr import judged_sqnr_db, total_sqnr_db
from ..streaming.array_parts import ArrayPart, leading_axis, share_out, sum_squares_along


def compute_sqnr_db(
    original: np.ndarray, values: np.ndarray, channel_axis: int
) -> tuple[float, np.ndarray]:
    """Return the SQNR of the tensor and of each channel, in dB; +inf where nothing was lost.

    20*log10(norm(x) / norm(x - values)); NaN where x is all zero, or negligible next to the other
    channels, as `are_judged` says.
    """

    def work(part: ArrayPart) -> ErrorSums:
        return ErrorSums.of(original[part], values[part], channel_axis)

    return ErrorSums.add(share_out(work, original), original, channel_axis)


def lowest_db(channels: np.ndarray) -> float:
    known = channels[~np.isnan(channels)]
    return float(known.min()) if known.size else math.nan


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Of each channel of a part: the squares of weights and errors, the largest abs(weight)."""

    signal: np.ndarray
    error: np.ndarray
    widths: np.ndarray

    @classmethod
    def of(cls, original: np.ndarray, values: np.ndarray, axis: int) -> ErrorSums:
        original = original.reshape(original.shape or (1,))
        values = values.reshape(original.shape)
        others = tuple(i for i in range(original.ndim) if i != axis)
        return cls(
            sum_squares_along(original, axis),
            sum_squares_along(original - values, axis),
            np.maximum(original.max(axis=others, initial=0), -original.min(axis=others, initial=0)),
        )

    @classmethod
    def add(
        cls, parts: Sequence[ErrorSums], original: np.ndarray, axis: int
    ) -> tuple[float, np.ndarray]:
        """Return the SQNR of the tensor and of each channel, of all parts of the original."""
        if not parts:
            return math.nan, np.full(original.shape[axis], np.nan)
        columns = ([p.signal for p in parts], [p.error for p in parts], [p.widths for p in parts])
        if leading_axis(original) == axis:  # each part has channels of its own
            signal, error, widths = map(np.concatenate, columns)
        else:
            signal, error = (np.sum(column, axis=0) for column in columns[:2])
            widths = np.max(columns[2], axis=0)
        return total_sqnr_db(signal, error), judged_sqnr_db(signal, error, widths)
