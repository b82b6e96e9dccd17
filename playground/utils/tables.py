"""Records and numbers -> pandas DataFrames, and the sentences that stand where there is no number.

Cells are rounded for reading. Names come from a model and are plain text: `to_html` escapes them.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from .parameter_inspector import (
    Layer,
    LayerPair,
    LayerParams,
    LayerRanges,
    Model,
    Pairing,
    Quantization,
    Scan,
    TensorQuantization,
    UnavailableError,
    VariantSummary,
    WeightTensor,
    create_summary_stats,
    extract_layer_params,
    find_layer,
    list_layers,
    row_name,
)

QUANTIZED_MARK = "◆"
NOTHING = "–"

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


RANGE_MEANINGS = {
    "layer": "every layer that has weights, in graph order",
    "operator": "what the layer computes",
    "paired by": "how we know that this is the same layer in each file: ✓ the weights agree, "
    "? they do not say so",
    "width": "highest minus lowest weight, in the unit of the weights",
    "low": "the lowest weight",
    "high": "the highest weight",
}


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


def create_range_table(
    rows: Sequence[LayerRanges], variants: Sequence[str], pairings: Mapping[str, Pairing]
) -> pd.DataFrame:
    """Return one row for each row of the heatmap: lowest, highest and width in each variant."""
    columns: dict[str, list[object]] = {
        "layer": [row.layer for row in rows],
        "operator": [row.node_type for row in rows],
    }
    ranges = {name: [row.ranges.get(name) for row in rows] for name in variants}
    for name, known in ranges.items():
        columns[f"{name} width"] = [_round(r[1] - r[0]) if r else None for r in known]
    if pairings:
        columns["paired by"] = [describe_pairing(row.layer, pairings) for row in rows]
    for name, known in ranges.items():
        columns[f"{name} low"] = [_round(r[0]) if r else None for r in known]
        columns[f"{name} high"] = [_round(r[1]) if r else None for r in known]
    return pd.DataFrame(columns)


def explain_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for each column of the range table."""
    names = [str(name) for name in table.columns]
    return {n: RANGE_MEANINGS[n if n in RANGE_MEANINGS else n.split()[-1]] for n in names}


def explain_link(what: str, asked: str | None, names: Collection[str]) -> list[str]:
    """Return a sentence if a link asks for a layer or a network that is not there."""
    if asked is None or asked in names:
        return []
    return [f"The link asks for the {what} {asked!r}, which is not here. The first one is shown."]


def describe_pairing(layer: str, pairings: Mapping[str, Pairing]) -> str:
    """Return the evidence that a layer is the same in each variant, said once where it is one."""
    evidence = {}
    for name, pairing in pairings.items():
        pair = pairing.of_reference(layer)
        evidence[name] = mark_evidence(pair)
    if len(set(evidence.values())) == 1:
        return next(iter(evidence.values()))
    return "; ".join(f"{name}: {text}" for name, text in evidence.items()) or NOTHING


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


def _round(number: float) -> float:
    return float(f"{number:.4g}")
