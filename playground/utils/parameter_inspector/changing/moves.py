"""What a plan may do to a quantizer: one move each, in the words of the file.

A move names the quantizers of one group (or one weight) as they are numbered where they were
placed; placing the same two models again numbers them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..facts import QuantizerKind
from ..measuring.outputs import Quantizer
from ..quantization import code_limits
from .schemes import Scheme


class MoveKind(Enum):
    """What becomes of a quantizer."""

    RANGE = "another range"
    SIGN = "the other signedness"
    WIDEN = "16 bits"
    FREE = "float"
    REQUANTIZE = "another scheme"
    EQUALIZE = "equalized"
    CORRECT_BIAS = "corrected bias"


class RangeRule(Enum):
    """How the range of an activation was found on the samples."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    LEAST_SQUARES = "least squared error"


@dataclass(frozen=True, eq=False)
class ActivationScheme:
    """How an activation is quantized, per tensor.

    Attributes:
        data_type: of the codes: int8, uint8, int16 or uint16.
        scale: above zero; float32.
    """

    data_type: str
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        low, high = code_limits(self.data_type)
        if not (np.isfinite(self.scale) and self.scale > 0 and low <= self.zero_point <= high):
            raise ValueError(f"no activation has scale {self.scale}, zero-point {self.zero_point}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value that it can hold."""
        low, high = code_limits(self.data_type)
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


@dataclass(frozen=True, eq=False)
class Move:
    """One change to the quantizers of a group, or to one weight.

    Attributes:
        quantizers: all of the group, or the one weight.
        activation: of RANGE, SIGN and WIDEN; the same for all of the group but for the factor that
            a constant between them has (`grouping`).
        rule, percentile: how its range was found; the percentile in percent.
        weight: of REQUANTIZE; FREE leaves a weight in float, with its bias.
        bias: of CORRECT_BIAS: float32, of the layer's output channels, in place of the bias.
        factors: of EQUALIZE: what each channel between the two layers is divided by; the
            quantizers are the first weight, the activations between, and the second weight.
        added_bytes: to the file.
    """

    kind: MoveKind
    quantizers: tuple[Quantizer, ...]
    activation: ActivationScheme | None = None
    rule: RangeRule | None = None
    percentile: float | None = None
    weight: Scheme | None = None
    bias: np.ndarray | None = None
    factors: np.ndarray | None = None
    added_bytes: int = 0

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(quantizer.index for quantizer in self.quantizers)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that its quantizers serve, as the original names them."""
        return tuple(dict.fromkeys(name for one in self.quantizers for name in one.layers))

    @property
    def is_weight(self) -> bool:
        return self.quantizers[0].kind is QuantizerKind.WEIGHT


def merge_moves(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Return the moves that are left where later ones replace earlier ones of the same quantizers.

    A corrected bias stands beside whatever else becomes of its weight, but for float.
    """
    last: dict[tuple[bool, tuple[int, ...]], Move] = {}
    for move in moves:
        key = (move.kind is MoveKind.CORRECT_BIAS, move.indices)
        last.pop(key, None)
        last[key] = move
    return tuple(_without_lost_biases(last.values()))


def _without_lost_biases(moves: Iterable[Move]) -> Iterator[Move]:
    moves = tuple(moves)
    freed = {move.indices for move in moves if move.kind is MoveKind.FREE}
    for move in moves:
        if move.kind is not MoveKind.CORRECT_BIAS or move.indices not in freed:
            yield move
