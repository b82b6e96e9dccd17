"""Which other quantization is worth it for a whole model.

A plan brings each layer to a target SQNR, or as near as it gets, or takes what fits a size. Nothing
is refused whole: what cannot be changed or misses the target is listed, and the rest is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..facts import Stay
from ..measuring.comparison import Comparison
from ..measuring.metrics import HEALTHY_CHANNEL_DB
from .candidates import Candidate
from .layer_options import LayerOptions, Progress, list_options
from .moves import Move
from .schemes import Scheme
from .writability import requantizing


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

    @property
    def move(self) -> Move:
        return requantizing(self.options.quantizer, self.proposed.scheme)


@dataclass(frozen=True)
class TradeOff:
    """A point of the curve: the fewest bytes of all weights that bring each layer to a level.

    ``level_db`` is the SQNR that the worst channel of each layer has, or the best of that layer:
    what no scheme brings there does not hold the others back.
    """

    byte_count: int
    level_db: float


@dataclass(frozen=True)
class Unreached:
    """A layer that misses the target.

    Attributes:
        best_db: of the best scheme, which is ``best``.
        planned_db: what it has after the plan.
    """

    layer_name: str
    best_db: float
    best: Scheme
    planned_db: float


@dataclass(frozen=True)
class SizeMissed:
    """All weights together cannot be so small, in bytes."""

    target_bytes: int
    least_bytes: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The cheapest changes that bring each layer to a target, or as near as it gets.

    Attributes:
        changes: in graph order; layers that are not in it stay as they are.
        options: every layer that can be changed.
        unreachable: the layers that miss the target, small ones left aside.
        left_out: the layers that cannot be changed at all.
        curve: rising bytes and SQNR, over the layers of ``options``.
        size_missed: where the target was a size below the smallest; the plan is then the smallest
            that is healthy.
        byte_count, current_bytes: of the weights of ``options`` after and before, with scales and
            zero-points.
        worst_sqnr_db, current_worst_sqnr_db: of the worst channel among them, after and before;
            constants and parameters of one dimension have none.
        level_db, current_level_db: as `TradeOff.level_db`, after and before.
    """

    changes: tuple[LayerChange, ...]
    options: tuple[LayerOptions, ...]
    unreachable: tuple[Unreached, ...]
    left_out: tuple[Stay, ...]
    curve: tuple[TradeOff, ...]
    size_missed: SizeMissed | None = None

    @property
    def moves(self) -> tuple[Move, ...]:
        """The changes as `save_moves` takes them."""
        return tuple(change.move for change in self.changes)

    @property
    def byte_count(self) -> int:
        return sum(c.byte_count for c in self._chosen())

    @property
    def current_bytes(self) -> int:
        return sum(o.current.byte_count for o in self.options)

    @property
    def worst_sqnr_db(self) -> float:
        return _worst_db(self.options, self._chosen())

    @property
    def current_worst_sqnr_db(self) -> float:
        return _worst_db(self.options, [o.current for o in self.options])

    @property
    def level_db(self) -> float:
        return _level_db(self.options, self._chosen())

    @property
    def current_level_db(self) -> float:
        return _level_db(self.options, [o.current for o in self.options])

    def _chosen(self) -> list[Candidate]:
        proposed = {change.layer_name: change.proposed for change in self.changes}
        return [proposed.get(o.layer_name, o.current) for o in self.options]


def _worst_db(options: Sequence[LayerOptions], chosen: Sequence[Candidate]) -> float:
    found = (
        candidate.worst_channel_sqnr_db
        for option, candidate in zip(options, chosen, strict=True)
        if not option.is_small
    )
    return min(found, default=math.nan)


def _level_db(options: Sequence[LayerOptions], chosen: Sequence[Candidate]) -> float:
    """Return the highest level at which each layer has what it asks for, or its best."""
    matrices = [(o, c) for o, c in zip(options, chosen, strict=True) if not o.is_small]
    short = [o.find_db(c) for o, c in matrices if o.find_db(c) < o.best_db]
    known = [o.best_db for o, _ in matrices if math.isfinite(o.best_db)]
    return min(short, default=max(known, default=math.nan))


def plan_model(
    comparison: Comparison,
    variant_name: str,
    target_sqnr_db: float | None = None,
    target_bytes: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Plan:
    """Return the cheapest change of each layer that reaches a target, by its weights alone.

    A layer's SQNR is that of its worst channel. For ``target_sqnr_db`` a layer that reaches it
    stays as it is, and every other takes the fewest bytes that do, or its best. For
    ``target_bytes`` (of the weights that can be changed) the worst layer becomes as good as fits.

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
    left_out: Sequence[Stay],
    target_sqnr_db: float | None = None,
    target_bytes: int | None = None,
) -> Plan:
    """Return the plan for a target among options that are known already: quick, for a slider."""
    curve = _trade_off(options)
    missed = None
    if target_sqnr_db is not None:
        chosen = [option.improve(target_sqnr_db) for option in options]
    else:
        chosen, missed = _reach_bytes(options, curve, target_bytes or 0)
    changes = tuple(
        LayerChange(o, proposed)
        for o, proposed in zip(options, chosen, strict=True)
        if proposed.scheme != o.current.scheme
    )
    unreachable = tuple(_list_unreached(options, chosen, target_sqnr_db))
    return Plan(changes, tuple(options), unreachable, tuple(left_out), curve, missed)


def _list_unreached(
    options: Sequence[LayerOptions], chosen: Sequence[Candidate], target_db: float | None
) -> Iterator[Unreached]:
    for option, proposed in zip(options, chosen, strict=True):
        planned = option.find_db(proposed)
        if target_db is not None and planned < target_db and not option.is_small:
            best = max(option.all_candidates, key=option.find_db)
            yield Unreached(option.layer_name, option.find_db(best), best.scheme, planned)


def _reach_bytes(
    options: Sequence[LayerOptions], curve: Sequence[TradeOff], target: int
) -> tuple[list[Candidate], SizeMissed | None]:
    affordable = [point for point in curve if point.byte_count <= target]
    if not affordable:
        least = curve[0].byte_count if curve else 0
        smallest = [o.cheapest(HEALTHY_CHANNEL_DB) for o in options]
        return smallest, SizeMissed(target, least) if curve else None
    level = affordable[-1].level_db
    chosen = [o.cheapest(level) for o in options]
    spare = target - sum(c.byte_count for c in chosen)
    if level < HEALTHY_CHANNEL_DB:
        spare = _spend(options, chosen, spare, [o.cheapest(HEALTHY_CHANNEL_DB) for o in options])
    # What is left of the size is spent on leaving layers as they are.
    left = [
        o.current
        if o.find_db(o.current) >= min(o.find_db(c), max(level, HEALTHY_CHANNEL_DB))
        else c
        for o, c in zip(options, chosen, strict=True)
    ]
    _spend(options, chosen, spare, left)
    return chosen, None


def _spend(
    options: Sequence[LayerOptions],
    chosen: list[Candidate],
    spare: int,
    wanted: Sequence[Candidate],
) -> int:
    """Take what is wanted in place of what is chosen, the cheapest first, and return what is left.

    What is wanted is nowhere worse than what is chosen.
    """
    more = [w.byte_count - c.byte_count for w, c in zip(wanted, chosen, strict=True)]
    for i in sorted(range(len(options)), key=more.__getitem__):
        if more[i] <= spare:
            chosen[i], spare = wanted[i], spare - more[i]
    return spare


def _trade_off(options: Sequence[LayerOptions]) -> tuple[TradeOff, ...]:
    """Return the fewest bytes for each level, no point twice."""
    tables = [(_cheapest_table(option), option.is_small) for option in options]
    if not tables:
        return ()
    matrices = [known for (known, _), is_small in tables if not is_small]
    levels = np.unique(np.concatenate(matrices or [known for (known, _), _ in tables]))
    total = sum(
        sizes[np.searchsorted(known, np.minimum(levels, known[-1]))] for (known, sizes), _ in tables
    )
    points = zip(np.asarray(total), levels, strict=True)
    best = {int(size): float(level) for size, level in points}  # the highest level of each size
    return tuple(TradeOff(size, level) for size, level in best.items())


def _cheapest_table(option: LayerOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return rising SQNRs, and the fewest bytes that reach each."""
    known = sorted((option.find_db(c), c.byte_count) for c in option.all_candidates)
    levels, sizes = (np.array(column) for column in zip(*known, strict=True))
    return levels, np.minimum.accumulate(sizes[::-1])[::-1]
