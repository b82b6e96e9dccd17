"""Equalization: the channels between two layers are scaled so that they need the same range.

What the first weight's output channels are divided by, the second's input channels are multiplied
by; one scale for all of them is then good for each.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from ..measuring.comparison import Comparison
from ..running.neighbours import (
    Between,
    Neighbours,
    find_neighbours,
    input_sizes,
    is_depthwise,
    output_sizes,
)
from ..running.tunable_model import Alternative
from .channel_ranges import ChannelRange, read_ranges
from .equalized_weights import HeldWeight, HeldWeights
from .moves import Move, MoveKind
from .plan_bench import Pairs, PlanBench, Rows
from .weight_moves import MOST_BYTES

# Factors that differ by less from each other change nothing.
LEAST_SPREAD = 1.2
# A channel is divided by at most so many times what the middle one is, or multiplied.
MOST_SPREAD = 1e3
# What pairs have to win together, dB.
WORTH_DB = 0.1
# So many pairs are measured one by one, those with the most different factors; on so many samples.
MOST_PAIRS, RANKING_ROWS = 24, 8
# What a pair brings may show only once another one is equalized.
MOST_ROUNDS = 3


def choose_equalized(
    bench: PlanBench,
    comparison: Comparison,
    variant: str,
    moves: Sequence[Move],
    making: Rows,
    trying: Rows,
) -> tuple[tuple[Move, ...], tuple[Move, ...]]:
    """Return the pairs that are better equalized, and those that were tried in vain.

    The bench knows the pairs that are returned first from then on.

    Args:
        moves: that they come on top of.
        making, trying: the samples that factors are made from, and those that decide.
    """
    search = _Equalizing(bench, comparison, variant, moves)
    rules = search.create_moves(making)
    if not rules:
        return (), ()
    for _ in range(MOST_ROUNDS):
        order = search.rank(rules, trying[:RANKING_ROWS])
        if not search.keep(order, trying):
            break
    search.load(search.kept)
    chosen = {move.indices for move in search.kept}
    missed = {m.indices: m for m in chain(*rules) if m.indices not in chosen}
    return tuple(search.kept), tuple(missed.values())


class _Equalizing:
    """The pairs of a bench, with what their weights are stored as."""

    def __init__(
        self, bench: PlanBench, comparison: Comparison, variant: str, moves: Sequence[Move]
    ) -> None:
        self.bench, self.moves = bench, moves
        self.weights = HeldWeights(bench, comparison, variant, moves)
        self.gates = self.weights.gates
        self.kept: list[Move] = []
        self.ends: dict[int, HeldWeight] = {}
        self.pairs = {_indices(pair): pair for pair in self._list_pairs()}

    def _list_pairs(self) -> Iterator[Neighbours]:
        left = MOST_BYTES
        changed = {i for move in self.moves if not move.is_weight for i in move.indices}
        for pair in find_neighbours(self.bench.networks[0], self.bench.placement):
            first = self.weights.read(pair.first.index, pair.first_site)
            last = self.weights.read(pair.last.index, pair.last_site)
            if first is None or last is None or (pair.is_cut and changed & set(pair.quantized)):
                continue
            left -= 2 * (first.exact.nbytes + last.exact.nbytes)
            if left > 0:
                self.ends |= {first.index: first, last.index: last}
                yield pair

    # ------------------------------------------------- factors

    def create_moves(self, rows: Rows) -> list[tuple[Move, ...]]:
        """Return the moves of all pairs by each rule: for the weights alone, and for all three."""
        pairs = list(self.pairs.values())
        ranges = read_ranges(self.bench, [one for pair in pairs for one in pair.between], rows)
        rules = []
        for with_activations in (False, True):
            made = (self._create_move(pair, ranges, with_activations) for pair in pairs)
            known = sorted((move for move in made if move is not None), key=_spread, reverse=True)
            rules.append(tuple(known[:MOST_PAIRS]))
        return [made for made in rules if made]

    def _create_move(
        self, pair: Neighbours, ranges: Mapping[int, ChannelRange], with_activations: bool
    ) -> Move | None:
        between = [
            (one, ranges[one.site])
            for one in pair.between
            if any(self.gates[index] for index in one.quantizers)
        ]
        wanted = self._list_sizes(pair)
        if with_activations:
            wanted += [one.sizes for _, one in between]
            if not between:
                return None
        factors = fit_factors(wanted, pair.channels)
        if factors.max() < LEAST_SPREAD * factors.min():
            return None
        factors *= max((self._fit(one, seen, factors) for one, seen in between), default=1.0)
        quantizers = (
            pair.first,
            *(self.bench.quantizers[index] for index in pair.quantized),
            pair.last,
        )
        return Move(MoveKind.EQUALIZE, quantizers, factors=factors.astype(np.float32))

    def _list_sizes(self, pair: Neighbours) -> list[np.ndarray]:
        """Return what each channel would like to be divided by, of the weights with one scale."""
        sizes = []
        first, last = self.ends[pair.first.index], self.ends[pair.last.index]
        if not first.is_per_channel and self.gates[pair.first.index]:
            sizes.append(output_sizes(first.site, first.exact))
        is_own = last.is_per_channel and is_depthwise(last.site)
        if not is_own and self.gates[pair.last.index]:
            entering = input_sizes(last.site, last.exact, pair.channels)
            sizes.append(np.divide(1.0, entering, out=np.zeros_like(entering), where=entering > 0))
        return sizes

    def _fit(self, between: Between, seen: ChannelRange, factors: np.ndarray) -> float:
        """Return what all factors are multiplied by, so that the tensor's range is as it was.

        A factor that all channels share changes nothing in weights. What the file cuts off is not
        cut off of every channel: then it is what the file holds that they fill.
        """
        needed = 0.0
        for side, sign, values in ((1, 1.0, seen.high), (0, -1.0, seen.low)):
            largest = float((sign * values).max())
            if largest <= 0:
                continue
            bounds = [
                sign * self.weights.bounds[i][side] for i in between.quantizers if self.gates[i]
            ]
            room = min([largest, *(float(bound) for bound in bounds if bound > 0)])
            needed = max(needed, float((sign * values / factors).max()) / room)
        return needed or 1.0

    # ------------------------------------------------- in the model that is run

    def load(self, made: Sequence[Move]) -> None:
        """Let the bench know pairs, alone and next to each other."""
        divisors: dict[int, np.ndarray] = {}
        ends: dict[int, list[Move]] = {}
        for move in made:
            assert move.factors is not None
            pair = self.pairs[move.indices]
            for one in pair.between:
                spread = np.repeat(move.factors, one.copies).reshape(one.shape)
                divisors |= dict.fromkeys(one.quantizers, spread)
            for end in (pair.first, pair.last):
                ends.setdefault(end.index, []).append(move)
        weights = {index: dict(self._list_values(index, each)) for index, each in ends.items()}
        self.bench.set_equalized(weights, divisors)

    def _list_values(
        self, index: int, moves: Sequence[Move]
    ) -> Iterator[tuple[Pairs, Alternative]]:
        """Yield a weight's values with each of its pairs equalized, and with both."""
        sets = [(move,) for move in moves] + ([tuple(moves)] if len(moves) > 1 else [])
        for some in sets:
            yield (
                frozenset(move.indices for move in some),
                self.weights.scale(self.ends[index], some),
            )

    # ------------------------------------------------- which are better

    def rank(self, rules: Sequence[Sequence[Move]], rows: Rows) -> tuple[Move, ...]:
        """Return the pairs that help on top of those that are kept, the best first.

        Each is made by the rule that is better for it.
        """
        chosen = {move.indices for move in self.kept}
        best: dict[tuple[int, ...], tuple[float, Move]] = {}
        before_db = self._measure((), rows)
        for rule in rules:
            made = [move for move in rule if move.indices not in chosen]
            self.load([*self.kept, *made])
            for move in made:
                found = self._measure([move], rows)
                if found > best.get(move.indices, (before_db, move))[0]:
                    best[move.indices] = found, move
        order = sorted(best.values(), key=lambda one: -one[0])
        return tuple(move for _, move in order)

    def keep(self, order: Sequence[Move], rows: Rows) -> bool:
        """Keep as many pairs as are best together: all, or half as many, and so on; say if any."""
        if not order:
            return False
        self.load([*self.kept, *order])
        best_db, best, size = self._measure((), rows) + WORTH_DB, 0, len(order)
        while size:
            found = self._measure(order[:size], rows)
            if found > best_db:
                best_db, best = found, size
            size //= 2
        self.kept += order[:best]
        return best > 0

    def _measure(self, some: Sequence[Move], rows: Rows) -> float:
        return self.bench.measure([*self.moves, *self.kept, *some], rows).typical_db


def _indices(pair: Neighbours) -> tuple[int, ...]:
    return pair.first.index, *pair.quantized, pair.last.index


def _spread(move: Move) -> float:
    assert move.factors is not None
    return float(move.factors.max() / move.factors.min())


def fit_factors(sizes: Sequence[np.ndarray], channels: int) -> np.ndarray:
    """Return the factors that leave the least spread, all wishes counted alike; geometric mean 1.

    Args:
        sizes: what each channel is to be divided by to have the size of the others; a channel with
            none anywhere is left as it is.
    """
    with np.errstate(divide="ignore"):
        wishes = [np.log(size) for size in sizes]
    known = [np.isfinite(wish) for wish in wishes]
    if not wishes or not np.all(known, axis=0).any():
        return np.ones(channels)
    both = np.all(known, axis=0)
    mean = sum(wish - wish[both].mean() for wish in wishes) / len(wishes)
    logs = np.where(both, mean, 0.0)
    logs = np.clip(logs, -np.log(MOST_SPREAD), np.log(MOST_SPREAD))
    return np.exp(logs)
