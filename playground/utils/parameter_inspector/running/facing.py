"""A variant with the inputs and outputs of its original: other names, or codes, are translated.

Files that came from TensorFlow Lite take and give integers: scale and zero-point stand inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx import helper

from ..operators import MOVING
from ..pairing.structure import match_ends, match_inputs
from ..quantization import is_integer
from ..reading.edges import Network, operands
from .grouping import MAX_MOVES
from .whole_model import add_domain, create_whole_proto, model_bytes

_INNER = "/file"


def create_faced_model(original: Network, variant: Network) -> bytes:
    """Return the variant as a file that is fed and read as the original is.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_whole_proto`.
    """
    inputs = list(match_inputs(original, variant))
    outputs = [(a.value, b.value) for a, b in match_ends(original.outputs, variant.outputs)]
    if all(a.name == b.name and not _is_coded(a, b) for a, b in (*inputs, *outputs)):
        return model_bytes(variant.model)
    proto, _ = create_whole_proto(variant.model)
    ends = {v.name or "" for pair in (*inputs, *outputs) for v in pair}
    _rename(proto.graph, {name: f"{name}{_INNER}" for name in ends})
    first = [_translate(a.name, f"{b.name}{_INNER}", _reader(variant, a, b)) for a, b in inputs]
    last = [_translate(f"{b.name}{_INNER}", a.name, _writer(a, b)) for a, b in outputs]
    nodes = [*first, *proto.graph.node, *last]
    _replace(proto.graph, nodes, inputs, outputs)
    for node in (*first, *last):
        add_domain(proto, node.domain)
    return proto.SerializeToString()


def _is_coded(ours: ir.Value, theirs: ir.Value) -> bool:
    """Whether the variant has integers where the original has real numbers."""
    types = [
        value.dtype.name.lower() if value.dtype is not None else "" for value in (ours, theirs)
    ]
    return is_integer(types[1]) and not is_integer(types[0])


Translation = tuple[str, Sequence[str], str]


def _reader(variant: Network, ours: ir.Value, theirs: ir.Value) -> Translation:
    """Return operator, parameters and domain that turn the original's input into the variant's."""
    waiting = [theirs] if _is_coded(ours, theirs) else []
    for value in waiting:
        for usage in value.uses():
            node = usage.node
            names = [node.inputs[i] for i in _places(node, usage.idx) if i < len(node.inputs)]
            if names:
                spelled = [one.name or "" for one in names if one is not None]
                return "QuantizeLinear", spelled, node.domain
            if node.op_type in MOVING and len(waiting) <= MAX_MOVES:
                waiting += node.outputs
    return "Identity", (), ""


def _places(node: ir.Node, index: int) -> Sequence[int]:
    """Return which inputs hold scale and zero-point of the codes that one input takes."""
    if node.op_type == "DequantizeLinear":
        return (1, 2)
    return next((row[2:] for row in operands(node) if row[1] == index), ())


def _writer(ours: ir.Value, theirs: ir.Value) -> Translation:
    node = theirs.producer()
    if _is_coded(ours, theirs) and node is not None and node.op_type == "QuantizeLinear":
        spelled = [value.name or "" for value in node.inputs[1:] if value is not None]
        return "DequantizeLinear", spelled, node.domain
    return "Identity", (), ""


def _translate(source: str | None, target: str | None, by: Translation) -> onnx.NodeProto:
    op_type, parameters, domain = by
    return helper.make_node(op_type, [source or "", *parameters], [target or ""], domain=domain)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _rename(body, names)
    for value in graph.output:
        value.name = names.get(value.name, value.name)


def _replace(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[ir.Value, ir.Value]],
    outputs: Sequence[tuple[ir.Value, ir.Value]],
) -> None:
    theirs = {value.name for _, value in inputs}
    kept = [value for value in graph.input if value.name not in theirs]
    given = [ir.serde.serialize_value(ours) for ours, _ in inputs]
    made = [ir.serde.serialize_value(ours) for ours, _ in outputs]
    for field, new in ((graph.node, nodes), (graph.input, [*given, *kept]), (graph.output, made)):
        copies = [type(one).FromString(one.SerializeToString()) for one in new]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]
