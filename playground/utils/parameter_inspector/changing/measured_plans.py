"""What measuring a plan found: its steps, what each brought and cost, and who judged it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..facts import Ending, SampleKind
from ..measuring.outputs import decibels
from .moves import Move, MoveKind, merge_moves


class PlanName(Enum):
    """The plans that are measured."""

    MEASURED = "by measurement"
    PER_CHANNEL = "per channel everywhere"
    SIXTEEN_BITS = "16-bit activations"
    LEAVE_OUT = "leave the worst out"


class PlanEnd(Enum):
    """Why a plan has no further steps."""

    REACHED = "reached"
    NOTHING_HELPS = "nothing helps"
    STOPPED = "stopped"
    ENDED = "ended"  # the models could not be run any further


class TargetKind(Enum):
    OUTPUT_SQNR = "output SQNR"
    ACCURACY = "accuracy"
    AGREEMENT = "agreement"


@dataclass(frozen=True)
class Target:
    """What a plan is to reach: decibels, or a share of the samples."""

    kind: TargetKind
    value: float


@dataclass(frozen=True)
class Level:
    """How good the outputs are.

    Attributes:
        sqnr_db: of noise relative to each output, the mean over the outputs; over all samples.
        noise: of the typical sample: the geometric mean of each sample's relative noise. One
            sample that a softmax leaves undecided makes the most of `sqnr_db`, and says little of
            the moves that help.
        is_small: the outputs are too few numbers to choose by: ``noise`` is of what they are made
            from.
        agreement: share of argmaxes that are the original's; None where nothing looks like scores.
        accuracy, float_accuracy: share of argmaxes that are the labels; None without labels.
    """

    sqnr_db: float
    noise: float
    agreement: float | None = None
    accuracy: float | None = None
    float_accuracy: float | None = None
    is_small: bool = False

    @property
    def typical_db(self) -> float:
        """The mean of the samples' SQNR in dB: what moves are chosen by."""
        return decibels(1.0, self.noise)

    def has(self, target: Target) -> bool:
        """Return whether the outputs have what a target asks for."""
        found = {
            TargetKind.OUTPUT_SQNR: self.sqnr_db,
            TargetKind.ACCURACY: self.accuracy,
            TargetKind.AGREEMENT: self.agreement,
        }[target.kind]
        return found is not None and found >= target.value

    def reaches(self, target: Target | None) -> bool:
        """Return whether a plan may stop here: outputs that are few numbers may be so by chance."""
        if target is None or not self.has(target):
            return False
        by_chance = self.is_small and target.kind is TargetKind.OUTPUT_SQNR
        return not by_chance or self.typical_db >= target.value


@dataclass(frozen=True)
class Cost:
    """What moves cost: bytes more in the file, tensors of 16 bits, tensors in float."""

    added_bytes: int = 0
    wide: int = 0
    free: int = 0

    @classmethod
    def of(cls, moves: Sequence[Move]) -> Cost:
        wide = sum(len(m.quantizers) for m in moves if m.kind is MoveKind.WIDEN)
        free = sum(len(m.quantizers) for m in moves if m.kind is MoveKind.FREE)
        return cls(sum(move.added_bytes for move in moves), wide, free)


@dataclass(frozen=True, eq=False)
class PlanStep:
    """One batch of moves that was kept.

    Attributes:
        moves: that this step adds; they may replace earlier ones of the same quantizers.
        level: on the deciding half, with all moves up to here; ``cost`` of all of them too.
    """

    moves: tuple[Move, ...]
    level: Level
    cost: Cost


@dataclass(frozen=True)
class Sides:
    """Output SQNR in dB where only the weights, and only the activations, are quantized."""

    weights_db: float
    activations_db: float


@dataclass(frozen=True, eq=False)
class MeasuredPlan:
    """A plan whose output was measured. Half of the samples decide, the other half judge.

    Attributes:
        before, after: on the deciding half; ``held_back_before``, ``held_back_after``: on the
            other one, None before it was asked.
        everything: on the deciding half, with every activation in 16 bits and every weight per
            channel.
        sides_before, sides_after: on the half that judges.
        deciding, judging: which samples; the same where there is only one.
        tried: moves that were measured and not kept.
    """

    name: PlanName
    before: Level
    after: Level
    steps: tuple[PlanStep, ...] = ()
    held_back_before: Level | None = None
    held_back_after: Level | None = None
    sides_before: Sides | None = None
    sides_after: Sides | None = None
    everything: Level | None = None
    target: Target | None = None
    end: PlanEnd | None = None
    ending: Ending | None = None
    sample_kind: SampleKind = SampleKind.FILE
    deciding: tuple[int, ...] = ()
    judging: tuple[int, ...] = ()
    tried: tuple[Move, ...] = ()
    seconds: float = 0.0

    @property
    def moves(self) -> tuple[Move, ...]:
        return merge_moves(move for step in self.steps for move in step.moves)

    @property
    def cost(self) -> Cost:
        return Cost.of(self.moves)

    @property
    def is_reached(self) -> bool | None:
        """Whether the judging half has the target too; None without a target, or a judge."""
        if self.target is None or self.held_back_after is None:
            return None
        return self.held_back_after.has(self.target)

    @property
    def judges_itself(self) -> bool:
        """Whether the samples that judge are those that decided."""
        return self.deciding == self.judging


@dataclass(frozen=True, eq=False)
class PlanProgress:
    """How far planning is, and what there is of the plan; ``named`` are the plans beside it."""

    runs_done: int
    plan: MeasuredPlan | None
    named: tuple[MeasuredPlan, ...] = field(default=())
