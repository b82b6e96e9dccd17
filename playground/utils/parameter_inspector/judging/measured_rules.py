"""Rules about what running a variant found: an output that is lost, and why a quantizer costs it.

They say nothing of a variant that was not measured, and no cause where the output is well. A sign
alone is no finding: the quantizer has to cost something, and its share is the evidence.

Source of the limits: which signs were costly, on 22 builds of 14 networks with 2,390 quantizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..facts import SampleKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import OutputLoss, Outputs, Quantizer
from ..records import Layer
from ..sharing import SharedCache
from .findings import SEVERITIES, Facts, Finding
from .measured_facts import (
    ClippedActivation,
    MaskRange,
    Outliers,
    OutputLost,
    PoolingScale,
    SmallValuesLost,
    SquareQuantized,
)
from .scores import may_put_out_scores, puts_out_scores
from .tried import Suspect, Trial

USELESS_DB, DOUBTFUL_DB, GOOD_DB = 10.0, 20.0, 30.0
ACCURACY_POINTS = 0.05
FEWEST_SAMPLES_LOST = 2
COSTLY_SHARE = 0.03
MASK_RANGE = 1e30
OUTLIER_RATIO = 20.0
CLIPPED_ERROR, ZEROED = 0.5, 0.2
POOR_DB = 25.0
FEW_CODES = 0.25

_POOLINGS = frozenset(("AveragePool", "GlobalAveragePool", "LpPool", "GlobalLpPool", "ReduceMean"))
_ROOTS, _SQUARES = frozenset(("Sqrt",)), frozenset(("Pow",))
_DIVISORS = {"Div": 1, "Reciprocal": 0}


# ------------------------------------------------- the output


def find_output_lost(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """An output under 10 dB, or accuracy that falls by more than 5 points: an error; under 20 dB: a
    warning. Synthetic inputs do not tell the level: a note.
    """
    outputs = comparison.outputs.get(variant)
    if outputs is None:
        return
    lost = [
        (loss, severity)
        for loss in outputs.losses
        if (severity := judge(loss, outputs, comparison))
    ]
    # The worst one alone: the others have the same causes.
    for loss, severity in sorted(
        lost, key=lambda pair: (SEVERITIES.index(pair[1]), _level(pair[0]))
    )[:1]:
        facts = _describe_lost(loss, Trial(comparison, outputs))
        yield Finding("output-lost", severity, variant, "", facts)


def judge(loss: OutputLoss, outputs: Outputs, comparison: Comparison) -> str:
    """Return how bad it is about an output: a severity, or nothing."""
    if outputs.sample_kind is SampleKind.SYNTHETIC:
        return "note" if _level(loss) < DOUBTFUL_DB else ""
    fall = score_fall(loss, comparison)
    # One sample of few is more than 5 points, and no evidence.
    is_sure = fall * outputs.sample_count >= FEWEST_SAMPLES_LOST - 1e-6
    if _level(loss) < USELESS_DB or (fall > ACCURACY_POINTS + 1e-6 and is_sure):
        return "error"
    return "warning" if _level(loss) < DOUBTFUL_DB else ""


def _level(loss: OutputLoss) -> float:
    """Return the SQNR; infinite where there is nothing to compare."""
    return math.inf if math.isnan(loss.sqnr_db) else loss.sqnr_db


def score_fall(loss: OutputLoss, comparison: Comparison) -> float:
    """Return what share of the answers became worse: by labels, else other than float's.

    0 where an output gives no answers.
    """
    if loss.accuracy is not None and loss.float_accuracy is not None:
        return loss.float_accuracy - loss.accuracy
    if loss.agreement is None or not puts_out_scores(comparison.naming_model, loss.name):
        return 0.0
    return 1 - loss.agreement


def _describe_lost(loss: OutputLoss, trial: Trial) -> OutputLost:
    levels, split, worst = loss.sample_sqnr_db, trial.outputs.split, loss.worst_sample
    has_original = trial.comparison.original is not None
    return OutputLost(
        loss.name,
        len(trial.outputs.losses),
        trial.measured_on,
        loss.sqnr_db,
        worst,
        float(levels[worst]) if worst is not None else math.nan,
        loss.accuracy,
        loss.float_accuracy,
        loss.agreement,
        may_put_out_scores(trial.comparison.naming_model, loss.name),
        trial.curve,
        split.weights_db if split is not None else None,
        split.activations_db if split is not None and has_original else None,
        split.activations_share if split is not None else None,
    )


# ------------------------------------------------- why a quantizer costs it


def find_costly(comparison: Comparison, variant: str, rule: str) -> Iterator[Finding]:
    """Yield the findings of one rule: a costly activation has one cause, the first that fits."""
    outputs = comparison.outputs.get(variant)
    if outputs is None or not outputs.losses:
        return
    judged = {judge(loss, outputs, comparison) for loss in outputs.losses}
    if judged == {""} and min(map(_level, outputs.losses)) >= GOOD_DB:
        return
    severity = "warning" if judged & {"error", "warning"} else "note"
    causes = _causes.get((comparison, variant), lambda: tuple(_find_causes(comparison, outputs)))
    for cause in causes:
        if cause.rule == rule:
            yield Finding(rule, severity, variant, cause.layer_name, cause.facts)


@dataclass(frozen=True, eq=False)
class Cause:
    """Why a quantizer is costly: the rule that says so, of which layer, and its facts."""

    rule: str
    layer_name: str
    facts: Facts


_causes: SharedCache[tuple[Cause, ...]] = SharedCache(size=16)


def _find_causes(comparison: Comparison, outputs: Outputs) -> Iterator[Cause]:
    """Yield one cause of each costly group that has a sign."""
    for suspects in Trial(comparison, outputs).list_suspects(COSTLY_SHARE):
        signs = ((rule, one, find(one)) for rule, find in _SIGNS.items() for one in suspects)
        for rule, suspect, facts in signs:
            if facts is not None:
                yield Cause(rule, _place(suspect), facts)
                break


def _place(suspect: Suspect) -> str:
    """Return the layer that a finding is about: the one that makes the tensor, else reads it."""
    if suspect.maker is not None:
        return suspect.maker.name
    return next(iter(suspect.quantizer.layers), "")


# ------------------------------------------------- the signs, the surest first


def _find_mask(one: Suspect) -> Facts | None:
    if max(abs(one.seen.low), abs(one.seen.high)) < MASK_RANGE:
        return None
    return MaskRange(one.cost, one.seen.low, one.seen.high)


def _find_square(one: Suspect) -> Facts | None:
    divided = any(_DIVISORS.get(layer.op_type) == at for layer, at in one.readers)
    op_type = next(_list_squares(one), "")
    loses_divisors = divided and one.seen.zeroed_share > 0
    if not op_type and not loses_divisors:
        return None
    return SquareQuantized(one.cost, op_type or "Div", one.seen.zeroed_share, loses_divisors)


def _list_squares(one: Suspect) -> Iterator[str]:
    """Yield the operators that square or take a root right before or behind a tensor."""
    if one.maker is not None and (_is_square(one.maker) or one.maker.op_type in _ROOTS):
        yield one.maker.op_type
    yield from (layer.op_type for layer, _ in one.readers if layer.op_type in _ROOTS)


def _is_square(layer: Layer) -> bool:
    """Whether a layer is a power, or a product of a tensor with itself."""
    names = layer.input_names
    return layer.op_type in _SQUARES or (
        layer.op_type == "Mul" and len(names) == 2 and names[0] == names[1]
    )


def _find_pooling(one: Suspect) -> Facts | None:
    used, maker = one.seen.codes_used_share, one.maker
    if maker is None or maker.op_type not in _POOLINGS or used is None or used > FEW_CODES:
        return None
    before = (q for q in one.outputs.quantizers if q.tensor in maker.input_names[:1])
    if not any(_have_same_scale(one.quantizer, other) for other in before):
        return None
    return PoolingScale(one.cost, maker.op_type, used)


def _have_same_scale(one: Quantizer, other: Quantizer) -> bool:
    if one.scale is None or other.scale is None or one.scale.shape != other.scale.shape:
        return False
    return bool(np.array_equal(one.scale, other.scale))


def _find_outliers(one: Suspect) -> Facts | None:
    ratio, p999 = one.seen.outlier_ratio, one.seen.p999
    if ratio is None or p999 is None or not ratio >= OUTLIER_RATIO:
        return None
    return Outliers(one.cost, ratio * p999, p999)


def _find_clipping(one: Suspect) -> Facts | None:
    seen = one.seen
    if not (seen.clipped_error_share >= CLIPPED_ERROR and seen.local_db < POOR_DB):
        return None
    observed = (seen.low, seen.high)
    return ClippedActivation(
        one.cost, seen.clipped_share, seen.clipped_error_share, observed, seen.represented
    )


def _find_small_values(one: Suspect) -> Facts | None:
    if not (one.seen.zeroed_share > ZEROED and one.seen.local_db < POOR_DB):
        return None
    return SmallValuesLost(one.cost, one.seen.zeroed_share)


_SIGNS: dict[str, Callable[[Suspect], Facts | None]] = {
    "activation-mask": _find_mask,
    "activation-square": _find_square,
    "activation-pooling": _find_pooling,
    "activation-outliers": _find_outliers,
    "activation-clipping": _find_clipping,
    "activation-small-values": _find_small_values,
}


MEASURED: dict[str, Callable[[Comparison, str], Iterator[Finding]]] = {
    "output-lost": find_output_lost,
    **{rule: partial(find_costly, rule=rule) for rule in _SIGNS},
}
"""The rules of this module, by their ids: how `RULES` takes them in."""
