"""A weight in the frame of its channels, and a float weight as a variant folded it."""

from __future__ import annotations

import math

import numpy as np

from ..operators import operator_named
from ..records import Layer, LayerPair, WeightTensor


def channels_first(array: np.ndarray, weight: WeightTensor, layer: Layer) -> np.ndarray:
    """Return a weight as ``(output channels, fan-in)``, the same for every operator of a family."""
    if operator_named(layer.op_type).is_transposed and array.ndim > 1:
        group = layer.attribute("group", 1)
        split = array.reshape(group, array.shape[0] // group, *array.shape[1:])
        fan_in = split.shape[1] * math.prod(array.shape[2:])
        return np.moveaxis(split, 2, 1).reshape(group * array.shape[1], fan_in)
    axis = weight.channel_axis or 0
    if array.ndim == 0:
        return array.reshape(1, 1)
    moved = np.moveaxis(array, axis, 0)
    return moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))


def channel_count(layer: Layer) -> int:
    """Return how many output channels the weight of a layer has."""
    weight = layer.weight
    if weight is None or not weight.shape:
        return 1
    transposed = operator_named(layer.op_type).is_transposed
    groups = layer.attribute("group", 1) if transposed else 1
    return groups * weight.shape[weight.channel_axis or 0]


def spread_out(count: int, wanted: int) -> np.ndarray:
    """Return up to ``wanted`` indices below ``count``, evenly apart."""
    return np.linspace(0, count - 1, min(count, wanted)).astype(int) if count else np.zeros(0, int)


def fold_original(values: np.ndarray, weight: WeightTensor, pair: LayerPair | None) -> np.ndarray:
    """Return a float weight as the quantized variant folded it, in the layer's frame."""
    if pair is None or pair.original_factor is None or weight.channel_axis is None:
        return values
    factor, axis = pair.original_factor, weight.channel_axis
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    groups = factor.size // max(1, values.shape[axis])
    if groups > 1:  # ConvTranspose [in, out / groups, ...]: each group has factors of its own
        by_input = np.repeat(factor.reshape(groups, -1), values.shape[0] // groups, axis=0)
        return (values * by_input.reshape(*values.shape[:2], *shape[2:])).astype(np.float32)
    return (values * factor.reshape(shape)).astype(np.float32)
