"""The schemes that are worth trying for one weight, and what each does to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..sharing import WorkCancelledError
from .counted_bias import CountedBias
from .requantizing import requantize
from .scale_fitting import ScaleRangeError
from .scale_groups import check_axis
from .schemes import Scheme, own_axis
from .weight_errors import compute_sqnr_db, lowest_db


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scheme and what it does to a weight, against the current one.

    Attributes:
        gain_db: of the worst channel, over the current scheme.
        byte_ratio: bytes over those of the current scheme.
        raised: how many scales are wider than the weights need, so that the bias fits into int32.
        raising_cost_db: what that takes from the worst channel.
    """

    scheme: Scheme
    sqnr_db: float
    worst_channel_sqnr_db: float
    byte_count: int
    gain_db: float = 0.0
    byte_ratio: float = 1.0
    raised: int = 0
    raising_cost_db: float = 0.0

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
    bias: CountedBias | None = None,
) -> tuple[Candidate, ...]:
    """Return the sensible schemes for a weight, best worst channel first, the current one too.

    A scheme whose scale cannot say the range of the weight is none of them.

    Args:
        original: the float weight.
        current_values: those of the file; without them the current scheme is applied anew.
        max_bytes: leave out what takes more.
        schemes: those to try, `sensible_schemes` if not given.
        bias: that is counted in the scales.

    Raises:
        ValueError: as `requantize`, of the current scheme.
        WorkCancelledError: ``cancelled`` said so, between two schemes.
    """
    channel_axis = check_axis(channel_axis, original)
    now = _measure_current(original, current, channel_axis, current_values, scale_type)
    candidates = [now]
    if schemes is None:
        schemes = sensible_schemes(current, original.shape, channel_axis)
    for scheme in schemes:
        if cancelled is not None and cancelled():
            raise WorkCancelledError("stopped between two schemes of a layer")
        if scheme != current:
            tried = _try(original, scheme, channel_axis, scale_type, bias)
            if tried is not None:
                candidates.append(_against(tried, now))
    affordable = [c for c in candidates if max_bytes is None or c.byte_count <= max_bytes]
    return tuple(sorted(affordable, key=lambda candidate: candidate.badness))


def _measure_current(
    original: np.ndarray,
    current: Scheme,
    channel_axis: int,
    values: np.ndarray | None,
    scale_type: str,
) -> Candidate:
    """Return the current scheme, with ``values`` where the file has them."""
    done = requantize(original, current, channel_axis, scale_type)
    tensor, worst = done.sqnr_db, done.worst_channel_sqnr_db
    if values is not None:
        tensor, channels = compute_sqnr_db(original.astype(np.float32), values, channel_axis)
        worst = lowest_db(channels)
    return Candidate(current, tensor, worst, done.byte_count)


def _try(
    original: np.ndarray,
    scheme: Scheme,
    channel_axis: int,
    scale_type: str,
    bias: CountedBias | None,
) -> Candidate | None:
    try:
        done = requantize(original, scheme, channel_axis, scale_type, bias)
    except ScaleRangeError:
        return None
    worst = done.worst_channel_sqnr_db
    cost = 0.0
    if done.raised:
        unraised = requantize(original, scheme, channel_axis, scale_type).worst_channel_sqnr_db
        cost = max(0.0, unraised - worst) if unraised != worst else 0.0
    return Candidate(
        scheme,
        done.sqnr_db,
        worst,
        done.byte_count,
        raised=done.raised,
        raising_cost_db=cost,
    )


def _against(candidate: Candidate, now: Candidate) -> Candidate:
    gain = candidate.worst_channel_sqnr_db - now.worst_channel_sqnr_db
    if candidate.worst_channel_sqnr_db == now.worst_channel_sqnr_db:
        gain = 0.0  # both may be infinite
    return replace(
        candidate, gain_db=gain, byte_ratio=candidate.byte_count / max(1, now.byte_count)
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
