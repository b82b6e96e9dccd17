"""A weight of few-bit codes that lies in a file is unpacked part by part, as read at once."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import onnx
import pytest
from models_for_tests import MICROSOFT, codes, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.records import Layer
from playground.utils.parameter_inspector.streaming.channel_frame import channels_first
from playground.utils.parameter_inspector.streaming.chunks import open_matrix
from playground.utils.parameter_inspector.streaming.matrix_parameters import spread_parameters


def rows_of_blocks(bits: int) -> onnx.ModelProto:
    """MatMulNBits [64, 72] in blocks of 16: the last one of a row is half full."""
    arrays = {"w": codes("uint8", 64, 5, 2 * bits), "s": scales(64, 5)}
    made = helper.make_node("MatMulNBits", ["x", *arrays], ["y"], domain=MICROSOFT,
                            N=64, K=72, bits=bits, block_size=16)  # fmt: skip
    return make_model([made], arrays, inputs={"x": (2, 72)})


def experts(block: int) -> onnx.ModelProto:
    """QMoE [3, 24, 64]: what belongs to a channel lies in three places."""
    s = scales(3, 24, 64 // block) if block else scales(3, 24)
    arrays = {"w": codes("uint8", 3, 24, 32), "s": s}
    more = {"block_size": block} if block else {}
    made = helper.make_node("QMoE", ["x", "r", *arrays], ["y"], domain=MICROSOFT,
                            weights_prepacked=0, **more)  # fmt: skip
    return make_model([made], arrays, inputs={"x": (2, 64), "r": (2, 3)})


def float4() -> onnx.ModelProto:
    arrays = {
        "w": codes("uint8", 48, 40),
        "s": codes("uint8", 48, 5) % np.uint8(120),
        "g": np.float32(0.3),
    }
    made = helper.make_node("MatMulBlockQuantizedFp4Weight", ["x", *arrays], ["y"],
                            domain=MICROSOFT)  # fmt: skip
    return make_model([made], arrays, inputs={"x": (2, 80)})


KINDS = {
    **{f"{bits} bits": rows_of_blocks(bits) for bits in (2, 3, 4, 5, 8)},
    "experts": experts(0),
    "experts in blocks": experts(16),
    "float4": float4(),
}
PARTS = [
    (slice(0, 1), slice(0, 1)),
    (slice(3, 17), slice(5, 70)),
    (slice(20, 24), slice(60, 72)),
    (slice(0, 24), slice(0, 72)),
]


@pytest.fixture(params=KINDS)
def layer(request, tmp_path) -> Layer:
    path = tmp_path / "m.onnx"
    onnx.save(KINDS[request.param], path)
    (layer,) = list_layers(load_model(path))
    return layer


def whole(layer: Layer) -> np.ndarray:
    return channels_first(layer.weight.codes, layer.weight, layer)


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_that_of_the_whole_read_at_once(layer, part):
    with ExitStack() as stack:
        matrix = open_matrix(layer.weight, layer, stack)
        assert not matrix.is_in_memory
        assert matrix.shape == whole(layer).shape
        np.testing.assert_array_equal(matrix.load(part), whole(layer)[part])


def test_picked_rows_and_columns_are_those_of_the_whole(layer):
    rows, columns = np.array([0, 7, 8, 23]), np.array([1, 2, 40, 71])
    with ExitStack() as stack:
        picked = open_matrix(layer.weight, layer, stack).pick(rows, columns)
    np.testing.assert_array_equal(picked, whole(layer)[np.ix_(rows, columns)])


def test_the_scale_of_a_part_is_that_of_its_elements(layer):
    quantization, shape = layer.weight.quantization, layer.weight.shape
    full = np.broadcast_to(quantization.spread(quantization.scale, shape), shape)
    wanted = channels_first(full, layer.weight, layer)
    scale, _ = spread_parameters(layer.weight, layer)
    for part in PARTS:
        cut = np.broadcast_to(scale.cut(part), wanted[part].shape)
        np.testing.assert_array_equal(cut, wanted[part])


def test_a_weight_asked_for_by_columns_is_read_at_once(layer):
    with ExitStack() as stack:
        matrix = open_matrix(layer.weight, layer, stack, by_columns=True)
        assert matrix.is_in_memory
        np.testing.assert_array_equal(matrix.load(PARTS[1]), whole(layer)[PARTS[1]])
