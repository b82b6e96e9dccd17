"""What running a variant found, made by hand: numbers that a chart or a table has to show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from comparisons_for_tests import compare_lossy

from playground.utils.parameter_inspector import (
    ActivationStatistics,
    Comparison,
    GroupNoise,
    OutputLoss,
    Outputs,
    Quantizer,
    QuantizerKind,
    Recovered,
    SampleKind,
    Split,
)

# The network of comparisons_for_tests: x -> conv -> relu -> r -> abs -> y.
HISTOGRAM = np.bincount(np.arange(256) // 3, minlength=256) * 2


def make_quantizer(index: int, tensor: str, *layers: str, weight: bool = False) -> Quantizer:
    kind = QuantizerKind.WEIGHT if weight else QuantizerKind.ACTIVATION
    scale = None if weight else np.float32(0.5).reshape(())
    zero = None if weight else np.uint8(100).reshape(())
    return Quantizer(index, kind, tensor, layers, "uint8", scale, zero, (0, 255), group=index)


QUANTIZERS = (
    make_quantizer(0, "w", "conv", weight=True),
    make_quantizer(1, "x", "conv"),
    make_quantizer(2, "r", "abs"),
    make_quantizer(3, "y"),
)


def make_statistics(index: int, low: float = -60.0, high: float = 70.0) -> ActivationStatistics:
    """Return those of a scale of 0.5 around code 100: it holds -50 to 77.5."""
    return ActivationStatistics(
        index,
        low=low,
        high=high,
        p999=40.0,
        represented=(-50.0, 77.5),
        clipped_share=0.025,
        clipped_error_share=0.5,
        codes_used_share=0.75,
        zeroed_share=0.1,
        local_db=23.5 + index,
        cumulative_db=19.25,
        histogram=HISTOGRAM,
    )


def make_groups(
    alone: Sequence[float], quantizers: Sequence[Quantizer] = QUANTIZERS
) -> tuple[GroupNoise, ...]:
    """Return the groups with these noises, the largest first."""
    total = sum(alone)
    pairs = zip(quantizers, alone, strict=False)
    groups = [GroupNoise(q.group, (q,), noise, noise / total, 16) for q, noise in pairs]
    return tuple(sorted(groups, key=lambda group: -group.alone))


def make_outputs(alone: Sequence[float] = (0.02, 0.1, 0.05, 0.03), **more: object) -> Outputs:
    """Return the outputs of the four quantizers, or what ``more`` says."""
    known: dict[str, object] = {
        "losses": (OutputLoss("y", np.array([1.0, 4.0]), np.array([10.0, 10.0])),),
        "split": Split(17.0, 7.5, 0.02, 0.18),
        "groups": make_groups(alone),
        "recovered": (Recovered(1, 9.5), Recovered(2, 12.25)),
        "statistics": {index: make_statistics(index) for index in (1, 2, 3)},
        "sqnr_db": 7.0,
        "complete": True,
    }
    return Outputs(QUANTIZERS, (), SampleKind.FILE, 2, **(known | more))  # type: ignore[arg-type]


def compare_measured(**more: object) -> Comparison:
    return compare_lossy().with_outputs({"INT8": make_outputs(**more)})  # type: ignore[arg-type]
