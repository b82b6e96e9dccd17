"""A main graph while its nodes are moved about: who makes and who reads each tensor, kept up.

Nodes of bodies read the tensors of the main graph too; only its own nodes are taken out.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..operators import MICROSOFT
from ..running.free_names import FreeNames
from ..running.switched_model import all_names, all_nodes
from ..running.whole_model import add_domain

Slot = tuple[onnx.NodeProto, int]


class EditedGraph:
    """The main graph of a model that is being edited; `finish` writes the nodes back.

    Attributes:
        tensors: the initializers by name.
        made_by: the node of the main graph that makes a tensor.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.graph = proto, proto.graph
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.made_by: dict[str, onnx.NodeProto] = {}
        self._nodes: dict[int, onnx.NodeProto] = {}
        self._reads: dict[str, list[Slot]] = defaultdict(list)
        self._free_names = FreeNames(all_names(self.graph))
        self._given = {value.name for value in self.graph.input}
        self._ends = {value.name for value in self.graph.output}
        self._changed: set[str] = set()
        self._origins: dict[int, str] = {}
        self._now: dict[str, onnx.NodeProto] = {}
        for node in list(self.graph.node):
            self._enter(node)
            if node.output:
                self._remember(node, node.output[0])
        self._dead = {id(node) for node in self._unread_nodes()}
        self._unused = {name for name in self.tensors if not self.is_used(name)}

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        return tuple(self._nodes.values())

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        versions = [o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")]
        return int(versions[0]) if versions else 1

    def readers(self, name: str) -> list[Slot]:
        """Return the nodes that read a tensor, bodies' too, and which input it is."""
        return list(self._reads.get(name, ()))

    def is_end(self, name: str) -> bool:
        return name in self._ends

    def is_used(self, name: str) -> bool:
        return name in self._ends or bool(self._reads.get(name))

    def is_constant(self, name: str) -> bool:
        """Whether a name is an initializer that cannot be given from outside."""
        return name in self.tensors and name not in self._given

    def constant(self, name: str) -> np.ndarray | None:
        """Return what an initializer or a Constant node holds; None for anything else."""
        if name in self.tensors:
            return numpy_helper.to_array(self.tensors[name])
        node = self.made_by.get(name)
        if node is None or node.op_type != "Constant":
            return None
        for attribute in node.attribute:
            if attribute.name == "value":
                return numpy_helper.to_array(attribute.t)
            if attribute.name in ("value_float", "value_int"):
                number = helper.get_attribute_value(attribute)
                is_float = attribute.name == "value_float"
                return np.asarray(number, np.float32 if is_float else np.int64)
        return None

    # ------------------------------------------------- names and constants

    def new_name(self, stem: str) -> str:
        return self._free_names.new(stem)

    def add_constant(self, array: np.ndarray, stem: str) -> str:
        name = self.new_name(stem)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        self.tensors[name] = self.graph.initializer[-1]
        return name

    def put(self, slots: Sequence[Slot], array: np.ndarray, stem: str) -> None:
        """Give the same constant to all slots.

        Under the name of the one that they read if nobody else reads it, else under a new one.
        """
        old = {_input(*slot) for slot in slots}
        name = next(iter(old)) if len(old) == 1 else ""
        if name and self.is_constant(name) and len(self._reads[name]) == len(set(_keys(slots))):
            self.tensors[name].CopyFrom(numpy_helper.from_array(array, name))
            self._changed.add(name)
            return
        new = self.add_constant(array, f"{name or stem}_changed")
        for node, index in slots:
            self.set_input(node, index, new)

    # ------------------------------------------------- nodes

    def add(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        name: str = "",
        attributes: Iterable[onnx.AttributeProto] = (),
    ) -> onnx.NodeProto:
        node = helper.make_node(op_type, inputs, outputs, domain=domain)
        node.name = name or self.new_name(f"{outputs[0]}_{op_type}")
        node.attribute.extend(attributes)
        add_domain(self.proto, domain)
        self._enter(node)
        self._changed.update(outputs)
        return node

    def remove(self, node: onnx.NodeProto) -> None:
        del self._nodes[id(node)]
        for one in all_nodes([node]):
            for index, name in enumerate(one.input):
                self._unread(one, index, name)
        self._changed.update(node.output)
        for name in node.output:
            if self.made_by.get(name) is node:
                del self.made_by[name]

    def set_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Let a node read another tensor; an empty name leaves an input out."""
        node.input.extend([""] * (index + 1 - len(node.input)))
        self._unread(node, index, node.input[index])
        node.input[index] = name
        self._changed.update(node.output)
        if name:
            self._reads[name].append((node, index))

    def set_output(self, node: onnx.NodeProto, index: int, name: str) -> None:
        old = node.output[index]
        if self.made_by.get(old) is node:
            del self.made_by[old]
        node.output[index] = name
        self.made_by[name] = node
        self._changed.update((old, name))

    def origin(self, node: onnx.NodeProto) -> str:
        """Return the first output that a node had in the file, or the one that it came from."""
        return self._origins.get(id(node), node.output[0] if node.output else "")

    def node_of(self, origin: str) -> onnx.NodeProto | None:
        """Return the node that made a tensor in the file, or what became of it."""
        return self._now.get(origin)

    def become(self, origin: str, new: onnx.NodeProto) -> None:
        """Let a node stand for the one that made a tensor in the file."""
        self._remember(new, origin)

    def _remember(self, node: onnx.NodeProto, origin: str) -> None:
        self._origins[id(node)] = origin
        self._now[origin] = node

    def bypass(self, node: onnx.NodeProto, source: str) -> str:
        """Take a node out; who read its first output reads ``source``.

        Returns:
            What ``source`` is called then: an output of the graph keeps its name.
        """
        old = node.output[0]
        self.remove(node)
        if old in self._ends:
            source = self._end_with(old, source)
        for reader, index in self.readers(old):
            self.set_input(reader, index, source)
        return source

    def _end_with(self, end: str, source: str) -> str:
        """Let a tensor be an output of the graph, whose name it takes over where it can."""
        maker = self.made_by.get(source)
        if maker is None or source in self._ends:
            self.add("Identity", [source], [end])
            return source
        self.set_output(maker, list(maker.output).index(source), end)
        for node, at in self.readers(source):
            self.set_input(node, at, end)
        return end

    def _unread(self, node: onnx.NodeProto, index: int, name: str) -> None:
        if name:
            self._reads[name] = [
                (n, i) for n, i in self._reads[name] if n is not node or i != index
            ]

    def _enter(self, node: onnx.NodeProto) -> None:
        self._nodes[id(node)] = node
        for name in node.output:
            if name:
                self.made_by[name] = node
                self._free_names.take(name)
        for one in all_nodes([node]):
            for index, name in enumerate(one.input):
                if name:
                    self._reads[name].append((one, index))

    # ------------------------------------------------- putting it together

    def finish(self) -> None:
        """Write the nodes back in the order of computing, without what nobody reads any more."""
        while dead := [n for n in self._unread_nodes() if id(n) not in self._dead]:
            for node in dead:
                self.remove(node)
        ordered = [_copy(node) for node in self._in_order()]
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        for tensor in list(self.graph.initializer):
            if not self.is_used(tensor.name) and tensor.name not in self._unused:
                self.graph.initializer.remove(tensor)
        self._forget_types()
        if MICROSOFT in {node.domain for node in all_nodes(self.graph.node)}:
            add_domain(self.proto, MICROSOFT)

    def _unread_nodes(self) -> Iterator[onnx.NodeProto]:
        for node in self.nodes:
            if not any(self.is_used(name) for name in node.output if name):
                yield node

    def _in_order(self) -> Iterator[onnx.NodeProto]:
        """Yield nodes after those whose outputs they read, else as they were."""
        place = {key: i for i, key in enumerate(self._nodes)}
        waits: dict[int, int] = {}
        followers: dict[int, list[int]] = defaultdict(list)
        for key, node in self._nodes.items():
            read = {name for one in all_nodes([node]) for name in one.input if name}
            makers = {id(m) for name in read if (m := self.made_by.get(name)) is not None}
            makers.discard(key)
            waits[key] = len(makers)
            for maker in makers:
                followers[maker].append(key)
        ready = [(place[key], key) for key, count in waits.items() if not count]
        heapq.heapify(ready)
        while ready:
            _, key = heapq.heappop(ready)
            yield self._nodes[key]
            for follower in followers[key]:
                waits[follower] -= 1
                if not waits[follower]:
                    heapq.heappush(ready, (place[follower], follower))

    def _forget_types(self) -> None:
        """Drop what was said of the type of tensors that are another now, or gone."""
        for value in list(self.graph.value_info):
            if value.name in self._changed:
                self.graph.value_info.remove(value)


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _keys(slots: Iterable[Slot]) -> Iterator[tuple[int, int]]:
    return ((id(node), index) for node, index in slots)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    return onnx.NodeProto.FromString(node.SerializeToString())
