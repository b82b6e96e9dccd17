"""The scale and the zero-point of a weight, cut to each chunk of its (channels, fan-in)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..quantization import Quantization
from ..records import Layer, WeightTensor
from .chunks import Part
from .stored_places import StoredPlaces

BlockOf = Callable[[np.ndarray], np.ndarray]
Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]

# What is computed from parameters is held where that takes a megabyte at most.
HELD_ELEMENTS = 1 << 18


class MatrixParameter:
    """A scale or zero-point, float32, of which each part broadcasts against that of the codes."""

    varies_in_channel = True

    @property
    def by_channel(self) -> np.ndarray:
        """What belongs to each channel, (channels, 1); or (1, 1). None varies in its channel."""
        raise NotImplementedError

    def cut(self, part: Part) -> np.ndarray:
        """Return what belongs to a part; axes of length 1 broadcast."""
        rows, columns = (np.arange(s.start, s.stop) for s in part)
        return self.pick(rows, columns)

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what belongs to some rows and columns; axes of length 1 broadcast."""
        raise NotImplementedError

    def combine(self, other: MatrixParameter, compute: Compute) -> MatrixParameter:
        """Return what ``compute`` makes of both."""
        return _Combined(self, other, compute)


class _OfChannels(MatrixParameter):
    """One number, or one for each channel: (1, 1) or (channels, 1)."""

    varies_in_channel = False

    def __init__(self, compact: np.ndarray) -> None:
        self._compact = compact

    @property
    def by_channel(self) -> np.ndarray:
        return self._compact

    def cut(self, part: Part) -> np.ndarray:
        return self._compact[part[0]] if self._compact.shape[0] > 1 else self._compact

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self._compact[rows] if self._compact.shape[0] > 1 else self._compact

    def combine(self, other: MatrixParameter, compute: Compute) -> MatrixParameter:
        if isinstance(other, _OfChannels):
            return _OfChannels(compute(self._compact, other._compact))
        return super().combine(other, compute)


class _OfBlocks(MatrixParameter):
    """One for each block of a channel: (channels or 1, blocks), and the block of some columns."""

    def __init__(self, compact: np.ndarray, block_of: BlockOf) -> None:
        self._compact, self._block_of = compact, block_of

    def cut(self, part: Part) -> np.ndarray:
        rows, columns = part
        compact = self._compact[rows] if self._compact.shape[0] > 1 else self._compact
        blocks = self._block_of(np.arange(columns.start, columns.stop))
        return compact[:, blocks].astype(np.float32, copy=False)

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        compact = self._compact[rows] if self._compact.shape[0] > 1 else self._compact
        return compact[:, self._block_of(columns)].astype(np.float32, copy=False)

    def combine(self, other: MatrixParameter, compute: Compute) -> MatrixParameter:
        """Return the same of what is small; what is large is computed for each part."""
        small = self._compact.size <= HELD_ELEMENTS
        if small and isinstance(other, _OfBlocks):
            mine, others = (p._compact.astype(np.float32, copy=False) for p in (self, other))
            return _OfBlocks(compute(mine, others), self._block_of)
        if small and isinstance(other, _OfChannels):
            mine = self._compact.astype(np.float32, copy=False)
            return _OfBlocks(compute(mine, other.by_channel), self._block_of)
        return super().combine(other, compute)


class _Looked(MatrixParameter):
    """Any other, found for each element where the codes are stored."""

    def __init__(
        self, parameter: np.ndarray, places: StoredPlaces, axis: int | None, block_of: BlockOf
    ) -> None:
        self._parameter, self._places = parameter, places
        self._axis, self._block_of = axis, block_of

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found = self._places.find(rows, columns)
        index = tuple(
            np.zeros((1, 1), np.intp)
            if length == 1
            else self._block_of(where)
            if axis == self._axis
            else where
            for axis, (length, where) in enumerate(zip(self._parameter.shape, found, strict=True))
        )
        return self._parameter[index].astype(np.float32, copy=False)


class _Combined(MatrixParameter):
    """What is computed from two others, for each part anew."""

    def __init__(self, one: MatrixParameter, other: MatrixParameter, compute: Compute) -> None:
        self._one, self._other, self._compute = one, other, compute

    def cut(self, part: Part) -> np.ndarray:
        return self._compute(self._one.cut(part), self._other.cut(part))

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self._compute(self._one.pick(rows, columns), self._other.pick(rows, columns))


def spread_parameters(
    weight: WeightTensor, layer: Layer
) -> tuple[MatrixParameter, MatrixParameter] | None:
    """Return scale and zero-point of a weight; None for a float weight."""
    quantization = weight.quantization
    if quantization is None:
        return None
    places = StoredPlaces.of(weight, layer)
    return (
        _matrix_parameter(quantization.scale, weight, places, quantization),
        _matrix_parameter(quantization.zero_point, weight, places, quantization),
    )


def _matrix_parameter(
    parameter: np.ndarray, weight: WeightTensor, places: StoredPlaces, quantization: Quantization
) -> MatrixParameter:
    if parameter.size == 1:
        return _OfChannels(parameter.astype(np.float32).reshape(1, 1))
    shape, axis = weight.source.shape, quantization.axis
    if quantization.block_size is None:
        parameter = parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    block_of = quantization.block_of
    channel_axis = weight.channel_axis or 0
    if parameter.ndim == 2 and axis != channel_axis and not weight.layout and places.groups is None:
        return _OfBlocks(np.moveaxis(parameter, channel_axis, 0), block_of)
    looked = _Looked(parameter, places, axis, block_of)
    return _of_channels(looked, places) or looked


def _of_channels(looked: _Looked, places: StoredPlaces) -> MatrixParameter | None:
    """Return a parameter that does not vary in a channel as one for each channel."""
    channels, fan_in = places.matrix_shape
    few = np.arange(min(2, fan_in))
    if looked.pick(np.arange(min(2, channels)), few).shape[1] > 1:
        return None
    return _OfChannels(looked.pick(np.arange(channels), few[:1]))
