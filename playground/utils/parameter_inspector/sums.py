"""One pass over a weight, chunk by chunk: the sums that every metric is made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from .counting import CodeCounter
from .folding import spread_out
from .passes import Compared, OpenWeight, sum_squares
from .quantization import Quantization, is_integer
from .records import Layer, WeightTensor
from .rows import Part, RowParameter

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
        outside_square: sum of e^2 over the x that the codes cannot hold.
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

    def of_reference(self) -> WeightSums:
        """Return what a pass over the float original alone would have found."""
        assert self.float_low is not None and self.float_high is not None
        assert self.float_not_finite is not None
        return WeightSums(
            self.fan_in, self.float_low, self.float_high, self.float_not_finite, self.level_count
        )


def sum_weight(
    weight: WeightTensor,
    layer: Layer,
    reference: WeightTensor | None = None,
    reference_layer: Layer | None = None,
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
    with Compared(weight, layer, reference, reference_layer, factor).open() as opened:
        return _Pass(opened).run()


class _Pass:
    """The state of one pass."""

    def __init__(self, opened: OpenWeight) -> None:
        self.opened, self.reduced = opened, opened.reduced
        self.quantization = opened.quantization
        channels, fan_in = opened.shape
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.float_low, self.float_high = self.low.copy(), self.high.copy()
        names = ("x_square", "e_square", "step_square", "e_max", "step_max", "outside_square")
        self.sums = {name: np.zeros(channels) for name in names}
        self.alive = np.zeros(channels, bool)
        self.not_finite = self.float_not_finite = 0
        self.counter = CodeCounter.of(self.quantization)
        self.sample, self.levels = _Sample(channels, fan_in), _Levels()
        self.limits = _limits(opened)

    def run(self) -> WeightSums:
        for part in self.opened.parts():
            self._add(part, self.opened.codes(part))
        searched = self._search()
        known = self.opened.exact is not None
        compared = self.sums if known else dict.fromkeys(self.sums)
        return WeightSums(
            fan_in=self.opened.shape[1],
            low=_nan_where_empty(self.low),
            high=_nan_where_empty(self.high),
            not_finite=self.not_finite,
            level_count=self.levels.count,
            float_low=_nan_where_empty(self.float_low) if known else None,
            float_high=_nan_where_empty(self.float_high) if known else None,
            float_not_finite=self.float_not_finite if known else None,
            code_counts=self.counter.counts if self.counter is not None else None,
            dead=~self.alive if self.quantization is not None else None,
            searched=searched,
            **compared,
        )

    def _add(self, part: Part, codes: np.ndarray) -> None:
        opened, rows, scale = self.opened, part[0], None
        compared = opened.exact is not None
        if self.counter is not None:
            self.counter.add(codes)
        if self.quantization is None:
            values = opened.values(part, codes)
            if not compared:
                self.levels.add(part, values, self.reduced)
            self.not_finite += self._widen(self.low, self.high, rows, values)
        else:
            scale, zero_point = opened.cut_parameters(part)
            ranged = self._add_extreme_codes(rows, codes, scale, zero_point)
            if ranged and not compared:
                return
            steps = self.quantization.steps(codes, zero_point)
            if not ranged:
                self.alive[rows] |= (steps != 0).any(axis=self.reduced)
            values = opened.scaled(steps, scale)
            if not ranged:
                self.not_finite += self._widen(self.low, self.high, rows, values)
        if compared:
            self._compare(part, opened.original(part), values, scale)

    def _add_extreme_codes(
        self, rows: slice, codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray
    ) -> bool:
        """Widen the range by the values of the extreme codes of each channel.

        Returns whether these have the extreme values: integers under one finite scale do.
        """
        assert self.quantization is not None
        shared = scale.shape[self.reduced] == zero_point.shape[self.reduced] == 1
        integers = is_integer(self.quantization.data_type) and self.quantization.levels is None
        if not shared or not integers or not codes.size:
            return False
        extremes = [codes.min(axis=self.reduced), codes.max(axis=self.reduced)]
        steps = self.quantization.steps(np.stack(extremes, axis=self.reduced), zero_point)
        alive = (steps != 0).any(axis=self.reduced)
        ends = self.opened.scaled(steps, scale)
        if not np.isfinite(ends).all():
            return False
        self.alive[rows] |= alive
        self._widen(self.low, self.high, rows, ends)
        return True

    def _compare(
        self, part: Part, exact: np.ndarray, values: np.ndarray, scale: np.ndarray | None
    ) -> None:
        """Add what the values of a chunk, which are overwritten, lost of the float original."""
        rows = part[0]
        self.levels.add(part, exact, self.reduced)
        self.float_not_finite += self._widen(self.float_low, self.float_high, rows, exact)
        error = np.subtract(exact, values, out=values)
        self.sums["x_square"][rows] += sum_squares(exact, self.reduced)
        squares = sum_squares(error, self.reduced)
        self.sums["e_square"][rows] += squares
        largest = np.maximum(error.max(axis=self.reduced), -error.min(axis=self.reduced))
        np.maximum(self.sums["e_max"][rows], largest, out=self.sums["e_max"][rows])
        if scale is not None:
            self.sample.add(part, exact.T if self.reduced == 0 else exact)
            self._add_steps(rows, error, squares, largest, scale)
            self._add_outside(part, exact, error)

    def _widen(self, low: np.ndarray, high: np.ndarray, rows: slice, values: np.ndarray) -> int:
        """Widen ``low`` and ``high`` of the rows; return how many values are not finite."""
        lows, highs = values.min(axis=self.reduced), values.max(axis=self.reduced)
        missing = 0
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            finite = np.isfinite(values)
            missing = values.size - int(np.count_nonzero(finite))
            lows = np.where(finite, values, np.inf).min(axis=self.reduced)
            highs = np.where(finite, values, -np.inf).max(axis=self.reduced)
        np.minimum(low[rows], lows, out=low[rows])
        np.maximum(high[rows], highs, out=high[rows])
        return missing

    def _add_steps(
        self,
        rows: slice,
        error: np.ndarray,
        squares: np.ndarray,
        largest: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        """Add the error in steps of the scale; cheap where a channel has one scale."""
        if scale.shape[self.reduced] == 1:
            flat = np.abs(scale.reshape(-1).astype(np.float64))
            self.sums["step_square"][rows] += squares / flat**2
            steps = largest / flat
        else:
            in_steps = error / scale
            self.sums["step_square"][rows] += sum_squares(in_steps, self.reduced)
            steps = np.abs(in_steps).max(axis=self.reduced, initial=0)
        np.maximum(self.sums["step_max"][rows], steps, out=self.sums["step_max"][rows])

    def _add_outside(self, part: Part, exact: np.ndarray, error: np.ndarray) -> None:
        rows = part[0]
        low, high = (self.opened.cut(limit, part) for limit in self.limits)
        # All that was seen of the channels so far, which is no narrower than this chunk.
        lowest, highest = (
            np.expand_dims(end[rows], self.reduced) for end in (self.float_low, self.float_high)
        )
        if (lowest >= low).all() and (highest <= high).all():
            return
        outside = np.where((exact < low) | (exact > high), error, 0)
        self.sums["outside_square"][rows] += sum_squares(outside, self.reduced)

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
            ends = np.stack([self.float_low[rows], self.float_high[rows]], axis=1)
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


class _Sample:
    """A few float weights of up to 256 channels, gathered as the pass goes by."""

    def __init__(self, channels: int, fan_in: int) -> None:
        self.rows = spread_out(channels, 256)
        self.columns = spread_out(fan_in, max(16, SEARCH_ELEMENTS // max(1, self.rows.size)))
        self.exact = np.zeros((self.rows.size, self.columns.size))

    def add(self, part: Part, exact: np.ndarray) -> None:
        inside = [
            slice(*np.searchsorted(wanted, (span.start, span.stop)))
            for wanted, span in zip((self.rows, self.columns), part, strict=True)
        ]
        where = np.ix_(
            self.rows[inside[0]] - part[0].start, self.columns[inside[1]] - part[1].start
        )
        self.exact[inside[0], inside[1]] = exact[where]


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

    def measure(factor: np.ndarray) -> np.ndarray:
        """Return the squared error of each row under its factor, shape (rows, 1)."""
        factor = factor.astype(np.float32)
        codes = steps * (1 / factor)
        np.clip(np.rint(codes, out=codes), low, high, out=codes)
        codes *= factor
        np.subtract(steps, codes, out=codes)
        errors = np.vecdot(np.square(codes, out=codes), weights).astype(np.float64)
        return errors.sum(keepdims=True)[:, None] if pooled else errors[:, None]

    today = measure(np.ones((1, 1)))
    coarse = range(0, len(SEARCH_FACTORS), SEARCH_STRIDE)
    tried = np.hstack([measure(SEARCH_FACTORS[None, [i]]) for i in coarse])
    best = tried.min(axis=1, keepdims=True)
    around = SEARCH_STRIDE * tried.argmin(axis=1, keepdims=True)
    for offset in range(1 - SEARCH_STRIDE, SEARCH_STRIDE):
        near = SEARCH_FACTORS[np.clip(around + offset, 0, len(SEARCH_FACTORS) - 1)]
        best = np.minimum(best, measure(near))
    best = np.minimum(best, today)
    if not (np.isfinite(today).all() and np.isfinite(tried).all()):
        return None
    return float(today.sum() * widest**2), float(best.sum() * widest**2)


def _nan_where_empty(limits: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(limits), limits, np.nan)
