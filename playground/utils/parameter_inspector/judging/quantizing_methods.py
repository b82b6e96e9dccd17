"""What made a file, as its operators tell, and what onnxruntime's quantizers reach: measured.

`tests/test_remedies.py` carries out each entry with the installed onnxruntime.
"""

from __future__ import annotations

from enum import Enum

from ..operators import operator_named
from ..reading.layers import list_layers
from ..reading.model_file import Model, all_nodes


class Method(Enum):
    """How a file was quantized; the values are what sentences call it."""

    STATIC_QDQ = "static"
    STATIC_QOPERATOR = "static, as QOperator"
    DYNAMIC = "dynamic"
    WEIGHTS_ONLY = "weights only"


# Families of operators whose weight `per_channel=True` gives a scale for each channel.
_PER_CHANNEL = {
    Method.STATIC_QDQ: frozenset(("Conv", "ConvTranspose", "Linear")),
    Method.STATIC_QOPERATOR: frozenset(("Conv", "Linear")),
    Method.DYNAMIC: frozenset(("Linear", "LSTM")),  # ConvInteger keeps one scale
    Method.WEIGHTS_ONLY: frozenset(("Linear",)),
}
# Families that `op_types_to_quantize` brings in; None: whatever has a weight.
_QUANTIZED: dict[Method, frozenset[str] | None] = {
    Method.STATIC_QDQ: None,
    Method.STATIC_QOPERATOR: frozenset(("Conv", "Linear", "Gather")),
    Method.DYNAMIC: frozenset(("Conv", "Linear", "LSTM", "Gather")),
    Method.WEIGHTS_ONLY: frozenset(("Linear", "Gather")),
}
# Families whose lone float weight onnxruntime (since 1.21) quantizes again as the session opens.
_QUANTIZED_AGAIN = frozenset(("Conv", "ConvTranspose"))
_RUN_TIME = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def find_method(model: Model) -> Method:
    """Return what the operators of a quantized file tell of how it was made."""
    operators = {node.op_type for node in all_nodes(model)}
    if operators.intersection(_RUN_TIME):
        return Method.DYNAMIC
    if any(operator.startswith("QLinear") or operator == "QGemm" for operator in operators):
        return Method.STATIC_QOPERATOR
    if any(layer.inputs or layer.outputs for layer in list_layers(model)):
        return Method.STATIC_QDQ
    return Method.WEIGHTS_ONLY


def reaches_per_channel(method: Method, op_type: str) -> bool:
    """Return whether ``per_channel=True`` gives such a layer a scale for each channel."""
    return operator_named(op_type).family in _PER_CHANNEL[method]


def can_quantize(method: Method, op_type: str) -> bool:
    """Return whether that quantizer has anything for such a layer."""
    families = _QUANTIZED[method]
    return families is None or operator_named(op_type).family in families


def quantized_again(method: Method, op_type: str) -> bool:
    """Return whether a layer left out alone does not stay in float."""
    is_static = method in (Method.STATIC_QDQ, Method.STATIC_QOPERATOR)
    family = operator_named(op_type).family
    return is_static and (family in _QUANTIZED_AGAIN or "Gemm" in op_type)


def name_to_exclude(method: Method, op_type: str, node_name: str) -> str:
    """Return what ``nodes_to_exclude`` has to call a node.

    `quantize_dynamic` turns each Gemm into MatMul and Add before it looks.
    """
    split = method is Method.DYNAMIC and op_type == "Gemm" and node_name
    return f"{node_name}_MatMul" if split else node_name


def op_type_to_add(method: Method, op_type: str) -> str:
    """Return what ``op_types_to_quantize`` has to name for such a layer."""
    return "MatMul" if method is Method.DYNAMIC and op_type == "Gemm" else op_type
