"""What a scheme may be, how it is said, and what scheme a file has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models_for_tests import codes, floats, int8_conv, matmul_model, scales, source
from onnx import helper
from requantizing_cases import BLOCK, SHAPE, UNCLIPPED

from playground.utils.parameter_inspector import list_layers, load_model, open_folder
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme, scheme_of
from playground.utils.parameter_inspector.records import WeightTensor

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"data_type": "int5"}, "data type 'int5' is none of int8, uint8"),
        ({"granularity": "per-row"}, "granularity 'per-row'"),
        ({"clipping": "kl"}, "clipping 'kl'"),
        ({"granularity": "per-block"}, "blocks need a size"),
        ({"block_size": 32}, "has no blocks of 32"),
        ({"bits": 9}, "bits are 2 to 8"),
        ({"data_type": "int4", "bits": 5}, "bits are 2 to 4 in int4"),
        ({"data_type": "float8e5m2", "symmetric": False}, "float8e5m2 is symmetric"),
        ({"data_type": "int2", "reduce_range": True}, "two bits have no reduced range"),
        ({"clipping": "std"}, "clipping by std is for float8e4m3fn"),
        ({"percentile": 20.0}, "percentile 20"),
    ],
)
def test_a_scheme_that_makes_no_sense_says_why(options, why):
    with pytest.raises(ValueError, match=why):
        Scheme(**options)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        (Scheme("int8", "per-channel"), "int8 per-channel symmetric"),
        (Scheme("uint8", symmetric=False), "uint8 per-tensor asymmetric"),
        (Scheme("int4", "per-block", block_size=32), "int4 in blocks of 32 symmetric"),
        (Scheme(bits=5), "int8 in 5 bits per-tensor symmetric"),
        (Scheme("float8e4m3fn"), "float8e4m3fn per-tensor"),
        (Scheme("int8", "per-channel", axis=2, reduce_range=True),
         "int8 per-channel symmetric on axis 2, reduced range"),
        (Scheme(clipping="mse"), "int8 per-tensor symmetric, clipped for the least error"),
        (Scheme(clipping="percentile", percentile=99.9),
         "int8 per-tensor symmetric, clipped at 99.9 %"),
    ],
)  # fmt: skip
def test_a_scheme_is_described_as_people_say_it(scheme, words):
    assert str(scheme) == scheme.describe() == words


@pytest.mark.parametrize("scheme", UNCLIPPED, ids=str)
def test_the_scheme_of_a_requantized_weight_is_read_back(scheme):
    if scheme.reduce_range or scheme.bits == 8:
        return  # a file does not say
    values = floats(*SHAPE) + np.float32(2)
    done = requantize(values, scheme)
    weight = WeightTensor(
        "weight", "w", "DequantizeLinear", source(done.codes), SHAPE, done.quantization,
        channel_axis=0,
    )  # fmt: skip
    own = scheme.axis == {"per-tensor": None, "per-channel": 0, "per-block": 1}[scheme.granularity]
    assert scheme_of(weight) == replace(scheme, axis=None if own else scheme.axis)


@pytest.mark.parametrize(
    ("network", "name", "words"),
    [
        ("dscnn", "UINT8", "uint8 per-tensor asymmetric"),
        ("dscnn", "INT8", "int8 per-channel symmetric"),
        ("resnet8", "INT8", "int8 per-channel symmetric"),
    ],
)
def test_the_shipped_models_have_the_schemes_that_their_readme_says(network, name, words):
    model = open_folder(MODELS / network).variants[name]
    schemes = {str(scheme_of(one.weight)) for one in list_layers(model) if one.weight}
    assert schemes == {words}


def test_float_weights_and_codebooks_have_no_scheme():
    (layer,) = list_layers(load_model(int8_conv()))
    held = layer.weight
    assert scheme_of(held) is not None
    assert scheme_of(replace(held, quantization=None)) is None
    table_of = replace(held.quantization, levels=(0.0, 1.0))
    assert scheme_of(replace(held, quantization=table_of)) is None


def test_an_axis_that_is_not_the_layers_own_is_named():
    (layer,) = list_layers(load_model(int8_conv(axis=1)))
    assert scheme_of(layer.weight).axis == 1
    (layer,) = list_layers(load_model(int8_conv(axis=0)))
    assert scheme_of(layer.weight).axis is None


def test_blocks_of_a_matmul_run_along_its_inner_dimension():
    weights = {"q": codes("int4", 32, 6), "s": scales(2, 6), "z": codes("int4", 2, 6, seed=4)}
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0, block_size=BLOCK)
    (layer,) = list_layers(load_model(matmul_model([node], weights, inner=32)))
    scheme = scheme_of(layer.weight)
    assert (scheme.axis, scheme.block_size, scheme.symmetric) == (None, BLOCK, False)
    done = requantize(floats(32, 6), scheme, layer.weight.channel_axis)
    assert done.quantization.scale.shape == (2, 6)
