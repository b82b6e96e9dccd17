"""The int32 bias that is counted in a weight's scale, and the scale that it needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..measuring.comparison import Comparison
from ..quantization import Quantization
from ..records import Layer
from .bias_rescaling import raise_scales_for_bias
from .originals import read_original_bias
from .schemes import Scheme, own_axis


@dataclass(frozen=True, eq=False)
class CountedBias:
    """A bias whose codes count input scale times weight scale, as integer kernels want it.

    Attributes:
        values: float, flat: of the original, where the current bias is its rounding.
        input_scale: above zero.
    """

    values: np.ndarray
    input_scale: float

    def raise_scales(self, scale: np.ndarray) -> np.ndarray:
        """Return the scales, raised as far as the bias needs; the array itself if not."""
        return np.asarray(raise_scales_for_bias(scale, self.input_scale, self.values))


def read_counted_bias(comparison: Comparison, variant: str, layer_name: str) -> CountedBias | None:
    """Return the bias that a new scale of the layer's weight has to hold; None where none is."""
    layer = comparison.measured(layer_name, variant).layer
    input_scale = _input_scale(layer)
    bias = layer.bias
    if bias is None or bias.data_type != "int32" or bias.added_by or not input_scale:
        return None
    original = read_original_bias(comparison, variant, layer_name)
    values = bias.values if original is None else original
    return CountedBias(values.astype(np.float64).reshape(-1), input_scale) if values.size else None


def _input_scale(layer: Layer) -> float | None:
    quantization: Quantization | None = layer.inputs[0].quantization if layer.inputs else None
    return None if quantization is None else float(quantization.scale.reshape(-1)[0])


def counts_along(scheme: Scheme, channel_axis: int, rank: int) -> bool:
    """Return whether the scales of a scheme are those of output channels, or one for all."""
    if scheme.granularity == "per-tensor":
        return True
    own = own_axis(scheme.granularity, channel_axis, rank)
    axis = own if scheme.axis is None else scheme.axis % rank
    return scheme.granularity == "per-channel" and axis == channel_axis
