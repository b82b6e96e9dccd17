"""Which other quantization is worth it for a whole model.

A plan takes the cheapest change of each layer that reaches a target SQNR, or what fits a size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import MeasuredWeight
from ..measuring.network_identity import identify_network
from ..quantization import UnavailableError, numpy_dtype
from ..reading.file_bytes import find_float_behind
from ..records import WeightTensor
from ..sharing import WorkCancelledError
from .candidates import Candidate, list_candidates, sensible_schemes
from .originals import find_original, read_original
from .requantizing import count_bytes
from .runtime_support import why_not_run
from .schemes import Scheme, data_type_bits, scheme_of

# What a plan may hold of the codes that its search makes, so that they are written as they are:
# of a larger model the chosen ones are made once more.
PLANNED_CODE_BYTES = 1 << 28

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class LayerOptions:
    """A layer that can be requantized, and what could be done.

    Attributes:
        layer_name: as the original names the layer; ``name_in_variant`` as the variant does.
        weight_name: of the float weight, as onnxruntime's overrides want it.
        shape, channel_axis: of the weight.
        candidates: as `list_candidates`, only those that onnxruntime runs, and not the current one.
    """

    layer_name: str
    name_in_variant: str
    weight_name: str
    shape: tuple[int, ...]
    channel_axis: int
    current: Candidate
    candidates: tuple[Candidate, ...]

    @property
    def code_bytes(self) -> int:
        """How much memory the codes of its candidates take."""
        stored = (candidate.stored for candidate in self.candidates)
        return sum(one.codes.nbytes for one in stored if one is not None)

    def cheapest(self, target_db: float) -> Candidate | None:
        """Return the smallest scheme whose worst channel reaches the target."""
        reached = [
            c for c in (self.current, *self.candidates) if c.worst_channel_sqnr_db >= target_db
        ]
        scheme = self.current.scheme
        return min(reached, key=lambda candidate: candidate.cost(scheme)) if reached else None


@dataclass(frozen=True, eq=False)
class LayerChange:
    """What is to become of one layer."""

    options: LayerOptions
    proposed: Candidate

    @property
    def layer_name(self) -> str:
        return self.options.layer_name

    @property
    def current(self) -> Candidate:
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
        unreachable: layer name -> why no scheme reaches the target there; an empty name is the
            whole model.
        left_out: layer name -> why it cannot be changed at all.
        curve: rising bytes and SQNR, over the layers of ``options``.
        byte_count, current_bytes: of the weights of ``options`` after and before, with scales and
            zero-points.
        worst_sqnr_db, current_worst_sqnr_db: of the worst channel among them, after and before.
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
        proposed = {change.layer_name: change.proposed for change in self.changes}
        return [proposed.get(o.layer_name, o.current) for o in self.options]


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
    options, left_out = list_options(
        comparison, variant_name, progress, cancelled, code_bytes=PLANNED_CODE_BYTES
    )
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
        LayerChange(o, proposed)
        for o, proposed in zip(options, chosen, strict=True)
        if proposed.scheme != o.current.scheme
    )
    return Plan(changes, tuple(options), unreachable, left_out, curve)


def list_options(
    comparison: Comparison,
    variant_name: str,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    code_bytes: int = 0,
) -> tuple[tuple[LayerOptions, ...], dict[str, str]]:
    """Return what could be done to each quantized layer, and why nothing can to the others.

    Args:
        code_bytes: how much memory the codes of the candidates may take, of all layers together.
    """
    if variant_name not in comparison.variants:
        known = ", ".join(comparison.variants)
        raise ValueError(f"{variant_name!r} is none of the variants {known}")
    layer_names = _list_weights(comparison, variant_name)
    identity = identify_network(comparison, variant_name)
    if identity is not None and identity.is_other_network:
        # A mix of two networks is one that nobody trained.
        reason = f"this is not the network of {identity.original}: the two are not mixed"
        return (), dict.fromkeys(layer_names, reason)
    options: list[LayerOptions] = []
    left_out: dict[str, str] = {}
    for done, layer_name in enumerate(layer_names, 1):
        try:
            option = _find_options(comparison, variant_name, layer_name, cancelled, code_bytes)
            options.append(option)
            code_bytes -= option.code_bytes
        except WorkCancelledError:
            raise WorkCancelledError(
                f"stopped after {done - 1} of {len(layer_names)} layers"
            ) from None
        except (ValueError, UnavailableError) as error:
            left_out[layer_name] = str(error)
        if progress is not None:
            progress(done, len(layer_names), layer_name)
    return tuple(options), left_out


def _list_weights(comparison: Comparison, variant: str) -> list[str]:
    """Return the layers of a variant whose weight takes part in sums; a batch-norm's does not."""
    return [
        layer_name
        for layer_name in comparison.weights
        if _is_weight(comparison, variant, layer_name)
    ]


def _is_weight(comparison: Comparison, variant: str, layer_name: str) -> bool:
    measured = comparison.find_measured(layer_name, variant)
    if measured is None:
        return (layer_name, variant) in comparison.unavailable
    return measured.weight.is_quantized or len(measured.weight.shape) > 1


def _find_options(
    comparison: Comparison,
    variant: str,
    layer_name: str,
    cancelled: Callable[[], bool] | None,
    code_bytes: int,
) -> LayerOptions:
    original = read_original(comparison, variant, layer_name)
    measured = comparison.measured(layer_name, variant)
    scheme, byte_count, _ = read_current(measured.weight)
    candidates = _list_runnable(measured, original, cancelled, code_bytes)
    current = next(c for c in candidates if c.scheme == scheme)
    if math.isnan(current.worst_channel_sqnr_db):
        raise ValueError("the float weight is all zero")
    return LayerOptions(
        layer_name,
        measured.layer.name,
        find_original(comparison, layer_name).name,
        measured.weight.shape,
        measured.weight.channel_axis or 0,
        replace(current, byte_count=byte_count),
        tuple(c for c in candidates if c is not current),
    )


def _list_runnable(
    measured: MeasuredWeight,
    original: np.ndarray,
    cancelled: Callable[[], bool] | None,
    code_bytes: int,
) -> tuple[Candidate, ...]:
    """Return the candidates that onnxruntime runs, the current scheme among them."""
    weight, axis = measured.weight, measured.weight.channel_axis or 0
    scheme, _, scale_type = read_current(weight)
    sensible = sensible_schemes(scheme, original.shape, axis)
    return list_candidates(
        original,
        scheme,
        axis,
        weight.values,
        scale_type=scale_type,
        cancelled=cancelled,
        schemes=[one for one in sensible if why_not_run(measured.layer, one) is None],
        code_bytes=code_bytes,
    )


def read_current(weight: WeightTensor) -> tuple[Scheme, int, str]:
    """Return what the file has: scheme, bytes, type of the scales; ValueError for a codebook."""
    scheme, quantization = scheme_of(weight), weight.quantization
    if scheme is None or quantization is None:
        raise ValueError(f"{weight.data_type} codes have no scheme to start from")
    byte_count = count_bytes(quantization, weight.source.shape)
    behind = find_float_behind(weight.source)
    if behind is not None:  # the file holds the float weight, and quantizes it as it is opened
        byte_count += math.prod(behind.shape) * numpy_dtype(behind.data_type).itemsize
        byte_count -= math.ceil(
            data_type_bits(quantization.data_type) * math.prod(weight.source.shape) / 8
        )
    return scheme, byte_count, quantization.scale_source.data_type


def _reach_sqnr(
    options: Sequence[LayerOptions], target_db: float
) -> tuple[list[Candidate], dict[str, str]]:
    chosen, unreachable = [], {}
    for option in options:
        proposed: Candidate | None = option.current
        if option.current.worst_channel_sqnr_db < target_db:
            proposed = option.cheapest(target_db)
        if proposed is None:
            best = min((option.current, *option.candidates), key=lambda c: c.badness)
            unreachable[option.layer_name] = (
                f"its worst channel reaches at most {best.worst_channel_sqnr_db:.1f} dB, "
                f"with {best.scheme}"
            )
        chosen.append(proposed or option.current)
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
