"""What a build has to keep, as its team decided: a gate, and the findings where it is missed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..measuring.comparison import Comparison
from ..measuring.outputs import OutputLoss, Outputs
from .findings import Finding
from .measured_facts import MeasuredOn, UnderMinimum
from .scores import may_put_out_scores

UNDER_MINIMUM = "under-minimum"


@dataclass(frozen=True)
class Thresholds:
    """The least that every output of every variant has to keep; None for what is not asked.

    Attributes:
        sqnr_db: against the float original.
        agreement: share of the samples whose highest score is the original's.
        accuracy: share of the samples whose highest score is the label.
    """

    sqnr_db: float | None = None
    agreement: float | None = None
    accuracy: float | None = None

    def __post_init__(self) -> None:
        for share in (self.agreement, self.accuracy):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"a share goes from 0 to 1, not {share}")
        if self.sqnr_db is not None and not math.isfinite(self.sqnr_db):
            raise ValueError(f"decibels have to be a number, not {self.sqnr_db}")

    @property
    def asked(self) -> Mapping[str, float]:
        """By the name of the attribute of `OutputLoss`."""
        both = {"sqnr_db": self.sqnr_db, "agreement": self.agreement, "accuracy": self.accuracy}
        return {name: least for name, least in both.items() if least is not None}


class NothingToCompareError(ValueError):
    """A threshold asks for what no output has."""


def find_missed(comparison: Comparison, thresholds: Thresholds) -> Iterator[Finding]:
    """Yield an error for each output of a measured variant that is under a threshold.

    Raises:
        NothingToCompareError: no output has what a threshold asks for.
    """
    for variant, outputs in comparison.outputs.items():
        for name, least in thresholds.asked.items():
            for loss, found in _list_found(comparison, outputs, name):
                # A number that is not one is under every threshold.
                if not found >= least:
                    facts = _create_facts(name, least, found, loss, outputs)
                    yield Finding(UNDER_MINIMUM, "error", variant, "", facts)


def _list_found(
    comparison: Comparison, outputs: Outputs, name: str
) -> list[tuple[OutputLoss, float]]:
    found = [(loss, getattr(loss, name)) for loss in outputs.losses]
    known = [(loss, value) for loss, value in found if value is not None]
    if name == "sqnr_db":
        # Where both put out nothing but zeros there is nothing to keep.
        known = [one for one in known if one[0].signal.any() or one[0].noise.any()]
    if name == "agreement":
        model = comparison.naming_model
        known = [one for one in known if may_put_out_scores(model, one[0].name)] or known
    if not known:
        raise NothingToCompareError(_WHY_NOTHING[name])
    return known


_WHY_NOTHING = {
    "sqnr_db": "no output of the float original differs from zero on these samples",
    "agreement": "no output has scores whose highest could be compared",
    "accuracy": "the samples have no labels that fit an output",
}


def _create_facts(
    name: str, least: float, found: float, loss: OutputLoss, outputs: Outputs
) -> UnderMinimum:
    worst = loss.worst_sample
    return UnderMinimum(
        name,
        least,
        found,
        loss.name,
        MeasuredOn(outputs.sample_kind, outputs.sample_count),
        worst,
        math.nan if worst is None else float(loss.sample_sqnr_db[worst]),
    )
