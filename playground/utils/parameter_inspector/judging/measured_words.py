"""The sentences of findings that running a variant made. A remedy says what was tried, and gave."""

from __future__ import annotations

import math

from ..facts import QuantizerKind, SampleKind
from ..reading.model_file import printable
from .measured_facts import (
    ClippedActivation,
    Cost,
    MaskRange,
    MeasuredOn,
    Outliers,
    OutputLost,
    PoolingScale,
    SmallValuesLost,
    SquareQuantized,
    Tried,
    UnderMinimum,
)
from .phrases import Sentences, counted, format_level, format_share, name_sample, spell_nodes

# Restoring one quantizer is not repeatable below this.
REPEATABLE_DB = 0.3
# The first eight by share have not helped below this.
LITTLE_DB = 1.0


def say_output_lost(facts: OutputLost) -> Sentences:
    which = f"Output '{printable(facts.output)}'" if facts.output_count > 1 else "The output"
    if facts.sqnr_db == -math.inf:
        kept = f"{which} has numbers that are not finite {_on(facts.measured_on)}"
    else:
        kept = f"{which} keeps {format_level(facts.sqnr_db)} {_on(facts.measured_on)}"
    worst = _spell_worst(facts.worst_sample, facts.worst_db)
    parts = [kept, worst if facts.measured_on.count > 1 else "", _say_scores(facts)]
    return Sentences(f"{'; '.join(filter(None, parts))}.", _say_remedy(facts))


def say_under_minimum(facts: UnderMinimum) -> Sentences:
    level = format_level if facts.what == "sqnr_db" else format_share
    measure = {"sqnr_db": "keeps", "agreement": "agrees with float in", "accuracy": "is right in"}
    worst = _spell_worst(facts.worst_sample, facts.worst_db)
    end = f"; {worst}." if worst else "."
    return Sentences(
        f"Output '{printable(facts.output)}' {measure[facts.what]} {level(facts.found)} "
        f"{_on(facts.measured_on)}, under the {level(facts.least)} that are asked for{end}",
        "`python -m playground measure` says which quantizers cost it, and what takes it back.",
    )


def _on(measured: MeasuredOn) -> str:
    if measured.kind is SampleKind.SYNTHETIC:
        return f"on {counted(measured.count, 'synthetic input')}, which do not tell the level"
    return f"on {counted(measured.count, 'sample')}"


def _spell_worst(sample: int | None, level: float) -> str:
    if sample is None:
        return ""
    return f"the worst is {name_sample(sample)} with {format_level(level)}"


def _say_scores(facts: OutputLost) -> str:
    if facts.accuracy is not None and facts.float_accuracy is not None:
        return (
            f"accuracy is {format_share(facts.accuracy)} where float has "
            f"{format_share(facts.float_accuracy)}"
        )
    if facts.agreement is not None and facts.has_scores:
        return f"the highest score is the one of float in {format_share(facts.agreement)}"
    return ""


def _say_remedy(facts: OutputLost) -> str:
    """Return the best point of the curve, and what all of one kind would give where that is more.

    Nothing is advised that was not measured.
    """
    best, most = facts.best, _say_kind(facts)
    if best is None:
        tried = "Which quantizers to leave out could not be tried"
        return f"{tried}; {most}." if most else f"{tried}."
    if best.gain_db < LITTLE_DB:
        gain = max(0.0, *(one.gain_db for one in facts.curve))
        little = (
            f"The first {facts.curve[-1].groups} by share in float recover {gain:.1f} dB at most"
        )
        return f"{little}{f'; {most}' if most else ''}."
    first = "the first" if best.groups == 1 else f"the first {best.groups}"
    curve = ", ".join(f"{one.groups}: {format_level(one.level_db)}" for one in facts.curve)
    more = f" {most[:1].upper()}{most[1:]}." if most else ""
    return (
        f"Leave {first} by share in float, {spell_nodes(best.nodes)}: tried, with "
        f"{counted(best.quantizers, 'quantizer')} off it keeps {format_level(best.level_db)} "
        f"(by how many are off: {curve}).{more}"
    )


def _say_kind(facts: OutputLost) -> str:
    """Return what the output keeps with all quantizers of the kind that costs more in float.

    Nothing where the curve reaches that too.
    """
    if facts.main_cause is QuantizerKind.ACTIVATION:
        kind, level = "activations", facts.without_activations_db
        bound = ": a finer data type for them can give about that at most"
    else:
        kind, level, bound = "weights", facts.without_weights_db, ""
    known = max([facts.sqnr_db, *(one.level_db for one in facts.curve)])
    if facts.main_cause is None or level is None or not level >= known + LITTLE_DB:
        return ""
    return f"with all {kind} in float it keeps {format_level(level)}{bound}"


# ------------------------------------------------- the causes


def say_mask_range(facts: MaskRange) -> Sentences:
    return _say_cause(
        facts.cost,
        f"reaches from {facts.low:.3g} to {facts.high:.3g}, as a mask does: one step of its scale "
        "covers every ordinary value",
    )


def say_square(facts: SquareQuantized) -> Sentences:
    zeroed = (
        f", and {format_share(facts.zeroed_share)} of its nonzero values become 0"
        if facts.zeroed_share
        else ""
    )
    what = (
        "is a divisor"
        if facts.is_denominator and facts.op_type == "Div"
        else f"stands at a {facts.op_type}, whose range no even steps serve"
    )
    return _say_cause(facts.cost, f"{what}{zeroed}")


def say_pooling(facts: PoolingScale) -> Sentences:
    return _say_cause(
        facts.cost,
        f"comes out of {facts.op_type} with the scale of what goes in, and uses "
        f"{format_share(facts.codes_used_share)} of the codes",
    )


def say_outliers(facts: Outliers) -> Sentences:
    return _say_cause(
        facts.cost,
        f"reaches {facts.largest:.3g} where 99.9% of its values stay below {facts.p999:.3g}, "
        f"{facts.largest / facts.p999:.0f} times less",
    )


def say_clipping(facts: ClippedActivation) -> Sentences:
    low, high = facts.observed
    held = (
        f" (it holds {facts.represented[0]:.3g} to {facts.represented[1]:.3g}, and "
        f"{low:.3g} to {high:.3g} came)"
        if facts.represented
        else ""
    )
    return _say_cause(
        facts.cost,
        f"has {format_share(facts.clipped_share)} of its values beyond what its scale holds{held}: "
        f"{format_share(facts.error_share)} of its error is clipping",
    )


def say_small_values(facts: SmallValuesLost) -> Sentences:
    return _say_cause(
        facts.cost, f"has {format_share(facts.zeroed_share)} of its nonzero values become 0"
    )


def _say_cause(cost: Cost, what: str) -> Sentences:
    evidence = (
        f"Activation '{printable(cost.tensor)}' {what}; it makes {format_share(cost.share)} of the "
        f"output's noise {_on(cost.measured_on)}."
    )
    return Sentences(evidence, _say_tried(cost))


def _say_tried(cost: Cost) -> str:
    """Return what leaving the tensor in float gave; alone if that is sure, else with others."""
    alone, together = cost.restored, cost.together
    if alone is not None and alone.gain_db >= REPEATABLE_DB:
        return f"Leave it in float, {spell_nodes(alone.nodes)}: tried, the output {_gain(alone)}."
    first = "Alone it recovers nothing sure" if alone is not None else "Alone it was not tried"
    if together is None:
        return f"{first}."
    if together.gain_db < REPEATABLE_DB:
        return f"{first}, and with the first {together.groups} by share no more."
    own = f", {spell_nodes(alone.nodes)}" if alone is not None else ""
    return (
        f"{first}; leave it in float with the others of the first {together.groups} by share"
        f"{own}: tried, the output {_gain(together)}."
    )


def _gain(tried: Tried) -> str:
    return f"gains {tried.gain_db:.1f} dB and keeps {format_level(tried.level_db)}"
