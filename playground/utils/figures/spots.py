"""What is under the pointer: places of a picture, each with the numbers that are drawn there.

Charts make them from the numbers they draw; `markup` lays them over the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

MOST_SPOTS = 200
"""Of one picture. A bar of so many is a few pixels wide; more only make the page heavy."""


@dataclass(frozen=True)
class Spot:
    """A place, in fractions of the picture from its upper left corner, and what stands there.

    Attributes:
        text: plain text; its lines are kept.
    """

    left: float
    top: float
    width: float
    height: float
    text: str

    def holds(self, x: float, y: float) -> bool:
        """Whether a point of the picture is within."""
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height


def share_spots(most: int, panels: int) -> int:
    """Return how many spots each of some panels may have."""
    return max(1, most // max(1, panels))


def join_neighbours(count: int, most: int) -> list[range]:
    """Return what each spot stands for: runs of neighbours, at most so many, all but the last
    of one length."""
    length = max(1, math.ceil(count / max(1, most)))
    return [range(start, min(start + length, count)) for start in range(0, count, length)]


def point_at_columns(
    axes: Sequence[Axes], ends: Sequence[tuple[float, float]], texts: Sequence[str]
) -> list[Spot]:
    """Return a spot as high as the Axes, which stand one above the other, for each column.

    Args:
        axes: their limits have to be final.
        ends: left and right of each column in data units; what is outside the limits is cut.
    """
    low, high = sorted(axes[0].get_xlim())
    top, bottom = _vertical(axes)
    spots = []
    for (start, end), text in zip(ends, texts, strict=True):
        start, end = max(start, low), min(end, high)
        if start < end:
            left, right = (_to_picture(axes[0], x, None) for x in (start, end))
            spots.append(Spot(left, top, right - left, bottom - top, text))
    return spots


def point_at_bins(
    ax: Axes, edges: np.ndarray, counts: np.ndarray, most: int, say: Callable[[range], str]
) -> list[Spot]:
    """Return a spot for each bin, or for some bins together; neighbours without a count are one.

    Args:
        say: what stands in a run of bins.
    """
    runs = _join_empty(join_neighbours(counts.size, most), counts)
    ends = [(float(edges[run.start]), float(edges[run.stop])) for run in runs]
    return point_at_columns([ax], ends, [say(run) for run in runs])


def _join_empty(runs: Sequence[range], counts: np.ndarray) -> list[range]:
    joined: list[range] = []
    for run in runs:
        is_empty = not counts[run.start : run.stop].any()
        if is_empty and joined and not counts[joined[-1].start : joined[-1].stop].any():
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    return joined


def point_at_rows(
    count: int, top: float, height: float, say: Callable[[range], str], most: int = MOST_SPOTS
) -> list[Spot]:
    """Return a spot as wide as the picture for each row, or for some rows together.

    Args:
        top: of the first row.
        height: of one row.
    """
    return [
        Spot(0.0, top + run.start * height, 1.0, len(run) * height, say(run))
        for run in join_neighbours(count, most)
    ]


def find_corner(ax: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the data lies in the picture."""
    return _to_picture(ax, x, None), _to_picture(ax, None, y)


def _vertical(axes: Sequence[Axes]) -> tuple[float, float]:
    boxes = [ax.get_position() for ax in axes]
    return 1 - float(max(box.y1 for box in boxes)), 1 - float(min(box.y0 for box in boxes))


def _to_picture(ax: Axes, x: float | None, y: float | None) -> float:
    """Return one coordinate of the data as a fraction of the picture, from the upper left."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    at = (
        x if x is not None else ax.get_xlim()[0],
        y if y is not None else ax.get_ylim()[0],
    )
    across, up = map(float, figure.transFigure.inverted().transform(ax.transData.transform(at)))
    return across if x is not None else 1 - up
