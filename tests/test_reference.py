"""Without an original, the file with its activation quantizers off stands for it."""

import numpy as np
import onnx
import pytest
from networks_to_run import (
    MEASURE_LIMITS,
    conv_network,
    images,
    model,
    node,
    quantize,
    run,
    sqnr_db,
)
from onnx import numpy_helper

from playground.utils.parameter_inspector import compare_variants, load_model, measure_outputs
from playground.utils.parameter_inspector.facts import QuantizerKind, SampleKind
from playground.utils.parameter_inspector.running.reference import create_reference
from playground.utils.parameter_inspector.running.samples import create_samples
from playground.utils.parameter_inspector.running.whole_model import model_bytes

COUNT = 6


@pytest.fixture(scope="module")
def variant(tmp_path_factory):
    return quantize(conv_network(), tmp_path_factory.mktemp("reference"))


def test_without_an_original_the_activations_are_judged_by_the_file_itself(variant):
    samples = create_samples(images(COUNT), kind=SampleKind.FILE)
    comparison = compare_variants({"INT8": load_model(variant)})
    found = measure_outputs(comparison, samples, limits=MEASURE_LIMITS)
    reference = onnx.ModelProto()
    reference.CopyFrom(conv_network())
    held = {t.name: numpy_helper.to_array(t) for t in variant.graph.initializer}
    for tensor in reference.graph.initializer:
        name = tensor.name
        codes = held[f"{name}_quantized"].astype(np.float32)
        scale = held.get(f"{name}_scale", held.get(f"{name}_quantized_scale"))
        values = codes * scale.reshape(-1, *[1] * (codes.ndim - 1))
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    exact, quantized = (run(proto, images(COUNT))[0] for proto in (reference, variant))
    assert found.loss("y").sqnr_db == pytest.approx(sqnr_db(exact, quantized), abs=1e-3)
    assert found.check.all_on_db >= 100
    assert {group.kind for group in found.groups} == {QuantizerKind.ACTIVATION}


def reference_of(proto: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.load_from_string(model_bytes(create_reference(load_model(proto))))


X = np.array([[-3, -0.3, 0.3, 1000]], np.float32)


@pytest.mark.parametrize(
    "zero_point, expected",
    [
        (np.int8(0), X),
        (np.uint8(128), X),
        # Nothing below zero has a code: all that is left of a Relu.
        (np.uint8(0), np.maximum(X, 0)),
        (np.int8(-128), np.maximum(X, 0)),
    ],
)
def test_a_pair_becomes_nothing_or_the_relu_that_it_stood_for(zero_point, expected):
    variant = model(
        [
            node("QuantizeLinear", "x s z", "codes"),
            node("DequantizeLinear", "codes s z", "d"),
            node("Neg", "d", "y"),
        ],
        {"x": ["N", 4]}, ["y"], {"s": np.float32(0.5), "z": zero_point},
    )  # fmt: skip
    np.testing.assert_array_equal(run(reference_of(variant), {"x": X})[0], -expected)


def test_what_is_stored_in_codes_stays():
    variant = model(
        [node("DequantizeLinear", "w s", "d"), node("Mul", "x d", "y")],
        {"x": ["N", 4]}, ["y"], {"w": np.array([1, 2, 3, 4], np.int8), "s": np.float32(0.5)},
    )  # fmt: skip
    found = run(reference_of(variant), {"x": X})[0]
    np.testing.assert_array_equal(found, X * np.array([0.5, 1, 1.5, 2], np.float32))
