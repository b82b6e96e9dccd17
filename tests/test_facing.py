"""A variant is fed and read as its original is, under names and types of its own."""

import numpy as np
import onnx
import pytest
from networks_to_run import conv_network, images, measure, model, node, run, sqnr_db

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.edges import Network
from playground.utils.parameter_inspector.running.facing import create_faced_model


def test_a_file_that_takes_and_gives_codes_is_fed_what_the_original_is_fed():
    """As files from TensorFlow Lite do, under names of their own."""
    original = model(
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Abs", "t", "y")],
        {"x": ["N", 2, 3]},
        ["y"],
    )
    variant = model(
        [
            node("Transpose", "x_int8", "t", perm=[0, 2, 1]),
            node("DequantizeLinear", "t s z", "d"),
            node("Abs", "d", "a"),
            node("QuantizeLinear", "a s z", "y_int8"),
        ],
        {"x_int8": ["N", 2, 3]}, ["y_int8"], {"s": np.float32(0.5), "z": np.int8(0)},
    )  # fmt: skip
    for value in (variant.graph.input[0], variant.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.INT8
    x = np.array([[[0.2, -1.3, 2.4], [0.1, 0.6, -80]]], np.float32)
    found = measure(original, variant, {"x": x})
    held = np.clip(np.abs(np.clip(np.rint(x / 0.5), -128, 127)), -128, 127) * 0.5
    assert found.loss("y").sqnr_db == pytest.approx(sqnr_db(np.abs(x), held), abs=1e-4)
    assert found.check.all_on_db == np.inf


def faced(original: onnx.ModelProto, variant: onnx.ModelProto) -> onnx.ModelProto:
    networks = (Network(load_model(proto)) for proto in (original, variant))
    return onnx.load_from_string(create_faced_model(*networks))


def test_a_variant_with_the_names_of_its_original_stays_as_it_is():
    found = faced(conv_network(), conv_network(batch="M"))
    assert found.graph.node == conv_network().graph.node
    np.testing.assert_array_equal(run(found, images(2))[0], run(conv_network(), images(2))[0])


def test_a_variant_with_other_names_is_fed_and_read_by_those_of_its_original():
    original = model([node("Exp", "x", "y")], {"x": ["N", 3]}, ["y"])
    # Its input has the name of the original's output, and the other way round.
    variant = model([node("Exp", "y", "x")], {"y": ["N", 3]}, ["x"])
    found = faced(original, variant)
    x = np.array([[-1, 0, 1]], np.float32)
    np.testing.assert_allclose(run(found, {"x": x}, ["y"])[0], np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("code_type, zero", [(np.int8, 3), (np.uint8, 128)])
def test_codes_at_both_ends_are_translated_by_the_scales_of_the_file(code_type, zero):
    original = model([node("Neg", "x", "y")], {"x": ["N", 4]}, ["y"])
    variant = model(
        [
            node("DequantizeLinear", "cx s z", "d"),
            node("Neg", "d", "n"),
            node("QuantizeLinear", "n s z", "cy"),
        ],
        {"cx": ["N", 4]}, ["cy"], {"s": np.float32(0.25), "z": code_type(zero)},
    )  # fmt: skip
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(code_type))
    for value in (variant.graph.input[0], variant.graph.output[0]):
        value.type.tensor_type.elem_type = kind
    x = np.array([[0.3, -1.4, 2, 1000]], np.float32)
    low, high = np.iinfo(code_type).min, np.iinfo(code_type).max
    held = (np.clip(np.rint(x / 0.25) + zero, low, high) - zero) * 0.25
    again = (np.clip(-held / 0.25 + zero, low, high) - zero) * 0.25
    found = run(faced(original, variant), {"x": x}, ["y"])[0]
    np.testing.assert_array_equal(found, again.astype(np.float32))
