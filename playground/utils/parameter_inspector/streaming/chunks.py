"""A weight as (channels, fan-in), handed out in chunks that are contiguous where it is stored.

Where the file holds the weight in such an
order, chunks are read from it one by one, and nothing of the weight's size is allocated; otherwise
the weight is read once and chunks are views of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from ..budgets import NUMBERS_A_STEP, spend
from ..operators import operator_named
from ..quantization import DerivedSource
from ..reading.model_file import FileSource, OpenTensor
from ..reading.packing import PackedRows
from ..records import Layer, WeightTensor
from .channel_frame import channels_first

Part = tuple[slice, slice]

# What is read at a time to pick from it.
PICK_ELEMENTS = 1 << 17

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


class WeightMatrix:
    """Codes (or floats) of shape ``(channels, fan-in)``, loaded part by part.

    ``by_columns`` says that channels lie next to each other where the weight is stored, so that
    parts of all channels and few columns are contiguous. What is in memory may be read by several
    threads at once.
    """

    is_in_memory = False

    def __init__(self, shape: tuple[int, int], *, by_columns: bool) -> None:
        self.shape, self.by_columns = shape, by_columns

    def load(self, part: Part) -> np.ndarray:
        """Return the codes of a part; valid until the next call."""
        raise NotImplementedError

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the codes of some rows and columns, both ascending."""
        raise NotImplementedError


class _ArrayMatrix(WeightMatrix):
    is_in_memory = True

    def __init__(self, array: np.ndarray) -> None:
        self._array, self._table = array, _NARROW.get(array.dtype.name)
        spend(1 + array.size // NUMBERS_A_STEP)
        strides = array.strides
        by_columns = array.shape[0] > 1 and abs(strides[1]) > abs(strides[0])
        super().__init__((array.shape[0], array.shape[1]), by_columns=by_columns)

    def load(self, part: Part) -> np.ndarray:
        codes = self._as_bytes(self._array[part])
        spend(1 + codes.size // NUMBERS_A_STEP)
        return codes

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self._as_bytes(self._array[np.ix_(rows, columns)])

    def _as_bytes(self, codes: np.ndarray) -> np.ndarray:
        return codes if self._table is None else self._table[codes.view(np.uint8)]


class _FileMatrix(WeightMatrix):
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
        spend(1 + chunk.size // NUMBERS_A_STEP)
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
        picked = np.empty((lines.size, places.size), self._tensor.array_dtype)
        near = max(1, PICK_ELEMENTS // max(1, length))
        start = 0
        while start < lines.size:
            first = int(lines[start])
            end = int(np.searchsorted(lines, first + near))
            span = slice(first, int(lines[end - 1]) + 1)
            read = self.load((whole, span)).T if self.by_columns else self.load((span, whole))
            picked[start:end] = read[np.ix_(lines[start:end] - first, places)]
            start = end
        return picked


class _PackedMatrix(WeightMatrix):
    """Rows of few-bit codes that are unpacked as they are read; channels lie behind ``outer``."""

    def __init__(self, tensor: OpenTensor, packing: PackedRows, axis: int) -> None:
        shape = packing.shape
        self._tensor, self._packing = tensor, packing
        self._outer, self._channels = math.prod(shape[:axis]), shape[axis]
        self._lines = math.prod(shape[axis + 1 : -1])
        self._inner = self._lines * shape[-1]
        super().__init__((self._channels, self._outer * self._inner), by_columns=False)

    def load(self, part: Part) -> np.ndarray:
        rows, columns = (range(*s.indices(n)) for s, n in zip(part, self.shape, strict=True))
        first, last = columns.start // self._inner, -(-columns.stop // self._inner)
        blocks = [self._read(outer, rows) for outer in range(first, last)]
        loaded = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        start = first * self._inner
        return loaded[:, columns.start - start : columns.stop - start]

    def _read(self, outer: int, rows: range) -> np.ndarray:
        """Return some channels of one index before the channel axis, (channels, elements)."""
        row_bytes = self._packing.row_bytes
        packed = np.empty((len(rows), self._lines, row_bytes), np.uint8)
        first = (outer * self._channels + rows.start) * self._lines
        self._tensor.read_into(packed, first * row_bytes)
        return self._packing.unpack(packed, packed.shape[:2]).reshape(len(rows), self._inner)

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        whole = slice(0, self.shape[1])
        picked = [self.load((slice(row, row + 1), whole))[:, columns] for row in rows.tolist()]
        return np.concatenate(picked) if picked else np.empty((0, columns.size), np.uint8)


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


def _packing_of(weight: WeightTensor) -> PackedRows | None:
    """Return how a weight is packed that the file holds as rows of bytes, else None."""
    source, axis = weight.source, weight.channel_axis or 0
    if weight.layout or not isinstance(source, DerivedSource):
        return None
    held = isinstance(source.derive, PackedRows) and isinstance(source.source, FileSource)
    is_row = axis < len(weight.shape) - 1 and all(weight.shape)
    return source.derive if held and is_row and isinstance(source.derive, PackedRows) else None


def open_matrix(
    weight: WeightTensor, layer: Layer, stack: ExitStack, *, by_columns: bool | None = None
) -> WeightMatrix:
    """Return a weight as (channels, fan-in); files are closed with ``stack``.

    Args:
        by_columns: the order that parts will be asked in, where another weight sets it.

    Raises:
        UnavailableError: bytes are missing.
    """
    transposed = operator_named(layer.op_type).is_transposed
    order = None if transposed else _stored_order(weight)
    if order is not None and by_columns in (None, order.by_columns):
        assert isinstance(weight.source, FileSource)
        tensor = stack.enter_context(weight.source.open())
        if tensor.dtype.bitwidth >= 8:
            return _FileMatrix(tensor, order.shape, by_columns=order.by_columns)
    if (packing := _packing_of(weight)) is not None and not transposed and not by_columns:
        assert isinstance(weight.source, DerivedSource)
        assert isinstance(weight.source.source, FileSource)
        tensor = stack.enter_context(weight.source.source.open())
        return _PackedMatrix(tensor, packing, weight.channel_axis or 0)
    return _ArrayMatrix(channels_first(weight.rearrange(weight.codes), weight, layer))


def list_parts(matrix: WeightMatrix, elements: int) -> Iterator[Part]:
    """Yield contiguous parts of about ``elements`` each, with both ends given."""
    channels, fan_in = matrix.shape
    if not channels or not fan_in:
        return
    if matrix.by_columns:
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
