"""What a quantized layer was made from: its float weight and bias, in the layer's frame."""

from __future__ import annotations

import numpy as np

from ..measuring.comparison import Comparison
from ..reading.layers import find_layer
from ..records import WeightTensor
from ..streaming.channel_frame import fold_original
from ..wording import describe_refusal


def find_original(comparison: Comparison, layer_name: str) -> WeightTensor:
    """Return the float weight of a layer. Raises ``ValueError`` where there is none."""
    measured = comparison.find_measured(layer_name, comparison.named_by)
    if measured is None or measured.weight.is_quantized:
        raise ValueError("there is no float original of this layer to quantize again")
    return measured.weight


def read_original(comparison: Comparison, variant: str, layer_name: str) -> np.ndarray:
    """Return the float weight of a layer, folded as the variant folded it, in the layer's frame.

    Raises:
        ValueError: the layer has no float original, or none that is surely the same layer, or the
            variant left it in float. The message is one sentence.
    """
    if (layer_name, variant) in comparison.unavailable:
        raise ValueError(describe_refusal(comparison.unavailable[layer_name, variant]))
    measured = comparison.find_measured(layer_name, variant)
    if measured is None:
        raise ValueError(f"{variant} has no such layer")
    if not measured.weight.is_quantized:
        raise ValueError("this layer was left in float")
    original, pair = find_original(comparison, layer_name), measured.pair
    if pair is None or not pair.is_sure:
        raise ValueError("its float original is not surely the same layer")
    values = fold_original(original.values, original, pair)
    if values.shape != measured.weight.shape:
        raise ValueError(
            f"its float original has shape {values.shape}, the quantized weight "
            f"{measured.weight.shape}"
        )
    return values


def read_original_bias(comparison: Comparison, variant: str, layer_name: str) -> np.ndarray | None:
    """Return the float bias that the current int32 bias is the rounding of; None where it is not.

    A tool may have corrected the bias on purpose, or folded a batch-norm into it.
    """
    measured = comparison.measured(layer_name, variant)
    current, pair = measured.layer.bias, measured.pair
    if current is None or current.quantization is None or pair is None or pair.folding:
        return None
    original = find_layer(comparison.naming_model, pair.original).bias
    if original is None or original.is_quantized or original.shape != current.shape:
        return None
    values, quantization = original.values, current.quantization
    scale = quantization.spread(quantization.scale.astype(np.float64), current.source.shape)
    if current.layout or np.broadcast_shapes(scale.shape, values.shape) != values.shape:
        return None
    half_step = 0.51 * np.abs(scale)
    return values if np.all(np.abs(values - current.values) <= half_step) else None
