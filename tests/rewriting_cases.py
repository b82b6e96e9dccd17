"""Models on disk to be written again, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from models_for_tests import (
    CONV_INPUT,
    CONV_SHAPE,
    at_input,
    convnet,
    quantized_statically,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType

from playground.utils.parameter_inspector import (
    Comparison,
    Saved,
    compare,
    list_layers,
    load_model,
    requantize_layer,
    save_moves,
)


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
    """Save the model at a path with changes: the scheme of a layer, its float weight and bias."""
    original = out.with_suffix(".float.onnx")
    onnx.save(float_twin(onnx.load(path), changes), original)
    comparison, variant = compare_pair(original, path)
    names = {layer.name for layer in list_layers(load_model(path))}
    assert set(changes) <= names
    moves = [
        move
        for name, (scheme, *_) in changes.items()
        for move in requantize_layer(comparison, variant, name, scheme)
    ]
    return save_moves(comparison, variant, moves, out)


def compare_pair(original: Path, path: Path) -> tuple[Comparison, str]:
    """Return the comparison of a float model and another, and what the other is called."""
    comparison = compare([original, path])
    (variant,) = set(comparison.variants) - {comparison.original}
    return comparison, variant


def float_twin(model: onnx.ModelProto, changes: dict[str, Any]) -> onnx.ModelProto:
    """Return the float model that a QDQ model could be of, with these weights and biases."""
    graph = model.graph
    held = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    values: dict[str, np.ndarray] = {}
    for node in graph.node:
        for name, array in zip(node.input[1:], changes.get(node.name, [None])[1:], strict=False):
            if array is not None:
                values[name] = array
    sources: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        if node.input[0] in held:
            values.setdefault(node.output[0], at_input(model, node.output[0]))
        else:
            sources[node.output[0]] = makers[node.input[0]].input[0]
    linear = ("QuantizeLinear", "DequantizeLinear")
    kept = [node for node in graph.node if node.op_type not in linear]
    for node in kept:
        for i, name in enumerate(node.input):
            while name in sources:
                name = sources[name]
            node.input[i] = name
    ends = [
        helper.make_node("Identity", [sources[value.name]], [value.name])
        for value in graph.output
        if value.name in sources
    ]
    used = {name for node in kept for name in node.input}
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    del twin.graph.node[:], twin.graph.initializer[:], twin.graph.value_info[:]
    twin.graph.node.extend([*kept, *ends])
    twin.graph.initializer.extend(one for name, one in held.items() if name in used - set(values))
    twin.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in values.items()
    )
    return twin


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
