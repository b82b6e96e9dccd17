"""A weight in the frame of its channels, and a float weight as a variant folded it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from folding_cases import (
    FACTORS,
    PLAIN,
    float_conv,
    fold_normed,
    gemm,
    normed,
    transposed_conv,
)
from models_for_tests import (
    floats,
    make_model,
    run_onnxruntime,
)
from onnx import helper

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


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> onnx.ModelProto:
    return fold_normed(tmp_path_factory.mktemp("folding"))


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_the_float_weight_times_the_factor_is_what_onnxruntime_folded(folded, layer):
    models = load_model(normed()), load_model(folded)
    pair = pair_layers(*models).of_original(layer)
    weight = find_layer(models[0], pair.original).weight
    ours = fold_original(weight.values, weight, pair)
    theirs = find_layer(models[1], pair.variant).weight.values
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


# --------------------------------------------------------------- alpha


# --------------------------------------------------------------- ConvTranspose


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
