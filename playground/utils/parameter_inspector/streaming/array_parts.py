"""An array part by part, each small enough for the processor's cache, on several threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .threads import deal_out

ArrayPart = tuple[slice, ...]
T = TypeVar("T")

PART_ELEMENTS = 1 << 16


def share_out(work: Callable[[ArrayPart], T], array: np.ndarray) -> list[T]:
    """Return what ``work`` made of each part of an array, in order; many parts by threads."""
    parts = list_array_parts(array)
    done = deal_out(parts, lambda share: [work(part) for part in share])
    return [done[i % len(done)][i // len(done)] for i in range(len(parts))]


def list_array_parts(array: np.ndarray) -> list[ArrayPart]:
    """Return parts of an array that are contiguous in memory, along its `leading_axis`."""
    if not array.ndim:
        return [()]
    lead = leading_axis(array)
    length = array.shape[lead]
    step = max(1, PART_ELEMENTS * length // max(1, array.size))
    before = (slice(None),) * lead
    return [(*before, slice(i, i + step)) for i in range(0, length, step)]


def leading_axis(array: np.ndarray) -> int:
    """Return the axis along which parts are contiguous: 0, the last one of a transposed weight."""
    strides = np.abs(array.strides) * (np.array(array.shape) > 1)
    return int(np.argmax(strides)) if array.ndim else 0


def sum_squares_along(array: np.ndarray, axis: int) -> np.ndarray:
    """Return the sum of squares of each index of ``axis``, without a float64 copy of it all.

    Returns:
        float64 of shape ``(array.shape[axis],)``.
    """
    after = math.prod(array.shape[axis + 1 :])
    slabs = array.reshape(-1, array.shape[axis], after) if array.size else np.zeros((0, 1, 1))
    if axis == 0 and array.size:
        return _sum_squares_of_lines(slabs[0])
    step = max(1, PART_ELEMENTS // max(1, slabs[:1].size))
    total = np.zeros(array.shape[axis])
    for i in range(0, len(slabs), step):
        part = slabs[i : i + step].astype(np.float64)
        total += np.einsum("ijk,ijk->j", part, part)
    return total


def _sum_squares_of_lines(lines: np.ndarray) -> np.ndarray:
    step = max(1, PART_ELEMENTS // max(1, lines.shape[1]))
    wide = (lines[i : i + step].astype(np.float64) for i in range(0, len(lines), step))
    return np.concatenate([np.einsum("ij,ij->i", part, part) for part in wide])
