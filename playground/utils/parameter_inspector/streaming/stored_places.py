"""Where an element of a weight, as (channels, fan-in), lies among the codes in the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..operators import operator_named
from ..records import Layer, LayoutStep, WeightTensor

# For each axis the indices of some elements; they broadcast against each other.
Indices = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class _Rearranged:
    """One layout step, from the shape before it to the shape after it.

    ``axes`` of a transposition; None where elements keep their order.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    axes: tuple[int, ...] | None


@dataclass(frozen=True)
class StoredPlaces:
    """Leads back from the frame of the channels to that of the codes, for a few elements at a time.

    Nothing of the weight's size is made.
    """

    steps: tuple[_Rearranged, ...]
    shape: tuple[int, ...]
    channel_axis: int
    groups: int | None

    @classmethod
    def of(cls, weight: WeightTensor, layer: Layer) -> StoredPlaces:
        """Return the places of a weight, whose layout steps have been tried before."""
        shape = weight.source.shape
        steps = []
        for step in weight.layout:
            if step.op_type != "Cast":
                steps.append(_rearranged(step, shape))
                shape = steps[-1].after
        transposed = operator_named(layer.op_type).is_transposed and len(shape) > 1
        groups = layer.attribute("group", 1) if transposed else None
        return cls(tuple(steps), shape, weight.channel_axis or 0, groups)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Channels and fan-in."""
        if not self.shape:
            return 1, 1
        if self.groups is None:
            channels = self.shape[self.channel_axis]
        else:
            channels = self.groups * self.shape[1]
        return channels, math.prod(self.shape) // max(1, channels)

    def find(self, rows: np.ndarray, columns: np.ndarray) -> Indices:
        """Return the indices, among the stored codes, of what stands in some rows and columns.

        Args:
            rows, columns: of (channels, fan-in), one-dimensional.

        Returns:
            an array for each axis of the codes; together they broadcast to (rows, columns).
        """
        indices = self._in_layer(rows[:, None], columns[None, :])
        for step in reversed(self.steps):
            indices = _before(step, indices)
        return indices

    def _in_layer(self, rows: np.ndarray, columns: np.ndarray) -> Indices:
        """Undo `channels_first`."""
        if not self.shape:
            return ()
        if self.groups is None:
            others = [d for i, d in enumerate(self.shape) if i != self.channel_axis]
            indices = list(_unravel(columns, others))
            indices.insert(self.channel_axis, rows)
            return tuple(indices)
        inputs = self.shape[0] // self.groups
        group, channel = np.divmod(rows, self.shape[1])
        within, *others_of = _unravel(columns, (inputs, *self.shape[2:]))
        return (group * inputs + within, channel, *others_of)


def _rearranged(step: LayoutStep, shape: tuple[int, ...]) -> _Rearranged:
    """Return what a step does to a shape, tried on an array that takes no memory."""
    after = step.apply(np.broadcast_to(np.zeros((), np.int8), shape)).shape
    if step.op_type != "Transpose":
        return _Rearranged(shape, after, None)
    # An array of one element, whose strides tell its axes apart.
    rank = len(shape)
    marked = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.int8), (1,) * rank, tuple(range(1, rank + 1))
    )
    return _Rearranged(shape, after, tuple(stride - 1 for stride in step.apply(marked).strides))


def _before(step: _Rearranged, indices: Indices) -> Indices:
    if step.axes is not None:
        return tuple(indices[step.axes.index(axis)] for axis in range(len(step.axes)))
    long_before, long_after = (
        [i for i, d in enumerate(shape) if d != 1] for shape in (step.before, step.after)
    )
    if [step.before[i] for i in long_before] == [step.after[i] for i in long_after]:
        moved = dict(zip(long_before, long_after, strict=True))
        nowhere = np.zeros((1, 1), np.intp)
        return tuple(indices[moved[i]] if i in moved else nowhere for i in range(len(step.before)))
    flat = np.zeros((1, 1), np.intp)
    for index, length in zip(indices, step.after, strict=True):
        flat = flat * length + index
    return _unravel(flat, step.before)


def _unravel(flat: np.ndarray, shape: Sequence[int]) -> Indices:
    """Return the indices of flat ones; those of an axis of length 1 are one zero."""
    nowhere = np.zeros((1, 1), np.intp)
    indices = []
    behind = math.prod(shape)
    for length in shape:
        behind = behind // length if length else 0
        whole = behind * length if length else 1
        indices.append(nowhere if length == 1 else flat % max(1, whole) // max(1, behind))
    return tuple(indices)
