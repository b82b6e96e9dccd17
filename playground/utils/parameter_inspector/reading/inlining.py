"""Model-local functions written out where they are called: bounded before, named in one sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from ..budgets import spend
from ..facts import Refusal, RefusalKind
from ..quantization import RefusedError

# Nodes that calls expand to, counted through every level: more is a decompression bomb.
MAX_INLINED_NODES = 100_000
# What they take, measured as for `protobuf_fields`: a node, one of its values, an attribute, and an
# entry of its metadata, which are those of the call and of the function together.
MAX_INLINED_BYTES = 190_000_000
_NODE_BYTES, _VALUE_BYTES, _ATTRIBUTE_BYTES, _METADATA_BYTES = 1000, 640, 500, 100


@dataclass
class _Size:
    """How much a function is once everything that it calls is written out in it."""

    nodes: int = 0
    byte_count: int = 0
    calls: dict[ir.OperatorIdentifier, list[ir.Node]] = field(
        default_factory=lambda: defaultdict(list)
    )


def inline_functions(name: str, model: ir.Model) -> None:
    """Write functions out in the graph that calls them, in place.

    Raises:
        RefusedError: they call each other in a circle, or expand beyond reason.
    """
    if not model.functions:
        return
    _check_size(name, model)
    InlinePass(criteria=_UniqueNames(model.graph).prepare)(model)


def _check_size(name: str, model: ir.Model) -> None:
    sizes = {key: _own_size(function, model) for key, function in model.functions.items()}
    for key in _callees_first(name, sizes):
        _add_calls(sizes[key], sizes)
    whole = _own_size(model.graph, model)
    _add_calls(whole, sizes)
    if whole.nodes > MAX_INLINED_NODES:
        raise RefusedError(
            Refusal(
                RefusalKind.TOO_MANY_NODES, name=name, count=whole.nodes, limit=MAX_INLINED_NODES
            )
        )
    if whole.byte_count > MAX_INLINED_BYTES:
        raise RefusedError(
            Refusal(RefusalKind.INLINED_TOO_LARGE, name=name, limit=MAX_INLINED_BYTES)
        )


def _own_size(body: ir.Graph | ir.Function, model: ir.Model) -> _Size:
    """Return the size of what is no call, and the calls."""
    size = _Size()
    for node in body.all_nodes():
        spend()
        callee = node.op_identifier()
        if callee in model.functions:
            size.calls[callee].append(node)
        else:
            size.nodes += 1
            size.byte_count += _byte_count(node)
    return size


def _byte_count(node: ir.Node) -> int:
    names = len(node.name or "") + sum(len(value.name or "") for value in node.outputs)
    return (
        _NODE_BYTES
        + _VALUE_BYTES * (len(node.inputs) + len(node.outputs))
        + _ATTRIBUTE_BYTES * len(node.attributes)
        + _METADATA_BYTES * len(node.metadata_props)
        + names
    )


def _add_calls(size: _Size, sizes: dict[ir.OperatorIdentifier, _Size]) -> None:
    """Add what the calls expand to. Every node of a function gets the metadata of the call."""
    for callee, calls in size.calls.items():
        metadata = sum(len(call.metadata_props) for call in calls)
        size.nodes += len(calls) * sizes[callee].nodes
        size.byte_count += len(calls) * sizes[callee].byte_count
        size.byte_count += _METADATA_BYTES * metadata * sizes[callee].nodes


def _callees_first(
    name: str, sizes: dict[ir.OperatorIdentifier, _Size]
) -> Iterator[ir.OperatorIdentifier]:
    """Yield every function after those that it calls."""
    done: set[ir.OperatorIdentifier] = set()
    for first in sizes:
        path = [(first, iter(sizes[first].calls))] if first not in done else []
        on_path = {first}
        while path:
            key, callees = path[-1]
            callee = next((c for c in callees if c not in done), None)
            if callee is None:
                path.pop()
                on_path.discard(key)
                done.add(key)
                yield key
            elif callee in on_path:
                raise RefusedError(
                    Refusal(RefusalKind.FUNCTION_CALLS_ITSELF, name=name, operator=callee[1])
                )
            else:
                path.append((callee, iter(sizes[callee].calls)))
                on_path.add(callee)


class _UniqueNames:
    """Gives what a function makes the names that its next copy will have.

    The inliner would find the same ones by trying ``name_2``, ``name_3`` ... from the start for
    each copy, which takes minutes for a few thousand calls.
    """

    def __init__(self, graph: ir.Graph) -> None:
        nodes = list(graph.all_nodes())
        values = [*graph.inputs, *graph.initializers.values()]
        values += [value for node in nodes for value in node.outputs]
        self._node_names = _Names({node.name for node in nodes if node.name})
        self._value_names = _Names({value.name for value in values if value.name})
        self._bodies: dict[ir.Function, list[tuple[ir.Node | ir.Value, str]]] = {}

    def prepare(self, function: ir.Function) -> bool:
        """Rename the function's nodes and values. Called before each of its calls is inlined."""
        for named, wanted in self._body(function):
            spend()
            names = self._node_names if isinstance(named, ir.Node) else self._value_names
            named.name = names.take(wanted)
        return True

    def _body(self, function: ir.Function) -> list[tuple[ir.Node | ir.Value, str]]:
        """Return what gets a name, in the inliner's order, and the name it has in the file."""
        if function not in self._bodies:
            body: list[tuple[ir.Node | ir.Value, str]] = []
            for node in function.all_nodes():
                body.append((node, node.name or "node"))
                body += [(value, value.name or "val") for value in node.outputs]
            self._bodies[function] = body
        return self._bodies[function]


class _Names:
    """Names that are taken, and for each the number that the next one like it may have."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._next: dict[str, Iterator[int]] = {}

    def take(self, wanted: str) -> str:
        if wanted not in self._taken:
            self._taken.add(wanted)
            return wanted
        numbers = self._next.setdefault(wanted, count(2))
        name = next(n for n in (f"{wanted}_{i}" for i in numbers) if n not in self._taken)
        self._taken.add(name)
        return name
