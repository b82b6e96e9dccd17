"""A measured plan made by hand, for what shows one: three moves in two steps, two named plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from playground.utils.parameter_inspector import (
    ActivationScheme,
    Cost,
    Level,
    MeasuredPlan,
    Move,
    MoveKind,
    PlanEnd,
    PlanName,
    PlanStep,
    Quantizer,
    QuantizerKind,
    Sides,
)

HOSTILE = "<img src=x onerror=alert(1)>"


def level(db: float, accuracy: float | None = None) -> Level:
    return Level(db, 10 ** (-db / 10), agreement=0.75, accuracy=accuracy)


def quantizer(index: int, tensor: str, kind=QuantizerKind.ACTIVATION) -> Quantizer:
    is_weight = kind is QuantizerKind.WEIGHT
    scale = None if is_weight else np.float32(0.1)
    return Quantizer(index, kind, tensor, (f"layer{index}",), "int8", scale, np.int8(0))


WIDE = ActivationScheme("int16", 0.001, 0)
FIRST = Move(MoveKind.WIDEN, (quantizer(0, "a"), quantizer(1, "b")), activation=WIDE)
WEIGHT = Move(MoveKind.FREE, (quantizer(2, "w", QuantizerKind.WEIGHT),), added_bytes=300)
THIRD = Move(MoveKind.WIDEN, (quantizer(3, HOSTILE),), activation=WIDE)

STEPS = (
    PlanStep((FIRST,), level(15.0), Cost.of((FIRST,))),
    PlanStep((WEIGHT, THIRD), level(31.0), Cost.of((FIRST, WEIGHT, THIRD))),
)
PLAN = MeasuredPlan(
    PlanName.MEASURED,
    level(7.5),
    level(31.0),
    STEPS,
    held_back_before=level(7.6),
    held_back_after=level(29.2),
    sides_before=Sides(20.0, 8.0),
    sides_after=Sides(32.0, 30.0),
    everything=level(28.0),
    end=PlanEnd.NOTHING_HELPS,
    deciding=(0, 2, 4, 6, 8),
    judging=(1, 3, 5, 7),
)
WIDENED = replace(
    PLAN,
    name=PlanName.SIXTEEN_BITS,
    after=level(22.0),
    steps=(PlanStep((FIRST, THIRD), level(22.0), Cost.of((FIRST, THIRD))),),
    held_back_after=level(21.0),
)
CHANNELS = replace(
    WIDENED,
    name=PlanName.PER_CHANNEL,
    after=level(9.0),
    steps=(PlanStep((WEIGHT,), level(9.0), Cost.of((WEIGHT,))),),
)
PLANS = (PLAN, WIDENED, CHANNELS)
