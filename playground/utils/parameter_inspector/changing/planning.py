"""Which other quantization is worth it: candidates for one weight, a plan for the whole model.

A plan takes the cheapest change of each layer that reaches a target SQNR, or what fits a size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..measuring.comparison import Comparison
from ..quantization import (
    UnavailableError,
    is_integer,
)
from ..reading.layers import find_layer
from ..records import Layer, WeightTensor
from ..sharing import SharedCache, WorkCancelledError
from ..streaming.channel_frame import fold_original
from .schemes import (
    Progress,
    Scheme,
    check_axis,
    compute_sqnr_db,
    count_bytes,
    lowest_db,
    own_axis,
    requantize,
    scheme_of,
)

# ------------------------------------------------- the sensible candidates for one weight


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scheme and what it does to a weight, against today.

    Attributes:
        gain_db: of the worst channel, over today.
        byte_ratio: bytes over today's.
    """

    scheme: Scheme
    sqnr_db: float
    worst_channel_sqnr_db: float
    byte_count: int
    gain_db: float = 0.0
    byte_ratio: float = 1.0

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Return ``int8 per-channel symmetric: +14.2 dB, +0.4 %``, the dB of the worst channel."""
        more = 100 * (self.byte_ratio - 1)
        return f"{self.scheme}: {self.gain_db:+.1f} dB, {more:+.1f} %"


def list_candidates(
    values: np.ndarray,
    current: Scheme,
    channel_axis: int = 0,
    held: np.ndarray | None = None,
    max_bytes: int | None = None,
    scale_type: str = "float32",
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Candidate, ...]:
    """Return the sensible schemes for a weight, best worst channel first, today's among them.

    Args:
        values: the float weight.
        held: the values that the file holds today; without them today's scheme is applied anew.
        max_bytes: leave out what takes more.

    Raises:
        ValueError: as `requantize`.
        WorkCancelledError: ``cancelled`` said so, between two schemes.
    """
    channel_axis = check_axis(channel_axis, values)
    now = _measure(values, current, channel_axis, scale_type)
    if held is not None:
        tensor, channels = compute_sqnr_db(values.astype(np.float32), held, channel_axis)
        now = replace(now, sqnr_db=tensor, worst_channel_sqnr_db=lowest_db(channels))
    found = [now]
    for scheme in sensible_schemes(current, values.shape, channel_axis):
        if cancelled is not None and cancelled():
            raise WorkCancelledError("stopped between two schemes of a layer")
        if scheme != current:
            found.append(_against(_measure(values, scheme, channel_axis, scale_type), now))
    affordable = [c for c in found if max_bytes is None or c.byte_count <= max_bytes]
    return tuple(sorted(affordable, key=_badness))


def _measure(values: np.ndarray, scheme: Scheme, channel_axis: int, scale_type: str) -> Candidate:
    done = requantize(values, scheme, channel_axis, scale_type)
    return Candidate(scheme, done.sqnr_db, done.worst_channel_sqnr_db, done.byte_count)


def _against(candidate: Candidate, now: Candidate) -> Candidate:
    gain = candidate.worst_channel_sqnr_db - now.worst_channel_sqnr_db
    if candidate.worst_channel_sqnr_db == now.worst_channel_sqnr_db:
        gain = 0.0  # both may be infinite
    return replace(
        candidate, gain_db=gain, byte_ratio=candidate.byte_count / max(1, now.byte_count)
    )


def _badness(candidate: Candidate) -> tuple[float, int]:
    worst = candidate.worst_channel_sqnr_db
    return (math.inf if math.isnan(worst) else -worst, candidate.byte_count)


def sensible_schemes(
    current: Scheme, shape: tuple[int, ...], channel_axis: int
) -> tuple[Scheme, ...]:
    """Return what is worth trying instead of ``today``: same width, wider, narrower."""
    same = current.data_type if current.data_type in ("int8", "uint8") else "int8"
    schemes = [
        Scheme(same),
        Scheme(same, symmetric=False),
        Scheme(same, clipping="percentile"),
        Scheme(same, clipping="mse"),
        Scheme("int16"),
    ]
    if len(shape) > 1:
        schemes += [
            Scheme(same, "per-channel"),
            Scheme("int8", "per-channel"),
            Scheme("uint8", "per-channel", symmetric=False),
            Scheme("int8", "per-channel", clipping="mse"),
            Scheme("int4", "per-channel", clipping="mse"),
            Scheme("int16", "per-channel"),
            Scheme("float8e4m3fn", "per-channel"),
        ]
        axis = own_axis("per-block", channel_axis, len(shape))
        length = shape[axis] if axis is not None else 0
        for size in (32, 128):
            if length > size:
                schemes += [
                    Scheme("int4", "per-block", block_size=size, clipping="mse"),
                    Scheme("uint4", "per-block", block_size=size, symmetric=False),
                    Scheme("int8", "per-block", block_size=size),
                ]
    return tuple(dict.fromkeys(schemes))


def why_not_run(layer: Layer, scheme: Scheme) -> str | None:
    """Return why onnxruntime 1.31 cannot run a layer under a scheme, None where it can.

    Measured on Conv, Gemm and MatMul, with and without a bias, optimized and not. A weight beside
    quantized activations is fused into an integer kernel, which has to know its codes; 4 and 16
    bits are never fused there. A MatMul or Gemm of float and int2 is fused and far off.
    """
    scheme_type = scheme.data_type
    if scheme_type == "float4e2m1":
        return "onnxruntime cannot run float4e2m1 weights on a processor"
    if scheme_type in ("int2", "uint2") and layer.op_type in ("MatMul", "Gemm"):
        return f"onnxruntime computes a {layer.op_type} with {scheme_type} weights wrongly"
    if not layer.inputs:
        return None
    if scheme_type in ("int2", "uint2") or not is_integer(scheme_type):
        return f"onnxruntime cannot run {scheme_type} weights beside quantized activations"
    if scheme.granularity == "per-block" and scheme_type in ("int8", "uint8"):
        return (
            f"onnxruntime cannot run {scheme_type} weights in blocks beside quantized activations"
        )
    return None


# ------------------------------------------------- the whole model


@dataclass(frozen=True, eq=False)
class LayerOptions:
    """A layer that can be requantized, and what could be done.

    Attributes:
        row: the layer as the reference names it; ``layer`` as the variant does.
        weight_name: of the float weight, as onnxruntime's overrides want it.
        shape, channel_axis: of the weight.
        candidates: as `list_candidates`, only those that onnxruntime runs, today's not among them.
    """

    layer_name: str
    layer: str
    weight_name: str
    shape: tuple[int, ...]
    channel_axis: int
    current: Candidate
    candidates: tuple[Candidate, ...]

    def cheapest(self, target_db: float) -> Candidate | None:
        """Return the smallest scheme whose worst channel reaches the target."""
        reached = [
            c for c in (self.current, *self.candidates) if c.worst_channel_sqnr_db >= target_db
        ]
        return min(reached, key=self._cost) if reached else None

    def _cost(self, candidate: Candidate) -> tuple[int, bool, bool, float]:
        """Bytes; at equal bytes what changes least, then what is best."""
        return (
            candidate.byte_count,
            candidate.scheme.data_type != self.current.scheme.data_type,
            candidate.scheme.clipping != "min-max",
            -candidate.worst_channel_sqnr_db,
        )


@dataclass(frozen=True, eq=False)
class LayerChange:
    """What is to become of one layer."""

    options: LayerOptions
    after: Candidate

    @property
    def layer_name(self) -> str:
        return self.options.layer_name

    @property
    def before(self) -> Candidate:
        return self.options.current


@dataclass(frozen=True)
class TradeOff:
    """A point of the curve: the fewest bytes of all weights whose worst channel has this SQNR."""

    byte_count: int
    worst_sqnr_db: float


@dataclass(frozen=True, eq=False)
class Plan:
    """The cheapest changes that reach a target.

    Attributes:
        changes: in graph order; layers that are not in it stay as they are.
        options: every layer that can be changed.
        unreachable: row -> why no scheme reaches the target there; an empty row is the whole model.
        left_out: row -> why it cannot be changed at all.
        curve: rising bytes and SQNR, over the layers of ``options``.
        byte_count, today_bytes: of the weights of ``options`` after and before, with scales and
            zero-points.
        worst_sqnr_db, today_worst_sqnr_db: of the worst channel among them, after and before.
    """

    changes: tuple[LayerChange, ...]
    options: tuple[LayerOptions, ...]
    unreachable: Mapping[str, str]
    left_out: Mapping[str, str]
    curve: tuple[TradeOff, ...]

    @property
    def byte_count(self) -> int:
        return sum(c.byte_count for c in self._chosen())

    @property
    def current_bytes(self) -> int:
        return sum(o.current.byte_count for o in self.options)

    @property
    def worst_sqnr_db(self) -> float:
        return min((c.worst_channel_sqnr_db for c in self._chosen()), default=math.nan)

    @property
    def current_worst_sqnr_db(self) -> float:
        return min((o.current.worst_channel_sqnr_db for o in self.options), default=math.nan)

    def _chosen(self) -> list[Candidate]:
        changed = {change.layer_name: change.after for change in self.changes}
        return [changed.get(o.layer_name, o.current) for o in self.options]

    @property
    def overrides(self) -> str:
        """The changes as onnxruntime's ``TensorQuantOverrides``, Python to copy."""
        return write_overrides(self.changes)


def plan_model(
    comparison: Comparison,
    variant_name: str,
    target_sqnr_db: float | None = None,
    target_bytes: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Plan:
    """Return the cheapest change of each layer that reaches a target.

    A layer's SQNR is that of its worst channel. For ``target_sqnr_db`` a layer that reaches it
    stays as it is, and every other takes the fewest bytes that do. For ``target_bytes`` (of the
    weights that can be changed) the worst layer becomes as good as fits.

    Raises:
        ValueError: no target, or both; or the variant is not in the comparison.
        WorkCancelledError: ``cancelled`` said so, between two schemes of a layer.
    """
    if (target_sqnr_db is None) == (target_bytes is None):
        raise ValueError("give a target SQNR or a target size, one of the two")
    options, left_out = list_options(comparison, variant_name, progress, cancelled)
    return choose(options, left_out, target_sqnr_db, target_bytes)


def choose(
    options: Sequence[LayerOptions],
    left_out: Mapping[str, str],
    target_sqnr_db: float | None = None,
    target_bytes: int | None = None,
) -> Plan:
    """Return the plan for a target among options that are known already: quick, for a slider."""
    curve = _trade_off(options)
    if target_sqnr_db is not None:
        chosen, unreachable = _reach_sqnr(options, target_sqnr_db)
    else:
        chosen, unreachable = _reach_bytes(options, curve, target_bytes or 0)
    changes = tuple(
        LayerChange(o, after)
        for o, after in zip(options, chosen, strict=True)
        if after.scheme != o.current.scheme
    )
    return Plan(changes, tuple(options), unreachable, left_out, curve)


# What viewers share.
listed_options: SharedCache[tuple[tuple[LayerOptions, ...], dict[str, str]]] = SharedCache(size=16)


def list_options(
    comparison: Comparison,
    variant_name: str,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[tuple[LayerOptions, ...], dict[str, str]]:
    """Return what could be done to each quantized layer, and why nothing can to the others."""
    if variant_name not in comparison.variants:
        raise ValueError(
            f"{variant_name!r} is none of the variants {', '.join(comparison.variants)}"
        )
    rows = [
        layer_name
        for layer_name, found in comparison.weights.items()
        if _is_weight(comparison, layer_name, variant_name, found)
    ]
    options, left_out = [], {}
    for done, layer_name in enumerate(rows, 1):
        try:
            options.append(_options(comparison, variant_name, layer_name, cancelled))
        except WorkCancelledError:
            raise WorkCancelledError(f"stopped after {done - 1} of {len(rows)} layers") from None
        except (ValueError, UnavailableError) as error:
            left_out[layer_name] = str(error)
        if progress is not None:
            progress(done, len(rows), layer_name)
    return tuple(options), left_out


def _is_weight(
    comparison: Comparison, layer_name: str, variant: str, found: Mapping[str, object]
) -> bool:
    """Whether a row is the weight of a layer that does sums; a batch-norm's are not."""
    if variant not in found:
        return (layer_name, variant) in comparison.unavailable
    measured = comparison.measured(layer_name, variant)
    return measured.weight.is_quantized or len(measured.weight.shape) > 1


def _options(
    comparison: Comparison,
    variant: str,
    layer_name: str,
    cancelled: Callable[[], bool] | None,
) -> LayerOptions:
    exact = read_exact(comparison, variant, layer_name)
    measured = comparison.measured(layer_name, variant)
    weight, layer = measured.weight, measured.layer
    current, byte_count, scale_type = read_current(weight)
    axis = weight.channel_axis or 0
    found = list_candidates(
        exact, current, axis, weight.values, scale_type=scale_type, cancelled=cancelled
    )
    now = next(c for c in found if c.scheme == current)
    if math.isnan(now.worst_channel_sqnr_db):
        raise ValueError("the float weight is all zero")
    return LayerOptions(
        layer_name,
        layer.name,
        _original(comparison, layer_name).name,
        weight.shape,
        axis,
        replace(now, byte_count=byte_count),
        tuple(c for c in found if c is not now and why_not_run(layer, c.scheme) is None),
    )


def read_current(weight: WeightTensor) -> tuple[Scheme, int, str]:
    """Return what the file has: scheme, bytes, type of the scales; ValueError for a codebook."""
    scheme, held = scheme_of(weight), weight.quantization
    if scheme is None or held is None:
        raise ValueError(f"{weight.data_type} codes have no scheme to start from")
    return scheme, count_bytes(held, weight.source.shape), held.scale_source.data_type


def _original(comparison: Comparison, layer_name: str) -> WeightTensor:
    first = comparison.named_by
    measured = comparison.find_measured(layer_name, first)
    if measured is None or measured.weight.is_quantized:
        raise ValueError("there is no float original of this layer to quantize again")
    return measured.weight


def read_exact(comparison: Comparison, variant: str, layer_name: str) -> np.ndarray:
    """Return the float weight of a row, folded as the variant folded it, in the layer's frame.

    Raises:
        ValueError: the row has no float original, or none that is surely the same layer, or the
            variant left it in float. The message is one sentence.
    """
    if (layer_name, variant) in comparison.unavailable:
        raise ValueError(comparison.unavailable[layer_name, variant])
    measured = comparison.find_measured(layer_name, variant)
    if measured is None:
        raise ValueError(f"{variant} has no such layer")
    if not measured.weight.is_quantized:
        raise ValueError("this layer was left in float")
    original, pair = _original(comparison, layer_name), measured.pair
    if pair is None or not pair.is_sure:
        raise ValueError("its float original is not surely the same layer")
    values = fold_original(original.values, original, pair)
    if values.shape != measured.weight.shape:
        raise ValueError(
            f"its float original has shape {values.shape}, the quantized weight "
            f"{measured.weight.shape}"
        )
    return values


def read_exact_bias(comparison: Comparison, variant: str, layer_name: str) -> np.ndarray | None:
    """Return the float bias that today's int32 bias is the rounding of; None where it is not.

    A tool may have corrected the bias on purpose, or folded a batch-norm into it.
    """
    measured = comparison.measured(layer_name, variant)
    held, pair = measured.layer.bias, measured.pair
    if held is None or held.quantization is None or pair is None or pair.folding:
        return None
    exact = find_layer(comparison.naming_model, pair.original).bias
    if exact is None or exact.is_quantized or exact.shape != held.shape:
        return None
    values = exact.values
    half_step = 0.51 * np.abs(held.quantization.scale.astype(np.float64))
    return values if np.all(np.abs(values - held.values) <= half_step) else None


def _reach_sqnr(
    options: Sequence[LayerOptions], target_db: float
) -> tuple[list[Candidate], dict[str, str]]:
    chosen, unreachable = [], {}
    for option in options:
        after: Candidate | None = option.current
        if option.current.worst_channel_sqnr_db < target_db:
            after = option.cheapest(target_db)
        if after is None:
            best = min((option.current, *option.candidates), key=_badness)
            unreachable[option.layer_name] = (
                f"its worst channel reaches at most {best.worst_channel_sqnr_db:.1f} dB, "
                f"with {best.scheme}"
            )
        chosen.append(after or option.current)
    return chosen, unreachable


def _reach_bytes(
    options: Sequence[LayerOptions], curve: Sequence[TradeOff], target: int
) -> tuple[list[Candidate], dict[str, str]]:
    affordable = [point for point in curve if point.byte_count <= target]
    if not affordable:
        least = curve[0].byte_count if curve else 0
        return [o.current for o in options], {
            "": f"the weights take at least {least:,} bytes, more than {target:,}"
        }
    level = affordable[-1].worst_sqnr_db
    chosen = [o.cheapest(level) or o.current for o in options]
    spare = target - sum(c.byte_count for c in chosen)
    # What is left of the size is spent on leaving layers as they are, the cheapest first.
    order = sorted(
        range(len(options)), key=lambda i: options[i].current.byte_count - chosen[i].byte_count
    )
    for i in order:
        more = options[i].current.byte_count - chosen[i].byte_count
        if more <= spare and options[i].current.worst_channel_sqnr_db >= level:
            chosen[i], spare = options[i].current, spare - more
    return chosen, {}


def _trade_off(options: Sequence[LayerOptions]) -> tuple[TradeOff, ...]:
    """Return the fewest bytes for each SQNR that the worst layer can have, no point twice."""
    if not options:
        return ()
    tables = [_cheapest_table(option) for option in options]
    levels = np.unique(np.concatenate([levels for levels, _ in tables]))
    levels = levels[levels <= min(float(table[0][-1]) for table in tables)]
    total = sum(sizes[np.searchsorted(known, levels)] for known, sizes in tables)
    points = zip(np.asarray(total), levels, strict=True)
    best = {int(size): float(level) for size, level in points}  # the highest level of each size
    return tuple(TradeOff(size, level) for size, level in best.items())


def _cheapest_table(option: LayerOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return rising SQNRs, and the fewest bytes that reach each."""
    known = sorted(
        (c.worst_channel_sqnr_db, c.byte_count)
        for c in (option.current, *option.candidates)
        if not math.isnan(c.worst_channel_sqnr_db)
    )
    levels, sizes = (np.array(column) for column in zip(*known, strict=True))
    return levels, np.minimum.accumulate(sizes[::-1])[::-1]


# ------------------------------------------------- onnxruntime's words for it


QUANT_TYPES = {
    "int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16", "int4": "QInt4",
    "uint4": "QUInt4", "float8e4m3fn": "QFLOAT8E4M3FN",
}  # fmt: skip


def write_overrides(changes: Sequence[LayerChange]) -> str:
    """Return changes as a Python dictionary for ``extra_options={"TensorQuantOverrides": ...}``.

    What the quantizer has no words for stands in a comment.
    """
    lines = list(itertools.chain.from_iterable(map(_override_lines, changes)))
    return "\n".join(["{", *lines, "}"])


def _override_lines(change: LayerChange) -> Iterator[str]:
    scheme, name = change.after.scheme, change.options.weight_name
    own = scheme.axis in (None, change.options.channel_axis)
    plain = scheme.clipping == "min-max" and scheme.bits is None and own
    if scheme.granularity == "per-block" or scheme.data_type not in QUANT_TYPES or not plain:
        yield f"    # {name!a}: {scheme} has no override; save the changed model instead"
        return
    words = [f'"quant_type": QuantType.{QUANT_TYPES[scheme.data_type]}']
    if scheme.granularity == "per-channel":
        words.append(f'"axis": {change.options.channel_axis}')
    if is_integer(scheme.data_type):
        words.append(f'"symmetric": {scheme.symmetric}')
        words.append(f'"reduce_range": {scheme.reduce_range}')
    yield f"    {name!a}: [{{{', '.join(words)}}}],"
