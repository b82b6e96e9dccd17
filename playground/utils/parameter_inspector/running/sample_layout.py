"""Where the axis of samples is: in the model's inputs, or in front of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .sample_problems import ModelInput, SampleProblem, SampleProblemKind, SamplesError, Shape

Kind = SampleProblemKind
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Layout:
    """Inputs with an axis of samples in front.

    Attributes:
        stacked: that axis is none of the model's: each sample is fed without it.
        counted: the inputs that had it in their file; the others are the same for all samples.
    """

    arrays: Arrays
    stacked: bool
    counted: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else 1


def fixed_rows(wanted: Sequence[ModelInput]) -> int | None:
    """Return the first dimension of the inputs, if any of them fixes it."""
    first = (one.shape[0] for one in wanted if one.shape)
    return next((d for d in first if isinstance(d, int)), None)


def fits(shape: tuple[int, ...], wanted: Shape | None) -> bool:
    """Return whether an array is one input of the model as a whole."""
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(
        given == asked or not isinstance(asked, int)
        for given, asked in zip(shape, wanted, strict=True)
    )


def find_layout(arrays: Arrays, wanted: Sequence[ModelInput], source: str) -> Layout:
    """Return how arrays that come with an axis of samples are fed.

    The model's own first axis counts them; or an axis in front of those of the model does; or some
    inputs have the first and the others are the same for each sample.

    Raises:
        SamplesError: SHAPE, COUNTS_DIFFER or EMPTY.
    """
    names = tuple(one.name for one in wanted)
    fixed = {one.shape[0] for one in wanted if one.shape and isinstance(one.shape[0], int)}
    shared = {_is_shared(arrays[one.name], one) for one in wanted}
    rows = all(_has_rows(arrays[one.name], one) for one in wanted)
    if rows and len(fixed) <= 1 and len(shared) <= 1:
        return _checked(Layout(arrays, False, names), wanted, source)
    if all(_is_stack(arrays[one.name], one) for one in wanted):
        return _checked(Layout(arrays, True, names), wanted, source)
    return _share(arrays, wanted, source)


def _has_rows(array: np.ndarray, wanted: ModelInput) -> bool:
    """Return whether the model's own first axis can count samples, in runs of its length."""
    if not array.ndim:
        return False
    if wanted.shape is None:
        return True
    if not wanted.shape or not fits(array.shape[1:], wanted.shape[1:]):
        return False
    first = wanted.shape[0]
    return not isinstance(first, int) or (first > 0 and array.shape[0] % first == 0)


def _is_stack(array: np.ndarray, wanted: ModelInput) -> bool:
    return array.ndim > 0 and wanted.shape is not None and fits(array.shape[1:], wanted.shape)


def _checked(layout: Layout, wanted: Sequence[ModelInput], source: str) -> Layout:
    for one in wanted:
        count = len(layout.arrays[one.name])
        if count != layout.count:
            problem = SampleProblem(
                Kind.COUNTS_DIFFER, source, one.name, count=count, other_count=layout.count
            )
            raise SamplesError(problem)
    if not layout.count:
        raise SamplesError(SampleProblem(Kind.EMPTY, source, inputs=tuple(wanted)))
    return layout


def _share(arrays: Arrays, wanted: Sequence[ModelInput], source: str) -> Layout:
    """Give the inputs that are the same for all samples to each of them."""
    shared = [one for one in wanted if _is_shared(arrays[one.name], one)]
    counted = [one for one in wanted if one not in shared]
    for one in counted or wanted:
        if not _has_rows(arrays[one.name], one) or one in shared:
            raise wrong_shape(arrays[one.name], one, source)
    rows = {one.name: arrays[one.name][:, np.newaxis] for one in counted}
    layout = _checked(Layout(rows, True, tuple(rows)), counted, source)
    copies = {one.name: _repeat(arrays[one.name], layout.count) for one in shared}
    both = {**rows, **copies}
    return Layout({one.name: both[one.name] for one in wanted}, True, layout.counted)


def _is_shared(array: np.ndarray, wanted: ModelInput) -> bool:
    """Return whether an array is the whole input of a model that leaves no room for samples."""
    if wanted.shape is None or not fits(array.shape, wanted.shape):
        return False
    return not wanted.shape or (isinstance(wanted.shape[0], int) and wanted.shape[0] != 1)


def _repeat(array: np.ndarray, count: int) -> np.ndarray:
    return np.broadcast_to(array, (count, *array.shape))


def wrong_shape(array: np.ndarray, wanted: ModelInput, source: str) -> SamplesError:
    problem = SampleProblem(Kind.SHAPE, source, wanted.name, wanted, shape=array.shape)
    return SamplesError(problem)


def lay_out_sets(sets: Sequence[Arrays], wanted: Sequence[ModelInput], source: str) -> Layout:
    """Return how whole inputs of the model are fed, of which each set is one.

    Raises:
        SamplesError: SHAPE, SETS_DIFFER or EMPTY.
    """
    for one in wanted:
        for arrays in sets:
            if not fits(arrays[one.name].shape, one.shape):
                raise wrong_shape(arrays[one.name], one, source)
        if len({arrays[one.name].shape for arrays in sets}) > 1:
            raise SamplesError(SampleProblem(Kind.SETS_DIFFER, source, one.name))
    names = tuple(one.name for one in wanted)
    first = [arrays.shape[0] if arrays.ndim else None for arrays in sets[0].values()]
    rows_alone = all(d == 1 for d in first) or (
        len(sets) == 1 and None not in first and len(set(first)) == 1
    )
    if rows_alone:
        joined = {name: np.concatenate([arrays[name] for arrays in sets]) for name in names}
        return _checked(Layout(joined, False, names), wanted, source)
    stacks = {name: np.stack([arrays[name] for arrays in sets]) for name in names}
    return _checked(Layout(stacks, True, names), wanted, source)
