"""The channels of a layer's weight as equalization counts them: those that come in, and go out."""

from __future__ import annotations

import numpy as np

from ..operators import operator_named
from ..records import Layer
from .move_places import OperandPlace


def divide_channels(
    values: np.ndarray, operand: OperandPlace, layer: Layer, factors: np.ndarray
) -> np.ndarray:
    """Return a weight or bias with each output channel divided by its factor."""
    if operand.slot == "bias":
        return (values.reshape(-1) / factors).reshape(values.shape).astype(values.dtype)
    axis = operand.parameter.channel_axis if operand.parameter is not None else 0
    return scale_axis(values, 1.0 / factors, axis or 0)


def multiply_inputs(
    values: np.ndarray, operand: OperandPlace, layer: Layer, factors: np.ndarray
) -> np.ndarray:
    """Return a weight with each input channel multiplied by its factor."""
    axis = operand.parameter.channel_axis if operand.parameter is not None else None
    return scale_inputs(values, layer, axis, factors)


def scale_inputs(
    values: np.ndarray, layer: Layer, channel_axis: int | None, factors: np.ndarray
) -> np.ndarray:
    """Return a weight with its input channels multiplied.

    Args:
        channel_axis: of the output channels, in the frame of the values.
        factors: (channels,); behind a Flatten each stands for all inputs that its channel became.
    """
    operator = operator_named(layer.op_type)
    if operator.is_convolution:
        return _multiply_convolution(values, layer, factors)
    axis = 0 if channel_axis in (None, values.ndim - 1) else values.ndim - 1
    return scale_axis(values, np.repeat(factors, values.shape[axis] // factors.size), axis)


def _multiply_convolution(values: np.ndarray, layer: Layer, factors: np.ndarray) -> np.ndarray:
    if operator_named(layer.op_type).is_transposed:
        return scale_axis(values, factors, 0)
    groups = layer.attribute("group", 1)
    split = values.reshape(groups, values.shape[0] // groups, *values.shape[1:])
    per_group = factors.reshape(groups, 1, values.shape[1], *[1] * (values.ndim - 2))
    return (split * per_group).reshape(values.shape).astype(values.dtype)


def scale_axis(values: np.ndarray, factors: np.ndarray, axis: int) -> np.ndarray:
    """Return values of one channel after the other, each multiplied by its factor."""
    shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)]
    return (values * factors.reshape(shape)).astype(values.dtype)
