"""What a quantized layer was made from: its float weight and bias, in the layer's frame."""

from __future__ import annotations

import numpy as np

from ..facts import Stay, StayReason
from ..measuring.comparison import Comparison
from ..reading.layers import find_layer
from ..records import WeightTensor
from ..streaming.channel_frame import fold_original
from ..wording import describe_stay


class StaysError(ValueError):
    """A weight cannot be quantized again. ``stay`` says why, ``str()`` says so in a sentence."""

    def __init__(self, stay: Stay) -> None:
        super().__init__(stay)
        self.stay = stay

    def __str__(self) -> str:
        return describe_stay(self.stay)


def find_original(comparison: Comparison, layer_name: str) -> WeightTensor:
    """Return the float weight of a layer. Raises ``StaysError`` where there is none."""
    measured = comparison.find_measured(layer_name, comparison.named_by)
    if measured is None or measured.weight.is_quantized:
        raise StaysError(Stay(layer_name, StayReason.NO_ORIGINAL))
    return measured.weight


def read_original(comparison: Comparison, variant: str, layer_name: str) -> np.ndarray:
    """Return the float weight of a layer, folded as the variant folded it, in the layer's frame.

    Raises:
        StaysError: the layer has no float original, or none that is surely the same layer, or the
            variant left it in float.
    """
    refusal = comparison.unavailable.get((layer_name, variant))
    if refusal is not None:
        raise StaysError(Stay(layer_name, StayReason.UNREADABLE, refusal))
    measured = comparison.find_measured(layer_name, variant)
    if measured is None:
        raise StaysError(Stay(layer_name, StayReason.NOT_IN_VARIANT, name=variant))
    if not measured.weight.is_quantized:
        raise StaysError(Stay(layer_name, StayReason.FLOAT))
    original, pair = find_original(comparison, layer_name), measured.pair
    if pair is None or not pair.is_sure:
        raise StaysError(Stay(layer_name, StayReason.UNSURE))
    values = turn_to(measured.weight, fold_original(original.values, original, pair), original)
    if values.shape != measured.weight.shape:
        raise StaysError(
            Stay(
                layer_name,
                StayReason.SHAPE,
                shape=values.shape,
                expected_shape=measured.weight.shape,
            )
        )
    return values


def turn_to(weight: WeightTensor, values: np.ndarray, original: WeightTensor) -> np.ndarray:
    """Return a float matrix in the frame of a weight whose output channels lie on the other axis.

    MatMulNBits holds a MatMul's matrix transposed.
    """
    axes = original.channel_axis, weight.channel_axis
    if len(weight.shape) == values.ndim == 2 and None not in axes and axes[0] != axes[1]:
        return np.ascontiguousarray(values.T)
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
