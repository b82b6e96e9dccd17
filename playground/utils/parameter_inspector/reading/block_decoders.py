"""Operators whose weights lie in blocks: each block of a row has a scale of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import Operand
from ..quantization import (
    ArraySource,
    DerivedSource,
    NotUnderstoodError,
    Quantization,
    Source,
    create_quantization,
    is_integer,
)
from ..records import LayoutStep
from .constants import ConstantTable, attribute_values
from .custom_quantizers import bytes_as
from .decoders import Stored, optional, packed_operand, refuse_value, required
from .packing import BITS, PackedRows, holding_type, packed_bytes


def read_matmul_nbits(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """MatMulNBits: blobs [N, blocks, bytes] of codes, low bits first; the layer computes A·Wᵀ."""
    attributes = attribute_values(node)
    if attributes.get("weight_prepacked", 0):
        raise NotUnderstoodError(Refusal(RefusalKind.PREPACKED))
    shape = int(attributes[operand.rows]), int(attributes["K"])
    bits, block = _bits(node, attributes, operand.bits, BITS), int(attributes["block_size"])
    blob, scale, zero = packed_operand(node, constants, operand)
    _check_blob(blob, shape, bits, block)
    has_groups = len(operand.extra) > 2
    groups = optional(node, constants, operand.extra[2]) if has_groups else None
    # A row is a stream of bits: each block fills whole bytes, as its size is a power of 2.
    codes = _packed_codes(blob, bits, shape, -(-shape[1] // block) * block * bits // 8)
    return Stored(node.op_type, codes, _blocked(codes, scale, zero, bits, 1, block, groups))


def _bits(
    node: ir.Node, attributes: dict[str, Any], names: Sequence[str], known: Sequence[int]
) -> int:
    """Return the bits of a code: the first attribute that is there says so, else they are 4."""
    bits = int(next((attributes[name] for name in names if name in attributes), 4))
    if bits not in known:
        raise NotUnderstoodError(Refusal(RefusalKind.BITS, operator=node.op_type, bits=bits))
    return bits


def _packed_codes(
    blob: Source, bits: int, shape: tuple[int, ...], row_bytes: int | None = None
) -> Source:
    row_bytes = packed_bytes(shape[-1], bits) if row_bytes is None else row_bytes
    return DerivedSource(blob, PackedRows(shape, bits, row_bytes), shape, holding_type(bits))


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


# ------------------------------------------------- scale and zero-point of a block format


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
        raise _refuse_blocks(scale, codes, shape, block)
    scale_source: Source = DerivedSource(
        scale, partial(np.reshape, shape=shape), shape, scale.data_type
    )
    zero_source = _blocked_zero_point(zero, codes.data_type, bits, shape)
    blocks = None if groups is None else _group_index(groups, codes.shape, shape, axis)
    limits = None if codes.data_type == f"uint{bits}" else (0.0, 2.0**bits - 1)
    return Quantization(
        codes.data_type,
        scale_source,
        zero_source,
        axis=axis,
        block_size=block,
        limits=limits,
        blocks=blocks,
    )


def _refuse_blocks(
    scale: Source, codes: Source, expected: tuple[int, ...], block: int
) -> NotUnderstoodError:
    return NotUnderstoodError(
        Refusal(
            RefusalKind.BLOCK_SCALE_SHAPE,
            scale_shape=scale.shape,
            shape=codes.shape,
            block_size=block,
            expected_shape=expected,
        )
    )


def _blocked_zero_point(
    zero: Source | None, data_type: str, bits: int, shape: tuple[int, ...]
) -> Source:
    if zero is None:
        midpoint = np.full((), 2 ** (bits - 1), np.uint8)
        return ArraySource("implied midpoint", midpoint, data_type)
    if zero.data_type != "uint8":
        return DerivedSource(zero, partial(np.reshape, shape=shape), shape, zero.data_type)
    expected = (*shape[:-1], packed_bytes(shape[-1], bits))
    if math.prod(zero.shape) != math.prod(expected):
        raise NotUnderstoodError(
            Refusal(RefusalKind.ZERO_POINT_SHAPE, shape=zero.shape, scale_shape=shape)
        )
    return _packed_codes(zero, bits, shape)


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


# ------------------------------------------------- codebooks

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
        raise refuse_value(RefusalKind.QUANT_TYPE, node, attributes["quant_type"])
    blob, absmax, _ = packed_operand(node, constants, operand)
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
    codes = np.empty(2 * flat.size, np.uint8)
    np.right_shift(flat, 4, out=codes[::2])
    np.bitwise_and(flat, 15, out=codes[1::2])
    return codes[:count]


# ------------------------------------------------- tables


def read_gather_blocks(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """GatherBlockQuantized: a table whose rows are dequantized as they are looked up."""
    attributes = attribute_values(node)
    codes, scale, zero = packed_operand(node, constants, operand)
    axis, block = int(attributes.get("quantize_axis", 1)), int(attributes.get("block_size", 128))
    if codes.data_type == "uint8":
        bits = _bits(node, attributes, operand.bits, (2, 4, 8))
        shape = (*codes.shape[:-1], codes.shape[-1] * (8 // bits))
        table = _packed_codes(codes, bits, shape)
        return Stored(node.op_type, table, _blocked(table, scale, zero, bits, axis, block))
    if not is_integer(codes.data_type):
        return Stored(node.op_type, codes, _float_blocks(codes, scale, axis, block))
    return Stored(
        node.op_type, codes, create_quantization(codes, scale, zero, axis=axis, block_size=block)
    )


def _float_blocks(codes: Source, scale: Source, axis: int, block: int) -> Quantization:
    """Return the quantization of a float8 or float4 table.

    A block size of 0 makes a row one block; a scale of length 1 along another axis is for all.
    """
    rank = len(codes.shape)
    if not -rank <= axis < rank:
        raise NotUnderstoodError(Refusal(RefusalKind.AXIS_OUTSIDE, axis=axis, shape=codes.shape))
    axis %= rank
    block = block or codes.shape[axis]
    shape = tuple(-(-d // block) if i == axis else d for i, d in enumerate(codes.shape))
    fits = len(scale.shape) == rank and scale.shape[axis] == shape[axis]
    if not fits or any(s not in (1, d) for s, d in zip(scale.shape, shape, strict=True)):
        raise _refuse_blocks(scale, codes, shape, block)
    spread: Source = DerivedSource(
        scale, partial(np.broadcast_to, shape=shape), shape, scale.data_type
    )
    return create_quantization(codes, spread, None, axis=axis, block_size=block)


# ------------------------------------------------- experts


def read_qmoe(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """QMoE: experts [E, N, K] packed low bits first, one scale per row, or per block of a row.

    Each projection may have bits of its own.
    """
    attributes = attribute_values(node)
    quant_type = _text(attributes.get("quant_type", "int")) or "int"
    if quant_type == "fp8":
        return _read_fp8_experts(node, constants, operand, int(attributes.get("block_size", 0)))
    if quant_type in ("fp4", "nvfp4", "wfp4afp8"):
        # onnxruntime's packer transposes them to [E, K, N / 2], the schema says [E, N, K / 2].
        raise refuse_value(RefusalKind.EXPERTS_OF_DEVICE, node, quant_type)
    if quant_type != "int":
        raise refuse_value(RefusalKind.QUANT_TYPE_NOT_DECODED, node, attributes["quant_type"])
    if attributes.get("weights_prepacked", -1) != 0:
        raise NotUnderstoodError(Refusal(RefusalKind.LAYOUT_LEFT_TO_DEVICE))
    bits = _bits(node, attributes, operand.bits, (2, 4, 8))
    blob, scale, zero = packed_operand(node, constants, operand)
    if len(blob.shape) != 3:
        raise NotUnderstoodError(Refusal(RefusalKind.NOT_THREE_DIMENSIONS, shape=blob.shape))
    shape = (*blob.shape[:-1], blob.shape[-1] * 8 // bits)
    _check_hidden_size(node, constants, operand, shape)
    codes = _packed_codes(blob, bits, shape)
    block = int(attributes.get("block_size", 0))
    if block <= 0:
        block, zero = shape[-1], _zero_point_of_rows(zero, bits, shape[:-1])
    return Stored(node.op_type, codes, _blocked(codes, scale, zero, bits, -1, block))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _zero_point_of_rows(zero: Source | None, bits: int, rows: tuple[int, ...]) -> Source | None:
    """Return one zero-point for each row, which lie packed along the rows: [E, N · bits / 8]."""
    if zero is None or zero.data_type != "uint8":
        return zero
    if zero.shape != (*rows[:-1], packed_bytes(rows[-1], bits)):
        raise NotUnderstoodError(
            Refusal(RefusalKind.ZERO_POINT_SHAPE, shape=zero.shape, scale_shape=rows)
        )
    unpacked = _packed_codes(zero, bits, rows)
    return DerivedSource(unpacked, partial(np.asarray, dtype=np.float32), rows, "float32")


def _check_hidden_size(
    node: ir.Node, constants: ConstantTable, operand: Operand, shape: tuple[int, ...]
) -> None:
    """Refuse a projection whose columns are not the rows of the one that leads back (fc2).

    Nothing else in the file says how many bits the codes of a row have.
    """
    back = constants.get(node.inputs[_FC2]) if len(node.inputs) > _FC2 else None
    if operand.index == _FC2 or back is None or len(back.shape) != 3:
        return
    if shape[-1] != back.shape[1]:
        raise NotUnderstoodError(
            Refusal(RefusalKind.EXPERTS_DIFFER, operator=node.op_type, shape=shape,
                    count=shape[-1], limit=back.shape[1])
        )  # fmt: skip


_FC2 = 5


def _read_fp8_experts(
    node: ir.Node, constants: ConstantTable, operand: Operand, block: int
) -> Stored:
    """float8e4m3fn [E, N, K]: a scale for each square block, else one for each expert."""
    codes = bytes_as(required(node, constants, operand.index), "float8e4m3fn")
    if len(codes.shape) != 3:
        raise NotUnderstoodError(Refusal(RefusalKind.NOT_THREE_DIMENSIONS, shape=codes.shape))
    _check_hidden_size(node, constants, operand, codes.shape)
    if block <= 0:
        if len(operand.extra) < 3:
            raise NotUnderstoodError(Refusal(RefusalKind.NO_SCALE, operator=node.op_type))
        scale = required(node, constants, operand.extra[2])
        return Stored(node.op_type, codes, create_quantization(codes, scale, None, axis=0))
    scale = _rows_of_squares(required(node, constants, operand.extra[0]), codes, block)
    quantization = create_quantization(codes, scale, None, axis=2, block_size=block)
    return Stored(node.op_type, codes, quantization)


def _rows_of_squares(scale: Source, codes: Source, block: int) -> Source:
    """Return the scales of square blocks [E, N / block, K / block] as those of rows."""
    experts, rows, columns = codes.shape
    expected = (experts, -(-rows // block), -(-columns // block))
    if scale.shape != expected:
        raise _refuse_blocks(scale, codes, expected, block)
    spread = partial(np.take, indices=np.arange(rows) // block, axis=1)
    return DerivedSource(scale, spread, (experts, rows, expected[2]), scale.data_type)


# ------------------------------------------------- float blocks


def read_fp4_blocks(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """MatMulBlockQuantizedFp4Weight (NVFP4): float4e2m1 [N, K], two in a byte, the low one first.

    The scale of a block is a float8e4m3fn, kept as a byte, times one float32 for all: multiplied
    first, as onnxruntime's kernel does. What it rounds to afterwards, the type of the activation,
    is not in the weight.
    """
    block = int(attribute_values(node).get("block_size", 16))
    blob, scale, common = (required(node, constants, i) for i in (operand.index, *operand.extra))
    if blob.data_type != "uint8" or len(blob.shape) != 2:
        raise NotUnderstoodError(
            Refusal(RefusalKind.BYTES_OF_ROWS, data_type=blob.data_type, shape=blob.shape)
        )
    shape = (blob.shape[0], 2 * blob.shape[1])
    unpack = PackedRows(shape, 4, blob.shape[1], "float4e2m1")
    codes = DerivedSource(blob, unpack, shape, "float4e2m1")
    factor = common.read().astype(np.float32).reshape(())
    product = DerivedSource(
        bytes_as(scale, "float8e4m3fn"), partial(_times, factor=factor), scale.shape, "float32"
    )
    quantization = create_quantization(codes, product, None, axis=1, block_size=block)
    return Stored(node.op_type, codes, quantization)


def _times(scale: np.ndarray, *, factor: np.ndarray) -> np.ndarray:
    return scale.astype(np.float32) * factor


def read_fp8_blocks(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
    """MatMulBlockQuantizedFp8Weight: float8e4m3fn [N, K], a scale for each block of a row."""
    block = int(attribute_values(node).get("block_size", 128))
    codes, scale, _ = packed_operand(node, constants, operand)
    quantization = create_quantization(codes, scale, None, axis=1, block_size=block)
    return Stored(node.op_type, codes, quantization)
