"""From one operator's inputs to codes and what they mean: one function per form of storage.

`storage` lists which operator is read by which function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import BIT_OPERATORS, Operand
from ..quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    Quantization,
    Source,
    code_limits,
    create_quantization,
    is_integer,
)
from ..records import LayoutStep
from .constants import (
    Computed,
    ConstantTable,
    attribute_values,
    quantization_of,
)


@dataclass(frozen=True, eq=False)
class Stored:
    """A parameter as an operator stores it: codes and what they mean, or a float tensor.

    ``layout`` leads from the codes' frame to the frame in which the operator uses them. A
    ``problem`` is what could not be understood though the values are known.
    """

    storage: str
    source: Source
    quantization: Quantization | None = None
    layout: tuple[LayoutStep, ...] = ()
    problem: Refusal | None = None
    is_unpacked: bool = False

    @property
    def root_name(self) -> str:
        return root_of(self.source).name


def root_of(source: Source) -> Source:
    """Return the innermost constant that ``source`` is made from."""
    while True:
        if isinstance(source, DerivedSource):
            source = source.source
        elif isinstance(source, Computed) and source.inputs[0] is not None:
            source = source.inputs[0]
        else:
            return source


# ------------------------------------------------- operators on a weight's way


def read_dequantize_linear(node: ir.Node, constants: ConstantTable) -> Stored:
    """W -> DequantizeLinear, also with Clip, or with a float W -> QuantizeLinear before it."""
    inputs = tuple(constants.get(value) for value in node.inputs)
    quantization = quantization_of(node.op_type, inputs, attribute_values(node))
    codes = inputs[0]
    assert codes is not None
    steps = [node.op_type]
    limits = None
    inner: Source | None = codes
    while isinstance(inner, Computed):
        steps.append(inner.op_type)
        if inner.op_type == "Clip":
            limits = _clip_limits(inner, quantization.data_type)
        inner = inner.inputs[0]
    storage = " → ".join(reversed(steps))
    unpacked = unpacks_bits(steps)
    return Stored(storage, codes, replace(quantization, limits=limits), is_unpacked=unpacked)


def unpacks_bits(op_types: Iterable[str]) -> bool:
    """Whether some operator takes narrower codes out of wider ones."""
    return any(op_type in BIT_OPERATORS for op_type in op_types)


def _clip_limits(clip: Computed, data_type: str) -> tuple[float, float]:
    low, high = code_limits(data_type)
    bounds = [
        None if s is None else float(s.read().reshape(())) for s in (*clip.inputs, None, None)[1:3]
    ]
    return (low if bounds[0] is None else bounds[0], high if bounds[1] is None else bounds[1])


def read_trt_fp8(node: ir.Node, constants: ConstantTable) -> Stored:
    """TensorRT's float8 DequantizeLinear: codes may be kept as bytes."""
    codes, scale = (constants.get(node.inputs[i]) for i in (0, 1))
    if codes is None or scale is None:
        raise NotUnderstoodError(Refusal(RefusalKind.NO_CONSTANT_CODES, operator=node.op_type))
    if codes.data_type == "uint8":
        codes = DerivedSource(codes, _bytes_as_float8, codes.shape, "float8e4m3fn")
    return Stored(node.op_type, codes, create_quantization(codes, scale, None))


def _bytes_as_float8(codes: np.ndarray) -> np.ndarray:
    return codes.view(ir.DataType.FLOAT8E4M3FN.numpy())


def read_qonnx_quant(node: ir.Node, constants: ConstantTable) -> Stored:
    """QONNX Quant: the file holds the float weight; codes are clip(x / s + z), then rounded.

    Source: the operator's definition in the qonnx repository.
    """
    weight, scale, zero_point, bits = (_required(node, constants, i) for i in range(4))
    attributes = attribute_values(node)
    limits = _qonnx_limits(
        float(bits.read().reshape(())),
        bool(attributes.get("signed", 1)),
        bool(attributes.get("narrow", 0)),
    )
    rounding = _QONNX_ROUNDING.get(str(attributes.get("rounding_mode", "ROUND")).upper())
    if rounding is None:
        raise _refuse_value(RefusalKind.ROUNDING_MODE, node, attributes["rounding_mode"])
    data_type = _narrowest_type(limits)
    axis, vector = _as_vector(scale, weight.shape)
    offset = _qonnx_offset(zero_point, scale)
    derive = partial(
        _qonnx_codes,
        scale=scale.read(),
        offset=offset,
        limits=limits,
        rounding=rounding,
        data_type=data_type,
    )
    zeros = ArraySource(zero_point.name, offset.reshape(-1 if offset.size > 1 else ()), "float32")
    quantization = Quantization(data_type, vector, zeros, axis=axis, limits=limits)
    codes = DerivedSource(weight, derive, weight.shape, data_type)
    return Stored(node.op_type, codes, quantization)


def _qonnx_offset(zero_point: Source, scale: Source) -> np.ndarray:
    offset = np.asarray(zero_point.read(), np.float32)
    if offset.size != 1 and offset.shape != scale.shape:
        raise NotUnderstoodError(
            Refusal(RefusalKind.ZERO_POINT_SHAPE, shape=offset.shape, scale_shape=scale.shape)
        )
    return offset


_QONNX_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
}


def _qonnx_limits(bits: float, signed: bool, narrow: bool) -> tuple[float, float]:
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1 - narrow


def _qonnx_codes(
    weight: np.ndarray,
    *,
    scale: np.ndarray,
    offset: np.ndarray,
    limits: tuple[float, float],
    rounding: Callable[[np.ndarray], np.ndarray],
    data_type: str,
) -> np.ndarray:
    steps = np.clip(weight.astype(np.float32) / scale + offset, *limits)
    return rounding(steps).astype(ir.DataType[data_type.upper()].numpy())


def read_bipolar_quant(node: ir.Node, constants: ConstantTable) -> Stored:
    """QONNX BipolarQuant: the sign of the weight times a scale."""
    weight, scale = (_required(node, constants, i) for i in (0, 1))
    axis, vector = _as_vector(scale, weight.shape)
    quantization = Quantization("int2", vector, axis=axis, limits=(-1.0, 1.0))
    return Stored(node.op_type, DerivedSource(weight, _signs, weight.shape, "int2"), quantization)


def _signs(weight: np.ndarray) -> np.ndarray:
    return np.where(weight >= 0, 1, -1).astype(ir.DataType.INT2.numpy())


def read_mct_symmetric(node: ir.Node, constants: ConstantTable) -> Stored:
    """Sony MCT's symmetric and power-of-two quantizers: a threshold T gives s = T / 2^(bits-1)."""
    weight, threshold = (_required(node, constants, i) for i in (0, 1))
    attributes = attribute_values(node)
    bits = int(attributes.get("num_bits", 8))
    signed = bool(attributes.get("signed", 1))
    limits = _qonnx_limits(bits, signed, narrow=False)
    scale = threshold.read().astype(np.float32).reshape(-1) / np.float32(2.0 ** (bits - signed))
    source = ArraySource(threshold.name, scale, "float32")
    data_type = _narrowest_type(limits)
    checked = create_quantization(
        weight, source, None, axis=int(attributes.get("channel_axis", 0)), data_type=data_type
    )
    quantization = replace(checked, limits=limits)
    return Stored(
        node.op_type,
        DerivedSource(weight, quantization.quantize, weight.shape, data_type),
        quantization,
    )


def _narrowest_type(limits: tuple[float, float]) -> str:
    """Return the ONNX integer type that holds the limits: int3 lives in int4, int5 in int8."""
    sign = "int" if limits[0] < 0 else "uint"
    for bits in (2, 4, 8, 16, 32):
        low, high = code_limits(f"{sign}{bits}")
        if low <= limits[0] and limits[1] <= high:
            return f"{sign}{bits}"
    raise NotUnderstoodError(Refusal(RefusalKind.CODES_TOO_WIDE, code_range=limits))


def _as_vector(scale: Source, shape: tuple[int, ...]) -> tuple[int | None, Source]:
    """Return the axis of a scale of the weight's full rank, and the scale as ONNX would hold it."""
    long = [i for i, d in enumerate(scale.shape) if d != 1]
    if not long:
        return None, ArraySource(scale.name, scale.read().astype(np.float32).reshape(()), "float32")
    axis = long[0] + len(shape) - len(scale.shape)
    if len(long) > 1 or axis < 0 or shape[axis] != scale.shape[long[0]]:
        raise NotUnderstoodError(
            Refusal(RefusalKind.SCALE_AGAINST_WEIGHT, shape=shape, scale_shape=scale.shape)
        )
    return axis, ArraySource(scale.name, scale.read().astype(np.float32).reshape(-1), "float32")


def _required(node: ir.Node, constants: ConstantTable, index: int) -> Source:
    source = constants.get(node.inputs[index]) if index < len(node.inputs) else None
    if source is None:
        raise NotUnderstoodError(
            Refusal(RefusalKind.INPUT_NOT_CONSTANT, operator=node.op_type, index=index)
        )
    return source


def _refuse_value(kind: RefusalKind, node: ir.Node, value: object) -> NotUnderstoodError:
    """Return the error for an attribute whose value is not known."""
    return NotUnderstoodError(Refusal(kind, operator=node.op_type, value=value))


# ------------------------------------------------- operators that hold codes themselves


def _packed(
    node: ir.Node, constants: ConstantTable, operand: Operand
) -> tuple[Source, Source, Source | None]:
    """Return the codes and the scale of an operand, and its zero-point where there is one."""
    codes, scale = (_required(node, constants, i) for i in (operand.index, operand.extra[0]))
    has_zero_point = len(operand.extra) > 1
    return codes, scale, _optional(node, constants, operand.extra[1]) if has_zero_point else None


def _optional(node: ir.Node, constants: ConstantTable, index: int) -> Source | None:
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    return _required(node, constants, index)


def read_integer(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """Codes, scale and zero-point are inputs of the layer itself (QLinearConv, QLinearMatMul)."""
    return _read_codes(node, constants, operand, operand.axis)


def read_gemm_weight(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    return _read_codes(node, constants, operand, 0 if attribute_values(node).get("transB") else 1)


def _read_codes(node: ir.Node, constants: ConstantTable, operand: Operand, axis: int) -> Stored:
    codes, scale, zero_point = _packed(node, constants, operand)
    quantization = create_quantization(codes, scale, zero_point, axis=axis)
    return Stored(node.op_type, codes, quantization)


def read_implied_bias(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """An int32 bias without a scale in the file: the product of the input's and the weight's."""
    codes = _required(node, constants, operand.index)
    if not is_integer(codes.data_type):
        return Stored(node.op_type, codes)
    alpha = np.float32(attribute_values(node).get("alpha", 1.0))
    factors = [_required(node, constants, i).read().astype(np.float32) for i in operand.extra]
    product = alpha * factors[0].reshape(-1)[:1] * factors[1].reshape(-1)
    scale = ArraySource(f"{codes.name} (implied scale)", product, "float32")
    return Stored(node.op_type, codes, create_quantization(codes, scale, None, axis=0))


def read_matmul_nbits(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """MatMulNBits: blobs [N, blocks, bytes] of codes, low bits first; the layer computes A·Wᵀ."""
    attributes = attribute_values(node)
    if attributes.get("weight_prepacked", 0):
        raise NotUnderstoodError(Refusal(RefusalKind.PREPACKED))
    shape = int(attributes["N"]), int(attributes["K"])
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    blob, scale, zero = _packed(node, constants, operand)
    _check_blob(blob, shape, bits, block)
    codes = DerivedSource(blob, partial(unpack_rows, bits=bits, shape=shape), shape, f"uint{bits}")
    groups = _optional(node, constants, operand.extra[2])
    return Stored(node.op_type, codes, _blocked(codes, scale, zero, bits, 1, block, groups))


def _check_blob(blob: Source, shape: tuple[int, int], bits: int, block: int) -> None:
    expected = (shape[0], -(-shape[1] // block), block * bits // 8)
    if blob.data_type == "uint8" and math.prod(blob.shape) == math.prod(expected):
        return
    raise NotUnderstoodError(
        Refusal(
            RefusalKind.PACKED_SHAPE,
            data_type=blob.data_type,
            expected_type="uint8",
            shape=blob.shape,
            expected_shape=expected,
            weight_shape=shape,
            bits=bits,
            block_size=block,
        )
    )


def unpack_rows(blob: np.ndarray, *, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the codes of bytes that hold ``8 / bits`` codes each, low bits first, row by row.

    Each row of the last axis of ``shape`` starts on a byte; what pads it at its end is cut.
    """
    packed = np.ascontiguousarray(blob).view(np.uint8).reshape(*shape[:-1], -1)
    if bits not in (2, 4):
        return packed[..., : shape[-1]]
    codes = _codes_of_byte(bits)[packed].view(np.uint8)
    return codes.reshape(*packed.shape[:-1], -1)[..., : shape[-1]]


@cache
def _codes_of_byte(bits: int) -> np.ndarray:
    """Return, for each of the 256 bytes, its codes as the bytes of one number, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    table = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8(2**bits - 1)
    return np.ascontiguousarray(table).view(f"<u{8 // bits}").reshape(256)


def _blocked(
    codes: Source,
    scale: Source,
    zero: Source | None,
    bits: int,
    axis: int,
    block: int,
    groups: Source | None = None,
) -> Quantization:
    """Return the quantization of a block format: its zero-point is packed, float or implied."""
    rank = len(codes.shape)
    if not -rank <= axis < rank:
        raise NotUnderstoodError(Refusal(RefusalKind.AXIS_OUTSIDE, axis=axis, shape=codes.shape))
    axis %= rank
    shape = tuple(-(-d // block) if i == axis else d for i, d in enumerate(codes.shape))
    if math.prod(scale.shape) != math.prod(shape):
        raise NotUnderstoodError(
            Refusal(
                RefusalKind.BLOCK_SCALE_SHAPE,
                scale_shape=scale.shape,
                shape=codes.shape,
                block_size=block,
                expected_shape=shape,
            )
        )
    scale_source: Source = DerivedSource(
        scale, partial(np.reshape, shape=shape), shape, scale.data_type
    )
    zero_source = _blocked_zero_point(zero, codes.data_type, bits, shape)
    if groups is not None:
        block = 1
        take = partial(np.take, indices=_group_index(groups, codes.shape, shape, axis), axis=axis)
        scale_source = DerivedSource(scale_source, take, codes.shape, scale.data_type)
        if zero is not None:
            zero_source = DerivedSource(zero_source, take, codes.shape, zero_source.data_type)
    return Quantization(codes.data_type, scale_source, zero_source, axis=axis, block_size=block)


def _blocked_zero_point(
    zero: Source | None, data_type: str, bits: int, shape: tuple[int, ...]
) -> Source:
    if zero is None:
        midpoint = np.full((), 2 ** (bits - 1), np.uint8)
        return ArraySource("implied midpoint", midpoint, data_type)
    if zero.data_type == "uint8":
        return DerivedSource(zero, partial(unpack_rows, bits=bits, shape=shape), shape, data_type)
    return DerivedSource(zero, partial(np.reshape, shape=shape), shape, zero.data_type)


def _group_index(
    groups: Source, codes_shape: tuple[int, ...], shape: tuple[int, ...], axis: int
) -> np.ndarray:
    """Return the block that each code along ``axis`` belongs to."""
    index = groups.read().reshape(-1)
    known = index.min(initial=0) >= 0 and index.max(initial=0) < shape[axis]
    if index.size != codes_shape[axis] or not known:
        raise NotUnderstoodError(
            Refusal(RefusalKind.GROUP_INDEX, shape=groups.shape, count=shape[axis])
        )
    return index


# Source: onnxruntime, the tables of its 4-bit block kernels (bitsandbytes' FP4 and NF4).
FP4_LEVELS = (
    0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25,
    -0.0, -5.208333333e-03, -0.66666667, -1.0, -0.33333333, -0.5, -0.16666667, -0.25,
)  # fmt: skip
NF4_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def read_matmul_bnb4(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """MatMulBnb4: codes of a 16-level codebook, high nibble first, blocks over the flat weight."""
    attributes = attribute_values(node)
    shape = int(attributes["N"]), int(attributes["K"])
    block = int(attributes["block_size"])
    levels = {0: FP4_LEVELS, 1: NF4_LEVELS}.get(int(attributes["quant_type"]))
    if levels is None:
        raise _refuse_value(RefusalKind.QUANT_TYPE, node, attributes["quant_type"])
    blob, absmax, _ = _packed(node, constants, operand)
    count = math.prod(shape)
    if math.prod(blob.shape) != (count + 1) // 2 or math.prod(absmax.shape) != -(-count // block):
        raise NotUnderstoodError(
            Refusal(
                RefusalKind.CODEBOOK_SHAPES,
                shape=blob.shape,
                scale_shape=absmax.shape,
                weight_shape=shape,
                block_size=block,
            )
        )
    codes = DerivedSource(blob, partial(_unpack_high_first, count=count), (count,), "uint4")
    flat = DerivedSource(absmax, partial(np.reshape, shape=-1), absmax.shape, absmax.data_type)
    quantization = Quantization("uint4", flat, axis=0, block_size=block, levels=levels)
    reshape = LayoutStep("Reshape", partial(np.reshape, shape=shape))
    return Stored(node.op_type, codes, quantization, (reshape,))


def _unpack_high_first(blob: np.ndarray, *, count: int) -> np.ndarray:
    flat = blob.reshape(-1)
    return np.stack((flat >> 4, flat & 15), axis=1).reshape(-1)[:count]


def read_gather_blocks(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """GatherBlockQuantized: a table whose rows are dequantized as they are looked up."""
    attributes = attribute_values(node)
    codes, scale, zero = _packed(node, constants, operand)
    bits = int(attributes.get("bits", 4))
    axis, block = int(attributes.get("quantize_axis", 1)), int(attributes.get("block_size", 128))
    if codes.data_type == "uint8":
        shape = (*codes.shape[:-1], codes.shape[-1] * (8 // bits))
        table = DerivedSource(
            codes, partial(unpack_rows, bits=bits, shape=shape), shape, f"uint{bits}"
        )
        return Stored(node.op_type, table, _blocked(table, scale, zero, bits, axis, block))
    return Stored(
        node.op_type, codes, create_quantization(codes, scale, zero, axis=axis, block_size=block)
    )


def read_lstm(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """DynamicQuantizeLSTM: stored [directions, in, 4·hidden], transposed against ONNX's LSTM."""
    codes, scale, zero = _packed(node, constants, operand)
    if len(codes.shape) != 3:
        raise NotUnderstoodError(Refusal(RefusalKind.NOT_THREE_DIMENSIONS, shape=codes.shape))
    transpose = LayoutStep("Transpose", partial(np.transpose, axes=(0, 2, 1)))
    shape = (codes.shape[0], 1, *scale.shape[1:]) if len(scale.shape) == 2 else scale.shape
    if len(scale.shape) != 2:
        return Stored(
            node.op_type, codes, create_quantization(codes, scale, zero, axis=0), (transpose,)
        )
    as_blocks = [
        None
        if s is None
        else DerivedSource(s, partial(np.reshape, shape=shape), shape, s.data_type)
        for s in (scale, zero)
    ]
    assert as_blocks[0] is not None
    quantization = create_quantization(
        codes, as_blocks[0], as_blocks[1], axis=1, block_size=codes.shape[1]
    )
    return Stored(node.op_type, codes, quantization, (transpose,))


def read_qmoe(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """QMoE: experts [E, N, K] packed low bits first, one scale per row, or per block of a row."""
    attributes = attribute_values(node)
    if attributes.get("weights_prepacked", -1) != 0:
        raise NotUnderstoodError(Refusal(RefusalKind.LAYOUT_LEFT_TO_DEVICE))
    if str(attributes.get("quant_type", "int")) not in ("int", ""):
        raise _refuse_value(RefusalKind.QUANT_TYPE_NOT_DECODED, node, attributes["quant_type"])
    bits = int(attributes.get("expert_weight_bits", 4))
    blob, scale, zero = _packed(node, constants, operand)
    shape = (*blob.shape[:-1], blob.shape[-1] * (8 // bits))
    codes = DerivedSource(blob, partial(unpack_rows, bits=bits, shape=shape), shape, f"uint{bits}")
    block = int(attributes.get("block_size", 0)) or shape[-1]
    return Stored(node.op_type, codes, _blocked(codes, scale, zero, bits, -1, block))
