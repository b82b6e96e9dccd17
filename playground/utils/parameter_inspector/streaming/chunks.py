"""A weight as (channels, fan-in), handed out in chunks that are contiguous where it is stored.

Its scale and zero-point come along, cut to each chunk. Where the file holds the weight in such an
order, chunks are read from it one by one, and nothing of the weight's size is allocated; otherwise
the weight is read once and chunks are views of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from ..quantization import Quantization
from ..reading.model_file import FileSource, OpenTensor
from ..records import Layer, WeightTensor
from .channel_frame import channels_first, spread_out

Part = tuple[slice, slice]
Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]

# What is read at a time to pick from it.
PICK_ELEMENTS = 1 << 17
RUN = 32

# ml_dtypes holds a 4-bit code in the low bits of a byte; numpy is quick with bytes only.
_NARROW = {
    "int4": np.array([*range(8), *range(-8, 0)] * 16, np.int8),
    "uint4": np.array([*range(16)] * 16, np.uint8),
    "int2": np.array([0, 1, -2, -1] * 64, np.int8),
    "uint2": np.array([0, 1, 2, 3] * 64, np.uint8),
}


class Scratch:
    """Arrays that serve again for each chunk: the system takes as long to hand out new ones.

    A use has one dtype.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def take(self, use: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
        """Return an array with anything in it; valid until the next one for the same use."""
        size = math.prod(shape)
        if use not in self._arrays or self._arrays[use].size < size:
            self._arrays[use] = np.empty(size, dtype)
        return self._arrays[use][:size].reshape(shape)


class WeightRows:
    """Codes (or floats) of shape ``(channels, fan-in)``, loaded part by part.

    ``by_columns`` says that channels lie next to each other where the weight is stored, so that
    parts of all channels and few columns are contiguous.
    """

    def __init__(self, shape: tuple[int, int], *, by_columns: bool) -> None:
        self.shape, self.by_columns = shape, by_columns

    def load(self, part: Part) -> np.ndarray:
        """Return the codes of a part; valid until the next call."""
        raise NotImplementedError

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the codes of some rows and columns, both ascending."""
        raise NotImplementedError


class _ArrayRows(WeightRows):
    def __init__(self, array: np.ndarray) -> None:
        table = _NARROW.get(array.dtype.name)
        self._array = array if table is None else table[array.view(np.uint8)]
        strides = array.strides
        by_columns = array.shape[0] > 1 and abs(strides[1]) > abs(strides[0])
        super().__init__((array.shape[0], array.shape[1]), by_columns=by_columns)

    def load(self, part: Part) -> np.ndarray:
        return self._array[part]

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self._array[np.ix_(rows, columns)]


class _FileRows(WeightRows):
    def __init__(self, tensor: OpenTensor, shape: tuple[int, int], *, by_columns: bool) -> None:
        self._tensor, self._scratch = tensor, Scratch()
        super().__init__(shape, by_columns=by_columns)

    def load(self, part: Part) -> np.ndarray:
        rows, columns = (range(*s.indices(n)) for s, n in zip(part, self.shape, strict=True))
        first = (
            columns.start * self.shape[0]
            if self.by_columns
            else rows.start * self.shape[1] + columns.start
        )
        stored = (len(columns), len(rows)) if self.by_columns else (len(rows), len(columns))
        chunk = self._scratch.take("chunk", stored, self._tensor.array_dtype)
        self._tensor.read_into(chunk, first * chunk.itemsize)
        return chunk.T if self.by_columns else chunk

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if self.by_columns:
            return self._pick_lines(columns, rows).T
        return self._pick_lines(rows, columns)

    def _pick_lines(self, lines: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return places of lines, a line being what is contiguous in the file.

        Lines that are near each other are read at once, with what is between them.
        """
        length = self.shape[0] if self.by_columns else self.shape[1]
        whole = slice(0, length)
        found = np.empty((lines.size, places.size), self._tensor.array_dtype)
        near = max(1, PICK_ELEMENTS // max(1, length))
        start = 0
        while start < lines.size:
            first = int(lines[start])
            end = int(np.searchsorted(lines, first + near))
            span = slice(first, int(lines[end - 1]) + 1)
            read = self.load((whole, span)).T if self.by_columns else self.load((span, whole))
            found[start:end] = read[np.ix_(lines[start:end] - first, places)]
            start = end
        return found


@dataclass(frozen=True)
class _Order:
    """How the elements of a stored weight lie: channels first, or channels last."""

    shape: tuple[int, int]
    by_columns: bool


def _stored_order(weight: WeightTensor) -> _Order | None:
    """Return the order of a weight that the file holds as the layer sees it, else None."""
    if weight.layout or not isinstance(weight.source, FileSource) or not weight.shape:
        return None
    axis, shape = weight.channel_axis or 0, weight.shape
    if axis == 0:
        return _Order((shape[0], math.prod(shape[1:])), by_columns=False)
    if axis == len(shape) - 1:
        return _Order((shape[-1], math.prod(shape[:-1])), by_columns=True)
    return None


def open_rows(
    weight: WeightTensor, layer: Layer, stack: ExitStack, *, by_columns: bool | None = None
) -> WeightRows:
    """Return a weight's rows; files are closed with ``stack``.

    Args:
        by_columns: the order that parts will be asked in, where another weight sets it.

    Raises:
        UnavailableError: bytes are missing.
    """
    order = None if layer.op_type == "ConvTranspose" else _stored_order(weight)
    if order is not None and by_columns in (None, order.by_columns):
        assert isinstance(weight.source, FileSource)
        tensor = stack.enter_context(weight.source.open())
        if tensor.dtype.bitwidth >= 8:
            return _FileRows(tensor, order.shape, by_columns=order.by_columns)
    return _ArrayRows(channels_first(weight.rearrange(weight.codes), weight, layer))


def list_parts(rows: WeightRows, elements: int) -> Iterator[Part]:
    """Yield contiguous parts of about ``elements`` each, with both ends given."""
    channels, fan_in = rows.shape
    if not channels or not fan_in:
        return
    if rows.by_columns:
        wide = max(1, elements // channels)
        for start in range(0, fan_in, wide):
            yield slice(0, channels), slice(start, min(start + wide, fan_in))
        return
    wide = min(fan_in, elements)
    tall = max(1, elements // wide) if wide == fan_in else 1
    for top in range(0, channels, tall):
        for start in range(0, fan_in, wide):
            yield (
                slice(top, min(top + tall, channels)),
                slice(start, min(start + wide, fan_in)),
            )


def split_part(part: Part, elements: int) -> Iterator[tuple[Part, Part]]:
    """Yield the smaller parts of one part: where they are in the weight, and in the part."""
    rows, columns = part
    height, width = rows.stop - rows.start, columns.stop - columns.start
    tall = max(1, elements // max(1, width)) if width <= elements else 1
    wide = width if width <= elements else elements
    for i in range(0, height, tall):
        for j in range(0, width, wide):
            inner = slice(i, min(i + tall, height)), slice(j, min(j + wide, width))
            outer = (
                slice(rows.start + inner[0].start, rows.start + inner[0].stop),
                slice(columns.start + inner[1].start, columns.start + inner[1].stop),
            )
            yield outer, inner


class RowParameter:
    """A scale or zero-point, float32, of which each part broadcasts against that of the codes.

    Held as the file has it: one number, one for each channel (or column), or one for each block of
    a channel; a full array only where the layout between the codes and the layer asks for it.
    """

    def __init__(self, compact: np.ndarray, block_size: int | None = None) -> None:
        self._compact, self._block_size = compact, block_size

    def combine(self, other: RowParameter, compute: Compute) -> RowParameter:
        """Return what ``compute`` makes of both, each as it is held."""
        block_size = self._block_size or other._block_size
        return RowParameter(compute(self._compact, other._compact), block_size)

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
) -> tuple[RowParameter, RowParameter] | None:
    """Return scale and zero-point of a weight; None for a float weight."""
    quantization = weight.quantization
    if quantization is None:
        return None
    scale, zero_point = quantization.scale, quantization.zero_point
    return (
        _row_parameter(scale.astype(np.float32), weight, layer, quantization),
        _row_parameter(zero_point.astype(np.float32), weight, layer, quantization),
    )


def _row_parameter(
    parameter: np.ndarray, weight: WeightTensor, layer: Layer, quantization: Quantization
) -> RowParameter:
    shape, block_size = weight.source.shape, quantization.block_size
    along_fan_in = quantization.axis != weight.channel_axis and not weight.layout
    if block_size is not None and parameter.ndim == 2 and parameter.size > 1 and along_fan_in:
        return RowParameter(np.moveaxis(parameter, weight.channel_axis or 0, 0), block_size)
    full = np.broadcast_to(quantization.spread(parameter, shape), shape)
    frame = channels_first(weight.rearrange(full), weight, layer)
    return RowParameter(frame[tuple(slice(None) if s else slice(1) for s in frame.strides)])


def spread_runs(count: int, wanted: int) -> np.ndarray:
    """Return up to ``wanted`` indices below ``count`` in runs: neighbours are read at once."""
    if count <= wanted or wanted < RUN:
        return spread_out(count, wanted)
    starts = np.linspace(0, count - RUN, wanted // RUN).astype(int)
    return np.unique(starts[:, None] + np.arange(RUN))


def sample_values(
    weight: WeightTensor, layer: Layer, channel_count: int, column_count: int
) -> np.ndarray:
    """Return the values of a few channels, evenly apart, and of runs of columns, float32.

    Only what is sampled is dequantized, and read where the file allows.

    Raises:
        UnavailableError: bytes are missing.
    """
    with ExitStack() as stack:
        held = open_rows(weight, layer, stack)
        rows = spread_out(held.shape[0], channel_count)
        columns = spread_runs(held.shape[1], column_count)
        codes = held.pick(rows, columns)
        parameters = spread_parameters(weight, layer)
        if parameters is None or weight.quantization is None:
            with np.errstate(all="ignore"):
                return weight.round_as_cast(codes.astype(np.float32)).astype(np.float32)
        scale, zero_point = (parameter.pick(rows, columns) for parameter in parameters)
        with np.errstate(all="ignore"):
            steps = weight.quantization.steps(codes, zero_point)
            values = weight.quantization.round_values(steps * scale)
            return weight.round_as_cast(values).astype(np.float32)
