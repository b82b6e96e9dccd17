"""What measuring found: the loss at each output, and who causes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..facts import Ending, QuantizerKind, SampleKind, UnplacedReason

# Under this agreement between the switched model and the file, the numbers are partial.
AGREEMENT_DB = 30.0
# Channels of an output are judged one by one where the largest is this many times the median.
CHANNELS_DIFFER = 10.0
# Where a tensor of the quantized network is under this, it has parted from the float one.
PARTED_DB = 20.0


@dataclass(frozen=True, eq=False)
class Quantizer:
    """One quantized tensor of a variant: a weight with its bias, or an activation.

    Attributes:
        index: of its gate.
        tensor: its name in the original.
        layers: of the original that it serves, in graph order; empty at an output of the graph.
        data_type: of the codes; ``float32`` for a weight that was changed and stored as float.
        scale, zero_point: of an activation; None where they are computed while the model runs, and
            for weights.
        code_limits: lowest and highest code in use; None where that is not known.
        group: quantizers that only data movement of equal scale joins have one.
    """

    index: int
    kind: QuantizerKind
    tensor: str
    layers: tuple[str, ...]
    data_type: str
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    code_limits: tuple[float, float] | None = None
    group: int = -1

    @property
    def is_dynamic(self) -> bool:
        return self.kind is QuantizerKind.ACTIVATION and self.scale is None

    @property
    def zero(self) -> float:
        """The zero-point of a tensor that has one scale: 0 where none is given."""
        return 0.0 if self.zero_point is None else float(self.zero_point.reshape(-1)[0])


@dataclass(frozen=True)
class Unplaced:
    """A quantizer of the variant that is not in the switched model. Names are the variant's."""

    reason: UnplacedReason
    kind: QuantizerKind
    tensor: str
    layer: str


def decibels(signal: float, noise: float) -> float:
    """Return ``10 * log10(signal / noise)``: infinite without noise.

    NaN without a signal, and for one whose squares no float holds.
    """
    if np.isnan(noise) or not np.isfinite(signal) or signal <= 0:
        return float("nan")
    if noise == 0:
        return float("inf")
    return float("-inf") if np.isinf(noise) else float(10 * np.log10(signal / noise))


@dataclass(frozen=True, eq=False)
class OutputLoss:
    """How one output of the file differs from the float original's.

    Attributes:
        noise, signal: sums of squares of each sample (of each run, where the first axis does not
            count samples), float64.
        channel_noise, channel_signal: of each index of axis 1 over all samples; None unless the
            channels differ much in size.
        agreement: share of argmaxes that are those of the original; None where it does not look
            like scores.
        accuracy, float_accuracy: share of argmaxes that are the labels; None without labels.
    """

    name: str
    noise: np.ndarray
    signal: np.ndarray
    channel_noise: np.ndarray | None = None
    channel_signal: np.ndarray | None = None
    agreement: float | None = None
    accuracy: float | None = None
    float_accuracy: float | None = None

    @property
    def sqnr_db(self) -> float:
        return decibels(float(self.signal.sum()), float(self.noise.sum()))

    @property
    def sample_sqnr_db(self) -> np.ndarray:
        return np.array([decibels(s, n) for s, n in zip(self.signal, self.noise, strict=True)])

    @property
    def worst_sample(self) -> int | None:
        """The sample with the lowest SQNR; None where none has a signal."""
        found = self.sample_sqnr_db
        return None if np.isnan(found).all() else int(np.nanargmin(found))

    @property
    def channel_sqnr_db(self) -> np.ndarray | None:
        if self.channel_noise is None or self.channel_signal is None:
            return None
        both = zip(self.channel_signal, self.channel_noise, strict=True)
        return np.array([decibels(s, n) for s, n in both])


@dataclass(frozen=True)
class SelfCheck:
    """Whether the switched model is what it stands for, in dB; None before it was looked at.

    Attributes:
        all_on_db: the quantized file against all gates open, the output that agrees least.
        all_off_db: the float original against all gates closed.
        file_ending: why onnxruntime does not run the file: all gates open stands for it then.
    """

    all_on_db: float | None = None
    all_off_db: float | None = None
    file_ending: Ending | None = None

    @property
    def file_runs(self) -> bool:
        return self.file_ending is None

    @property
    def is_partial(self) -> bool:
        """Whether the numbers are about another model than the file."""
        return self.all_on_db is not None and self.all_on_db < AGREEMENT_DB


@dataclass(frozen=True)
class Split:
    """Output SQNR in dB of float with only the weights, and only the activations, quantized.

    ``noise`` is relative to the float output, as that of the quantizers.
    """

    weights_db: float
    activations_db: float
    weights_noise: float
    activations_noise: float

    @property
    def activations_share(self) -> float:
        """What part of both is the activations'."""
        both = self.weights_noise + self.activations_noise
        if not np.isfinite(both):
            return float(np.isinf(self.activations_noise))
        return self.activations_noise / both if both else 0.0


@dataclass(frozen=True, eq=False)
class GroupNoise:
    """What the quantizers of one group, switched together, do to the output.

    Attributes:
        alone: noise when only these are on, over the power of the float output; mean over outputs.
        share: of the sum over all groups.
        sample_count: that it was measured on.
        restored_db: what the output gains when only these are off; None where it was not measured.
    """

    group: int
    quantizers: tuple[Quantizer, ...]
    alone: float
    share: float
    sample_count: int
    restored_db: float | None = None

    @property
    def kind(self) -> QuantizerKind:
        return self.quantizers[0].kind

    @property
    def tensor(self) -> str:
        return self.quantizers[0].tensor

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for q in self.quantizers for name in q.layers))


@dataclass(frozen=True)
class Recovered:
    """Output SQNR with the first ``count`` groups by share off in the quantized model."""

    count: int
    sqnr_db: float


@dataclass(frozen=True, eq=False)
class ActivationStatistics:
    """What flowed through one activation quantizer.

    Attributes:
        quantizer: its index.
        low, high: observed, of the float tensor.
        p999: 99.9th percentile of the absolute values (the mean of those of single runs).
        represented: lowest and highest value that the scale can hold; None if dynamic.
        clipped_share: of the values; clipped_error_share: of the squared error.
        codes_used_share: of the codes that there are (of bins, for more than 256).
        zeroed_share: of the nonzero values that become 0.
        local_db: SQNR of the quantized float tensor.
        cumulative_db: SQNR of the tensor in the quantized network against that in the float one.
        histogram: how many values got each code (16-bit codes in 256 bins), int64; None where the
            original's opset is too old to count.
    """

    quantizer: int
    low: float
    high: float
    p999: float | None
    represented: tuple[float, float] | None
    clipped_share: float
    clipped_error_share: float
    codes_used_share: float | None
    zeroed_share: float
    local_db: float
    cumulative_db: float
    histogram: np.ndarray | None = None

    @property
    def outlier_ratio(self) -> float | None:
        """The largest absolute value over the 99.9th percentile."""
        if not self.p999:
            return None
        return max(abs(self.low), abs(self.high)) / self.p999


@dataclass(frozen=True, eq=False)
class Outputs:
    """What running a variant beside its float original found.

    Attributes:
        quantizers: by the number of their gate.
        unplaced: those of the variant that found no place in the original.
        optimized: onnxruntime rewrote the graphs as it does by default.
        losses: by output, in the original's order.
        groups: by share, the largest first: as many as were measured.
        statistics: by the quantizer's index.
        parted_at: the first layer, in graph order, whose tensor is under 20 dB in the quantized
            network; None if there is none.
        complete: False where measuring was stopped or ended early: ``ending`` says how.
        one_by_one: the samples ran one by one, not in a batch.
    """

    quantizers: tuple[Quantizer, ...]
    unplaced: tuple[Unplaced, ...]
    sample_kind: SampleKind
    sample_count: int
    optimized: bool = False
    losses: tuple[OutputLoss, ...] = ()
    check: SelfCheck = SelfCheck()
    split: Split | None = None
    groups: tuple[GroupNoise, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    statistics: Mapping[int, ActivationStatistics] | None = None
    parted_at: str | None = None
    sqnr_db: float | None = None
    complete: bool = False
    ending: Ending | None = None
    one_by_one: bool = False

    @cached_property
    def layer_shares(self) -> dict[str, float]:
        """The shares of each layer's weight, input and output quantizers, by the layer's name."""
        found: dict[str, float] = {}
        for group in self.groups:
            for layer in group.layers:
                found[layer] = found.get(layer, 0.0) + group.share
        return found

    @property
    def predicted_db(self) -> float | None:
        """The output's SQNR as the sum of what each quantizer does alone predicts it."""
        if not self.groups:
            return None
        return decibels(1.0, float(sum(group.alone for group in self.groups)))

    @property
    def worst(self) -> OutputLoss | None:
        """The output with the lowest SQNR."""
        judged = [loss for loss in self.losses if not np.isnan(loss.sqnr_db)]
        return min(judged, key=lambda loss: loss.sqnr_db, default=None)

    def loss(self, output: str) -> OutputLoss:
        return next(loss for loss in self.losses if loss.name == output)


@dataclass(frozen=True)
class Progress:
    """How far measuring is. ``outputs`` holds what is known so far."""

    runs_done: int
    runs_left: int
    outputs: Outputs


def group_members(quantizers: Sequence[Quantizer]) -> dict[int, tuple[Quantizer, ...]]:
    """Return the quantizers of each group: what is switched together."""
    members: dict[int, list[Quantizer]] = defaultdict(list)
    for quantizer in quantizers:
        members[quantizer.group].append(quantizer)
    return {group: tuple(these) for group, these in members.items()}


def rank_groups(
    quantizers: Sequence[Quantizer],
    alone: Mapping[int, tuple[float, int]],
    restored: Mapping[int, float],
) -> tuple[GroupNoise, ...]:
    """Return the measured groups by share, the largest first.

    Args:
        alone: of each group, its noise and on how many samples.
    """
    groups = group_members(quantizers)
    shares = compute_shares([noise for noise, _ in alone.values()])
    found = [
        GroupNoise(group, groups[group], noise, share, count, restored.get(group))
        for (group, (noise, count)), share in zip(alone.items(), shares, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.alone, one.group)))


def compute_shares(noises: Sequence[float]) -> list[float]:
    """Return each noise over the sum of all; infinite ones have everything, in equal parts."""
    noise = np.asarray(noises, np.float64)
    if np.isinf(noise).any():
        noise = np.isinf(noise).astype(np.float64)
    total = noise.sum()
    return [float(n) for n in (noise / total if total else noise)]
