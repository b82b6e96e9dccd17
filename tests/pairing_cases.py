"""Nets whose layers are hard to tell apart, float and as each tool quantizes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models_for_tests import floats, make_model, quantized_dynamically, quantized_statically
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer


def tower() -> onnx.ModelProto:
    """Return a float net whose layers are hard to tell apart: 4 Conv and 4 MatMul of one shape."""
    nodes, arrays, last = [], {}, "x"
    for i, name in enumerate(["conv1", "conv10", "conv2", "conv20", "conv3"]):
        arrays[f"W{i}"] = floats(8, 3 if i == 0 else 8, 3, 2, seed=i)
        arrays[f"B{i}"] = floats(8, seed=i + 50)
        nodes.append(helper.make_node("Conv", [last, f"W{i}", f"B{i}"], [f"c{i}"], name))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        last = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    arrays |= {"G": floats(16, 8, seed=20), "GB": floats(16, seed=21)}
    nodes.append(helper.make_node("Gemm", ["flat", "G", "GB"], ["g"], "fc", transB=1))
    last = "g"
    for i in range(4):
        arrays[f"M{i}"] = floats(16, 16, seed=30 + i)
        nodes.append(helper.make_node("MatMul", [last, f"M{i}"], [f"m{i}"], f"fc{i}"))
        last = f"m{i}"
    model = make_model(
        nodes, arrays, inputs={"x": (1, 3, 14, 13)}, outputs=[last], opset=17, ir_version=8
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(last, TensorProto.FLOAT, (1, 16)))
    return model


def with_nbits(model: onnx.ModelProto, folder: Any) -> onnx.ModelProto:
    quantizer = MatMulNBitsQuantizer(model, block_size=16)
    quantizer.process()
    return quantizer.model.model


TOOLS = {
    "QDQ per channel": lambda m, f: quantized_statically(m, f, per_channel=True),
    "QDQ per tensor": quantized_statically,
    "QDQ uint8": lambda m, f: quantized_statically(
        m, f, activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8
    ),
    "QDQ int4": lambda m, f: quantized_statically(m, f, weight_type=QuantType.QInt4),
    "QOperator": lambda m, f: quantized_statically(m, f, quant_format=QuantFormat.QOperator),
    "dynamic": quantized_dynamically,
    "MatMulNBits": with_nbits,
}


WEIGHTS = [*(f"W{i}" for i in range(5)), "G", *(f"M{i}" for i in range(4))]


def chain(*arrays: np.ndarray, names: str = "a{}") -> onnx.ModelProto:
    """Return MatMul after MatMul of the given weights, all [6, 6]."""
    nodes = [
        helper.make_node("MatMul", [f"h{i}" if i else "x", f"V{i}"], [f"h{i + 1}"], names.format(i))
        for i in range(len(arrays))
    ]
    tensors = {f"V{i}": array for i, array in enumerate(arrays)}
    return make_model(nodes, tensors, inputs={"x": (2, 6)}, outputs=[f"h{len(arrays)}"])


def quantize_tower(folder: Path) -> dict[str, onnx.ModelProto]:
    """Return the net as each tool quantizes it, by the name of the tool."""
    return {name: make(tower(), folder) for name, make in TOOLS.items()}
