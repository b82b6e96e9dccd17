"""Makers of files that once cost far more than they weigh. Each grows with its argument."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import onnx
from models_for_tests import MICROSOFT, make_model
from onnx import TensorProto, helper


def varint(number: int) -> bytes:
    """Return a number as protobuf writes one."""
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def in_graph(*fields: bytes) -> bytes:
    """Return a file of one Relu and of these fields of its graph."""
    relu = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu"))
    return field(7, relu + b"".join(fields))


def multiply_by(
    weights: Iterable[str], nodes: list[onnx.NodeProto], arrays: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """Return a model with a MatMul for each of the values that the nodes make of constants."""
    layers = [
        helper.make_node("MatMul", ["x", weight], [f"y{i}"], f"matmul{i}")
        for i, weight in enumerate(weights)
    ]
    return make_model([*nodes, *layers], arrays, inputs={"x": (2, 7)}, outputs=["y0"], opset=17)


def chain(op_type: str, count: int, first: str = "c0") -> list[onnx.NodeProto]:
    """Return operators in a row, each on what the one before makes: c1, c2 ..."""
    names = [first, *(f"c{i + 1}" for i in range(count))]
    inputs = 2 if op_type in ("Add", "Mul") else 1
    return [helper.make_node(op_type, [a] * inputs, [b]) for a, b in pairwise(names)]


# Folding ------------------------------------------------------------------------------------------


def adds_on_a_grown_constant(n: int) -> onnx.ModelProto:
    """A float64 constant of 8 MB that a file of a few kB asks for, and n Adds on it."""
    shape = {"shape": np.array([1 << 10, 1 << 10])}
    zero = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
    grown = helper.make_node("ConstantOfShape", ["shape"], ["c0"], value=zero)
    return multiply_by([f"c{n}"], [grown, *chain("Add", n)], shape)


def adds_on_a_weight(n: int) -> onnx.ModelProto:
    """A weight of 4 MB in the file, and n Adds on it."""
    return multiply_by([f"c{n}"], chain("Add", n), {"c0": np.ones((1 << 10, 1 << 10), np.float32)})


def layers_that_share_a_chain(n: int, operators: int = 20, side: int = 256) -> onnx.ModelProto:
    """n layers that read the end of one chain of operators."""
    weight = {"c0": np.ones((side, side), np.float32)}
    return multiply_by([f"c{operators}"] * n, chain("Sqrt", operators), weight)


def layers_on_parts_of_a_chain(n: int, operators: int = 20, side: int = 256) -> onnx.ModelProto:
    """n layers, each on a Neg of its own of the end of one chain."""
    weight = {"c0": np.ones((side, side), np.float32)}
    own = [helper.make_node("Neg", [f"c{operators}"], [f"w{i}"]) for i in range(n)]
    return multiply_by([f"w{i}" for i in range(n)], [*chain("Sqrt", operators), *own], weight)


def layers_on_parts_of_a_failure(n: int) -> onnx.ModelProto:
    """n layers, each on a Neg of its own of what cannot be computed."""
    arrays = {"c0": np.ones((7, 3), np.float32), "no": np.ones((2, 5), np.float32)}
    nodes = [helper.make_node("Add", ["c0", "no"], ["c1"]), helper.make_node("Abs", ["c1"], ["c2"])]
    nodes += [helper.make_node("Neg", ["c2"], [f"w{i}"]) for i in range(n)]
    return multiply_by([f"w{i}" for i in range(n)], nodes, arrays)


def layers_on_grown_constants(n: int) -> onnx.ModelProto:
    """n layers, each on an Exp of 2^20 numbers that the file does not hold."""
    nodes = []
    for i in range(n):
        nodes.append(helper.make_node("ConstantOfShape", ["shape"], [f"g{i}"]))
        nodes.append(helper.make_node("Exp", [f"g{i}"], [f"w{i}"]))
    shape = {"shape": np.array([1 << 10, 1 << 10])}
    return multiply_by([f"w{i}" for i in range(n)], nodes, shape)


def wide_maximum(n: int) -> onnx.ModelProto:
    """A Max of n Negs that all have to be there at once, each of 2^16 numbers."""
    negs = [helper.make_node("Neg", ["c0"], [f"n{i}"]) for i in range(n)]
    most = helper.make_node("Max", [f"n{i}" for i in range(n)], ["w"])
    return multiply_by(["w"], [*negs, most], {"c0": np.ones((256, 256), np.float32)})


def reversed_before_wide_maxima(n: int) -> onnx.ModelProto:
    """n Negs in a row, the last one first, behind ten Max nodes that read them all."""
    most = [helper.make_node("Max", [f"c{i + 1}" for i in range(n)], [f"m{k}"]) for k in range(10)]
    nodes = [*most, *reversed(chain("Neg", n))]
    return multiply_by(["m0"], nodes, {"c0": np.ones((3, 5), np.float32)})


def reshape_to_many_dimensions(n: int) -> onnx.ModelProto:
    """A Reshape whose shape has n numbers."""
    arrays = {"c0": np.ones((7, 3), np.float32), "shape": np.ones(n, np.int64)}
    return multiply_by(["w"], [helper.make_node("Reshape", ["c0", "shape"], ["w"])], arrays)


def tile_of_many_repeats(n: int) -> onnx.ModelProto:
    arrays = {"c0": np.ones((7, 3), np.float32), "repeats": np.ones(n, np.int64)}
    return multiply_by(["w"], [helper.make_node("Tile", ["c0", "repeats"], ["w"])], arrays)


# Reading the file ---------------------------------------------------------------------------------


def many_raw_data_fields(n: int) -> bytes:
    """One tensor that gives its bytes n times."""
    tensor = b"\x08\x10\x08\x20\x10\x01" + field(8, b"w") + field(9, bytes(2048)) * n
    return in_graph(field(5, tensor))


def two_byte_numbers(n: int) -> bytes:
    """n numbers of two bytes each, none of them packed, in a tensor."""
    return in_graph(field(5, b"\x38\x01" * n + b"\x10\x07" + field(8, b"w")))


def two_byte_numbers_in_turn(n: int) -> bytes:
    """The same of fields that alternate, and that no message of ONNX has."""
    return in_graph(b"\x48\x01\x50\x02" * (n // 2))


def empty_unknown_fields(n: int) -> bytes:
    return in_graph(b"\x4a\x00" * n)


def numbers_of_an_attribute(n: int) -> bytes:
    """A node with an attribute of n numbers, written one by one as ONNX has them."""
    numbers = field(1, b"ints") + b"\xa0\x01\x07" + b"\x40\x05" * n
    node = field(1, b"y") + field(2, b"z") + field(4, b"Odd") + field(5, numbers)
    return in_graph(field(1, node))


# Names and functions ------------------------------------------------------------------------------


def nodes_of_one_name(n: int) -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], "a") for i in range(n)]
    return make_model(nodes, {}, inputs={"v0": (2, 7)}, outputs=[f"v{n}"])


def nodes_whose_next_names_are_taken(n: int) -> onnx.ModelProto:
    names = ["a"] * n + [f"a #{i}" for i in range(2, n + 2)]
    nodes = [
        helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], name) for i, name in enumerate(names)
    ]
    return make_model(nodes, {}, inputs={"v0": (2, 7)}, outputs=[f"v{2 * n}"])


def weights_of_one_name(n: int) -> onnx.ModelProto:
    """n nodes of one name, with a weight of their own."""
    arrays = {f"w{i}": np.full((3, 5), i, np.float32) for i in range(n)}
    nodes = [helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], "a") for i in range(n)]
    return make_model(nodes, arrays, inputs={"x": (2, 3)}, outputs=["y0"])


def function_of(nodes: list[onnx.NodeProto], name: str, outputs: list[str]) -> onnx.FunctionProto:
    return helper.make_function("local", name, ["x"], outputs, nodes, [helper.make_opsetid("", 17)])


def calls_of_a_function_of_many_outputs(n: int, outputs: int = 200) -> onnx.ModelProto:
    """n calls of a function whose one node has many outputs."""
    names = [f"o{i}" for i in range(outputs)]
    body = [helper.make_node("Split", ["x"], names, num_outputs=outputs)]
    calls = [
        helper.make_node("f", ["x"], [f"y{k}_{i}" for i in range(2)], domain="local")
        for k in range(n)
    ]
    return with_functions(calls, [function_of(body, "f", names[:2])], "y0_0")


def functions_that_call_each_other(n: int) -> onnx.ModelProto:
    """n functions in a row, each calling the one before."""
    functions = [function_of([helper.make_node("Relu", ["x"], ["o"])], "f0", ["o"])]
    for i in range(1, n):
        call = helper.make_node(f"f{i - 1}", ["x"], ["o"], domain="local")
        functions.append(function_of([call], f"f{i}", ["o"]))
    calls = [helper.make_node(f"f{n - 1}", ["x"], ["y"], domain="local")]
    return with_functions(calls, functions, "y")


def doubling_functions(n: int) -> onnx.ModelProto:
    """n functions, each calling the one before twice."""
    functions = [function_of([helper.make_node("Relu", ["x"], ["o"])], "f0", ["o"])]
    for i in range(1, n):
        calls = [helper.make_node(f"f{i - 1}", [a], [b], domain="local") for a, b in ("xt", "to")]
        functions.append(function_of(calls, f"f{i}", ["o"]))
    return with_functions(
        [helper.make_node(f"f{n - 1}", ["x"], ["y"], domain="local")], functions, "y"
    )


def with_functions(
    nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto], output: str
) -> onnx.ModelProto:
    model = make_model(nodes, {}, inputs={"x": (2, 7)}, outputs=[output], opset=17,
                       domains=["local"])  # fmt: skip
    model.functions.extend(functions)
    return model


# Scanning -----------------------------------------------------------------------------------------


def layers_on_one_weight(n: int, side: int = 64) -> onnx.ModelProto:
    return multiply_by(["w"] * n, [], {"w": np.ones((side, side), np.float32)})


def blocks_of_one(n: int) -> onnx.ModelProto:
    """n rows of 1024 int8 codes, each code with a scale and a zero-point of its own."""
    arrays = {
        "q": np.ones((n, 1024), np.int8),
        "s": np.full((n, 1024), 0.5, np.float32),
        "z": np.zeros((n, 1024), np.int8),
    }
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1, block_size=1)
    model = multiply_by(["w"], [node], arrays)
    model.opset_import[0].version = 21
    return model


def matmul_nbits_in_groups(n: int) -> onnx.ModelProto:
    """MatMulNBits of n rows of 1024 codes whose blocks are named one by one (g_idx)."""
    blocks = 1024 // 32
    arrays = {
        "q": np.full((n, blocks, 16), 0x21, np.uint8),
        "s": np.full(n * blocks, 0.5, np.float32),
        "z": np.full(n * blocks // 2, 0x87, np.uint8),
        "g": (np.arange(1024)[::-1] // 32).astype(np.int32),
    }
    return packed("MatMulNBits", ["x", "q", "s", "z", "g"], arrays,
                  K=1024, N=n, bits=4, block_size=32)  # fmt: skip


def matmul_bnb4(n: int) -> onnx.ModelProto:
    arrays = {"q": np.full(n * 512, 0x21, np.uint8), "s": np.full(n * 16, 0.5, np.float32)}
    return packed("MatMulBnb4", ["x", "q", "s"], arrays, K=1024, N=n, block_size=64, quant_type=1)


def lstm_of_two_directions(n: int) -> onnx.ModelProto:
    hidden = 64
    arrays = {
        "w": np.ones((2, n, 4 * hidden), np.int8),
        "r": np.ones((2, hidden, 4 * hidden), np.int8),
        "ws": np.full((2, 4 * hidden), 0.5, np.float32),
        "wz": np.zeros((2, 4 * hidden), np.int8),
        "rs": np.full((2, 4 * hidden), 0.5, np.float32),
        "rz": np.zeros((2, 4 * hidden), np.int8),
    }
    inputs = ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    return packed("DynamicQuantizeLSTM", inputs, arrays,
                  hidden_size=hidden, direction="bidirectional")  # fmt: skip


def qmoe_of_two_experts(n: int) -> onnx.ModelProto:
    """Two experts of n rows of 1024 four-bit codes, a scale for each 32 of a row."""
    arrays = {
        "router": np.ones((2, 2), np.float32),
        "q": np.full((2, n, 512), 0x21, np.uint8),
        "s": np.full((2, n, 32), 0.5, np.float32),
        "q2": np.full((2, 16, 16), 0x21, np.uint8),
        "s2": np.full((2, 16, 1), 0.5, np.float32),
    }
    return packed("QMoE", ["x", "router", "q", "s", "", "q2", "s2"], arrays, k=1,
                  expert_weight_bits=4, weights_prepacked=0, block_size=32)  # fmt: skip


def packed(
    op_type: str, inputs: list[str], arrays: dict[str, np.ndarray], **attributes: object
) -> onnx.ModelProto:
    node = helper.make_node(op_type, inputs, ["y"], "packed", domain=MICROSOFT, **attributes)
    return make_model([node], arrays, inputs={"x": (2, 1024)}, domains=[MICROSOFT])


def adds_to_one_value(n: int) -> onnx.ModelProto:
    """n Adds of a bias of their own to one value."""
    arrays = {f"b{i}": np.full(3, i, np.float32) for i in range(n)}
    nodes = [helper.make_node("Add", ["x", f"b{i}"], [f"y{i}"], f"add{i}") for i in range(n)]
    return make_model(nodes, arrays, inputs={"x": (2, 3)}, outputs=["y0"])


def gathers_of_one_table(n: int) -> onnx.ModelProto:
    """n Gathers of one table of codes, all read by one Concat."""
    arrays = {"q": np.ones((5, 3), np.int8), "i": np.zeros(2, np.int64)}
    nodes = [helper.make_node("Gather", ["q", "i"], [f"g{k}"], f"g{k}") for k in range(n)]
    nodes.append(helper.make_node("Concat", [f"g{k}" for k in range(n)], ["y"], axis=0))
    return make_model(nodes, arrays)


def integer_products_of_one_scale(n: int) -> onnx.ModelProto:
    """n MatMulIntegers whose results are all multiplied by one scale."""
    arrays = {"q": np.ones((3, 5), np.int8), "s": np.float32(0.5)}
    nodes = []
    for k in range(n):
        nodes += [
            helper.make_node("MatMulInteger", ["x", "q"], [f"i{k}"], f"m{k}"),
            helper.make_node("Cast", [f"i{k}"], [f"c{k}"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"c{k}", "s"], [f"y{k}"]),
        ]
    return make_model(nodes, arrays, inputs={"x": (2, 3)}, outputs=["y0"])


def casts_in_a_row_before_many(n: int) -> onnx.ModelProto:
    """Ninety Casts of a weight in a row, read by n layers."""
    casts = [
        helper.make_node("Cast", [f"c{i}"], [f"c{i + 1}"], to=TensorProto.FLOAT) for i in range(90)
    ]
    return multiply_by(["c90"] * n, casts, {"c0": np.ones((7, 3), np.float32)})


def chain_of_quantizers(n: int) -> onnx.ModelProto:
    """A weight that is quantized and dequantized n times in a row."""
    nodes = []
    for i in range(n):
        nodes += [
            helper.make_node("QuantizeLinear", [f"c{i}", "s"], [f"q{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", "s"], [f"c{i + 1}"]),
        ]
    arrays = {"c0": np.ones((7, 3), np.float32), "s": np.float32(0.5)}
    negated = helper.make_node("Neg", [f"c{n}"], ["w"])
    return multiply_by(["w"], [*nodes, negated], arrays)
