"""An opened model -> one ModelProto with all its bytes, and which of its nodes is which."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..quantization import UnavailableError
from ..reading.model_file import FileSource, Model, source_of
from ..reading.protobuf_fields import IN_THIS_FILE

# Protobuf holds 2 GB; a switched model holds each weight twice.
MAX_MODEL_BYTES = 1_500_000_000


class ModelTooLargeError(ValueError):
    """A model takes more bytes than one that is switched can hold."""

    def __init__(self, found: int) -> None:
        super().__init__(f"{found} bytes, at most {MAX_MODEL_BYTES}")
        self.found = found


def create_whole_proto(model: Model) -> tuple[onnx.ModelProto, dict[int, onnx.NodeProto]]:
    """Return a model as it was opened, functions inlined, and the node of each `ir.Node` by its id.

    Raises:
        ModelTooLargeError: above 1.5 GB.
        UnavailableError: bytes of a tensor are missing.
    """
    size = sum(tensor_bytes(tensor) for tensor in _tensors(model.graph))
    if size > MAX_MODEL_BYTES:
        raise ModelTooLargeError(size)
    proto = onnx.ModelProto()
    proto.graph.CopyFrom(ir.serde.serialize_graph(model.graph))
    for domain, version in model.graph.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for domain in sorted({node.domain for node in model.graph.all_nodes()}):
        add_domain(proto, domain)
    known = [one for one in proto.opset_import if one.domain in ("", "ai.onnx")]
    proto.ir_version = max(8, onnx.helper.find_min_ir_version_for(known, ignore_unknown=True))
    _fill_in(proto.graph, model.graph, model)
    return proto, dict(_match_nodes(model.graph, proto.graph))


def add_domain(proto: onnx.ModelProto, domain: str) -> None:
    """Import a domain that is not imported yet."""
    domain = "" if domain == "ai.onnx" else domain
    known = {"" if one.domain == "ai.onnx" else one.domain for one in proto.opset_import}
    if domain not in known:
        proto.opset_import.add(domain=domain, version=1)


def tensor_bytes(tensor: ir.TensorProtocol) -> int:
    """Return how many bytes a tensor takes; 0 where its type or shape is not known."""
    try:
        elements = math.prod(d for d in tensor.shape if isinstance(d, int))
        return elements * tensor.dtype.bitwidth // 8
    except (TypeError, ValueError):
        return 0


def _tensors(graph: ir.Graph) -> Iterator[ir.TensorProtocol]:
    for one in (graph, *graph.subgraphs()):
        yield from (v.const_value for v in one.initializers.values() if v.const_value is not None)


def _fill_in(proto: onnx.GraphProto, graph: ir.Graph, model: Model) -> None:
    """Put bytes that lie in files into the tensors, those of bodies and attributes too."""
    held = {name: value.const_value for name, value in graph.initializers.items()}
    for tensor in proto.initializer:
        found = held.get(tensor.name)
        if found is not None:
            _fill_tensor(tensor, found, model)
    for node, made in zip(graph, proto.node, strict=True):
        by_name = {attribute.name: attribute for attribute in made.attribute}
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR:
                _fill_tensor(by_name[name].t, attribute.as_tensor(), model)
            elif attribute.type == ir.AttributeType.GRAPH:
                _fill_in(by_name[name].g, attribute.as_graph(), model)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner, body in zip(by_name[name].graphs, attribute.as_graphs(), strict=True):
                    _fill_in(inner, body, model)


def _fill_tensor(proto: onnx.TensorProto, tensor: ir.TensorProtocol, model: Model) -> None:
    if not isinstance(tensor, ir.ExternalTensor):
        return
    source = source_of(tensor, proto.name, model.path)
    if not isinstance(source, FileSource):
        raise UnavailableError(Refusal(RefusalKind.NOT_IN_FILE, name=proto.name))
    with source.open() as opened:
        content = bytearray(opened.byte_count)
        opened.read_into(np.frombuffer(content, np.uint8), 0)
    del proto.external_data[:]
    proto.ClearField("data_location")
    proto.raw_data = bytes(content)


def _match_nodes(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[int, onnx.NodeProto]]:
    for node, made in zip(graph, proto.node, strict=True):
        yield id(node), made
        by_name = {attribute.name: attribute for attribute in made.attribute}
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _match_nodes(attribute.as_graph(), by_name[name].g)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner, body in zip(attribute.as_graphs(), by_name[name].graphs, strict=True):
                    yield from _match_nodes(inner, body)


def model_bytes(model: Model) -> bytes:
    """Return a model as one file: as it lies on the disk where nothing else belongs to it.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_whole_proto`.
    """
    if model.path is not None and not _has_files_beside(model):
        try:
            return model.path.read_bytes()
        except OSError as error:
            raise UnavailableError(
                Refusal(
                    RefusalKind.FILE_UNREADABLE,
                    name=model.path.name,
                    reason=error.strerror or "",
                )
            ) from error
    return create_whole_proto(model)[0].SerializeToString()


def _has_files_beside(model: Model) -> bool:
    return any(
        isinstance(tensor, ir.ExternalTensor) and str(tensor.location) != IN_THIS_FILE
        for tensor in _tensors(model.graph)
    )
