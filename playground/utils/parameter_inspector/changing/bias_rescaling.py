"""The int32 bias of a layer whose weight has new scales."""

from __future__ import annotations

import numpy as np

from ..quantization import Quantization
from ..records import Layer
from .changed_graph import ChangedGraph
from .rewrite_errors import RewriteError

INT32 = np.iinfo(np.int32)


def change_bias(
    graph: ChangedGraph, layer: Layer, quantization: Quantization, original: np.ndarray | None
) -> None:
    """Count an int32 bias in input scale times weight scale, as integer kernels want it.

    Blocks have no such scale: no integer kernel adds their bias, which stays as it is.
    """
    bias = layer.bias
    if bias is None or bias.quantization is None or bias.data_type != "int32":
        return
    input_scale = _input_scale(layer)
    if input_scale is None or quantization.block_size is not None:
        return
    node = graph.dequantizer(layer, bias)
    if node is None:  # an Add of its own, which no integer kernel takes in
        return
    values = bias.values if original is None else original
    scale = _bias_scale(input_scale, quantization, values.size)
    codes = np.rint(values.astype(np.float64).reshape(-1) / scale.astype(np.float64))
    if np.any((codes < INT32.min) | (codes > INT32.max)):
        raise RewriteError(
            f"its bias does not fit into int32 under {_spell(quantization)}: input scale times "
            f"weight scale is down to {scale.min():.3g}"
        )
    graph.store_bias(node, codes.reshape(values.shape).astype(np.int32), scale)


def _input_scale(layer: Layer) -> np.ndarray | None:
    activation = layer.inputs[0].quantization if layer.inputs else None
    return activation.scale.reshape(-1)[:1] if activation is not None else None


def _bias_scale(input_scale: np.ndarray, quantization: Quantization, size: int) -> np.ndarray:
    """Return the scale of the bias, of shape () or (size,), never zero."""
    product = (input_scale * quantization.scale.reshape(-1)).astype(quantization.scale.dtype)
    if not np.all(product > 0):
        raise RewriteError("input scale times weight scale is not above zero: no bias can be in it")
    if product.size == 1:
        return product.reshape(())
    if size % product.size:
        raise RewriteError(f"its bias has {size} numbers, the weight {product.size} scales")
    return np.tile(product, size // product.size)  # ConvTranspose: each group has the same ones


def _spell(quantization: Quantization) -> str:
    return f"{quantization.data_type} {quantization.granularity}"
