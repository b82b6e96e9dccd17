"""Which tensors onnxruntime's ``quantize_static`` quantizes: it decides node by node, in order.

Source: onnxruntime 1.31, onnxruntime/quantization/registry.py, operators/*.py and qdq_quantizer.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# Where a weight and its bias stand. What else a node of these reads and makes is quantized too.
# What is quantized with a weight, and the input that is its bias.
_WEIGHTED = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "MatMul": None}
_NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")
# What they make has the scale of what they read, if that is quantized at all.
_MOVING = (
    "AveragePool", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Squeeze", "TopK",
    "Transpose", "Unsqueeze",
)  # fmt: skip
_GATHERING = ("Gather", "GatherElements")
# These quantize what they read, and what they make has its scale.
_SPLITTING = ("Pad", "Split")
REMOVABLE = ("Clip", "Relu")
_OTHERS = (
    "Add", "ArgMax", "Concat", "CumSum", "EmbedLayerNormalization", "GlobalAveragePool",
    "LeakyRelu", "Mul", "Sigmoid", "Softmax", "Where",
)  # fmt: skip
QUANTIZED_OPERATORS = frozenset(
    (*_WEIGHTED, *_NORMS, *_MOVING, *_GATHERING, *_SPLITTING, *REMOVABLE, *_OTHERS)
)


@dataclass(frozen=True)
class StaticNode:
    """A node of the main graph. ``index`` is its place there."""

    index: int
    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def moves(self) -> bool:
        """Whether what it makes has the scale of its first input."""
        return self.op_type in (*_MOVING, *_GATHERING, *_SPLITTING)

    @property
    def waits(self) -> bool:
        """Whether it is quantized only where its first input is already."""
        return self.op_type in (*_MOVING, *_GATHERING, *REMOVABLE, "Where")

    def list_marked(self) -> tuple[str, ...]:
        """Return what it quantizes of its own accord, biases left aside.

        Whatever the operator is, where it is among those to quantize.
        """
        if self.waits:
            return ()
        if self.op_type in _SPLITTING:
            return tuple(filter(None, self.inputs[:1]))
        bias = 2 if self.op_type in _NORMS else _WEIGHTED.get(self.op_type)
        read = [name for i, name in enumerate(self.inputs) if i != bias]
        read = read[:2] if self.op_type in _NORMS else read
        return tuple(filter(None, (*read, *self.outputs)))


@dataclass(frozen=True, eq=False)
class StaticGraph:
    """A float main graph as the quantizer sees it.

    Attributes:
        floats: the tensors of a type that it quantizes, constants among them.
        constants: the initializers.
        ends: inputs and outputs of the graph.
        inputs: name -> data type as numpy spells it.
        rows: of the samples that one run takes: the first axis of the first input, if it is fixed.
        readers: how many nodes read a tensor.
    """

    nodes: tuple[StaticNode, ...]
    floats: frozenset[str]
    constants: frozenset[str]
    ends: frozenset[str]
    inputs: Mapping[str, str]
    rows: int
    readers: Mapping[str, int]

    def can_drop(self, node: StaticNode) -> bool:
        """Return whether a Relu or Clip goes where what it reads would be quantized."""
        read = node.inputs[0]
        return self.readers.get(read) == 1 and read not in self.ends


@dataclass(frozen=True, eq=False)
class Marks:
    """What is quantized.

    Attributes:
        scaled_by: tensor -> the one whose scale it has, itself where it has its own.
        dropped: the Relu and Clip nodes that are left out, for what follows clips.
    """

    scaled_by: Mapping[str, str]
    dropped: tuple[StaticNode, ...]


def mark(
    graph: StaticGraph,
    excluded: Collection[int] = (),
    *,
    operators: Collection[str] = QUANTIZED_OPERATORS,
    keeps_removable: bool = False,
) -> Marks:
    """Return what is quantized without the excluded nodes.

    Args:
        excluded: indices.
        operators: ``op_types_to_quantize``.
        keeps_removable: ``QDQKeepRemovableActivations``, or symmetric activations.
    """
    scaled: dict[str, str] = {}
    dropped: list[StaticNode] = []
    for node in graph.nodes:
        if node.op_type not in operators or node.index in excluded:
            continue
        for name in node.list_marked():
            if name in graph.floats:
                scaled.setdefault(name, name)
        if node.op_type in REMOVABLE:
            if node.inputs[0] in scaled:
                if not keeps_removable and graph.can_drop(node):
                    scaled.pop(node.inputs[0])
                    dropped.append(node)
                scaled.setdefault(node.outputs[0], node.outputs[0])
        elif node.op_type == "Where":
            if all(name in scaled for name in node.inputs[1:3]):
                scaled.setdefault(node.outputs[0], node.outputs[0])
        elif node.moves:
            _mark_moved(graph, node, scaled)
    return Marks({name: _find_own(scaled, name) for name in scaled}, tuple(dropped))


def _mark_moved(graph: StaticGraph, node: StaticNode, scaled: dict[str, str]) -> None:
    read = node.inputs[0]
    if node.op_type in _GATHERING and read in graph.constants and read in graph.floats:
        scaled.setdefault(read, read)
    if read in scaled:
        made = node.outputs if node.op_type == "Split" else node.outputs[:1]
        scaled.update({name: read for name in made if name in graph.floats})


def _find_own(scaled: Mapping[str, str], name: str) -> str:
    seen: Sequence[str] = []
    while scaled.get(name, name) != name and name not in seen:
        seen, name = [*seen, name], scaled[name]
    return name
