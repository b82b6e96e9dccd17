"""Records and numbers -> pandas DataFrames, and the sentences that stand where there is no number.

Cells are rounded for reading. Names come from a model and are plain text: `to_html` escapes them.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from .parameter_inspector import (
    METRICS,
    Histograms,
    Layer,
    LayerPair,
    LayerParams,
    LayerRanges,
    Measured,
    Metric,
    Model,
    Pairing,
    Quantization,
    Scan,
    TensorQuantization,
    UnavailableError,
    VariantSummary,
    WeightTensor,
    compute_layer_histograms,
    create_summary_stats,
    extract_layer_params,
    find_layer,
    list_layers,
    row_name,
)
from .parameter_inspector.findings import RULES, SEVERITIES, Finding
from .parameter_inspector.folding import channels_first

QUANTIZED_MARK = "◆"
NOTHING = "–"
MARKS = {"error": "✕", "warning": "▲", "note": "●"}
TITLES = {rule.rule: rule.title for rule in RULES}

MEANINGS = {
    "Layer in the file": "what this variant calls the layer",
    "Node type": "the operator: what the layer computes",
    "Weight shape": "length of each dimension, as the layer sees it",
    "Data type": "how one weight is stored",
    "Granularity": "how many weights share one scale: per-tensor all of them, per-channel those of "
    "one channel, per-block a short run",
    "Axis": "the dimension along which the scale changes, counted from 0",
    "Block size": "neighbouring weights that share one scale",
    "Scale": "the step from one code to the next, in the unit of the weights",
    "Zero-point": "the code that stands for exactly 0",
    "Input": "how the numbers that enter the layer are quantized",
    "Output": "how the numbers that leave the layer are quantized",
    "Bias": "the constant added to each output channel",
    "Stored as": "the operators between the file's codes and the layer",
    "Notes": "what else there is to know about the weight",
}


RANKING_MEANINGS = {
    "layer": "every layer that has weights, or a finding; the worst is first",
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


def create_layer_options(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing]
) -> dict[str, str]:
    """Return label -> name of every layer, in graph order of the first variant.

    Layers that only another variant has follow. The label marks quantization parameters.
    """
    operators = {name: operator for name, operator, _ in _all_layers(variants, pairings)}
    quantized = {name for name, _, is_quantized in _all_layers(variants, pairings) if is_quantized}
    return {
        f"{QUANTIZED_MARK if name in quantized else NOTHING} {name} · {operator}": name
        for name, operator in operators.items()
    }


def _all_layers(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing]
) -> Iterator[tuple[str, str, bool]]:
    """Yield name, operator and whether it is quantized, once for each variant that has it."""
    first, *others = variants
    for layer in list_layers(variants[first]):
        yield layer.name, layer.op_type, layer.is_quantized
    for name in others:
        layers = {layer.name: layer for layer in list_layers(variants[name])}
        for pair in pairings[name].pairs:
            yield pair.reference, layers[pair.variant].op_type, layers[pair.variant].is_quantized
        for unpaired in pairings[name].unpaired_variant:
            layer = layers[unpaired]
            row = row_name(name, unpaired, variants[first])
            yield row, layer.op_type, layer.is_quantized


def create_variant_table(summaries: Sequence[VariantSummary]) -> pd.DataFrame:
    """Return one row for each variant: what the file is."""
    return pd.DataFrame(
        {
            "Variant": [s.name for s in summaries],
            "File": [s.file_name for s in summaries],
            "Size": [format_bytes(s.file_bytes) for s in summaries],
            "Data types of the weights": [describe_data_types(s) for s in summaries],
            "Layers": [s.layer_count for s in summaries],
            "with weights": [s.weight_layer_count for s in summaries],
            "quantized": [s.quantized_count for s in summaries],
            "left float": [s.float_count for s in summaries],
            "Weights": [f"{s.weight_count:,}" for s in summaries],
            "Made by": [s.producer or NOTHING for s in summaries],
            "Opset": [s.opset for s in summaries],
        }
    )


def describe_variant(summary: VariantSummary, original: VariantSummary) -> str:
    """Return what a file is in one line, its size measured against the original's."""
    parts = [describe_data_types(summary)]
    if summary is not original and summary.file_bytes:
        ratio = original.file_bytes / summary.file_bytes
        parts.append(f"{ratio:.1f}× smaller" if ratio >= 1 else f"{1 / ratio:.1f}× larger")
    if summary.quantized_count and summary.float_count:
        parts.append(f"{summary.float_count} left float")
    return " · ".join(parts)


def explain_variants(summaries: Sequence[VariantSummary]) -> list[str]:
    """Return what the folder lacks for a comparison."""
    sentences = []
    if all(summary.quantized_count for summary in summaries):
        sentences.append(
            "There is no float original in this folder. Put it beside the quantized file to see "
            "both; until then the first variant takes its place."
        )
    if not any(summary.quantized_count for summary in summaries):
        sentences.append("There is no quantized variant in this folder: nothing to compare yet.")
    return sentences


def describe_data_types(summary: VariantSummary) -> str:
    return (
        ", ".join(f"{data_type} × {count}" for data_type, count in summary.data_types.items())
        or "no weights"
    )


def format_bytes(count: int) -> str:
    """Return a file size as people say it: 999 B, 82.9 kB, 3.59 MB."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


# The ranking ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RankedLayer:
    """A row of the ranking: a layer of one variant. ``measured`` is None where it has no weight."""

    layer: str
    variant: str
    measured: Measured | None
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> str:
        """The worst of its findings, empty without one."""
        return worst_severity(self.findings)

    def metric(self, name: str) -> float:
        return self.measured.metrics[name] if self.measured is not None else math.nan

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst first: by its worst channel, or by what is known without a float weight.

        An error that leaves nothing to compare comes first; what was not changed comes last.
        """
        decibels, disparity = self.metric(WORST_FIRST), self.metric("range_disparity")
        severity = [*SEVERITIES, ""].index(self.severity)
        unknown = 0 if self.severity == "error" else 2
        place = unknown if math.isnan(decibels) else (3 if decibels == math.inf else 1)
        known = decibels if place == 1 else 0.0
        return place, known, severity, -np.nan_to_num(disparity, nan=0.0)


def rank_layers(
    variants: Sequence[str], scan: Scan, findings: Sequence[Finding]
) -> list[RankedLayer]:
    """Return every layer of every variant that is judged, the worst first."""
    judged = list_judged(variants, scan)
    places = [(row, name) for row, by_name in scan.rows.items() for name in by_name]
    places += [*scan.unavailable, *((f.layer, f.variant) for f in findings if f.layer)]
    about: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        about.setdefault((finding.layer, finding.variant), []).append(finding)
    ranked = [
        RankedLayer(
            row, variant, scan.rows.get(row, {}).get(variant), tuple(about.get((row, variant), ()))
        )
        for row, variant in dict.fromkeys(places)
    ]
    kept = [one for one in ranked if one.variant in judged or one.findings]
    return sorted(kept, key=lambda one: one.badness)


def list_judged(variants: Sequence[str], scan: Scan) -> list[str]:
    """Return the variants to judge: all but a float original that others are compared with."""
    first, *others = variants
    is_quantized = any(
        by_name[first].quantization is not None
        for by_name in scan.rows.values()
        if first in by_name
    )
    return [first, *others] if is_quantized or not others else others


def select_ranked(ranked: Sequence[RankedLayer], level: str) -> list[RankedLayer]:
    """Return the rows that have a finding of this severity or a worse one; all for no level."""
    if not level:
        return list(ranked)
    limit = SEVERITIES.index(level)
    return [r for r in ranked if r.severity and SEVERITIES.index(r.severity) <= limit]


def create_severity_options(ranked: Sequence[RankedLayer]) -> dict[str, str]:
    """Return label -> severity: all rows, and those at least as bad as each that occurs."""
    options = {f"all {len(ranked)} rows": ""}
    for level in SEVERITIES:
        if any(one.severity == level for one in ranked):
            count = len(select_ranked(ranked, level))
            more = "" if level == SEVERITIES[0] else " or worse"
            options[f"{MARKS[level]} {level}{more} · {count}"] = level
    return options


def create_ranking(ranked: Sequence[RankedLayer], pairings: Mapping[str, Pairing]) -> pd.DataFrame:
    """Return the ranking as a table: one column for each metric, then what the layer is."""
    columns: dict[str, Sequence[object]] = {
        "layer": [one.layer for one in ranked],
        "variant": [one.variant for one in ranked],
        "severity": [mark_severity(one.severity) for one in ranked],
        "finding": [name_findings(one.findings) for one in ranked],
    }
    numbers = {name_metric(m): [one.metric(m.name) for one in ranked] for m in METRICS}
    numbers["width"] = [one.metric("range_high") - one.metric("range_low") for one in ranked]
    unknown = [name for name, column in numbers.items() if np.isnan(column).all()]
    columns |= {name: numbers[name] for name in numbers if name not in unknown}
    known = [one.measured for one in ranked]
    columns["operator"] = [m.layer.op_type if m else NOTHING for m in known]
    columns["data type"] = [m.weight.data_type if m else NOTHING for m in known]
    columns["granularity"] = [
        m.quantization.granularity if m and m.quantization else NOTHING for m in known
    ]
    if pairings:
        columns["paired by"] = [
            mark_evidence(pairings[one.variant].of_reference(one.layer))
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
    texts = {"layer": layer, "variant": 76, "severity": 96, "finding": 190}
    return {str(name): texts.get(str(name), 32 + 7 * len(str(name))) for name in table.columns}


def name_metric(metric: Metric) -> str:
    """Return the heading of a metric's column: its label, with the unit where it has one."""
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def explain_ranking(table: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for each column of the ranking: what a metric is, and how it is counted."""
    metrics = {name_metric(metric): metric.definition for metric in METRICS}
    return {str(name): (RANKING_MEANINGS | metrics)[str(name)] for name in table.columns}


def format_ranking(table: pd.DataFrame) -> dict[str, Callable[[object], str]]:
    """Return how each column of numbers is written."""
    formats: dict[str, Callable[[object], str]] = {name_metric(m): _format_of(m) for m in METRICS}
    return {str(name): formats.get(str(name), _NUMBER) for name in table.select_dtypes("number")}


def _format_of(metric: Metric) -> Callable[[object], str]:
    if metric.unit == "dB":
        return partial(format_cell, spec=".1f")
    is_share = metric.definition.startswith(("share", "distinct"))
    return partial(format_cell, spec=".1%") if is_share else _NUMBER


def format_cell(number: object, spec: str) -> str:
    """Return a number as a cell of the ranking: a dash for NaN, ``exact`` for infinity."""
    if not isinstance(number, int | float) or math.isnan(number):
        return NOTHING
    return "exact" if math.isinf(number) else format(number, spec).replace("-", "−")


_NUMBER = partial(format_cell, spec=".3g")


# The findings -----------------------------------------------------------------------------------


def mark_severity(severity: str) -> str:
    """Return a severity as a symbol and a word, a dash for none."""
    return f"{MARKS[severity]} {severity}" if severity else NOTHING


def name_findings(findings: Sequence[Finding]) -> str:
    """Return what is wrong in a few words, the worst first; a dash for nothing."""
    titles = dict.fromkeys(TITLES.get(finding.rule, finding.rule) for finding in findings)
    return "; ".join(titles) or NOTHING


def count_findings(findings: Sequence[Finding]) -> str:
    """Return how many findings of each severity: 2 errors, 1 warning."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(
        f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}"
        for level in SEVERITIES
        if counts[level]
    )


def summarize_findings(findings: Sequence[Finding], ranked: Sequence[RankedLayer]) -> str:
    """Return the state of the whole network in one sentence."""
    if findings:
        in_order = [finding for one in ranked for finding in one.findings] + list(findings)
        worst = next(f for f in in_order if f.severity == worst_severity(findings))
        where = f"{worst.variant}, {worst.layer}" if worst.layer else worst.variant
        title = TITLES.get(worst.rule, worst.rule)
        rest = "the worst is " if len(findings) > 1 else ""
        return f"{count_findings(findings)}: {rest}“{title}” ({where})."
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
    return f"No findings: {len(RULES)} rules see nothing wrong; {known}."


def explain_finding(finding: Finding) -> list[str]:
    """Return a finding as lines of plain text: what and where, the evidence, the remedy."""
    title = TITLES.get(finding.rule, finding.rule)
    return [
        f"{mark_severity(finding.severity)} in {finding.variant}: {title}",
        finding.evidence,
        f"What helps: {finding.remedy}",
    ]


def to_callout(lines: Sequence[str]) -> str:
    """Return a title and sentences as HTML: names are plain text, what has backticks is code."""
    title, *rest = (re.sub(r"`([^`]+)`", r"<code>\1</code>", _escape(line)) for line in lines)
    sentences = "".join(f"<div>{sentence}</div>" for sentence in rest)
    return f'<div class="playground-finding"><b>{title}</b>{sentences}</div>'


def worst_severity(findings: Iterable[Finding]) -> str:
    """Return the worst severity, empty where there is no finding."""
    return min((f.severity for f in findings), key=SEVERITIES.index, default="")


def about_layer(findings: Iterable[Finding], layer: str) -> list[Finding]:
    """Return the findings about one layer, or about the whole file for an empty name."""
    return [finding for finding in findings if finding.layer == layer]


def list_layers_to_exclude(scan: Scan, findings: Iterable[Finding]) -> tuple[list[str], list[str]]:
    """Return the layers that can be ticked, and those with an error or a warning."""
    findings = [finding for finding in findings if finding.layer]
    rows = list(dict.fromkeys([*scan.rows, *(finding.layer for finding in findings)]))
    bad = {finding.layer for finding in findings if finding.severity != "note"}
    return rows, [row for row in rows if row in bad]


def choose_metric(ranked: Sequence[RankedLayer]) -> str:
    """Return the heading of the metric that the ranking goes by: the first that is known."""
    known = (m for m in METRICS if any(math.isfinite(one.metric(m.name)) for one in ranked))
    return name_metric(next(known, METRICS[0]))


def name_file(name: str) -> str:
    """Return a name that every file system takes, made from a network's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


# The heatmap, page by page, where the layers are too many for one picture -------------------------

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


# The weights of one layer -------------------------------------------------------------------------


def count_weights(scan: Scan, layer: str) -> tuple[Histograms | None, list[str]]:
    """Return the histograms of a layer's weights, and a sentence for each that cannot be read.

    None where the layer has no weight, or none that can be read.
    """
    problems = [
        f"The weight of {variant} cannot be read: {why}"
        for (row, variant), why in scan.unavailable.items()
        if row == layer
    ]
    measured = scan.rows.get(layer, {})
    try:
        return (compute_layer_histograms(measured) if measured else None), problems
    except UnavailableError as error:
        return None, [*problems, f"The weights cannot be read any more: {error}"]


# The error of one weight --------------------------------------------------------------------------

ERROR_BINS = 64
# float32 rounds x / scale; what lies this far beyond half a step is more than rounding.
HALF_STEP = 0.5 + 1e-3


@dataclass(frozen=True, eq=False)
class ErrorSteps:
    """How far the values of a weight are from the float original, in steps of their scale.

    Attributes:
        edges: of the bins, symmetric around 0, at least from -1 to 1.
        rms: root-mean-square error; rounding alone gives 1/sqrt(12) = 0.289.
        largest: the largest absolute error.
        beyond_half_share: share of the weights whose error is more than rounding makes.
    """

    edges: np.ndarray
    counts: np.ndarray
    count: int
    rms: float
    largest: float
    beyond_half_share: float


def compute_error_steps(one: Measured, original: Measured) -> ErrorSteps | None:
    """Return the errors of a quantized weight, None where it cannot be compared.

    Raises:
        UnavailableError: bytes are missing.
    """
    quantization, weight = one.quantization, one.weight
    if quantization is None or one.sums.e_square is None:
        return None
    exact = channels_first(original.weight.values, original.weight, original.layer)
    if one.pair is not None and one.pair.reference_factor is not None:
        exact = exact * one.pair.reference_factor[:, None]
    shape = weight.codes.shape
    scale = quantization.spread(quantization.scale.astype(np.float32), shape)
    frame = weight.rearrange(np.broadcast_to(scale, shape))
    with np.errstate(all="ignore"):
        error = exact - channels_first(weight.values, weight, one.layer)
        steps = error / np.abs(channels_first(frame, weight, one.layer))
    steps = steps[np.isfinite(steps)]
    return summarize_errors(steps) if steps.size else None


def summarize_errors(steps: np.ndarray) -> ErrorSteps:
    """Return the histogram of errors in steps, and what it says."""
    largest = float(np.abs(steps).max())
    limit = max(1.0, float(np.ceil(largest)))
    counts, edges = np.histogram(steps, ERROR_BINS, (-limit, limit))
    rms = float(np.sqrt(np.mean(steps.astype(np.float64) ** 2)))
    beyond = float((np.abs(steps) > HALF_STEP).mean())
    return ErrorSteps(edges, counts, steps.size, rms, largest, beyond)


def compute_layer_errors(scan: Scan, layer: str) -> tuple[dict[str, ErrorSteps], list[str]]:
    """Return the errors of a layer in each variant that can be compared, and what could not be."""
    measured = scan.rows.get(layer, {})
    original = next(iter(measured.values()), None)
    errors, problems = {}, []
    for name, one in measured.items():
        if original is None or one is original:
            continue
        try:
            found = compute_error_steps(one, original)
        except UnavailableError as error:
            problems.append(f"The weight of {name} cannot be read: {error}")
            continue
        if found is not None:
            errors[name] = found
    return errors, problems


# The pairing ------------------------------------------------------------------------------------


def explain_link(what: str, asked: str | None, names: Collection[str]) -> list[str]:
    """Return a sentence if a link asks for a network, variant or layer that is not there."""
    if asked is None or asked in names:
        return []
    return [f"The link asks for the {what} {asked!r}, which is not here: this is the overview."]


def match_name(asked: str | None, names: Collection[str]) -> str | None:
    """Return the name that a link asks for, as it is spelled here; unknown ones as they came."""
    if asked is None or asked in names:
        return asked
    return next((name for name in names if name.casefold() == asked.casefold()), asked)


def mark_evidence(pair: LayerPair | None) -> str:
    """Return the evidence behind a mark: ✓ the weights agree, ? they do not say so."""
    if pair is None:
        return "✗ not paired"
    return f"{'✓' if pair.is_sure else '?'} {pair.evidence}"


def create_pairing_table(pairings: Mapping[str, Pairing], layer: str) -> pd.DataFrame:
    """Return, for each variant, which of its layers is ``layer`` and on what evidence."""
    pairs = {name: pairing.of_reference(layer) for name, pairing in pairings.items()}
    return pd.DataFrame(
        [
            (
                name,
                pair.variant if pair else NOTHING,
                mark_evidence(pair),
                NOTHING if pair is None or pair.score is None else f"{pair.score:.3f}",
                (pair.folding if pair else "") or NOTHING,
            )
            for name, pair in pairs.items()
        ],
        columns=["Variant", "Layer in it", "Evidence", "Likeness, 0 to 1", "Before comparing"],
    )


def create_unpaired_table(first: str, pairings: Mapping[str, Pairing]) -> pd.DataFrame:
    """Return every layer without a partner, on both sides."""
    rows = [
        (holder, layer, missing)
        for name, pairing in pairings.items()
        for holder, missing, layers in (
            (first, name, pairing.unpaired_reference),
            (name, first, pairing.unpaired_variant),
        )
        for layer in layers
    ]
    return pd.DataFrame(rows, columns=["Only in", "Layer", "No partner in"])


def create_not_understood_table(
    variants: Mapping[str, Model], scan: Scan | None = None
) -> pd.DataFrame:
    """Return every parameter that could not be read or understood, and why.

    Args:
        scan: adds the weights whose bytes are missing, and floats on a grid without a scale.
    """
    rows = [
        (name, layer.name, layer.op_type, reason)
        for name, model in variants.items()
        for layer in list_layers(model)
        for reason in layer.not_understood
    ]
    if scan is not None:
        rows += [(variant, row, NOTHING, why) for (row, variant), why in scan.unavailable.items()]
        rows += [
            (variant, row, measured.layer.op_type, measured.grid)
            for row, by_variant in scan.rows.items()
            for variant, measured in by_variant.items()
            if measured.grid
        ]
    return pd.DataFrame(rows, columns=["Variant", "Layer", "Operator", "Reason"])


def create_parameter_table(variants: Mapping[str, Model], names: Mapping[str, str]) -> pd.DataFrame:
    """Return the parameters of one layer: a row for each, a column for each variant.

    Args:
        names: what the layer is called in each variant that has it.
    """
    columns = {name: _describe_layer(variants[name], names[name]) for name in names}
    used = [p for p in MEANINGS if any(c.get(p, NOTHING) != NOTHING for c in columns.values())]
    cells = {name: [column.get(p, NOTHING) for p in used] for name, column in columns.items()}
    return pd.DataFrame(
        {"Parameter": used, **cells, "In words": [MEANINGS[parameter] for parameter in used]}
    )


def _describe_layer(model: Model, layer_name: str) -> dict[str, str]:
    layer = find_layer(model, layer_name)
    cells = {"Layer in the file": layer.name, "Node type": layer.op_type, **_describe_weight(layer)}
    try:
        params = extract_layer_params(model, layer_name)
    except UnavailableError as error:
        return cells | {"Scale": f"cannot be read: {error}"}
    return cells | (_describe_params(params) if params else {})


def _describe_weight(layer: Layer) -> dict[str, str]:
    cells = {"Bias": _describe_bias(layer.bias)}
    if layer.weight is not None:
        cells["Weight shape"] = format_shape(layer.weight.shape)
        cells["Data type"] = layer.weight.data_type
        cells["Notes"] = "; ".join(layer.weight.notes) or NOTHING
    return cells


def _describe_params(params: LayerParams) -> dict[str, str]:
    cells = {
        "Granularity": params.granularity or NOTHING,
        "Axis": NOTHING if params.axis is None else str(params.axis),
        "Block size": NOTHING if params.block_size is None else str(params.block_size),
        "Stored as": params.storage or NOTHING,
        "Input": _describe_tensors(params.inputs),
        "Output": _describe_tensors(params.outputs),
    }
    if params.scale is not None:
        cells["Scale"] = str(create_summary_stats(params.scale))
    if params.zero_point is not None:
        cells["Zero-point"] = format_zero_point(params.zero_point)
    return cells


def format_zero_point(zero_point: np.ndarray) -> str:
    """Return one number where all are equal, else lowest, highest and mean."""
    stats = create_summary_stats(zero_point)
    if stats.count > 1 and stats.min == stats.max:
        return f"{stats.min:g} in all {stats.count}"
    return str(stats)


def _describe_tensors(tensors: Sequence[TensorQuantization]) -> str:
    return "; ".join(map(_describe_tensor, tensors)) or NOTHING


def _describe_tensor(tensor: TensorQuantization) -> str:
    if tensor.quantization is None:
        return f"{tensor.data_type}, scale computed while the model runs"
    return _describe_quantization(tensor.quantization)


def _describe_bias(bias: WeightTensor | None) -> str:
    if bias is None:
        return NOTHING
    how = _describe_quantization(bias.quantization) if bias.quantization else bias.data_type
    return f"{format_shape(bias.shape)} numbers, {how}"


def _describe_quantization(quantization: Quantization) -> str:
    try:
        scale = create_summary_stats(quantization.scale)
        zero_point = format_zero_point(quantization.zero_point)
    except UnavailableError as error:
        return f"{quantization.data_type}, cannot be read: {error}"
    kind = f"{quantization.data_type}, {quantization.granularity}"
    return f"{kind}, scale {scale}, zero-point {zero_point}"


def explain_layer(variants: Mapping[str, Model], names: Mapping[str, str]) -> list[str]:
    """Return a sentence for everything about a layer that a reader may miss on the page."""
    layers = {name: find_layer(variants[name], layer) for name, layer in names.items()}
    sentences = []
    absent = [name for name in variants if name not in names]
    if absent:
        merged = not any(layer.weight for layer in layers.values())
        sentences.append(
            f"This layer was not found in {_join(absent)}"
            f"{': quantizers often merge such a layer into the one before it' if merged else ''}."
        )
    if not any(layer.is_quantized for layer in layers.values()):
        sentences.append(
            f"This layer has no quantization parameters in {_join(list(layers))}: "
            "it computes with float numbers, or only passes them on."
        )
    sentences += [
        f"In {name}, something was not understood: {reason}"
        for name, layer in layers.items()
        for reason in layer.not_understood
    ]
    return sentences


def read_values(weights: Mapping[str, WeightTensor]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the values of each weight that can be read, and a sentence for each that cannot."""
    values, problems = {}, []
    for name, weight in weights.items():
        try:
            values[name] = weight.values
        except UnavailableError as error:
            problems.append(f"The weight of {name} cannot be read: {error}")
    return values, problems


def format_shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def to_html(table: pd.DataFrame) -> str:
    """Return a table for the page, every name in it as plain text. First column: row headings."""
    head = "".join(f'<th scope="col">{_escape(column)}</th>' for column in table.columns)
    rows = (
        f'<tr><th scope="row">{_escape(first)}</th>'
        + "".join(f"<td>{_escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in table.itertuples(index=False, name=None)
    )
    return (
        f'<div class="playground-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _escape(cell: object) -> str:
    return html.escape(str(cell), quote=True)


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
