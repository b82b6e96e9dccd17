"""The layers of a model: which nodes they are, what they are called, and what belongs to each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from layer_cases import NETWORKS, initializer, names_of, node
from models_for_tests import (
    CONV_SHAPE,
    MICROSOFT,
    at_input,
    codes,
    conv_model,
    convnet,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    onnxruntime_dequantizes,
    quantized_dynamically,
    quantized_statically,
    run_onnxruntime,
    same_bits,
    scales,
)
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from playground.utils.parameter_inspector import (
    Layer,
    extract_layer_parameters,
    extract_layer_params,
    find_layer,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.wording import describe_refusal

# --------------------------------------------------------------- names and order


def relus(*names: str) -> onnx.ModelProto:
    tensors = ["x", *(f"t{i}" for i in range(len(names) - 1)), "y"]
    return make_model([
        node("Relu", [a], [b], name)
        for a, b, name in zip(tensors, tensors[1:], names, strict=False)
    ])  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ("", "", ""),
        ("a", "a", "a"),
        ("a", "a", "a #2"),
        ("a #2", "a", "a"),
        ("a #2", "a", "a", "a #3", "a"),
        ("", "Relu → t0", ""),
    ],
    ids=str,
)
def test_names_are_unique(names):
    given = names_of(relus(*names))
    assert len(given) == len(names)
    assert max(Counter(given).values()) == 1


def test_a_name_that_only_one_node_has_is_kept():
    assert names_of(relus("b", "a", "c")) == ["b", "a", "c"]


def test_the_first_of_two_equal_names_keeps_it():
    assert names_of(relus("a", "a"))[0] == "a"


def test_a_node_without_a_name_is_called_after_its_operator_and_output():
    (name,) = names_of(relus(""))
    assert "Relu" in name
    assert "y" in name


def test_names_are_the_same_each_time_a_model_is_opened():
    assert names_of(relus("", "a", "a")) == names_of(relus("", "a", "a"))


@pytest.mark.parametrize("name", ["/a/b;c d", "größe", "'\"<b>$x_1$", "a\nb", "Relu → y"])
def test_a_strange_name_is_found_again(name):
    assert find_layer(load_model(relus(name)), name).node_name == name


def test_layers_come_in_graph_order_with_their_position():
    layers = list_layers(load_model(convnet()))
    assert [layer.name for layer in layers] == ["conv1", "relu1", "conv10", "pool", "flatten", "fc"]
    assert [layer.index for layer in layers] == [0, 1, 2, 3, 4, 5]


def test_conv1_and_conv10_are_never_mixed(tmp_path):
    original = convnet()
    model = quantized_statically(original, tmp_path, per_channel=True)
    opened = load_model(model)
    for name, weight in (("conv1", "W1"), ("conv10", "W10")):
        assert find_layer(opened, name).weight.shape == initializer(original, weight).shape


def test_a_layer_that_is_not_there_raises_key_error_naming_the_nearest():
    with pytest.raises(KeyError, match=r"'conv10?', 'conv10?'"):
        find_layer(load_model(convnet()), "conv")


def test_the_parameters_of_a_layer_that_is_not_there_raise_key_error():
    with pytest.raises(KeyError, match="conv1"):
        extract_layer_params(load_model(convnet()), "konv1")


# --------------------------------------------------------------- what is a layer


def test_the_plumbing_of_a_qdq_model_is_no_layer(tmp_path):
    model = quantized_statically(convnet(), tmp_path)
    assert names_of(model) == [name for name in names_of(convnet()) if name != "relu1"]


def test_the_plumbing_of_a_dynamic_model_is_no_layer(tmp_path):
    model = quantized_dynamically(mlp(), tmp_path)
    assert names_of(model) == ["fc1_MatMul_quant", "fc1_Add", "relu", "fc2_quant", "add"]


def test_the_plumbing_of_a_qoperator_model_is_no_layer(tmp_path):
    model = quantized_statically(convnet(), tmp_path, quant_format=QuantFormat.QOperator)
    assert names_of(model) == ["conv1_quant", "conv10_quant", "pool_quant", "flatten", "fc_quant"]


def test_a_constant_subgraph_is_no_layer():
    nodes = [
        node("Abs", ["W"], ["a"], "abs"),
        node("ReduceMax", ["a", "axes"], ["m"], "max", keepdims=0),
        node("Div", ["m", "127"], ["s"], "div"),
        dequantize_node(("q", "s"), axis=0),
    ]
    arrays = {
        "W": floats(*CONV_SHAPE), "axes": np.int64([1, 2, 3]), "127": np.float32(127),
        "q": codes("int8", *CONV_SHAPE),
    }  # fmt: skip
    assert names_of(conv_model(nodes, arrays)) == ["conv"]


def test_a_clip_of_codes_is_no_layer_but_a_clip_of_values_is():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("Clip", ["q", "low", "high"], ["c"], "of codes"),
        dequantize_node(("c", "s", "z"), "d"),
        node("Clip", ["d", "zero", "six"], ["y"], "of values"),
    ]
    arrays = {
        "s": np.float32(0.3), "z": np.int8(3), "low": np.int8(-7), "high": np.int8(7),
        "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    assert names_of(make_model(nodes, arrays)) == ["of values"]


def test_quantizers_of_other_tools_are_no_layers():
    made = node("Quant", ["W", "s", "z", "b"], ["w"], domain="qonnx.custom_op.general")
    arrays = {
        "W": floats(*CONV_SHAPE),
        "s": np.float32(0.3),
        "z": np.float32(0),
        "b": np.float32(4),
    }
    assert names_of(conv_model([made], arrays)) == ["conv"]


# --------------------------------------------------------------- onnxruntime's quantizers, QDQ

UINT8 = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}
STATIC = {
    "per tensor": {},
    "per channel": {"per_channel": True},
    "uint8": UINT8,
    "int16 weights": {"weight_type": QuantType.QInt16, "extra_options": {"UseQDQContribOps": True}},
    "int4 weights": {"weight_type": QuantType.QInt4, "extra_options": {"UseQDQContribOps": True}},
    "reduced range": {"reduce_range": True},
    "fake-quantized": {"extra_options": {"AddQDQPairToWeight": True}},
    "symmetric uint8": {**UINT8, "extra_options": {"WeightSymmetric": True}},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", STATIC)
def test_every_weight_and_bias_equals_what_onnxruntime_feeds_to_the_layer(
    tmp_path, network, options
):
    model = quantized_statically(NETWORKS[network](), tmp_path, **STATIC[options])
    opened, compared = load_model(model), 0
    for one in model.graph.node:
        if one.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        layer = find_layer(opened, one.name)
        same_bits(layer.weight.values, at_input(model, one.input[1]))
        if len(one.input) > 2:
            same_bits(layer.bias.values, at_input(model, one.input[2]))
        compared += 1
    assert compared in (2, 3)


def test_an_int32_bias_has_the_scale_of_the_input_times_that_of_the_weight(tmp_path):
    model = quantized_statically(convnet(), tmp_path, per_channel=True)
    layer = find_layer(load_model(model), "conv1")
    product = layer.inputs[0].quantization.scale * layer.weight.quantization.scale
    assert layer.bias.data_type == "int32"
    np.testing.assert_allclose(layer.bias.quantization.scale, product, rtol=1e-6)


# --------------------------------------------------------------- onnxruntime's QOperator format


def test_qoperator_weights_are_those_of_the_codes_beside_them(tmp_path):
    options = {"quant_format": QuantFormat.QOperator, "per_channel": True}
    model = quantized_statically(convnet(), tmp_path, **options)
    opened = load_model(model)
    axes = {"QLinearConv": 0, "QGemm": 1}
    for one in (n for n in model.graph.node if n.op_type in axes):
        q, s, z = (initializer(model, name) for name in one.input[3:6])
        expected = onnxruntime_dequantizes(q, s, z, axis=axes[one.op_type])
        same_bits(find_layer(opened, one.name).weight.values, expected)


@pytest.mark.parametrize(
    ("name", "bias_input", "original"), [("conv1_quant", 8, "b1"), ("fc_quant", 6, "b2")]
)
def test_a_bias_without_a_scale_is_the_float_bias_to_half_a_step(
    tmp_path, name, bias_input, original
):
    options = {"quant_format": QuantFormat.QOperator, "per_channel": True}
    model = quantized_statically(convnet(), tmp_path, **options)
    bias = find_layer(load_model(model), name).bias
    one = next(n for n in model.graph.node if n.name == name)
    step = initializer(model, one.input[1]) * initializer(model, one.input[4])
    off = np.abs(bias.values - initializer(convnet(), original))
    assert (off <= step * 0.5001).all()
    np.testing.assert_array_equal(bias.codes, initializer(model, one.input[bias_input]))


# --------------------------------------------------------------- dynamic quantization


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_weights_are_those_of_the_codes_and_the_scale_downstream(tmp_path, per_channel):
    model = quantized_dynamically(mlp(), tmp_path, per_channel=per_channel)
    opened = load_model(model)
    for name, base in (("fc1_MatMul_quant", "W1"), ("fc2_quant", "W2")):
        parts = [
            initializer(model, f"{base}_{part}") for part in ("quantized", "scale", "zero_point")
        ]
        expected = onnxruntime_dequantizes(*parts, axis=1)
        same_bits(find_layer(opened, name).weight.values, expected)


@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
def test_dynamic_weights_are_the_float_weights_to_half_a_step(tmp_path, weight_type):
    model = quantized_dynamically(mlp(), tmp_path, weight_type=weight_type)
    weight = find_layer(load_model(model), "fc1_MatMul_quant").weight
    off = np.abs(weight.values - initializer(mlp(), "W1").T)
    assert (off <= weight.quantization.scale * 0.5001).all()


def test_a_dynamic_layer_gives_its_real_output(tmp_path):
    layer = find_layer(load_model(quantized_dynamically(mlp(), tmp_path)), "fc2_quant")
    assert layer.output_names == ("m",)


def conv_integer(*, product: bool = False) -> onnx.ModelProto:
    """Codes in, codes of the weight [5, 3, 2, 4], scales multiplied in behind the Cast."""
    arrays = {
        "q": codes("uint8", *CONV_SHAPE), "xz": np.uint8(7), "z": codes("uint8", 1)[0],
        "xs": np.float32(0.03), "s": scales(5, 1, 1),
    }  # fmt: skip
    scale = ["m"] if product else ["s"]
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("ConvInteger", ["xq", "q", "xz", "z"], ["i"], "conv"),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["xs", "s"], ["m"]),
        node("Mul", ["f", *scale], ["y"]),
    ]
    return make_model(nodes if product else [nodes[i] for i in (0, 1, 2, 4)], arrays)


def test_the_scales_of_input_and_weight_multiplied_by_the_graph_are_told_apart():
    model = conv_integer(product=True)
    q, s, z = (initializer(model, name) for name in "qsz")
    weight = find_layer(load_model(model), "conv").weight
    expected = np.stack([onnxruntime_dequantizes(q[i], s[i].reshape(()), z) for i in range(5)])
    same_bits(weight.values, expected)


def test_an_integer_layer_without_a_scale_says_so():
    nodes = [node("MatMulInteger", ["x", "q"], ["y"], "matmul")]
    model = make_model(nodes, {"q": codes("int8", 7, 5)}, inputs={"x": (2, 7)},
                       input_types={"x": TensorProto.UINT8})  # fmt: skip
    layer = find_layer(load_model(model), "matmul")
    assert layer.weight is None
    assert any("MatMulInteger" in text for text in map(describe_refusal, layer.not_understood))


def test_an_lstm_quantized_dynamically_keeps_onnx_layout(tmp_path):
    arrays = {"W": floats(1, 12, 5), "R": floats(1, 12, 3, seed=1), "B": floats(1, 24, seed=2)}
    nodes = [node("LSTM", ["x", "W", "R", "B"], ["y"], "lstm", hidden_size=3)]
    original = make_model(nodes, arrays, inputs={"x": (4, 2, 5)}, opset=14, ir_version=8)
    original.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 1, 2, 3))
    )
    model = quantized_dynamically(original, tmp_path, op_types_to_quantize=["LSTM"])
    (layer,) = list_layers(load_model(model))
    assert layer.op_type == "DynamicQuantizeLSTM"
    for slot, name in (("weight", "W"), ("recurrence", "R")):
        step = float(layer.parameter(slot).quantization.scale.max())
        np.testing.assert_allclose(layer.parameter(slot).values, arrays[name], atol=step * 0.5001)


# --------------------------------------------------------------- blocks of four bits


def in_four_bits(**options) -> onnx.ModelProto:
    nodes = [
        node("MatMul", ["x", "W"], ["h"], "one"),
        node("MatMul", ["h", "V"], ["y"], "two"),
    ]
    arrays = {"W": floats(40, 5), "V": floats(5, 3, seed=1)}
    model = make_model(nodes, arrays, inputs={"x": (40, 40)}, opset=21)
    quantizer = MatMulNBitsQuantizer(model, block_size=16, **options)
    quantizer.process()
    return quantizer.model.model


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_weight_in_blocks_equals_what_onnxruntime_multiplies_by(bits, symmetric):
    model = in_four_bits(bits=bits, is_symmetric=symmetric)
    (layer, _) = list_layers(load_model(model))
    model.graph.output.append(onnx.ValueInfoProto(name=layer.output_names[0]))
    feeds = {"x": np.eye(40, dtype=np.float32)}
    (product,) = run_onnxruntime(model, feeds, [layer.output_names[0]])
    np.testing.assert_allclose(layer.weight.values, product.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_weight_in_blocks_before_dequantize_linear_equals_onnxruntime(symmetric):
    model = in_four_bits(is_symmetric=symmetric, quant_format=QuantFormat.QDQ)
    opened = load_model(model)
    for one in (n for n in model.graph.node if n.op_type == "MatMul"):
        same_bits(find_layer(opened, one.name).weight.values, at_input(model, one.input[1]))


# --------------------------------------------------------------- biases


def test_a_bias_added_behind_a_matmul_belongs_to_the_matmul():
    layer = find_layer(load_model(mlp()), "fc2")
    same_bits(layer.bias.values, initializer(mlp(), "b2"))


def test_the_add_keeps_its_bias_as_well():
    layer = find_layer(load_model(mlp()), "add")
    same_bits(layer.bias.values, initializer(mlp(), "b2"))


def matmul_and_add(
    *, read_twice: bool = False, activation: bool = False, shape: tuple[int, ...] = (5,)
) -> Layer:
    nodes = [node("MatMul", ["x", "W"], ["h"], "matmul")]
    nodes.append(node("Add", ["h", "v" if activation else "b"], ["y"], "add"))
    inputs = {"x": (2, 7)} | ({"v": (2, 5)} if activation else {})
    arrays = {"W": floats(7, 5)} | ({} if activation else {"b": floats(*shape)})
    if read_twice:
        nodes.append(node("Relu", ["h"], ["r"], "relu"))
    outputs = ["y", *(["r"] if read_twice else [])]
    model = make_model(nodes, arrays, inputs=inputs, outputs=outputs)
    return find_layer(load_model(model), "matmul")


def test_an_add_of_two_activations_gives_no_bias():
    assert matmul_and_add(activation=True).bias is None


def test_an_add_behind_an_output_that_others_read_too_gives_no_bias():
    assert matmul_and_add(read_twice=True).bias is None


def test_an_add_behind_an_output_of_the_graph_gives_no_bias():
    nodes = [node("MatMul", ["x", "W"], ["h"], "matmul"), node("Add", ["h", "b"], ["y"], "add")]
    arrays = {"W": floats(7, 5), "b": floats(5)}
    model = make_model(nodes, arrays, inputs={"x": (2, 7)}, outputs=["h", "y"])
    assert find_layer(load_model(model), "matmul").bias is None


def test_a_second_add_is_no_second_bias():
    nodes = [
        node("Gemm", ["x", "W", "b"], ["h"], "gemm"),
        node("Add", ["h", "c"], ["y"], "add"),
    ]
    arrays = {"W": floats(7, 5), "b": floats(5), "c": floats(5, seed=1)}
    model = load_model(make_model(nodes, arrays, inputs={"x": (2, 7)}))
    assert [p.name for p in find_layer(model, "gemm").parameters] == ["W", "b"]


def test_an_add_behind_a_dynamic_matmul_belongs_to_it(tmp_path):
    model = quantized_dynamically(mlp(), tmp_path)
    layer = find_layer(load_model(model), "fc1_MatMul_quant")
    same_bits(layer.bias.values, initializer(mlp(), "b1"))


def bias_fed_to_the_add(model: onnx.ModelProto) -> np.ndarray:
    return at_input(model, next(n for n in model.graph.node if n.op_type == "Add").input[1])


def test_a_bias_quantized_as_an_activation_is_the_operand_of_its_add(tmp_path):
    model = quantized_statically(mlp(), tmp_path)
    (operand,) = find_layer(load_model(model), "add").parameters
    same_bits(operand.values, bias_fed_to_the_add(model))


def test_a_bias_added_behind_q_and_dq_belongs_to_the_matmul(tmp_path):
    model = quantized_statically(mlp(), tmp_path)
    bias = find_layer(load_model(model), "fc2").bias
    assert bias is not None
    same_bits(bias.values, bias_fed_to_the_add(model))


# --------------------------------------------------------------- channels


@pytest.mark.parametrize(
    ("op_type", "shape", "channel_axis", "attributes"),
    [
        ("Conv", (5, 3, 2, 4), 0, {}),
        ("ConvTranspose", (3, 5, 2, 4), 1, {}),
        ("Gemm", (7, 5), 1, {}),
        ("Gemm", (5, 7), 0, {"transB": 1}),
        ("MatMul", (7, 5), 1, {}),
        ("MatMul", (2, 7, 5), 2, {}),
        ("LSTM", (1, 12, 5), 1, {"hidden_size": 3}),
    ],
    ids=str,
)
def test_the_channel_axis_is_that_of_the_outputs(op_type, shape, channel_axis, attributes):
    nodes = [node(op_type, ["x", "W"], ["y"], "layer", **attributes)]
    layer = find_layer(load_model(make_model(nodes, {"W": floats(*shape)})), "layer")
    assert layer.weight.channel_axis == channel_axis


# --------------------------------------------------------------- the parameters of a layer


def test_a_layer_without_quantization_has_no_parameters_to_show():
    assert extract_layer_params(load_model(convnet()), "conv1") is None


def test_both_names_of_the_function_are_one():
    assert extract_layer_parameters is extract_layer_params


@pytest.mark.parametrize("axis", range(4))
def test_the_parameters_say_what_the_file_says(axis):
    model = int8_conv(axis)
    held = extract_layer_params(load_model(model), "conv")
    same_bits(held.scale, initializer(model, "s"))
    same_bits(held.zero_point, initializer(model, "z"))
    assert (held.layer, held.node_type) == ("conv", "Conv")
    assert (held.weight_shape, held.weight_dtype) == (CONV_SHAPE, "int8")
    assert (held.is_per_channel, held.granularity) == (True, "per-channel")
    assert (held.axis, held.block_size) == (axis, None)


def test_one_scale_is_per_tensor_and_has_no_axis():
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": np.float32(0.3)}
    model = conv_model([dequantize_node(("q", "s"))], arrays)
    held = extract_layer_params(load_model(model), "conv")
    assert (held.is_per_channel, held.granularity, held.axis) == (False, "per-tensor", None)
    assert held.zero_point == 0


def test_blocks_are_no_channels():
    arrays = {"q": codes("int8", 12, 10), "s": scales(6, 10)}
    nodes = [dequantize_node(("q", "s"), axis=0, block_size=2),
             node("MatMul", ["x", "w"], ["y"], "matmul")]  # fmt: skip
    model = make_model(nodes, arrays, inputs={"x": (3, 12)})
    held = extract_layer_params(load_model(model), "matmul")
    assert (held.is_per_channel, held.granularity) == (False, "per-block")
    assert (held.axis, held.block_size) == (0, 2)


def test_a_float_weight_behind_quantized_activations_has_no_scale(tmp_path):
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        dequantize_node(("q", "s", "z"), "d"),
        node("Conv", ["d", "W"], ["y"], "conv"),
    ]
    arrays = {"s": np.float32(0.3), "z": np.uint8(3), "W": floats(*CONV_SHAPE)}
    held = extract_layer_params(load_model(make_model(nodes, arrays)), "conv")
    assert (held.scale, held.weight_dtype) == (None, "float32")
    assert held.inputs[0].quantization.scale == np.float32(0.3)


# --------------------------------------------------------------- what is not known is said


def test_an_unknown_operator_that_holds_a_tensor_is_listed_with_its_reason():
    made = node("Mystery", ["x", "W"], ["y"], "mystery", domain="my.own")
    layer = find_layer(load_model(make_model([made], {"W": floats(5, 3)})), "mystery")
    (refusal,) = layer.not_understood
    assert refusal.kind is RefusalKind.UNKNOWN_OPERATOR
    assert (refusal.operator, refusal.domain, refusal.names) == ("Mystery", "my.own", ("W",))


def test_an_unknown_microsoft_operator_that_holds_a_tensor_says_so():
    made = node("Mystery", ["x", "W"], ["y"], "mystery", domain=MICROSOFT)
    layer = find_layer(load_model(make_model([made], {"W": floats(5, 3)})), "mystery")
    assert layer.not_understood


def test_an_unknown_operator_without_constants_has_nothing_to_say():
    made = node("Mystery", ["x"], ["y"], "mystery", domain="my.own")
    assert find_layer(load_model(make_model([made])), "mystery").not_understood == ()


@pytest.mark.parametrize(
    "op_type", ["MatMul", "Conv", "Gemm", "Add", "Gather", "LSTM", "QLinearConv"]
)
def test_a_node_with_too_few_inputs_hides_no_layer(op_type):
    nodes = [node(op_type, ["x"], ["h"], "short"), node("Conv", ["x", "W"], ["y"], "conv")]
    model = make_model(nodes, {"W": floats(*CONV_SHAPE)}, outputs=["h", "y"])
    assert names_of(model) == ["short", "conv"]


@pytest.mark.parametrize(
    "op_type",
    ["DequantizeLinear", "QuantizeLinear", "MatMulInteger", "Transpose", "Cast", "Reshape"],
)
@pytest.mark.parametrize("count", [0, 1])
def test_plumbing_with_too_few_inputs_hides_no_layer(op_type, count):
    nodes = [
        node(op_type, ["q"][:count], ["w"], "short"),
        node("Conv", ["x", "w"], ["h"], "fed by it"),
        node("Conv", ["x", "W"], ["y"], "conv"),
    ]
    arrays = {"W": floats(*CONV_SHAPE), "q": codes("int8", *CONV_SHAPE)}
    model = make_model(nodes, arrays, outputs=["h", "y"])
    assert find_layer(load_model(model), "conv").weight.shape == CONV_SHAPE
