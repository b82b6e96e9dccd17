"""What could be done to each quantized weight of a variant, and why nothing can to the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..facts import Stay, StayReason
from ..measuring.comparison import Comparison
from ..measuring.metrics import HEALTHY_CHANNEL_DB, MeasuredWeight
from ..measuring.network_identity import identify_network
from ..measuring.outputs import Quantizer
from ..operators import operator_named
from ..quantization import UnavailableError, numpy_dtype
from ..reading.file_bytes import find_float_behind
from ..records import WeightTensor
from ..sharing import WorkCancelledError
from .candidates import Candidate, list_candidates, sensible_schemes
from .counted_bias import CountedBias, read_counted_bias
from .originals import StaysError, find_original, read_original
from .requantizing import NotFiniteError, count_bytes
from .scale_fitting import ScaleRangeError
from .schemes import Scheme, data_type_bits, scheme_of
from .writability import Writability

Progress = Callable[[int, int, str], None]

# A scheme that gains less is not worth a change where none reaches the target.
LEAST_GAIN_DB = 1.0
# Schemes this near to each other are as good.
SAME_DB = 0.5
# A worst channel is no gain where the noise of the whole weight doubles for it.
STEP_BACK_DB = 3.0


@dataclass(frozen=True, eq=False)
class LayerOptions:
    """A layer that can be requantized, and what could be done.

    Attributes:
        layer_name: as the original names the layer.
        quantizer: of its weight, which other layers may share.
        weight_name: of the float weight, as onnxruntime's overrides want it.
        shape, channel_axis: of the weight.
        candidates: as `list_candidates`, only those that can be written and that onnxruntime runs,
            and not the current one.
        is_small: a constant or a parameter of one dimension, which has no channels: it is judged as
            a whole, and no plan is called bad for it.
    """

    layer_name: str
    quantizer: Quantizer
    weight_name: str
    shape: tuple[int, ...]
    channel_axis: int
    current: Candidate
    candidates: tuple[Candidate, ...]
    is_small: bool = False

    @property
    def all_candidates(self) -> tuple[Candidate, ...]:
        """The current scheme first."""
        return self.current, *self.candidates

    def find_db(self, candidate: Candidate) -> float:
        """Return what a scheme is judged by: the SQNR of the worst channel, of a small one its own.

        A weight without any loss to measure has lost nothing.
        """
        db = candidate.sqnr_db if self.is_small else candidate.worst_channel_sqnr_db
        return math.inf if math.isnan(db) else db

    @property
    def best_db(self) -> float:
        return max(map(self.find_db, self.all_candidates))

    def cheapest(self, level_db: float) -> Candidate:
        """Return the fewest bytes that reach a level, or the best that there is if none does."""
        level = min(level_db, self.best_db)
        reached = [c for c in self.all_candidates if self.find_db(c) >= level]
        return min(reached, key=lambda candidate: candidate.cost(self.current.scheme))

    def improve(self, target_db: float) -> Candidate:
        """Return what brings the layer to a target, or as near as it gets.

        The current scheme stays if it reaches the target, or if nothing is much better. What is
        taken is healthy wherever something is, and no step back (fewer bits, twice the noise of the
        whole weight) unless only that helps; of those that are left the one of fewest bytes.
        """
        now, best = self.find_db(self.current), self.best_db
        if now >= target_db or best < min(target_db, now + LEAST_GAIN_DB):
            return self.current
        healthy = min(max(target_db, HEALTHY_CHANNEL_DB), best)
        level = best - SAME_DB if best < target_db else healthy
        reached = [c for c in self.all_candidates if self.find_db(c) >= level]
        return min(reached, key=lambda c: (self._is_step_back(c), *c.cost(self.current.scheme)))

    def _is_step_back(self, candidate: Candidate) -> bool:
        narrower = _bits(candidate.scheme) < _bits(self.current.scheme)
        return narrower or candidate.sqnr_db < self.current.sqnr_db - STEP_BACK_DB


def _bits(scheme: Scheme) -> int:
    return scheme.bits or data_type_bits(scheme.data_type)


def list_options(
    comparison: Comparison,
    variant_name: str,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[tuple[LayerOptions, ...], tuple[Stay, ...]]:
    """Return what could be done to each quantized layer, and why nothing can to the others.

    Raises:
        ValueError: the variant is not in the comparison.
        WorkCancelledError: ``cancelled`` said so, between two schemes of a layer.
    """
    if variant_name not in comparison.variants:
        known = ", ".join(comparison.variants)
        raise ValueError(f"{variant_name!r} is none of the variants {known}")
    layer_names = _list_weights(comparison, variant_name)
    identity = identify_network(comparison, variant_name)
    if identity is not None and identity.is_other_network:
        # A mix of two networks is one that nobody trained.
        other, name = StayReason.OTHER_NETWORK, identity.original
        return (), tuple(Stay(layer_name, other, name=name) for layer_name in layer_names)
    search = _Search(comparison, variant_name, Writability(comparison, variant_name))
    options: list[LayerOptions] = []
    left_out: list[Stay] = []
    for done, layer_name in enumerate(layer_names, 1):
        try:
            options.append(search.find(layer_name, cancelled))
        except WorkCancelledError:
            raise WorkCancelledError(
                f"stopped after {done - 1} of {len(layer_names)} layers"
            ) from None
        except (StaysError, UnavailableError, NotFiniteError, ScaleRangeError) as error:
            left_out.append(_explain(layer_name, error))
        if progress is not None:
            progress(done, len(layer_names), layer_name)
    return tuple(options), tuple(left_out)


def _explain(
    layer_name: str, error: StaysError | UnavailableError | NotFiniteError | ScaleRangeError
) -> Stay:
    if isinstance(error, StaysError):
        return error.stay
    if isinstance(error, UnavailableError):
        return Stay(layer_name, StayReason.UNREADABLE, error.refusal)
    if isinstance(error, NotFiniteError):
        return Stay(layer_name, StayReason.NOT_FINITE, count=error.count, limit=error.limit)
    return Stay(layer_name, StayReason.NO_SCALE, data_type=error.scale_type)


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


@dataclass(frozen=True, eq=False)
class _Search:
    """Where options are looked for."""

    comparison: Comparison
    variant: str
    writability: Writability

    def find(self, layer_name: str, cancelled: Callable[[], bool] | None) -> LayerOptions:
        """Return the options of a layer.

        Raises:
            StaysError: it has none.
            UnavailableError, NotFiniteError, ScaleRangeError: its weights cannot be quantized.
        """
        original = read_original(self.comparison, self.variant, layer_name)
        measured = self.comparison.measured(layer_name, self.variant)
        quantizer = self.writability.find_quantizer(layer_name, measured.layer)
        scheme, byte_count, _ = read_current(layer_name, measured.weight)
        candidates = self._list_written(layer_name, measured, original, cancelled, quantizer)
        current = next(c for c in candidates if c.scheme == scheme)
        if math.isnan(current.worst_channel_sqnr_db):
            raise StaysError(Stay(layer_name, StayReason.ZERO))
        return LayerOptions(
            layer_name,
            quantizer,
            find_original(self.comparison, layer_name).name,
            measured.weight.shape,
            measured.weight.channel_axis or 0,
            replace(current, byte_count=byte_count),
            tuple(c for c in candidates if c is not current),
            _is_small(measured),
        )

    def _list_written(
        self,
        layer_name: str,
        measured: MeasuredWeight,
        original: np.ndarray,
        cancelled: Callable[[], bool] | None,
        quantizer: Quantizer,
    ) -> tuple[Candidate, ...]:
        """Return the candidates that can be written and run, the current scheme among them."""
        weight, axis = measured.weight, measured.weight.channel_axis or 0
        scheme, _, scale_type = read_current(layer_name, weight)
        bias = read_counted_bias(self.comparison, self.variant, layer_name)
        schemes = [
            one
            for one in sensible_schemes(scheme, original.shape, axis)
            if self.writability.takes(quantizer, one) and _holds(one, bias, original, axis)
        ]
        return list_candidates(
            original,
            scheme,
            axis,
            weight.values,
            scale_type=scale_type,
            cancelled=cancelled,
            schemes=schemes,
            bias=bias,
        )


def _holds(scheme: Scheme, bias: CountedBias | None, original: np.ndarray, axis: int) -> bool:
    """Return whether a bias can be counted in the scales of a scheme."""
    if bias is None or scheme.granularity != "per-channel" or original.ndim == 0:
        return True
    return bias.values.size % original.shape[axis] == 0


def _is_small(measured: MeasuredWeight) -> bool:
    """Return whether a weight is a constant or of one dimension: no products are summed over it."""
    if operator_named(measured.layer.op_type).heavy:
        return False
    return sum(length > 1 for length in measured.weight.shape) < 2


def read_current(layer_name: str, weight: WeightTensor) -> tuple[Scheme, int, str]:
    """Return what the file has: scheme, bytes, type of the scales; StaysError for a codebook."""
    scheme, quantization = scheme_of(weight), weight.quantization
    if scheme is None or quantization is None:
        raise StaysError(Stay(layer_name, StayReason.CODEBOOK, data_type=weight.data_type))
    byte_count = count_bytes(quantization, weight.source.shape)
    behind = find_float_behind(weight.source)
    if behind is not None:  # the file holds the float weight, and quantizes it as it is opened
        byte_count += math.prod(behind.shape) * numpy_dtype(behind.data_type).itemsize
        byte_count -= math.ceil(
            data_type_bits(quantization.data_type) * math.prod(weight.source.shape) / 8
        )
    return scheme, byte_count, quantization.scale_source.data_type
