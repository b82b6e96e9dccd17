"""The bytes that a file's constants take, where they lie, and which of them nobody reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ..quantization import DerivedSource, Source
from .constants import Computed
from .model_file import Model, all_nodes


@dataclass(frozen=True)
class StoredTensor:
    """One constant of a file.

    Attributes:
        byte_count: of its elements, packed as ONNX packs them.
        is_read: whether a node, or an output of the graph, takes it.
    """

    name: str
    data_type: ir.DataType
    byte_count: int
    is_read: bool


def list_stored_tensors(model: Model) -> Iterator[StoredTensor]:
    """Yield the initializers, those of branches too, and what Constant nodes hold."""
    graphs = {id(model.graph): model.graph}
    for node in all_nodes(model):
        if node.graph is not None and isinstance(node.graph, ir.Graph):
            graphs.setdefault(id(node.graph), node.graph)
        held = node.attributes.get("value") if node.op_type == "Constant" else None
        if held is not None and held.type == ir.AttributeType.TENSOR and not held.is_ref():
            yield _stored(node.outputs[0].name or "", held.as_tensor(), _is_read(node.outputs[0]))
    for graph in graphs.values():
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield _stored(name, value.const_value, _is_read(value))


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _stored(name: str, tensor: ir.TensorProtocol, is_read: bool) -> StoredTensor:
    shape = tuple(int(d) for d in tensor.shape)  # type: ignore[arg-type]
    return StoredTensor(name, tensor.dtype, _byte_count(tensor.dtype, shape), is_read)


def _byte_count(data_type: ir.DataType, shape: tuple[int, ...]) -> int:
    """Return 0 for what has no size: text, an unknown type, an impossible shape."""
    if any(d < 0 for d in shape) or data_type in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return 0
    return math.ceil(data_type.bitwidth * math.prod(shape) / 8)


def find_float_behind(source: Source) -> Source | None:
    """Return the float tensor that a QuantizeLinear turns into ``source`` as a session opens.

    None where the file holds the codes themselves.
    """
    quantized = False
    while True:
        if isinstance(source, DerivedSource):
            source = source.source
        elif isinstance(source, Computed):
            quantized |= source.op_type == "QuantizeLinear"
            behind = source.inputs[0] if source.inputs else None
            if behind is None:
                return None
            source = behind
        else:
            is_float = source.data_type in ("float32", "float16", "bfloat16", "float64")
            return source if quantized and is_float else None
