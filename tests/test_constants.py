"""Constant subgraphs fold to what onnx's reference computes, and never beyond a limit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import (
    at_input,
    codes,
    constant,
    dequantize_node,
    floats,
    make_model,
    same_bits,
    scales,
    source,
)
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from playground.utils.parameter_inspector import UnavailableError, load_model
from playground.utils.parameter_inspector.quantization import NotUnderstoodError
from playground.utils.parameter_inspector.reading.computed import (
    FOLDABLE,
    Computed,
    quantization_of,
)
from playground.utils.parameter_inspector.reading.constants import (
    MAX_DEPTH,
    ConstantTable,
    attribute_values,
)
from playground.utils.parameter_inspector.reading.growth import MAX_GROWN_ELEMENTS
from playground.utils.parameter_inspector.reading.model_file import all_nodes

node = helper.make_node
ints = np.int64


def table_of(model: onnx.ModelProto) -> tuple[ConstantTable, dict]:
    """Return the constants of a model and its values by name."""
    opened = load_model(model)
    nodes = list(all_nodes(opened))
    values = {v.name: v for n in nodes for v in (*n.inputs, *n.outputs) if v is not None}
    return ConstantTable(opened), values


def folded(model: onnx.ModelProto, name: str = "y"):
    table, values = table_of(model)
    return table.get(values[name])


def constants_only(nodes, arrays, **options) -> onnx.ModelProto:
    return make_model(nodes, arrays, inputs={}, **options)


W = floats(4, 3, 5)
POSITIVE = np.abs(W) + np.float32(0.25)
BYTES = codes("uint8", 4, 6)
TRUTH = W > 0


def one(op_type: str, *arrays, opset: int = 21, **attributes) -> onnx.ModelProto:
    names = [f"i{k}" for k in range(len(arrays))]
    inputs = ["" if a is None else n for n, a in zip(names, arrays, strict=True)]
    held = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    return constants_only([node(op_type, inputs, ["y"], **attributes)], held, opset=opset)


UNARY = "Abs Neg Sign Exp Floor Ceil Round Identity Relu".split()
BINARY = "Add Sub Mul Div Max Min Sum".split()
REDUCTIONS = "ReduceL1 ReduceL2 ReduceMax ReduceMin ReduceMean ReduceProd ReduceSumSquare".split()
COMPARING = "Equal Greater GreaterOrEqual Less LessOrEqual".split()
PER_ROW = floats(3, 1, seed=7)

FOLDS = {
    **{op: one(op, W) for op in UNARY},
    **{op: one(op, POSITIVE) for op in ("Sqrt", "Log", "Reciprocal")},
    **{op: one(op, W, PER_ROW) for op in (*BINARY, *COMPARING)},
    "Not": one("Not", TRUTH),
    **{op: one(op, TRUTH, TRUTH[::-1].copy()) for op in ("And", "Or", "Xor")},
    **{op: one(op, BYTES, np.uint8(15)) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    "BitwiseNot": one("BitwiseNot", BYTES),
    "BitShift": one("BitShift", BYTES, np.uint8(4), direction="RIGHT"),
    "Cast": one("Cast", W, to=TensorProto.FLOAT16),
    "CastLike": one("CastLike", W, np.float16(0)),
    "Clip": one("Clip", W, np.float32(-0.5), np.float32(0.25)),
    "Pow": one("Pow", POSITIVE, np.float32(3)),
    "Mod": one("Mod", BYTES, np.uint8(7)),
    "Where": one("Where", TRUTH, W, PER_ROW),
    "QuantizeLinear": one("QuantizeLinear", W, scales(3), codes("int8", 3), axis=1),
    "DequantizeLinear": one("DequantizeLinear", BYTES, scales(6), codes("uint8", 6, seed=3)),
    "Transpose": one("Transpose", W, perm=[2, 0, 1]),
    "Reshape": one("Reshape", W, ints([0, -1])),
    "Squeeze": one("Squeeze", W[:, :1], ints([1])),
    "Unsqueeze": one("Unsqueeze", W, ints([0, -1])),
    "Flatten": one("Flatten", W, axis=2),
    "Slice": one("Slice", W, ints([1, 4]), ints([4, 0]), ints([0, 2]), ints([2, -2])),
    "Split": constants_only(
        [node("Split", ["i0", "i1"], ["x", "y"], axis=2)], {"i0": W, "i1": ints([2, 3])}
    ),
    "Shape": one("Shape", W),
    "Size": one("Size", W),
    **{op: one(op, W, ints([2]), keepdims=0) for op in REDUCTIONS},
    "ReduceSum": one("ReduceSum", W, ints([0, 2])),
    "Pad": one("Pad", W, ints([1, 0, 3, 0, 2, 1]), np.float32(0.5)),
    "DepthToSpace": one("DepthToSpace", floats(1, 8, 2, 3), blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", floats(1, 2, 4, 6), blocksize=2),
    "Trilu": one("Trilu", W, np.int64(1), upper=0),
    **{op: one(op, W, axis=2, keepdims=0) for op in ("ArgMax", "ArgMin")},
    "Concat": one("Concat", W, W[:, :2], axis=1),
    "Gather": one("Gather", W, ints([[2, 0], [1, -1]]), axis=1),
    "Expand": one("Expand", PER_ROW, ints([2, 1, 4])),
    "Tile": one("Tile", W, ints([1, 2, 3])),
    "ConstantOfShape": one("ConstantOfShape", ints([3, 2]), value=constant("", np.int8([7]))),
    "Range": one("Range", np.float32(1), np.float32(8), np.float32(1.5)),
}


def test_every_operator_that_is_folded_has_a_fixture():
    assert set(FOLDS) == FOLDABLE


@pytest.mark.parametrize("op_type", sorted(FOLDS))
def test_folding_equals_the_reference(op_type):
    (expected,) = ReferenceEvaluator(FOLDS[op_type]).run(["y"], {})
    same_bits(folded(FOLDS[op_type]).read(), np.asarray(expected))


@pytest.mark.parametrize("op_type", sorted(FOLDS))
def test_the_shape_and_type_told_beforehand_are_those_of_the_array(op_type):
    (expected,) = ReferenceEvaluator(FOLDS[op_type]).run(["y"], {})
    constant_value = folded(FOLDS[op_type])
    assert constant_value.shape == np.shape(expected)
    assert constant_value.data_type == source(expected).data_type


@pytest.mark.parametrize("op_type", sorted(FOLDS))
def test_a_folded_array_is_read_only(op_type):
    assert not folded(FOLDS[op_type]).read().flags.writeable


# --------------------------------------------------------------- scales that the graph computes


def test_a_scale_of_the_largest_magnitude_equals_onnxruntime():
    nodes = [
        node("Abs", ["W"], ["a"]),
        node("ReduceMax", ["a", "axes"], ["m"], keepdims=0),
        node("Div", ["m", "127"], ["y"]),
    ]
    model = constants_only(nodes, {"W": W, "axes": ints([1, 2]), "127": np.float32(127)})
    same_bits(folded(model).read(), at_input(model, "y"))


def test_zero_points_made_by_constant_of_shape_equal_onnxruntime():
    nodes = [
        node("Shape", ["W"], ["s"]),
        node("ConstantOfShape", ["s"], ["y"], value=constant("", np.int8([-3]))),
    ]
    model = constants_only(nodes, {"W": W})
    same_bits(folded(model).read(), at_input(model, "y"))


def test_quantizing_and_dequantizing_a_float_weight_equals_onnxruntime():
    nodes = [
        node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=1),
        dequantize_node(("q", "s", "z"), "y", axis=1),
    ]
    arrays = {"W": W, "s": scales(3), "z": codes("int8", 3)}
    model = constants_only(nodes, arrays)
    same_bits(folded(model).read(), at_input(model, "y"))


def test_a_reduction_follows_the_models_own_opset():
    nodes = [node("ReduceMax", ["W"], ["y"], axes=[2], keepdims=0)]
    model = constants_only(nodes, {"W": W}, opset=13)
    same_bits(folded(model).read(), at_input(model, "y"))


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 0.25, 3.0]}, np.float32([0.5, 0.25, 3])),
        ({"value_int": -7}, np.int64(-7)),
        ({"value_ints": [1, 2, 3]}, np.int64([1, 2, 3])),
        ({"value": constant("t", np.int8([[1, 2, 3]]))}, np.int8([[1, 2, 3]])),
    ],
    ids=lambda p: next(iter(p)) if isinstance(p, dict) else "",
)
def test_a_constant_node_holds_what_its_attribute_says(attribute, expected):
    held = folded(constants_only([node("Constant", [], ["y"], **attribute)], {}))
    array = held.read()
    np.testing.assert_array_equal(array, expected)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert held.data_type == source(expected).data_type


# --------------------------------------------------------------- what is constant


def test_what_depends_on_the_input_is_not_constant():
    table, values = table_of(make_model([node("Abs", ["x"], ["y"])]))
    assert not table.is_constant(values["x"])
    assert not table.is_constant(values["y"])


def test_an_initializer_that_is_also_an_input_is_constant():
    model = make_model([node("Abs", ["W"], ["y"])], {"W": W}, inputs={"W": W.shape})
    same_bits(folded(model).read(), np.abs(W))


def test_random_numbers_are_not_constant():
    model = constants_only([node("RandomNormal", [], ["y"], shape=[3])], {})
    assert folded(model) is None


def test_an_operator_of_another_domain_is_not_folded():
    model = constants_only(
        [node("Abs", ["W"], ["y"], domain="my.own")], {"W": W}, domains=["my.own"]
    )
    assert folded(model) is None


def test_an_attribute_that_refers_to_a_function_argument_is_left_out():
    body = [node("Abs", ["a"], ["b"])]
    opened = load_model(make_model(body, inputs={"a": (3,)}, outputs=["b"]))
    assert attribute_values(next(iter(opened.graph))) == {}


# --------------------------------------------------------------- limits

HUGE = 1 << 40
GROWING = {
    "ConstantOfShape": one("ConstantOfShape", ints([HUGE])),
    "ConstantOfShape in many dimensions": one("ConstantOfShape", ints([1 << 16] * 4)),
    "Expand": one("Expand", np.float32([1]), ints([HUGE])),
    "Tile": one("Tile", np.float32([1]), ints([HUGE])),
    "Range": one("Range", ints(0), ints(HUGE), ints(1)),
    "Range of tiny steps": one("Range", np.float64(0), np.float64(1), np.float64(1e-12)),
    "Gather": one("Gather", floats(1, 1 << 12), np.zeros(1 << 12, ints)),
    "broadcasting Add": one("Add", floats(1 << 12, 1), floats(1 << 11)),
    "broadcasting Where": one("Where", np.ones((1 << 12, 1), bool), floats(1 << 11), W[0, 0, 0]),
}


@pytest.mark.parametrize("kind", GROWING)
def test_an_operator_that_makes_too_much_of_little_is_refused(kind):
    with pytest.raises(UnavailableError, match="would make"):
        folded(GROWING[kind]).read()


def test_growth_adds_up_over_a_chain_of_operators():
    """Each doubling gives no more than it is given; forty of them would be an attack."""
    nodes = [node("Concat", [f"t{i}"] * 2, [f"t{i + 1}"], axis=0) for i in range(14)]
    model = constants_only(nodes, {"t0": floats(1024)}, outputs=["t14"])
    with pytest.raises(UnavailableError):
        folded(model, "t14").read()


def test_a_weight_above_the_limit_is_still_folded():
    big = np.ones((MAX_GROWN_ELEMENTS + 1,), np.int8)
    assert folded(one("Identity", big)).read().size == big.size


def chain(length: int) -> onnx.ModelProto:
    nodes = [node("Neg", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]
    return constants_only(nodes, {"t0": floats(3)}, outputs=[f"t{length}"])


def test_a_chain_as_long_as_the_limit_is_folded():
    same_bits(folded(chain(MAX_DEPTH), f"t{MAX_DEPTH}").read(), floats(3))


def test_a_chain_beyond_the_limit_is_not():
    assert folded(chain(MAX_DEPTH + 1), f"t{MAX_DEPTH + 1}") is None


def test_a_value_used_twice_at_each_step_is_computed_once():
    """Two to the power of 150 additions would not end."""
    nodes = [node("Add", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(60)]
    model = constants_only(nodes, {"t0": np.float32([1])}, outputs=["t60"])
    assert folded(model, "t60").read() == [2.0**60]


def cycle(*names: str) -> onnx.ModelProto:
    following = [*names[1:], names[0]]
    nodes = [node("Add", [a, "W"], [b]) for a, b in zip(names, following, strict=True)]
    return make_model([*nodes, node("Add", ["x", names[0]], ["y"])], {"W": floats(7)})


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")], ids="".join)
def test_a_cycle_is_not_constant_and_ends(names):
    table, values = table_of(cycle(*names))
    assert not table.is_constant(values["a"])


def test_nodes_out_of_order_are_still_constant():
    nodes = [node("Neg", ["a"], ["y"]), node("Abs", ["W"], ["a"])]
    held = folded(constants_only(nodes, {"W": W}))
    assert held is not None
    same_bits(held.read(), -np.abs(W))


def test_an_operator_that_refuses_its_inputs_is_unavailable_with_its_reason():
    with pytest.raises(UnavailableError, match=r"Reshape of .*\(4, 3, 5\)"):
        folded(one("Reshape", W, ints([7, 7]))).read()


def test_a_folded_constant_says_what_it_is_made_by():
    held = folded(one("Abs", W))
    assert isinstance(held, Computed)
    assert held.op_type == "Abs"


# --------------------------------------------------------------- what a Q or DQ node spells out


def test_codes_without_a_zero_point_or_type_are_uint8():
    held = quantization_of("QuantizeLinear", (source(W), source(np.float32(1))), {})
    assert held.data_type == "uint8"


def test_the_type_of_the_zero_point_is_that_of_the_codes():
    inputs = (source(W), source(np.float32(1)), source(np.int16(0)))
    assert quantization_of("QuantizeLinear", inputs, {}).data_type == "int16"


def test_output_dtype_is_the_type_of_codes_without_a_zero_point():
    inputs = (source(W), source(np.float32(1)))
    attributes = {"output_dtype": TensorProto.INT4}
    assert quantization_of("QuantizeLinear", inputs, attributes).data_type == "int4"


def test_the_axis_is_1_where_the_node_names_none():
    inputs = (source(codes("int8", 4, 3, 5)), source(scales(3)))
    assert quantization_of("DequantizeLinear", inputs, {}).axis == 1


@pytest.mark.parametrize(
    "inputs", [(), (source(W),), (None, source(W)), (source(W), None)], ids=str
)
def test_a_node_without_codes_or_scale_is_not_understood(inputs):
    with pytest.raises(NotUnderstoodError):
        quantization_of("DequantizeLinear", inputs, {})
