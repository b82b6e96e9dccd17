"""Differences between runs -> numbers: relative noise, agreement, what each output loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..measuring.outputs import CHANNELS_DIFFER, OutputLoss, decibels
from .replies import Differences, LoadedModel


def choose_judged(loaded: LoadedModel, outputs: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs that are real numbers; all that can be compared where none is."""
    real = ("tensor(float)", "tensor(float16)", "tensor(double)")
    known = [port for port in loaded.outputs if port.name in outputs and port.comparable]
    found = tuple(port.name for port in known if port.data_type in real)
    return found or tuple(port.name for port in known)


def agreement_db(found: Mapping[str, Differences]) -> float:
    """Return the SQNR of the output that agrees least; infinite where all are the same."""
    pairs = [(float(one.signal.sum()), float(one.noise.sum())) for one in found.values()]
    return min((decibels(*pair) if pair[1] else np.inf for pair in pairs), default=np.inf)


def relative_noise(found: Mapping[str, Differences]) -> float:
    """Return noise over signal, the mean over the outputs: a small one counts like a large one."""
    pairs = [(float(one.noise.sum()), float(one.signal.sum())) for one in found.values()]
    relative = [noise / signal for noise, signal in pairs if signal > 0]
    return float(np.mean(relative)) if relative else 0.0


def create_losses(
    found: Mapping[str, Differences], exact: Mapping[str, Differences]
) -> tuple[OutputLoss, ...]:
    """Return what each output loses.

    Args:
        exact: the float original against itself, for its accuracy; empty without labels.
    """
    return tuple(_create_loss(name, one, exact.get(name)) for name, one in found.items())


def _create_loss(name: str, found: Differences, exact: Differences | None) -> OutputLoss:
    positions = found.positions * len(found.noise)
    return OutputLoss(
        name,
        found.noise,
        found.signal,
        *_channels(found),
        agreement=_share(found.agreeing, positions),
        accuracy=_share(found.correct, positions),
        float_accuracy=_share(exact.correct, positions) if exact is not None else None,
    )


def _share(counted: np.ndarray | None, positions: int) -> float | None:
    return None if counted is None or not positions else float(counted.sum() / positions)


def _channels(found: Differences) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return noise and signal by channel, where the channels differ much in size."""
    if found.channel_noise is None or found.channel_signal is None:
        return None, None
    noise, signal = found.channel_noise.sum(axis=0), found.channel_signal.sum(axis=0)
    alive = signal[signal > 0]
    if alive.size < 2 or np.sqrt(alive.max() / np.median(alive)) < CHANNELS_DIFFER:
        return None, None
    return noise, signal
