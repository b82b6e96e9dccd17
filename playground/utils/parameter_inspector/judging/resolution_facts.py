"""What the rules about resolution find, in names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .findings import FinerSteps


@dataclass(frozen=True)
class CollapsedChannels:
    """Channels under a limit. ``worst_db`` is of ``worst_channel``, ``sqnr_db`` of the tensor.

    ``silent``: channels of all ``channels`` that are as good as zero in the original and not
    judged. ``ratio``: widest over median channel where one scale serves all, else NaN.
    """

    channel_count: int
    judged: int
    silent: int
    ratio: float
    dead: int
    limit_db: float
    worst_channel: int
    worst_db: float
    sqnr_db: float
    remedy: FinerSteps

    @property
    def share(self) -> float:
        return self.channel_count / self.judged

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "channels": self.channel_count,
            "share": self.share,
            "dead": self.dead,
            "worst_db": self.worst_db,
        }


@dataclass(frozen=True)
class ChannelsNearZero:
    """Channels of ``alive`` ones that stay within ``steps`` of zero, by the codes alone."""

    channels: tuple[int, ...]
    alive: int
    steps: int
    highest_code: int
    remedy: FinerSteps

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"channels": len(self.channels), "share": len(self.channels) / self.alive}


@dataclass(frozen=True)
class RangeDisparity:
    """The widest channel over the median one."""

    ratio: float
    bits: float
    op_type: str
    is_depthwise: bool
    remedy: FinerSteps

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"ratio": self.ratio}


@dataclass(frozen=True)
class UnusedRange:
    """``reach``: the largest weight over the largest value that the scale can hold."""

    reach: float
    bits: float
    channels: tuple[int, ...]
    judged: int
    has_one_scale: bool

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"reach": self.reach, "channels": len(self.channels)}


@dataclass(frozen=True)
class RangeOfOutliers:
    """``gain_db``: what clipping the few widest weights would win."""

    gain_db: float
    sqnr_db: float
    remedy: FinerSteps

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"gain_db": self.gain_db}


@dataclass(frozen=True)
class ClippedChannels:
    """``gain_db``: what a scale that holds all weights would win."""

    channels: tuple[int, ...]
    judged: int
    share_of_error: float
    gain_db: float
    saturation_share: float

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "channels": len(self.channels),
            "share_of_error": self.share_of_error,
            "gain_db": self.gain_db,
        }


@dataclass(frozen=True)
class SaturatedCodes:
    """Codes at the lowest or highest, of how many; ``usual_share`` of as many scales."""

    at_rails: int
    codes: int
    usual_share: float
    scales: int

    @property
    def share(self) -> float:
        return self.at_rails / self.codes

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"share": self.share, "usual": self.usual_share}


@dataclass(frozen=True)
class UnusedCodes:
    """How many codes occur, how many as many weights could use, how many there are.

    ``spacing``: the codes in use are multiples of it apart; above 1 they are of a coarser grid.
    """

    used: int
    possible: float
    codes: float
    spacing: int

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"used": self.used, "possible": self.possible}
