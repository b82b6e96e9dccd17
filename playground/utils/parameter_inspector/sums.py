"""One pass over a weight, chunk by chunk: the sums that every metric is made from.

Nothing of the weight's size is allocated: codes and float weights are views of the file wherever
their layout allows, and a chunk fits the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .folding import channels_first, spread_out
from .quantization import Quantization, code_limits, is_integer, numpy_dtype
from .records import Layer, WeightTensor

CHUNK_ELEMENTS = 1 << 16
# The search for a better scale looks at this many weights, the widest of each channel among them.
SEARCH_ELEMENTS = 1 << 13
SEARCH_FACTORS = np.geomspace(0.25, 4.0, 33)

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
    held = _Rows.of(weight, layer)
    exact = None
    if reference is not None and reference_layer is not None:
        exact = channels_first(reference.rearrange(reference.codes), reference, reference_layer)
        if exact.shape != held.codes.shape:
            raise ValueError(
                f"the weight of {layer.name!r} has shape {held.codes.shape} as (channels, fan-in), "
                f"its float original {exact.shape}"
            )
    return _Pass(weight, held, exact, factor).run()


@dataclass(frozen=True, eq=False)
class _Rows:
    """A weight as (channels, fan-in): codes, and scale and zero-point to broadcast against them."""

    codes: np.ndarray
    quantization: Quantization | None
    scale: np.ndarray | None
    zero_point: np.ndarray | None

    @classmethod
    def of(cls, weight: WeightTensor, layer: Layer) -> _Rows:
        stored = weight.codes
        rows = channels_first(weight.rearrange(stored), weight, layer)
        quantization = weight.quantization
        if quantization is None:
            return cls(rows, None, None, None)

        def spread(parameter: np.ndarray) -> np.ndarray:
            full = np.broadcast_to(quantization.spread(parameter, stored.shape), stored.shape)
            frame = channels_first(weight.rearrange(full), weight, layer)
            return frame[tuple(slice(None) if stride else slice(1) for stride in frame.strides)]

        return cls(
            rows,
            quantization,
            spread(quantization.scale.astype(np.float32)),
            spread(quantization.zero_point.astype(np.float32)),
        )


class _Pass:
    """The state of one pass. ``axis`` is where a chunk has its channels: 0, or 1 if stored so."""

    def __init__(
        self,
        weight: WeightTensor,
        held: _Rows,
        exact: np.ndarray | None,
        factor: np.ndarray | None,
    ) -> None:
        self.weight, self.held, self.exact, self.factor = weight, held, exact, factor
        channels = held.codes.shape[0]
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.float_low, self.float_high = self.low.copy(), self.high.copy()
        names = ("x_square", "e_square", "step_square", "e_max", "step_max", "outside_square")
        self.sums = {name: np.zeros(channels) for name in names}
        self.alive = np.zeros(channels, bool)
        self.not_finite = 0
        # Channels last in memory (MatMul) are read in columns, so that reading stays contiguous.
        self.by_columns = abs(held.codes.strides[1]) > abs(held.codes.strides[0]) and channels > 1
        self.reduced = 0 if self.by_columns else 1

    def run(self) -> WeightSums:
        with np.errstate(all="ignore"):
            for part in self._parts():
                self._add(part)
            held = self.held
            quantized = held.quantization is not None
            counts = _count_codes(held.codes, held.quantization) if held.quantization else None
            searched = self._search() if quantized and self.exact is not None else None
        compared = self.sums if self.exact is not None else dict.fromkeys(self.sums)
        known = self.exact is not None
        return WeightSums(
            fan_in=held.codes.shape[1],
            low=_nan_where_empty(self.low),
            high=_nan_where_empty(self.high),
            not_finite=self.not_finite,
            float_low=_nan_where_empty(self.float_low) if known else None,
            float_high=_nan_where_empty(self.float_high) if known else None,
            code_counts=counts,
            dead=~self.alive if quantized else None,
            searched=searched,
            **compared,
        )

    def _parts(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each chunk."""
        rows, columns = self.held.codes.shape
        if self.by_columns:
            wide = max(1, CHUNK_ELEMENTS // max(1, rows))
            yield from ((slice(None), slice(i, i + wide)) for i in range(0, columns, wide))
            return
        wide = min(columns, CHUNK_ELEMENTS)
        tall = max(1, CHUNK_ELEMENTS // max(1, wide))
        for i in range(0, rows, tall):
            for j in range(0, columns, max(1, wide)):
                yield slice(i, i + tall), slice(j, j + wide)

    def _add(self, part: tuple[slice, slice]) -> None:
        rows = part[0]
        steps, values, scale = self._decode(part)
        self._add_range(self.low, self.high, rows, values)
        if steps is not None:
            self.alive[rows] |= (steps != 0).any(axis=self.reduced)
        if self.exact is None:
            return
        exact = self._exact(part)
        self._add_range(self.float_low, self.float_high, rows, exact)
        error = exact - values
        self.sums["x_square"][rows] += self._square_sum(exact)
        squares = self._square_sum(error)
        self.sums["e_square"][rows] += squares
        largest = np.abs(error).max(axis=self.reduced, initial=0)
        np.maximum(self.sums["e_max"][rows], largest, out=self.sums["e_max"][rows])
        if scale is None:
            return
        self._add_steps(rows, error, squares, largest, scale)
        self._add_outside(part, exact, error)

    def _decode(
        self, part: tuple[slice, slice]
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        """Return codes minus zero-point, values and scale of a chunk, channels on their axis."""
        codes = self._turn(self.held.codes[part])
        quantization = self.held.quantization
        if quantization is None or self.held.scale is None or self.held.zero_point is None:
            return None, self.weight.round_as_cast(codes.astype(np.float32)), None
        scale = self._turn(_cut(self.held.scale, part))
        if quantization.levels is not None:
            steps = np.asarray(quantization.levels, np.float32)[codes]
        else:
            steps = codes.astype(np.float32)
            steps -= self._turn(_cut(self.held.zero_point, part))
        values = quantization.round_values(steps * scale)
        return steps, self.weight.round_as_cast(values), scale

    def _exact(self, part: tuple[slice, slice]) -> np.ndarray:
        assert self.exact is not None
        exact = self.exact[part]
        if self.factor is not None:
            exact = exact * self.factor[part[0], None]
        return self._turn(exact.astype(np.float32))

    def _turn(self, array: np.ndarray) -> np.ndarray:
        return array.T if self.by_columns else array

    def _add_range(
        self, low: np.ndarray, high: np.ndarray, rows: slice, values: np.ndarray
    ) -> None:
        lows, highs = values.min(axis=self.reduced), values.max(axis=self.reduced)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            finite = np.isfinite(values)
            if values.dtype == np.float32 and low is self.low:
                self.not_finite += values.size - int(finite.sum())
            lows = np.where(finite, values, np.inf).min(axis=self.reduced)
            highs = np.where(finite, values, -np.inf).max(axis=self.reduced)
        np.minimum(low[rows], lows, out=low[rows])
        np.maximum(high[rows], highs, out=high[rows])

    def _square_sum(self, array: np.ndarray) -> np.ndarray:
        wide = array.astype(np.float64)
        return np.einsum("ij,ij->j" if self.by_columns else "ij,ij->i", wide, wide)

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

    def _add_outside(self, part: tuple[slice, slice], exact: np.ndarray, error: np.ndarray) -> None:
        low, high = self._limits(part)
        margin = OUTSIDE_TOLERANCE * (high - low)
        low, high = low - margin, high + margin
        reach = (
            exact.min(axis=self.reduced, keepdims=True),
            exact.max(axis=self.reduced, keepdims=True),
        )
        if (reach[0] >= low).all() and (reach[1] <= high).all():
            return
        outside = np.where((exact < low) | (exact > high), error, 0)
        self.sums["outside_square"][part[0]] += self._square_sum(outside)

    def _limits(self, part: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Return what the codes of a chunk can hold, lowest and highest, to broadcast."""
        held = self.held
        assert held.quantization is not None and held.scale is not None
        assert held.zero_point is not None
        scale = self._turn(_cut(held.scale, part))
        zero_point = self._turn(_cut(held.zero_point, part))
        bottom, top = held.quantization.code_limits
        if held.quantization.levels is not None:
            bottom, top = min(held.quantization.levels), max(held.quantization.levels)
        ends = (bottom - zero_point) * scale, (top - zero_point) * scale
        return np.minimum(*ends), np.maximum(*ends)

    def _search(self) -> tuple[float, float] | None:
        """Return the squared error of a sample at today's scale and at the best one tried.

        The widest weights of each channel count once, the others for those they stand for. Each
        channel (the whole tensor, where it has one scale) may change its scale by a factor.
        """
        quantization, held = self.held.quantization, self.held
        assert quantization is not None and self.exact is not None
        if quantization.levels is not None or not is_integer(quantization.data_type):
            return None
        assert held.scale is not None and held.zero_point is not None
        blocked = quantization.block_size is not None
        channels, fan_in = held.codes.shape
        if not blocked and quantization.scale.size not in (1, channels):
            return None  # a scale for several channels, not for all
        rows = spread_out(channels, 256)
        columns = spread_out(fan_in, max(16, SEARCH_ELEMENTS // max(1, rows.size)))
        exact = self.exact[rows][:, columns].astype(np.float64)
        if self.factor is not None:
            exact = exact * self.factor[rows, None]
        scale = np.broadcast_to(held.scale, held.codes.shape)[rows][:, columns].astype(np.float64)
        zero = np.broadcast_to(held.zero_point, held.codes.shape)[rows][:, columns]
        weights = np.full(exact.shape, fan_in / max(1, columns.size))
        if columns.size < fan_in and not blocked:
            ends = np.stack([self.float_low[rows], self.float_high[rows]], axis=1)
            weights[(exact == ends[:, :1]) | (exact == ends[:, 1:])] = 0  # counted as an end
            exact = np.concatenate([exact, ends], axis=1)
            weights = np.concatenate([weights, np.ones_like(ends)], axis=1)
            scale = np.concatenate([scale, scale[:, :1], scale[:, :1]], axis=1)
            zero = np.concatenate([zero, zero[:, :1], zero[:, :1]], axis=1)
        return _best_factor(exact, weights, scale, zero, quantization)


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


def _cut(parameter: np.ndarray, part: tuple[slice, slice]) -> np.ndarray:
    """Return the part of a scale that belongs to a chunk; axes of length 1 broadcast."""
    return parameter[
        part[0] if parameter.shape[0] > 1 else slice(None),
        part[1] if parameter.shape[1] > 1 else slice(None),
    ]


def _nan_where_empty(limits: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(limits), limits, np.nan)


def _count_codes(codes: np.ndarray, quantization: Quantization) -> np.ndarray | None:
    """Return how often each code occurs, from the data type's lowest code on."""
    dtype = numpy_dtype(quantization.data_type)
    if dtype.itemsize > 2 or not is_integer(quantization.data_type):
        return None
    flat = codes.reshape(-1) if codes.flags.c_contiguous else codes.T.reshape(-1)
    if codes.dtype.name in ("int8", "uint8"):
        counts = _count_bytes(flat.view(np.uint8))
        if codes.dtype == np.int8:
            counts = np.roll(counts, 128)
    else:
        wide = flat.astype(np.int32)
        offset = -int(np.iinfo(np.int16).min) if codes.dtype.name == "int16" else 0
        if codes.dtype.itemsize == 1:  # the narrow types of ml_dtypes
            offset = 128
        counts = np.bincount(wide + offset, minlength=65536 if codes.dtype.itemsize == 2 else 256)
    return _trim(counts, codes, quantization)


def _trim(counts: np.ndarray, codes: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Return the counts of the codes that the data type has, when counted in a wider one."""
    low, high = (int(limit) for limit in code_limits(quantization.data_type))
    first = {"uint8": 0, "uint16": 0, "int16": -32768}.get(codes.dtype.name, -128)
    return counts[low - first : high - first + 1]


def _count_bytes(flat: np.ndarray) -> np.ndarray:
    """Return how often each byte occurs; pairs of bytes are counted, which is twice as fast."""
    counts = np.zeros(256, np.int64)
    even = flat[: flat.size // 2 * 2]
    if even.size and even.flags.c_contiguous and even.ctypes.data % 2 == 0:
        pairs = even.view(np.uint16)
        for i in range(0, pairs.size, 1 << 20):
            table = np.bincount(pairs[i : i + (1 << 20)], minlength=65536).reshape(256, 256)
            counts += table.sum(axis=0) + table.sum(axis=1)
        return counts + np.bincount(flat[even.size :], minlength=256)
    for i in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[i : i + (1 << 20)], minlength=256)
    return counts
