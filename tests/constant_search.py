"""The constants of a file that could be somebody's weight, found in the protobuf alone.

No code is shared with the playground, which has to account for each of them: as a parameter of a
layer, as not understood, or as a kind of constant that is no weight.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, numpy_helper

MORE_THAN = 16
PLAIN = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.BOOL, TensorProto.STRING, TensorProto.UNDEFINED, TensorProto.COMPLEX64,
    TensorProto.COMPLEX128,
}  # fmt: skip
WIDE = {TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32, TensorProto.UINT32}
# They hand on the numbers that they are given, whole.
HANDING_ON = {
    "Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten",
    "DequantizeLinear", "QuantizeLinear", "Clip",
}  # fmt: skip
WEIGHT_INPUTS = {
    "Conv": (1,), "ConvTranspose": (1,), "ConvInteger": (1,), "Gemm": (0, 1), "MatMul": (0, 1),
    "MatMulInteger": (0, 1), "QLinearConv": (3,), "QLinearMatMul": (0, 3), "MatMulNBits": (1,),
    "LSTM": (1, 2), "GRU": (1, 2), "Gather": (0,),
}  # fmt: skip


@dataclass
class Found:
    """A constant that some result of the model depends on.

    Attributes:
        reaches: the operators that it is a weight of, through operators that hand it on.
        is_wide: of 32 or 64 bits, as shapes and indices are.
        is_mask: it holds zeros and ones only.
    """

    name: str
    data_type: int
    shape: tuple[int, ...]
    reaches: list[str] = field(default_factory=list)
    is_mask: bool = False

    @property
    def is_wide(self) -> bool:
        return self.data_type in WIDE


def find_constants(model: onnx.ModelProto) -> list[Found]:
    """Return every constant of integers, narrow floats or packed codes that reaches a layer."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graphs = list(_graphs(model.graph))
    live = _live_names(model, graphs)
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for graph in graphs:
        for node in graph.node:
            for index, name in enumerate(node.input):
                readers[name].append((node, index))
    return [
        Found(name, tensor.data_type, tuple(tensor.dims), list(_reached(name, readers)),
              _is_mask(tensor))
        for graph in graphs
        for name, tensor in _tensors(graph)
        if name in live and tensor.data_type not in PLAIN and math.prod(tensor.dims) > MORE_THAN
    ]  # fmt: skip


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(body)


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    seen = set()
    for tensor in graph.initializer:
        if tensor.name not in seen:
            seen.add(tensor.name)
            yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t


def _live_names(model: onnx.ModelProto, graphs: Iterable[onnx.GraphProto]) -> set[str]:
    """Return the names that an output of the model depends on; a body's go with its node's."""
    makers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for graph in graphs:
        for node in graph.node:
            for name in node.output:
                makers[name].append(node)
    live: set[str] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        name = waiting.pop()
        if not name or name in live:
            continue
        live.add(name)
        for node in makers[name]:
            waiting += node.input
            for attribute in node.attribute:
                for body in (attribute.g, *attribute.graphs):
                    for inner in _graphs(body):
                        waiting += [value.name for value in inner.output]
    return live


def _reached(name: str, readers: dict[str, list[tuple[onnx.NodeProto, int]]]) -> Iterator[str]:
    waiting, seen = [name], {name}
    while waiting:
        for node, index in readers[waiting.pop()]:
            if index in WEIGHT_INPUTS.get(node.op_type, ()):
                yield node.op_type
            if node.op_type in HANDING_ON and index == 0:
                waiting += [one for one in node.output if one not in seen]
                seen.update(node.output)


def _is_mask(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in (TensorProto.INT8, TensorProto.UINT8) or tensor.external_data:
        return False
    try:
        return bool(np.isin(numpy_helper.to_array(tensor), (0, 1)).all())
    except (ValueError, TypeError):  # fewer bytes than the shape asks for
        return False


def find_silent(model: onnx.ModelProto, layers: Iterable, listed: Iterable) -> list[str]:  # type: ignore[type-arg]
    """Return what the playground passes over: each constant, and what is wrong with its account.

    Args:
        layers: of `list_layers`.
        listed: of `list_constants`.
    """
    by_layer = {layer.name: layer for layer in layers}
    accounts = defaultdict(list)
    for one in listed:
        accounts[one.name].append(one)
        accounts[one.shape].append(one)
    wrong = []
    for found in find_constants(model):
        listed_as = accounts[found.name] or accounts[found.shape]
        said = _is_wrong(found, listed_as, by_layer)
        if said:
            wrong.append(f"{found.name} {found.shape}: {said}")
    return wrong


def _is_wrong(found: Found, accounts: list, by_layer: dict) -> str:  # type: ignore[type-arg]
    """Return what is wrong with the account of a constant; nothing where it is one."""
    if not accounts:
        return "is not listed"
    roles = {one.role.name for one in accounts}
    layers = [by_layer[name] for one in accounts for name in one.layers if name in by_layer]
    if roles == {"UNREAD"}:
        return "is said to reach no layer, and does"
    if "NOT_UNDERSTOOD" in roles and not any(layer.not_understood for layer in layers):
        return "is not understood, and no layer says so"
    if "PARAMETER" in roles and not any(map(_says, layers)) and not found.is_wide | found.is_mask:
        return "is part of a float weight, and no layer says so"
    if not roles & {"PARAMETER", "NOT_UNDERSTOOD"} and found.reaches and not found.is_wide:
        return f"is the weight of {found.reaches[0]}, and said to be {sorted(roles)}"
    return ""


def _says(layer) -> bool:  # type: ignore[no-untyped-def]
    return bool(layer.not_understood) or any(p.is_quantized for p in layer.parameters)
