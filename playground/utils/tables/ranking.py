"""Section 2: the layers of a network, worst first, and the pages of its heatmap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..parameter_inspector import (
    MARKS,
    METRICS,
    MOVING,
    RULES,
    SEVERITIES,
    WEIGHT_RULES,
    Comparison,
    Finding,
    LayerRanges,
    MeasuredLayer,
    MeasuredWeight,
    Metric,
    Role,
    measure_layers,
)
from ..spelling import (
    NOTHING,
    format_decibels,
    format_metric,
    format_number,
    format_part,
    mark_severity,
    name_metric,
    spell_count,
)
from .finding_tables import count_findings, name_findings, name_rule, worst_severity
from .layer_tables import MEANINGS
from .pairing_tables import mark_evidence

RANKING_MEANINGS = {
    "layer": "every layer that has weights, a finding or, once measured, a quantizer; the worst "
    "is first",
    "variant": "the quantized file that the numbers are of",
    "severity": "the worst of the layer's findings: ✕ error, ▲ warning, ● note",
    "finding": "what is wrong with the layer, the worst first",
    "operator": "what the layer computes",
    "data type": "how one weight is stored",
    "granularity": MEANINGS["Granularity"],
    "paired by": "how we know that this is the same layer in both files: ✓ the weights agree, "
    "? they do not say so",
    "width": "highest minus lowest weight, in the unit of the weights",
}
WORST_FIRST = METRICS[0].name


@dataclass(frozen=True)
class RunColumn:
    """A column of what running the variant found. ``heading``, with the unit where it has one."""

    heading: str
    meaning: str
    compute: Callable[[MeasuredLayer], float]
    write: Callable[[float], str]


RUN_COLUMNS = (
    RunColumn(
        "share",
        "part of the noise at the output that the layer's quantizers cause: those of its weight, "
        "of what flows in and of what flows out; one between two layers counts for both",
        lambda run: run.share,
        format_part,
    ),
    RunColumn(
        "by weight",
        "the share of its weight and bias",
        lambda run: run.share_of(Role.WEIGHT),
        format_part,
    ),
    RunColumn(
        "by inputs",
        "the share of what flows in",
        lambda run: run.share_of(Role.INPUT),
        format_part,
    ),
    RunColumn(
        "by outputs",
        "the share of what flows out",
        lambda run: run.share_of(Role.OUTPUT),
        format_part,
    ),
    RunColumn(
        "output alone, dB",
        "SQNR of the network's output where only this layer is quantized",
        lambda run: run.alone_db,
        format_decibels,
    ),
    RunColumn(
        "activations, dB",
        "SQNR of what flows in or out, the lowest, where all before it is float",
        lambda run: run.worst_local_db,
        format_decibels,
    ),
    RunColumn(
        "clipped",
        "part of what flows in or out that its scale cuts off, the largest",
        lambda run: run.clipped_share,
        format_part,
    ),
)


@dataclass(frozen=True, eq=False)
class RankedLayer:
    """A row of the ranking: a layer of one variant.

    Attributes:
        measured: its weight; None where it has none.
        run: what running the variant found of it; None before that.
    """

    layer_name: str
    variant: str
    measured: MeasuredWeight | None
    findings: tuple[Finding, ...]
    run: MeasuredLayer | None = None

    @property
    def severity(self) -> str:
        """The worst of its findings, empty without one."""
        return worst_severity(self.findings)

    @property
    def is_quantized(self) -> bool:
        return self.measured is not None and self.measured.quantization is not None

    def metric(self, name: str) -> float:
        return self.measured.metrics[name] if self.measured is not None else math.nan

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst first: by its share of the noise, until measured by its worst channel.

        An error that leaves nothing to compare comes first; what was not changed comes last.
        """
        if self.run is not None and not math.isnan(self.run.noise):
            return 0.5, -self.run.share
        decibels, disparity = self.metric(WORST_FIRST), self.metric("range_disparity")
        severity = [*SEVERITIES, ""].index(self.severity)
        unknown = 0 if self.severity == "error" else 2
        place = unknown if math.isnan(decibels) else (3 if decibels == math.inf else 1)
        known = decibels if place == 1 else 0.0
        return place, known, severity, -np.nan_to_num(disparity, nan=0.0)


def rank_layers(comparison: Comparison, findings: Sequence[Finding]) -> list[RankedLayer]:
    """Return every layer of every variant that is judged, the worst first."""
    judged = list_judged(comparison)
    places = [(layer, name) for layer, by_name in comparison.weights.items() for name in by_name]
    about: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.layer_name:
            about.setdefault((finding.layer_name, finding.variant), []).append(finding)
    runs = list_runs(comparison)
    places += [*comparison.unavailable, *about, *runs]
    ranked = [
        RankedLayer(
            layer,
            variant,
            comparison.find_measured(layer, variant),
            tuple(about.get((layer, variant), ())),
            runs.get((layer, variant)),
        )
        for layer, variant in dict.fromkeys(places)
    ]
    shown = [one for one in ranked if one.variant in judged or one.findings]
    return sorted(shown, key=lambda one: one.badness)


def list_runs(comparison: Comparison) -> dict[tuple[str, str], MeasuredLayer]:
    """Return what running found of each layer, by layer and variant.

    Without those that only pass on what others made: their quantizers are those of the others.
    """
    if not comparison.outputs:
        return {}
    layers = {layer.name: layer for layer in comparison.layers()}
    return {
        (name, variant): found
        for variant in comparison.outputs
        for name, found in measure_layers(comparison, variant).items()
        if layers[name].op_type not in MOVING or comparison.find_measured(name, variant)
    }


def list_judged(comparison: Comparison) -> list[str]:
    """Return the variants to judge: all but a float original that others are compared with."""
    judged = [name for name in comparison.variants if name != comparison.original]
    return judged or list(comparison.variants)


def select_ranked(ranked: Sequence[RankedLayer], level: str) -> list[RankedLayer]:
    """Return the rows that have a finding of this severity or a worse one; all for no level."""
    if not level:
        return list(ranked)
    limit = SEVERITIES.index(level)
    return [r for r in ranked if r.severity and SEVERITIES.index(r.severity) <= limit]


def create_severity_options(ranked: Sequence[RankedLayer]) -> dict[str, str]:
    """Return label -> severity: all rows, and those at least as bad as each that occurs."""
    options = {f"all {spell_count(len(ranked), 'row')}": ""}
    for level in SEVERITIES:
        if any(one.severity == level for one in ranked):
            count = len(select_ranked(ranked, level))
            more = "" if level == SEVERITIES[0] else " or worse"
            options[f"{MARKS[level]} {level}{more} · {count}"] = level
    return options


def create_ranking(ranked: Sequence[RankedLayer], comparison: Comparison) -> pd.DataFrame:
    """Return the ranking as a table: one column for each metric, then what the layer is."""
    columns: dict[str, Sequence[object]] = {
        "layer": [one.layer_name for one in ranked],
        "variant": [one.variant for one in ranked],
        "severity": [mark_severity(one.severity) for one in ranked],
        "finding": [name_findings(one.findings) for one in ranked],
    }
    for column in RUN_COLUMNS:
        cells = [math.nan if one.run is None else column.compute(one.run) for one in ranked]
        columns |= {} if np.isnan(cells).all() else {column.heading: cells}
    numbers = {name_metric(m): [one.metric(m.name) for one in ranked] for m in METRICS}
    numbers["width"] = [one.metric("range_high") - one.metric("range_low") for one in ranked]
    unknown = [name for name, column in numbers.items() if np.isnan(column).all()]
    columns |= {name: numbers[name] for name in numbers if name not in unknown}
    pairings, known = comparison.pairings, [one.measured for one in ranked]
    operators = {layer.name: layer.op_type for layer in comparison.layers()}
    columns["operator"] = [operators.get(one.layer_name, NOTHING) for one in ranked]
    columns["data type"] = [m.weight.data_type if m else NOTHING for m in known]
    columns["granularity"] = [
        m.quantization.granularity if m and m.quantization else NOTHING for m in known
    ]
    if pairings:
        columns["paired by"] = [
            mark_evidence(pairings[one.variant].of_original(one.layer_name))
            if one.variant in pairings
            else NOTHING
            for one in ranked
        ]
    # What needs a float original that is not there stands last, and is still there to be asked for.
    return pd.DataFrame(columns | {name: numbers[name] for name in unknown})


def size_columns(table: pd.DataFrame) -> dict[str, int]:
    """Return the width of each column in pixels, so narrow that the first nine fit a page."""
    longest = max(map(len, table["layer"]), default=0)
    layer = min(max(170, 8 * longest), 260)
    texts = {"layer": layer, "variant": 76, "severity": 96, "finding": 216}
    return {str(name): texts.get(str(name), 32 + 7 * len(str(name))) for name in table.columns}


def explain_ranking(table: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for each column of the ranking: what a metric is, and how it is counted."""
    metrics = {name_metric(metric): metric.definition for metric in METRICS}
    metrics |= {column.heading: column.meaning for column in RUN_COLUMNS}
    return {str(name): (RANKING_MEANINGS | metrics)[str(name)] for name in table.columns}


def format_ranking(table: pd.DataFrame) -> dict[str, str | Callable[..., Any]]:
    """Return how each column of numbers is written."""
    formats: dict[str, Callable[[float], str]]
    formats = {name_metric(metric): partial(format_metric, metric) for metric in METRICS}
    formats |= {column.heading: column.write for column in RUN_COLUMNS}
    numbers = map(str, table.select_dtypes("number"))
    return {name: partial(_format_cell, formats.get(name, format_number)) for name in numbers}


def _format_cell(write: Callable[[float], str], number: object) -> str:
    """marimo asks for what is no number, too."""
    return write(number) if isinstance(number, int | float) else NOTHING


def summarize_findings(findings: Sequence[Finding], ranked: Sequence[RankedLayer]) -> str:
    """Return the state of the whole network in one sentence."""
    if findings:
        in_order = [finding for one in ranked for finding in one.findings] + list(findings)
        worst = next(f for f in in_order if f.severity == worst_severity(findings))
        where = ", ".join(filter(None, (worst.variant, worst.layer_name)))
        rest = "the worst is " if len(findings) > 1 else ""
        return f"{count_findings(findings)}: {rest}“{name_rule(worst)}” ({where})."
    measured = [one.measured for one in ranked if one.measured]
    quantized = [one for one in measured if one.quantization is not None]
    if not quantized:
        return "Nothing here is quantized, so there is nothing to judge."
    compared = sum(one.sums.e_square is not None for one in quantized)
    known = (
        f"{compared} of {len(quantized)} quantized weights were compared with a float original"
        if compared
        else "there is no float original to compare with, so the errors themselves are not known"
    )
    settled = is_settled(ranked)
    so = "No findings" if settled else "Weights look fine; activations not measured"
    rules = len(RULES if settled else WEIGHT_RULES)
    return f"{so}: none of the {rules} rules found anything wrong; {known}."


def is_settled(ranked: Sequence[RankedLayer]) -> bool:
    """Whether every quantized variant was run: before that, no findings say little."""
    run = {one.variant for one in ranked if one.run is not None}
    return {one.variant for one in ranked if one.is_quantized} <= run


def create_metric_options() -> dict[str, Metric]:
    """Return heading -> metric, for a control."""
    return {name_metric(metric): metric for metric in METRICS}


def choose_metric(ranked: Sequence[RankedLayer]) -> str:
    """Return the heading of the metric that the ranking goes by: the first that is known."""
    known = (m for m in METRICS if any(math.isfinite(one.metric(m.name)) for one in ranked))
    return name_metric(next(known, METRICS[0]))


ROWS_OF_A_PAGE = 500


def list_pages(ranges: Sequence[LayerRanges]) -> dict[str, int]:
    """Return label -> the first row of each page of the heatmap; at least one page."""
    starts = range(0, max(1, len(ranges)), ROWS_OF_A_PAGE)
    ends = [min(start + ROWS_OF_A_PAGE, len(ranges)) for start in starts]
    return {
        f"{start + 1} to {end} of {len(ranges)}": start
        for start, end in zip(starts, ends, strict=True)
    }


def select_page(ranges: Sequence[LayerRanges], start: int) -> Sequence[LayerRanges]:
    """Return the rows of the page that begins at ``start``."""
    return ranges[start : start + ROWS_OF_A_PAGE]
