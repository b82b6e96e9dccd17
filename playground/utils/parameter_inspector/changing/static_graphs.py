"""The main graph of a float model as a quantizer reads it: nodes, and which tensors are real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from ..reading.model_file import Model
from ..running.whole_model import create_whole_proto
from .static_marks import StaticGraph, StaticNode

_REAL = (TensorProto.FLOAT, TensorProto.FLOAT16)
# Shapes are computed from constants this small; the bytes of larger ones are not needed.
MOST_KEPT_BYTES = 4096


def read_static_graph(model: Model) -> StaticGraph:
    """Return the main graph of a model."""
    proto = _without_weights(model)
    typed = onnx.shape_inference.infer_shapes(proto)
    graph = typed.graph
    initializers = {one.name: one.data_type for one in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {one.name: one.type.tensor_type.elem_type for one in values} | initializers
    nodes = tuple(
        StaticNode(i, node.op_type, node.name, tuple(node.input), tuple(node.output))
        for i, node in enumerate(graph.node)
    )
    given = [one for one in graph.input if one.name not in initializers]
    return StaticGraph(
        nodes,
        frozenset(name for name, data_type in types.items() if data_type in _REAL),
        frozenset(initializers),
        frozenset(one.name for one in (*graph.input, *graph.output)) - frozenset(initializers),
        {one.name: _spell_type(one) for one in given},
        _count_rows(given),
        Counter(name for node in nodes for name in set(node.inputs)),
    )


def _spell_type(value: onnx.ValueInfoProto) -> str:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name


def _count_rows(inputs: Sequence[onnx.ValueInfoProto]) -> int:
    dims = inputs[0].type.tensor_type.shape.dim if inputs else []
    return dims[0].dim_value or 1 if dims else 1


def _without_weights(model: Model) -> onnx.ModelProto:
    if model.path is not None:
        proto = onnx.load(model.path, load_external_data=False)
    else:
        proto, _ = create_whole_proto(model)
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) > MOST_KEPT_BYTES:
            tensor.raw_data = b""
    return proto
