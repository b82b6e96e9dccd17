"""Moves -> measured output: the tunable model in children, on the samples that decide or judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Lock
from types import MappingProxyType

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.outputs import ActivationStatistics, Quantizer, decibels
from ..pairing.structure import pair_by_structure
from ..quantization import code_limits
from ..reading.edges import Network
from ..running.bench import FLOAT, STATISTICS, SWITCHED, Bench
from ..running.comparisons import choose_judged, relative_noise
from ..running.limits import Limits
from ..running.measured_outputs import find_reference
from ..running.placing import place_quantizers
from ..running.process import Child
from ..running.replies import Differences
from ..running.samples import Samples, list_inputs
from ..running.statistics_model import create_statistics_model, read_statistics
from ..running.switched_model import create_switched_model
from ..running.tunable_model import Alternative, Setting, TunableModel, create_tunable_model
from ..running.whole_model import model_bytes
from .activation_moves import move_for
from .measured_plans import Level
from .moves import Move, MoveKind, merge_moves
from .weight_moves import list_weight_alternatives

# An output with fewer numbers for each sample is not averaged enough to choose by.
ENOUGH_NUMBERS = 64
# What flattens differences where it is sure of itself.
SATURATING = frozenset(("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh", "ArgMax"))
# What a sample's relative noise is taken for at least, and at most.
LEAST_NOISE, MOST_NOISE = 1e-14, 1e30

Rows = Sequence[int]
# Pairs of neighbours, each as the indices of its move.
Pairs = frozenset[tuple[int, ...]]


class PlanBench:
    """What a variant with moves puts out, measured against its float original.

    Attributes:
        placement: of the quantizers that moves name.
        alternatives: of weight quantizers, what the tunable model can take instead.
        equalized: of weight quantizers, the choice for each set of pairs of neighbours.
        runs: how many were made.
    """

    def __init__(
        self,
        stack: ExitStack,
        comparison: Comparison,
        variant: str,
        samples: Samples,
        limits: Limits,
        cancel: Event | None = None,
        on_run: Callable[[], None] | None = None,
    ) -> None:
        original, pairing = find_reference(comparison, variant)
        self.networks = Network(original), Network(comparison.variants[variant])
        structure = pair_by_structure(*self.networks, pairing)
        self.placement = place_quantizers(*self.networks, structure)
        self.quantizers = self.placement.quantizers
        self.groups = self.placement.groups
        self.alternatives = list_weight_alternatives(
            comparison, variant, self.networks[0], self.placement
        )
        self.tunable = self._create_tunable(
            {i: [one.values for one in each] for i, each in self.alternatives.items()}
        )
        self.equalized: Mapping[int, Mapping[Pairs, int]] = {}
        self.exact_biases = dict(self._list_exact_biases())
        self.samples, self.runs = samples, 0
        self._on_run, self._lock = on_run, Lock()
        self.bench = Bench(stack, samples, limits, optimized=False, cancel=cancel)
        self._original = original
        self._load()

    def _create_tunable(
        self,
        values: Mapping[int, Sequence[Alternative]],
        divisors: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> TunableModel:
        return create_tunable_model(*self.networks, self.placement, values, divisors)

    def _list_exact_biases(self) -> Iterator[tuple[str, tuple[int, np.ndarray]]]:
        """Yield layers whose bias in the file is a rounding, and what is missing to the original's.

        A file that is written again counts it anew, in finer steps where the activation is finer.
        """
        for site in self.placement.weights:
            bias = self.tunable.biases.get(site.quantizer)
            if bias is not None and site.shape == bias.values.shape and site.position != 1:
                missing = bias.values - np.asarray(site.read(), np.float32)
                yield bias.layer, (site.quantizer, missing)

    def set_weights(self, values: Mapping[int, Alternative]) -> None:
        """Give every child a model in which the first alternative of the weights is another one.

        Args:
            values: of weight quantizers, by the index of their sites; the file's for all others.
        """
        self.alternatives, self.equalized = {}, {}
        self.tunable = self._create_tunable({i: [one] for i, one in values.items()})
        self._reload()

    def set_equalized(
        self,
        weights: Mapping[int, Mapping[Pairs, Alternative]],
        divisors: Mapping[int, np.ndarray],
    ) -> None:
        """Give every child a model that knows equalized neighbours, beside what it has.

        Args:
            weights: of weight quantizers, the values with each set of pairs of neighbours that they
                can be equalized in; a pair is the indices of its move.
            divisors: as `create_tunable_model` takes them.
        """
        values: dict[int, list[Alternative]] = {
            index: [one.values for one in each] for index, each in self.alternatives.items()
        }
        self.equalized = {}
        for index, each in weights.items():
            known = values.setdefault(index, [])
            numbers = range(len(known) + 1, len(known) + 1 + len(each))
            self.equalized[index] = dict(zip(each, numbers, strict=True))
            known += each.values()
        self.tunable = self._create_tunable(values, divisors)
        self._reload()

    def _reload(self) -> None:
        model, off = self.tunable.proto.SerializeToString(), self._off()

        def reload(child: Child) -> None:
            child.drop(SWITCHED)
            self.bench.load(child, model, SWITCHED)
            self.bench.keep(child, SWITCHED, off)

        with ThreadPoolExecutor(len(self.bench.children)) as pool:
            list(pool.map(reload, self.bench.children))

    def _load(self) -> None:
        bench, first = self.bench, self.bench.first
        loaded = first.load(model_bytes(self._original), session=FLOAT)
        bench.outputs = choose_judged(loaded, self.tunable.switched.outputs)
        is_dynamic = any(quantizer.is_dynamic for quantizer in self.quantizers)
        bench.choose_rows(list_inputs(self._original), FLOAT, one_by_one=is_dynamic)
        first.drop(FLOAT)
        model, off = self.tunable.proto.SerializeToString(), self._off()

        def prepare(child: Child) -> None:
            if child is not first:
                bench.load(child, model, SWITCHED)
            bench.keep(child, SWITCHED, off)

        judged = bench.outputs
        behind = [one.tensor for name in judged for one in self.tunable.behind[name]]
        bench.outputs = tuple(dict.fromkeys((*judged, *behind)))
        bench.load(first, model, SWITCHED)
        shapes = first.keep(
            SWITCHED, SWITCHED, extra=off, outputs=bench.outputs, rows_per_run=bench.rows_per_run
        )
        self.judged = judged
        self.deciding = self._choose_deciding(shapes)
        bench.outputs = tuple(dict.fromkeys((*judged, *self.deciding)))
        bench.start_others(max(1, len(self.quantizers)), prepare)

    def _choose_deciding(self, shapes: Mapping[str, Sequence[tuple[int, ...]]]) -> tuple[str, ...]:
        """Return the tensors whose noise decides: the outputs, but for those of few numbers.

        Of two scores behind a softmax, one sample may be undecided, and errors cancel by chance:
        what is chosen by them does not hold for the next sample. The scores before the softmax
        stand for them, and the nearest tensor behind that has enough numbers to average over.
        """
        sizes = {
            name: sum(int(np.prod(shape)) for shape in each) / max(1, self.samples.count)
            for name, each in shapes.items()
        }
        chosen: list[str] = []
        for output in self.judged:
            behind = [one for one in self.tunable.behind[output] if one.tensor in sizes]
            if sizes.get(output, 0) >= ENOUGH_NUMBERS or not behind:
                chosen.append(output)
                continue
            plain = [one.tensor for one in behind if one.through in SATURATING]
            chosen.append(plain[-1] if plain else output)
            chosen += [o.tensor for o in behind if sizes[o.tensor] >= ENOUGH_NUMBERS][:1]
        return tuple(dict.fromkeys(chosen))

    def _off(self) -> dict[str, np.ndarray]:
        return self.tunable.create_inputs(np.zeros(len(self.quantizers), bool), {}, {})

    def read_statistics(self, rows: Rows) -> Mapping[int, ActivationStatistics]:
        """Return what flows through the activations in the float network."""
        model = create_statistics_model(create_switched_model(*self.networks, self.placement))
        if not model.numbers:
            return {}
        first = self.bench.first
        self.bench.load(first, model.proto.SerializeToString(), STATISTICS)
        found = first.run(STATISTICS, rows_per_run=self.bench.rows_per_run or 1, rows=rows)
        first.drop(STATISTICS)
        self.count(1)
        return read_statistics(model, found, self.quantizers)

    # ------------------------------------------------- levels

    def measure(self, moves: Sequence[Move], rows: Rows) -> Level:
        """Return how good the outputs are with moves, on all cores."""
        return self.measure_inputs(self.create_inputs(moves), rows)

    def measure_inputs(self, inputs: Mapping[str, np.ndarray], rows: Rows) -> Level:
        """Return how good the outputs are with inputs of the tunable model."""
        return self._create_level(self._compare(inputs, rows))

    def measure_alone(
        self, child: Child, group: Sequence[Quantizer], moves: Sequence[Move], rows: Rows
    ) -> float:
        """Return the noise at the output when only one group quantizes, with moves on it."""
        on = np.zeros(len(self.quantizers), bool)
        on[[quantizer.index for quantizer in group]] = True
        inputs = self.create_inputs(moves, on)
        found = self.bench.compare(child, SWITCHED, SWITCHED, inputs, rows=rows)
        self.count(1)
        return typical_noise([found[name] for name in self.deciding])

    def create_inputs(
        self, moves: Sequence[Move], on: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the inputs of the tunable model for the file with moves."""
        gates = np.ones(len(self.quantizers), bool) if on is None else on.copy()
        settings: dict[int, Setting] = {}
        choices: dict[int, int] = {}
        shifts: dict[int, np.ndarray] = {}
        for move in merge_moves(moves):
            first = move.indices[0]
            if move.kind is MoveKind.FREE:
                gates[list(move.indices)] = False
            elif move.kind is MoveKind.REQUANTIZE:
                schemes = [one.scheme for one in self.alternatives[first]]
                choices[first] = 1 + schemes.index(move.weight) if move.weight else 0
            elif move.kind is MoveKind.CORRECT_BIAS:
                assert move.bias is not None
                shifts[first] = move.bias - self.tunable.biases[first].values
            elif move.kind is MoveKind.EQUALIZE:
                continue
            else:
                settings |= {q.index: _create_setting(move, q) for q in move.quantizers}
        choices |= self._choose_equalized(moves)
        counted = {layer for move in moves if move.activation is not None for layer in move.layers}
        for layer in counted & set(self.exact_biases):
            index, missing = self.exact_biases[layer]
            if gates[index] and index not in choices and index not in shifts:
                shifts[index] = missing
        return self.tunable.create_inputs(gates, settings, choices, shifts)

    def _choose_equalized(self, moves: Sequence[Move]) -> dict[int, int]:
        """Return the choices of all quantizers whose neighbours are equalized."""
        pairs: dict[int, set[tuple[int, ...]]] = defaultdict(set)
        choices: dict[int, int] = {}
        for move in moves:
            if move.kind is MoveKind.EQUALIZE:
                first, *between, last = move.indices
                choices |= dict.fromkeys(between, 1)
                for index in (first, last):
                    pairs[index].add(move.indices)
        for index, each in pairs.items():
            choices[index] = self.equalized[index][frozenset(each)]
        return choices

    def _compare(self, inputs: Mapping[str, np.ndarray], rows: Rows) -> dict[str, Differences]:
        """Compare on all children, each with a part of the samples."""
        children = self.bench.children
        size = self.bench.rows_per_run or 1
        parts = [part for part in _split(rows, len(children), size) if part]

        def work(child: Child, part: Rows) -> dict[str, Differences]:
            found = self.bench.compare(child, SWITCHED, SWITCHED, inputs, rows=part, whole=True)
            self.count(1)
            return found

        with ThreadPoolExecutor(len(children)) as pool:
            jobs = [pool.submit(work, c, p) for c, p in zip(children, parts, strict=False)]
        found = [job.result() for job in jobs]
        return {name: _join([one[name] for one in found]) for name in found[0]}

    def _create_level(self, found: Mapping[str, Differences]) -> Level:
        noise = relative_noise({name: found[name] for name in self.judged})
        first = found[self.judged[0]] if self.judged else None
        positions = first.positions * len(first.noise) if first is not None else 0
        counted = (None, None) if first is None else (first.agreeing, first.correct)
        agreement, accuracy = (
            float(one.sum() / positions) if one is not None and positions else None
            for one in counted
        )
        typical = typical_noise([found[name] for name in self.deciding])
        is_small = not set(self.deciding) <= set(self.judged)
        level_db = decibels(1.0, noise)
        return Level(level_db, typical, agreement, accuracy, is_small=is_small)

    def order_by_noise(self) -> list[int]:
        """Return all samples, those that the file treats worst first."""
        rows = range(self.samples.count)
        found = self._compare(self.create_inputs(()), rows)
        noise = _sample_noise([found[name] for name in self.judged])
        if noise.size != len(rows):  # the outputs do not count the samples
            return list(rows)
        return sorted(rows, key=lambda row: (-noise[row], row))

    def count(self, runs: int) -> None:
        with self._lock:
            self.runs += runs
            if self._on_run is not None:
                self._on_run()


def typical_noise(found: Sequence[Differences]) -> float:
    """Return the geometric mean of the samples' noise over signal, the mean over the outputs."""
    noise = _sample_noise(found)
    if noise.size == 0:
        return 0.0
    return float(np.exp(np.log(np.clip(noise, LEAST_NOISE, MOST_NOISE)).mean()))


def _sample_noise(found: Sequence[Differences]) -> np.ndarray:
    """Return each sample's noise over signal; an output without a signal there is left out."""
    if not found:
        return np.zeros(0)
    relative = [
        np.divide(one.noise, one.signal, out=np.full(one.noise.shape, np.nan), where=one.signal > 0)
        for one in found
    ]
    longest = max(one.size for one in relative)
    same = np.array([one for one in relative if one.size == longest])
    known = ~np.isnan(same)
    sums = np.where(known, same, 0.0).sum(axis=0)
    return sums[known.any(axis=0)] / known.sum(axis=0)[known.any(axis=0)]


def _create_setting(move: Move, quantizer: Quantizer) -> Setting:
    scheme = move_for(move, quantizer)
    return Setting.of(scheme.scale, scheme.zero_point, code_limits(scheme.data_type))


def _split(rows: Rows, count: int, size: int) -> list[list[int]]:
    """Return rows in as many parts, each a multiple of what one run takes."""
    runs = [list(rows[i : i + size]) for i in range(0, len(rows), size)]
    per = -(-len(runs) // count)
    return [[r for run in runs[i : i + per] for r in run] for i in range(0, len(runs), max(per, 1))]


def _join(parts: Sequence[Differences]) -> Differences:
    def joined(name: str) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if any(one is None for one in arrays) else np.concatenate(arrays)

    noise, signal = joined("noise"), joined("signal")
    assert noise is not None and signal is not None
    return Differences(
        noise,
        signal,
        positions=parts[0].positions,
        agreeing=joined("agreeing"),
        correct=joined("correct"),
    )
