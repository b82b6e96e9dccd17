"""What is asked of the layers of a model, and the float nets to ask it of."""

from __future__ import annotations

import numpy as np
import onnx
from models_for_tests import convnet, mlp
from onnx import helper, numpy_helper

from playground.utils.parameter_inspector import list_layers, load_model

node = helper.make_node


def names_of(model: onnx.ModelProto) -> list[str]:
    return [layer.name for layer in list_layers(load_model(model))]


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


NETWORKS = {"convnet": convnet, "mlp": mlp}
