"""Every operator that holds or makes a quantized weight is read as its own definition says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    MICROSOFT,
    at_input,
    codes,
    conv_model,
    dequantize_node,
    floats,
    make_model,
    onnxruntime_dequantizes,
    run_onnxruntime,
    same_bits,
    scales,
)
from onnx import TensorProto, helper

from playground.utils.parameter_inspector import (
    UnavailableError,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.operators import OPERATORS, QONNX_DOMAINS
from playground.utils.parameter_inspector.quantization import numpy_dtype
from playground.utils.parameter_inspector.reading.storage import (
    DEQUANTIZERS,
)
from playground.utils.parameter_inspector.records import Layer, WeightTensor
from playground.utils.parameter_inspector.wording import describe_refusal

node = helper.make_node


@dataclass(frozen=True)
class Form:
    """A model in which one parameter is stored in one way, and its values by an oracle."""

    model: onnx.ModelProto
    slot: str
    values: np.ndarray
    tolerance: float = 0.0


def the_layer(model: onnx.ModelProto) -> Layer:
    (layer,) = list_layers(load_model(model))
    return layer


def the_parameter(form: Form) -> WeightTensor:
    layer = the_layer(form.model)
    assert not layer.not_understood
    parameter = layer.parameter(form.slot)
    assert parameter is not None
    return parameter


# --------------------------------------------------------------- operators before a layer


def dequantized_in(domain: str) -> Form:
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(5), "z": codes("int8", 5, seed=3)}
    model = conv_model([dequantize_node(domain=domain, axis=0)], arrays, domains=[MICROSOFT])
    return Form(model, "weight", at_input(model, "w"))


def trt_float8(as_bytes: bool = False) -> Form:
    q, s = codes("float8e4m3fn", *CONV_SHAPE), np.float32(0.3)
    held = q.view(np.uint8) if as_bytes else q
    made = node("TRT_FP8DequantizeLinear", ["q", "s"], ["w"], domain="trt")
    return Form(conv_model([made], {"q": held, "s": s}), "weight", onnxruntime_dequantizes(q, s))


# As the qonnx package defines them.
ROUNDINGS = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "DOWN": np.fix,
    "ROUND_TO_ZERO": np.fix,
}


def qonnx_quant(
    domain: str = QONNX_DOMAINS[0],
    op_type: str = "Quant",
    *,
    bits: float = 4,
    zero: float = 0.0,
    channels: int = 5,
    **attributes,
) -> Form:
    """By the operator's published definition: divide, shift, clip, round, and back again."""
    w = floats(*CONV_SHAPE)
    w.reshape(-1)[:6] = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 99]) * np.float32(0.25)
    s = np.where(np.arange(channels) == 0, 0.25, scales(channels)).astype(np.float32)
    s = s.reshape(-1, 1, 1, 1)
    signed, narrow = attributes.get("signed", 1), attributes.get("narrow", 0)
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    rounding = ROUNDINGS[attributes.get("rounding_mode", "ROUND")]
    steps = rounding(np.clip(w / s + np.float32(zero), np.float32(low), np.float32(high)))
    steps += 0  # an integer has no -0
    arrays = {"W": w, "s": s, "z": np.float32(zero), "b": np.float32(bits)}
    made = node(op_type, list(arrays), ["w"], domain=domain, **attributes)
    values = (steps - np.float32(zero)) * s
    return Form(conv_model([made], arrays), "weight", values)


def qonnx_quant_of_one_bit() -> Form:
    """Signed, it is the sign."""
    w = floats(*CONV_SHAPE)
    arrays = {"W": w, "s": np.float32(0.25), "z": np.float32(0), "b": np.float32(1)}
    made = node("Quant", list(arrays), ["w"], domain=QONNX_DOMAINS[0], signed=1, narrow=0)
    values = np.where(w >= 0, np.float32(0.25), np.float32(-0.25))
    return Form(conv_model([made], arrays), "weight", values)


def qonnx_bipolar(domain: str) -> Form:
    w, s = floats(*CONV_SHAPE), scales(5).reshape(5, 1, 1, 1)
    w.reshape(-1)[0] = 0
    made = node("BipolarQuant", ["W", "s"], ["w"], domain=domain)
    signs = np.array([1 if one >= 0 else -1 for one in w.ravel()], np.float32).reshape(w.shape)
    return Form(conv_model([made], {"W": w, "s": s}), "weight", signs * s)


def mct_symmetric(op_type: str, *, bits: int = 8, signed: bool = True, axis: int = 1) -> Form:
    w = floats(*CONV_SHAPE)
    threshold = np.float32([2, 1, 0.5, 4, 0.25])[: CONV_SHAPE[axis]]
    s = threshold / np.float32(2 ** (bits - signed))
    shape = [-1 if i == axis else 1 for i in range(4)]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    steps = np.clip(np.round(w / s.reshape(shape)), low, high) + 0  # an integer has no -0
    values = steps * s.reshape(shape)
    attributes = {"num_bits": bits, "signed": int(signed), "channel_axis": axis}
    made = node(op_type, ["W", "t"], ["w"], domain="mct_quantizers", **attributes)
    model = conv_model([made], {"W": w, "t": threshold})
    return Form(model, "weight", values.astype(np.float32))


# --------------------------------------------------------------- layers that hold codes themselves

HALF, ZERO = np.float32(0.5), np.uint8(3)


def qlinear_conv(domain: str, slot: str) -> Form:
    q, s, z = codes("int8", *CONV_SHAPE), scales(5), np.zeros(5, np.int8)
    b = codes("int32", 5)
    arrays = {
        "xs": np.float32(0.3),
        "xz": ZERO,
        "q": q,
        "s": s,
        "z": z,
        "ys": HALF,
        "yz": ZERO,
        "b": b,
    }
    made = node("QLinearConv", ["x", *arrays], ["y"], domain=domain)
    model = make_model([made], arrays, input_types={"x": TensorProto.UINT8})
    if slot == "weight":
        return Form(model, slot, onnxruntime_dequantizes(q, s, z, axis=0))
    return Form(model, slot, onnxruntime_dequantizes(b, np.float32(0.3) * s, axis=0))


def qlinear_matmul(index: int) -> Form:
    shape = (7, 5) if index == 3 else (7, 2)
    q, s, z = codes("int8", *shape), scales(shape[1]), codes("int8", shape[1], seed=3)
    if index == 0:
        s, z = s[0], z[0]
    arrays = {"q": q, "s": s, "z": z, "as": HALF, "az": ZERO, "ys": HALF, "yz": ZERO}
    order = ["x", "as", "az", "q", "s", "z"] if index == 3 else ["q", "s", "z", "x", "as", "az"]
    made = node("QLinearMatMul", [*order, "ys", "yz"], ["y"])
    model = make_model([made], arrays, inputs={"x": (2, 7)}, input_types={"x": TensorProto.UINT8})
    return Form(model, "weight", onnxruntime_dequantizes(q, s, z, axis=1))


def qgemm(slot: str, trans_b: int = 1, alpha: float = 1.0) -> Form:
    q, s, z = (
        codes("int8", 5, 7) if trans_b else codes("int8", 7, 5),
        scales(5),
        np.zeros(5, np.int8),
    )
    b = codes("int32", 5)
    arrays = {
        "as": np.float32(0.3),
        "az": ZERO,
        "q": q,
        "s": s,
        "z": z,
        "b": b,
        "ys": HALF,
        "yz": ZERO,
    }
    made = node("QGemm", ["x", *arrays], ["y"], domain=MICROSOFT, transB=trans_b, alpha=alpha)
    model = make_model([made], arrays, inputs={"x": (2, 7)}, input_types={"x": TensorProto.UINT8})
    if slot == "weight":
        return Form(model, slot, onnxruntime_dequantizes(q, s, z, axis=0 if trans_b else 1))
    implied = np.float32(alpha) * np.float32(0.3) * s
    return Form(model, slot, onnxruntime_dequantizes(b, implied, axis=0))


def qlinear_binary(op_type: str, index: int) -> Form:
    q, s, z = codes("uint8", 3, 7), np.float32(0.3), np.uint8(100)
    arrays = {"q": q, "s": s, "z": z, "as": HALF, "az": ZERO, "ys": HALF, "yz": ZERO}
    order = ["x", "as", "az", "q", "s", "z"] if index == 3 else ["q", "s", "z", "x", "as", "az"]
    made = node(op_type, [*order, "ys", "yz"], ["y"], domain=MICROSOFT)
    model = make_model([made], arrays, inputs={"x": (3, 7)}, input_types={"x": TensorProto.UINT8})
    return Form(model, "operand", onnxruntime_dequantizes(q, s, z))


def qlinear_concat() -> Form:
    """The codes stand before an activation; the scale of the output comes first of all."""
    q, s, z = codes("uint8", 3, 7), np.float32(0.2), np.uint8(9)
    arrays = {"q": q, "s": s, "z": z, "one": np.float32(0.1), "zero": np.uint8(0)}
    inputs = ["one", "zero", "q", "s", "z", "x", "one", "zero"]
    return of_codes(node("QLinearConcat", inputs, ["y"], domain=MICROSOFT, axis=0), arrays)


def qlinear_where(index: int) -> Form:
    q, s, z = codes("uint8", 3, 7), np.float32(0.2), np.uint8(9)
    arrays = {"q": q, "s": s, "z": z, "one": np.float32(0.1), "zero": np.uint8(0)}
    arrays["c"] = np.eye(3, 7, dtype=bool)
    given, other = ["q", "s", "z"], ["x", "one", "zero"]
    both = [*given, *other] if index == 1 else [*other, *given]
    made = node("QLinearWhere", ["c", *both, "one", "zero"], ["y"], domain=MICROSOFT)
    return of_codes(made, arrays)


def of_codes(made: onnx.NodeProto, arrays: dict[str, np.ndarray]) -> Form:
    """Return an operator of codes ``q`` and an activation of codes."""
    types = {"x": TensorProto.UINT8}
    model = make_model([made], arrays, inputs={"x": (3, 7)}, input_types=types, domains=[MICROSOFT])
    return Form(model, "operand", onnxruntime_dequantizes(arrays["q"], arrays["s"], arrays["z"]))


def last_axis_integer(op_type: str, inputs: list[str]) -> Form:
    """A weight [7, 15] with a scale for each column; ``inputs`` in the operator's order."""
    arrays = {
        "q": codes("int8", 7, 15), "s": scales(15), "z": codes("int8", 15, seed=3),
        "as": HALF, "az": ZERO, "bias": floats(15),
    }  # fmt: skip
    used = {name: arrays[name] for name in inputs if name in arrays}
    made = node(op_type, inputs, ["y"], domain=MICROSOFT)
    model = make_model([made], used, inputs={"x": (1, 2, 7)})
    values = onnxruntime_dequantizes(arrays["q"], arrays["s"], arrays["z"], axis=1)
    return Form(model, "weight", values)


def dynamic_lstm(slot: str, per_channel: bool = True) -> Form:
    """Codes [directions, in, 4·hidden]; ONNX's own LSTM has [directions, 4·hidden, in]."""
    directions, features, hidden = 2, 5, 3
    w, r = codes("int8", directions, features, 12), codes("int8", directions, hidden, 12, seed=4)
    shape = (directions, 12) if per_channel else (directions,)
    arrays = {
        "W": w, "R": r, "ws": scales(*shape), "wz": np.zeros(shape, np.int8),
        "rs": scales(*shape, seed=5), "rz": np.zeros(shape, np.int8),
    }  # fmt: skip
    inputs = ["x", "W", "R", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    made = node("DynamicQuantizeLSTM", inputs, ["y"], domain=MICROSOFT, hidden_size=hidden,
                direction="bidirectional")  # fmt: skip
    q, s = (w, arrays["ws"]) if slot == "weight" else (r, arrays["rs"])
    axis = {"axis": 1} if per_channel else {}
    each = [onnxruntime_dequantizes(q[d], s[d], **axis) for d in range(directions)]
    values = np.stack([one.T for one in each])
    return Form(make_model([made], arrays, inputs={"x": (4, 1, features)}), slot, values)


EMBEDDINGS = {2: "weight", 3: "position", 4: "segment", 5: "gamma", 6: "bias"}


def embed_layer_normalization(index: int) -> Form:
    tables = [codes("uint8", rows, 6, seed=rows) for rows in (11, 9, 2)]
    tables += [codes("uint8", 6, seed=s) for s in (20, 21)]
    arrays = {f"q{i}": table for i, table in enumerate(tables)}
    arrays |= {f"s{i}": scales(5)[i] for i in range(5)}
    arrays |= {f"z{i}": np.uint8(10 * i) for i in range(5)}
    inputs = ["ids", "segments", *(f"q{i}" for i in range(5)), "", *(f"s{i}" for i in range(5)),
              *(f"z{i}" for i in range(5))]  # fmt: skip
    made = node("QEmbedLayerNormalization", inputs, ["y", "m"], domain=MICROSOFT)
    model = make_model([made], arrays, inputs={"ids": (1, 4), "segments": (1, 4)})
    i = index - 2
    values = onnxruntime_dequantizes(tables[i], scales(5)[i], np.uint8(10 * i))
    return Form(model, EMBEDDINGS[index], values)


def identity_product(model: onnx.ModelProto, columns: int) -> np.ndarray:
    """Return the weight [N, K] that onnxruntime multiplies the identity by."""
    (product,) = run_onnxruntime(model, {"x": np.eye(columns, dtype=np.float32)}, ["y"])
    return product.T


def matmul_nbits(
    *, bits: int = 4, block: int = 16, rows: int = 5, columns: int = 40, zero: str = "packed",
    flat: bool = False,
) -> Form:  # fmt: skip
    blocks, generator = ceil(columns / block), np.random.default_rng(bits)
    arrays = {
        "B": generator.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8),
        "s": scales(rows * blocks) if flat else scales(rows, blocks),
    }
    if zero == "packed":
        packed = (rows, ceil(blocks * bits / 8))
        arrays["z"] = generator.integers(0, 256, packed).astype(np.uint8)
    elif zero == "float":
        arrays["z"] = generator.uniform(0, 2**bits, (rows, blocks)).astype(np.float32)
    attributes = {"N": rows, "K": columns, "bits": bits, "block_size": block}
    made = node("MatMulNBits", ["x", *arrays], ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], arrays, inputs={"x": (columns, columns)}, domains=[MICROSOFT])
    return Form(model, "weight", identity_product(model, columns), 1e-6)


def bit_stream(packed: np.ndarray, bits: int, count: int) -> list[int]:
    """Read bytes as one long number, as the definition has it: low bits first."""
    number = int.from_bytes(packed.tobytes(), "little")
    return [(number >> bits * place) % 2**bits for place in range(count)]


def nbits_arrays(
    rows: int, columns: int, block: int, bits: int, seed: int, zero: str = ""
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return blob, scales (and zero-points) of a weight, and its values by `bit_stream`."""
    blocks, generator = ceil(columns / block), np.random.default_rng(seed)
    blob = generator.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8)
    s = scales(rows, blocks, seed=seed)
    arrays, z = [blob, s], np.full((rows, blocks), 2 ** (bits - 1))
    if zero == "packed":
        packed = generator.integers(0, 256, (rows, ceil(blocks * bits / 8))).astype(np.uint8)
        arrays.append(packed)
        z = np.array([bit_stream(row, bits, blocks) for row in packed])
    codes_of_rows = [
        [code for part in row for code in bit_stream(part, bits, block)][:columns] for row in blob
    ]
    steps = np.array(codes_of_rows) - np.repeat(z, block, axis=1)[:, :columns]
    return arrays, steps.astype(np.float32) * np.repeat(s, block, axis=1)[:, :columns]


def odd_bits(bits: int, *, zero: str = "", columns: int = 56, block: int = 16) -> Form:
    """By the definition: onnxruntime's schema has 2 to 8 bits, its processors have 2, 4 and 8."""
    arrays, values = nbits_arrays(5, columns, block, bits, seed=bits, zero=zero)
    named = dict(zip(["B", "s", "z"], arrays, strict=False))
    attributes = {"N": 5, "K": columns, "bits": bits, "block_size": block}
    made = node("MatMulNBits", ["x", *named], ["y"], domain=MICROSOFT, **attributes)
    return Form(make_model([made], named, inputs={"x": (2, columns)}), "weight", values)


PROJECTIONS = {
    "MatMulNBitsMlp": {3: ("weight", 5), 6: ("weight 2", 5)},
    "MatMulNBitsQkv": {3: ("weight", 5), 6: ("weight 2", 3), 9: ("weight 3", 3)},
}


def fused_projections(op_type: str, index: int) -> Form:
    """Two or three weights in one operator, each followed by its scales and its bias."""
    columns, block = 48, 32
    inputs, held, values = ["x", "", "gamma"], {"gamma": floats(columns)}, {}
    for place, (slot, rows) in PROJECTIONS[op_type].items():
        arrays, values[slot] = nbits_arrays(rows, columns, block, 4, seed=place)
        named = dict(zip([f"B{place}", f"s{place}"], arrays, strict=True))
        held |= named | {f"b{place}": floats(rows, seed=place)}
        inputs += [*named, f"b{place}"]
    attributes = {"K": columns, "bits": 4, "block_size": block}
    if op_type == "MatMulNBitsMlp":
        attributes |= {"N": 5, "activation": "silu"}
        outputs = ["y"]
    else:
        attributes |= {"Nq": 5, "Nkv": 3}
        outputs = ["q", "k", "v"]
    made = node(op_type, inputs, outputs, domain=MICROSOFT, **attributes)
    slot = PROJECTIONS[op_type][index][0]
    model = make_model([made], held, inputs={"x": (2, columns)}, outputs=outputs)
    return Form(model, slot, values[slot])


E2M1 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def e4m3(byte: int) -> float:
    """By the format: 4 bits of exponent with a bias of 7, 3 of mantissa."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = (1 + mantissa / 8) * 2.0 ** (exponent - 7) if exponent else mantissa / 8 * 2.0**-6
    return -size if byte >> 7 else size


def fp4_blocks(*, block: int = 16, columns: int = 40) -> Form:
    """Two in a byte, the low one first; the scale of a block times that of all, then the code."""
    blob, s = (
        codes("uint8", 5, columns // 2),
        codes("uint8", 5, ceil(columns / block), seed=3) % 120,
    )
    common = np.float32(0.37)
    values = np.zeros((5, columns), np.float32)
    for n, k in np.ndindex(values.shape):
        code = int(blob[n, k // 2]) >> 4 * (k % 2) & 15
        level = -E2M1[code % 8] if code >= 8 else E2M1[code]
        values[n, k] = level * (np.float32(e4m3(int(s[n, k // block]))) * common)
    arrays = {"B": blob, "s": s, "g": common}
    made = node("MatMulBlockQuantizedFp4Weight", ["x", *arrays], ["y"], domain=MICROSOFT,
                block_size=block)  # fmt: skip
    model = make_model([made], arrays, inputs={"x": (2, columns)},
                       input_types={"x": TensorProto.FLOAT16})  # fmt: skip
    return Form(model, "weight", values)


def fp8_blocks(*, block: int = 16, columns: int = 40) -> Form:
    q, s = codes("float8e4m3fn", 5, columns), scales(5, ceil(columns / block))
    exact = np.array([[e4m3(int(byte)) for byte in row] for row in q.view(np.uint8)], np.float32)
    made = node("MatMulBlockQuantizedFp8Weight", ["x", "q", "s"], ["y"], domain=MICROSOFT,
                block_size=block)  # fmt: skip
    model = make_model([made], {"q": q, "s": s}, inputs={"x": (2, columns)},
                       input_types={"x": TensorProto.FLOAT16})  # fmt: skip
    return Form(model, "weight", exact * np.repeat(s, block, axis=1)[:, :columns])


def matmul_bnb4(*, quant_type: int = 1, rows: int = 5, columns: int = 48, block: int = 32) -> Form:
    generator = np.random.default_rng(quant_type)
    arrays = {
        "B": generator.integers(0, 256, (rows * columns + 1) // 2).astype(np.uint8),
        "m": scales(ceil(rows * columns / block)),
    }
    attributes = {"N": rows, "K": columns, "block_size": block, "quant_type": quant_type}
    made = node("MatMulBnb4", ["x", *arrays], ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], arrays, inputs={"x": (columns, columns)}, domains=[MICROSOFT])
    return Form(model, "weight", identity_product(model, columns), 1e-6)


def gather_floats(data_type: str, scale_shape: tuple[int, int], block: int) -> Form:
    """A float8 or float4 table: block size 0 is a whole row, a scale of length 1 is for all."""
    arrays = {"q": codes(data_type, 11, 48), "s": scales(*scale_shape)}
    made = node("GatherBlockQuantized", ["q", "ids", "s"], ["y"], domain=MICROSOFT,
                block_size=block, quantize_axis=1)  # fmt: skip
    model = make_model([made], arrays, inputs={"ids": (11,)},
                       input_types={"ids": TensorProto.INT64}, domains=[MICROSOFT])  # fmt: skip
    (values,) = run_onnxruntime(model, {"ids": np.arange(11)}, ["y"])
    return Form(model, "weight", values)


def gather_blocks(data_type: str = "int4", *, bits: int = 4, zero: bool = True) -> Form:
    rows, columns, block = 11, 48, 16
    if data_type == "uint8":
        q = codes("uint8", rows, columns * bits // 8)
        z = codes("uint8", rows, ceil(columns // block * bits / 8), seed=3)
    else:
        q, z = codes(data_type, rows, columns), codes(data_type, rows, columns // block, seed=3)
    arrays = {"q": q, "s": scales(rows, columns // block)} | ({"z": z} if zero else {})
    inputs = ["q", "ids", "s", *(["z"] if zero else [])]
    attributes = {"block_size": block, "gather_axis": 0, "quantize_axis": 1}
    if data_type == "uint8":
        attributes["bits"] = bits
    made = node("GatherBlockQuantized", inputs, ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], arrays, inputs={"ids": (rows,)},
                       input_types={"ids": TensorProto.INT64}, domains=[MICROSOFT])  # fmt: skip
    (values,) = run_onnxruntime(model, {"ids": np.arange(rows)}, ["y"])
    return Form(model, "weight", values)


MOE_INPUTS = {2: "weight", 5: "weight 2", 8: "weight 3"}


def moe(
    index: int,
    *,
    bits: int = 4,
    block: int = 0,
    own_bits: bool = False,
    zero: bool = False,
    rows: int = 6,
) -> Form:
    """Read by `bit_stream`; without a zero-point the middle of the code range is zero.

    Args:
        own_bits: the projection names its own bits, and the operator others.
    """
    experts, columns = 3, 32
    blob = codes("uint8", experts, rows, columns * bits // 8, seed=index)
    blocks = columns // block if block else 1
    s = scales(experts, rows, blocks)
    z = np.full((experts, rows, blocks), 2 ** (bits - 1))
    slots = {2: ("q2", "s2", "fc1", 11), 5: ("q5", "s5", "fc2", 12), 8: ("q8", "s8", "fc3", 13)}
    codes_name, scale_name, projection, zero_index = slots[index]
    inputs = ["x", "router", *[""] * 12]
    inputs[index], inputs[index + 1] = codes_name, scale_name
    arrays = {codes_name: blob, scale_name: s if block else s[..., 0]}
    if zero:
        packed = (experts, rows, ceil(blocks * bits / 8)) if block else (
            experts, ceil(rows * bits / 8))  # fmt: skip
        arrays["z"] = codes("uint8", *packed, seed=3)
        inputs[zero_index] = "z"
        count = blocks if block else rows
        lines = arrays["z"].reshape(-1, packed[-1])
        z = np.array([bit_stream(line, bits, count) for line in lines]).reshape(z.shape)
    rows_of_codes = [bit_stream(row, bits, columns) for row in blob.reshape(experts * rows, -1)]
    steps = np.array(rows_of_codes).reshape(experts, rows, columns)
    length = columns // blocks
    values = (steps - np.repeat(z, length, axis=2)).astype(np.float32) * np.repeat(
        s, length, axis=2
    )
    attributes = {"expert_weight_bits": bits, "weights_prepacked": 0, "k": 1}
    if own_bits:
        attributes |= {f"{projection}_expert_weight_bits": bits, "expert_weight_bits": 12 - bits}
    if block:
        attributes["block_size"] = block
    made = node("QMoE", inputs, ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], arrays, inputs={"x": (2, columns), "router": (2, experts)})
    return Form(model, MOE_INPUTS[index], values)


def fp8_experts(index: int, *, block: int = 0) -> Form:
    """Square blocks over rows and columns, or one scale for each expert."""
    experts, rows, columns = 3, 6, 40
    q = codes("float8e4m3fn", experts, rows, columns, seed=index)
    exact = np.array([e4m3(int(byte)) for byte in q.view(np.uint8).ravel()], np.float32)
    inputs, attributes = ["x", "router", *[""] * 15], {"quant_type": "fp8", "k": 1}
    inputs[index] = "q"
    if block:
        s = scales(experts, ceil(rows / block), ceil(columns / block))
        inputs[index + 1], attributes["block_size"] = "s", block
        spread = np.repeat(np.repeat(s, block, axis=1), block, axis=2)[:, :rows, :columns]
    else:
        s = scales(experts)
        inputs[15 if index == 2 else 16] = "s"
        spread = s.reshape(-1, 1, 1)
    made = node("QMoE", inputs, ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], {"q": q, "s": s}, inputs={"x": (2, columns), "router": (2, experts)})
    return Form(model, MOE_INPUTS[index], exact.reshape(q.shape) * spread)


# Key: domain, operator, the input that holds the codes.
FORMS: dict[tuple[str, str, int], Callable[[], Form]] = {
    **{(d, "DequantizeLinear", 0): partial(dequantized_in, d) for d in ("", "ai.onnx", MICROSOFT)},
    ("trt", "TRT_FP8DequantizeLinear", 0): trt_float8,
    **{
        (d, op, 0): partial(qonnx_quant, d, op)
        for d in QONNX_DOMAINS
        for op in ("Quant", "IntQuant")
    },
    **{(d, "BipolarQuant", 0): partial(qonnx_bipolar, d) for d in QONNX_DOMAINS},
    **{
        ("mct_quantizers", op, 0): partial(mct_symmetric, op)
        for op in ("WeightsSymmetricQuantizer", "WeightsPOTQuantizer")
    },
    **{
        ("", "QLinearConv", i): partial(qlinear_conv, "", s)
        for i, s in ((3, "weight"), (8, "bias"))
    },
    **{
        (MICROSOFT, "QLinearConv", i): partial(qlinear_conv, MICROSOFT, s)
        for i, s in ((3, "weight"), (8, "bias"))
    },
    **{("", "QLinearMatMul", i): partial(qlinear_matmul, i) for i in (3, 0)},
    (MICROSOFT, "QGemm", 3): partial(qgemm, "weight"),
    (MICROSOFT, "QGemm", 6): partial(qgemm, "bias"),
    **{
        (MICROSOFT, op, i): partial(qlinear_binary, op, i)
        for op in ("QLinearAdd", "QLinearMul")
        for i in (3, 0)
    },
    (MICROSOFT, "QLinearConcat", 2): qlinear_concat,
    **{(MICROSOFT, "QLinearWhere", i): partial(qlinear_where, i) for i in (1, 4)},
    (MICROSOFT, "DynamicQuantizeMatMul", 1): partial(
        last_axis_integer, "DynamicQuantizeMatMul", ["x", "q", "s", "z", "bias"]
    ),
    (MICROSOFT, "MatMulIntegerToFloat", 1): partial(
        last_axis_integer, "MatMulIntegerToFloat", ["x", "q", "as", "s", "az", "z", "bias"]
    ),
    (MICROSOFT, "QAttention", 1): partial(
        last_axis_integer, "QAttention", ["x", "q", "bias", "as", "s", "", "az", "z"]
    ),
    (MICROSOFT, "DynamicQuantizeLSTM", 1): partial(dynamic_lstm, "weight"),
    (MICROSOFT, "DynamicQuantizeLSTM", 2): partial(dynamic_lstm, "recurrence"),
    **{
        (MICROSOFT, "QEmbedLayerNormalization", i): partial(embed_layer_normalization, i)
        for i in EMBEDDINGS
    },
    (MICROSOFT, "MatMulNBits", 1): matmul_nbits,
    **{
        (MICROSOFT, op_type, index): partial(fused_projections, op_type, index)
        for op_type, projections in PROJECTIONS.items()
        for index in projections
    },
    (MICROSOFT, "MatMulBlockQuantizedFp4Weight", 1): fp4_blocks,
    (MICROSOFT, "MatMulBlockQuantizedFp8Weight", 1): fp8_blocks,
    (MICROSOFT, "MatMulBnb4", 1): matmul_bnb4,
    (MICROSOFT, "GatherBlockQuantized", 0): gather_blocks,
    **{(MICROSOFT, "QMoE", i): partial(moe, i) for i in MOE_INPUTS},
}
VARIATIONS: dict[str, Callable[[], Form]] = {
    "TRT float8 kept as bytes": partial(trt_float8, as_bytes=True),
    **{
        f"QONNX Quant {mode}": partial(qonnx_quant, rounding_mode=mode)
        for mode in sorted(ROUNDINGS)
    },
    "QONNX Quant unsigned": partial(qonnx_quant, signed=0),
    "QONNX Quant narrow": partial(qonnx_quant, narrow=1),
    "QONNX Quant unsigned narrow": partial(qonnx_quant, signed=0, narrow=1),
    "QONNX Quant zero-point": partial(qonnx_quant, zero=3.0),
    "QONNX Quant fractional zero-point": partial(qonnx_quant, zero=0.5),
    "QONNX Quant 3 bits": partial(qonnx_quant, bits=3),
    "QONNX Quant 8 bits": partial(qonnx_quant, bits=8),
    "QONNX Quant per tensor": partial(qonnx_quant, channels=1),
    "MCT 4 bits": partial(mct_symmetric, "WeightsSymmetricQuantizer", bits=4),
    "MCT unsigned": partial(mct_symmetric, "WeightsSymmetricQuantizer", signed=False),
    "MCT axis 0": partial(mct_symmetric, "WeightsPOTQuantizer", axis=0),
    "QGemm weight as it stands": partial(qgemm, "weight", 0),
    "QGemm bias times alpha": partial(qgemm, "bias", 1, 0.5),
    "DynamicQuantizeLSTM per tensor": partial(dynamic_lstm, "weight", False),
    "MatMulNBits without zero-point": partial(matmul_nbits, zero="none"),
    "MatMulNBits float zero-point": partial(matmul_nbits, zero="float", columns=48),
    "MatMulNBits flat scales": partial(matmul_nbits, flat=True),
    "MatMulNBits 8 bits": partial(matmul_nbits, bits=8),
    "MatMulNBits 8 bits without zero-point": partial(matmul_nbits, bits=8, zero="none"),
    "MatMulNBits 2 bits": partial(matmul_nbits, bits=2, columns=96, block=32),
    "MatMulNBits whole blocks": partial(matmul_nbits, columns=64),
    "MatMulBnb4 FP4": partial(matmul_bnb4, quant_type=0),
    "MatMulBnb4 short last block": partial(matmul_bnb4, rows=3, columns=32, block=64),
    "GatherBlockQuantized uint4": partial(gather_blocks, "uint4"),
    "GatherBlockQuantized packed uint8": partial(gather_blocks, "uint8"),
    "GatherBlockQuantized packed, no zero-point": partial(gather_blocks, "uint8", zero=False),
    "GatherBlockQuantized 8 bits": partial(gather_blocks, "uint8", bits=8),
    "GatherBlockQuantized without zero-point": partial(gather_blocks, zero=False),
    "QMoE 8 bits": partial(moe, 2, bits=8),
    "QMoE 2 bits": partial(moe, 2, bits=2),
    "QMoE blocks": partial(moe, 2, block=16),
    "QMoE zero-point of a row": partial(moe, 2, zero=True),
    "QMoE zero-point of a block": partial(moe, 5, zero=True, block=16),
    **{
        f"QMoE input {index} of {bits} bits, the operator of {12 - bits}": partial(
            moe, index, bits=bits, own_bits=True, zero=True, block=block
        )
        for index, bits, block in ((2, 8, 0), (2, 4, 16), (5, 8, 16), (5, 4, 0), (8, 8, 0))
    },
    "QMoE float8 by expert": partial(fp8_experts, 2),
    "QMoE float8 by expert, fc2": partial(fp8_experts, 5),
    "QMoE float8 in squares": partial(fp8_experts, 8, block=16),
    **{f"MatMulNBits {bits} bits": partial(odd_bits, bits) for bits in (3, 5, 6, 7)},
    **{
        f"MatMulNBits {bits} bits with zero-point": partial(odd_bits, bits, zero="packed")
        for bits in (3, 5, 6, 7)
    },
    "MatMulNBits 3 bits in one block": partial(odd_bits, 3, zero="packed", columns=8),
    "float4 blocks of another size": partial(fp4_blocks, block=8, columns=30),
    "float8 blocks of another size": partial(fp8_blocks, block=128, columns=130),
    **{
        f"GatherBlockQuantized {data_type} {shape} {block}": partial(
            gather_floats, data_type, shape, block
        )
        for data_type in ("float8e4m3fn", "float8e5m2", "float4e2m1")
        for shape, block in (((11, 3), 16), ((11, 1), 0), ((1, 1), 0), ((1, 3), 16))
    },
    "QONNX Quant of one bit": partial(qonnx_quant_of_one_bit),
}


def entries() -> set[tuple[str, str, int]]:
    before = {(domain, op_type, 0) for domain, op_type in DEQUANTIZERS}
    inside = {
        (*key, operand.index)
        for key, operator in OPERATORS.items()
        for operand in operator.operands
        if operand.form is not None
    }
    return before | inside


@cache
def form_of(key: tuple[str, str, int]) -> Form:
    return FORMS[key]()


def again(key: tuple[str, str, int]) -> Form:
    """Return the form of an entry with a model that may be changed."""
    form = form_of(key)
    model = onnx.ModelProto()
    model.CopyFrom(form.model)
    return replace(form, model=model)


forms_of_the_tables = pytest.mark.parametrize(
    "key", sorted(FORMS), ids=lambda key: " ".join(map(str, key))
)


def test_every_entry_of_the_tables_has_a_fixture():
    assert set(FORMS) == entries()


def compare(form: Form) -> None:
    parameter = the_parameter(form)
    assert parameter.shape == form.values.shape
    if form.tolerance:
        largest = np.abs(form.values).max()
        np.testing.assert_allclose(
            parameter.values, form.values, rtol=form.tolerance, atol=form.tolerance * largest
        )
    else:
        same_bits(parameter.values, form.values)


@forms_of_the_tables
def test_values_are_those_of_the_operators_definition(key):
    compare(form_of(key))


@pytest.mark.parametrize("kind", VARIATIONS)
def test_values_are_right_in_each_variation(kind):
    compare(VARIATIONS[kind]())


@forms_of_the_tables
def test_codes_lie_within_the_limits_of_their_quantization(key):
    parameter = the_parameter(form_of(key))
    low, high = parameter.quantization.code_limits
    numbers = parameter.codes.astype(np.float64)
    assert low <= numbers.min() and numbers.max() <= high


@forms_of_the_tables
def test_codes_are_of_the_type_that_the_record_names(key):
    parameter = the_parameter(form_of(key))
    bits = np.dtype(numpy_dtype(parameter.data_type))
    if parameter.data_type in ("uint2", "uint4"):
        assert parameter.codes.dtype in (bits, np.uint8)
    else:
        assert parameter.codes.dtype == bits


# --------------------------------------------------------------- operands that the graph leads to

FOLLOWED = [
    (*key, operand.slot, operand.index)
    for key, operator in OPERATORS.items()
    for operand in operator.operands
    if operand.form is None
]


@pytest.mark.parametrize(("domain", "op_type", "slot", "index"), FOLLOWED)
def test_a_float_constant_in_the_slot_of_a_parameter_is_read(domain, op_type, slot, index):
    inputs = [f"x{i}" for i in range(max(index, 1) + 1)]
    inputs[index] = "W"
    made = node(op_type, inputs, ["y"], domain=domain)
    given = {name: (2, 7) for name in inputs if name != "W"}
    layer = the_layer(make_model([made], {"W": floats(3, 5)}, inputs=given, domains=[MICROSOFT]))
    (parameter,) = layer.parameters
    assert parameter.slot == slot
    same_bits(parameter.values, floats(3, 5))


@pytest.mark.parametrize(("domain", "op_type", "slot", "index"), FOLLOWED)
def test_a_quantized_constant_in_the_slot_of_a_parameter_is_read(domain, op_type, slot, index):
    inputs = [f"x{i}" for i in range(max(index, 1) + 1)]
    inputs[index] = "w"
    arrays = {"q": codes("int8", 3, 5), "s": scales(5), "z": codes("int8", 5, seed=3)}
    nodes = [dequantize_node(axis=1), node(op_type, inputs, ["y"], domain=domain)]
    given = {name: (2, 7) for name in inputs if name != "w"}
    layer = the_layer(make_model(nodes, arrays, inputs=given, domains=[MICROSOFT]))
    (parameter,) = layer.parameters
    expected = onnxruntime_dequantizes(arrays["q"], arrays["s"], arrays["z"], axis=1)
    same_bits(parameter.values, expected)


# --------------------------------------------------------------- asked of the operator itself


def product_with_the_identity(op_type: str, **attributes) -> Form:
    """Return a form whose values are what onnxruntime's operator makes of the identity [7, 7]."""
    q, s, z = codes("int8", 7, 5), scales(5), np.zeros(5, np.int8)
    if attributes.get("transB"):
        q = q.T.copy()
    arrays = {"as": np.float32(1), "az": np.uint8(0), "q": q, "s": s, "z": z}
    orders = {
        "QGemm": ["x", "as", "az", "q", "s", "z"],
        "MatMulIntegerToFloat": ["x", "q", "as", "s", "az", "z"],
        "DynamicQuantizeMatMul": ["x", "q", "s", "z"],
    }
    used = {name: array for name, array in arrays.items() if name in orders[op_type]}
    kind = TensorProto.FLOAT if op_type == "DynamicQuantizeMatMul" else TensorProto.UINT8
    made = node(op_type, orders[op_type], ["y"], domain=MICROSOFT, **attributes)
    model = make_model([made], used, inputs={"x": (7, 7)}, input_types={"x": kind},
                       domains=[MICROSOFT])  # fmt: skip
    identity = np.eye(7, dtype=helper.tensor_dtype_to_np_dtype(kind))
    (product,) = run_onnxruntime(model, {"x": identity}, ["y"])
    return Form(model, "weight", product.T if attributes.get("transB") else product)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("QGemm", {}),
        ("QGemm", {"transB": 1}),
        ("MatMulIntegerToFloat", {}),
        ("DynamicQuantizeMatMul", {}),
    ],
    ids=str,
)
def test_the_identity_times_the_weight_is_the_weight(op_type, attributes):
    form = product_with_the_identity(op_type, **attributes)
    np.testing.assert_allclose(the_parameter(form).values, form.values, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("zero", [False, True])
def test_each_expert_is_what_onnxruntime_multiplies_by(bits, block, zero):
    """fc2 hands on what fc1 makes of the identity, one expert after another."""
    form = moe(2, bits=bits, block=block, zero=zero, rows=32)
    experts, rows, columns = form.values.shape
    model = onnx.ModelProto()
    model.CopyFrom(form.model)
    made = model.graph.node[0]
    made.input[5], made.input[6] = "q5", "s5"
    for name, value in (("activation_type", "identity"), ("normalize_routing_weights", 1)):
        made.attribute.append(helper.make_attribute(name, value))
    identity = 2 ** (bits - 1) + np.eye(rows, dtype=np.uint8)
    as_bits = identity[..., None] >> np.arange(bits, dtype=np.uint8) & 1
    blob = np.packbits(as_bits.reshape(rows, -1), axis=-1, bitorder="little")
    ones = np.ones((experts, rows, columns // block) if block else (experts, rows), np.float32)
    for name, array in (("q5", np.stack([blob] * experts)), ("s5", ones)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (columns, columns))
    )
    model.graph.input[1].CopyFrom(
        helper.make_tensor_value_info("router", TensorProto.FLOAT, (columns, experts))
    )
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    products = []
    for expert in range(experts):
        router = np.full((columns, experts), -10, np.float32)
        router[:, expert] = 10
        feeds = {"x": np.eye(columns, dtype=np.float32), "router": router}
        products.append(run_onnxruntime(model, feeds, ["y"])[0].T)
    np.testing.assert_allclose(the_parameter(form).values, np.stack(products), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_nothing_times_the_weight_plus_the_bias_is_the_bias(alpha):
    model = qgemm("bias", alpha=alpha).model
    del model.graph.node[0].input[7:]
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    nothing = np.full((2, 7), ZERO)
    (product,) = run_onnxruntime(model, {"x": nothing}, ["y"])
    bias = the_parameter(Form(model, "bias", product[0])).values
    np.testing.assert_allclose(bias, product[0], rtol=1e-6)


def test_a_bias_left_in_float_is_read_as_float():
    """onnxruntime's quantizer leaves it so beside float8 weights."""
    form = qgemm("bias")
    tensor = next(t for t in form.model.graph.initializer if t.name == "b")
    tensor.CopyFrom(onnx.numpy_helper.from_array(floats(5), "b"))
    same_bits(the_parameter(form).values, floats(5))


def test_act_order_groups_choose_the_scale_of_each_column():
    form = matmul_nbits(columns=48, zero="none")
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 16)).astype(np.int32)
    model = onnx.ModelProto()
    model.CopyFrom(form.model)
    model.graph.node[0].input.extend(["", "g"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(groups, "g"))
    values = the_parameter(Form(model, "weight", form.values)).values
    s = scales(5, 3)
    plain = the_parameter(form).values / np.repeat(s, 16, axis=1)
    np.testing.assert_allclose(values, np.round(plain) * s[:, groups], rtol=1e-6)


def prepacked() -> onnx.ModelProto:
    model = matmul_nbits().model
    model.graph.node[0].attribute.append(helper.make_attribute("weight_prepacked", 1))
    return model


def wrong_blob() -> onnx.ModelProto:
    model = matmul_nbits().model
    next(a for a in model.graph.node[0].attribute if a.name == "K").i = 56
    return model


def unknown_codebook() -> onnx.ModelProto:
    model = matmul_bnb4().model
    next(a for a in model.graph.node[0].attribute if a.name == "quant_type").i = 7
    return model


def without_attribute(make: Callable[[], Form], name: str) -> onnx.ModelProto:
    model = make().model
    kept = [a for a in model.graph.node[0].attribute if a.name != name]
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(kept)
    return model


def without_inputs(make: Callable[[], Form], count: int) -> onnx.ModelProto:
    model = make().model
    del model.graph.node[0].input[count:]
    return model


def with_attribute(make: Callable[[], Form], name: str, value: object) -> onnx.ModelProto:
    model = without_attribute(make, name)
    model.graph.node[0].attribute.append(helper.make_attribute(name, value))
    return model


def unequal_experts() -> onnx.ModelProto:
    """fc2 has 16 rows, so fc1 has 16 columns: 8 bits each, not 4."""
    inputs = ["x", "router", "q2", "s2", "", "q5", "s5"]
    arrays = {
        "q2": codes("uint8", 3, 6, 16), "s2": scales(3, 6),
        "q5": codes("uint8", 3, 16, 6), "s5": scales(3, 16),
    }  # fmt: skip
    made = node("QMoE", inputs, ["y"], domain=MICROSOFT, weights_prepacked=0)
    return make_model([made], arrays, inputs={"x": (2, 16), "router": (2, 3)})


def short_zero_point() -> onnx.ModelProto:
    model = moe(2, zero=True).model
    tensor = next(t for t in model.graph.initializer if t.name == "z")
    array = onnx.numpy_helper.to_array(tensor)[:, :2].copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "z"))
    return model


def float4_as_int8() -> onnx.ModelProto:
    model = fp4_blocks().model
    tensor = next(t for t in model.graph.initializer if t.name == "B")
    tensor.data_type = TensorProto.INT8
    return model


UNREADABLE = {
    "prepacked MatMulNBits": (prepacked, "prepacked"),
    "MatMulNBits of another K": (wrong_blob, "K=56"),
    "MatMulNBits of block size 0": (
        lambda: with_attribute(matmul_nbits, "block_size", 0), "MatMulNBits"),
    "MatMulNBits of 3 bits": (lambda: with_attribute(matmul_nbits, "bits", 3), "MatMulNBits"),
    "MatMulNBits without N": (lambda: without_attribute(matmul_nbits, "N"), "MatMulNBits"),
    "MatMulNBits without scales": (lambda: without_inputs(matmul_nbits, 2), "MatMulNBits"),
    "MatMulBnb4 of another codebook": (unknown_codebook, "quant_type 7"),
    "MatMulBnb4 without quant_type": (
        lambda: without_attribute(matmul_bnb4, "quant_type"), "MatMulBnb4"),
    "MatMulBnb4 of block size 0": (
        lambda: with_attribute(matmul_bnb4, "block_size", 0), "MatMulBnb4"),
    "QMoE laid out by the device": (
        lambda: without_attribute(partial(moe, 2), "weights_prepacked"), "weights_prepacked"),
    "QMoE of float4": (lambda: with_attribute(partial(moe, 2), "quant_type", "fp4"), "fp4"),
    "GatherBlockQuantized over no such axis": (
        lambda: with_attribute(gather_blocks, "quantize_axis", 7), "axis 7"),
    "GatherBlockQuantized packed over no such axis": (
        lambda: with_attribute(partial(gather_blocks, "uint8"), "quantize_axis", 7), "axis 7"),
    "GatherBlockQuantized of another block size": (
        lambda: with_attribute(gather_blocks, "block_size", 32), "scale"),
    "QLinearConv without scale": (
        lambda: without_inputs(partial(qlinear_conv, "", "weight"), 4), "QLinearConv"),
    "Quant of an unknown rounding": (
        lambda: with_attribute(qonnx_quant, "rounding_mode", "DICE"), "'DICE'"),
    "Quant of an unknown attribute": (
        lambda: with_attribute(qonnx_quant, "saturate", 0), "attribute 'saturate' of Quant"),
    "DequantizeLinear of an unknown attribute": (
        lambda: with_attribute(partial(dequantized_in, ""), "mirrored", 1), "'mirrored'"),
    "MatMulNBits of an unknown attribute": (
        lambda: with_attribute(matmul_nbits, "weight_order", 1), "'weight_order' of MatMulNBits"),
    "MatMulNBits of 9 bits": (lambda: with_attribute(matmul_nbits, "bits", 9), "9 bits"),
    "QMoE of 3 bits in one projection": (
        lambda: with_attribute(partial(moe, 2), "fc1_expert_weight_bits", 3), "3 bits"),
    "QMoE of a zero-point of another length": (short_zero_point, "zero-point has shape (3, 2)"),
    "float8 experts without a scale": (
        lambda: without_inputs(partial(fp8_experts, 2), 4), "input 15 of QMoE"),
    "float4 weights that are no bytes": (float4_as_int8, "not rows of bytes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_listed_with_operator_and_reason(kind):
    make, reason = UNREADABLE[kind]
    layer = the_layer(make())
    assert layer.weight is None
    assert any(reason in text for text in map(describe_refusal, layer.not_understood))


def test_experts_whose_columns_are_not_the_rows_of_fc2_are_refused():
    layer = the_layer(unequal_experts())
    assert layer.parameter("weight") is None
    assert any(
        "fc2 leads back to 16" in text for text in map(describe_refusal, layer.not_understood)
    )


def read_everything(model: onnx.ModelProto) -> None:
    """List every layer and read what can be read; nothing but UnavailableError may come of it."""
    for layer in list_layers(load_model(model)):
        for parameter in layer.parameters:
            try:
                _ = parameter.values
            except UnavailableError:
                continue


@forms_of_the_tables
def test_missing_inputs_stop_no_listing(key):
    for count in range(len(form_of(key).model.graph.node[0].input)):
        read_everything(without_inputs(partial(again, key), count))


@forms_of_the_tables
def test_missing_attributes_stop_no_listing(key):
    for attribute in form_of(key).model.graph.node[0].attribute:
        read_everything(without_attribute(partial(again, key), attribute.name))


@pytest.mark.parametrize("number", [0, -1, 2**31])
@forms_of_the_tables
def test_senseless_attributes_stop_no_listing(key, number):
    for attribute in form_of(key).model.graph.node[0].attribute:
        if attribute.type == onnx.AttributeProto.INT:
            read_everything(with_attribute(partial(again, key), attribute.name, number))


@forms_of_the_tables
def test_tensors_of_other_shapes_stop_no_listing(key):
    """Each constant in turn is one element longer, and then flat."""
    for position in range(len(form_of(key).model.graph.initializer)):
        for change in (lambda a: np.concatenate([a, a[:1]]) if a.ndim else a[None], np.ravel):
            model = again(key).model
            tensor = model.graph.initializer[position]
            array = change(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
            read_everything(model)
