"""The scales of a weight that an int32 bias is counted in, raised as far as that bias needs."""

from __future__ import annotations

import numpy as np

from .schemes import float_info

INT32 = np.iinfo(np.int32)
# onnxruntime's: what is rounded on the way to int32 must not step over its end.
BIAS_HEADROOM = 1.0001


def raise_scales_for_bias(
    weight_scale: np.ndarray, input_scale: np.ndarray | float, bias: np.ndarray
) -> np.ndarray:
    """Return the scales of a weight, those raised in which its bias does not fit into int32.

    Args:
        weight_scale: shape (), (1,) or (scales,); above zero.
        input_scale: of the layer's input, one number.
        bias: float, flat; a multiple of the scales in length (ConvTranspose: each group has the
            same ones).

    Returns:
        Shape and type of ``weight_scale``; the array itself where every bias fits.

    Raises:
        ValueError: the lengths do not fit each other.

    Source: ``_adjust_weight_scale_for_int32_bias`` of onnxruntime's quantizer, since 1.21.
    """
    sizes = np.abs(np.asarray(bias, np.float64)).reshape(-1)
    if sizes.size == 0 or sizes.size % weight_scale.size:
        raise ValueError(f"a bias of {sizes.size} numbers, and {weight_scale.size} scales")
    largest = sizes.reshape(-1, weight_scale.size).max(axis=0).reshape(weight_scale.shape)
    given = float(np.asarray(input_scale).reshape(-1)[0])
    # The product of the two scales has to be a number above zero too.
    smallest = float(float_info(weight_scale.dtype).tiny) / given
    least = np.maximum(BIAS_HEADROOM * largest / INT32.max / given, smallest)
    if np.all(weight_scale >= least):
        return weight_scale
    return np.maximum(weight_scale, least).astype(weight_scale.dtype)
