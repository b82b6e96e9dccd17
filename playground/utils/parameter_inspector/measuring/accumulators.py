"""What one pass over a weight gathers, each a few arrays: ranges, errors, samples.

Arrays are per output channel. What is added is a part of the weight (where it is) and its chunk,
which has the channels on one axis and ``reduced`` is the other.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial

import numpy as np

from ..quantization import code_limits, is_integer
from ..streaming.channel_frame import spread_out
from ..streaming.chunks import Part
from ..streaming.compared_weights import OpenWeight
from ..streaming.matrix_parameters import MatrixParameter
from .scale_search import search_scale

# The search for a better scale looks at this many weights, the widest of each channel among them.
SEARCH_ELEMENTS = 1 << 13
SEARCH_CHANNELS = 256
# A float weight that was rounded to a grid has few levels: a first look at so many columns tells.
LEVEL_ELEMENTS = 1 << 12
# A weight is outside what the codes can hold when it is so by more than the rounding of the limit.
OUTSIDE_TOLERANCE = 1e-6


class Ends:
    """The lowest and the highest number of each channel, NaN and infinities left out."""

    def __init__(self, channels: int, reduced: int) -> None:
        self._reduced = reduced
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.not_finite = 0

    def widen(self, channels: slice, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add a chunk; return the lowest and the highest of each channel in it."""
        lows = np.minimum.reduce(chunk, axis=self._reduced)
        highs = np.maximum.reduce(chunk, axis=self._reduced)
        floating = chunk.dtype.kind == "f"
        if floating and not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            finite = np.isfinite(chunk)
            self.not_finite += chunk.size - int(np.count_nonzero(finite))
            lows = np.where(finite, chunk, np.inf).min(axis=self._reduced)
            highs = np.where(finite, chunk, -np.inf).max(axis=self._reduced)
        np.minimum(self.low[channels], lows, out=self.low[channels])
        np.maximum(self.high[channels], highs, out=self.high[channels])
        return lows, highs

    def where_filled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both, NaN where a channel has no finite number."""
        low, high = (np.where(np.isfinite(end), end, np.nan) for end in (self.low, self.high))
        return low, high


class FloatValues:
    """The range of a float weight."""

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        self.ends = Ends(opened.shape[0], opened.reduced)
        self.dead: np.ndarray | None = None

    def add(self, part: Part, codes: np.ndarray) -> np.ndarray:
        """Add a chunk; return its values, which may be overwritten."""
        values = self._opened.values(part, codes)
        self.ends.widen(part[0], values)
        return values

    def finish(self) -> None:
        """Nothing is left to do."""


class QuantizedValues:
    """The range of a quantized weight, and which channels have no code but the zero-point."""

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        self.ends = Ends(opened.shape[0], opened.reduced)
        self.dead = np.ones(opened.shape[0], bool)

    def add(self, part: Part, codes: np.ndarray) -> np.ndarray:
        """Add a chunk; return its values, which may be overwritten."""
        scale, zero_point = self._opened.cut_parameters(part)
        steps = self._opened.steps(codes, zero_point)
        self.dead[part[0]] &= ~(steps != 0).any(axis=self._opened.reduced)
        values = self._opened.scaled(steps, scale)
        self.ends.widen(part[0], values)
        return values

    def finish(self) -> None:
        """Nothing is left to do."""


class ExtremeCodes:
    """The same as `QuantizedValues`, told by the lowest and the highest code of each channel.

    No value is computed but theirs, where no original asks for the others.
    """

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        self._codes = Ends(opened.shape[0], opened.reduced)
        self.ends = Ends(opened.shape[0], opened.reduced)
        self.dead = np.ones(opened.shape[0], bool)

    @classmethod
    def fit(cls, opened: OpenWeight) -> bool:
        """Whether a channel's extreme codes have its extreme values.

        Those of integers with one scale have, where even the ends of the data type are finite.
        """
        quantization = opened.quantization
        if quantization is None or not has_channel_scales(opened):
            return False
        if not is_integer(quantization.data_type) or quantization.levels is not None:
            return False
        ends = np.tile(code_limits(quantization.data_type), (opened.shape[0], 1))
        return bool(np.isfinite(_values_of(opened, ends)[1]).all())

    def add(self, part: Part, codes: np.ndarray) -> np.ndarray | None:
        """Add a chunk; return its values where they are to be compared."""
        self._codes.widen(part[0], codes)
        return self._opened.values(part, codes) if self._opened.original is not None else None

    def finish(self) -> None:
        """Set the range of the values from the extreme codes of each channel."""
        low, high = self._codes.low, self._codes.high
        steps, values = _values_of(self._opened, np.stack([low, high], axis=1))
        self.dead = ~((steps != 0).any(axis=1) & (low <= high))
        self.ends.low, self.ends.high = (
            end.astype(np.float64) for end in (values.min(axis=1), values.max(axis=1))
        )


def has_channel_scales(opened: OpenWeight) -> bool:
    """Whether no channel has several scales or zero-points."""
    return opened.parameters is not None and not any(
        parameter.varies_in_channel for parameter in opened.parameters
    )


def _values_of(opened: OpenWeight, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a few codes of each channel that has one scale."""
    assert opened.quantization is not None and opened.parameters is not None
    scale, zero_point = (parameter.by_channel for parameter in opened.parameters)
    steps = opened.quantization.steps(codes, zero_point)
    return steps, opened.scaled(steps.copy(), scale)


class Errors:
    """The sum of squares and the largest of each channel's absolute errors."""

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        self.square, self.largest = np.zeros((2, opened.shape[0]))

    def add(self, part: Part, error: np.ndarray) -> None:
        """Add a chunk of absolute errors."""
        self.square[part[0]] += self._opened.sum_squares(error)
        largest = self.largest[part[0]]
        np.maximum(largest, np.maximum.reduce(error, axis=self._opened.reduced), out=largest)

    def in_steps(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both in steps of the scale that each channel has, float64 (channels,)."""
        scale = np.abs(scale.astype(np.float64))
        return self.square / scale**2, self.largest / scale


class OutsideErrors:
    """The sum of squares of the errors outside what the codes can hold."""

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        self._limits = _limits(opened)
        self.square = np.zeros(opened.shape[0])

    def add(
        self,
        part: Part,
        original: np.ndarray,
        error: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Add a chunk; ``ends`` are the lowest and the highest original of each channel in it."""
        low, high = (self._opened.cut(limit, part) for limit in self._limits)
        lowest, highest = (np.expand_dims(end, self._opened.reduced) for end in ends)
        if (lowest >= low).all() and (highest <= high).all():
            return
        # An infinity of the original is in no range, and the error of nothing but itself.
        is_outside = ((original < low) | (original > high)) & np.isfinite(error)
        self.square[part[0]] += self._opened.sum_squares(np.where(is_outside, error, 0))


def _limits(opened: OpenWeight) -> tuple[MatrixParameter, MatrixParameter]:
    """Return the lowest and the highest value that the codes of each scale can hold."""
    quantization = opened.quantization
    assert quantization is not None and opened.parameters is not None
    scale, zero_point = opened.parameters
    bottom, top = quantization.code_limits
    if quantization.levels is not None:
        bottom, top = min(quantization.levels), max(quantization.levels)

    def limit(scale: np.ndarray, zero_point: np.ndarray, sign: int) -> np.ndarray:
        ends = (bottom - zero_point) * scale, (top - zero_point) * scale
        low, high = np.minimum(*ends), np.maximum(*ends)
        margin = OUTSIDE_TOLERANCE * (high - low)
        return low - margin if sign < 0 else high + margin

    return (
        scale.combine(zero_point, partial(limit, sign=-1)),
        scale.combine(zero_point, partial(limit, sign=1)),
    )


class SearchedWeights:
    """A few float weights of up to 256 channels, and how much another scale would win of them."""

    def __init__(self, opened: OpenWeight) -> None:
        self._opened = opened
        channels, fan_in = opened.shape
        self._channels = spread_out(channels, SEARCH_CHANNELS)
        wanted = max(16, SEARCH_ELEMENTS // max(1, self._channels.size))
        self._columns = spread_out(fan_in, wanted)
        self._originals = np.zeros((self._channels.size, self._columns.size))

    def add(self, part: Part, original: np.ndarray) -> None:
        """Keep those of a chunk that are looked at."""
        matrix = original.T if self._opened.reduced == 0 else original
        channels, columns = (
            slice(bisect_left(wanted, span.start), bisect_left(wanted, span.stop))
            for wanted, span in zip((self._channels, self._columns), part, strict=True)
        )
        places = (
            (self._channels[channels] - part[0].start)[:, None],
            self._columns[columns] - part[1].start,
        )
        self._originals[channels, columns] = matrix[places]

    def search(self, ends: Ends) -> tuple[float, float] | None:
        """Return the squared error at the current scale and at the best one tried.

        The widest weights of each channel, ``ends``, count once, the others for those they stand
        for.
        """
        quantization, parameters = self._opened.quantization, self._opened.parameters
        if quantization is None or parameters is None or quantization.levels is not None:
            return None
        if not is_integer(quantization.data_type):
            return None
        blocked = quantization.block_size is not None
        if not blocked and quantization.scale.size not in (1, self._opened.shape[0]):
            return None  # a scale for several channels, not for all
        scale, zero_point = (p.pick(self._channels, self._columns) for p in parameters)
        values, counts = self._originals, self._counts()
        if self._columns.size < self._opened.shape[1] and not blocked:
            widest = np.stack([ends.low[self._channels], ends.high[self._channels]], axis=1)
            counts[(values == widest[:, :1]) | (values == widest[:, 1:])] = 0  # counted as an end
            values = np.concatenate([values, widest], axis=1)
            counts = np.concatenate([counts, np.ones_like(widest)], axis=1)
        return search_scale(values, counts, scale.astype(np.float64), zero_point, quantization)

    def _counts(self) -> np.ndarray:
        fan_in = self._opened.shape[1]
        return np.full(self._originals.shape, fan_in / max(1, self._columns.size))


class Levels:
    """The first values of the first channel."""

    def __init__(self) -> None:
        self._values = np.zeros(0, np.float32)

    def add(self, part: Part, values: np.ndarray, reduced: int) -> None:
        if part[0].start == 0 and self._values.size < LEVEL_ELEMENTS:
            first = values[0] if reduced == 1 else values[:, 0]
            self._values = np.append(self._values, first[: LEVEL_ELEMENTS - self._values.size])

    @property
    def count(self) -> int:
        return int(np.unique(self._values).size)
