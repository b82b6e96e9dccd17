"""Whatever stands between a stored weight and its layer, the values are what the layer is fed.

The oracle of every form is onnxruntime with its optimizations off, asked for the tensor that
enters the layer; onnx's reference where onnxruntime has no kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import ml_dtypes
import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    MICROSOFT,
    at_input,
    codes,
    constant,
    conv_model,
    dequantize_node,
    element_type,
    feeds_of,
    floats,
    make_model,
    matmul_model,
    run_onnxruntime,
    same_bits,
    scales,
    with_output,
)
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from playground.utils.parameter_inspector import find_layer, list_layers, load_model
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading.tracing import MAX_STEPS
from playground.utils.parameter_inspector.wording import describe_refusal

node = helper.make_node
ints = np.int64


@dataclass(frozen=True)
class Fed:
    """A model, the layer looked at, and the tensor that carries its weight."""

    model: onnx.ModelProto
    layer: str = "conv"
    tensor: str = "w"
    slot: str = "weight"
    by_reference: bool = False

    @property
    def values(self) -> np.ndarray:
        if not self.by_reference:
            return at_input(self.model, self.tensor)
        shown = with_output(self.model, self.tensor)
        return ReferenceEvaluator(shown).run([self.tensor], feeds_of(self.model))[0]


def parts(data_type: str = "int8", axis: int = 0, **extra) -> dict[str, np.ndarray]:
    """Return codes of a Conv weight with scale and zero-point for each index of ``axis``."""
    channels = CONV_SHAPE[axis]
    return {
        "q": codes(data_type, *CONV_SHAPE),
        "s": scales(channels),
        "z": codes(data_type, channels, seed=3),
        **extra,
    }


# --------------------------------------------------------------- E1: DequantizeLinear


def dequantized(
    data_type: str, axis: int | None, scale_shape: tuple[int, ...] | None = None
) -> Fed:
    shape = scale_shape if scale_shape is not None else (CONV_SHAPE[axis or 0],)
    zero = np.zeros(shape, codes(data_type, 2).dtype)
    if data_type.startswith(("int", "uint")) and data_type != "int32":
        zero = codes(data_type, *shape, seed=3)
    arrays = {"q": codes(data_type, *CONV_SHAPE), "s": scales(*shape), "z": zero}
    attributes = {} if axis is None else {"axis": axis}
    return Fed(conv_model([dequantize_node(**attributes)], arrays))


def axis_omitted() -> Fed:
    return Fed(conv_model([dequantize_node()], parts(axis=1)))


def without_zero_point(data_type: str, spelled_empty: bool) -> Fed:
    arrays = parts(data_type)
    del arrays["z"]
    inputs = ["q", "s", ""] if spelled_empty else ["q", "s"]
    return Fed(conv_model([dequantize_node(inputs, axis=0)], arrays))


def in_domain(domain: str, data_type: str = "int8", opset: int = 17) -> Fed:
    made = dequantize_node(domain=domain, axis=0)
    return Fed(conv_model([made], parts(data_type), opset=opset, domains=[MICROSOFT]))


def float16_scale() -> Fed:
    arrays = parts(s=scales(5, dtype=np.float16))
    nodes = [
        dequantize_node(output="half", axis=0),
        node("Cast", ["half"], ["w"], to=TensorProto.FLOAT),
    ]
    return Fed(conv_model(nodes, arrays))


# --------------------------------------------------------------- E2, E3: Q -> DQ, Clip


def fake_quantized(data_type: str = "int8", axis: int = 0, clipped: bool = False) -> Fed:
    arrays = parts(data_type, axis)
    arrays["W"], arrays["low"], arrays["high"] = floats(*CONV_SHAPE), np.int8(-7), np.int8(6)
    del arrays["q"]
    nodes = [node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=axis)]
    if clipped:
        nodes.append(node("Clip", ["q", "low", "high"], ["c"]))
    else:
        del arrays["low"], arrays["high"]
    nodes.append(dequantize_node(("c" if clipped else "q", "s", "z"), axis=axis))
    return Fed(conv_model(nodes, arrays))


def separate_scales() -> Fed:
    """The Q node and the DQ node of one weight each have a scale of their own."""
    arrays = parts(W=floats(*CONV_SHAPE), s2=scales(5, seed=9))
    del arrays["q"]
    nodes = [
        node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=0),
        dequantize_node(("q", "s2", "z"), axis=0),
    ]
    return Fed(conv_model(nodes, arrays))


def uint8_without_zero_point() -> Fed:
    arrays = {"W": floats(*CONV_SHAPE), "s": scales(5)}
    nodes = [node("QuantizeLinear", ["W", "s"], ["q"], axis=0), dequantize_node(("q", "s"), axis=0)]
    return Fed(conv_model(nodes, arrays))


def int4_by_output_dtype() -> Fed:
    arrays = {"W": floats(*CONV_SHAPE), "s": scales(5)}
    made = node("QuantizeLinear", ["W", "s"], ["q"], axis=0, output_dtype=TensorProto.INT4)
    return Fed(conv_model([made, dequantize_node(("q", "s"), axis=0)], arrays))


def clipped_codes() -> Fed:
    arrays = parts(low=np.int8(-7), high=np.int8(7))
    nodes = [node("Clip", ["q", "low", "high"], ["c"]), dequantize_node(("c", "s", "z"), axis=0)]
    return Fed(conv_model(nodes, arrays))


def clipped_below_only() -> Fed:
    nodes = [node("Clip", ["q", "low"], ["c"]), dequantize_node(("c", "s", "z"), axis=0)]
    return Fed(conv_model(nodes, parts(low=np.int8(-7))))


# --------------------------------------------------------------- E7, E8: blocks, layouts


def blocked(data_type: str, axis: int) -> Fed:
    shape = (12, 10)
    few = tuple(d // 2 if i == axis % 2 else d for i, d in enumerate(shape))
    arrays = {"q": codes(data_type, *shape), "s": scales(*few), "z": codes(data_type, *few, seed=3)}
    return Fed(matmul_model([dequantize_node(axis=axis, block_size=2)], arrays, inner=12), "matmul")


def blocked_then_reshaped() -> Fed:
    """A Conv weight kept as [output channels, everything else] in blocks."""
    arrays = {
        "q": codes("int8", 5, 24), "s": scales(5, 3), "z": codes("int8", 5, 3, seed=3),
        "shape": ints(CONV_SHAPE),
    }  # fmt: skip
    nodes = [
        dequantize_node(output="flat", axis=1, block_size=8),
        node("Reshape", ["flat", "shape"], ["w"]),
    ]
    return Fed(conv_model(nodes, arrays))


def rearranged(op_type: str, shape: tuple[int, ...], *arguments, **attributes) -> Fed:
    """Codes of ``shape``, one scale for each index of axis 1, then one layout operator."""
    arrays = {
        "q": codes("int8", *shape), "s": scales(shape[1]), "z": codes("int8", shape[1], seed=3),
    }  # fmt: skip
    names = [f"a{i}" for i in range(len(arguments))]
    nodes = [
        dequantize_node(output="h", axis=1),
        node(op_type, ["h", *names], ["w"], **attributes),
    ]
    return Fed(conv_model(nodes, arrays | dict(zip(names, arguments, strict=True))))


def codes_rearranged() -> Fed:
    """Transposed as codes, dequantized afterwards."""
    arrays = {"q": codes("int8", 4, 3, 5, 2), "s": scales(5), "z": codes("int8", 5, seed=3)}
    nodes = [
        node("Transpose", ["q"], ["t"], perm=[2, 1, 3, 0]),
        dequantize_node(("t", "s", "z"), axis=0),
    ]
    return Fed(conv_model(nodes, arrays))


def several_layouts() -> Fed:
    arrays = {
        "q": codes("int8", 24, 5), "s": scales(5), "z": codes("int8", 5, seed=3),
        "shape": ints([3, 2, 4, 5]),
    }  # fmt: skip
    nodes = [
        dequantize_node(output="h", axis=1),
        node("Reshape", ["h", "shape"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[3, 0, 1, 2]),
        node("Identity", ["t"], ["w"]),
    ]
    return Fed(conv_model(nodes, arrays))


def sliced() -> Fed:
    arrays = parts(start=ints([1]), end=ints([4]), axes=ints([0]))
    nodes = [
        dequantize_node(output="h", axis=0),
        node("Slice", ["h", "start", "end", "axes"], ["w"]),
    ]
    return Fed(conv_model(nodes, arrays))


def concatenated() -> Fed:
    arrays = parts()
    arrays |= {f"{name}2": array[::-1].copy() for name, array in arrays.items()}
    nodes = [
        dequantize_node(output="h", axis=0),
        dequantize_node(("q2", "s2", "z2"), "h2", axis=0),
        node("Concat", ["h", "h2"], ["w"], axis=0),
    ]
    return Fed(conv_model(nodes, arrays))


# --------------------------------------------------------------- E15, E16: float8, two levels


def two_level_scale() -> Fed:
    """The scale itself is dequantized."""
    arrays = parts(s8=codes("uint8", 5), ss=np.float32(0.003), sz=np.uint8(7))
    del arrays["s"]
    nodes = [dequantize_node(("s8", "ss", "sz"), "s"), dequantize_node(axis=0)]
    return Fed(conv_model(nodes, arrays))


def nvfp4() -> Fed:
    """Float4 codes, float8 block scales, one float32 scale of the scales."""
    arrays = {
        "q": codes("float4e2m1", 12, 10), "s8": np.abs(codes("float8e4m3fn", 6, 10)).astype(
            ml_dtypes.float8_e4m3fn), "ss": np.float32(0.3),
    }  # fmt: skip
    nodes = [
        dequantize_node(("s8", "ss"), "s"),
        dequantize_node(("q", "s"), axis=0, block_size=2),
    ]
    model = matmul_model(nodes, arrays, inner=12, opset=23, ir_version=11)
    return Fed(model, "matmul", by_reference=True)


# --------------------------------------------------------------- E20: arithmetic


def arithmetic(
    *, zero: np.ndarray | None, scale: np.ndarray, swapped: bool = False, data_type: str = "uint8"
) -> Fed:
    arrays = {"q": codes(data_type, *CONV_SHAPE), "s": scale}
    nodes = [node("Cast", ["q"], ["f"], to=TensorProto.FLOAT)]
    if zero is not None:
        arrays["z"] = zero
        nodes.append(node("Sub", ["f", "z"], ["d"]))
    factors = ["f" if zero is None else "d", "s"]
    nodes.append(node("Mul", factors[::-1] if swapped else factors, ["w"]))
    return Fed(conv_model(nodes, arrays))


PER_CHANNEL = (5, 1, 1, 1)


def unpacked_nibbles() -> Fed:
    """Two 4-bit codes in each byte, the low one first, as before there was an int4."""
    arrays = {
        "b": codes("uint8", 5, 12), "15": np.uint8(15), "4": np.uint8(4), "8": np.float32(8),
        "s": scales(5, 1), "pair": ints([5, 12, 1]), "flat": ints([5, 24]),
        "shape": ints(CONV_SHAPE),
    }  # fmt: skip
    nodes = [
        node("BitwiseAnd", ["b", "15"], ["low"]),
        node("BitShift", ["b", "4"], ["high"], direction="RIGHT"),
        node("Reshape", ["low", "pair"], ["l"]),
        node("Reshape", ["high", "pair"], ["h"]),
        node("Concat", ["l", "h"], ["lh"], axis=2),
        node("Reshape", ["lh", "flat"], ["q"]),
        node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
        node("Sub", ["f", "8"], ["d"]),
        node("Mul", ["d", "s"], ["m"]),
        node("Reshape", ["m", "shape"], ["w"]),
    ]
    return Fed(conv_model(nodes, arrays))


def integer_subtraction() -> Fed:
    """The zero-point is taken off as int32, before the Cast to float."""
    arrays = parts("uint8", z=np.int32(100))
    arrays["s"] = scales(*PER_CHANNEL)
    nodes = [
        node("Cast", ["q"], ["i"], to=TensorProto.INT32),
        node("Sub", ["i", "z"], ["d"]),
        node("Cast", ["d"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "s"], ["w"]),
    ]
    return Fed(conv_model(nodes, arrays))


# --------------------------------------------------------------- how constants are written


def constant_nodes() -> Fed:
    arrays = parts()
    held = [node("Constant", [], [n], value=constant(n, a)) for n, a in arrays.items()]
    return Fed(conv_model([*held, dequantize_node(axis=0)], {}))


def constant_attributes() -> Fed:
    arrays = {"q": codes("int8", *CONV_SHAPE)}
    nodes = [node("Constant", [], ["s"], value_floats=[float(s) for s in scales(5)])]
    return Fed(conv_model([*nodes, dequantize_node(("q", "s"), axis=0)], arrays))


def constant_attribute_scalar() -> Fed:
    nodes = [node("Constant", [], ["s"], value_float=0.3)]
    arrays = {"q": codes("int8", *CONV_SHAPE), "z": np.int8(3)}
    return Fed(conv_model([*nodes, dequantize_node()], arrays))


def initializers_as_inputs() -> Fed:
    fed = Fed(conv_model([dequantize_node(axis=0)], parts(), ir_version=3, opset=13))
    for tensor in fed.model.graph.initializer:
        fed.model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return fed


def typed_fields(data_type: str) -> Fed:
    """The codes ride in int32_data instead of raw_data."""
    arrays = parts(data_type)
    if data_type.startswith("float"):
        arrays["z"] = np.zeros_like(arrays["z"])
    tensors = [
        helper.make_tensor(name, element_type(data_type), array.shape, array)
        if name != "s"
        else constant(name, array)
        for name, array in arrays.items()
    ]
    assert not tensors[0].HasField("raw_data")
    return Fed(conv_model([dequantize_node(axis=0)], tensors))


def identities() -> Fed:
    nodes = [node("Identity", [name], [f"{name}i"]) for name in "qsz"]
    nodes += [
        dequantize_node(("qi", "si", "zi"), "h", axis=0),
        node("Identity", ["h"], ["i"]),
        node("Identity", ["i"], ["w"]),
    ]
    return Fed(conv_model(nodes, parts()))


def scale_cast_from_float16() -> Fed:
    arrays = parts(s16=scales(5, dtype=np.float16))
    del arrays["s"]
    nodes = [node("Cast", ["s16"], ["s"], to=TensorProto.FLOAT), dequantize_node(axis=0)]
    return Fed(conv_model(nodes, arrays))


def computed_scale() -> Fed:
    """As torch's fake quantization is exported: the scale is the largest magnitude over 127."""
    arrays = {"W": floats(*CONV_SHAPE), "axes": ints([1, 2, 3]), "127": np.float32(127)}
    nodes = [
        node("Abs", ["W"], ["a"]),
        node("ReduceMax", ["a", "axes"], ["m"], keepdims=0),
        node("Div", ["m", "127"], ["s"]),
        node("Shape", ["s"], ["n"]),
        node("ConstantOfShape", ["n"], ["z"], value=constant("", np.int8([0]))),
        node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=0),
        dequantize_node(axis=0),
    ]
    return Fed(conv_model(nodes, arrays))


def computed_scale_and_cast_zero_point() -> Fed:
    arrays = {"W": floats(*CONV_SHAPE), "axes": ints([1, 2, 3]), "127": np.float32(127),
              "0": np.float32([0])}  # fmt: skip
    nodes = [
        node("Abs", ["W"], ["a"]),
        node("ReduceMax", ["a", "axes"], ["m"], keepdims=0),
        node("Div", ["m", "127"], ["s"]),
        node("Shape", ["s"], ["n"]),
        node("Expand", ["0", "n"], ["zf"]),
        node("Cast", ["zf"], ["z"], to=TensorProto.INT8),
        node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=0),
        dequantize_node(axis=0),
    ]
    return Fed(conv_model(nodes, arrays))


def local_function(with_reference: bool = False) -> Fed:
    """DequantizeLinear inside a model-local function; the axis may be the function's argument."""
    inner = node(
        "DequantizeLinear", ["a", "b", "c"], ["d"], **({} if with_reference else {"axis": 0})
    )
    if with_reference:
        inner.attribute.append(
            onnx.AttributeProto(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="along")
        )
    versions = [helper.make_opsetid("", 21)]
    names = ["along"] if with_reference else []
    made = helper.make_function("local", "F", ["a", "b", "c"], ["d"], [inner], versions, names)
    call = node("F", ["q", "s", "z"], ["w"], domain="local", **({"along": 0} if names else {}))
    return Fed(conv_model([call], parts(), functions=[made], domains=["local"]))


def constant_in_a_function() -> Fed:
    arrays = parts()
    body = [
        node("Constant", [], ["c"], value=constant("c", arrays.pop("z"))),
        node("DequantizeLinear", ["a", "b", "c"], ["d"], axis=0),
    ]
    versions = [helper.make_opsetid("", 21)]
    made = helper.make_function("local", "F", ["a", "b"], ["d"], body, versions)
    call = node("F", ["q", "s"], ["w"], domain="local")
    return Fed(conv_model([call], arrays, functions=[made], domains=["local"]))


# --------------------------------------------------------------- shared between layers


def two_layers(second: bool) -> Fed:
    """One scale and one zero-point for conv1 and conv10."""
    arrays = parts(q10=codes("int8", *CONV_SHAPE, seed=8))
    nodes = [
        dequantize_node(("q10", "s", "z"), "w10", axis=0),
        dequantize_node(("q", "s", "z"), "w1", axis=0),
        node("Conv", ["x", "w10"], ["y"], "conv10"),
        node("Conv", ["x", "w1"], ["y1"], "conv1"),
    ]
    number = "10" if second else "1"
    return Fed(make_model(nodes, arrays, outputs=["y", "y1"]), f"conv{number}", f"w{number}")


def one_weight_twice(through_transpose: bool) -> Fed:
    arrays = {"q": codes("int8", 7, 5), "s": scales(5), "z": codes("int8", 5, seed=3)}
    nodes = [
        dequantize_node(axis=1),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("MatMul", ["h", "t"], ["y"], "second"),
    ]
    model = make_model(nodes, arrays, inputs={"x": (2, 7)})
    return Fed(model, "second", "t") if through_transpose else Fed(model, "first", "w")


def two_dequantizers_of_one_initializer(second: bool) -> Fed:
    arrays = parts(s2=scales(3, seed=9), z2=codes("int8", 3, seed=10))
    nodes = [
        dequantize_node(output="wa", axis=0),
        dequantize_node(("q", "s2", "z2"), "wb", axis=1),
        node("Conv", ["x", "wa"], ["y"], "first"),
        node("Conv", ["x", "wb"], ["y2"], "second"),
    ]
    model = make_model(nodes, arrays, outputs=["y", "y2"])
    return Fed(model, "second", "wb") if second else Fed(model, "first", "wa")


# --------------------------------------------------------------- other layers and slots


def in_layer(op_type: str, shape: tuple[int, ...], axis: int, x: tuple[int, ...], **options) -> Fed:
    arrays = {
        "q": codes("int8", *shape), "s": scales(shape[axis]),
        "z": codes("int8", shape[axis], seed=3),
    }  # fmt: skip
    index, slot = options.pop("index", 1), options.pop("slot", "weight")
    inputs = list(options.pop("inputs", ["x", "w"]))
    inputs[index] = "w"
    extra = options.pop("arrays", {})
    nodes = [dequantize_node(axis=axis), node(op_type, inputs, ["y"], "layer", **options)]
    types = {"x": TensorProto.INT64} if op_type == "Gather" else {}
    model = make_model(nodes, arrays | extra, inputs={"x": x}, input_types=types)
    return Fed(model, "layer", slot=slot)


def bias_of_conv() -> Fed:
    arrays = parts(b=codes("int32", 5), bs=scales(5, seed=9), bz=np.zeros(5, np.int32))
    nodes = [
        dequantize_node(axis=0),
        dequantize_node(("b", "bs", "bz"), "bias", axis=0),
        node("Conv", ["x", "w", "bias"], ["y"], "conv"),
    ]
    return Fed(make_model(nodes, arrays), tensor="bias", slot="bias")


def float8_bias_behind_a_cast() -> Fed:
    arrays = {"W": floats(*CONV_SHAPE), "b": floats(5).astype(np.float16)}
    nodes = [
        node("Cast", ["b"], ["bias"], to=TensorProto.FLOAT),
        node("Conv", ["x", "W", "bias"], ["y"], "conv"),
    ]
    return Fed(make_model(nodes, arrays), tensor="bias", slot="bias")


def float_weight(dtype=np.float32) -> Fed:
    if dtype == np.float32:
        return Fed(conv_model([], {"w": floats(*CONV_SHAPE)}))
    arrays = {"h": floats(*CONV_SHAPE).astype(dtype)}
    return Fed(conv_model([node("Cast", ["h"], ["w"], to=TensorProto.FLOAT)], arrays))


def gathered_codes(kind: str) -> Fed:
    """Codes are looked up first and dequantized afterwards (E12)."""
    per_column = kind == "per column"
    arrays = {"q": codes("uint8", 11, 6), "s": scales(6) if per_column else np.float32(0.3)}
    arrays["z"] = codes("uint8", 6, seed=3) if per_column else np.uint8(100)
    nodes = [node("Gather", ["q", "x"], ["g"], "table")]
    if kind == "reshaped":
        arrays["shape"] = ints([2, 2, 2, 6])
        nodes.append(node("Reshape", ["g", "shape"], ["r"]))
    codes_out = "r" if kind == "reshaped" else "g"
    nodes += [
        dequantize_node((codes_out, "s", "z"), "y", axis=2 if per_column else 1),
        dequantize_node(("q", "s", "z"), "whole", axis=1),
    ]
    model = make_model(nodes, arrays, inputs={"x": (2, 4)}, input_types={"x": TensorProto.INT64})
    return Fed(model, "table", "whole")


FORMS: dict[str, Callable[[], Fed]] = {
    **{
        f"E1 {data_type} {'per tensor' if axis is None else f'axis {axis}'}": partial(
            dequantized, data_type, axis, () if axis is None else None
        )
        for data_type in (
            "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32",
            "float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float8e5m2fnuz",
        )
        for axis in (None, 0, 1, 2, 3, -1, -4)
    },
    "E1 scale [1]": partial(dequantized, "int8", 3, (1,)),
    "E1 scale [1], axis outside": partial(dequantized, "int8", 9, (1,)),
    "E1 axis omitted, per channel": axis_omitted,
    "E1 zero-point absent": partial(without_zero_point, "int8", False),
    "E1 zero-point spelled empty": partial(without_zero_point, "uint8", True),
    "E1 com.microsoft": partial(in_domain, MICROSOFT),
    "E1 com.microsoft int4": partial(in_domain, MICROSOFT, "int4"),
    "E1 com.microsoft uint16": partial(in_domain, MICROSOFT, "uint16"),
    "E1 ai.onnx": partial(in_domain, "ai.onnx"),
    "E1 float16 scale": float16_scale,
    **{
        f"E2 {data_type} axis {axis}": partial(fake_quantized, data_type, axis)
        for data_type in ("int4", "int8", "uint8", "int16")
        for axis in (0, 1, 3)
    },
    "E2 separate scales": separate_scales,
    "E2 uint8 by default": uint8_without_zero_point,
    "E2 int4 by output_dtype": int4_by_output_dtype,
    "E3 Clip of codes": clipped_codes,
    "E3 Clip below only": clipped_below_only,
    "E3 Q → Clip → DQ": partial(fake_quantized, clipped=True),
    **{
        f"E7 {data_type} axis {axis}": partial(blocked, data_type, axis)
        for data_type in ("int4", "uint4", "int8")
        for axis in (0, 1, -1, -2)
    },
    "E8 blocks, Reshape": blocked_then_reshaped,
    "E8 Transpose": partial(rearranged, "Transpose", (3, 5, 2, 4), perm=[1, 0, 2, 3]),
    "E8 Transpose without perm": partial(rearranged, "Transpose", (4, 2, 3, 5)),
    "E8 Reshape with 0 and -1": partial(rearranged, "Reshape", (5, 3, 8), ints([0, 3, -1, 4])),
    "E8 Squeeze": partial(rearranged, "Squeeze", (5, 3, 1, 2, 4), ints([2])),
    "E8 Squeeze of all": partial(rearranged, "Squeeze", (1, 5, 3, 2, 1, 4)),
    "E8 Unsqueeze": partial(rearranged, "Unsqueeze", (5, 3, 4), ints([2])),
    "E8 Unsqueeze of negative axes": partial(rearranged, "Unsqueeze", (5, 3), ints([-1, -2])),
    "E8 codes rearranged": codes_rearranged,
    "E8 several": several_layouts,
    "E8 Slice": sliced,
    "E8 Concat": concatenated,
    "E16 scale dequantized": two_level_scale,
    "E16 NVFP4": nvfp4,
    "E20 per tensor": partial(arithmetic, zero=np.float32(100), scale=np.float32(0.3)),
    "E20 per channel": partial(
        arithmetic, zero=np.round(scales(*PER_CHANNEL) * 99), scale=scales(*PER_CHANNEL)
    ),
    "E20 without zero-point": partial(arithmetic, zero=None, scale=scales(*PER_CHANNEL)),
    "E20 int8": partial(arithmetic, zero=None, scale=np.float32(0.3), data_type="int8"),
    "E20 factors swapped": partial(
        arithmetic, zero=np.float32(100), scale=scales(*PER_CHANNEL), swapped=True
    ),
    "E20 scale on axis 1": partial(arithmetic, zero=np.float32(100), scale=scales(3, 1, 1)),
    "E20 zero-point on another axis": partial(
        arithmetic, zero=np.round(scales(3, 1, 1) * 99), scale=scales(*PER_CHANNEL)
    ),
    "E20 zero-point per channel, scale per tensor": partial(
        arithmetic, zero=np.round(scales(*PER_CHANNEL) * 99), scale=np.float32(0.3)
    ),
    "E20 fractional zero-point": partial(
        arithmetic, zero=np.float32(100.5), scale=scales(*PER_CHANNEL)
    ),
    "E20 zero-point outside the codes' type": partial(
        arithmetic, zero=np.float32(200), scale=np.float32(0.3), data_type="int8"
    ),
    "E20 negative zero-point of unsigned codes": partial(
        arithmetic, zero=np.float32(-3), scale=np.float32(0.3)
    ),
    "E20 subtraction in integers": integer_subtraction,
    "E20 unpacked nibbles": unpacked_nibbles,
    "Constant nodes": constant_nodes,
    "Constant value_floats": constant_attributes,
    "Constant value_float": constant_attribute_scalar,
    "initializers that are inputs": initializers_as_inputs,
    **{
        f"int32_data {t}": partial(typed_fields, t)
        for t in ("int4", "uint4", "int8", "uint8", "int16", "uint16", "float8e4m3fn")
    },
    "Identity everywhere": identities,
    "scale cast from float16": scale_cast_from_float16,
    "scale and zero-point computed": computed_scale,
    "scale computed, zero-point cast": computed_scale_and_cast_zero_point,
    "local function": local_function,
    "local function, attribute by reference": partial(local_function, True),
    "local function, constant inside": constant_in_a_function,
    "shared scale, conv1": partial(two_layers, False),
    "shared scale, conv10": partial(two_layers, True),
    "one weight, two layers": partial(one_weight_twice, False),
    "tied weight through Transpose": partial(one_weight_twice, True),
    "one initializer, first of two": partial(two_dequantizers_of_one_initializer, False),
    "one initializer, second of two": partial(two_dequantizers_of_one_initializer, True),
    "ConvTranspose": partial(in_layer, "ConvTranspose", (3, 5, 2, 4), 1, (1, 3, 6, 7)),
    "Gemm": partial(in_layer, "Gemm", (7, 5), 1, (2, 7)),
    "Gemm transB": partial(in_layer, "Gemm", (5, 7), 0, (2, 7), transB=1),
    "MatMul": partial(in_layer, "MatMul", (7, 5), 1, (2, 7)),
    "MatMul, weight on the left": partial(
        in_layer, "MatMul", (5, 7), 0, (7, 2), index=0, inputs=["w", "x"]
    ),
    "MatMul, negative axis": partial(in_layer, "MatMul", (7, 5), -1, (2, 7)),
    "Gather": partial(in_layer, "Gather", (11, 6), 0, (2, 4), index=0, inputs=["w", "x"]),
    "Gather, scale per column": partial(
        in_layer, "Gather", (11, 6), 1, (2, 4), index=0, inputs=["w", "x"]
    ),
    "LSTM": partial(
        in_layer, "LSTM", (1, 12, 5), 1, (4, 2, 5), inputs=["x", "w", "R"], hidden_size=3,
        arrays={"R": floats(1, 12, 3)},
    ),
    "LSTM recurrence": partial(
        in_layer, "LSTM", (1, 12, 3), 1, (4, 2, 5), inputs=["x", "W", "w"], hidden_size=3,
        arrays={"W": floats(1, 12, 5)}, index=2, slot="recurrence",
    ),
    "GRU": partial(
        in_layer, "GRU", (1, 9, 5), 1, (4, 2, 5), inputs=["x", "w", "R"], hidden_size=3,
        arrays={"R": floats(1, 9, 3)},
    ),
    "PRelu": partial(in_layer, "PRelu", (3, 1, 1), 0, (1, 3, 6, 7)),
    "Add": partial(in_layer, "Add", (3, 7), 1, (2, 3, 7), slot="operand"),
    "Mul, weight on the left": partial(
        in_layer, "Mul", (3, 7), 1, (2, 3, 7), index=0, inputs=["w", "x"], slot="operand"
    ),
    "LayerNormalization": partial(in_layer, "LayerNormalization", (7,), 0, (2, 7)),
    "bias of Conv": bias_of_conv,
    "float bias behind a Cast": float8_bias_behind_a_cast,
    "float weight": float_weight,
    "float16 weight behind a Cast": partial(float_weight, np.float16),
    "E12 Gather of codes": partial(gathered_codes, "per tensor"),
    "E12 Gather of codes, per column": partial(gathered_codes, "per column"),
    "E12 Gather of codes, reshaped": partial(gathered_codes, "reshaped"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_values_equal_what_is_fed_to_the_layer(kind):
    fed = FORMS[kind]()
    layer = find_layer(load_model(fed.model), fed.layer)
    kinds = {refusal.kind for refusal in layer.not_understood}
    assert kinds <= {RefusalKind.COMPUTED_FROM_CODES}
    parameter = layer.parameter(fed.slot)
    assert parameter is not None
    expected = fed.values
    assert parameter.shape == expected.shape
    same_bits(parameter.values, expected)


FLOAT_FORMS = {"float weight", "float16 weight behind a Cast", "float bias behind a Cast"}


@pytest.mark.parametrize("kind", sorted(set(FORMS) - FLOAT_FORMS))
def test_a_weight_stored_as_codes_is_never_passed_off_as_float(kind):
    fed = FORMS[kind]()
    layer = find_layer(load_model(fed.model), fed.layer)
    parameter = layer.parameter(fed.slot)
    assert layer.not_understood or parameter.is_quantized


@pytest.mark.parametrize("kind", sorted(FLOAT_FORMS))
def test_a_float_weight_has_no_quantization(kind):
    fed = FORMS[kind]()
    parameter = find_layer(load_model(fed.model), fed.layer).parameter(fed.slot)
    assert not parameter.is_quantized
    assert parameter.storage.startswith("float")


# --------------------------------------------------------------- constants of an outer graph


def branch_model() -> onnx.ModelProto:
    """A Conv in each branch of an If; codes and scale belong to the outer graph."""
    arrays = parts(c=np.bool_(True), s2=scales(5, seed=9))

    def branch(name: str, scale: str) -> onnx.GraphProto:
        nodes = [
            dequantize_node(("q", scale, "z"), f"{name}_w", axis=0),
            node("Conv", ["x", f"{name}_w"], [f"{name}_y"], f"{name}_conv"),
        ]
        outputs = [onnx.ValueInfoProto(name=f"{name}_y"), onnx.ValueInfoProto(name=f"{name}_w")]
        return helper.make_graph(nodes, name, [], outputs)

    choose = node("If", ["c"], ["y", "w"], "if", then_branch=branch("then", "s"),
                  else_branch=branch("else", "s2"))  # fmt: skip
    return make_model([choose], arrays, outputs=["y", "w"])


@pytest.mark.parametrize(("name", "chosen"), [("then", True), ("else", False)])
def test_a_layer_in_a_branch_reads_the_initializers_of_the_outer_graph(name, chosen):
    model = branch_model()
    next(t for t in model.graph.initializer if t.name == "c").CopyFrom(
        constant("c", np.bool_(chosen))
    )
    weight = find_layer(load_model(model), f"{name}_conv").weight
    same_bits(weight.values, at_input(model, "w"))


def test_an_initializer_of_the_branch_hides_one_of_the_outer_graph():
    model = branch_model()
    graphs = {a.name: a.g for a in model.graph.node[0].attribute}
    graphs["then_branch"].initializer.append(constant("s3", scales(5, seed=11)))
    graphs["then_branch"].node[0].input[1] = "s3"
    weight = find_layer(load_model(model), "then_conv").weight
    same_bits(weight.values, at_input(model, "w"))


# --------------------------------------------------------------- sparse tensors


def test_a_sparse_weight_is_read_dense():
    """onnxruntime fills it up with zeros."""
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.5, -2.5])
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [2], [3, 99])
    model = conv_model([], {})
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, indices, list(CONV_SHAPE))
    )
    dense = np.zeros(CONV_SHAPE, np.float32)
    dense.flat[[3, 99]] = 1.5, -2.5
    image = feeds_of(model)
    filled = conv_model([], {"w": dense})
    expected = run_onnxruntime(filled, image, ["y"])[0]
    np.testing.assert_array_equal(run_onnxruntime(model, image, ["y"])[0], expected)
    same_bits(find_layer(load_model(model), "conv").weight.values, dense)


# --------------------------------------------------------------- what is not a parameter


def test_a_weight_that_is_a_graph_input_is_no_parameter():
    model = conv_model([], {}, inputs={"x": (1, 3, 6, 7), "w": CONV_SHAPE})
    assert find_layer(load_model(model), "conv").weight is None


def test_a_product_of_two_activations_has_no_weight():
    nodes = [node("MatMul", ["x", "v"], ["y"], "matmul")]
    model = make_model(nodes, inputs={"x": (2, 7), "v": (7, 5)})
    assert list_layers(load_model(model))[0].parameters == ()


def test_dequantized_activations_are_no_parameters():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        dequantize_node(("q", "s", "z"), "d"),
        node("Relu", ["d"], ["y"], "relu"),
    ]
    model = make_model(nodes, {"s": np.float32(0.3), "z": np.uint8(3)})
    assert find_layer(load_model(model), "relu").parameters == ()


# --------------------------------------------------------------- what cannot be read is said


def unread(nodes, arrays, **options) -> tuple[str, ...]:
    """Return what the Conv behind ``nodes`` says about its weight, which must not be there."""
    layer = find_layer(load_model(conv_model(nodes, arrays, **options)), "conv")
    assert layer.weight is None
    return tuple(map(describe_refusal, layer.not_understood))


def test_an_operator_of_an_unknown_domain_before_a_layer_is_named():
    made = node("Unpack", ["W"], ["w"], domain="my.own")
    (reason,) = unread([made], {"W": floats(*CONV_SHAPE)})
    assert "Unpack" in reason
    assert "my.own" in reason


def test_an_operator_of_an_unknown_domain_behind_layout_operators_is_named():
    made = [node("Unpack", ["W"], ["h"], domain="my.own"), node("Identity", ["h"], ["w"])]
    (reason,) = unread(made, {"W": floats(*CONV_SHAPE)})
    assert "Unpack" in reason


def test_an_operator_of_an_unknown_domain_before_the_codes_is_named():
    made = [node("Unpack", ["W"], ["q"], domain="my.own"), dequantize_node(("q", "s"), axis=0)]
    (reason,) = unread(made, {"W": codes("int8", 5, 9), "s": scales(5)})
    assert "Unpack" in reason


def test_an_operator_of_an_unknown_domain_before_the_scale_is_said():
    made = [node("Unpack", ["S"], ["s"], domain="my.own"), dequantize_node(("q", "s"), axis=0)]
    (reason,) = unread(made, {"q": codes("int8", *CONV_SHAPE), "S": scales(5)})
    assert "Unpack" in reason


def test_a_standard_operator_that_cannot_be_folded_is_named():
    made = node("Einsum", ["W"], ["w"], equation="ihwo->oihw")
    (reason,) = unread([made], {"W": floats(3, 2, 4, 5)})
    assert "Einsum" in reason


@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_scale_of_the_wrong_length_is_refused_with_both_shapes(length):
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(length)}
    if length == 1:
        arrays["s"] = scales(1, 5)
    (reason,) = unread([dequantize_node(("q", "s"), axis=0)], arrays)
    assert str(arrays["s"].shape) in reason
    assert str(CONV_SHAPE) in reason


@pytest.mark.parametrize("axis", [4, 9, -5])
def test_an_axis_outside_the_weight_is_refused(axis):
    (reason,) = unread([dequantize_node(axis=axis)], parts())
    assert f"axis {axis}" in reason


def test_a_scale_that_is_computed_from_the_input_is_said():
    nodes = [node("ReduceMax", ["x"], ["s"], keepdims=0), dequantize_node(("q", "s"))]
    assert unread(nodes, {"q": codes("int8", *CONV_SHAPE)})


def test_a_reshape_that_does_not_fit_is_refused_with_the_shape():
    nodes = [dequantize_node(output="h", axis=0), node("Reshape", ["h", "shape"], ["w"])]
    (reason,) = unread(nodes, parts(shape=ints([7, 7])))
    assert str(CONV_SHAPE) in reason


def test_more_layout_operators_than_the_limit_are_said():
    names = ["h", *(f"t{i}" for i in range(MAX_STEPS + 5)), "w"]
    nodes = [dequantize_node(output="h", axis=0)]
    nodes += [node("Identity", [a], [b]) for a, b in pairwise(names)]
    assert unread(nodes, parts())


@pytest.mark.parametrize("op_type", ["Identity", "Transpose", "Mul"])
def test_a_cycle_before_a_layer_does_not_hang(op_type):
    inputs = {"Mul": ["b", "s"]}.get(op_type, ["b"])
    nodes = [node(op_type, inputs, ["a"]), node("Identity", ["a"], ["b"])]
    model = conv_model(nodes, {"s": np.float32(1)}, weight="a")
    assert [layer for layer in list_layers(load_model(model)) if layer.name == "conv"]


def test_a_bad_layer_hides_no_other():
    arrays = parts(bad=scales(4))
    nodes = [
        dequantize_node(("q", "bad"), "wb", axis=0),
        dequantize_node(axis=0),
        node("Conv", ["x", "wb"], ["yb"], "broken"),
        node("Conv", ["x", "w"], ["y"], "sound"),
    ]
    model = load_model(make_model(nodes, arrays, outputs=["y", "yb"]))
    assert find_layer(model, "broken").not_understood
    assert find_layer(model, "sound").weight.is_quantized
