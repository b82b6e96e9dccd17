"""Inputs made up where there are no samples: they order quantizers, but do not tell the level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..facts import SampleKind
from .sample_problems import ModelInput, SampleProblem, SampleProblemKind, SamplesError
from .samples import DATA_TYPES, Samples, create_samples

SYNTHETIC_COUNT = 4
# Where a model leaves a size open, and nobody says more: of height and width, of all others.
IMAGE_SIZE = 64
OTHER_SIZE = 16


def make_synthetic(
    wanted: Sequence[ModelInput],
    gather_limits: Mapping[str, int] | None = None,
    *,
    count: int = SYNTHETIC_COUNT,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Samples:
    """Return random samples of the shapes and types that a model asks for.

    Floats are uniform in [0, 1); integers uniform in what their Gather tables allow, [0, 2) where
    none is known; bools are true, and integers named as a mask without a table 1.
    A first axis that is open, or 1, counts the samples. Other open axes get the size given for
    their name; else axes 2 and 3 of four (1 and 2 if the last is fixed and they are open) 64, and
    16 elsewhere: an axis of the same name always the same size.

    Args:
        gather_limits: by input name, what an index has to stay below.
        sizes: by the name of an axis.

    Raises:
        SamplesError: UNSUPPORTED, for an input of another kind than numbers.
    """
    for one in wanted:
        if one.data_type not in DATA_TYPES or one.shape is None:
            raise SamplesError(SampleProblem(SampleProblemKind.UNSUPPORTED, "", one.name, one))
    random = np.random.default_rng(seed)
    stacked = not all(one.shape and _counts_samples(one.shape[0]) for one in wanted)
    known = dict(sizes or {})
    limits = gather_limits or {}
    arrays = {}
    for one in wanted:
        shape = _choose_shape(one, known, count, stacked)
        arrays[one.name] = _draw(one, shape, limits.get(one.name), random)
    return create_samples(arrays, kind=SampleKind.SYNTHETIC, stacked=stacked)


def _counts_samples(dimension: int | str | None) -> bool:
    return dimension == 1 or not isinstance(dimension, int)


def _choose_shape(
    wanted: ModelInput, known: dict[str, int], count: int, stacked: bool
) -> tuple[int, ...]:
    """Return the shape with the axis of samples in front, and note the sizes of named axes."""
    asked = wanted.shape or ()
    shape = []
    for axis, dimension in enumerate(asked):
        if axis == 0 and _counts_samples(dimension):
            shape.append(1 if stacked else count)
        elif isinstance(dimension, int):
            shape.append(dimension)
        else:
            size = known.get(dimension or "", _default_size(asked, axis))
            if dimension:
                known[dimension] = size
            shape.append(size)
    return (count, *shape) if stacked else tuple(shape)


def _default_size(asked: Sequence[int | str | None], axis: int) -> int:
    if len(asked) != 4:
        return OTHER_SIZE
    channels_last = isinstance(asked[3], int) and not isinstance(asked[1], int)
    return IMAGE_SIZE if axis in ((1, 2) if channels_last else (2, 3)) else OTHER_SIZE


def _draw(
    wanted: ModelInput, shape: tuple[int, ...], limit: int | None, random: np.random.Generator
) -> np.ndarray:
    dtype = np.dtype(wanted.data_type)
    if dtype.kind == "f":
        return random.random(shape, np.float32).astype(dtype)
    if dtype.kind == "b" or (limit is None and "mask" in wanted.name.lower()):
        return np.ones(shape, dtype)
    most = min(limit or 2, int(np.iinfo(dtype).max) + 1)
    return random.integers(0, most, shape).astype(dtype)
