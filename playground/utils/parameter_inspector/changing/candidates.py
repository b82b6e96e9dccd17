"""The schemes that are worth trying for one weight, and what each does to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..sharing import WorkCancelledError
from .requantizing import StoredWeight, requantize
from .scale_groups import check_axis
from .schemes import Scheme, own_axis
from .weight_errors import compute_sqnr_db, lowest_db


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scheme and what it does to a weight, against the current one.

    Attributes:
        gain_db: of the worst channel, over the current scheme.
        byte_ratio: bytes over those of the current scheme.
        stored: the codes, where they were asked for, and while the scheme may still be chosen.
    """

    scheme: Scheme
    sqnr_db: float
    worst_channel_sqnr_db: float
    byte_count: int
    gain_db: float = 0.0
    byte_ratio: float = 1.0
    stored: StoredWeight | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Return ``int8 per-channel symmetric: +14.2 dB, +0.4 %``, the dB of the worst channel."""
        more = 100 * (self.byte_ratio - 1)
        return f"{self.scheme}: {self.gain_db:+.1f} dB, {more:+.1f} %"

    @property
    def badness(self) -> tuple[float, int]:
        """Worst channel, then bytes: the least is best."""
        worst = self.worst_channel_sqnr_db
        return (math.inf if math.isnan(worst) else -worst, self.byte_count)

    def cost(self, current: Scheme) -> tuple[int, bool, bool, float]:
        """Bytes; at equal bytes what changes least, then what is best."""
        return (
            self.byte_count,
            self.scheme.data_type != current.data_type,
            self.scheme.clipping != "min-max",
            -self.worst_channel_sqnr_db,
        )


def list_candidates(
    original: np.ndarray,
    current: Scheme,
    channel_axis: int = 0,
    current_values: np.ndarray | None = None,
    max_bytes: int | None = None,
    scale_type: str = "float32",
    cancelled: Callable[[], bool] | None = None,
    schemes: Sequence[Scheme] | None = None,
    code_bytes: int = 0,
) -> tuple[Candidate, ...]:
    """Return the sensible schemes for a weight, best worst channel first, the current one too.

    Args:
        original: the float weight.
        current_values: those of the file; without them the current scheme is applied anew.
        max_bytes: leave out what takes more.
        schemes: those to try, `sensible_schemes` if not given.
        code_bytes: how much memory the codes may take that are handed on with the candidates: those
            of schemes that some target would choose, all of them or none.

    Raises:
        ValueError: as `requantize`.
        WorkCancelledError: ``cancelled`` said so, between two schemes.
    """
    channel_axis = check_axis(channel_axis, original)
    now = replace(_try(original, current, channel_axis, scale_type), stored=None)
    if current_values is not None:
        tensor, channels = compute_sqnr_db(
            original.astype(np.float32), current_values, channel_axis
        )
        now = replace(now, sqnr_db=tensor, worst_channel_sqnr_db=lowest_db(channels))
    candidates = [now]
    if schemes is None:
        schemes = sensible_schemes(current, original.shape, channel_axis)
    for scheme in schemes:
        if cancelled is not None and cancelled():
            raise WorkCancelledError("stopped between two schemes of a layer")
        if scheme != current:
            tried = _against(_try(original, scheme, channel_axis, scale_type), now)
            candidates = _drop_codes([*candidates, tried], current, code_bytes)
    affordable = [c for c in candidates if max_bytes is None or c.byte_count <= max_bytes]
    return tuple(sorted(affordable, key=lambda candidate: candidate.badness))


def _try(original: np.ndarray, scheme: Scheme, channel_axis: int, scale_type: str) -> Candidate:
    done = requantize(original, scheme, channel_axis, scale_type)
    worst = done.worst_channel_sqnr_db
    return Candidate(scheme, done.sqnr_db, worst, done.byte_count, stored=done.stored)


def _against(candidate: Candidate, now: Candidate) -> Candidate:
    gain = candidate.worst_channel_sqnr_db - now.worst_channel_sqnr_db
    if candidate.worst_channel_sqnr_db == now.worst_channel_sqnr_db:
        gain = 0.0  # both may be infinite
    return replace(
        candidate, gain_db=gain, byte_ratio=candidate.byte_count / max(1, now.byte_count)
    )


def _drop_codes(candidates: list[Candidate], current: Scheme, code_bytes: int) -> list[Candidate]:
    """Leave codes only to schemes that a target can choose, and to none if they take too much."""
    chosen = {c.scheme for c in candidates if not _is_outdone(c, candidates, current)}
    needed = sum(
        c.stored.codes.nbytes for c in candidates if c.stored is not None and c.scheme in chosen
    )
    left = chosen if needed <= code_bytes else set()
    return [c if c.scheme in left else replace(c, stored=None) for c in candidates]


def _is_outdone(candidate: Candidate, others: Iterable[Candidate], current: Scheme) -> bool:
    """Return whether another scheme reaches whatever this one does, and costs less."""
    worst, cost = candidate.worst_channel_sqnr_db, candidate.cost(current)
    return any(
        other.worst_channel_sqnr_db >= worst and other.cost(current) < cost for other in others
    )


def sensible_schemes(
    current: Scheme, shape: tuple[int, ...], channel_axis: int
) -> tuple[Scheme, ...]:
    """Return what is worth trying instead of the current scheme: same width, wider, narrower."""
    same = current.data_type if current.data_type in ("int8", "uint8") else "int8"
    schemes = [
        Scheme(same),
        Scheme(same, symmetric=False),
        Scheme(same, clipping="percentile"),
        Scheme(same, clipping="mse"),
        Scheme("int16"),
    ]
    if len(shape) > 1:
        schemes += [
            Scheme(same, "per-channel"),
            Scheme("int8", "per-channel"),
            Scheme("uint8", "per-channel", symmetric=False),
            Scheme("int8", "per-channel", clipping="mse"),
            Scheme("int4", "per-channel", clipping="mse"),
            Scheme("int16", "per-channel"),
            Scheme("float8e4m3fn", "per-channel"),
            *_schemes_in_blocks(shape, channel_axis),
        ]
    return tuple(dict.fromkeys(schemes))


def _schemes_in_blocks(shape: tuple[int, ...], channel_axis: int) -> list[Scheme]:
    axis = own_axis("per-block", channel_axis, len(shape))
    length = shape[axis] if axis is not None else 0
    return [
        scheme
        for size in (32, 128)
        if length > size
        for scheme in (
            Scheme("int4", "per-block", block_size=size, clipping="mse"),
            Scheme("uint4", "per-block", block_size=size, symmetric=False),
            Scheme("int8", "per-block", block_size=size),
        )
    ]
