"""Tables that are looked up as codes, and scaled afterwards: Gather and its relatives.

What follows the look-up does the same to every row, so it is what makes the whole table real: each
operator is put behind the table instead, and what was looked up with the same indices stands whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from ..budgets import spend
from ..operators import MICROSOFT, QDQ_DOMAINS, STANDARD_DOMAINS
from ..quantization import ArraySource, Source, create_quantization
from .arithmetic import find_spelled_out, read_spelled_out
from .computed import Computed
from .constants import ConstantTable, attribute_values
from .decoders import Stored
from .following import MAX_STEPS, MOVES, OutputChain

# Between the look-up of a scale and its product.
MOST_MOVES = 20

GATHERS = ("Gather", "GatherND", "GatherElements")


def read_gathered(node: ir.Node, constants: ConstantTable) -> tuple[Stored, OutputChain] | None:
    """Return a table of codes with the quantization that follows, and the nodes that spell it out.

    None where no scale follows, or rows cannot be told from columns.

    Raises:
        NotUnderstoodError: a DequantizeLinear follows whose scale does not fit.
    """
    codes = constants.get(node.inputs[0]) if node.inputs else None
    lookup = _Lookup.of(node, constants)
    if codes is None or lookup is None:
        return None
    table, value, nodes = codes, node.outputs[0], []
    for _ in range(MAX_STEPS):
        consumers = [usage.node for usage in value.uses()]
        reader = _dequantizing_reader(value, consumers)
        if reader is not None:
            return _dequantized(table, *reader, lookup)
        if len(consumers) != 1 or value.is_graph_output():
            return None
        (consumer,) = consumers
        if consumer.domain not in STANDARD_DOMAINS:
            return None
        step = lookup.behind_the_table(table, consumer, value)
        if step is None and consumer.op_type in MOVES:
            lookup, step = replace(lookup, row_rank=None), (table, [])
        if step is None:
            return None
        table, parameters = step
        nodes += [consumer, *parameters]
        value = consumer.outputs[0]
        if consumer.op_type == "Mul":
            return _spelled_out(table, value, nodes, lookup)
    return None


def _spelled_out(
    table: Source, value: ir.Value, nodes: list[ir.Node], lookup: _Lookup
) -> tuple[Stored, OutputChain] | None:
    """Return a table that a Mul makes real, with the Reshape that may undo its groups."""
    consumers = [usage.node for usage in value.uses()]
    if len(consumers) == 1 and consumers[0].op_type == "Reshape" and not value.is_graph_output():
        joined = lookup.behind_the_table(table, consumers[0], value)
        if joined is not None:
            table, value, nodes = joined[0], consumers[0].outputs[0], [*nodes, consumers[0]]
    found = find_spelled_out(table)
    if found is None:
        return None
    steps = [step.op_type for step in found.steps]
    stored = read_spelled_out(found, storage=" → ".join([lookup.op_type, *steps]))
    return None if stored is None else (stored, OutputChain(nodes=tuple(nodes), output=value))


def _dequantizing_reader(value: ir.Value, consumers: list[ir.Node]) -> tuple[ir.Node, int] | None:
    """Return what dequantizes a value, and which of its inputs the scale is."""
    for consumer in consumers:
        if consumer.op_type == "DequantizeLinear" and consumer.domain in QDQ_DOMAINS:
            return (consumer, 1) if consumer.inputs[0] is value else None
        if consumer.op_type in ("QLinearAdd", "QLinearMul") and consumer.domain == MICROSOFT:
            return consumer, 1 if consumer.inputs[0] is value else 4
    return None


def _dequantized(
    table: Source, reader: ir.Node, index: int, lookup: _Lookup
) -> tuple[Stored, OutputChain] | None:
    attributes = attribute_values(reader)
    found = [lookup.find_parameter(value) for value in reader.inputs[index : index + 2]]
    sources = [None if one is None else one.source for one in (*found, None)]
    scale, zero_point = sources[:2]
    if scale is None or (lookup.row_rank is None and math.prod(scale.shape) != 1):
        return None
    quantization = create_quantization(
        table,
        scale,
        zero_point,
        axis=lookup.table_axis(int(attributes.get("axis", 1))),
        block_size=int(attributes.get("block_size", 0)),
    )
    nodes = tuple(node for one in found if one is not None for node in one.nodes)
    stored = Stored(f"{lookup.op_type} → {reader.op_type}", table, quantization)
    return stored, OutputChain(nodes=nodes)


@dataclass(frozen=True, eq=False)
class _Parameter:
    """A scale or zero-point of the table, and the nodes that look it up; none for a constant."""

    source: Source
    nodes: tuple[ir.Node, ...] = ()


@dataclass(frozen=True, eq=False)
class _Lookup:
    """A look-up by rows, and how its result stands to the table.

    Attributes:
        axis: of the table along which is looked up.
        index: what is looked up; a scale that is looked up with it belongs to the same rows.
        index_rank: axes of the result that stand for ``axis``.
        row_rank: axes of the result behind those; None where rows are taken apart.
    """

    op_type: str
    attributes: dict[str, Any]
    axis: int
    index: ir.Value
    index_rank: int
    row_rank: int | None
    constants: ConstantTable

    @classmethod
    def of(cls, node: ir.Node, constants: ConstantTable) -> _Lookup | None:
        table, index = (
            constants.get(node.inputs[0]),
            node.inputs[1] if len(node.inputs) > 1 else None,
        )
        if table is None or index is None or not table.shape:
            return None
        attributes, rank = attribute_values(node), len(table.shape)
        axis = int(attributes.get("axis", 0)) % rank if node.op_type != "GatherND" else 0
        index_rank, row_rank = _rank(index), rank - axis - 1
        if node.op_type == "GatherElements":
            index_rank = 1
        whole_rows = True
        if node.op_type == "GatherND":
            index_rank = max(1, index_rank - 1)
            by_row = _last_size(index, constants) == 1
            whole_rows = by_row and not attributes.get("batch_dims", 0)
        kept = row_rank if whole_rows else None
        return cls(node.op_type, attributes, axis, index, index_rank, kept, constants)

    def table_axis(self, axis: int) -> int:
        """Return an axis of the result as it counts in the table."""
        return axis - (self.index_rank - 1) if axis > self.axis else axis

    def find_parameter(self, value: ir.Value | None, steps: int = MOST_MOVES) -> _Parameter | None:
        """Return a constant, or the whole of what is looked up with the same indices."""
        source = self.constants.get(value)
        if value is None or source is not None:
            return None if source is None else _Parameter(source)
        node = value.producer()
        if node is None or not node.inputs or node.domain not in STANDARD_DOMAINS or not steps:
            return None
        if self._is_same_lookup(node):
            whole = self.constants.get(node.inputs[0])
            return None if whole is None else _Parameter(whole, (node,))
        inner = self.find_parameter(node.inputs[0], steps - 1)
        made = self._moved(inner.source, node) if inner is not None and inner.nodes else None
        return None if made is None or inner is None else _Parameter(made, (node, *inner.nodes))

    def _is_same_lookup(self, node: ir.Node) -> bool:
        if node.op_type != self.op_type or len(node.inputs) < 2:
            return False
        if not _is_same(node.inputs[1], self.index):
            return False
        own = attribute_values(node)
        return all(own.get(k, 0) == self.attributes.get(k, 0) for k in ("axis", "batch_dims"))

    def behind_the_table(
        self, table: Source, node: ir.Node, value: ir.Value
    ) -> tuple[Source, list[ir.Node]] | None:
        """Return the table after what a node does to rows of it, and the nodes of its parameter."""
        if node.op_type in ("Cast", "Identity") or node.op_type in MOVES:
            moved = self._moved(table, node) if node.inputs[0] is value else None
            return None if moved is None else (moved, [])
        if node.op_type not in ("Mul", "Sub", "Add"):
            return None
        left = node.inputs[0] is value
        found = self.find_parameter(node.inputs[1 if left else 0])
        if found is None:
            return None
        aligned = found.source if found.nodes else self._aligned(found.source, table)
        if aligned is None or (found.nodes and len(_shape(found.source)) != len(_shape(table))):
            return None
        inputs = (table, aligned) if left else (aligned, table)
        return self._made(node, inputs), list(found.nodes)

    def _aligned(self, source: Source, table: Source) -> Source | None:
        """Return a constant as it stands against the table: the indices take one axis there."""
        if math.prod(source.shape) == 1:
            return ArraySource(source.name, source.read().reshape(()), source.data_type)
        if self.row_rank is None:
            return None
        behind = len(_shape(table)) - self.axis - 1
        ahead = source.shape[: max(0, len(source.shape) - behind)]
        if self.op_type != "GatherElements" and self.index_rank > 1:
            if any(d != 1 for d in ahead):
                return None
            shape = source.shape[len(ahead) :]
            return ArraySource(source.name, source.read().reshape(shape), source.data_type)
        along = ahead[-1] if ahead else 1  # of a few rows, one number each would be of no table
        return source if along == 1 else None

    def _moved(self, source: Source, node: ir.Node) -> Source | None:
        """Return what a Cast, or a layout operator that keeps rows whole, makes of all rows."""
        if node.op_type in ("Cast", "Identity"):
            return self._made(node, (source,))
        if node.op_type == "Transpose" and _keeps_order(node):
            return source
        shape = _shape(source)
        if self.row_rank is None or self.axis != 0 or self.op_type == "GatherElements":
            return None
        argument = self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if node.op_type == "Reshape" and argument is not None:
            row = _row_of(argument.read().reshape(-1).tolist(), math.prod(shape[1:]))
        elif node.op_type in ("Unsqueeze", "Squeeze"):
            row = self._row_with_axes(node, argument, shape)
        else:
            row = None
        if row is None:
            return None
        if (shape[0], *row) == shape:
            return source
        target = ArraySource("shape of a row", np.array([shape[0], *row], np.int64), "int64")
        return self._made(node, (source, target), "Reshape")

    def _row_with_axes(
        self, node: ir.Node, argument: Source | None, shape: tuple[int, ...]
    ) -> list[int] | None:
        given = (
            attribute_values(node).get("axes") if argument is None else argument.read().reshape(-1)
        )
        if given is None:
            return None
        axes = [int(a) if a < 0 else int(a) - (self.index_rank - 1) for a in given]
        change = np.expand_dims if node.op_type == "Unsqueeze" else np.squeeze
        try:
            made = change(np.broadcast_to(0, shape), tuple(axes)).shape
        except ValueError:
            return None
        return list(made[1:]) if made[:1] == shape[:1] else None

    def _made(
        self, node: ir.Node, inputs: tuple[Source, ...], op_type: str | None = None
    ) -> Computed:
        depth = 1 + max((s.depth for s in inputs if isinstance(s, Computed)), default=0)
        attributes = attribute_values(node) if op_type is None else {}
        name, opset = node.outputs[0].name or "", self.constants.opset
        return Computed(
            name, op_type or node.op_type, "", opset, inputs, attributes, 0, 1, depth, None, None
        )


def _keeps_order(transpose: ir.Node) -> bool:
    permutation = attribute_values(transpose).get("perm")
    return permutation is not None and list(permutation) == list(range(len(permutation)))


def _is_same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two values are the same, or made by the same operators of the same values."""
    waiting, seen = [(one, other)], set[tuple[int, int]]()
    while waiting:
        one, other = waiting.pop()
        key = id(one), id(other)
        if one is other or key in seen:
            continue
        seen.add(key)
        spend()
        if one is None or other is None or len(seen) > MAX_STEPS:
            return False
        first, second = one.producer(), other.producer()
        if first is None or second is None or not first.inputs or one.index() != other.index():
            return False
        kinds = [(node.op_type, node.domain, len(node.inputs)) for node in (first, second)]
        if kinds[0] != kinds[1] or attribute_values(first) != attribute_values(second):
            return False
        waiting += zip(first.inputs, second.inputs, strict=True)
    return True


def _last_size(
    value: ir.Value | None, constants: ConstantTable, steps: int = MOST_MOVES
) -> int | None:
    """Return the length of the last axis of indices; None where it is not known."""
    spend()
    node = value.producer() if value is not None else None
    if value is not None and value.shape:
        last = value.shape[-1]
        return last if isinstance(last, int) else None
    if node is None or not node.inputs or not steps:
        return None
    attributes = attribute_values(node)
    if node.op_type == "Concat" and attributes.get("axis") == -1:
        sizes = [_last_size(one, constants, steps // 4) for one in node.inputs]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    axes = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type == "Unsqueeze" and axes is not None and -1 in axes.read():
        return 1
    return (
        _last_size(node.inputs[0], constants, steps - 1)
        if node.op_type in ("Identity", "Cast")
        else None
    )


def _rank(index: ir.Value) -> int:
    return len(index.shape) if index.shape is not None else 1


def _row_of(shape: list[int], elements: int) -> list[int] | None:
    """Return the last axes of a shape that hold one row of so many elements."""
    for first in range(len(shape) - 1, 0, -1):
        row = shape[first:]
        if min(row) > 0 and math.prod(row) == elements:
            return row
    return None


def _shape(source: Source) -> tuple[int, ...]:
    """Return the shape of a table, or of a parameter, behind what was put behind it."""
    while isinstance(source, Computed):
        if source.op_type == "Reshape" and source.inputs[1] is not None:
            return tuple(int(d) for d in source.inputs[1].read())
        if source.carrier is None:
            break
        source = source.carrier
    return source.shape
