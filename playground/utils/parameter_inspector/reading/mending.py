"""What a graph spells that onnx_ir does not read, mended as onnxruntime takes it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from ..operators import STANDARD_DOMAINS

# All sparse initializers of a file together, when made dense.
MAX_SPARSE_ELEMENTS = 1 << 23

# onnxruntime keeps smaller ones inside its graph, and finds another of several of one name.
_SMALL_BYTES = 128

Holder = onnx.TensorProto | onnx.NodeProto


def mend_graph(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Mend a model in place. Returns the names of constants that it defines more than once."""
    repeated = _drop_repeated_constants(proto.graph)
    _fill_in_sparse_tensors(proto.graph)
    for graph in (proto.graph, *proto.functions):
        _forget_unknown_data_types(graph)
        _forget_unreadable_types(graph)
    return repeated


# ------------------------------------------------- constants of one name


def _drop_repeated_constants(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Keep of several constants of one name the one that onnxruntime 1.31 uses.

    ONNX forbids them, yet onnxruntime loads them, and its own MatMulNBits quantizer writes them. It
    makes initializers of Constant nodes, behind those of the file. Measured: it uses the last of
    those under 128 bytes, the last but one of larger ones.
    """
    tensors, nodes = [*graph.initializer], [*graph.node]
    holders: dict[str, list[Holder]] = {}
    for holder in (*tensors, *filter(_is_constant, nodes)):
        holders.setdefault(_name_of(holder), []).append(holder)
    repeated = {name: same for name, same in holders.items() if len(same) > 1 and _agree(same)}
    dropped = {id(h) for same in repeated.values() for h in same if h is not _used(same)}
    if dropped:
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend(tensor for tensor in tensors if id(tensor) not in dropped)
        graph.node.extend(node for node in nodes if id(node) not in dropped)
    return tuple(repeated)


def _is_constant(node: onnx.NodeProto) -> bool:
    standard = node.op_type == "Constant" and node.domain in STANDARD_DOMAINS
    return standard and len(node.output) == 1 and bool(node.output[0])


def _name_of(holder: Holder) -> str:
    return holder.name if isinstance(holder, onnx.TensorProto) else holder.output[0]


def _used(same: list[Holder]) -> Holder:
    return same[-1] if _bytes_of(same[-1]) < _SMALL_BYTES else same[-2]


def _agree(same: list[Holder]) -> bool:
    """Whether constants are of one type and shape; others onnxruntime refuses."""
    return len({_type_and_shape(holder) for holder in same}) == 1


def _type_and_shape(holder: Holder) -> tuple[int, tuple[int, ...]]:
    if isinstance(holder, onnx.TensorProto):
        return holder.data_type, tuple(holder.dims)
    for attribute in holder.attribute:
        if attribute.HasField("t"):
            return attribute.t.data_type, tuple(attribute.t.dims)
        if attribute.name in _CONSTANT_TYPES:
            data_type, lists = _CONSTANT_TYPES[attribute.name]
            return data_type, (len(getattr(attribute, lists)),) if lists else ()
    return onnx.TensorProto.UNDEFINED, ()


# The attributes of a Constant other than its tensor: type, and the field of a list.
_CONSTANT_TYPES = {
    "value_float": (onnx.TensorProto.FLOAT, ""),
    "value_floats": (onnx.TensorProto.FLOAT, "floats"),
    "value_int": (onnx.TensorProto.INT64, ""),
    "value_ints": (onnx.TensorProto.INT64, "ints"),
    "value_string": (onnx.TensorProto.STRING, ""),
    "value_strings": (onnx.TensorProto.STRING, "strings"),
}


def _bytes_of(holder: Holder) -> int:
    data_type, shape = _type_and_shape(holder)
    try:
        bits = ir.DataType(data_type).bitwidth
    except (TypeError, ValueError):  # text and types that are not known have no width
        return 0
    return math.ceil(bits * math.prod(shape) / 8)


# ------------------------------------------------- sparse tensors


def _fill_in_sparse_tensors(graph: onnx.GraphProto) -> None:
    """Make sparse initializers and constants dense, as onnxruntime does; onnx_ir reads neither."""
    budget = MAX_SPARSE_ELEMENTS
    for sparse in graph.sparse_initializer:
        if (dense := _fill_in(sparse, budget)) is not None:
            budget -= math.prod(dense.dims)
            graph.initializer.append(dense)
    del graph.sparse_initializer[:]
    for node in filter(_is_constant, graph.node):
        for attribute in node.attribute:
            held = attribute.sparse_tensor if attribute.name == "sparse_value" else None
            if held is not None and (dense := _fill_in(held, budget)) is not None:
                budget -= math.prod(dense.dims)
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))


def _fill_in(sparse: onnx.SparseTensorProto, budget: int) -> onnx.TensorProto | None:
    """Return a sparse tensor as a dense one; None where it is too large, or not in the file."""
    shape = tuple(sparse.dims)
    tensors = (sparse.values, sparse.indices)
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        return None  # onnx would read it from wherever the program happens to run
    if any(d < 0 for d in shape) or math.prod(shape) > budget:
        return None
    values = onnx.numpy_helper.to_array(sparse.values)
    indices = onnx.numpy_helper.to_array(sparse.indices)
    dense = np.zeros(shape, values.dtype)
    where = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, shape)
    dense[where] = values
    return onnx.numpy_helper.from_array(dense, sparse.values.name)


# ------------------------------------------------- types

Graph = onnx.GraphProto | onnx.FunctionProto


def _forget_unknown_data_types(graph: Graph) -> None:
    """Mark tensors of a data type that onnx does not know, so that the others stay readable."""
    known = set(onnx.TensorProto.DataType.values())
    for tensor in _tensors_of(graph):
        if tensor.data_type not in known:
            tensor.data_type = onnx.TensorProto.UNDEFINED


def _forget_unreadable_types(graph: Graph) -> None:
    """Drop what a graph says of values that are maps: onnx_ir has no such type.

    Classifiers of other tools end in them (ZipMap); no weight is one.
    """
    for inner in graphs_of(graph):
        values = [*inner.value_info]
        if isinstance(inner, onnx.GraphProto):
            values += [*inner.input, *inner.output]
        for value in values:
            if not _is_readable(value.type):
                value.ClearField("type")
        for node in inner.node:
            _replace_attributes(node)


def _replace_attributes(node: onnx.NodeProto) -> None:
    """Drop attributes that are such a type (that of an Optional without a value)."""
    kept = [
        attribute
        for attribute in node.attribute
        if all(_is_readable(t) for t in (attribute.tp, *attribute.type_protos))
    ]
    if len(kept) != len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _is_readable(kind: onnx.TypeProto) -> bool:
    """Whether onnx_ir has a type. One that is not there at all is none that it cannot read."""
    if kind.HasField("map_type"):
        return False
    for name in ("sequence_type", "optional_type"):
        if kind.HasField(name):
            inner: onnx.TypeProto = getattr(kind, name).elem_type
            return inner.WhichOneof("value") is not None and _is_readable(inner)
    return True


def _tensors_of(graph: Graph) -> Iterator[onnx.TensorProto]:
    """Yield the initializers and the tensors among the attributes, those of branches too."""
    for inner in graphs_of(graph):
        if isinstance(inner, onnx.GraphProto):
            yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def graphs_of(graph: Graph) -> Iterator[Graph]:
    """Yield a graph and those of the branches in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g)
            for branch in attribute.graphs:
                yield from graphs_of(branch)
