"""The layers that have no weight, paired by where they stand between those that do.

From each sure pair the walk goes to the layers that make its inputs, and to those that read its
outputs. Names decide only between layers that stand in the same place.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import onnx_ir as ir

from ..facts import Evidence
from ..operators import operator_named
from ..reading.edges import Edge, Network
from ..reading.model_file import Model
from ..records import Layer, LayerPair, Pairing
from .base_names import base_name

# One of the two graphs may have dropped, added or fused these.
_PASSABLE = frozenset(
    "Cast Identity Dropout Relu Clip LeakyRelu Sigmoid Tanh HardSigmoid HardSwish PRelu Elu Gelu "
    "BatchNormalization Reshape Transpose Squeeze Unsqueeze Flatten".split()
)
# With a constant operand, these are biases and factors that may be fused; with two tensors, not.
_BINARY = frozenset(("Add", "Sub", "Mul", "Div"))
MAX_PASSED = 8

_End = TypeVar("_End", Edge, ir.Value)


def pair_by_structure(reference: Network, variant: Network, pairing: Pairing) -> Pairing:
    """Return a pairing with the layers that have no weight: pairs by weight stay as they are.

    What was paired by name alone stays where the structure agrees or says nothing.
    """
    walk = Walk(reference, variant)
    for pair in pairing.pairs:
        if pair.score is not None:
            walk.add(pair.original, pair.variant)
    walk.start_at_ends()
    walk.run()
    by_structure = set(walk.partner)
    by_weight = {pair.original: pair for pair in pairing.pairs if pair.score is not None}
    for pair in pairing.pairs:
        if pair.score is None and walk.allows(pair.original, pair.variant):
            walk.add(pair.original, pair.variant)
            walk.run()
    pairs = [
        by_weight.get(left)
        or LayerPair(
            left, right, Evidence.STRUCTURE if left in by_structure else Evidence.NAME, None
        )
        for left, right in walk.partner.items()
    ]
    pairs.sort(key=lambda pair: reference.layers[pair.original].index)
    return Pairing(
        tuple(pairs),
        tuple(n for n in pairing.unpaired_original if n not in walk.partner),
        tuple(n for n in pairing.unpaired_variant if n not in walk.owner),
        pairing.folded,
    )


def extend_by_structure(reference: Model, variant: Model, pairing: Pairing) -> Pairing:
    """Return `pair_by_structure` of two models."""
    return pair_by_structure(Network(reference), Network(variant), pairing)


def family(layer: Layer) -> str:
    """Return what an operator computes, whatever its form."""
    return operator_named(layer.op_type.removeprefix("QLinear")).family


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two graphs, as the walk sees it."""

    network: Network

    def sort(self, name: str) -> tuple[str, int]:
        """Return what two layers must have in common to be the same one."""
        found = family(self.network.layers[name])
        return found, len(self.network.moving(name)) if found in _BINARY else 0

    def is_passable(self, name: str) -> bool:
        found, moving = self.sort(name)
        return found in _PASSABLE or (found in _BINARY and moving == 1)

    def behind(self, name: str) -> ir.Value | None:
        """Return what the one tensor that a passable layer reads comes from."""
        edges = self.network.moving(name)
        return edges[0].source if edges else None

    def bases(self, name: str) -> frozenset[str]:
        layer = self.network.layers[name]
        return frozenset(base_name(n) for n in (layer.node_name, *layer.output_names[:1]) if n)


class Walk:
    """The pairs found so far, and the places that are still to be looked at.

    ``partner`` leads from layers of the reference to those of the variant, ``owner`` back.
    """

    def __init__(self, reference: Network, variant: Network) -> None:
        self.left, self.right = _Side(reference), _Side(variant)
        self.partner: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self._makers: deque[tuple[str, str]] = deque()
        self._readers: deque[tuple[ir.Value, ir.Value]] = deque()
        self._open: deque[tuple[str, str]] = deque()
        self._ambiguous: list[tuple[ir.Value, ir.Value]] = []

    def add(self, left: str, right: str) -> bool:
        if left in self.partner or right in self.owner:
            return False
        self.partner[left], self.owner[right] = right, left
        self._makers.append((left, right))
        return True

    def start_at_ends(self) -> None:
        ours, theirs = self.left.network, self.right.network
        self._readers += match_inputs(ours, theirs)
        for a, b in match_ends(ours.outputs, theirs.outputs):
            self._pair_makers(a.source, b.source)

    def run(self) -> None:
        """Look at makers first: an input has one maker, an output many readers."""
        while True:
            if self._makers:
                pair = self._makers.popleft()
                if self._is_open(*pair):
                    self._open.append(pair)
                    self._readers += self._outputs_of(*pair)
                else:
                    self._look_back(*pair)
            elif self._readers:
                self._look_on(*self._readers.popleft(), guess=False)
            elif self._open:
                self._look_back(*self._open.popleft())
            elif self._ambiguous:
                waiting, self._ambiguous = self._ambiguous, []
                for x, y in waiting:
                    self._look_on(x, y, guess=True)
                self._ambiguous.clear()
            else:
                return

    def allows(self, left: str, right: str) -> bool:
        """Whether nothing that is known of the neighbours speaks against a pair."""
        if left in self.partner or right in self.owner:
            return False
        if self.left.sort(left) != self.right.sort(right):
            return False
        return all(self._agree(a.source, b.source) for a, b in self.common_edges(left, right))

    def _agree(self, x: ir.Value, y: ir.Value) -> bool:
        one, other = self.pass_back(x, y)
        known = one in self.partner or other in self.owner
        return not known or self.partner.get(one or "") == other

    # ------------------------------------------------- from a layer to those that make its inputs

    def _look_back(self, left: str, right: str) -> None:
        for a, b in self.common_edges(left, right):
            self._pair_makers(a.source, b.source)
        ours, theirs = self.left.network.nodes[left], self.right.network.nodes[right]
        if len(ours.outputs) == len(theirs.outputs) or len(ours.outputs) == 1:
            self._readers += self._outputs_of(left, right)
        self._enter_bodies(ours, theirs)

    def _outputs_of(self, left: str, right: str) -> Iterator[tuple[ir.Value, ir.Value]]:
        ours, theirs = self.left.network.made[left], self.right.network.made[right]
        yield from zip(ours, theirs, strict=False)

    def common_edges(self, left: str, right: str) -> Iterator[tuple[Edge, Edge]]:
        ours, theirs = self.left.network, self.right.network
        moving = {edge.position: edge for edge in theirs.moving(right)}
        edges = ours.moving(left)
        if len(edges) == len(moving) == 1:
            yield edges[0], next(iter(moving.values()))
            return
        if len(edges) == len(moving) == 2 and family(ours.layers[left]) in ("Add", "Mul"):
            yield from self._operands(edges, list(moving.values()))
            return
        for edge in edges:
            if edge.position in moving:
                yield edge, moving[edge.position]

    def _operands(self, ours: list[Edge], theirs: list[Edge]) -> Iterator[tuple[Edge, Edge]]:
        """Yield the operands of a sum or product in the order in which they correspond."""

        crossed = self._fit(ours[0], theirs[1]) + self._fit(ours[1], theirs[0])
        straight = self._fit(ours[0], theirs[0]) + self._fit(ours[1], theirs[1])
        yield from zip(ours, theirs[::-1] if crossed > straight else theirs, strict=True)

    def _fit(self, ours: Edge, theirs: Edge) -> int:
        one, other = self.pass_back(ours.source, theirs.source)
        return int(one is not None and self.partner.get(one) == other)

    def _is_open(self, left: str, right: str) -> bool:
        """Whether the operands of a sum or product could also correspond the other way round."""
        ours, theirs = self.left.network.moving(left), self.right.network.moving(right)
        if family(self.left.network.layers[left]) not in ("Add", "Mul"):
            return False
        if len(ours) != 2 or len(theirs) != 2:
            return False
        ways = [(a, b) for a in ours for b in theirs]
        if any(self._fit(a, b) for a, b in ways):
            return False
        return all(self._could_fit(a, b) for a, b in ways)

    def _could_fit(self, ours: Edge, theirs: Edge) -> bool:
        one, other = self.pass_back(ours.source, theirs.source)
        return one is not None and other is not None and self._can_be(one, other)

    def _pair_makers(self, x: ir.Value, y: ir.Value) -> None:
        one, other = self.pass_back(x, y)
        if one is not None and other is not None and self.left.sort(one) == self.right.sort(other):
            self.add(one, other)

    def pass_back(self, x: ir.Value, y: ir.Value) -> tuple[str | None, str | None]:
        """Return the makers of two values that correspond, without what only one graph has."""
        for _ in range(MAX_PASSED):
            one, other = self.left.network.maker(x), self.right.network.maker(y)
            if one is not None and other is not None and self._can_be(one[0], other[0]):
                return (one[0], other[0]) if one[1] == other[1] else (None, None)
            left = one is not None and one[0] not in self.partner and self.left.is_passable(one[0])
            right = other is not None and other[0] not in self.owner
            right = right and self.right.is_passable(other[0])  # type: ignore[index]
            if left:
                following = self.left.behind(one[0])  # type: ignore[index]
                if following is None:
                    break
                x = following
            elif right:
                following = self.right.behind(other[0])  # type: ignore[index]
                if following is None:
                    break
                y = following
            else:
                return one and one[0], other and other[0]
        return None, None

    def _can_be(self, left: str, right: str) -> bool:
        if left in self.partner or right in self.owner:
            return self.partner.get(left) == right
        return self.left.sort(left) == self.right.sort(right)

    def _enter_bodies(self, ours: ir.Node, theirs: ir.Node) -> None:
        for name, attribute in ours.attributes.items():
            other = theirs.attributes.get(name)
            if (
                attribute.type != ir.AttributeType.GRAPH
                or other is None
                or other.type != attribute.type
            ):
                continue
            inner, outer = attribute.as_graph(), other.as_graph()
            self._readers += zip(inner.inputs, outer.inputs, strict=False)
            for x, y in zip(inner.outputs, outer.outputs, strict=False):
                ends = self.left.network.trace("", 0, x), self.right.network.trace("", 0, y)
                self._pair_makers(ends[0].source, ends[1].source)

    # ------------------------------------------------- from a layer to those that read its outputs

    def _look_on(self, x: ir.Value, y: ir.Value, *, guess: bool) -> None:
        ours, theirs = self._readers_of(x, y)
        for place, left in ours.items():
            right = theirs.get(place, [])
            if len(left) == len(right) == 1:
                self.add(left[0], right[0])
            elif left and right:
                self._choose(left, right, guess and len(left) == len(right))
                if not guess:
                    self._ambiguous.append((x, y))

    def _choose(self, left: Sequence[str], right: Sequence[str], by_order: bool) -> None:
        """Pair layers that stand in the same place: by name, then by order where that is asked."""
        named = defaultdict(set)
        for name in right:
            for base in self.right.bases(name):
                named[base].add(name)
        for name in left:
            found = set[str]().union(*(named.get(base, ()) for base in self.left.bases(name)))
            if len(found) == 1:
                self.add(name, found.pop())
        if by_order:
            rest = (
                [n for n in left if n not in self.partner],
                [n for n in right if n not in self.owner],
            )
            for one, other in zip(*rest, strict=False):
                self.add(one, other)

    def _readers_of(
        self, x: ir.Value, y: ir.Value
    ) -> tuple[dict[tuple[str, int, int], list[str]], dict[tuple[str, int, int], list[str]]]:
        """Return the free readers of both values by what they are and which input it is."""
        ours = self._places(self.left, x, self.partner, None)
        theirs = self._places(self.right, y, self.owner, None)
        sorts = {place[0] for place in ours}, {place[0] for place in theirs}
        return (
            self._places(self.left, x, self.partner, sorts[1]),
            self._places(self.right, y, self.owner, sorts[0]),
        )

    def _places(
        self, side: _Side, value: ir.Value, taken: dict[str, str], kept: set[str] | None
    ) -> dict[tuple[str, int, int], list[str]]:
        """Group the free readers of a value; those that only this graph has are passed."""
        found: dict[tuple[str, int, int], list[str]] = defaultdict(list)
        waiting, seen = [value], {id(value)}
        while waiting and len(seen) <= MAX_PASSED:
            for edge in side.network.readers.get(id(waiting.pop()), ()):
                if not edge.reader or edge.reader in taken:
                    continue
                sort, count = side.sort(edge.reader)
                if kept is not None and sort not in kept and side.is_passable(edge.reader):
                    following = side.network.made[edge.reader][0]
                    if id(following) not in seen:
                        seen.add(id(following))
                        waiting.append(following)
                    continue
                position = 0 if sort in ("Add", "Mul") else edge.position
                if edge.reader not in found[sort, count, position]:
                    found[sort, count, position].append(edge.reader)
        return found


def _name(value: ir.Value) -> str:
    return value.name or ""


def match_inputs(ours: Network, theirs: Network) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Yield the inputs of two graphs that correspond; initializers are none."""
    given = [
        [value for value in network.model.graph.inputs if not value.is_initializer()]
        for network in (ours, theirs)
    ]
    yield from _match(given[0], given[1], _name)


def match_ends(ours: Sequence[Edge], theirs: Sequence[Edge]) -> Iterator[tuple[Edge, Edge]]:
    """Yield the outputs of two graphs that correspond."""
    yield from _match(ours, theirs, lambda edge: _name(edge.value))


def _match(
    ours: Sequence[_End], theirs: Sequence[_End], name: Callable[[_End], str]
) -> Iterator[tuple[_End, _End]]:
    """Yield what has the same name; where nothing has, what has the same position."""
    named = {name(one): one for one in theirs}
    found = [(one, named[name(one)]) for one in ours if name(one) in named]
    if found or len(ours) != len(theirs):
        yield from found
        return
    yield from zip(ours, theirs, strict=True)
