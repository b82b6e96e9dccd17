"""The whole network at a glance: what each layer of each variant loses, and the pages of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..parameter_inspector import Comparison, LayerRanges
from .ranking import WORST_FIRST, RankedLayer, fold_constants, list_judged
from .ranking_columns import WEIGHT_ERROR, relative_error

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LayerDamage:
    """What one layer loses in each variant, between 0 and 1; NaN where that is not known."""

    layer: str
    by_variant: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Damage:
    """What each layer of each judged variant loses, in graph order.

    Attributes:
        is_measured: the numbers are shares of the noise at the output; else the errors of the
            worst channel of each weight.
    """

    variants: tuple[str, ...]
    layers: tuple[LayerDamage, ...]
    is_measured: bool

    @property
    def is_known(self) -> bool:
        """Whether there is a number at all: without a float original there is none."""
        numbers = [number for one in self.layers for number in one.by_variant.values()]
        return not all(map(math.isnan, numbers))

    @property
    def what(self) -> str:
        """What the numbers are."""
        return "share of the noise" if self.is_measured else WEIGHT_ERROR


def list_damage(ranked: Sequence[RankedLayer], comparison: Comparison) -> Damage:
    """Return the damage of the layers of some rows of the ranking.

    Shares as soon as one variant was run: the others have no numbers until they are.
    """
    is_measured = any(one.run is not None for one in ranked)
    found = {(one.layer_name, one.variant): _lose(one, is_measured) for one in ranked}
    names = {one.layer_name for one in ranked}
    variants = tuple(list_judged(comparison))
    ordered = [layer.name for layer in comparison.layers() if layer.name in names]
    return Damage(
        variants,
        tuple(
            LayerDamage(name, {v: found.get((name, v), math.nan) for v in variants})
            for name in ordered
        ),
        is_measured,
    )


def _lose(one: RankedLayer, is_measured: bool) -> float:
    if is_measured:
        return one.run.share if one.run is not None else math.nan
    return relative_error(one.metric(WORST_FIRST))


ROWS_OF_A_PAGE = 500


def list_pages(ranges: Sequence[object]) -> dict[str, int]:
    """Return label -> the first row of each page of the heatmap; at least one page."""
    starts = range(0, max(1, len(ranges)), ROWS_OF_A_PAGE)
    ends = [min(start + ROWS_OF_A_PAGE, len(ranges)) for start in starts]
    return {
        f"{start + 1} to {end} of {len(ranges)}": start
        for start, end in zip(starts, ends, strict=True)
    }


def select_page(ranges: Sequence[T], start: int) -> Sequence[T]:
    """Return the rows of the page that begins at ``start``."""
    return ranges[start : start + ROWS_OF_A_PAGE]


def list_ranges(ranked: Sequence[RankedLayer], comparison: Comparison) -> list[LayerRanges]:
    """Return the ranges of the weights, without what `fold_constants` folds away."""
    folded = {one.layer_name for one in fold_constants(ranked)[1]}
    unfolded = {one.layer_name for one in fold_constants(ranked)[0]}
    return [one for one in comparison.ranges if one.layer in unfolded or one.layer not in folded]
