"""What is recognized, but not decoded, says so; every form has its reader."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    conv_model,
    floats,
    make_model,
    scales,
)
from onnx import helper

from playground.utils.parameter_inspector import (
    find_layer,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.operators import OPERATORS, Form, find_operator
from playground.utils.parameter_inspector.reading.storage import (
    DEQUANTIZERS,
    READERS,
    refusal_of,
)
from playground.utils.parameter_inspector.records import Layer

node = helper.make_node


def the_layer(model: onnx.ModelProto) -> Layer:
    (layer,) = list_layers(load_model(model))
    return layer


# --------------------------------------------------------------- what cannot be read is said

REFUSED = [key for key, operator in OPERATORS.items() if operator.refusal is not None]


def refused_model(domain: str, op_type: str) -> onnx.ModelProto:
    made = node(op_type, ["W", "s"], ["w"], domain=domain)
    return conv_model([made], {"W": floats(*CONV_SHAPE), "s": scales(5)})


@pytest.mark.parametrize("key", sorted(REFUSED), ids=" ".join)
def test_a_refused_operator_before_a_layer_is_named_with_its_reason(key):
    layer = find_layer(load_model(refused_model(*key)), "conv")
    assert layer.weight is None
    assert replace(refusal_of(*key), slot="weight", op_type="Conv") in layer.not_understood


@pytest.mark.parametrize("key", sorted(REFUSED), ids=" ".join)
def test_a_refused_operator_that_is_a_layer_is_listed_with_its_reason(key):
    made = node(key[1], ["x", "W"], ["y"], domain=key[0])
    layer = the_layer(make_model([made], {"W": floats(5, 3)}))
    assert refusal_of(*key) in layer.not_understood


def test_every_form_that_an_operand_may_have_is_read():
    used = {o.form for row in OPERATORS.values() for o in row.operands if o.form is not None}
    assert used == set(Form) == set(READERS)


def test_every_dequantizer_is_known_as_one():
    assert all(find_operator(*key).is_quantizer for key in DEQUANTIZERS)
