"""One pass over a weight, chunk by chunk: the sums that every metric is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..records import Layer, WeightTensor
from ..streaming.chunks import Part
from ..streaming.code_counter import CodeCounter
from ..streaming.compared_weights import Compared, OpenWeight
from .accumulators import (
    Ends,
    Errors,
    ExtremeCodes,
    FloatValues,
    Levels,
    OutsideErrors,
    QuantizedValues,
    SearchedWeights,
    has_channel_scales,
)


@dataclass(frozen=True, eq=False)
class WeightSums:
    """What one pass over a weight found. Arrays are per output channel, float64, unless said.

    x is the float weight, v the values, e = x - v, s the scale.

    Attributes:
        fan_in: elements of a channel.
        low, high: lowest and highest v (x for a float weight), NaN left out.
        float_low, float_high: of x; None without a float original.
        x_square, e_square: sums of squares; None without a float original.
        step_square: sum of (e / s)^2.
        e_max, step_max: largest abs(e) and abs(e / s).
        outside_square: sum of e^2, where finite, over the x that the codes cannot hold.
        code_counts: how often each code occurs, int64, from the lowest code of the data type on;
            None for floats and for types wider than 16 bits.
        dead: channels whose codes all equal the zero-point, bool; None for a float weight.
        not_finite, float_not_finite: how many v and x are NaN or infinite.
        level_count: how many different values the first channel of a float weight or original has
            in its first 4096 columns; 0 where there is neither.
        searched: sum of e^2 over the searched weights, at the current scale and at the best one.
    """

    fan_in: int
    low: np.ndarray
    high: np.ndarray
    not_finite: int
    level_count: int
    float_low: np.ndarray | None = None
    float_high: np.ndarray | None = None
    float_not_finite: int | None = None
    x_square: np.ndarray | None = None
    e_square: np.ndarray | None = None
    step_square: np.ndarray | None = None
    e_max: np.ndarray | None = None
    step_max: np.ndarray | None = None
    outside_square: np.ndarray | None = None
    code_counts: np.ndarray | None = None
    dead: np.ndarray | None = None
    searched: tuple[float, float] | None = None

    @property
    def channel_count(self) -> int:
        return int(self.low.size)

    def of_original(self) -> WeightSums:
        """Return what a pass over the float original alone would have found."""
        assert self.float_low is not None and self.float_high is not None
        assert self.float_not_finite is not None
        return WeightSums(
            self.fan_in, self.float_low, self.float_high, self.float_not_finite, self.level_count
        )


def sum_weight(
    weight: WeightTensor,
    layer: Layer,
    original: WeightTensor | None = None,
    original_layer: Layer | None = None,
    factor: np.ndarray | None = None,
) -> WeightSums:
    """Return the sums over ``weight``, against its float original where there is one.

    Args:
        original, original_layer: the same layer's weight in the float model.
        factor: what each channel of the original is multiplied by, of `LayerPair`.

    Raises:
        RefusedError: the two weights have different shapes.
        UnavailableError: bytes are missing.
    """
    with Compared(weight, layer, original, original_layer, factor).open() as opened:
        values = _values_of(opened)
        counter, levels = CodeCounter.of(opened.quantization), Levels()
        losses = None if opened.original is None else _Losses(opened, levels)
        for part in opened.parts():
            codes = opened.codes(part)
            if counter is not None:
                counter.add(codes)
            chunk = values.add(part, codes)
            if losses is not None and chunk is not None:
                losses.add(part, chunk)
            elif chunk is not None and opened.quantization is None:
                levels.add(part, chunk, opened.reduced)
        values.finish()
        low, high = values.ends.where_filled()
        sums = WeightSums(
            fan_in=opened.shape[1],
            low=low,
            high=high,
            not_finite=values.ends.not_finite,
            level_count=levels.count,
            code_counts=counter.counts if counter is not None else None,
            dead=values.dead,
        )
        return sums if losses is None else losses.add_to(sums)


def _values_of(opened: OpenWeight) -> FloatValues | QuantizedValues | ExtremeCodes:
    """Return what gathers the range of the values: the quickest that is right."""
    if opened.quantization is None:
        return FloatValues(opened)
    return ExtremeCodes(opened) if ExtremeCodes.fit(opened) else QuantizedValues(opened)


class _Losses:
    """What the values of a weight lost of their float original."""

    def __init__(self, opened: OpenWeight, levels: Levels) -> None:
        channels = opened.shape[0]
        self._opened, self._levels = opened, levels
        self._ends = Ends(channels, opened.reduced)
        self._square = np.zeros(channels)
        self._errors = Errors(opened)
        self._step_errors = Errors(opened)
        self._is_quantized = opened.quantization is not None
        self._has_channel_scales = has_channel_scales(opened)
        self._outside = OutsideErrors(opened) if self._is_quantized else None
        self._searched = SearchedWeights(opened)

    def add(self, part: Part, values: np.ndarray) -> None:
        """Add a chunk of values, which are overwritten."""
        original = self._opened.original_values(part)
        self._levels.add(part, original, self._opened.reduced)
        ends = self._ends.widen(part[0], original)
        error = np.subtract(original, values, out=values)
        np.abs(error, out=error)
        self._square[part[0]] += self._opened.sum_squares(original)
        self._errors.add(part, error)
        if self._outside is None:
            return
        self._searched.add(part, original)
        if not self._has_channel_scales:
            assert self._opened.parameters is not None
            steps = error / self._opened.cut(self._opened.parameters[0], part)
            self._step_errors.add(part, np.abs(steps, out=steps))
        self._outside.add(part, original, error, ends)

    def add_to(self, sums: WeightSums) -> WeightSums:
        """Return the sums with what was lost."""
        low, high = self._ends.where_filled()
        step_square, step_max = self._in_steps()
        return replace(
            sums,
            float_low=low,
            float_high=high,
            float_not_finite=self._ends.not_finite,
            x_square=self._square,
            e_square=self._errors.square,
            e_max=self._errors.largest,
            step_square=step_square,
            step_max=step_max,
            outside_square=self._outside_square(),
            searched=self._searched.search(self._ends),
        )

    def _in_steps(self) -> tuple[np.ndarray, np.ndarray]:
        if self._has_channel_scales and self._opened.parameters is not None:
            return self._errors.in_steps(self._opened.parameters[0].by_channel[:, 0])
        return self._step_errors.square, self._step_errors.largest

    def _outside_square(self) -> np.ndarray:
        return np.zeros(self._opened.shape[0]) if self._outside is None else self._outside.square
