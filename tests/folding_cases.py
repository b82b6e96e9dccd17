"""Float layers with a BatchNormalization behind them, and as onnxruntime folds it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models_for_tests import floats, make_model
from onnx import TensorProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process

EPSILON = 0.25


def norm_arrays(channels: int, name: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed + 40)
    gamma = rng.uniform(0.3, 3, channels) * rng.choice([-1, 1], channels)
    return {
        f"{name}.gamma": gamma.astype(np.float32),
        f"{name}.beta": floats(channels, seed=seed + 41),
        f"{name}.mean": floats(channels, seed=seed + 42),
        f"{name}.variance": rng.uniform(0.05, 2, channels).astype(np.float32),
    }


def norm_node(source: str, output: str, name: str, **attributes: Any) -> onnx.NodeProto:
    inputs = [source, *(f"{name}.{part}" for part in ("gamma", "beta", "mean", "variance"))]
    return helper.make_node("BatchNormalization", inputs, [output], name, **attributes)


NORMED = {
    "W1": floats(5, 3, 2, 4),
    "b1": floats(5, seed=1),
    **norm_arrays(5, "bn1"),
    "W2": floats(7, 5, 3, 2, seed=2),
    **norm_arrays(7, "bn2", seed=3),
}


def normed() -> onnx.ModelProto:
    """Return Conv, BatchNormalization, Relu, twice."""
    nodes = [
        helper.make_node("Conv", ["x", "W1", "b1"], ["c1"], "conv1"),
        norm_node("c1", "n1", "bn1", epsilon=EPSILON),
        helper.make_node("Relu", ["n1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "W2"], ["c2"], "conv2"),
        norm_node("c2", "n2", "bn2", epsilon=EPSILON),
        helper.make_node("Relu", ["n2"], ["y"], "relu2"),
    ]
    model = make_model(nodes, NORMED, inputs={"x": (1, 3, 12, 11)}, opset=17, ir_version=8)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 7, 9, 7))
    )
    return model


def float_conv(weight: np.ndarray) -> onnx.ModelProto:
    return make_model([helper.make_node("Conv", ["x", "W"], ["y"], "conv")], {"W": weight})


FACTORS = np.float32([0.25, 2, 0.5, 3.5, 1.5])
PLAIN = floats(5, 3, 2, 4)


def gemm(weight: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "W"], ["y"], "fc", **attributes)
    return make_model([node], {"W": weight}, inputs={"x": (2, 7)})


def transposed_conv(weight: np.ndarray, group: int, nodes: tuple = (), **arrays: Any) -> Any:
    node = helper.make_node("ConvTranspose", ["x", "W"], ["c"], "up", group=group)
    return make_model(
        [node, *nodes], {"W": weight, **arrays}, inputs={"x": (1, 6, 9, 8)},
        outputs=[nodes[-1].output[0] if nodes else "c"],
    )  # fmt: skip


def fold_normed(folder: Path) -> onnx.ModelProto:
    """Return the net as onnxruntime prepares it for quantization."""
    onnx.save(normed(), folder / "float.onnx")
    quant_pre_process(
        str(folder / "float.onnx"), str(folder / "folded.onnx"), skip_symbolic_shape=True
    )
    return onnx.load(folder / "folded.onnx")
