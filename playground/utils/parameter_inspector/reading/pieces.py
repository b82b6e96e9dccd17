"""A large constant computed piece by piece, so that only its result is as large as it is.

Q, DQ and casts one behind the other would each hold a float copy of the codes. Operators that keep
the order of the elements can be applied to a stretch of them after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..quantization import ArraySource, Quantization, Source
from .model_file import FileSource

# What a step makes of a stretch of elements, of which the second argument is the first.
Step = Callable[[np.ndarray, int], np.ndarray]

PIECE_ELEMENTS = 1 << 20


def compute_in_pieces(base: Source, steps: Sequence[Step], shape: tuple[int, ...]) -> np.ndarray:
    """Return what the steps make of a constant, of ``shape``.

    Raises:
        UnavailableError: bytes are missing.
    """
    result: np.ndarray | None = None
    size, start = math.prod(shape), 0
    for piece in _read_pieces(base):
        count = piece.size
        for step in steps:
            piece = step(piece, start)
        if result is None:
            result = np.empty(size, piece.dtype)
        result[start : start + count] = piece
        start += count
    assert result is not None
    return result.reshape(shape)


def _read_pieces(base: Source) -> Iterator[np.ndarray]:
    """Yield the elements of a constant in order."""
    if isinstance(base, FileSource):
        with base.open() as tensor:
            if tensor.dtype.bitwidth >= 8:
                width = tensor.array_dtype.itemsize
                for start in range(0, tensor.byte_count // width, PIECE_ELEMENTS):
                    count = min(PIECE_ELEMENTS, tensor.byte_count // width - start)
                    piece = np.empty(count, tensor.array_dtype)
                    tensor.read_into(piece, start * width)
                    yield piece
                return
    flat = base.read().reshape(-1)
    for start in range(0, flat.size, PIECE_ELEMENTS):
        yield flat[start : start + PIECE_ELEMENTS]


def cut_quantization(
    quantization: Quantization, shape: tuple[int, ...], start: int, count: int
) -> Quantization:
    """Return the quantization of a stretch of elements of a tensor of ``shape``, not in blocks."""
    axis = quantization.axis
    if axis is None:
        return quantization
    places = np.arange(start, start + count) // math.prod(shape[axis + 1 :]) % shape[axis]

    def cut(source: Source) -> Source:
        array = source.read()
        picked = array.reshape(-1)[places] if array.size > 1 else array
        return ArraySource(source.name, picked, source.data_type)

    zero_point = quantization.zero_point_source
    return replace(
        quantization,
        scale_source=cut(quantization.scale_source),
        zero_point_source=None if zero_point is None else cut(zero_point),
        axis=0,
    )
