"""Models on disk to be written again, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from models_for_tests import CONV_INPUT, CONV_SHAPE, convnet, quantized_statically
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.rewriting import (
    Change,
    Saved,
    quantize_layer,
    save_changed_model,
)
from playground.utils.parameter_inspector.changing.schemes import Scheme


def layer_of(path: Path, name: str) -> Any:
    return next(one for one in list_layers(load_model(path)) if one.name == name)


def saved(model: onnx.ModelProto, folder: Path, name: str = "today.onnx") -> Path:
    onnx.save(model, folder / name)
    return folder / name


def save_convnet(folder: Path) -> Path:
    """Save a small float network as fp32.onnx; return the path of it quantized.

    It has a Conv, a Conv without bias and a Gemm, all with quantized activations.
    """
    model = quantized_statically(
        convnet(), folder, weight_type=QuantType.QUInt8, activation_type=QuantType.QUInt8
    )
    onnx.save(convnet(), folder / "fp32.onnx")
    return saved(model, folder)


def write_again(path: Path, changes: dict[str, Any], out: Path) -> Saved:
    """Save the model at a path with changes, given ready or as scheme, float weight and bias."""
    model = load_model(path)
    return save_changed_model(model, ready(model, changes), out)


def ready(model: Any, changes: dict[str, Any]) -> dict[str, Change]:
    layers = {layer.name: layer for layer in list_layers(model)}
    return {
        name: one if isinstance(one, Change) else make_change(layers.get(name), *one)
        for name, one in changes.items()
    }


def make_change(layer: Any, scheme: Scheme, weight: np.ndarray, bias: Any = None) -> Change:
    if layer is None:
        return Change(scheme, requantize(weight, scheme).stored, bias)
    return Change(scheme, quantize_layer(layer, weight, scheme), bias)


def run(path: Path, feeds: dict[str, np.ndarray], optimized: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


WEIGHTS = {"conv1": "W1", "conv10": "W10", "fc": "W2"}


def exact(name: str) -> np.ndarray:
    tensors = {one.name: numpy_helper.to_array(one) for one in convnet().graph.initializer}
    return tensors[WEIGHTS[name]]


def shaped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the output of the small Conv its type, as the checker asks."""
    out = (1, CONV_SHAPE[0], CONV_INPUT[2] - CONV_SHAPE[2] + 1, CONV_INPUT[3] - CONV_SHAPE[3] + 1)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, out))
    return model
