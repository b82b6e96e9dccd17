"""A layer excluded with what reads it stays in float in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.judging.float_neighbours import find_readers

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("/stack2/conv1/Conv", ["/stack2/conv2/Conv"]),  # behind its Relu
        ("/stack2/conv2/Conv", []),  # an Add is behind
        ("/stack2/skip/conv/Conv", []),
    ],
)
def test_a_layer_excluded_with_its_readers_stays_float_in_onnxruntime(tmp_path, name, readers):
    path = MODELS / "resnet8" / "fp32.onnx"
    layers = list_layers(load_model(path))
    found = find_readers(next(one for one in layers if one.name == name), layers)
    assert [one.name for one in found if one.op_type == "Conv"] == readers
    excluded = quantized_without(path, [name, *(one.name for one in found)], tmp_path)
    assert name in {node.name for node in excluded.graph.node if node.op_type in FLOAT_CONVOLUTIONS}


FLOAT_CONVOLUTIONS = ("Conv", "FusedConv")


def quantized_without(path, names, folder):
    """Return what onnxruntime makes of a uint8 build that leaves nodes out, all optimized."""
    image = {"image": np.random.default_rng(0).random((1, 1, 32, 32), np.float32)}
    reader = iter([image])

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(reader, None)

    quantize_static(
        path, folder / "q.onnx", Reader(), nodes_to_exclude=names,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    # Beyond it, Conv becomes a form for one processor that has no node name of its own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(folder / "q.onnx", options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")
