"""The columns of the ranking: six to read, all others by choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ..parameter_inspector import MARKS, METRICS, Comparison, MeasuredLayer, Metric, Role
from ..spelling import (
    NOTHING,
    format_decibels,
    format_metric,
    format_number,
    format_part,
    name_metric,
)
from .finding_tables import name_findings
from .layer_tables import MEANINGS
from .pairing_tables import mark_evidence
from .ranking import WORST_FIRST, RankedLayer

SHARE, WEIGHT_ERROR = "share", "weight error"
RANKING_MEANINGS = {
    "layer": "every layer that has weights, a finding or, once measured, a quantizer; the worst "
    "is first",
    "variant": "the quantized file that the numbers are of",
    "finding": "what is wrong with the layer, the worst first: ✕ error, ▲ warning, ● note",
    "type": "the operator: what the layer computes",
    WEIGHT_ERROR: "error of the worst output channel of the weight, as a part of the channel's "
    "size: 10% is 20 dB",
    "data type": "how one weight is stored",
    "granularity": MEANINGS["Granularity"],
    "paired by": "how we know that this is the same layer in both files: ✓ the weights agree, "
    "? they do not say so",
    "width": "highest minus lowest weight, in the unit of the weights",
}


@dataclass(frozen=True)
class RunColumn:
    """A column of what running the variant found. ``heading``, with the unit where it has one."""

    heading: str
    meaning: str
    compute: Callable[[MeasuredLayer], float]
    write: Callable[[float], str]


RUN_COLUMNS = (
    RunColumn(
        SHARE,
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


@dataclass(frozen=True)
class Ranking:
    """The ranking as a table, and which of its columns is drawn as a bar of what was lost."""

    table: pd.DataFrame
    bar: str


def create_ranking(
    ranked: Sequence[RankedLayer], comparison: Comparison, more: Sequence[str] = ()
) -> Ranking:
    """Return six columns, and those of `list_more_columns` that are asked for."""
    bar = _name_bar(ranked)
    rows = _list_numbers(ranked) | _list_texts(ranked, comparison)
    six = ("layer", "variant", bar, name_metric(METRICS[0]), "finding", "type")
    shown = dict.fromkeys([*six, *(name for name in more if name in rows)])
    return Ranking(pd.DataFrame({name: rows[name] for name in shown}), bar)


def list_more_columns(ranked: Sequence[RankedLayer], comparison: Comparison) -> list[str]:
    """Return the headings of all columns beside the six in which something is known."""
    numbers = _list_numbers(ranked)
    known = [name for name, column in numbers.items() if not np.isnan(column).all()]
    names = [*known, *_list_texts(ranked, comparison)]
    six = create_ranking(ranked, comparison).table.columns
    return [name for name in names if name not in six]


def _name_bar(ranked: Sequence[RankedLayer]) -> str:
    """Return the column that says what a layer loses: measured where that is known."""
    is_measured = any(one.run is not None and not math.isnan(one.run.share) for one in ranked)
    return SHARE if is_measured else WEIGHT_ERROR


def _list_numbers(ranked: Sequence[RankedLayer]) -> dict[str, list[float]]:
    columns = {
        column.heading: [math.nan if one.run is None else column.compute(one.run) for one in ranked]
        for column in RUN_COLUMNS
    }
    columns[WEIGHT_ERROR] = [relative_error(one.metric(WORST_FIRST)) for one in ranked]
    columns |= {name_metric(m): [one.metric(m.name) for one in ranked] for m in METRICS}
    columns["width"] = [one.metric("range_high") - one.metric("range_low") for one in ranked]
    return columns


def relative_error(sqnr_db: float) -> float:
    """Return the size of an error as a part of the size of what it is an error of: at most 1."""
    return min(10 ** (-sqnr_db / 20), 1.0) if not math.isnan(sqnr_db) else math.nan


def _list_texts(ranked: Sequence[RankedLayer], comparison: Comparison) -> dict[str, list[str]]:
    operators = {layer.name: layer.op_type for layer in comparison.layers()}
    known = [one.measured for one in ranked]
    columns = {
        "layer": [one.layer_name for one in ranked],
        "variant": [one.variant for one in ranked],
        "finding": [_spell_findings(one) for one in ranked],
        "type": [operators.get(one.layer_name, NOTHING) for one in ranked],
        "data type": [m.weight.data_type if m else NOTHING for m in known],
        "granularity": [
            m.quantization.granularity if m and m.quantization else NOTHING for m in known
        ],
    }
    paired = {"paired by": [_spell_evidence(one, comparison) for one in ranked]}
    return columns | (paired if comparison.pairings else {})


def _spell_findings(one: RankedLayer) -> str:
    mark = f"{MARKS[one.severity]} " if one.severity else ""
    return f"{mark}{name_findings(one.findings)}"


def _spell_evidence(one: RankedLayer, comparison: Comparison) -> str:
    pairing = comparison.pairings.get(one.variant)
    return NOTHING if pairing is None else mark_evidence(pairing.of_original(one.layer_name))


WIDTHS = {"layer": 186, "variant": 62, "finding": 144, "type": 58}
NUMBERS = 66  # at the least


def size_columns(table: pd.DataFrame) -> dict[str, int]:
    """Return the width of each column in pixels, so narrow that the six fit half a page."""
    headings = [str(name) for name in table.columns]
    return {
        name: WIDTHS.get(name, max(NUMBERS, 7 * max(map(len, name.split())) + 22))
        for name in headings
    }


def explain_ranking(table: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for each column of the ranking: what a metric is, and how it is counted."""
    metrics = {name_metric(metric): metric.definition for metric in METRICS}
    metrics |= {column.heading: column.meaning for column in RUN_COLUMNS}
    return {str(name): (RANKING_MEANINGS | metrics)[str(name)] for name in table.columns}


def format_ranking(table: pd.DataFrame) -> dict[str, Callable[[object], str]]:
    """Return how each column of numbers is written."""
    formats: dict[str, Callable[[float], str]]
    formats = {name_metric(metric): partial(format_metric, metric) for metric in METRICS}
    formats |= {column.heading: column.write for column in RUN_COLUMNS}
    formats |= {SHARE: format_bar, WEIGHT_ERROR: format_bar}
    numbers = map(str, table.select_dtypes("number"))
    return {name: partial(_format_cell, formats.get(name, format_number)) for name in numbers}


def format_bar(part: float) -> str:
    """Return a share so short that a bar has room for it."""
    return format_part(part).replace("under ", "< ")


def _format_cell(write: Callable[[float], str], number: object) -> str:
    """marimo asks for what is no number, too."""
    return write(number) if isinstance(number, int | float) else NOTHING


def create_metric_options() -> dict[str, Metric]:
    """Return heading -> metric, for a control."""
    return {name_metric(metric): metric for metric in METRICS}


def choose_metric(ranked: Sequence[RankedLayer]) -> str:
    """Return the heading of the metric that the ranking goes by: the first that is known."""
    known = (m for m in METRICS if any(math.isfinite(one.metric(m.name)) for one in ranked))
    return name_metric(next(known, METRICS[0]))
