"""Keep what was left in float from being quantized again where the file is opened.

onnxruntime (``WeightBiasQuantization``, from its basic optimizations on) quantizes the float weight
of a Conv, ConvTranspose or Gemm behind a dequantized input to int8 with one scale, unless its bias
is something else than a constant. A bias in codes of its own, as fine as float32, is that.
"""

from __future__ import annotations

import numpy as np
import onnx

from ..operators import operator_named
from .edited_graph import EditedGraph
from .integer_operators import DEQUANTIZE

SHIELDED = ("Conv", "ConvTranspose", "Gemm")
BIAS_INPUT = 2
# Codes of a bias: as many as a float32 has digits for, and room for the sums of a kernel.
MOST_CODE = 1 << 30


def shield_float_weight(graph: EditedGraph, node: onnx.NodeProto, axis: int) -> bool:
    """Put the bias of a layer with a float weight into codes, where its input is dequantized.

    Returns whether that was needed.

    Args:
        axis: of the output channels in the weight.
    """
    made = graph.made_by.get(node.input[0])
    weight = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if node.op_type not in SHIELDED or made is None or made.op_type != DEQUANTIZE:
        return False
    if weight is None or weight.dtype != np.float32:
        return False
    name = node.input[BIAS_INPUT] if len(node.input) > BIAS_INPUT else ""
    bias = graph.constant(name) if name else np.zeros(_count_channels(node, weight, axis))
    if bias is None or bias.ndim != 1 or bias.dtype not in (np.float32, np.float64):
        return False
    stem = name or f"{node.output[0]}_bias"
    scale = np.asarray(np.abs(bias).max(initial=0.0) / MOST_CODE or 1.0, np.float32)
    codes = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
    held = [graph.add_constant(codes, f"{stem}_codes"), graph.add_constant(scale, f"{stem}_scale")]
    values = graph.new_name(f"{stem}_values")
    graph.add(DEQUANTIZE, held, [values])
    graph.set_input(node, BIAS_INPUT, values)
    return True


def _count_channels(node: onnx.NodeProto, weight: np.ndarray, axis: int) -> int:
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    transposed = operator_named(node.op_type).is_transposed
    return int(weight.shape[axis] * (groups if transposed else 1))
