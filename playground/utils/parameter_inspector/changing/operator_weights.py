"""A weight stored anew where its operator itself holds it: the form stays.

Each form takes some schemes only; for the others the operator is taken apart.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from ..quantization import Quantization
from .edited_graph import EditedGraph, Slot
from .integer_operators import coded_operands, is_integer_operator
from .requantizing import StoredWeight
from .taking_apart import INTEGER, TakingApart

_NBITS = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int2": 2, "uint2": 2}
LEAST_BLOCK = 16
# Where these hold scale and zero-point of their weight, which is input 1.
_COLUMNS = {"MatMulIntegerToFloat": (3, 5), "DynamicQuantizeMatMul": (2, 3)}


def holds_codes(node: onnx.NodeProto) -> bool:
    """Whether an operator holds the codes of its weight itself."""
    return is_integer_operator(node) or node.op_type in (*INTEGER, *_COLUMNS, "MatMulNBits")


def put_into_operator(
    graph: EditedGraph,
    node: onnx.NodeProto,
    position: int,
    stored: StoredWeight,
    apart: TakingApart,
) -> bool:
    """Store a weight in the form of its operator; False, and nothing done, where that cannot be."""
    if node.op_type == "MatMulNBits":
        return _put_blocks(graph, node, stored)
    if not _is_bytes(stored.quantization):
        return False
    if node.op_type in INTEGER:
        return _put_before_factor(graph, node, stored, apart)
    slots = _slots(node, position)
    if slots is None or not _takes(graph, slots, stored):
        return False
    quantization = stored.quantization
    arrays = stored.codes, quantization.scale, quantization.zero_point
    for slot, array in zip(slots, arrays, strict=True):
        graph.put([slot], array, node.output[0])
    return True


def _slots(node: onnx.NodeProto, position: int) -> tuple[Slot, Slot, Slot] | None:
    if node.op_type in _COLUMNS:
        scale, zero_point = _COLUMNS[node.op_type]
        return (node, 1), (node, scale), (node, zero_point)
    operand = next((one for one in coded_operands(node) if one.position == position), None)
    if operand is None:
        return None
    return (node, operand.codes), (node, operand.scale), (node, operand.zero_point)


def _takes(graph: EditedGraph, slots: tuple[Slot, Slot, Slot], stored: StoredWeight) -> bool:
    """Whether the operator goes on running: the same type of codes, or any beside uint8."""
    (node, at), (_, scale_at), _ = slots
    held, scale = graph.constant(node.input[at]), graph.constant(node.input[scale_at])
    if held is None or scale is None or held.shape != stored.codes.shape:
        return False
    same = held.dtype == stored.codes.dtype
    if node.op_type in ("QLinearAdd", "QLinearMul"):
        return same and stored.quantization.axis is None
    first = graph.constant(node.input[2]) if is_integer_operator(node) else None
    return same or (first is not None and first.dtype == np.uint8) or node.op_type in _COLUMNS


def _is_bytes(quantization: Quantization) -> bool:
    """Whether integer kernels know it: bytes per tensor, or per channel around zero."""
    if quantization.data_type not in ("int8", "uint8") or quantization.block_size is not None:
        return False
    return quantization.axis is None or len(set(quantization.zero_point.reshape(-1).tolist())) == 1


def _put_before_factor(
    graph: EditedGraph, node: onnx.NodeProto, stored: StoredWeight, apart: TakingApart
) -> bool:
    """Store the weight of an operator of bare integers, whose scale is a factor further on."""
    _, chain = apart.chain(node)
    quantization = stored.quantization
    factor = chain.factors[0].name if len(chain.factors) == 1 else ""
    held = graph.constant(node.input[1])
    if not graph.is_constant(factor) or held is None or held.shape != stored.codes.shape:
        return False
    readers = graph.readers(factor)
    if len(readers) != 1:
        return False
    scale = quantization.scale.reshape(-1) if quantization.axis is not None else quantization.scale
    if node.op_type == "ConvInteger" and scale.ndim:
        scale = scale.reshape(-1, *[1] * (stored.codes.ndim - 2))
    zero = np.asarray(quantization.zero_point).reshape(-1)[0].reshape(())
    graph.put([(node, 1)], stored.codes, node.output[0])
    graph.put(readers, np.ascontiguousarray(scale), factor)
    graph.put([(node, 3)], zero.astype(stored.codes.dtype), f"{node.output[0]}_zero_point")
    return True


# ------------------------------------------------- MatMulNBits


def _put_blocks(graph: EditedGraph, node: onnx.NodeProto, stored: StoredWeight) -> bool:
    quantization = stored.quantization
    bits, block = _NBITS.get(quantization.data_type), quantization.block_size
    is_block = block is not None and block >= LEAST_BLOCK and block & (block - 1) == 0
    if bits is None or block is None or not is_block or quantization.axis != 1:
        return False
    offset = 2 ** (bits - 1) if quantization.data_type.startswith("int") else 0
    codes = stored.codes.astype(np.int32) + offset
    scale = np.asarray(quantization.scale)
    zeros = np.broadcast_to(np.asarray(quantization.zero_point).astype(np.int32), scale.shape)
    rows, blocks = scale.shape
    padding = blocks * block - codes.shape[1]
    if padding:
        codes = np.concatenate([codes, np.repeat(zeros[:, -1:] + offset, padding, axis=1)], axis=1)
    packed = pack_rows(codes.astype(np.uint8), bits).reshape(rows, blocks, block * bits // 8)
    flat = len(graph.tensors[node.input[2]].dims) == 1
    packed_zeros = pack_rows((zeros + offset).astype(np.uint8), bits)
    for at, array in ((1, packed), (2, scale), (3, packed_zeros)):
        held = array.reshape(-1) if flat and at > 1 else array
        graph.put([(node, at)], held, f"{node.output[0]}_{at}")
    if len(node.input) > 4 and node.input[4]:
        graph.set_input(node, 4, "")
    for name, number in (("bits", bits), ("block_size", block)):
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, number)])
    return True


def pack_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return bytes that hold ``8 / bits`` codes each, low bits first; each row begins a byte.

    Args:
        codes: uint8, below ``2 ** bits``, of shape (rows, codes).
    """
    per_byte = 8 // bits
    missing = -codes.shape[1] % per_byte
    padded = np.pad(codes, [(0, 0), (0, missing)]).reshape(codes.shape[0], -1, per_byte)
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    return np.bitwise_or.reduce(padded.astype(np.uint8) << shifts, axis=2).astype(np.uint8)
