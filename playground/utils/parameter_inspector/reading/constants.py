"""What a graph computes from constants alone: folded when asked, never before.

A `ConstantTable` knows which values of a graph are constant. Each is a `Source`: a tensor of the
file, or a `Computed` record that evaluates its operator on its inputs when it is read.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from ..budgets import spend
from ..operators import QDQ_DOMAINS, STANDARD_DOMAINS
from ..quantization import ArraySource, Source
from .computed import FOLDABLE, Computed
from .custom_quantizers import ENCODERS, QUANTIZERS
from .model_file import Model, all_nodes, source_of, spell_data_type

MAX_DEPTH = 200

T = TypeVar("T")


class ConstantTable:
    """Which values of a graph are constant. Built in one sweep, without reading a tensor.

    Each value has one source, whoever asks: what is shared in the file is known to be the same.
    """

    def __init__(self, model: Model) -> None:
        self._opset = model.opset
        self._path = model.path
        self._known: dict[int, Source] = {}
        self._opaque: dict[int, tuple[str, str]] = {}
        self._stored: dict[int, Source] = {}
        self._remembered: dict[tuple[int, str], Any] = {}
        for node in _when_inputs_are_known(model, self._is_decided):
            spend(1 + len(node.inputs) + len(node.outputs))
            for value in node.outputs:
                self._add(node, value)

    @property
    def opset(self) -> int:
        """Version of the standard operators that the model imports."""
        return self._opset

    def _is_decided(self, value: ir.Value) -> bool:
        return id(value) in self._known or id(value) in self._opaque or self.is_constant(value)

    def _add(self, node: ir.Node, value: ir.Value) -> None:
        """Note what is known of a node's output."""
        if id(value) in self._known or id(value) in self._opaque:
            return
        source = self._from_node(node, value)
        if source is not None:
            self._known[id(value)] = source
            return
        inputs = [v for v in node.inputs if v is not None]
        if not inputs or not all(self.is_constant(v) or id(v) in self._opaque for v in inputs):
            return
        behind = [self._opaque[id(v)] for v in inputs if id(v) in self._opaque]
        self._opaque[id(value)] = behind[0] if behind else (node.domain, node.op_type)

    def remember(
        self, value: ir.Value, find: Callable[[ir.Value, ConstantTable, str], T], slot: str
    ) -> T:
        """Return what ``find`` finds of a value, found once for all to whom it is the same."""
        key = id(value), slot
        if key not in self._remembered:
            self._remembered[key] = find(value, self, slot)
        found: T = self._remembered[key]
        return found

    def why_opaque(self, value: ir.Value) -> tuple[str, str] | None:
        """Return domain and type of the operator that keeps a value from being computed.

        None where the value is known, or depends on an input of the model.
        """
        return self._opaque.get(id(value))

    def get(self, value: ir.Value | None) -> Source | None:
        """Return the constant that ``value`` holds, None where it is computed from the input."""
        if value is None:
            return None
        if not value.is_initializer():
            return self._known.get(id(value))
        tensor = value.const_value
        if tensor is not None and id(value) not in self._stored:
            self._stored[id(value)] = source_of(tensor, value.name or "", self._path)
        return self._stored.get(id(value))

    def is_constant(self, value: ir.Value | None) -> bool:
        return self.get(value) is not None

    def _from_node(self, node: ir.Node, value: ir.Value) -> Source | None:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
            return _constant_node(node, value, self._path)
        if not _is_foldable(node):
            return None
        inputs = tuple(self.get(v) for v in node.inputs)
        if not inputs or any(
            s is None for s, v in zip(inputs, node.inputs, strict=True) if v is not None
        ):
            return None
        depth = 1 + max((s.depth for s in inputs if isinstance(s, Computed)), default=0)
        if depth > MAX_DEPTH:
            return None
        computed = Computed(
            value.name or "",
            node.op_type,
            node.domain,
            self._opset,
            inputs,
            attribute_values(node),
            value.index() or 0,
            len(node.outputs),
            depth,
            spell_data_type(value.dtype) if value.dtype is not None else None,
            _static_shape(value),
            len({id(usage.node) for usage in value.uses()}) > 1,
        )
        computed.settle()
        return computed


def _is_foldable(node: ir.Node) -> bool:
    key = (node.domain, node.op_type)
    is_qdq = node.op_type in ("QuantizeLinear", "DequantizeLinear")
    known = node.domain in (QDQ_DOMAINS if is_qdq else STANDARD_DOMAINS)
    return (known and node.op_type in FOLDABLE) or key in QUANTIZERS or key in ENCODERS


_tables: weakref.WeakKeyDictionary[Model, ConstantTable] = weakref.WeakKeyDictionary()


def constants_of(model: Model) -> ConstantTable:
    """Return the constants of a model, one table for all who ask."""
    if model not in _tables:
        _tables[model] = ConstantTable(model)
    return _tables[model]


def _when_inputs_are_known(
    model: Model, is_decided: Callable[[ir.Value], bool]
) -> Iterator[ir.Node]:
    """Yield each node when all its inputs are decided, those that never are left out.

    Nodes may stand before what they need. Each is looked at once for each of its inputs.
    """
    nodes = list(all_nodes(model))
    waits: dict[int, int] = {}
    readers: dict[int, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        open_inputs = {id(v) for v in node.inputs if v is not None and not is_decided(v)}
        waits[id(node)] = 0 if node.op_type == "Constant" else len(open_inputs)
        for key in open_inputs:
            readers[key].append(node)
    ready = deque(node for node in nodes if not waits[id(node)])
    while ready:
        node = ready.popleft()
        yield node
        for value in node.outputs:
            for reader in readers.pop(id(value), ()) if is_decided(value) else ():
                waits[id(reader)] -= 1
                if not waits[id(reader)]:
                    ready.append(reader)


_GRAPHS = frozenset((ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))
_TENSORS = frozenset(
    (
        ir.AttributeType.TENSOR,
        ir.AttributeType.TENSORS,
        ir.AttributeType.SPARSE_TENSOR,
        ir.AttributeType.SPARSE_TENSORS,
    )
)


def attribute_values(node: ir.Node, *, with_tensors: bool = True) -> dict[str, Any]:
    """Return the node's attributes as Python values; references and subgraphs are left out."""
    # An attribute's type says what it holds. `isinstance(value, ir.TensorProtocol)`, as in
    # `as_tensor`, asks the tensor for its size, and one of an undefined type answers by raising.
    skipped = _GRAPHS if with_tensors else _GRAPHS | _TENSORS
    return {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if not attribute.is_ref() and attribute.type not in skipped
    }


def _static_shape(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape)  # type: ignore[arg-type]


def _constant_node(node: ir.Node, value: ir.Value, path: Path | None) -> Source | None:
    name = value.name or ""
    tensor = node.attributes.get("value")
    if tensor is not None and tensor.type == ir.AttributeType.TENSOR and not tensor.is_ref():
        return source_of(tensor.value, name, path)
    attributes = attribute_values(node, with_tensors=False)
    for key, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if key in attributes:
            array = np.asarray(attributes[key], dtype)
            array.flags.writeable = False
            return ArraySource(name, array, dtype.__name__)
    return None
