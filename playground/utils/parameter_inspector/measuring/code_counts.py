"""How often each code of a weight occurs, and how many sit at the rails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..quantization import code_limits
from .metrics import MeasuredWeight, code_rails


@dataclass(frozen=True, eq=False)
class CodeCounts:
    """How often each code of a weight occurs.

    Attributes:
        first: the data type's lowest code; ``counts[i]`` is of code ``first + i``.
        rails: the lowest and the highest code that the scheme uses.
    """

    first: int
    counts: np.ndarray
    rails: tuple[int, int]

    @classmethod
    def of(cls, measured: MeasuredWeight) -> CodeCounts | None:
        """Return the counts, None for floats and for types of more than 16 bits."""
        counts, quantization = measured.sums.code_counts, measured.quantization
        if counts is None or quantization is None:
            return None
        first = int(code_limits(quantization.data_type)[0])
        low, high = code_rails(counts, quantization)
        return cls(first, counts, (low + first, high + first))

    @property
    def used(self) -> int:
        return int(np.count_nonzero(self.counts))

    @property
    def at_rails(self) -> tuple[int, int]:
        low, high = self.rails
        return int(self.counts[low - self.first]), int(self.counts[high - self.first])

    @property
    def rails_share(self) -> float:
        return sum(self.at_rails) / max(1, int(self.counts.sum()))


def count_codes(measured: Mapping[str, MeasuredWeight]) -> dict[str, CodeCounts]:
    """Return the code counts of each variant that has integer codes."""
    counts = {name: CodeCounts.of(weight) for name, weight in measured.items()}
    return {name: counted for name, counted in counts.items() if counted is not None}
