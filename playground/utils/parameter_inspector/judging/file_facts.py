"""What the rules about the file find, in names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..facts import Evidence, Grid, Refusal
from .findings import NodesToExclude
from .quantizing_methods import Method


@dataclass(frozen=True)
class TiedWeight:
    """Layers that share a weight: those where it is quantized, those where it is float."""

    quantized_layers: tuple[str, ...]
    float_layers: tuple[str, ...]
    nodes: NodesToExclude

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"quantized": len(self.quantized_layers), "float": len(self.float_layers)}


@dataclass(frozen=True)
class LeftInFloat:
    """Float layers, their share of the file's weights, and that of all of its float layers.

    ``op_types`` are theirs; ``op_types_without`` those that the quantizer has nothing for.
    """

    layers: tuple[str, ...]
    share: float
    share_of_all_float: float
    method: Method
    op_types: tuple[str, ...]
    op_types_without: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "share": self.share,
            "layers": len(self.layers),
            "share_of_all_float": self.share_of_all_float,
        }


@dataclass(frozen=True)
class SnappedWeights:
    """Float weights on a grid; the numbers are those of the first."""

    layers: tuple[str, ...]
    distinct: int
    size: int
    grid: Grid

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"layers": len(self.layers)}


@dataclass(frozen=True)
class NothingQuantized:
    """``name_that_says_so``: of the variant or the model, where it calls the file quantized."""

    weights: int
    name_that_says_so: str | None
    layers_with_quantized_activations: int

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "weights": self.weights,
            "layers_with_quantized_activations": self.layers_with_quantized_activations,
        }


@dataclass(frozen=True)
class LostLayers:
    """Layers of the original, of how many, that this file lacks; ``unmatched``: of its own."""

    layers: tuple[str, ...]
    layer_count: int
    weights: int
    unmatched: int

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"layers": len(self.layers), "weights": self.weights, "unmatched": self.unmatched}


@dataclass(frozen=True)
class OtherValues:
    """A weight that resembles the original's too little; its layer was paired by name or order."""

    paired_with: str
    pairing: Evidence
    cosine: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"cosine": self.cosine}


@dataclass(frozen=True)
class OneFactor:
    """The factor between all channels and those of the original."""

    factor: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"factor": self.factor}


@dataclass(frozen=True)
class StrayedChannels:
    """Channels whose error is more than ``steps`` of the scale."""

    channels: tuple[int, ...]
    judged: int
    steps: float
    rmse_steps: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"channels": len(self.channels), "rmse_steps": self.rmse_steps}


@dataclass(frozen=True)
class NotRead:
    """A parameter that could not be read."""

    refusal: Refusal

    @property
    def numbers(self) -> Mapping[str, float]:
        return {}
