"""How low can it go: the float network quantized at every pair of widths, and what that loses.

Where the variant has a quantizer, one of the cell's width stands; activations take the range that
the samples have, weights their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Event

import numpy as np

from ..facts import EndingKind, QuantizerKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import ActivationStatistics, Quantizer
from ..running.endings import RunEndedError
from ..running.limits import Limits
from ..running.measured_outputs import AnySamples, read_samples
from ..running.tunable_model import Alternative, Setting, find_setting
from ..running.turn import Turn
from .activation_moves import observe, scale_factor
from .measured_plans import Level
from .plan_bench import PlanBench
from .requantizing import requantize
from .schemes import Scheme, data_type_bits
from .weight_moves import find_operand_axis, read_exact

WEIGHT_BITS = (8, 7, 6, 5, 4, 3, 2)
ACTIVATION_BITS = (16, 8, 7, 6, 5, 4)
# The types of these widths that onnxruntime's quantizer has.
WEIGHT_TYPES = {8: "int8", 4: "int4"}
ACTIVATION_TYPES = {8: "uint8", 16: "uint16"}
GRANULARITIES = ("per-channel", "per-tensor")


@dataclass(frozen=True)
class Widths:
    """A cell of the map: how wide weights and activations are. None: left in float."""

    weight_bits: int
    activation_bits: int | None
    granularity: str


@dataclass(frozen=True, eq=False)
class AccuracyMap:
    """What the outputs are worth at each pair of widths.

    Attributes:
        own: the widths of the file itself; None where it has several.
        cells: as many as were measured.
        skipped: weight quantizers without float values, which stay as the file has them.
        complete: False where it was stopped.
    """

    own: Widths | None
    cells: Mapping[Widths, Level]
    sample_count: int
    skipped: int = 0
    complete: bool = False


def list_widths(has_activations: bool = True) -> tuple[Widths, ...]:
    """Return all cells, in the order in which they are measured: the widest first."""
    activations = ACTIVATION_BITS if has_activations else (None,)
    return tuple(
        Widths(weight_bits, bits, granularity)
        for granularity in GRANULARITIES
        for weight_bits in WEIGHT_BITS
        for bits in activations
    )


def measure_accuracy_map(
    comparison: Comparison,
    variant: str,
    samples: AnySamples = None,
    *,
    limits: Limits | None = None,
    progress: Callable[[AccuracyMap], None] | None = None,
    cancel: Event | None = None,
) -> AccuracyMap:
    """Return the map, measured cell by cell.

    Args:
        samples: as `measure_outputs` takes them.
        progress: is told the map so far after each cell.
        cancel: an event that stops the measuring; what there is then is returned.

    Raises:
        SamplesError, RunEndedError, ModelTooLargeError, UnavailableError: as
            `plan_by_measurement`.
    """
    read = read_samples(comparison, samples)
    with ExitStack() as stack:
        stack.enter_context(Turn(cancel))
        bench = PlanBench(
            stack, comparison, variant, read, limits or Limits.for_this_machine(), cancel
        )
        own = find_own_widths(bench.quantizers, find_own_granularity(comparison, variant))
        return _Map(bench, own, progress).measure()


class _Map:
    """The map while it is filled."""

    def __init__(
        self,
        bench: PlanBench,
        own: Widths | None,
        progress: Callable[[AccuracyMap], None] | None,
    ) -> None:
        self.bench, self.progress = bench, progress
        self.rows = range(bench.samples.count)
        self.cells: dict[Widths, Level] = {}
        self.skipped = 0
        self.own = own
        self.found = self._create()

    def measure(self) -> AccuracyMap:
        try:
            statistics = self.bench.read_statistics(self.rows)
            self._fill(statistics)
            self.found = replace(self._create(), complete=True)
        except RunEndedError as error:
            if error.ending.kind is not EndingKind.CANCELLED:
                raise
        return self.found

    def _create(self) -> AccuracyMap:
        return AccuracyMap(self.own, dict(self.cells), len(self.rows), self.skipped)

    def _fill(self, statistics: Mapping[int, ActivationStatistics]) -> None:
        tuned = [q for q in self.bench.quantizers if find_setting(q) is not None]
        on = np.ones(len(self.bench.quantizers), bool)
        for granularity in GRANULARITIES:
            for weight_bits in WEIGHT_BITS:
                values = dict(self._quantize_weights(weight_bits, granularity))
                self.bench.set_weights(values)
                choices = dict.fromkeys(values, 1)
                for bits in ACTIVATION_BITS if tuned else (None,):
                    settings = self._settings(bits, statistics) if bits else {}
                    inputs = self.bench.tunable.create_inputs(on, settings, choices)
                    widths = Widths(weight_bits, bits, granularity)
                    self.cells[widths] = self.bench.measure_inputs(inputs, self.rows)
                    self.found = self._create()
                    if self.progress is not None:
                        self.progress(self.found)

    def _quantize_weights(self, bits: int, granularity: str) -> Iterator[tuple[int, Alternative]]:
        """Yield the values of each weight in so many bits; the bias keeps its float values."""
        placement, original = self.bench.placement, self.bench.networks[0]
        self.skipped = 0
        for quantizer in self.bench.quantizers:
            if quantizer.kind is not QuantizerKind.WEIGHT:
                continue
            sites = [
                (n, s) for n, s in enumerate(placement.weights) if s.quantizer == quantizer.index
            ]
            exact = {n: read_exact(original, placement, site) for n, site in sites}
            number = sites[0][0]
            weight = exact[number]
            axis = find_operand_axis(original, placement, quantizer.index, weight)
            if weight is None or not np.isfinite(weight).all():
                self.skipped += 1
                continue
            scheme = _scheme(
                bits, granularity if axis is not None and weight.ndim > 1 else "per-tensor"
            )
            held = {n: one for n, one in exact.items() if one is not None}
            held[number] = requantize(weight, scheme, axis or 0).values
            yield quantizer.index, held

    def _settings(
        self, bits: int, statistics: Mapping[int, ActivationStatistics]
    ) -> dict[int, Setting]:
        settings: dict[int, Setting] = {}
        for group in self.bench.groups.values():
            if group[0].kind is not QuantizerKind.ACTIVATION:
                continue
            observed = observe(group, statistics)
            if observed is not None:
                settings |= {
                    one.index: _setting(
                        observed.low, observed.high, bits, scale_factor(group[0], one)
                    )
                    for one in group
                }
        return settings


def _scheme(bits: int, granularity: str) -> Scheme:
    return Scheme("int8", granularity, bits=None if bits == 8 else bits)


def _setting(low: float, high: float, bits: int, factor: float) -> Setting:
    """Return codes of so many bits over a range and zero."""
    low, high = min(low, 0.0) * factor, max(high, 0.0) * factor
    most = 2**bits - 1
    scale = float(np.float32((high - low) / most)) or 1.0
    return Setting.of(scale, float(np.clip(np.rint(-low / scale), 0, most)), (0, most))


def find_own_granularity(comparison: Comparison, variant: str) -> str:
    """Return the granularity that most of a file's weights have; blocks are not in the map."""
    held = [
        measured[variant].quantization
        for measured in comparison.weights.values()
        if variant in measured and len(measured[variant].weight.shape) > 1
    ]
    counts = Counter(one.granularity for one in held if one is not None)
    return counts.most_common(1)[0][0] if counts else GRANULARITIES[-1]


def find_own_widths(quantizers: tuple[Quantizer, ...], granularity: str) -> Widths | None:
    """Return the widths that most of a file's quantizers have."""
    weights = [q.data_type for q in quantizers if q.kind is QuantizerKind.WEIGHT]
    activations = [q for q in quantizers if find_setting(q) is not None]
    integers = [one for one in weights if one.removeprefix("u").startswith("int")]
    if not integers:
        return None
    weight_bits = data_type_bits(max(set(integers), key=integers.count))
    types = [q.data_type for q in activations]
    bits = data_type_bits(max(set(types), key=types.count)) if types else None
    return Widths(weight_bits, bits, granularity)
