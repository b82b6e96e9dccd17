"""The bytes that a file's constants take, where they lie, and which of them nobody reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ..quantization import DerivedSource, Source
from .computed import Computed
from .model_file import Model, all_nodes
from .protobuf_fields import IN_THIS_FILE


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


def count_file_bytes(model: Model) -> int:
    """Return how large a model's file is, with the files beside it that it names.

    What is there counts, not what the model says of it.
    """
    if model.path is None:
        return model.file_bytes
    tensors = (value.const_value for value in model.graph.initializers.values())
    locations = {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
    beside = 0
    for location in locations - {IN_THIS_FILE}:
        with suppress(OSError, ValueError):  # a missing file is said of its tensors
            beside += (model.path.parent / location).stat().st_size
    return model.file_bytes + beside


def list_stored_tensors(model: Model) -> Iterator[StoredTensor]:
    """Yield the initializers, those of branches too, and what Constant nodes hold."""
    for name, tensor, is_read in _list_tensors(model):
        yield _stored(name, tensor, is_read)


def list_files(model: Model) -> tuple[Path, ...]:
    """Return the files that a model is in: its own, and those of its external data."""
    if model.path is None:
        return ()
    locations = {
        str(tensor.location)
        for _, tensor, _ in _list_tensors(model)
        if isinstance(tensor, ir.ExternalTensor)
    }
    folder = model.path.parent
    return model.path, *(folder / one for one in sorted(locations) if one != IN_THIS_FILE)


def _list_tensors(model: Model) -> Iterator[tuple[str, ir.TensorProtocol, bool]]:
    """Yield name, tensor, and whether it is read."""
    graphs = {id(model.graph): model.graph}
    for node in all_nodes(model):
        if node.graph is not None and isinstance(node.graph, ir.Graph):
            graphs.setdefault(id(node.graph), node.graph)
        held = node.attributes.get("value") if node.op_type == "Constant" else None
        if held is not None and held.type == ir.AttributeType.TENSOR and not held.is_ref():
            yield node.outputs[0].name or "", held.as_tensor(), _is_read(node.outputs[0])
    for graph in graphs.values():
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield name, value.const_value, _is_read(value)


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
