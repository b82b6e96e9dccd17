"""The Q and DQ nodes of a graph as they stand there: what no layer shows, and a runtime checks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ..operators import QDQ_DOMAINS
from .constants import ConstantTable, constants_of
from .model_file import Model, all_nodes

_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class QuantizeNode:
    """One QuantizeLinear or DequantizeLinear.

    Attributes:
        name: of the node, or of what it makes.
        tensor: what it reads.
        scale_shape, zero_point_shape: None where there is none, or where it is computed.
        block_size: 0 without blocks.
        is_constant: whether what it reads is known from the file: a weight, not an activation.
        data_readers: operators whose first input, the data, is what it makes.
    """

    name: str
    op_type: str
    tensor: str
    scale_shape: tuple[int, ...] | None
    zero_point_shape: tuple[int, ...] | None
    block_size: int
    is_constant: bool
    data_readers: tuple[str, ...]

    @property
    def scale_count(self) -> int:
        return 1 if self.scale_shape is None else math.prod(self.scale_shape)


def list_quantize_nodes(model: Model) -> tuple[QuantizeNode, ...]:
    """Return the Q and DQ nodes in graph order. Reads no tensor."""
    constants = constants_of(model)
    return tuple(
        _quantize_node(node, constants)
        for node in all_nodes(model)
        if node.op_type in _OPERATORS and node.domain in QDQ_DOMAINS and len(node.inputs) >= 2
    )


def _quantize_node(node: ir.Node, constants: ConstantTable) -> QuantizeNode:
    tensor = node.inputs[0]
    block_size = node.attributes.get("block_size")
    made = node.outputs[0] if node.outputs else None
    return QuantizeNode(
        node.name or (made.name if made is not None else None) or "",
        node.op_type,
        (tensor.name if tensor is not None else None) or "",
        _shape(node, 1, constants),
        _shape(node, 2, constants),
        block_size.as_int() if block_size is not None else 0,
        tensor is not None and constants.is_constant(tensor),
        tuple(use.node.op_type for use in made.uses() if use.idx == 0) if made is not None else (),
    )


def _shape(node: ir.Node, index: int, constants: ConstantTable) -> tuple[int, ...] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    source = constants.get(value)
    return None if source is None else source.shape


def list_dangling_inputs(model: Model) -> Iterator[tuple[str, str]]:
    """Yield (tensor, node) for what a node reads and nothing in the file makes."""
    for node in all_nodes(model):
        for value in node.inputs:
            if value is None or value.producer() is not None:
                continue
            if not (value.is_graph_input() or value.is_initializer()):
                yield value.name or "", node.name or node.op_type
