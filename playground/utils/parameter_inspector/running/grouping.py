"""Quantizers that only data movement joins: quantizing twice changes nothing, so they are one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from ..facts import QuantizerKind
from ..measuring.outputs import Quantizer
from ..operators import MOVING
from ..reading.edges import Network
from .quantizers import ActivationSite

# With one positive constant these scale what they read: its codes stay, if the scale goes along.
SCALING = frozenset(("Mul", "Div"))
MAX_MOVES = 32
# Scales are float32 and were computed from ranges: a product of two is this exact.
SAME_SCALE = 1e-5


def group_quantizers(
    original: Network, quantizers: Sequence[Quantizer], sites: Sequence[ActivationSite]
) -> tuple[Quantizer, ...]:
    """Return the quantizers with their groups, numbered from 0 in the order of the quantizers."""
    groups = _Groups(len(quantizers))
    at: dict[int, list[int]] = defaultdict(list)
    behind = [original.trace("", 0, site.value).source for site in sites]
    for site, value in zip(sites, behind, strict=True):
        at[id(value)] += [index for index, _ in site.units]
    for site, value in zip(sites, behind, strict=True):
        for earlier, factor in _moved_from(original, value):
            for index, _ in site.units:
                for other in at.get(id(earlier), ()):
                    if _is_same(quantizers[index], quantizers[other], factor):
                        groups.join(index, other)
    numbers: dict[int, int] = {}
    roots = [groups.find(index) for index in range(len(quantizers))]
    return tuple(
        replace(quantizer, group=numbers.setdefault(root, len(numbers)))
        for quantizer, root in zip(quantizers, roots, strict=True)
    )


class _Groups:
    """Which quantizers are one."""

    def __init__(self, count: int) -> None:
        self._root = list(range(count))

    def find(self, index: int) -> int:
        while self._root[index] != index:
            self._root[index] = self._root[self._root[index]]
            index = self._root[index]
        return index

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._root[second] = first


def _moved_from(original: Network, value: ir.Value) -> Iterator[tuple[ir.Value, float]]:
    """Yield the tensors that a tensor is moved from, itself first, and what they are scaled by."""
    factor = 1.0
    for _ in range(MAX_MOVES):
        yield value, factor
        maker = original.maker(value)
        if maker is None:
            return
        layer = original.layers[maker[0]]
        edges = original.moving(maker[0])
        if layer.op_type in SCALING and len(edges) == 1:
            number = _constant_number(original, maker[0])
            if number is None or (layer.op_type == "Div" and edges[0].position != 0):
                return
            factor = factor * number if layer.op_type == "Mul" else factor / number
        elif layer.op_type not in MOVING:
            return
        edge = original.edge(maker[0], 0) if layer.op_type in MOVING else edges[0]
        if edge is None:
            return
        value = edge.source


def _constant_number(original: Network, layer: str) -> float | None:
    """Return the one positive number that a layer multiplies or divides by."""
    sources = [original.constants.get(value) for value in original.nodes[layer].inputs]
    known = [source for source in sources if source is not None]
    if len(known) != 1 or math.prod(known[0].shape) != 1:
        return None
    number = float(known[0].read().reshape(-1)[0])
    return number if number > 0 else None


def _is_same(one: Quantizer, other: Quantizer, factor: float) -> bool:
    """Whether two activations get the same codes, one being the other times a factor."""
    if QuantizerKind.WEIGHT in (one.kind, other.kind) or one.data_type != other.data_type:
        return False
    if one.scale is None or other.scale is None or not one.scale.size == other.scale.size == 1:
        return False
    scales = float(one.scale.reshape(-1)[0]), float(other.scale.reshape(-1)[0]) * factor
    return one.zero == other.zero and math.isclose(*scales, rel_tol=SAME_SCALE)
