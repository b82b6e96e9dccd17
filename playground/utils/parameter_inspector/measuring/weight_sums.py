"""One pass over a weight, chunk by chunk: the sums that every metric is made from."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..quantization import Quantization, code_limits, is_integer
from ..records import Layer, WeightTensor
from ..streaming.channel_frame import spread_out
from ..streaming.chunks import Part, RowParameter
from ..streaming.code_counter import CodeCounter
from ..streaming.compared_weights import Compared, OpenWeight

# The search for a better scale looks at this many weights, the widest of each channel among them.
SEARCH_ELEMENTS = 1 << 13
# First every fourth factor, then those around the best of each channel.
SEARCH_FACTORS = np.geomspace(1 / 16, 4.0, 49)
SEARCH_STRIDE = 4
# A float weight that was rounded to a grid has few levels: a first look at so many columns tells.
LEVEL_ELEMENTS = 1 << 12

# A weight is outside what the codes can hold when it is so by more than the rounding of the limit.
OUTSIDE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class WeightSums:
    """What one pass over a weight found. Arrays are per output channel, float64, unless said.

    x is the float weight, v the values, e = x - v, s the scale.

    Attributes:
        fan_in: elements of a channel.
        low, high: lowest and highest v (x for a float weight), NaN left out.
        float_low, float_high: of x; None without a float partner.
        x_square, e_square: sums of squares; None without a float partner.
        step_square: sum of (e / s)^2.
        e_max, step_max: largest abs(e) and abs(e / s).
        outside_square: sum of e^2, where finite, over the x that the codes cannot hold.
        code_counts: how often each code occurs, int64, from the lowest code of the data type on;
            None for floats and for types wider than 16 bits.
        dead: channels whose codes all equal the zero-point, bool; None for a float weight.
        not_finite, float_not_finite: how many v and x are NaN or infinite.
        level_count: how many different values the first channel of a float weight or original has
            in its first 4096 columns; 0 where there is neither.
        searched: sum of e^2 over the searched weights, at today's scale and at the best one.
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
        reference, reference_layer: the same layer's weight in the float model.
        factor: what each channel of the reference is multiplied by, of `LayerPair`.

    Raises:
        ValueError: the two weights have different shapes.
        UnavailableError: bytes are missing.
    """
    with Compared(weight, layer, original, original_layer, factor).open() as opened:
        return _Pass(opened).run()


class _Pass:
    """The state of one pass."""

    def __init__(self, opened: OpenWeight) -> None:
        self.opened, self.reduced = opened, opened.reduced
        self.quantization = opened.quantization
        channels, fan_in = opened.shape
        self.value_ends = _Ends(channels, self.reduced)
        self.original_ends = _Ends(channels, self.reduced)
        self.code_ends = _Ends(channels, self.reduced)
        names = ("x_square", "e_square", "step_square", "e_max", "step_max", "outside_square")
        self.sums = {name: np.zeros(channels) for name in names}
        self.alive = np.zeros(channels, bool)
        self.counter = CodeCounter.of(self.quantization)
        self.sample, self.levels = _Sample(channels, fan_in), _Levels()
        self.limits = _limits(opened)
        self.one_scale = opened.parameters is not None and not any(
            parameter.varies_in_channel for parameter in opened.parameters
        )
        self.ranged = self.one_scale and self._are_extreme_codes_extreme()

    def run(self) -> WeightSums:
        for part in self.opened.parts():
            self._add(part)
        if self.ranged:
            self._add_extreme_codes()
        known = self.opened.exact is not None
        if known and self.one_scale:
            self._add_steps()
        compared = self.sums if known else dict.fromkeys(self.sums)
        return WeightSums(
            fan_in=self.opened.shape[1],
            low=_nan_where_empty(self.value_ends.low),
            high=_nan_where_empty(self.value_ends.high),
            not_finite=self.value_ends.not_finite,
            level_count=self.levels.count,
            float_low=_nan_where_empty(self.original_ends.low) if known else None,
            float_high=_nan_where_empty(self.original_ends.high) if known else None,
            float_not_finite=self.original_ends.not_finite if known else None,
            code_counts=self.counter.counts if self.counter is not None else None,
            dead=~self.alive if self.quantization is not None else None,
            searched=self._search(),
            **compared,
        )

    def _add(self, part: Part) -> None:
        opened, rows, scale = self.opened, part[0], None
        codes = opened.codes(part)
        if self.counter is not None:
            self.counter.add(codes)
        if self.ranged:
            self.code_ends.widen(rows, codes)
            if opened.exact is None:
                return
        if self.quantization is None:
            values = opened.values(part, codes)
            if opened.exact is None:
                self.levels.add(part, values, self.reduced)
        else:
            scale, zero_point = opened.cut_parameters(part)
            steps = opened.steps(codes, zero_point)
            if not self.ranged:
                self.alive[rows] |= (steps != 0).any(axis=self.reduced)
            values = opened.scaled(steps, scale)
        if not self.ranged:
            self.value_ends.widen(rows, values)
        if opened.exact is not None:
            self._compare(part, opened.original_values(part), values, scale)

    def _are_extreme_codes_extreme(self) -> bool:
        """Whether a channel's extreme codes have its extreme values.

        Those of integers have, where even the ends of the data type have finite values.
        """
        assert self.quantization is not None
        data_type = self.quantization.data_type
        if not is_integer(data_type) or self.quantization.levels is not None:
            return False
        ends = np.tile(code_limits(data_type), (self.opened.shape[0], 1))
        return bool(np.isfinite(self._values_of(ends)[1]).all())

    def _values_of(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values of a few codes of each channel that has one scale."""
        assert self.quantization is not None and self.opened.parameters is not None
        scale, zero_point = (parameter.by_channel for parameter in self.opened.parameters)
        steps = self.quantization.steps(codes, zero_point)
        return steps, self.opened.scaled(steps.copy(), scale)

    def _add_extreme_codes(self) -> None:
        """Set the range of the values from the extreme codes of each channel."""
        filled = self.code_ends.low <= self.code_ends.high
        steps, ends = self._values_of(np.stack([self.code_ends.low, self.code_ends.high], axis=1))
        self.alive = (steps != 0).any(axis=1) & filled
        self.value_ends.low, self.value_ends.high = (
            end.astype(np.float64) for end in (ends.min(axis=1), ends.max(axis=1))
        )

    def _compare(
        self, part: Part, exact: np.ndarray, values: np.ndarray, scale: np.ndarray | None
    ) -> None:
        """Add what the values of a chunk, which are overwritten, lost of the float original."""
        rows, sums = part[0], self.sums
        self.levels.add(part, exact, self.reduced)
        ends = self.original_ends.widen(rows, exact)
        error = np.subtract(exact, values, out=values)
        np.abs(error, out=error)
        sums["x_square"][rows] += self.opened.sum_squares(exact)
        sums["e_square"][rows] += self.opened.sum_squares(error)
        self._raise(sums["e_max"][rows], error)
        if scale is None:
            return
        self.sample.add(part, exact.T if self.reduced == 0 else exact)
        if not self.one_scale:
            in_steps = error / scale
            sums["step_square"][rows] += self.opened.sum_squares(in_steps)
            self._raise(sums["step_max"][rows], np.abs(in_steps, out=in_steps))
        self._add_outside(part, exact, error, ends)

    def _raise(self, largest: np.ndarray, chunk: np.ndarray) -> None:
        """Raise ``largest`` to what is larger in each channel of a chunk."""
        np.maximum(largest, np.maximum.reduce(chunk, axis=self.reduced), out=largest)

    def _add_steps(self) -> None:
        """Set the errors in steps of a channel that has one scale."""
        assert self.opened.parameters is not None
        scale = np.abs(self.opened.parameters[0].by_channel[:, 0].astype(np.float64))
        self.sums["step_square"] = self.sums["e_square"] / scale**2
        self.sums["step_max"] = self.sums["e_max"] / scale

    def _add_outside(
        self,
        part: Part,
        exact: np.ndarray,
        error: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Add the errors outside what the codes can hold; ``ends`` are those of each channel."""
        low, high = (self.opened.cut(limit, part) for limit in self.limits)
        lowest, highest = (np.expand_dims(end, self.reduced) for end in ends)
        if (lowest >= low).all() and (highest <= high).all():
            return
        # An infinity of the original is in no range, and the error of nothing but itself.
        outside = np.where(((exact < low) | (exact > high)) & np.isfinite(error), error, 0)
        self.sums["outside_square"][part[0]] += self.opened.sum_squares(outside)

    def _search(self) -> tuple[float, float] | None:
        """Return the squared error of a sample at today's scale and at the best one tried.

        The widest weights of each channel count once, the others for those they stand for. Each
        channel (the whole tensor, where it has one scale) may change its scale by a factor.
        """
        quantization, sample = self.quantization, self.sample
        if quantization is None or self.opened.exact is None or quantization.levels is not None:
            return None
        if not is_integer(quantization.data_type):
            return None
        assert self.opened.parameters is not None
        blocked = quantization.block_size is not None
        channels, fan_in = self.opened.shape
        if not blocked and quantization.scale.size not in (1, channels):
            return None  # a scale for several channels, not for all
        rows, columns = sample.rows, sample.columns
        exact = sample.exact
        scale, zero = (parameter.pick(rows, columns) for parameter in self.opened.parameters)
        weights = np.full(exact.shape, fan_in / max(1, columns.size))
        if columns.size < fan_in and not blocked:
            ends = np.stack([self.original_ends.low[rows], self.original_ends.high[rows]], axis=1)
            weights[(exact == ends[:, :1]) | (exact == ends[:, 1:])] = 0  # counted as an end
            exact = np.concatenate([exact, ends], axis=1)
            weights = np.concatenate([weights, np.ones_like(ends)], axis=1)
        return _best_factor(exact, weights, scale.astype(np.float64), zero, quantization)


def _limits(opened: OpenWeight) -> tuple[RowParameter, ...]:
    """Return the lowest and the highest value that the codes of each scale can hold."""
    quantization = opened.quantization
    if quantization is None or opened.parameters is None:
        return ()
    scale, zero_point = opened.parameters
    bottom, top = quantization.code_limits
    if quantization.levels is not None:
        bottom, top = min(quantization.levels), max(quantization.levels)

    def limit(scale: np.ndarray, zero_point: np.ndarray, sign: int) -> np.ndarray:
        ends = (bottom - zero_point) * scale, (top - zero_point) * scale
        low, high = np.minimum(*ends), np.maximum(*ends)
        margin = OUTSIDE_TOLERANCE * (high - low)
        return low - margin if sign < 0 else high + margin

    return tuple(scale.combine(zero_point, partial(limit, sign=sign)) for sign in (-1, 1))


class _Ends:
    """The lowest and the highest number of each channel, NaN and infinities left out."""

    def __init__(self, channels: int, reduced: int) -> None:
        self._reduced = reduced
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.not_finite = 0

    def widen(self, rows: slice, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add a chunk; return the lowest and the highest of each channel in it."""
        lows = np.minimum.reduce(chunk, axis=self._reduced)
        highs = np.maximum.reduce(chunk, axis=self._reduced)
        floating = chunk.dtype.kind == "f"
        if floating and not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            finite = np.isfinite(chunk)
            self.not_finite += chunk.size - int(np.count_nonzero(finite))
            lows = np.where(finite, chunk, np.inf).min(axis=self._reduced)
            highs = np.where(finite, chunk, -np.inf).max(axis=self._reduced)
        np.minimum(self.low[rows], lows, out=self.low[rows])
        np.maximum(self.high[rows], highs, out=self.high[rows])
        return lows, highs


class _Sample:
    """A few float weights of up to 256 channels, gathered as the pass goes by."""

    def __init__(self, channels: int, fan_in: int) -> None:
        self.rows = spread_out(channels, 256)
        self.columns = spread_out(fan_in, max(16, SEARCH_ELEMENTS // max(1, self.rows.size)))
        self.exact = np.zeros((self.rows.size, self.columns.size))

    def add(self, part: Part, exact: np.ndarray) -> None:
        rows, columns = (
            slice(bisect_left(wanted, span.start), bisect_left(wanted, span.stop))
            for wanted, span in zip((self.rows, self.columns), part, strict=True)
        )
        picked = (self.rows[rows] - part[0].start)[:, None], self.columns[columns] - part[1].start
        self.exact[rows, columns] = exact[picked]


class _Levels:
    """The first values of the first channel, gathered as the pass goes by."""

    def __init__(self) -> None:
        self._found = np.zeros(0, np.float32)

    def add(self, part: Part, values: np.ndarray, reduced: int) -> None:
        if part[0].start == 0 and self._found.size < LEVEL_ELEMENTS:
            first = values[0] if reduced == 1 else values[:, 0]
            self._found = np.append(self._found, first[: LEVEL_ELEMENTS - self._found.size])

    @property
    def count(self) -> int:
        return int(np.unique(self._found).size)


def _best_factor(
    exact: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    quantization: Quantization,
) -> tuple[float, float] | None:
    widest = np.abs(scale).max(initial=0)
    steps = (exact / scale).astype(np.float32)
    weights = (weights * (scale / widest) ** 2).astype(np.float32)
    low, high = (np.float32(limit) - zero for limit in quantization.code_limits)
    pooled = quantization.granularity == "per-tensor"

    def measure(factors: np.ndarray) -> np.ndarray:
        """Return the squared error of each row under its factors, (factors, rows)."""
        factors = factors.astype(np.float32)[:, :, None]
        codes = steps * (1 / factors)
        np.rint(codes, out=codes)
        np.minimum(np.maximum(codes, low, out=codes), high, out=codes)
        codes *= factors
        np.subtract(steps, codes, out=codes)
        errors = np.vecdot(np.square(codes, out=codes), weights).astype(np.float64)
        return errors.sum(axis=1, keepdims=True) if pooled else errors

    current = measure(np.ones((1, 1)))[0]
    tried = measure(SEARCH_FACTORS[::SEARCH_STRIDE, None])
    around = SEARCH_STRIDE * tried.argmin(axis=0)
    offsets = np.arange(1 - SEARCH_STRIDE, SEARCH_STRIDE)[:, None]
    near = measure(SEARCH_FACTORS[np.clip(around + offsets, 0, len(SEARCH_FACTORS) - 1)])
    best = np.minimum(tried.min(axis=0), near.min(axis=0))
    best = np.minimum(best, current)
    if not (np.isfinite(current).all() and np.isfinite(tried).all()):
        return None
    return float(current.sum() * widest**2), float(best.sum() * widest**2)


def _nan_where_empty(limits: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(limits), limits, np.nan)
