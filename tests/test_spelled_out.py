"""Quantization that is spelled out in operators is read, wherever its scale stands."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from models_for_tests import (
    at_input,
    codes,
    floats,
    make_model,
    run_onnxruntime,
    same_bits,
    scales,
)
from onnx import TensorProto
from spelled_out_cases import (
    BEFORE,
    BEHIND,
    INTEGERS,
    SCALED,
    TABLES,
    UNSCALED,
    UP,
    cast,
    dynamic,
    looked_up,
    node,
    not_one_quantization,
    operand_of,
    product,
    shape,
)

from playground.utils.parameter_inspector import find_layer, list_layers, load_model
from playground.utils.parameter_inspector.facts import RefusalKind


@pytest.mark.parametrize("kind", BEFORE)
def test_codes_and_operators_in_any_order_are_one_quantization(kind):
    form = BEFORE[kind]()
    layer = find_layer(load_model(form.model), "layer")
    quantization = layer.weight.quantization
    assert not layer.not_understood
    assert quantization.data_type == form.data_type
    assert (quantization.granularity, quantization.block_size) == (
        form.granularity,
        form.block_size,
    )


@pytest.mark.parametrize("kind", BEFORE)
def test_the_values_are_what_the_layer_is_fed(kind):
    form = BEFORE[kind]()
    weight = find_layer(load_model(form.model), "layer").weight
    same_bits(weight.values, form.values)


@pytest.mark.parametrize("kind", not_one_quantization())
def test_what_is_no_one_quantization_is_said_and_its_values_are_exact(kind):
    form = not_one_quantization()[kind]
    layer = find_layer(load_model(form.model), "layer")
    (refusal,) = layer.not_understood
    assert refusal.kind is RefusalKind.COMPUTED_FROM_CODES
    same_bits(layer.weight.values, form.values)


@pytest.mark.parametrize("kind", BEHIND)
def test_a_scale_behind_the_product_belongs_to_the_weight(kind):
    form = BEHIND[kind]()
    layer = find_layer(load_model(form.model), "layer")
    assert not layer.not_understood
    assert layer.weight.quantization.data_type == form.data_type
    same_bits(layer.weight.values + 0.0, form.values + 0.0)  # a sum of products has no -0


@pytest.mark.parametrize("kind", BEHIND)
def test_the_layer_ends_behind_its_scale(kind):
    form = BEHIND[kind]()
    layer = find_layer(load_model(form.model), "layer")
    behind = {"MatMul, Reshape behind it": "m"}.get(kind, "y")
    assert layer.output_names == (behind,)


def test_a_bias_behind_the_scale_is_the_layers():
    behind = [node("Mul", ["p", "s"], ["m"]), node("Add", ["m", "b"], ["y"], "add")]
    layer = find_layer(load_model(product(behind=behind, b=floats(5)).model), "layer")
    same_bits(layer.bias.values, floats(5))
    assert layer.weight.is_quantized


def test_a_bias_before_the_scale_is_scaled_with_it():
    behind = [node("Add", ["p", "b"], ["a"]), node("Mul", ["a", "s"], ["y"])]
    form = product(behind=behind, b=floats(5))
    layer = find_layer(load_model(form.model), "layer")
    nothing = np.zeros((7, 7), np.float32)
    same_bits(layer.bias.values, run_onnxruntime(form.model, {"x": nothing}, ["y"])[0][0])
    same_bits(layer.weight.values, at_input(form.model, "c") * form.arrays["s"])


def test_the_bias_of_a_product_is_scaled_with_it():
    nodes = [cast("q", "c"), node("Gemm", ["x", "c", "b"], ["p"], "layer"),
             node("Mul", ["p", "s"], ["y"])]  # fmt: skip
    arrays = {"q": codes("int8", 7, 5), "s": scales(5), "b": floats(5)}
    model = make_model(nodes, arrays, inputs={"x": (2, 7)})
    nothing = np.zeros((2, 7), np.float32)
    bias = find_layer(load_model(model), "layer").bias
    same_bits(bias.values, run_onnxruntime(model, {"x": nothing}, ["y"])[0][0])


def test_a_shape_that_is_computed_while_the_model_runs_keeps_the_channels_last():
    behind = [
        node("Shape", ["x"], ["rows"], start=0, end=1),
        node("Concat", ["rows", "end"], ["to"], axis=0),
        node("Reshape", ["p", "to"], ["r"]), node("Mul", ["r", "s"], ["y"]),
    ]  # fmt: skip
    form = product(behind=behind, end=shape(1, 5))
    layer = find_layer(load_model(form.model), "layer")
    same_bits(layer.weight.values, at_input(form.model, "c") * form.arrays["s"])


@pytest.mark.parametrize("kind", UNSCALED)
def test_codes_of_a_product_that_no_scale_follows_are_said(kind):
    form = product(behind=UNSCALED[kind], one=shape(1), rows=scales(7, 1))
    layer = find_layer(load_model(form.model), "layer")
    assert layer.not_understood
    assert not layer.weight.is_quantized
    same_bits(layer.weight.values, at_input(form.model, "c"))


@pytest.mark.parametrize("kind", INTEGERS)
def test_an_integer_operator_finds_its_scale_in_any_order(kind):
    model = dynamic(INTEGERS[kind])
    run_onnxruntime(model, {"x": floats(2, 7)}, ["y"])  # it is a model that runs
    layer = find_layer(load_model(model), "layer")
    expected = (codes("uint8", 7, 5).astype(np.float32) - np.float32(7)) * scales(5)
    assert not layer.not_understood
    same_bits(layer.weight.values, expected)
    assert layer.output_names == ("y",)


@pytest.mark.parametrize("kind", [kind for kind in INTEGERS if "bias" in kind])
def test_a_bias_that_is_rounded_while_the_model_runs_is_read_as_the_float_it_is(kind):
    layers = list_layers(load_model(dynamic(INTEGERS[kind])))
    assert [layer.name for layer in layers] == ["layer"]
    same_bits(layers[0].bias.values, floats(5))


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_is_looked_up_as_codes_is_read_whole(kind):
    form = TABLES[kind]()
    layer = find_layer(load_model(form.model), "layer")
    assert not layer.not_understood
    assert layer.weight.is_quantized
    same_bits(layer.weight.values, form.values)


@pytest.mark.parametrize("kind", TABLES)
def test_looking_up_the_scales_is_no_layer_of_its_own(kind):
    assert [layer.name for layer in list_layers(load_model(TABLES[kind]().model))] == ["layer"]


def test_scales_that_are_looked_up_with_other_indices_are_not_the_tables():
    form = looked_up(UP, node("Gather", ["S", "j"], ["s"]), SCALED, S=scales(11, 1))
    inputs, types = {"i": (3,), "j": (3,)}, dict.fromkeys("ij", TensorProto.INT64)
    model = load_model(make_model(form.nodes, form.arrays, inputs=inputs, input_types=types))
    assert find_layer(model, "layer").weight is None
    assert find_layer(model, "layer").not_understood


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("Mul", "xw", {}), ("Add", "wx", {}), ("Where", "mxw", {}), ("Where", "mwx", {}),
        ("Concat", "xw", {"axis": 0}), ("Concat", "xxw", {"axis": 0}),
    ],
)  # fmt: skip
def test_a_dequantized_operand_is_read_wherever_it_stands(op_type, inputs, attributes):
    model = operand_of(op_type, inputs, **attributes)
    operand = find_layer(load_model(model), "layer").parameter("operand")
    assert operand.is_quantized
    same_bits(operand.values, at_input(model, "w"))


@pytest.mark.parametrize("data_type", ["float16", "bfloat16"])
def test_products_of_narrow_floats_are_rounded_once(data_type):
    """The oracle is ml_dtypes and numpy: onnxruntime computes both in float32 on a CPU."""
    dtype = ml_dtypes.bfloat16 if data_type == "bfloat16" else np.float16
    q, s = codes("int8", 24, 5), scales(5).astype(dtype)
    to = TensorProto.DataType.Value(data_type.upper())
    nodes = [cast("q", "c", to), node("Mul", ["c", "s"], ["m"]), cast("m", "w"),
             node("MatMul", ["x", "w"], ["y"], "layer")]  # fmt: skip
    model = make_model(nodes, {"q": q, "s": s}, inputs={"x": (2, 24)})
    weight = find_layer(load_model(model), "layer").weight
    same_bits(weight.values, (q.astype(dtype) * s).astype(np.float32))
    assert weight.is_quantized
