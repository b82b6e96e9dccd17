"""The axes of a constant, cut so finely that every Reshape and Transpose only regroups them.

A **piece** is a run of an axis as it is stored. Reshape joins and splits axes, which are runs of
pieces; a number that belongs to a part of the constant (a scale, a zero-point) keeps one axis for
each piece, of the piece's size where it varies along it, else 1. No array of the constant's size is
made to follow them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from operator import mul

import numpy as np

Shape = tuple[int, ...]


class DoesNotFitError(Exception):
    """A shape that does not follow from the one before, or numbers that do not broadcast."""


@dataclass(frozen=True)
class Granularity:
    """A frame, as the pieces of its axes, and how numbers vary in it.

    ``axis`` is None where they do not vary, ``block_size`` where they vary along one axis only.
    """

    axes: Sequence[Sequence[int]]
    axis: int | None = None
    block_size: int | None = None


class Pieces:
    """A frame that operators rearrange, and the numbers that belong to its parts.

    Attributes:
        sizes: of the pieces, in the order in which they are stored.
        axes: the pieces of each axis of the current frame.
        numbers: what was placed, by name: one axis for each piece, in stored order.
    """

    def __init__(self, shape: Shape) -> None:
        if 0 in shape:
            raise DoesNotFitError
        self.sizes = [d for d in shape if d != 1]
        count = iter(range(len(shape)))
        self.axes = [[] if d == 1 else [next(count)] for d in shape]
        self.numbers: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, array: np.ndarray) -> Pieces:
        """Return the frame of numbers that vary along all of its axes."""
        pieces = cls(array.shape)
        pieces.numbers[""] = array.reshape(pieces.sizes)
        return pieces

    @property
    def shape(self) -> Shape:
        """Of the current frame."""
        return tuple(math.prod(self.sizes[p] for p in axis) for axis in self.axes)

    @property
    def order(self) -> list[int]:
        """The pieces in the order of the current frame."""
        return [piece for axis in self.axes for piece in axis]

    def transpose(self, permutation: Sequence[int] | None) -> None:
        rank = len(self.axes)
        axes = range(rank)[::-1] if permutation is None else [p % rank for p in permutation]
        if sorted(axes) != list(range(rank)):
            raise DoesNotFitError
        self.axes = [self.axes[axis] for axis in axes]

    def reshape(self, shape: Sequence[int]) -> None:
        """Regroup the pieces; -1 stands for what is left."""
        shape = self._resolve(shape)
        ends = list(accumulate(shape, mul, initial=1))
        for end in ends:
            self._cut_at(end)
        order = self.order
        reached = list(accumulate((self.sizes[p] for p in order), mul, initial=1))
        self.axes = [
            [p for p, after in zip(order, reached[1:], strict=True) if first < after <= last]
            for first, last in pairwise(ends)
        ]

    def _resolve(self, shape: Sequence[int]) -> list[int]:
        total = math.prod(self.sizes)
        known = math.prod(d for d in shape if d != -1)
        if known <= 0 or total % known or (-1 not in shape and known != total):
            raise DoesNotFitError
        return [total // known if d == -1 else d for d in shape]

    def _cut_at(self, end: int) -> None:
        """Split the piece that reaches over ``end`` elements, counted in the current frame."""
        before = 1
        for piece in self.order:
            after = before * self.sizes[piece]
            if before < end < after:
                if end % before or after % end:
                    raise DoesNotFitError
                self._split(piece, end // before)
                return
            before = after

    def _split(self, piece: int, outer: int) -> None:
        inner = self.sizes[piece] // outer
        self.sizes[piece : piece + 1] = [outer, inner]
        self.axes = [
            [q for p in axis for q in ([p, p + 1] if p == piece else [p + (p > piece)])]
            for axis in self.axes
        ]
        for name, array in self.numbers.items():
            halves = (outer, inner) if array.shape[piece] > 1 else (1, 1)
            shape = (*array.shape[:piece], *halves, *array.shape[piece + 1 :])
            self.numbers[name] = array.reshape(shape)

    def widen(self, axis: int, size: int) -> None:
        """Repeat each index of an axis; what is repeated lies next to each other."""
        if size == 1:
            return
        self.axes[axis].append(len(self.sizes))
        self.sizes.append(size)
        self.numbers = {name: array[..., None] for name, array in self.numbers.items()}

    def place(self, name: str, other: Pieces) -> None:
        """Note the numbers of another frame, which broadcast against this one as numpy aligns them.

        Raises:
            DoesNotFitError: they do not, or would make the frame larger.
        """
        ahead = len(other.axes) - len(self.axes)
        if any(other.axes[:ahead] if ahead > 0 else []):
            raise DoesNotFitError
        other.axes = [[] for _ in range(-ahead)] + other.axes[max(ahead, 0) :]
        for axis in range(len(self.axes)):
            if other.axes[axis]:
                self._cut_like(other, axis)
        partner = {
            mine: theirs
            for own, their in zip(self.axes, other.axes, strict=True)
            for mine, theirs in zip(own, their, strict=False)
        }
        (array,) = other.numbers.values()
        array = np.transpose(array, [partner[p] for p in range(len(self.sizes)) if p in partner])
        kept = iter(array.shape)
        shape = [next(kept) if p in partner else 1 for p in range(len(self.sizes))]
        self.numbers[name] = array.reshape(shape)

    def _cut_like(self, other: Pieces, axis: int) -> None:
        """Cut an axis of both frames wherever one of them is cut."""
        if self.shape[axis] != other.shape[axis]:
            raise DoesNotFitError
        for one, like in ((self, other), (other, self)):
            before = math.prod(one.shape[:axis])
            for end in accumulate((like.sizes[p] for p in like.axes[axis]), mul):
                one._cut_at(before * end)

    def rearrange(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Return an array of the stored frame in the order of the current one, with ``shape``."""
        return np.transpose(array.reshape(self.sizes), self.order).reshape(shape)

    # ------------------------------------------------- where the numbers vary

    def granularity(self) -> Granularity | None:
        """Return how the numbers vary, in the frame that says it best; None for no such frame."""
        pieces = [[p] for p in self.order]
        varying = self._varying()
        for axes in (
            self.axes,
            _join_constant(self.axes, varying),
            _join_constant(pieces, varying),
        ):
            found = self._granularity_in(axes, varying)
            if found is not None:
                return found
        return None

    def _granularity_in(
        self, axes: Sequence[Sequence[int]], varying: Sequence[bool]
    ) -> Granularity | None:
        if not all(_is_prefix([varying[p] for p in axis]) for axis in axes):
            return None
        blocks = [math.prod(self.sizes[p] for p in axis if not varying[p]) for axis in axes]
        along = [i for i, axis in enumerate(axes) if any(varying[p] for p in axis)]
        if not along:
            return Granularity(axes)
        if len(along) == 1 and blocks[along[0]] == 1:
            return Granularity(axes, along[0])
        wide = [i for i, block in enumerate(blocks) if block > 1]
        return Granularity(axes, wide[0], blocks[wide[0]]) if len(wide) == 1 else None

    def _varying(self) -> list[bool]:
        arrays = self.numbers.values()
        return [any(array.shape[i] > 1 for array in arrays) for i in range(len(self.sizes))]

    def spread(
        self, name: str, axes: Sequence[Sequence[int]], *, keep_axes: bool = False
    ) -> np.ndarray:
        """Return numbers with one axis for each of ``axes``, as long as any of the numbers needs.

        Numbers that do not vary stay one number, unless they are to ``keep_axes``.
        """
        array = self.numbers[name]
        if array.size == 1 and not keep_axes:
            return array.reshape(())
        varying = self._varying()
        full = [s if v else 1 for s, v in zip(self.sizes, varying, strict=True)]
        order = [p for axis in axes for p in axis]
        moved = np.transpose(np.broadcast_to(array, full), order)
        return moved.reshape([math.prod(full[p] for p in axis) for axis in axes])


def _is_prefix(varying: Sequence[bool]) -> bool:
    """Whether what varies stands before what does not: blocks that lie next to each other."""
    return sorted(varying, reverse=True) == list(varying)


def _join_constant(axes: Sequence[Sequence[int]], varying: Sequence[bool]) -> list[list[int]]:
    """Join neighbouring axes along which nothing varies."""
    joined: list[list[int]] = []
    for constant, group in groupby(axes, lambda axis: not any(varying[p] for p in axis)):
        listed = [list(axis) for axis in group]
        joined += [[p for axis in listed for p in axis]] if constant else listed
    return joined
