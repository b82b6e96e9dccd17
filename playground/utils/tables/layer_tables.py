"""Section 3: the layers to choose from, and the parameters of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..parameter_inspector import (
    Comparison,
    Layer,
    LayerParams,
    Model,
    Quantization,
    TensorQuantization,
    UnavailableError,
    WeightTensor,
    create_summary_stats,
    describe_refusal,
    extract_layer_params,
    find_layer,
)
from ..spelling import NOTHING, format_shape, join_names

QUANTIZED_MARK = "◆"
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
}


def create_layer_options(comparison: Comparison) -> dict[str, str]:
    """Return label -> name of every layer, in graph order; what only a variant has follows.

    The label marks quantization parameters.
    """
    return {
        f"{QUANTIZED_MARK if any(map(_is_quantized, layer.by_variant.values())) else NOTHING} "
        f"{layer.name} · {layer.op_type}": layer.name
        for layer in comparison.layers()
    }


def _is_quantized(layer: Layer) -> bool:
    return layer.is_quantized


def create_parameter_table(comparison: Comparison, layer_name: str) -> pd.DataFrame:
    """Return the parameters of one layer: a row for each, a column for each variant.

    Raises:
        KeyError: no variant has such a layer.
    """
    names = comparison.layer_names[layer_name]
    columns = {name: _describe_layer(comparison.variants[name], names[name]) for name in names}
    used = [p for p in MEANINGS if any(c.get(p, NOTHING) != NOTHING for c in columns.values())]
    cells = {name: [column.get(p, NOTHING) for p in used] for name, column in columns.items()}
    return pd.DataFrame(
        {"Parameter": used, **cells, "Meaning": [MEANINGS[parameter] for parameter in used]}
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


def explain_layer(comparison: Comparison, layer_name: str) -> list[str]:
    """Return a sentence for everything about a layer that a reader may miss on the page."""
    names = comparison.layer_names[layer_name]
    layers = {name: find_layer(comparison.variants[name], own) for name, own in names.items()}
    sentences = []
    absent = [name for name in comparison.variants if name not in names]
    if absent:
        merged = not any(layer.weight for layer in layers.values())
        sentences.append(
            f"This layer was not found in {join_names(absent)}"
            f"{': quantizers often merge such a layer into the one before it' if merged else ''}."
        )
    if not any(layer.is_quantized for layer in layers.values()):
        sentences.append(
            f"This layer has no quantization parameters in {join_names(list(layers))}: "
            "it computes with float numbers, or only passes them on."
        )
    sentences += [
        f"In {name}, something was not understood: {describe_refusal(reason)}"
        for name, layer in layers.items()
        for reason in layer.not_understood
    ]
    return sentences
