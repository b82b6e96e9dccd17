"""What stands between a layer and the layers it reads: the plumbing, operator by operator.

A `Network` is a model seen as layers and edges. An edge leads from the tensor that a layer reads
back to the tensor that another layer makes, and holds every quantizing step in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import onnx_ir as ir

from ..operators import QDQ_DOMAINS, QONNX_DOMAINS, operator_named
from .constants import constants_of
from .layers import read_layers
from .model_file import Model

MAX_STEPS = 100

# These quantize their first input while the model runs.
_DYNAMIC_OPERATORS = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM")

_Operand = tuple[int, ...]
_ONE: tuple[_Operand, ...] = ((0, 0, 1, 2),)
_TWO: tuple[_Operand, ...] = ((0, 0, 1, 2), (1, 3, 4, 5))
# Of each operator that orders its inputs unlike its float partner: (the partner's input, its own
# input, and where it has them: scale, zero-point).
_OPERANDS: dict[str, tuple[_Operand, ...]] = {
    "QLinearConv": (*_TWO, (2, 8)),
    "QLinearMatMul": _TWO,
    "QGemm": (*_TWO, (2, 6)),
    "QLinearAdd": _TWO,
    "QLinearMul": _TWO,
    "QLinearSigmoid": _ONE,
    "QLinearLeakyRelu": _ONE,
    "QLinearAveragePool": _ONE,
    "QLinearGlobalAveragePool": _ONE,
    "QLinearSoftmax": _ONE,
    "QLinearReduceMean": _ONE,
    "QLinearWhere": ((0, 0), (1, 1, 2, 3), (2, 4, 5, 6)),
    "MatMulInteger": ((0, 0), (1, 1)),
    "ConvInteger": ((0, 0), (1, 1)),
    "MatMulIntegerToFloat": ((0, 0), (1, 1)),
    "DynamicQuantizeMatMul": ((0, 0), (1, 1)),
    "QAttention": ((0, 0, 3, 6), (1, 1), (2, 2), (3, 5), (4, 8)),
    "MatMulNBits": ((0, 0), (1, 1), (2, 5)),
    "MatMulBnb4": ((0, 0), (1, 1)),
    "GatherBlockQuantized": ((0, 0), (1, 1)),
}


class StepKind(Enum):
    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"
    DYNAMIC = "dynamic"  # quantizes and brings the scale along
    CLIP = "clip"  # of codes, between the two
    FAKE = "fake"  # quantizes and dequantizes in one operator


@dataclass(frozen=True, eq=False)
class Step:
    """One quantizing operator on an edge, or what a quantized operator does to its operand.

    ``scale`` and ``zero_point`` are the values in the graph; None where there are none.
    """

    kind: StepKind
    node: ir.Node
    scale: ir.Value | None = None
    zero_point: ir.Value | None = None


@dataclass(frozen=True, eq=False)
class Edge:
    """What a layer, or the graph's output, reads.

    Attributes:
        reader: the layer's name; empty for an output of the graph.
        position: the input, counted as the float operator counts it.
        value: that the reader reads.
        source: behind the plumbing: a layer's output, an input of the graph, or a constant.
        steps: from the source to the reader.
    """

    reader: str
    position: int
    value: ir.Value
    source: ir.Value
    steps: tuple[Step, ...] = ()


class Network:
    """The layers of a model, the nodes they are, and the edges between them.

    Attributes:
        nodes: by the layer's name.
        made: the values that each layer makes.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.constants = constants_of(model)
        read = {one.layer.name: one for one in read_layers(model)}
        self.layers = {name: one.layer for name, one in read.items()}
        self.nodes = {name: one.node for name, one in read.items()}
        self.made = {name: one.outputs for name, one in read.items()}
        self._makers = {
            id(value): (name, index)
            for name, values in self.made.items()
            for index, value in enumerate(values)
        }

    def maker(self, value: ir.Value) -> tuple[str, int] | None:
        """Return the layer that makes a value and which output it is; None for other values."""
        return self._makers.get(id(value))

    def is_constant(self, value: ir.Value | None) -> bool:
        return self.constants.is_constant(value)

    def edge(self, layer: str, position: int) -> Edge | None:
        return self.edges[layer].get(position)

    def moving(self, layer: str) -> list[Edge]:
        """Return the edges of a layer that are not constants, by position."""
        edges = self.edges[layer].values()
        return [edge for edge in edges if not self.is_constant(edge.source)]

    @cached_property
    def edges(self) -> dict[str, dict[int, Edge]]:
        """The edges of every layer by position, constants among them."""
        return {
            name: {edge.position: edge for edge in self._edges_of(name)} for name in self.layers
        }

    @cached_property
    def readers(self) -> dict[int, list[Edge]]:
        """Who reads each value behind the plumbing, by the value's id."""
        found = defaultdict(list)
        for edges in (*self.edges.values(), dict(enumerate(self.outputs))):
            for edge in edges.values():
                found[id(edge.source)].append(edge)
        return found

    @cached_property
    def outputs(self) -> tuple[Edge, ...]:
        return tuple(self.trace("", i, value) for i, value in enumerate(self.model.graph.outputs))

    def trace(
        self, reader: str, position: int, value: ir.Value, steps: tuple[Step, ...] = ()
    ) -> Edge:
        """Follow a value back through the plumbing."""
        found = list(steps)
        source = value
        for _ in range(MAX_STEPS):
            node = source.producer()
            if node is None or self.is_constant(source):
                break
            if id(source) in self._makers:
                output = operator_named(node.op_type).output_scale
                if output is not None:
                    found.append(_step(StepKind.QUANTIZE, node, output))
                break
            step = _plumbing_step(node, found)
            following = node.inputs[0] if node.inputs else None
            if following is None or (step is None and node.op_type not in ("Identity", "Cast")):
                break
            found += [step] if step is not None else []
            source = following
        return Edge(reader, position, value, source, tuple(reversed(found)))

    def _edges_of(self, name: str) -> Iterator[Edge]:
        node = self.nodes.get(name)
        if node is None:
            return
        for position, index, *parameters in operands(node):
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None:
                continue
            steps: tuple[Step, ...] = ()
            if parameters and not self.is_constant(value):
                steps = (_step(StepKind.DEQUANTIZE, node, parameters[0]),)
            elif position == 0 and node.op_type in _DYNAMIC_OPERATORS:
                steps = (Step(StepKind.DYNAMIC, node),)
            yield self.trace(name, position, value, steps)


def operands(node: ir.Node) -> tuple[_Operand, ...]:
    """Return for each input: as the float operator counts it, the node's own, scale, zero-point."""
    return integer_operands(node.op_type, len(node.inputs))


def integer_operands(op_type: str, count: int) -> tuple[_Operand, ...]:
    """Return `operands` of an operator with so many inputs."""
    if op_type == "QLinearConcat":
        return tuple((i, at, at + 1, at + 2) for i, at in enumerate(range(2, count, 3)))
    return _OPERANDS.get(op_type) or tuple((i, i) for i in range(count))


def _step(kind: StepKind, node: ir.Node, scale: int) -> Step:
    values = [node.inputs[i] if i < len(node.inputs) else None for i in (scale, scale + 1)]
    return Step(kind, node, *values)


def _plumbing_step(node: ir.Node, behind: list[Step]) -> Step | None:
    """Return what a node of the plumbing does to its first input, None for nothing."""
    if node.domain in QONNX_DOMAINS and node.op_type in ("Quant", "IntQuant", "BipolarQuant"):
        return Step(StepKind.FAKE, node)
    if node.domain not in QDQ_DOMAINS:
        return None
    if node.op_type == "QuantizeLinear":
        return _step(StepKind.QUANTIZE, node, 1)
    if node.op_type == "DequantizeLinear":
        return _step(StepKind.DEQUANTIZE, node, 1)
    if node.op_type == "DynamicQuantizeLinear":
        return Step(StepKind.DYNAMIC, node)
    if node.op_type == "Clip" and behind and behind[-1].kind is StepKind.DEQUANTIZE:
        return Step(StepKind.CLIP, node)
    return None
