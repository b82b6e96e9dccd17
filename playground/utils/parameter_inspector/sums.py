"""One pass over a weight, chunk by chunk: the sums that every metric is made from.

Nothing of the weight's size is allocated: codes and float weights are views of the file wherever
their layout allows, and a chunk fits the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from .folding import spread_out
from .quantization import Quantization, code_limits, is_integer, numpy_dtype
from .records import Layer, WeightTensor
from .rows import Part, WeightRows, list_parts, open_rows, split_part, spread_parameters

# What is read at a time, and what is worked on at a time: it fits the processor's cache.
READ_ELEMENTS = 1 << 20
CHUNK_ELEMENTS = 1 << 16
# The search for a better scale looks at this many weights, the widest of each channel among them.
SEARCH_ELEMENTS = 1 << 13
SEARCH_FACTORS = np.geomspace(1 / 16, 4.0, 49)

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
        not_finite: how many v are NaN or infinite.
        searched: sum of e^2 over the searched weights, at today's scale and at the best one.
    """

    fan_in: int
    low: np.ndarray
    high: np.ndarray
    not_finite: int
    float_low: np.ndarray | None = None
    float_high: np.ndarray | None = None
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
    with ExitStack() as stack:
        held = open_rows(weight, layer, stack)
        exact = None
        if reference is not None and reference_layer is not None:
            exact = open_rows(reference, reference_layer, stack, by_columns=held.by_columns)
            if exact.shape != held.shape:
                raise ValueError(
                    f"the weight of {layer.name!r} has shape {held.shape} as (channels, fan-in), "
                    f"its float original {exact.shape}"
                )
        return _Pass(weight, layer, held, exact, factor).run()


class _Pass:
    """The state of one pass.

    Chunks have their channels on axis 0, or on axis 1 where the weight is stored so (``reduced`` is
    the other one).
    """

    def __init__(
        self,
        weight: WeightTensor,
        layer: Layer,
        held: WeightRows,
        exact: WeightRows | None,
        factor: np.ndarray | None,
    ) -> None:
        self.weight, self.held, self.exact, self.factor = weight, held, exact, factor
        self.quantization = weight.quantization
        self.parameters = spread_parameters(weight, layer)
        channels, fan_in = held.shape
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.float_low, self.float_high = self.low.copy(), self.high.copy()
        names = ("x_square", "e_square", "step_square", "e_max", "step_max", "outside_square")
        self.sums = {name: np.zeros(channels) for name in names}
        self.alive = np.zeros(channels, bool)
        self.not_finite = 0
        self.reduced = 0 if held.by_columns else 1
        self.counter = _CodeCounter.of(self.quantization)
        self.sample = _Sample(channels, fan_in)

    def run(self) -> WeightSums:
        with np.errstate(all="ignore"):
            for part in list_parts(self.held, READ_ELEMENTS):
                codes = self.held.load(part)
                exact = self.exact.load(part) if self.exact is not None else None
                if self.counter is not None:
                    self.counter.add(codes)
                if self.quantization is not None and exact is not None:
                    self.sample.add(part, exact)
                for whole, inner in self._chunks(part):
                    self._add(whole, codes[inner], None if exact is None else exact[inner])
            searched = self._search()
        known = self.exact is not None
        compared = self.sums if known else dict.fromkeys(self.sums)
        return WeightSums(
            fan_in=self.held.shape[1],
            low=_nan_where_empty(self.low),
            high=_nan_where_empty(self.high),
            not_finite=self.not_finite,
            float_low=_nan_where_empty(self.float_low) if known else None,
            float_high=_nan_where_empty(self.float_high) if known else None,
            code_counts=self.counter.counts if self.counter is not None else None,
            dead=~self.alive if self.quantization is not None else None,
            searched=searched,
            **compared,
        )

    def _chunks(self, part: Part) -> Iterator[tuple[Part, Part]]:
        if not self.held.by_columns:
            return split_part(part, CHUNK_ELEMENTS)
        turned = split_part((part[1], part[0]), CHUNK_ELEMENTS)
        return (((w[1], w[0]), (i[1], i[0])) for w, i in turned)

    def _add(self, part: Part, codes: np.ndarray, exact: np.ndarray | None) -> None:
        rows = part[0]
        steps, values, scale = self._decode(part, codes)
        self._add_range(self.low, self.high, rows, values, count=True)
        if steps is not None:
            alive = (steps.min(axis=self.reduced) != 0) | (steps.max(axis=self.reduced) != 0)
            self.alive[rows] |= alive
        if exact is None:
            return
        exact = self._as_float(part, exact)
        ends = self._add_range(self.float_low, self.float_high, rows, exact)
        error = exact - values
        self.sums["x_square"][rows] += self._square_sum(exact)
        squares = self._square_sum(error)
        self.sums["e_square"][rows] += squares
        largest = np.maximum(error.max(axis=self.reduced), -error.min(axis=self.reduced))
        np.maximum(self.sums["e_max"][rows], largest, out=self.sums["e_max"][rows])
        if scale is None:
            return
        self._add_steps(rows, error, squares, largest, scale)
        self._add_outside(part, exact, error, ends)

    def _decode(
        self, part: Part, codes: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        """Return codes minus zero-point, values and scale of a chunk, channels on their axis."""
        codes = self._turn(codes)
        if self.quantization is None or self.parameters is None:
            return None, self.weight.round_as_cast(codes.astype(np.float32)), None
        scale, zero_point = (self._turn(parameter.cut(part)) for parameter in self.parameters)
        steps = self.quantization.steps(codes, zero_point)
        values = self.quantization.round_values(steps * scale)
        return steps, self.weight.round_as_cast(values), scale

    def _as_float(self, part: Part, exact: np.ndarray) -> np.ndarray:
        if self.factor is not None:
            exact = exact * self.factor[part[0], None]
        return self._turn(exact.astype(np.float32, copy=False))

    def _turn(self, array: np.ndarray) -> np.ndarray:
        return array.T if self.held.by_columns else array

    def _add_range(
        self,
        low: np.ndarray,
        high: np.ndarray,
        rows: slice,
        values: np.ndarray,
        *,
        count: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Widen ``low`` and ``high`` of the rows; return the chunk's own, NaN left out."""
        lows, highs = values.min(axis=self.reduced), values.max(axis=self.reduced)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            finite = np.isfinite(values)
            if count:
                self.not_finite += values.size - int(finite.sum())
            lows = np.where(finite, values, np.inf).min(axis=self.reduced)
            highs = np.where(finite, values, -np.inf).max(axis=self.reduced)
        np.minimum(low[rows], lows, out=low[rows])
        np.maximum(high[rows], highs, out=high[rows])
        return lows, highs

    def _square_sum(self, array: np.ndarray) -> np.ndarray:
        wide = array.astype(np.float64)
        return np.einsum("ij,ij->j" if self.held.by_columns else "ij,ij->i", wide, wide)

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
            self.sums["step_square"][rows] += self._square_sum(in_steps)
            steps = np.abs(in_steps).max(axis=self.reduced, initial=0)
        np.maximum(self.sums["step_max"][rows], steps, out=self.sums["step_max"][rows])

    def _add_outside(
        self,
        part: Part,
        exact: np.ndarray,
        error: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
    ) -> None:
        low, high = self._limits(part)
        margin = OUTSIDE_TOLERANCE * (high - low)
        low, high = low - margin, high + margin
        lowest, highest = (np.expand_dims(end, self.reduced) for end in ends)
        if (lowest >= low).all() and (highest <= high).all():
            return
        outside = np.where((exact < low) | (exact > high), error, 0)
        self.sums["outside_square"][part[0]] += self._square_sum(outside)

    def _limits(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return what the codes of a chunk can hold, lowest and highest, to broadcast."""
        assert self.quantization is not None and self.parameters is not None
        scale, zero_point = (self._turn(parameter.cut(part)) for parameter in self.parameters)
        bottom, top = self.quantization.code_limits
        if self.quantization.levels is not None:
            bottom, top = min(self.quantization.levels), max(self.quantization.levels)
        ends = (bottom - zero_point) * scale, (top - zero_point) * scale
        return np.minimum(*ends), np.maximum(*ends)

    def _search(self) -> tuple[float, float] | None:
        """Return the squared error of a sample at today's scale and at the best one tried.

        The widest weights of each channel count once, the others for those they stand for. Each
        channel (the whole tensor, where it has one scale) may change its scale by a factor.
        """
        quantization, sample = self.quantization, self.sample
        if quantization is None or self.exact is None or quantization.levels is not None:
            return None
        if not is_integer(quantization.data_type):
            return None
        assert self.parameters is not None
        blocked = quantization.block_size is not None
        channels, fan_in = self.held.shape
        if not blocked and quantization.scale.size not in (1, channels):
            return None  # a scale for several channels, not for all
        rows, columns = sample.rows, sample.columns
        exact = sample.exact
        if self.factor is not None:
            exact = exact * self.factor[rows, None]
        scale, zero = (parameter.pick(rows, columns) for parameter in self.parameters)
        weights = np.full(exact.shape, fan_in / max(1, columns.size))
        if columns.size < fan_in and not blocked:
            ends = np.stack([self.float_low[rows], self.float_high[rows]], axis=1)
            weights[(exact == ends[:, :1]) | (exact == ends[:, 1:])] = 0  # counted as an end
            exact = np.concatenate([exact, ends], axis=1)
            weights = np.concatenate([weights, np.ones_like(ends)], axis=1)
        return _best_factor(exact, weights, scale.astype(np.float64), zero, quantization)


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


def _best_factor(
    exact: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    quantization: Quantization,
) -> tuple[float, float] | None:
    low, high = quantization.code_limits
    steps = exact / scale
    errors = []
    for factor in (1.0, *SEARCH_FACTORS):
        codes = np.clip(np.rint(steps / factor) + zero, low, high)
        error = weights * ((steps - (codes - zero) * factor) * scale) ** 2
        errors.append(error.sum(axis=1))
    by_row = np.stack(errors)
    if quantization.granularity == "per-tensor":
        by_row = by_row.sum(axis=1, keepdims=True)
    if not np.isfinite(by_row).all():
        return None
    return float(by_row[0].sum()), float(by_row.min(axis=0).sum())


def _nan_where_empty(limits: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(limits), limits, np.nan)


class _CodeCounter:
    """How often each code occurs, from the data type's lowest code on."""

    def __init__(self, data_type: str) -> None:
        low, high = (int(limit) for limit in code_limits(data_type))
        self._wide = numpy_dtype(data_type).itemsize == 2
        self._low, self._size = low, high - low + 1
        self._by_pattern = np.zeros(1 << (16 if self._wide else 8), np.int64)

    @classmethod
    def of(cls, quantization: Quantization | None) -> _CodeCounter | None:
        if quantization is None or not is_integer(quantization.data_type):
            return None
        if numpy_dtype(quantization.data_type).itemsize > 2:
            return None
        return cls(quantization.data_type)

    def add(self, codes: np.ndarray) -> None:
        flat = codes.reshape(-1) if codes.flags.c_contiguous else codes.T.reshape(-1)
        if self._wide:
            self._by_pattern += np.bincount(flat.view(np.uint16), minlength=1 << 16)
        else:
            self._by_pattern += count_bytes(flat.view(np.uint8))

    @property
    def counts(self) -> np.ndarray:
        """Negative codes stand at the end of the patterns, two's complement."""
        return np.roll(self._by_pattern, -self._low)[: self._size]


def count_bytes(flat: np.ndarray) -> np.ndarray:
    """Return how often each byte occurs; pairs of bytes are counted, which is twice as fast."""
    even = flat.size // 2 * 2
    if flat.size < 1 << 16 or not flat.flags.c_contiguous or flat.ctypes.data % 2:
        return np.bincount(flat, minlength=256)
    table = np.bincount(flat[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts: np.ndarray = table.sum(axis=0) + table.sum(axis=1)
    return counts + np.bincount(flat[even:], minlength=256)
