"""The scale and the zero-point of a weight, cut to each chunk of its (channels, fan-in)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..quantization import Quantization
from ..records import Layer, WeightTensor
from .channel_frame import channels_first
from .chunks import Part

Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MatrixParameter:
    """A scale or zero-point, float32, of which each part broadcasts against that of the codes.

    Kept as the file has it: one number, one for each channel (or column), or one for each block of
    a channel; a full array only where the layout between the codes and the layer asks for it.
    """

    def __init__(self, compact: np.ndarray, block_size: int | None = None) -> None:
        self._compact, self._block_size = compact, block_size

    def combine(self, other: MatrixParameter, compute: Compute) -> MatrixParameter:
        """Return what ``compute`` makes of both, each as the file has it."""
        block_size = self._block_size or other._block_size
        return MatrixParameter(compute(self._compact, other._compact), block_size)

    @property
    def varies_in_channel(self) -> bool:
        return self._compact.shape[1] != 1

    @property
    def by_channel(self) -> np.ndarray:
        """What belongs to each channel, (channels, 1); or (1, 1). None varies in its channel."""
        assert not self.varies_in_channel
        return self._compact

    def cut(self, part: Part) -> np.ndarray:
        """Return what belongs to a part; axes of length 1 broadcast."""
        rows, columns = part
        compact = self._compact[rows] if self._compact.shape[0] > 1 else self._compact
        if not self.varies_in_channel:
            return compact
        if self._block_size is None:
            return compact[:, columns]
        return compact[:, np.arange(columns.start, columns.stop) // self._block_size]

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what belongs to some rows and columns; axes of length 1 broadcast."""
        compact = self._compact[rows] if self._compact.shape[0] > 1 else self._compact
        if not self.varies_in_channel:
            return compact
        return compact[:, columns if self._block_size is None else columns // self._block_size]


def spread_parameters(
    weight: WeightTensor, layer: Layer
) -> tuple[MatrixParameter, MatrixParameter] | None:
    """Return scale and zero-point of a weight; None for a float weight."""
    quantization = weight.quantization
    if quantization is None:
        return None
    scale, zero_point = quantization.scale, quantization.zero_point
    return (
        _matrix_parameter(scale.astype(np.float32), weight, layer, quantization),
        _matrix_parameter(zero_point.astype(np.float32), weight, layer, quantization),
    )


def _matrix_parameter(
    parameter: np.ndarray, weight: WeightTensor, layer: Layer, quantization: Quantization
) -> MatrixParameter:
    shape, block_size = weight.source.shape, quantization.block_size
    along_fan_in = quantization.axis != weight.channel_axis and not weight.layout
    if block_size is not None and parameter.ndim == 2 and parameter.size > 1 and along_fan_in:
        return MatrixParameter(np.moveaxis(parameter, weight.channel_axis or 0, 0), block_size)
    full = np.broadcast_to(quantization.spread(parameter, shape), shape)
    frame = channels_first(weight.rearrange(full), weight, layer)
    return MatrixParameter(frame[tuple(slice(None) if s else slice(1) for s in frame.strides)])
