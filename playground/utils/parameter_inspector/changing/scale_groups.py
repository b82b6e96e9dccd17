"""Which weights share a scale under a scheme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .schemes import Scheme, own_axis


def check_axis(axis: int, array: np.ndarray) -> int:
    rank = max(1, array.ndim)
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside a weight of shape {array.shape}")
    return axis % rank


@dataclass(frozen=True, eq=False)
class ScaleGroups:
    """A weight sorted by the scales that serve it, and the way back.

    Attributes:
        moved: the scales on its first axis, all other axes as they were: no copy of the weight
            unless it is in blocks, of which the last, short one is filled up with zeros.
        moved_shape: of the scale.
    """

    moved: np.ndarray
    axis: int | None
    moved_shape: tuple[int, ...]

    @cached_property
    def weights(self) -> np.ndarray:
        """The weights of each scale: (scales, weights)."""
        count = self.moved.shape[0]
        return self.moved.reshape(count, self.moved.size // max(1, count))

    def find_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest weight of each scale, no higher and lower than 0."""
        others = tuple(range(1, self.moved.ndim))
        return self.moved.min(axis=others, initial=0), self.moved.max(axis=others, initial=0)

    @classmethod
    def of(cls, weight: np.ndarray, scheme: Scheme, channel_axis: int) -> ScaleGroups:
        if scheme.granularity == "per-tensor" or weight.ndim == 0:
            return cls(weight.reshape(1, *weight.shape), None, ())
        axis = scheme.axis
        if axis is None:
            axis = own_axis(scheme.granularity, channel_axis, weight.ndim)
        axis = check_axis(axis or 0, weight)
        if scheme.block_size is None:
            return cls(np.moveaxis(weight, axis, 0), axis, (weight.shape[axis],))
        return cls._in_blocks(np.moveaxis(weight, axis, -1), axis, scheme.block_size)

    @classmethod
    def _in_blocks(cls, moved: np.ndarray, axis: int, size: int) -> ScaleGroups:
        blocks = -(-moved.shape[-1] // size)
        missing = blocks * size - moved.shape[-1]
        if missing:
            moved = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, missing)])
        return cls(moved.reshape(-1, size), axis, (*moved.shape[:-1], blocks))

    def to_scale_shape(self, parameter: np.ndarray) -> np.ndarray:
        shaped = parameter.reshape(self.moved_shape)
        return (
            np.moveaxis(shaped, -1, self.axis)
            if shaped.ndim > 1 and self.axis is not None
            else shaped
        )
