"""What the rules about activations and structure find, in names and numbers.

Each holds what a detector found, with the names that the original has for the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .changed_network import ChangedOperator
from .findings import NodesToExclude
from .float_work import FloatWork
from .impossible_scales import ImpossibleScale
from .lost_constants import LostConstant
from .mismatched_quantizers import MismatchedQuantizers
from .small_parameters import SmallParameter
from .swallowed_ranges import SwallowedRange


@dataclass(frozen=True)
class SwallowedRanges:
    """Narrow ranges that operators of one kind leave few codes, the worst first.

    Attributes:
        layers: those operators' layers, each once.
        sources: the layers that the ranges come from.
    """

    ranges: tuple[SwallowedRange, ...]
    layers: tuple[str, ...]
    sources: tuple[str, ...]
    nodes: NodesToExclude

    @property
    def numbers(self) -> Mapping[str, float]:
        worst = self.ranges[0]
        return {
            "ranges": len(self.ranges),
            "codes": worst.codes,
            "step": worst.step,
            "low": worst.low,
            "high": worst.high,
        }


@dataclass(frozen=True)
class ImpossibleScales:
    """Tensors of one file whose scale no number needs, the largest first.

    Attributes:
        layers: that make them, or read them where they are constants.
        swallowed: layers whose whole range that scale swallows.
        overflowing: tensors with codes that have no finite value.
    """

    scales: tuple[ImpossibleScale, ...]
    layers: tuple[str, ...]
    swallowed: tuple[str, ...]
    overflowing: int
    nodes: NodesToExclude

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "tensors": len(self.scales),
            "scale": self.scales[0].scale,
            "overflowing": self.overflowing,
            "swallowed": len(self.swallowed),
        }


@dataclass(frozen=True)
class DifferingQuantizers:
    """Tensors that are written and read by different quantizations, the worst first."""

    places: tuple[MismatchedQuantizers, ...]
    layers: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"tensors": len(self.places), "ratio": self.places[0].ratio}


@dataclass(frozen=True)
class LostConstants:
    """Constants that are lost in one way and at one kind of operator, the most lost first."""

    constants: tuple[LostConstant, ...]
    layers: tuple[str, ...]
    failing: tuple[str, ...]
    nodes: NodesToExclude

    @property
    def numbers(self) -> Mapping[str, float]:
        worst = self.constants[0]
        return {"constants": len(self.constants), "value": worst.value, "step": worst.step}


@dataclass(frozen=True)
class ChangedNetwork:
    """Operators of one kind that only one of the two networks has; the numbers are the first's.

    Attributes:
        layers: the operators, as the file that has them names them.
        behind: the layers right before them.
    """

    operators: tuple[ChangedOperator, ...]
    layers: tuple[str, ...]
    behind: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"operators": len(self.operators)}


@dataclass(frozen=True)
class CoarseParameters:
    """Small parameters of one operator that a scale is too coarse for, the worst first."""

    parameters: tuple[SmallParameter, ...]
    layers: tuple[str, ...]
    nodes: NodesToExclude

    @property
    def numbers(self) -> Mapping[str, float]:
        worst = self.parameters[0]
        numbers = {
            "parameters": len(self.parameters),
            "weak": worst.weak,
            "elements": worst.count,
            "step": worst.step,
        }
        return numbers | ({"sqnr_db": worst.sqnr_db} if worst.is_compared else {})


@dataclass(frozen=True)
class RunsInFloat:
    """What is computed in float in a quantized file, by operator."""

    work: tuple[FloatWork, ...]
    layers: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"layers": len(self.layers), "of": sum(work.total for work in self.work)}
