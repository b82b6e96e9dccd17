"""A corrected bias of a layer whose operator has none: the constant of the Add behind it."""

from __future__ import annotations

import numpy as np
import onnx

from ..facts import WritingNote, WritingNoteKind, WritingRefusal, WritingRefusalKind
from ..pairing.structure import family
from ..quantization import is_integer, numpy_dtype
from ..reading.edges import Network, operands
from ..records import Layer
from .edited_graph import EditedGraph
from .integer_operators import DEQUANTIZE
from .move_refusals import MoveRefusedError
from .taking_apart import TakingApart
from .weight_writing import input_index

# Where an operator that has a bias of real numbers holds it.
_FLOAT_BIAS = {"MatMulNBits": 5, "MatMulIntegerToFloat": 6, "DynamicQuantizeMatMul": 4}


def correct_float_bias(
    graph: EditedGraph,
    network: Network,
    layer: Layer,
    bias: np.ndarray,
    apart: TakingApart,
    notes: list[WritingNote],
) -> None:
    """Store the bias of a layer that adds real numbers: its own input, or the Add behind it.

    Raises:
        MoveRefusedError: there is neither, or the Add's constant is no bias.
    """
    origin = network.nodes[layer.name].outputs[0].name or ""
    node, at = graph.node_of(origin), _FLOAT_BIAS.get(layer.op_type)
    adding = _find_add(network, layer)
    is_own = node is not None and node.op_type == layer.op_type
    if node is not None and is_own and at is not None and (adding is None or _name_at(node, at)):
        graph.set_input(node, at, graph.add_constant(bias, f"{origin}_bias"))
        return
    if adding is None:
        kind = WritingRefusalKind.NO_BIAS
        raise MoveRefusedError(WritingRefusal(kind, layer=layer.name, op_type=layer.op_type))
    follower, position = adding
    made = graph.node_of(network.nodes[follower.name].outputs[0].name or "")
    if made is None:
        kind = WritingRefusalKind.NOT_IN_MAIN_GRAPH
        raise MoveRefusedError(WritingRefusal(kind, layer=follower.name))
    plain = apart.plain(made)
    index = input_index(plain, position)
    source = network.constants.get(network.nodes[follower.name].inputs[_own(network, adding)])
    shape = source.shape if source is not None else bias.shape
    if int(np.prod(shape)) != bias.size:
        kind = WritingRefusalKind.SHAPE
        refusal = WritingRefusal(kind, layer=layer.name, shape=bias.shape, expected_shape=shape)
        raise MoveRefusedError(refusal)
    before = graph.made_by.get(plain.input[index])
    if before is not None and before.op_type == DEQUANTIZE:
        notes.append(WritingNote(WritingNoteKind.TO_FLOAT, follower.name, "bias"))
    is_real = source is not None and not is_integer(source.data_type)
    held_type = numpy_dtype(source.data_type) if source is not None and is_real else bias.dtype
    held = graph.add_constant(bias.reshape(shape).astype(held_type), f"{origin}_bias")
    graph.set_input(plain, index, held)


def _find_add(network: Network, layer: Layer) -> tuple[Layer, int] | None:
    """Return the one Add that reads a layer, and which operand its constant is."""
    readers = network.readers.get(id(network.made[layer.name][0]), [])
    if len({edge.reader for edge in readers}) != 1:
        return None
    follower = network.layers.get(readers[0].reader)
    if follower is None or family(follower) != "Add":
        return None
    edges = network.edges[follower.name]
    constants = [at for at, edge in edges.items() if network.is_constant(edge.source)]
    return (follower, constants[0]) if len(constants) == 1 and len(edges) == 2 else None


def _own(network: Network, adding: tuple[Layer, int]) -> int:
    """Return which of the Add's own inputs its constant is."""
    follower, position = adding
    return next(at for one, at, *_ in operands(network.nodes[follower.name]) if one == position)


def _name_at(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""
