"""A main graph while its constants are changed: who makes and who reads each tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from ..operators import MICROSOFT
from ..quantization import Quantization
from ..records import Layer, WeightTensor
from .rewrite_errors import RewriteError

DEQUANTIZE = "DequantizeLinear"
# What onnxruntime's own DequantizeLinear takes, whatever the opset.
MICROSOFT_TYPES = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
# What onnxruntime's MatMulAddFusion calls its constants. A float weight lets it fuse again, and it
# fails where a file that it has optimized before holds those names.
FUSION_NAMES = ("gemm_input_shape", "gemm_output_shape")


class ChangedGraph:
    """The main graph of a model that is being changed: who makes and who reads each tensor."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.graph = proto, proto.graph
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.readers: dict[str, int] = {}
        for name in _names_read(self.graph):
            self.readers[name] = self.readers.get(name, 0) + 1
        self.replaced: set[str] = set()

    def dequantizer(self, layer: Layer, parameter: WeightTensor) -> onnx.NodeProto | None:
        """Return the DequantizeLinear between a stored parameter and its layer.

        None where the parameter does not reach the layer in this form.

        Raises:
            RewriteError: other layers read the parameter too, or it can be given from outside.
        """
        owner = self.producers.get(layer.output_names[0] if layer.output_names else "")
        if owner is None or owner.op_type != layer.op_type:
            return None  # in a function or a branch, or one of the operators it was split into
        for name in owner.input:
            node = self.producers.get(name)
            if node is None or node.op_type != DEQUANTIZE or node.input[0] != parameter.name:
                continue
            self._check(node, parameter)
            return node
        return None

    def _check(self, node: onnx.NodeProto, parameter: WeightTensor) -> None:
        from_outside = {value.name for value in self.graph.input}
        for name in filter(None, node.input):
            if name not in self.tensors or name in from_outside:
                raise RewriteError(f"{name!r} of its {parameter.slot} is no plain initializer")
        if self.readers.get(node.output[0], 0) != 1:
            raise RewriteError(f"its {parameter.slot} is shared with another layer")

    def store(self, node: onnx.NodeProto, quantization: Quantization, codes: np.ndarray) -> None:
        """Put codes, scale and zero-point behind a DequantizeLinear, and say so in its attributes.

        Raises:
            RewriteError: onnxruntime's own DequantizeLinear does not take the codes.
        """
        data_type = quantization.data_type
        if node.domain == MICROSOFT and data_type not in MICROSOFT_TYPES:
            raise RewriteError(f"com.microsoft's DequantizeLinear does not take {data_type}")
        if node.domain == MICROSOFT and quantization.block_size is not None:
            raise RewriteError("com.microsoft's DequantizeLinear does not take blocks")
        arrays = [codes, quantization.scale, quantization.zero_point]
        self._replace(node, arrays)
        _set_attribute(node, "axis", quantization.axis)
        _set_attribute(node, "block_size", quantization.block_size)

    def store_bias(self, node: onnx.NodeProto, codes: np.ndarray, scale: np.ndarray) -> None:
        self._replace(node, [codes, scale, np.zeros(scale.shape, np.int32)])
        _set_attribute(node, "axis", codes.shape.index(scale.size) if scale.ndim else None)

    def _replace(self, node: onnx.NodeProto, arrays: Sequence[np.ndarray]) -> None:
        """Give a node new constants; a constant that others read too stays, under its own name."""
        stem = node.input[0]
        names = list(node.input)
        names += [""] * (len(arrays) - len(names))
        for i, (array, ending) in enumerate(
            zip(arrays, ("", "_scale", "_zero_point"), strict=True)
        ):
            shared = not names[i] or self.readers[names[i]] != 1
            name = self._new_name(f"{stem}{ending}") if shared else names[i]
            self._put(name, array)
            names[i] = name
        del node.input[:]
        node.input.extend(names)

    def _new_name(self, stem: str) -> str:
        taken = {*self.tensors, *self.producers, *(value.name for value in self.graph.input)}
        name, number = f"{stem}_requantized", 2
        while name in taken:
            name, number = f"{stem}_requantized_{number}", number + 1
        return name

    def _put(self, name: str, array: np.ndarray) -> None:
        tensor = numpy_helper.from_array(array, name)
        self.replaced.add(name)
        if name in self.tensors:
            self.tensors[name].CopyFrom(tensor)
            return
        self.readers[name] = 1
        self.graph.initializer.append(tensor)
        self.tensors[name] = self.graph.initializer[-1]

    def drop_unused(self) -> None:
        """Drop constants that lost their last reader, and what was said of the type of others."""
        used = set(_names_read(self.graph))
        for tensor in list(self.graph.initializer):
            if tensor.name not in used and self.readers.get(tensor.name):
                self.graph.initializer.remove(tensor)
        for value in list(self.graph.value_info):
            if value.name in self.replaced:
                self.graph.value_info.remove(value)

    def free_fusion_names(self) -> None:
        """Give the constants of an earlier fusion other names."""
        ends = {value.name for value in (*self.graph.input, *self.graph.output)}
        taken = [n for n in self.tensors if n.startswith(FUSION_NAMES) and n not in ends]
        names = {name: self._new_name(f"earlier_{name}") for name in taken}
        for tensor in self.graph.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        _rename_reads(self.graph, names)


def _rename_reads(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_reads(inner, names)


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield every name that a node or an output reads, in this graph and in those inside it."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names_read(inner)


def _set_attribute(node: onnx.NodeProto, name: str, value: int | None) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))
