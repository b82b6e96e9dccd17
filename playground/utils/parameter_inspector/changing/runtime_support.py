"""What onnxruntime 1.31 can run on a processor, measured on Conv, Gemm and MatMul."""

from __future__ import annotations

from ..operators import operator_named
from ..quantization import is_integer
from ..records import Layer
from .schemes import Scheme


def why_not_run(layer: Layer, scheme: Scheme) -> str | None:
    """Return why onnxruntime cannot run a layer under a scheme, None where it can.

    With and without a bias, optimized and not. A weight beside quantized activations is fused into
    an integer kernel, which has to know its codes; 4 and 16 bits are never fused there. A MatMul or
    Gemm of float and int2 is fused and far off.
    """
    data_type = scheme.data_type
    if data_type == "float4e2m1":
        return f"onnxruntime cannot run {data_type} weights on a processor"
    if reason := why_wrong(layer.op_type, data_type):
        return reason
    if not layer.inputs:
        return None
    if data_type in ("int2", "uint2") or not is_integer(data_type):
        return f"onnxruntime cannot run {data_type} weights beside quantized activations"
    if scheme.granularity == "per-block" and data_type in ("int8", "uint8"):
        return f"onnxruntime cannot run {data_type} weights in blocks beside quantized activations"
    return None


def why_wrong(op_type: str, data_type: str) -> str | None:
    """Return why an operator is none for weights of a type, None where it computes rightly."""
    if data_type in operator_named(op_type).wrong_types:
        return f"onnxruntime computes a {op_type} with {data_type} weights wrongly"
    return None
