"""Where the bias of a float layer stands, so that it can be shifted channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..operators import operator_named
from ..reading.edges import Network


@dataclass(frozen=True, eq=False)
class BiasOperand:
    """The operand that holds a bias, or could.

    Attributes:
        node, position: the operand; one past the node's last input appends it.
        axis: of the channels in the node's output.
        values: float32, (size,); zeros where there is none yet.
    """

    node: ir.Node
    position: int
    axis: int
    values: np.ndarray

    @property
    def size(self) -> int:
        return self.values.size


def find_bias(network: Network, layer: str) -> BiasOperand | None:
    """Return the bias operand of a layer of the main graph; None where it can have none.

    A Conv or Gemm takes one as its third input; that of a MatMul is the constant of the Add behind
    it, if nothing else reads the product.
    """
    node, record = network.nodes.get(layer), network.layers.get(layer)
    if node is None or record is None or node.graph is not network.model.graph:
        return None
    if record.op_type == "MatMul":
        return _find_added(network, layer)
    size = _count_channels(network, layer)
    if size is None or record.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return None
    if record.op_type == "Gemm" and record.attribute("beta", 1.0) != 1:
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    values = np.zeros(size, np.float32) if value is None else _read(network, value, size)
    return None if values is None else BiasOperand(node, 2, 1, values)


def _count_channels(network: Network, layer: str) -> int | None:
    record = network.layers[layer]
    weight = record.weight
    if weight is None or weight.channel_axis is None:
        return None
    size = weight.shape[weight.channel_axis]
    transposed = operator_named(record.op_type).is_transposed
    return size * int(record.attribute("group", 1)) if transposed else size


def _find_added(network: Network, layer: str) -> BiasOperand | None:
    readers = network.readers.get(id(network.made[layer][0]), [])
    size = _count_channels(network, layer)
    if size is None or len(readers) != 1:
        return None
    node = network.nodes.get(readers[0].reader)
    if node is None or node.op_type != "Add" or node.graph is not network.model.graph:
        return None
    known = [at for at, value in enumerate(node.inputs) if network.is_constant(value)]
    if len(known) != 1:
        return None
    values = _read(network, node.inputs[known[0]], size)
    return None if values is None else BiasOperand(node, known[0], -1, values)


def _read(network: Network, value: ir.Value | None, size: int) -> np.ndarray | None:
    source = network.constants.get(value)
    if source is None or source.shape != (size,):
        return None
    return np.asarray(source.read(), np.float32)
