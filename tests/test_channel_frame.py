"""A weight in the frame of its channels, and a float weight as a variant folded it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    floats,
    make_model,
    run_onnxruntime,
)
from onnx import TensorProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from playground.utils.parameter_inspector import (
    LayerPair,
    find_layer,
    list_layers,
    load_model,
    pair_layers,
)
from playground.utils.parameter_inspector.facts import Evidence
from playground.utils.parameter_inspector.streaming.channel_frame import (
    channels_first,
    fold_original,
)

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


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> onnx.ModelProto:
    """The net as onnxruntime prepares it for quantization."""
    folder = tmp_path_factory.mktemp("folding")
    onnx.save(normed(), folder / "float.onnx")
    quant_pre_process(
        str(folder / "float.onnx"), str(folder / "folded.onnx"), skip_symbolic_shape=True
    )
    return onnx.load(folder / "folded.onnx")


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_the_float_weight_times_the_factor_is_what_onnxruntime_folded(folded, layer):
    models = load_model(normed()), load_model(folded)
    pair = pair_layers(*models).of_original(layer)
    weight = find_layer(models[0], pair.original).weight
    ours = fold_original(weight.values, weight, pair)
    theirs = find_layer(models[1], pair.variant).weight.values
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def float_conv(weight: np.ndarray) -> onnx.ModelProto:
    return make_model([helper.make_node("Conv", ["x", "W"], ["y"], "conv")], {"W": weight})


FACTORS = np.float32([0.25, 2, 0.5, 3.5, 1.5])
PLAIN = floats(5, 3, 2, 4)


# --------------------------------------------------------------- alpha


def gemm(weight: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "W"], ["y"], "fc", **attributes)
    return make_model([node], {"W": weight}, inputs={"x": (2, 7)})


# --------------------------------------------------------------- ConvTranspose


def transposed_conv(weight: np.ndarray, group: int, nodes: tuple = (), **arrays: Any) -> Any:
    node = helper.make_node("ConvTranspose", ["x", "W"], ["c"], "up", group=group)
    return make_model(
        [node, *nodes], {"W": weight, **arrays}, inputs={"x": (1, 6, 9, 8)},
        outputs=[nodes[-1].output[0] if nodes else "c"],
    )  # fmt: skip


@pytest.mark.parametrize("group", [1, 2, 3])
def test_the_channels_of_convtranspose_are_those_it_computes(group):
    """An output channel is what answers when its inputs alone are one: run, not rearranged."""
    weight = floats(6, 5, 2, 4)
    (layer,) = list_layers(load_model(transposed_conv(weight, group)))
    rows = channels_first(layer.weight.values, layer.weight, layer)
    assert rows.shape == (5 * group, 6 // group * 8)
    for channel in range(6):
        x = np.zeros((1, 6, 9, 8), np.float32)
        x[0, channel, 4, 3] = 1
        (out,) = run_onnxruntime(transposed_conv(weight, group), {"x": x}, ["c"])
        inputs = 6 // group
        first = channel // inputs * 5
        for k in range(5):
            kernel = out[0, first + k, 4:6, 3:7]
            place = channel % inputs
            np.testing.assert_allclose(
                rows[first + k].reshape(inputs, 2, 4)[place], kernel, rtol=1e-6
            )


def test_a_pair_without_folding_leaves_the_float_weight_alone():
    (layer,) = list_layers(load_model(float_conv(PLAIN)))
    assert fold_original(PLAIN, layer.weight, None) is PLAIN
    assert fold_original(PLAIN, layer.weight, LayerPair("a", "b", Evidence.VALUES, 1.0)) is PLAIN


def test_the_factor_of_a_matmul_goes_to_its_columns():
    weight = floats(7, 5)
    models = load_model(gemm(weight)), load_model(gemm(weight * FACTORS))
    pair = pair_layers(*models).of_original("fc")
    (layer,) = list_layers(models[0])
    folded = fold_original(layer.weight.values, layer.weight, pair)
    np.testing.assert_allclose(folded, weight * FACTORS, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 0, 2, 2), (0, 3, 2, 2), (4, 2, 0, 2)], ids=str)
def test_a_transposed_convolution_without_elements_is_in_its_channels_frame(shape):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up")
    inputs = {"x": (1, shape[0], 4, 4)}
    model = make_model([node], {"w": np.ones(shape, np.float32)}, inputs=inputs)
    (layer,) = list_layers(load_model(model))
    frame = channels_first(layer.weight.values, layer.weight, layer)
    assert frame.shape == (shape[1], shape[0] * shape[2] * shape[3])
