"""A trial and the options of a plan, small enough to check by eye."""

from __future__ import annotations

import math

import numpy as np

from playground.utils.parameter_inspector import Quantizer, QuantizerKind
from playground.utils.parameter_inspector.changing.candidates import Candidate
from playground.utils.parameter_inspector.changing.layer_options import LayerOptions
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trials import Outcome, Trial

HOSTILE = r"<script>1</script> block$\foo$_1"
CURRENT = Outcome(Scheme("uint8"), 39.24, np.array([0.0, 52.5, math.nan]), 293, np.array([1, 8, 3]))


PROPOSED = Outcome(
    Scheme("int8", "per-channel"), 46.6, np.array([44.04, math.inf, 47.5]), 448, np.array([4, 6, 2])
)


TRIAL = Trial(np.array([-1.0, 0.0, 1.0, 2.0]), np.array([3, 5, 4]), CURRENT, PROPOSED, None)


def weight_quantizer(row: str) -> Quantizer:
    return Quantizer(0, QuantizerKind.WEIGHT, f"{row}.weight", (row,), "int8")


def layer(row: str, *candidates: Candidate, current: Candidate) -> LayerOptions:
    return LayerOptions(row, weight_quantizer(row), f"{row}.weight", (4, 3), 0, current, candidates)


def candidate(worst: float, size: int, gain: float = 0.0, **scheme: object) -> Candidate:
    made = Scheme(**scheme)  # type: ignore[arg-type]
    return Candidate(made, worst + 3, worst, size, gain)


BAD = layer(
    "bad",
    candidate(30.0, 150, 29.0, granularity="per-channel"),
    candidate(60.0, 200, 59.0, data_type="int16"),
    current=candidate(1.0, 100),
)


FINE = layer(
    HOSTILE,
    candidate(25.0, 600, -20.0, data_type="int4"),
    current=candidate(45.0, 1000),
)


OPTIONS = (BAD, FINE)
