"""Names that onnxruntime takes for constants of its own, given up by the constants of a file."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from ..running.free_names import FreeNames
from ..running.switched_model import all_names, all_nodes

# What onnxruntime's MatMulAddFusion calls its constants. A float weight lets it fuse again, and it
# fails where a file that it has optimized before holds those names.
FUSION_NAMES = ("gemm_input_shape", "gemm_output_shape")


def free_fusion_names(proto: onnx.ModelProto) -> None:
    """Give the constants of an earlier fusion other names."""
    graph = proto.graph
    ends = {value.name for value in (*graph.input, *graph.output)}
    held = [tensor for tensor in graph.initializer if tensor.name not in ends]
    free = FreeNames(all_names(graph))
    names: dict[str, str] = {}
    for tensor in held:
        if tensor.name.startswith(FUSION_NAMES):
            names[tensor.name] = free.new(f"earlier_{tensor.name}")
            tensor.name = names[tensor.name]
    if names:
        _rename_reads(graph, names)


def _rename_reads(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in all_nodes(graph.node):
        node.input[:] = [names.get(name, name) for name in node.input]
