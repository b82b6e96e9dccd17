"""Numbers as JSON has them: an unknown one is null, an infinite one a string."""

from __future__ import annotations

import math
from collections.abc import Mapping


def json_numbers(numbers: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: json_number(float(number)) for name, number in numbers.items()}


def json_number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")
