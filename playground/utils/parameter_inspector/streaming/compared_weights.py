"""A weight chunk by chunk, beside its float original: what every pass over weights reads.

Nothing of the weight's size is allocated: what is read at a time fits the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..facts import Refusal, RefusalKind
from ..quantization import Quantization, RefusedError
from ..records import Layer, WeightTensor
from .chunks import Part, Scratch, WeightMatrix, list_parts, open_matrix
from .matrix_parameters import MatrixParameter, spread_parameters
from .threads import deal_out

CHUNK_ELEMENTS = 1 << 18
BLAS_ELEMENTS = 8192

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Compared:
    """A weight, and its float original where there is one: a small record, nothing is open.

    Attributes:
        original, original_layer: the same layer's weight in the float model.
        factor: what each channel of the original is multiplied by, of `LayerPair`.
    """

    weight: WeightTensor
    layer: Layer
    original: WeightTensor | None = None
    original_layer: Layer | None = None
    factor: np.ndarray | None = None

    @contextmanager
    def open(self, shared: OpenWeight | None = None) -> Iterator[OpenWeight]:
        """Open the files for as long as the context lasts.

        Args:
            shared: opened already; what it holds in memory is not read again.

        Raises:
            RefusedError: the two weights have different shapes.
            UnavailableError: bytes are missing.
        """
        with ExitStack() as stack, np.errstate(all="ignore"):
            matrix, original = None, None
            if shared is not None:
                matrix, original = _in_memory(shared.matrix), _in_memory(shared.original)
            matrix = matrix or open_matrix(self.weight, self.layer, stack)
            original = original or self._open_original(matrix, stack)
            parameters = spread_parameters(self.weight, self.layer)
            yield OpenWeight(self.weight, matrix, original, self.factor, parameters, Scratch())

    def _open_original(self, matrix: WeightMatrix, stack: ExitStack) -> WeightMatrix | None:
        if self.original is None or self.original_layer is None:
            return None
        by_columns = matrix.by_columns
        original = open_matrix(self.original, self.original_layer, stack, by_columns=by_columns)
        if original.shape != matrix.shape:
            raise RefusedError(
                Refusal(
                    RefusalKind.ORIGINAL_SHAPE,
                    name=self.layer.name,
                    shape=matrix.shape,
                    expected_shape=original.shape,
                )
            )
        return original

    def share_out(self, work: Callable[[OpenWeight, Sequence[Part]], T]) -> list[T]:
        """Return what ``work`` made of the chunks, as `deal_out` deals them out."""

        with self.open() as opened:

            def run(share: Sequence[Part]) -> T:
                with self.open(opened) as own:
                    return work(own, share)

            return deal_out(list(opened.parts()), run)


def _in_memory(matrix: WeightMatrix | None) -> WeightMatrix | None:
    """Return a matrix that threads can share; one of a file has a chunk of its own for each."""
    return matrix if matrix is not None and matrix.is_in_memory else None


@dataclass(frozen=True, eq=False)
class OpenWeight:
    """A weight that is being read.

    Chunks have their channels on axis 0, or on axis 1 where the weight is stored so; ``reduced`` is
    the other one. A chunk is valid until the next one is read, values (and steps) until the next
    are asked for.
    """

    weight: WeightTensor
    matrix: WeightMatrix
    original: WeightMatrix | None
    factor: np.ndarray | None
    parameters: tuple[MatrixParameter, MatrixParameter] | None
    scratch: Scratch

    @property
    def quantization(self) -> Quantization | None:
        return self.weight.quantization

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and fan-in."""
        return self.matrix.shape

    @property
    def reduced(self) -> int:
        return 0 if self.matrix.by_columns else 1

    def parts(self) -> Iterator[Part]:
        return list_parts(self.matrix, CHUNK_ELEMENTS)

    def codes(self, part: Part) -> np.ndarray:
        return self._turn(self.matrix.load(part))

    def cut_parameters(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and zero-point of a chunk, to broadcast against its codes."""
        assert self.parameters is not None
        scale, zero_point = (self.cut(parameter, part) for parameter in self.parameters)
        return scale, zero_point

    def cut(self, parameter: MatrixParameter, part: Part) -> np.ndarray:
        return self._turn(parameter.cut(part))

    def values(self, part: Part, codes: np.ndarray) -> np.ndarray:
        """Return the values of a chunk's codes, float32, which may be overwritten."""
        if self.quantization is None:
            values = self.scratch.take("values", codes.shape)
            np.copyto(values, codes, casting="unsafe")
            return self.weight.round_as_cast(values)
        scale, zero_point = self.cut_parameters(part)
        return self.scaled(self.steps(codes, zero_point), scale)

    def steps(self, codes: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
        """Return a chunk's codes less the zero-point, float32, which may be overwritten."""
        assert self.quantization is not None
        return self.quantization.steps(codes, zero_point, self.scratch.take("values", codes.shape))

    def scaled(self, steps: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the values of ``steps``, codes less zero-point, which are overwritten."""
        assert self.quantization is not None
        steps *= scale
        return self.weight.round_as_cast(self.quantization.round_values(steps))

    def original_values(self, part: Part) -> np.ndarray:
        """Return the float original of a chunk, folded as the variant folded it, float32."""
        assert self.original is not None
        original = self.original.load(part)
        if self.factor is not None:
            original = original * self.factor[part[0], None]
        return self._turn(original.astype(np.float32, copy=False))

    def sum_squares(self, chunk: np.ndarray) -> np.ndarray:
        """Return the sum of squares of each channel of a chunk, added up in float64."""
        return sum_squares(chunk, self.reduced, self.scratch.take("wide", chunk.shape, np.float64))

    def _turn(self, array: np.ndarray) -> np.ndarray:
        return array.T if self.matrix.by_columns else array


def is_as_read(original: WeightTensor | None, factor: np.ndarray | None) -> bool:
    """Whether a comparison reads the original's own values: neither folded nor cast."""
    return original is not None and factor is None and not original.layout


def sum_squares(chunk: np.ndarray, axis: int, wide: np.ndarray | None = None) -> np.ndarray:
    """Return the sum of squares along an axis of a matrix, added up in float64.

    Args:
        wide: float64 of the chunk's shape, which is overwritten.
    """
    wide = np.empty(chunk.shape) if wide is None else wide
    np.copyto(wide, chunk)
    # BLAS is quick with short rows; long ones it shares out to threads that wait for each other.
    if axis == 1 and chunk.shape[1] <= BLAS_ELEMENTS:
        return np.vecdot(wide, wide)
    return np.einsum("ij,ij->i" if axis == 1 else "ij,ij->j", wide, wide)
