"""The plan by measurement: the moves that bring most first, kept as far as the output says so.

What each quantizer does alone orders the moves; batches of them are measured together, and halved
where they disappoint. Half of the samples decide, the other half judges at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from threading import Event

from ..facts import EndingKind, QuantizerKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import Quantizer
from ..running.endings import RunEndedError
from ..running.limits import Limits
from ..running.measured_outputs import AnySamples, read_samples
from ..running.turn import Turn
from .bias_correction import correct_biases
from .equalization import choose_equalized
from .measured_plans import (
    Cost,
    Level,
    MeasuredPlan,
    PlanEnd,
    PlanName,
    PlanProgress,
    PlanStep,
    Sides,
    Target,
)
from .moves import Move, MoveKind, merge_moves
from .plan_bench import PlanBench, Rows
from .plan_ranking import COSTLY, Promise, Ranked, Ranking, comparable, serves
from .sample_halves import split_samples
from .shortening import cut_moves, shorten_moves
from .weight_moves import free_weight_move

# A batch that loses more than this has a bad move in it, dB; where little is right yet, levels
# move by chance, and it takes more: the second figure at 0 dB, nothing of it from the third on.
TOLERANCE_DB, TOLERANCE_AT_0_DB, STEADY_DB = 0.1, 1.0, 25.0
# How often a batch that disappoints is halved.
MOST_HALVINGS = 2
# Without a target a plan may be this far under the best that was found, dB: it is shorter then.
ENOUGH_DB = 0.3
# What the moves that are left promise, of all noise that is left: below, nothing helps any more.
LEFT_OVER = 0.03
# Of the file: what floats in place of codes may add; scales and names take a little more.
MOST_ADDED = 0.08
# How often a plan is tried with fewer moves.
MOST_SHORTENING = 40
# Layers that "leave the worst out" leaves out, at most, or until they made this part of the noise.
MOST_LEFT_OUT, LEFT_OUT_SHARE = 8, 0.9

Report = Callable[[PlanProgress], None]


def plan_by_measurement(
    comparison: Comparison,
    variant: str,
    samples: AnySamples = None,
    target: Target | None = None,
    *,
    most_added: float = MOST_ADDED,
    limits: Limits | None = None,
    progress: Report | None = None,
    cancel: Event | None = None,
) -> tuple[MeasuredPlan, ...]:
    """Return the plan whose measured output reaches a target, and the named plans beside it.

    Without a target it goes on until nothing helps any more.

    Args:
        samples: as `measure_outputs` takes them.
        most_added: to the file's bytes, as a part of them.
        progress: is told what there is after each run, from any thread.
        cancel: an event that stops the search; what there is then is returned.

    Raises:
        SamplesError: the samples are not what the model asks for.
        RunEndedError: the models do not run.
        ModelTooLargeError, UnavailableError: as `create_switched_model`.
    """
    begun = time.monotonic()
    read = read_samples(comparison, samples)
    with ExitStack() as stack:
        stack.enter_context(Turn(cancel))
        limits = limits or Limits.for_this_machine()
        bench = PlanBench(stack, comparison, variant, read, limits, cancel)
        size = comparison.variants[variant].file_bytes
        search = _Search(bench, comparison, variant, target, most_added * size, progress)
        return search.search(begun)


class _Search:
    """What is known of a plan while it is searched for."""

    def __init__(
        self,
        bench: PlanBench,
        comparison: Comparison,
        variant: str,
        target: Target | None,
        most_added: float,
        progress: Report | None,
    ) -> None:
        self.bench, self.comparison, self.variant = bench, comparison, variant
        self.target, self.most_added, self.progress = target, most_added, progress
        self.deciding, self.judging = split_samples(
            bench.order_by_noise(), bench.bench.rows_per_run or 1
        )
        # Ranges and biases are made from some of the deciding samples and tried on the others.
        self.making = self.deciding[0::2]
        self.trying = self.deciding[1::2] or self.deciding
        self.kept: list[PlanStep] = []
        self.tried: list[Move] = []
        self.named: list[MeasuredPlan] = []
        self.everything: list[Move] = []
        self.plan: MeasuredPlan | None = None
        self.ranking = Ranking(bench, comparison, variant, {}, most_added)

    def search(self, begun: float) -> tuple[MeasuredPlan, ...]:
        try:
            end = self._search()
            self._judge()
            ending = None
        except RunEndedError as error:
            if self.plan is None:
                raise
            stopped = error.ending.kind is EndingKind.CANCELLED
            end, ending = (PlanEnd.STOPPED if stopped else PlanEnd.ENDED), error.ending
        assert self.plan is not None
        seconds = time.monotonic() - begun
        self.plan = replace(self.plan, end=end, ending=ending, seconds=seconds)
        return self.plan, *self.named

    def _search(self) -> PlanEnd:
        before = self._level(())
        sides = {
            "target": self.target,
            "sample_kind": self.bench.samples.kind,
            "deciding": tuple(self.deciding),
            "judging": tuple(self.judging),
        }
        self.plan = MeasuredPlan(PlanName.MEASURED, before, before, **sides)  # type: ignore[arg-type]
        self._tell()
        if before.reaches(self.target):
            return PlanEnd.REACHED
        statistics = self.bench.read_statistics(self.making)
        self.ranking = Ranking(
            self.bench, self.comparison, self.variant, statistics, self.most_added
        )
        self._measure_everything()
        ranked = self.ranking.rank(self.deciding)
        self._measure_left_out(ranked)
        self.ranking.try_alternatives(ranked, self.trying)
        promises = self.ranking.order(ranked)
        if self._apply_all(promises) or self._start_from_everything(promises):
            return PlanEnd.REACHED
        self._equalize()
        if self._level_now().reaches(self.target):
            return PlanEnd.REACHED
        self._correct_biases()
        if self._level_now().reaches(self.target):
            return PlanEnd.REACHED
        self._shorten()
        return PlanEnd.NOTHING_HELPS

    # ------------------------------------------------- what is known

    def _level(self, moves: Sequence[Move], rows: Rows | None = None) -> Level:
        return self.bench.measure(moves, self.deciding if rows is None else rows)

    @cached_property
    def _held_back_before(self) -> Level:
        """The file as it is, on the samples that judge: every plan stands beside it."""
        return self._level((), self.judging)

    def _level_now(self) -> Level:
        assert self.plan is not None
        return self.kept[-1].level if self.kept else self.plan.before

    def _moves(self) -> list[Move]:
        return [move for step in self.kept for move in step.moves]

    def _tell(self) -> None:
        assert self.plan is not None
        self.plan = replace(
            self.plan, after=self._level_now(), steps=tuple(self.kept), tried=tuple(self.tried)
        )
        if self.progress is not None:
            self.progress(PlanProgress(self.bench.runs, self.plan, tuple(self.named)))

    # ------------------------------------------------- plans beside it

    def _measure_everything(self) -> None:
        """Measure the named plans that need no order, and both of them together."""
        wide = [self._widest(group) for group in self.bench.groups.values()]
        widened = [move for move in wide if move is not None]
        channels = [
            Move(
                MoveKind.REQUANTIZE,
                (self.bench.quantizers[index],),
                weight=one.scheme,
                added_bytes=one.added_bytes,
            )
            for index, each in self.bench.alternatives.items()
            for one in each
            if one.scheme.granularity == "per-channel"
        ]
        assert self.plan is not None
        self.everything = [*widened, *channels]
        self.plan = replace(self.plan, everything=self._level(self.everything))
        for name, moves in ((PlanName.PER_CHANNEL, channels), (PlanName.SIXTEEN_BITS, widened)):
            self._measure_named(name, moves)

    def _widest(self, group: Sequence[Quantizer]) -> Move | None:
        moves = self.ranking.list_moves(group)
        return next((move for move in moves if move.kind is MoveKind.WIDEN), None)

    def _measure_named(self, name: PlanName, moves: Sequence[Move]) -> None:
        if not moves:
            return
        assert self.plan is not None
        after = self._level(moves)
        step = PlanStep(tuple(moves), after, Cost.of(moves))
        self.named.append(
            replace(
                self.plan,
                name=name,
                after=after,
                steps=(step,),
                held_back_before=self._held_back_before,
                held_back_after=self._level(moves, self.judging),
            )
        )
        self._tell()

    def _measure_left_out(self, ranked: Sequence[Ranked]) -> None:
        """Measure what leaving the layers with the largest share in float brings."""
        total = sum(one.noise for one in ranked)
        shares: dict[str, float] = {}
        for one in ranked:
            for layer in {name for q in one.quantizers for name in q.layers}:
                shares[layer] = shares.get(layer, 0.0) + one.noise
        chosen: list[str] = []
        for layer in sorted(shares, key=lambda name: -shares[name])[:MOST_LEFT_OUT]:
            covered = self._noise_of(ranked, chosen)
            if total and covered >= LEFT_OUT_SHARE * total:
                break
            chosen.append(layer)
        freed = [self._free(one) for one in ranked if serves(one, chosen)]
        self._measure_named(PlanName.LEAVE_OUT, freed)

    @staticmethod
    def _noise_of(ranked: Sequence[Ranked], layers: Sequence[str]) -> float:
        return sum(one.noise for one in ranked if serves(one, layers))

    def _free(self, one: Ranked) -> Move:
        move = Move(MoveKind.FREE, one.quantizers)
        return free_weight_move(self.comparison, self.variant, move) if one.is_weight else move

    # ------------------------------------------------- batches

    def _apply_all(self, promises: Sequence[Promise]) -> bool:
        """Apply the moves in batches that double; return whether the target is reached."""
        plain = sum(promise.move.kind not in COSTLY for promise in promises)
        at, size = 0, 1
        while at < len(promises):
            end = at + size
            if at < plain:
                end = min(end, plain)
            batch = self._affordable(promises[at:end])
            at, size = end, 1 if end == plain else size * 2
            if batch and self._apply(batch):
                return True
            if self._is_over(promises[at:], promises):
                break
        return self._drop_ranges()

    def _drop_ranges(self) -> bool:
        """Take other ranges back where the output is no worse without; return whether it is enough.

        They were chosen on few samples, by what a tensor does alone.
        """
        kept = [
            m for m in merge_moves(self._moves()) if m.kind not in (MoveKind.RANGE, MoveKind.SIGN)
        ]
        if len(kept) < len(merge_moves(self._moves())):
            level = self._level(kept)
            if not _is_worse(level, self._level_now(), 0.0):
                self._rebuild(kept)
        return self._level_now().reaches(self.target)

    def _start_from_everything(self, promises: Sequence[Promise]) -> bool:
        """Begin with all of it where that is better than what was found, and free on top of it."""
        assert self.plan is not None and self.plan.everything is not None
        whole, kept = self.plan.everything, self.kept
        if not _is_worse(self._level_now(), whole, ENOUGH_DB):
            return False
        self.kept = [PlanStep(tuple(self.everything), whole, Cost.of(self.everything))]
        self._tell()
        if whole.reaches(self.target):
            return True
        freeing = [promise for promise in promises if promise.move.kind is MoveKind.FREE]
        reached = self._apply_all(freeing)
        self.tried += [move for step in kept for move in step.moves]
        return reached

    def _affordable(self, promises: Sequence[Promise]) -> list[Move]:
        moves = merge_moves(self._moves())
        left = self.most_added - sum(move.added_bytes for move in moves)
        batch = []
        for promise in promises:
            if promise.move.added_bytes <= left:
                left -= promise.move.added_bytes
                batch.append(promise.move)
        return batch

    def _is_over(self, left: Sequence[Promise], promises: Sequence[Promise]) -> bool:
        """Whether the moves that are left promise next to nothing."""
        promised = sum(promise.gain for promise in left)
        done = sum(promise.gain for promise in promises)
        assert self.plan is not None
        noise = self._level_now().noise
        scale = max(1.0, self.plan.before.noise / done) if done else 1.0
        return promised * min(scale, 2.0) < LEFT_OVER * noise

    def _apply(self, batch: Sequence[Move], halvings: int = MOST_HALVINGS) -> bool:
        """Keep a batch if it does not harm, else halve it; return whether the target is reached."""
        level = self._level([*self._moves(), *batch])
        if _is_worse(level, self._level_now(), _tolerance(self._level_now())):
            return self._apply_parts(batch, halvings)
        if level.reaches(self.target) and len(batch) > 1:
            return self._approach(batch)
        self._keep(batch, level)
        return level.reaches(self.target)

    def _apply_parts(self, batch: Sequence[Move], halvings: int) -> bool:
        if len(batch) == 1:
            return self._apply_instead(batch[0])
        if halvings == 0:
            self.tried += batch
            return False
        half = len(batch) // 2
        return self._apply(batch[:half], halvings - 1) or self._apply(batch[half:], halvings - 1)

    def _apply_instead(self, move: Move) -> bool:
        """Note a move that harms, and try float in its place where that costs nothing."""
        self.tried.append(move)
        free = Move(MoveKind.FREE, move.quantizers)
        if move.is_weight or move.kind is MoveKind.FREE:
            return False
        level = self._level([*self._moves(), free])
        if _is_worse(level, self._level_now(), 0.0):
            self.tried.append(free)
            return False
        self._keep([free], level)
        return level.reaches(self.target)

    def _approach(self, batch: Sequence[Move]) -> bool:
        """Keep the fewest moves of a batch with which the target is reached."""

        def is_enough(some: Sequence[Move]) -> bool:
            return self._level([*self._moves(), *some]).reaches(self.target)

        fewest = cut_moves(batch, is_enough)
        self._keep(fewest, self._level([*self._moves(), *fewest]))
        return True

    def _keep(self, batch: Sequence[Move], level: Level) -> None:
        moves = merge_moves([*self._moves(), *batch])
        self.kept.append(PlanStep(tuple(batch), level, Cost.of(moves)))
        self._tell()

    # ------------------------------------------------- at the end

    def _equalize(self) -> None:
        """Take equalized neighbours if they help on samples that they were not made from."""
        if self.making == self.trying:
            return
        found, missed = choose_equalized(
            self.bench, self.comparison, self.variant, self._moves(), self.making, self.trying
        )
        self.tried += missed
        level = self._level([*self._moves(), *found])
        if found and not _is_worse(level, self._level_now(), 0.0):
            self._keep(found, level)
        else:
            self.tried += found

    def _correct_biases(self) -> None:
        """Take corrected biases if they help on samples that they were not made from."""
        if self.making == self.trying:
            return
        moves = correct_biases(self.bench, self._moves(), self.making)
        if not moves:
            return
        before = self._level(self._moves(), self.trying)
        after = self._level([*self._moves(), *moves], self.trying)
        level = self._level([*self._moves(), *moves])
        if _is_worse(before, after, TOLERANCE_DB) and not _is_worse(level, self._level_now(), 0.0):
            self._keep(moves, level)
        else:
            self.tried += moves

    def _shorten(self) -> None:
        """Take back what costs, what brought least first, as long as the rest is good enough."""
        moves = merge_moves(self._moves())
        plain = [move for move in moves if move.kind not in COSTLY]
        costly = sorted(
            (move for move in moves if move.kind in COSTLY),
            key=lambda move: -comparable(self.ranking.noises.get(move.quantizers[0].group, 0.0)),
        )
        goal = self._goal_db()

        def is_enough(some: Sequence[Move]) -> bool:
            return self._level([*plain, *some]).typical_db >= goal

        kept = shorten_moves(cut_moves(costly, is_enough), is_enough, MOST_SHORTENING)
        if len(kept) == len(costly):
            return
        chosen = {id(move) for move in kept}
        self.tried += [move for move in costly if id(move) not in chosen]
        self._rebuild([*plain, *kept])

    def _goal_db(self) -> float:
        """Return what is good enough: near the best, less near where that beats everything."""
        assert self.plan is not None and self.plan.everything is not None
        best, everything = self._level_now().typical_db, self.plan.everything.typical_db
        return best - max(ENOUGH_DB, min((best - everything) / 2, best / 10))

    def _rebuild(self, kept: Sequence[Move]) -> None:
        """Measure the steps again with the moves that are left."""
        chosen = {id(move) for move in kept}
        steps, self.kept = self.kept, []
        for step in steps:
            moves = [move for move in step.moves if id(move) in chosen]
            if moves:
                self._keep(moves, self._level([*self._moves(), *moves]))

    def _judge(self) -> None:
        assert self.plan is not None
        after = self._level(self._moves(), self.judging)
        sides = self._measure_sides(()), self._measure_sides(self._moves())
        self.plan = replace(
            self.plan,
            held_back_before=self._held_back_before,
            held_back_after=after,
            sides_before=sides[0],
            sides_after=sides[1],
        )
        self._tell()

    def _measure_sides(self, moves: Sequence[Move]) -> Sides:
        """Measure what weights alone and activations alone lose, on the samples that judge."""
        levels = []
        for other in (QuantizerKind.ACTIVATION, QuantizerKind.WEIGHT):
            freed = [
                Move(MoveKind.FREE, members)
                for members in self.bench.groups.values()
                if members[0].kind is other
            ]
            levels.append(self._level([*moves, *freed], self.judging).sqnr_db)
        return Sides(*levels)


def _tolerance(level: Level) -> float:
    missing = max(0.0, 1.0 - max(level.typical_db, 0.0) / STEADY_DB)
    return max(TOLERANCE_DB, TOLERANCE_AT_0_DB * missing)


def _is_worse(level: Level, other: Level, tolerance_db: float) -> bool:
    """Whether the typical sample is worse by more than a tolerance."""
    return level.typical_db < other.typical_db - tolerance_db
