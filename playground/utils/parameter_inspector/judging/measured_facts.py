"""The facts of findings that running a variant made: kinds and numbers, the share beside each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..facts import QuantizerKind, SampleKind
from .findings import NodesToExclude

# Of the most that the curve gives: more quantizers off for the rest are not worth naming.
MOST_OF_IT = 0.75


def choose_point(gains: Sequence[float]) -> int:
    """Return which point of a recovered curve to speak of: the first that gives most of it."""
    most = max(gains)
    return next(i for i, gain in enumerate(gains) if gain >= min(most, MOST_OF_IT * most))


@dataclass(frozen=True)
class MeasuredOn:
    """The samples that a variant was run on."""

    kind: SampleKind
    count: int


@dataclass(frozen=True)
class Tried:
    """What switching quantizers off in the quantized model gave.

    Attributes:
        groups: how many, the first by share; ``quantizers``: in them.
        nodes: what stays in float then, as the next quantization has to name it.
        gain_db: of the output, over the file.
        level_db: of the output, when they are off.
    """

    groups: int
    quantizers: int
    nodes: NodesToExclude
    gain_db: float
    level_db: float


@dataclass(frozen=True)
class Cost:
    """What one quantizer costs the output.

    Attributes:
        share: of the output's noise.
        output_db: what the output keeps.
        restored: what it gives to switch off this one; None where that was not measured.
        together: what it gives to switch off the first ones by share, this one among them; None
            where that is not known.
    """

    tensor: str
    share: float
    measured_on: MeasuredOn
    output_db: float
    local_db: float
    restored: Tried | None
    together: Tried | None

    @property
    def numbers(self) -> Mapping[str, float]:
        gain = self.restored.gain_db if self.restored else math.nan
        return {"share": self.share, "local_db": self.local_db, "restored_db": gain}


@dataclass(frozen=True)
class MaskRange:
    """A tensor that reaches so far that one step of its scale covers every ordinary value."""

    cost: Cost
    low: float
    high: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.cost.numbers, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Outliers:
    """The largest absolute value, and the one that 99.9 % of them stay below."""

    cost: Cost
    largest: float
    p999: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.cost.numbers, "largest": self.largest, "p999": self.p999}


@dataclass(frozen=True)
class ClippedActivation:
    """Values beyond what the scale holds: their share of the values, and of the squared error."""

    cost: Cost
    clipped_share: float
    error_share: float
    observed: tuple[float, float]
    represented: tuple[float, float] | None

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            **self.cost.numbers,
            "clipped_share": self.clipped_share,
            "clipped_error_share": self.error_share,
        }


@dataclass(frozen=True)
class SmallValuesLost:
    """The share of the nonzero values that become 0."""

    cost: Cost
    zeroed_share: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.cost.numbers, "zeroed_share": self.zeroed_share}


@dataclass(frozen=True)
class PoolingScale:
    """A pooling whose output has the scale of its input, and uses few of the codes."""

    cost: Cost
    op_type: str
    codes_used_share: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.cost.numbers, "codes_used_share": self.codes_used_share}


@dataclass(frozen=True)
class SquareQuantized:
    """A tensor on the way into or out of a square or a root.

    Attributes:
        op_type: the operator that makes it so.
        zeroed_share: of its nonzero values become 0.
        is_denominator: another layer divides by it.
    """

    cost: Cost
    op_type: str
    zeroed_share: float
    is_denominator: bool

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.cost.numbers, "zeroed_share": self.zeroed_share}


@dataclass(frozen=True)
class OutputLost:
    """An output that lost too much to be used.

    Attributes:
        output: its name; ``output_count``: how many the network has.
        sqnr_db: over all samples, ``worst_db`` that of the worst one, ``worst_sample`` which.
        accuracy, float_accuracy: shares of the labels; None without labels.
        agreement: of the highest number with float's; ``has_scores``: it is an answer.
        curve: what switching off the first ones by share gave, the fewest first; empty where it is
            not known or the switched model is not the file.
        without_activations_db, without_weights_db: with all of them in float, None where that is
            not known.
        activations_share: of the noise; None where it is not known.
    """

    output: str
    output_count: int
    measured_on: MeasuredOn
    sqnr_db: float
    worst_sample: int | None
    worst_db: float
    accuracy: float | None
    float_accuracy: float | None
    agreement: float | None
    has_scores: bool
    curve: tuple[Tried, ...]
    without_activations_db: float | None
    without_weights_db: float | None
    activations_share: float | None

    @property
    def best(self) -> Tried | None:
        """The point of the curve to speak of."""
        gains = [one.gain_db for one in self.curve]
        return self.curve[choose_point(gains)] if gains else None

    @property
    def main_cause(self) -> QuantizerKind | None:
        if self.activations_share is None:
            return None
        return QuantizerKind.ACTIVATION if self.activations_share >= 0.5 else QuantizerKind.WEIGHT

    @property
    def numbers(self) -> Mapping[str, float]:
        known = {
            "accuracy": self.accuracy,
            "float_accuracy": self.float_accuracy,
            "agreement": self.agreement,
        }
        return {
            "output_db": self.sqnr_db,
            "worst_sample_db": self.worst_db,
            **{name: number for name, number in known.items() if number is not None},
        }


@dataclass(frozen=True)
class UnderMinimum:
    """An output that keeps less than was asked for.

    Attributes:
        what: ``sqnr_db``, ``agreement`` or ``accuracy``.
        worst_sample, worst_db: the sample with the lowest SQNR there.
    """

    what: str
    least: float
    found: float
    output: str
    measured_on: MeasuredOn
    worst_sample: int | None
    worst_db: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {self.what: self.found, "least": self.least, "worst_sample_db": self.worst_db}
