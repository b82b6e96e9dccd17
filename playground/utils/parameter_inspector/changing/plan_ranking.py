"""The order of moves: what each group does alone, and what its moves leave of that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..facts import QuantizerKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import ActivationStatistics, Quantizer
from ..running.process import Child
from .activation_moves import list_activation_moves
from .moves import Move, MoveKind
from .plan_bench import PlanBench, Rows
from .weight_moves import free_weight_move

# Groups beyond those that make this part of all noise alone are left as they are.
COUNTED_NOISE = 0.9995
# Of so many groups the alternatives are measured, as time allows.
FEWEST_TRIED, MOST_TRIED = 16, 64
# A move that leaves more than this part of a group's noise is not worth its place.
WORTH = 0.5
# Of the noise that another range takes away on some samples, this part is expected on others.
DOUBT = 0.25
FEW_ROWS, TRYING_ROWS = 2, 4
# What ranking the groups, and what trying their moves may take: the slower, the fewer samples.
RANKING_SECONDS = 15.0
MOVES_OF_A_GROUP = 4
# What takes time where it runs, and bytes.
COSTLY = (MoveKind.WIDEN, MoveKind.FREE)


@dataclass(eq=False)
class Ranked:
    """A group, its noise alone, and what is left of it with each move that was tried."""

    group: int
    quantizers: tuple[Quantizer, ...]
    noise: float
    moves: tuple[Move, ...]
    left: dict[int, float] = field(default_factory=dict)

    @property
    def is_weight(self) -> bool:
        return self.quantizers[0].kind is QuantizerKind.WEIGHT


@dataclass(frozen=True, eq=False)
class Promise:
    """A move, and the noise that it is to take away."""

    gain: float
    move: Move


class Ranking:
    """What is measured of each group alone.

    Attributes:
        noises: of every group, with the file's own quantization.
    """

    def __init__(
        self,
        bench: PlanBench,
        comparison: Comparison,
        variant: str,
        statistics: Mapping[int, ActivationStatistics],
        most_added: float,
    ) -> None:
        self.bench, self.comparison, self.variant = bench, comparison, variant
        self.statistics, self.most_added = statistics, most_added
        self.noises: Mapping[int, float] = {}
        self._row_seconds = 1e-6

    def list_moves(self, group: Sequence[Quantizer]) -> tuple[Move, ...]:
        if group[0].kind is QuantizerKind.ACTIVATION:
            return list_activation_moves(group, self.statistics)
        index = group[0].index
        others = tuple(
            Move(
                MoveKind.REQUANTIZE,
                tuple(group),
                weight=one.scheme,
                added_bytes=one.added_bytes,
            )
            for one in self.bench.alternatives.get(index, ())
        )
        free = Move(MoveKind.FREE, tuple(group))
        return *others, free_weight_move(self.comparison, self.variant, free)

    def rank(self, deciding: Rows) -> list[Ranked]:
        """Measure what each group does alone; return those that count, the worst first."""
        groups = list(self.bench.groups)
        rows = self._choose_rows(groups, deciding)
        noises: dict[int, float] = {}

        def measure(child: Child, group: int) -> None:
            members = self.bench.groups[group]
            noises[group] = self.bench.measure_alone(child, members, (), rows)

        self.bench.bench.share_out(measure, groups)
        self.noises = noises
        order = sorted(groups, key=lambda group: (-comparable(noises[group]), group))
        total = sum(comparable(noise) for noise in noises.values())
        ranked, covered = [], 0.0
        for group in order:
            noise = comparable(noises[group])
            if noise <= 0 or covered >= COUNTED_NOISE * total:
                break
            covered += noise
            members = self.bench.groups[group]
            ranked.append(Ranked(group, members, noise, self.list_moves(members)))
        return ranked

    def _choose_rows(self, groups: Sequence[int], deciding: Rows) -> Rows:
        """Return all deciding samples, or as many as can be run in time, and time one run."""
        begun = time.monotonic()
        if groups:
            first, members = self.bench.bench.first, self.bench.groups[groups[0]]
            self.bench.measure_alone(first, members, (), deciding)
        seconds = (time.monotonic() - begun) / len(self.bench.bench.children)
        self._row_seconds = max(seconds / len(deciding), 1e-6)
        most = int(RANKING_SECONDS / (self._row_seconds * max(1, len(groups))))
        return deciding[: max(FEW_ROWS, most)]

    def try_alternatives(self, ranked: Sequence[Ranked], trying: Rows) -> None:
        """Measure what is left of the noise of the worst groups with each of their moves."""
        rows = trying[:TRYING_ROWS]
        seconds = self._row_seconds * len(rows) * MOVES_OF_A_GROUP
        most = max(FEWEST_TRIED, min(MOST_TRIED, int(RANKING_SECONDS / seconds)))
        tasks = [
            (one, at)
            for one in ranked[:most]
            for at, move in enumerate(one.moves)
            if move.kind is not MoveKind.FREE
        ]

        def measure(child: Child, task: int) -> None:
            one, at = tasks[task]
            move = one.moves[at]
            one.left[at] = comparable(
                self.bench.measure_alone(child, one.quantizers, (move,), rows)
            )

        self.bench.bench.share_out(measure, range(len(tasks)))

    def order(self, ranked: Sequence[Ranked]) -> list[Promise]:
        """Return the moves by what they are to bring; those that cost nothing come first."""
        promises = [promise for one in ranked for promise in self._list_promises(one)]
        return sorted(promises, key=lambda promise: (promise.move.kind in COSTLY, -promise.gain))

    def _list_promises(self, one: Ranked) -> list[Promise]:
        promises, left = [], one.noise
        plain = [at for at in one.left if one.moves[at].kind is not MoveKind.WIDEN]
        if plain:
            best = min(plain, key=lambda at: (one.left[at], at))
            if one.left[best] < WORTH * left:
                promises.append(Promise(left - one.left[best], one.moves[best]))
                left = max(one.left[best], DOUBT * one.noise)
        strong = self._strong_move(one)
        if strong is not None:
            promises.append(Promise(left, strong))
        return promises

    def _strong_move(self, one: Ranked) -> Move | None:
        """Return 16 bits where they help, else float, which for a weight has to be affordable."""
        free = one.moves[-1]
        for at, move in enumerate(one.moves):
            if move.kind is MoveKind.WIDEN and one.left.get(at, 0.0) < WORTH * one.noise:
                return move
        return free if free.added_bytes <= self.most_added else None


def serves(one: Ranked, layers: Sequence[str]) -> bool:
    return any(layer in layers for quantizer in one.quantizers for layer in quantizer.layers)


def comparable(noise: float) -> float:
    """Return a noise that can be summed: one that is not finite is larger than all others."""
    return float(np.nan_to_num(noise, nan=1e30, posinf=1e30))
