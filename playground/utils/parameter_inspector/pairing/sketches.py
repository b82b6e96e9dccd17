"""A weight as a sketch, a few of its channels and columns, and how alike two sketches are.

The score is the mean over the output channels of abs(cosine), so that batch-norm folding, another
sign or another scale per channel leave it alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..records import Layer, WeightTensor
from ..streaming.weight_samples import sample_values

# This many channels and columns decide as well as all of them do.
CHANNELS, COLUMNS = 64, 256
# With this few, wrong pairs stay below 0.2; so many may be held at once, 16 MB of them.
FEWEST_CHANNELS, FEWEST_COLUMNS = 8, 64
ELEMENTS_IN_ALL = 1 << 22

# The scores of this many sketches are worked out at a time, and so many of each are told.
BLOCK_SKETCHES = 128
BEST_OF_A_SKETCH = 32


def sketch_size(count: int) -> tuple[int, int]:
    """Return how many channels and columns a sketch has where ``count`` of them are held."""
    share = min(1.0, ELEMENTS_IN_ALL / (CHANNELS * COLUMNS * max(1, count)))
    channels = max(FEWEST_CHANNELS, math.floor(CHANNELS * math.sqrt(share)))
    columns = max(FEWEST_COLUMNS, math.floor(CHANNELS * COLUMNS * share / channels))
    return channels, min(COLUMNS, columns)


def sample_weight(
    weight: WeightTensor, layer: Layer, size: tuple[int, int] = (CHANNELS, COLUMNS)
) -> np.ndarray:
    """Return up to ``size`` channels and columns of a weight, float32; one row where fan-in is 1.

    Raises:
        UnavailableError: bytes are missing.
    """
    sample = sample_values(weight, layer, *size)
    if sample.shape[1] == 1:
        sample = sample_values(weight, layer, size[1], 1).reshape(1, -1)
    return np.nan_to_num(np.ascontiguousarray(sample), posinf=0.0, neginf=0.0)


def score_sketches(left: np.ndarray, right: np.ndarray) -> float:
    """Return the mean abs(cosine) over the channels that neither sketch has all zero."""
    left, right = unit_rows(left), unit_rows(right)
    alive = np.count_nonzero(left.any(axis=1) & right.any(axis=1))
    return float(np.abs(np.vecdot(left, right)).sum() / max(1, alive))


def find_similar(
    left: Sequence[np.ndarray], right: Sequence[np.ndarray], at_least: float
) -> Iterator[tuple[int, int]]:
    """Yield which of ``left`` and ``right``, all of one shape, score ``at_least`` that much.

    No more than the best 32 of each on the left.
    """
    if not left or not right:
        return
    columns = np.stack([unit_rows(sketch).astype(np.float32) for sketch in right], axis=1)
    for start in range(0, len(left), BLOCK_SKETCHES):
        block = [unit_rows(sketch) for sketch in left[start : start + BLOCK_SKETCHES]]
        scores = _scores(np.stack(block, axis=1).astype(np.float32), columns)
        for i, of_sketch in enumerate(scores):
            best = np.flatnonzero(of_sketch >= at_least)
            if best.size > BEST_OF_A_SKETCH:
                best = np.sort(best[np.argsort(-of_sketch[best], kind="stable")[:BEST_OF_A_SKETCH]])
            yield from ((start + i, int(j)) for j in best)


def _scores(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the score of every two of (channels, n, columns) and (channels, m, columns)."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for channel in range(len(left)):
        total += np.abs(left[channel] @ right[channel].T)
    left_alive, right_alive = (np.asarray(side.any(axis=2), np.float32) for side in (left, right))
    count = left_alive.T @ right_alive
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def unit_rows(sketch: np.ndarray) -> np.ndarray:
    """Return the rows scaled to length 1, float64; zero rows are left, a single row is centred."""
    sketch = sketch.astype(np.float64)
    if sketch.shape[0] == 1 and sketch.size and np.ptp(sketch) > 0:
        sketch = sketch - sketch.mean()
    norms = np.linalg.norm(sketch, axis=1, keepdims=True)
    return np.divide(sketch, norms, out=np.zeros(sketch.shape), where=norms > 0)
