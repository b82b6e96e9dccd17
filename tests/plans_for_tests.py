"""A small network with one activation that is quantized badly, and its samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from networks_to_run import conv_network, images, quantize, run
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat

from playground.utils.parameter_inspector import Comparison, compare


def spoil(proto: onnx.ModelProto, tensor: str, factor: float) -> onnx.ModelProto:
    """Make the scale of an activation so many times larger: it has fewer codes then."""
    quantize_node = next(
        n for n in proto.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor
    )
    name = quantize_node.input[1]
    scale = next(t for t in proto.graph.initializer if t.name == name)
    held = numpy_helper.to_array(scale) * np.float32(factor)
    scale.CopyFrom(numpy_helper.from_array(held.astype(np.float32), name))
    return proto


def compare_spoiled(folder: Path, tensor: str = "r2", factor: float = 40.0) -> Comparison:
    """Return the network beside a build that has few codes for one tensor."""
    source, target = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(conv_network(), source)
    onnx.save(spoil(quantize(conv_network(), folder), tensor, factor), target)
    return compare([source, target])


def compare_operators(folder: Path) -> Comparison:
    """Return the network beside a build of quantized operators."""
    source, target = folder / "fp32.onnx", folder / "qop.onnx"
    onnx.save(conv_network(), source)
    onnx.save(quantize(conv_network(), folder, quant_format=QuantFormat.QOperator), target)
    return compare([source, target])


def quantized_name(comparison: Comparison) -> str:
    return next(name for name in comparison.variants if name != comparison.original)


def output_db(path: Path, inputs: dict[str, np.ndarray]) -> float:
    """Return the output SQNR of a file, as onnxruntime runs it without optimizations."""
    exact, held = run(conv_network(), inputs)[0], run(onnx.load(path), inputs)[0]
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - held).sum()))


SAMPLES = images(8, seed=3)
