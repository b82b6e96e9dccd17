"""The records say what belongs to a layer, and survive the way to another process."""

from __future__ import annotations

import pickle
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from models_for_tests import (
    codes,
    floats,
    reference_dequantizes,
    same_bits,
    scales,
    source,
)

from playground.utils.parameter_inspector.quantization import (
    Quantization,
    create_quantization,
)
from playground.utils.parameter_inspector.records import (
    Layer,
    LayoutStep,
    TensorQuantization,
    WeightTensor,
)


def quantization(q, s, z=None, **options) -> Quantization:
    zero_point = None if z is None else source(z, "zero point")
    return create_quantization(source(q, "codes"), source(s, "scale"), zero_point, **options)


def weight_tensor(**options) -> WeightTensor:
    q = codes("int8", 5, 7)
    fields = {
        "slot": "weight",
        "name": "W",
        "storage": "DequantizeLinear",
        "source": source(q, "W"),
        "shape": (7, 5),
        "quantization": quantization(q, scales(5), axis=0),
        "layout": (LayoutStep("Transpose", partial(np.transpose, axes=(1, 0))),),
    }
    return WeightTensor(**(fields | options))


def test_a_weight_tensor_survives_pickling():
    weight = weight_tensor()
    same_bits(pickle.loads(pickle.dumps(weight)).values, weight.values)


def test_a_weight_is_dequantized_in_the_frame_of_its_codes_and_then_laid_out():
    weight = weight_tensor()
    expected = reference_dequantizes(weight.codes, scales(5), axis=0)
    same_bits(weight.values, expected.T)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_narrow_float_weight_has_float32_values(dtype):
    weight = weight_tensor(source=source(floats(5, 7).astype(dtype)), quantization=None)
    assert weight.values.dtype == np.float32


def test_a_float64_weight_keeps_its_precision():
    exact = np.random.default_rng(0).normal(size=(5, 7))
    weight = weight_tensor(source=source(exact), quantization=None)
    np.testing.assert_array_equal(weight.values, exact.T)


def test_a_tensor_without_a_known_scale_is_dynamic():
    assert TensorQuantization("x", None, "uint8").is_dynamic


def test_the_weight_of_a_layer_is_its_first_parameter_that_is_no_bias():
    bias, weight = weight_tensor(slot="bias"), weight_tensor(slot="weight")
    layer = Layer("l", "l", "Conv", "", 0, (), (), parameters=(bias, weight))
    assert (layer.weight, layer.bias) == (weight, bias)


def test_a_layer_with_float_parameters_only_is_not_quantized():
    weight = weight_tensor(quantization=None)
    assert not Layer("l", "l", "Conv", "", 0, (), (), parameters=(weight,)).is_quantized
