"""Signal against error in decibels, and which channels count. The one place of this formula."""

from __future__ import annotations

import numpy as np

# float32 resolves 1e-7 of the widest channel; batch-norm folding (epsilon 1e-5) sets channels apart
# by some 300.
NEGLIGIBLE_WIDTH = 1e-6


def sqnr_db(signal: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return 10*log10(signal / error) of sums of squares, in dB, of their shape.

    +inf where nothing was lost, NaN where the signal is zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(np.where(signal == 0, np.nan, signal) / error)


def total_sqnr_db(signal: np.ndarray, error: np.ndarray) -> float:
    """Return the SQNR of all channels together."""
    return float(sqnr_db(signal.sum(), error.sum()))


def judged_sqnr_db(signal: np.ndarray, error: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return `sqnr_db`, NaN too for channels that are not judged by their ``widths``."""
    return np.where(are_judged(widths), sqnr_db(signal, error), np.nan)


def are_judged(widths: np.ndarray) -> np.ndarray:
    """Return which channels count when the worst is looked for, by their largest abs(weight).

    Not those that are zero next to the others: training ends many channels at 1e-30, not at 0; no
    code could hold them, and nothing is lost.
    """
    return np.asarray(widths > NEGLIGIBLE_WIDTH * np.nanmax(widths, initial=0.0))
