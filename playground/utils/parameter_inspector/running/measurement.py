"""Measuring a variant: which runs, in which order; what is known is told as it comes.

First what the file loses, then what each quantizer does alone, those with the largest local error
first, then what switching the worst ones off recovers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from ..facts import Ending, EndingKind, QuantizerKind
from ..measuring.outputs import (
    PARTED_DB,
    ActivationStatistics,
    Outputs,
    Progress,
    Recovered,
    SelfCheck,
    Split,
    decibels,
    rank_groups,
)
from ..pairing.structure import pair_by_structure
from ..reading.edges import Network
from ..reading.layers import list_layers
from ..reading.model_file import Model
from ..records import Pairing
from .bench import FILE, FLOAT, STATISTICS, SWITCHED, Bench
from .comparisons import agreement_db, choose_judged, create_losses, relative_noise
from .endings import RunEndedError
from .facing import create_faced_model
from .limits import Limits
from .placing import place_quantizers
from .process import Child
from .samples import Samples, list_inputs
from .statistics_model import create_statistics_model, read_statistics
from .switched_model import SwitchedModel, create_switched_model
from .whole_model import model_bytes

FEW_SAMPLES = 4
# Measured again on all samples after all were measured on a few.
MEASURED_AGAIN = 30
# All groups on all samples at once where that takes no longer than this.
QUICK_SECONDS = 30.0
RECOVERED_COUNTS = (1, 2, 3, 5, 8)
RESTORED_ROWS = 8

Report = Callable[[Progress], None]


def measure_variant(
    original: Model,
    variant: Model,
    pairing: Pairing,
    samples: Samples,
    *,
    limits: Limits,
    optimized: bool = False,
    progress: Report | None = None,
    cancel: threading.Event | None = None,
) -> Outputs:
    """Measure what a variant loses at its outputs, and which of its quantizers loses it.

    Args:
        pairing: of the layers with weights; the others are found here.
        optimized: let onnxruntime rewrite the graphs, as it does by default.
        progress: is told what is known after each step, from any thread, one call at a time.
        cancel: an event that stops the measuring; what is known is returned.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_switched_model`.
        RunEndedError: nothing could be measured, for the float original does not run.
    """
    networks = Network(original), Network(variant)
    placement = place_quantizers(*networks, pair_by_structure(*networks, pairing))
    switched = create_switched_model(*networks, placement)
    with ExitStack() as stack:
        known = _Known(
            Outputs(
                placement.quantizers,
                placement.unplaced,
                samples.kind,
                samples.count,
                optimized,
            ),
            progress,
        )
        try:
            bench = Bench(stack, samples, limits, optimized, cancel)
            file = create_faced_model(*networks)
            _Measuring(original, file, switched, bench, known).measure()
        except RunEndedError as error:
            if not known.outputs.losses and error.ending.kind is not EndingKind.CANCELLED:
                raise
            known.note(ending=error.ending)
    return known.current()


class _Known:
    """What is known so far, told to who wants to hear."""

    def __init__(self, outputs: Outputs, progress: Report | None) -> None:
        self.outputs = outputs
        self.left = 0
        self.alone: dict[int, tuple[float, int]] = {}
        self.restored: dict[int, float] = {}
        self.recovered: dict[int, float] = {}
        self._done = 0
        self._progress = progress
        self._lock = threading.RLock()

    def note(self, **known: object) -> None:
        with self._lock:
            self.outputs = replace(self.outputs, **known)  # type: ignore[arg-type]

    def tell(self, runs: int) -> None:
        with self._lock:
            self._done += runs
            self.left = max(0, self.left - runs)
            if self._progress is not None:
                self._progress(Progress(self._done, self.left, self.current()))

    def set_alone(self, group: int, noise: float, count: int) -> None:
        with self._lock:
            self.alone[group] = noise, count
            self.tell(1)

    def set_gain(self, table: dict[int, float], key: int, level: float) -> None:
        with self._lock:
            table[key] = level
            self.tell(1)

    def current(self) -> Outputs:
        """Return what is known, ranked."""
        with self._lock:
            groups = rank_groups(self.outputs.quantizers, self.alone, self.restored)
            points = (Recovered(count, self.recovered[count]) for count in sorted(self.recovered))
            self.note(groups=groups, recovered=tuple(points))
            return self.outputs


class _Measuring:
    """The runs, in their order."""

    def __init__(
        self,
        original: Model,
        file: bytes,
        switched: SwitchedModel,
        bench: Bench,
        known: _Known,
    ) -> None:
        self.original, self.file, self.switched = original, file, switched
        self.placement = switched.placement
        self.bench, self.known = bench, known
        self.count = len(switched.placement.quantizers)

    def measure(self) -> None:
        groups = len(self.placement.groups)
        counts = sum(count <= groups for count in RECOVERED_COUNTS)
        self.known.left = groups + counts + min(RESTORED_ROWS, groups) + 6
        self._measure_losses()
        self.bench.start_others(max(groups, 1), self._prepare)
        self._measure_statistics()
        self._measure_alone()
        self._measure_gains()
        self.known.note(complete=True)
        self.known.left = 0
        self.known.tell(0)

    def _gates(self, on: Sequence[int] = ()) -> Mapping[str, np.ndarray]:
        gates = np.zeros(self.count, bool)
        gates[list(on)] = True
        return {self.switched.gates: gates}

    def _prepare(self, child: Child) -> None:
        if child is not self.bench.first:
            self.bench.load(child, self._model, SWITCHED)
        self.bench.keep(child, SWITCHED, self._gates())

    # ------------------------------------------------- what the file loses

    def _measure_losses(self) -> None:
        bench, first = self.bench, self.bench.first
        loaded = first.load(
            model_bytes(self.original), session=FLOAT, optimized=self.bench.optimized
        )
        bench.outputs = choose_judged(loaded, self.switched.outputs)
        self._keep_float()
        ending = self._measure_file()
        self._model = self.switched.proto.SerializeToString()
        bench.load(first, self._model, SWITCHED)
        on = self._gates(range(self.count))
        off = agreement_db(bench.compare(first, FLOAT, SWITCHED, self._gates()))
        same = agreement_db(bench.compare(first, FILE, SWITCHED, on)) if ending is None else None
        self.known.note(check=SelfCheck(same, off, ending))
        if ending is not None:
            self._note_losses(on, SWITCHED)
        self._measure_split()
        for name in (FLOAT, FILE):
            first.drop(name)

    def _keep_float(self) -> None:
        """Keep the float reference, in a batch where that gives what single samples give."""
        is_dynamic = any(quantizer.is_dynamic for quantizer in self.placement.quantizers)
        self.bench.choose_rows(list_inputs(self.original), FLOAT, one_by_one=is_dynamic)
        self.bench.keep(self.bench.first, FLOAT)
        self.known.note(one_by_one=self.bench.rows_per_run == 1)

    def _measure_file(self) -> Ending | None:
        """Compare the file with the float original. Returns why it does not run, if it does not.

        Raises:
            UnavailableError: what is not there cannot be measured.
        """
        bench, first = self.bench, self.bench.first
        try:
            bench.load(first, self.file, FILE)
            bench.keep(first, FILE)
            self._note_losses(None, FILE)
        except RunEndedError as error:
            # What onnxruntime does not know can be measured all the same; what takes too much not.
            if not first.alive or error.ending.kind is EndingKind.MEMORY:
                raise
            return error.ending
        self.known.tell(1)
        return None

    def _note_losses(self, gates: Mapping[str, np.ndarray] | None, session: str) -> None:
        bench, first = self.bench, self.bench.first
        found = bench.compare(first, FLOAT, session, gates, whole=True)
        labelled = bench.samples.labels is not None
        exact = bench.compare(first, FLOAT, FLOAT, whole=True) if labelled else {}
        level = decibels(1.0, relative_noise(found))
        self.known.note(losses=create_losses(found, exact), sqnr_db=level)

    def _measure_split(self) -> None:
        noises = []
        for kind in (QuantizerKind.WEIGHT, QuantizerKind.ACTIVATION):
            gates = self._gates([q.index for q in self.placement.quantizers if q.kind is kind])
            found = self.bench.compare(self.bench.first, FLOAT, SWITCHED, gates)
            noises.append(relative_noise(found))
        levels = [decibels(1.0, noise) for noise in noises]
        self.known.note(split=Split(*levels, *noises))
        self.known.tell(4)

    # ------------------------------------------------- what flows

    def _measure_statistics(self) -> None:
        """Reduce what flows, sample by sample: two networks in one graph take much memory."""
        model = create_statistics_model(self.switched)
        if not model.numbers:
            return
        first, size = self.bench.first, self.bench.rows_per_run or 1
        self.bench.load(first, model.proto.SerializeToString(), STATISTICS)
        found = first.run(STATISTICS, rows_per_run=size)
        first.drop(STATISTICS)
        statistics = read_statistics(model, found, self.placement.quantizers)
        self.known.note(statistics=statistics, parted_at=self._find_parting(statistics))
        self.known.tell(1)

    def _find_parting(self, statistics: Mapping[int, ActivationStatistics]) -> str | None:
        quantizers = self.placement.quantizers
        parted = [q for q, one in statistics.items() if one.cumulative_db < PARTED_DB]
        layers = [layer for index in parted for layer in quantizers[index].layers[:1]]
        order = {layer.name: layer.index for layer in list_layers(self.original)}
        return min(layers, key=order.__getitem__, default=None)

    # ------------------------------------------------- what each does alone

    def _measure_alone(self) -> None:
        """Measure all groups: on all samples if that is quick, else the worst ones again."""
        groups = self._order()
        everything = list(range(self.bench.samples.count))
        few = everything[:FEW_SAMPLES]
        if len(few) < len(everything) and groups:
            begun = time.monotonic()
            self._measure_one(self.bench.first, groups[0], everything)
            groups = groups[1:]
            seconds = (time.monotonic() - begun) * len(groups) / len(self.bench.children)
            few = everything if seconds <= QUICK_SECONDS else few
        self.bench.share_out(lambda child, group: self._measure_one(child, group, few), groups)
        if len(few) < len(everything):
            again = [one.group for one in self.known.current().groups[:MEASURED_AGAIN]]
            self.known.left += len(again)
            self.bench.share_out(lambda c, group: self._measure_one(c, group, everything), again)

    def _order(self) -> list[int]:
        """Return the groups, those with the largest local error first."""
        found = self.known.outputs.statistics or {}
        errors = {
            **self.switched.weight_errors,
            **{index: -one.local_db for index, one in found.items()},
        }

        def key(group: int) -> tuple[float, int]:
            worst = max(errors.get(q.index, np.inf) for q in self.placement.groups[group])
            return (-worst, group) if worst == worst else (-np.inf, group)

        return sorted(self.placement.groups, key=key)

    def _measure_one(self, child: Child, group: int, rows: Sequence[int]) -> None:
        on = [quantizer.index for quantizer in self.placement.groups[group]]
        self.known.set_alone(group, self._noise(child, on, rows), len(rows))

    def _noise(self, child: Child, on: Sequence[int], rows: Sequence[int] | None = None) -> float:
        found = self.bench.compare(child, SWITCHED, SWITCHED, self._gates(on), rows=rows)
        return relative_noise(found)

    # ------------------------------------------------- what helps

    def _measure_gains(self) -> None:
        """Measure what the first groups by share bring when they are off, together and each."""
        ranked = [one.group for one in self.known.current().groups]
        whole = self._level_without(self.bench.first, [])

        def recover(child: Child, count: int) -> None:
            level = self._level_without(child, ranked[:count])
            self.known.set_gain(self.known.recovered, count, level)

        def restore(child: Child, group: int) -> None:
            gain = self._level_without(child, [group]) - whole
            self.known.set_gain(self.known.restored, group, gain)

        self.bench.share_out(recover, [n for n in RECOVERED_COUNTS if n <= len(ranked)])
        self.bench.share_out(restore, ranked[:RESTORED_ROWS])

    def _level_without(self, child: Child, groups: Sequence[int]) -> float:
        """Return the output's SQNR with some groups off in the quantized model, in dB."""
        off = {quantizer.index for group in groups for quantizer in self.placement.groups[group]}
        return decibels(1.0, self._noise(child, [i for i in range(self.count) if i not in off]))
