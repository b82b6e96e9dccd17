"""What the rules about parameters find, in names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..facts import Refusal
from .findings import KeptInFloat


@dataclass(frozen=True)
class ParameterName:
    """A quantized tensor of a layer: its slot, or ``activation``, and the tensor's name."""

    kind: str
    tensor: str


@dataclass(frozen=True)
class BadScales:
    """``counts``: how many scales are zero, negative, NaN or infinite; at which indices."""

    parameter: ParameterName
    counts: Mapping[str, int]
    indices: tuple[int, ...]
    scales: int

    @property
    def numbers(self) -> Mapping[str, float]:
        return {**self.counts, "scales": self.scales}


@dataclass(frozen=True)
class ZeroPointOutside:
    """Zero-points outside the codes: their different values, how many there are, of how many."""

    parameter: ParameterName
    values: tuple[int, ...]
    count: int
    zero_points: int
    code_limits: tuple[float, float]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"zero_points": self.count}


@dataclass(frozen=True)
class ZeroPointRefused:
    """A zero-point of another type than the codes, which the file cannot mean."""

    refusal: Refusal

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"zero_points": 1}


@dataclass(frozen=True)
class BiasScaleOff:
    """The bias' scale over input scale times weight scale, where it is farthest from 1."""

    worst_ratio: float
    worst_channel: int
    channels_off: int
    channels: int
    zero_points: int

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"worst_ratio": self.worst_ratio, "zero_points": self.zero_points}


@dataclass(frozen=True)
class BiasOverflow:
    """The share of the bias that int32 does not hold. Stored so, or so once it is quantized."""

    share: float
    count: int
    channels: int
    is_stored: bool
    weight_bits: float
    kept_in_float: KeptInFloat

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"share": self.share, "channels": self.count}


@dataclass(frozen=True)
class WrongAxis:
    """``axis`` is where the scales run, ``channel_axis`` where the output channels are."""

    scales: int
    axis: int | None
    shape: tuple[int, ...]
    op_type: str
    channel_axis: int | None

    @property
    def numbers(self) -> Mapping[str, float]:
        return {}


@dataclass(frozen=True)
class WrongAxisRefused:
    """Scales that do not fit the axis the file says, but that of the operator's channels."""

    refusal: Refusal

    @property
    def numbers(self) -> Mapping[str, float]:
        return {}


@dataclass(frozen=True)
class SaturatingProducts:
    """Layers whose sums of two products can saturate; the worst, and its share of such codes."""

    layers: int
    worst_layer: str
    worst_share: float
    code_limits: tuple[int, int]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"layers": self.layers, "share": self.worst_share}
