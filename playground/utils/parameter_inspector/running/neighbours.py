"""Pairs of layers whose channels in between can be scaled without a change of what they compute.

Between the two stand only layers that are positively homogeneous channel by channel: what goes in
times a number above zero comes out times that number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..facts import QuantizerKind
from ..measuring.outputs import Quantizer
from ..operators import STANDARD_DOMAINS
from ..reading.edges import Network
from .quantizers import Placement, WeightSite

if TYPE_CHECKING:
    import onnx_ir as ir

ENDS = frozenset(("Conv", "Gemm", "MatMul"))
HOMOGENEOUS = frozenset(
    "Relu LeakyRelu PRelu Identity MaxPool AveragePool GlobalAveragePool GlobalMaxPool Flatten"
    .split()
)  # fmt: skip
# So many layers between the two are followed at most.
MOST_BETWEEN = 12


@dataclass(frozen=True, eq=False)
class Between:
    """A quantized tensor between the two.

    Attributes:
        site: the number of its site in the placement.
        axis: of the channels: 1, or -1 behind a product of matrices.
        shape: of factors that go with it.
        copies: into how many numbers next to each other a Flatten made each channel; else 1.
    """

    site: int
    quantizers: tuple[int, ...]
    axis: int
    shape: tuple[int, ...]
    copies: int


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Two layers of the original, the second the only reader of the first.

    Attributes:
        first, last: their weights' quantizers.
        first_site, last_site: the numbers of the weights' sites in the placement.
        channels: of what the first puts out.
        is_cut: whether the variant left out a Clip between, because a quantizer cuts there too: as
            long as that keeps its range, it cuts the scaled channels, and measuring says so.
    """

    first: Quantizer
    last: Quantizer
    first_site: int
    last_site: int
    channels: int
    between: tuple[Between, ...]
    is_cut: bool

    @property
    def quantized(self) -> tuple[int, ...]:
        """The indices of the activations' quantizers."""
        return tuple(index for one in self.between for index in one.quantizers)


def find_neighbours(original: Network, placement: Placement) -> tuple[Neighbours, ...]:
    """Return the pairs whose two weights and whose activations between have their own quantizers.

    A weight may be the last of one pair and the first of another.
    """
    return tuple(_Finder(original, placement).find())


@dataclass(frozen=True, eq=False)
class _Weight:
    quantizer: Quantizer
    number: int
    site: WeightSite


class _Finder:
    def __init__(self, original: Network, placement: Placement) -> None:
        self.original, self.placement = original, placement
        self.names = {id(node): name for name, node in original.nodes.items()}
        self.weights = dict(self._list_weights())
        self.norms = {folding.layer: folding.norm for folding in placement.foldings}

    def _list_weights(self) -> Iterator[tuple[int, _Weight]]:
        """Yield the weights that are one layer's own, by the id of its node."""
        for quantizer in self.placement.quantizers:
            if quantizer.kind is not QuantizerKind.WEIGHT or len(quantizer.layers) != 1:
                continue
            sites = [
                (number, site)
                for number, site in enumerate(self.placement.weights)
                if site.quantizer == quantizer.index
            ]
            main = [(number, site) for number, site in sites if site.position == 1]
            nodes = {id(site.node) for _, site in sites}
            if len(main) == len(nodes) == 1 and _can_end(main[0][1]):
                yield nodes.pop(), _Weight(quantizer, *main[0])

    def find(self) -> Iterator[Neighbours]:
        for weight in self.weights.values():
            found = self._follow(weight)
            if found is not None:
                yield found

    def _follow(self, first: _Weight) -> Neighbours | None:
        layer = self.original.nodes[first.quantizer.layers[0]]
        norm = self.norms.get(first.quantizer.layers[0])
        value = (layer if norm is None else self.original.nodes[norm]).outputs[0]
        values, is_flat, is_cut = [(value, False)], False, False
        for _ in range(MOST_BETWEEN):
            reader = self._only_reader(value)
            if reader is None:
                return None
            if id(reader) in self.weights:
                return self._pair(first, self.weights[id(reader)], values, is_cut)
            left_out = self._is_left_out(reader)
            is_cut = is_cut or left_out
            if not (left_out or _is_homogeneous(reader)) or (is_flat and "Pool" in reader.op_type):
                return None
            is_flat = is_flat or reader.op_type == "Flatten"
            value = reader.outputs[0]
            values.append((value, is_flat))
        return None

    def _only_reader(self, value: ir.Value) -> ir.Node | None:
        """Return the one node of the main graph that reads a value as its data."""
        uses = tuple(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return None
        (use,) = uses
        is_main = use.node.graph is self.original.model.graph
        return use.node if use.idx == 0 and is_main else None

    def _is_left_out(self, node: ir.Node) -> bool:
        """Whether the variant has no such Clip: a quantizer reads what is before it."""
        return node.op_type == "Clip" and any(
            site.value is node.outputs[0] and site.source is node.inputs[0]
            for site in self.placement.activations
        )

    def _pair(
        self,
        first: _Weight,
        last: _Weight,
        values: list[tuple[ir.Value, bool]],
        is_cut: bool,
    ) -> Neighbours | None:
        channels, inputs = _count_outputs(first.site), _count_inputs(last.site)
        is_flat = values[-1][1]
        if inputs % channels or (inputs != channels and not is_flat):
            return None
        if is_flat and first.site.node.op_type == "MatMul":
            return None
        between = [
            self._between(first, value, inputs // channels if flat else 1, channels, flat)
            for value, flat in values
        ]
        if any(one is None for one in between):
            return None
        known = tuple(one for each in between if each is not None for one in each)
        return Neighbours(
            first.quantizer, last.quantizer, first.number, last.number, channels, known, is_cut
        )

    def _between(
        self, first: _Weight, value: ir.Value, copies: int, channels: int, is_flat: bool
    ) -> tuple[Between, ...] | None:
        """Return the quantized site on a value; None where quantizers stand elsewhere too."""
        axis = -1 if first.site.node.op_type == "MatMul" else 1
        spatial = len(first.site.shape) - 2 if first.site.node.op_type == "Conv" else 0
        shape = (channels * copies,) if is_flat else (channels, *[1] * spatial)
        found = []
        for number, site in enumerate(self.placement.activations):
            if site.value is not value:
                continue
            indices = tuple(index for index, _ in site.units)
            if any(self._stands_elsewhere(index, number) for index in indices):
                return None
            found.append(Between(number, indices, axis, shape, copies))
        return tuple(found)

    def _stands_elsewhere(self, index: int, number: int) -> bool:
        return any(
            other != number and any(index == one for one, _ in site.units)
            for other, site in enumerate(self.placement.activations)
        )


def _can_end(site: WeightSite) -> bool:
    node = site.node
    if node.op_type not in ENDS or node.domain not in STANDARD_DOMAINS:
        return False
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return False
    return len(site.shape) >= 3 if node.op_type == "Conv" else len(site.shape) == 2


def _is_homogeneous(node: ir.Node) -> bool:
    if node.op_type not in HOMOGENEOUS or node.domain not in STANDARD_DOMAINS:
        return False
    return node.op_type != "Flatten" or node.attributes.get_int("axis", 1) == 1


def _is_transposed(site: WeightSite) -> bool:
    return site.node.op_type == "Gemm" and site.node.attributes.get_int("transB", 0) == 1


def output_axis(site: WeightSite) -> int:
    """Return the axis of a weight's output channels, as its operand counts them."""
    return 0 if site.node.op_type == "Conv" or _is_transposed(site) else 1


def _groups(site: WeightSite) -> int:
    return site.node.attributes.get_int("group", 1) if site.node.op_type == "Conv" else 1


def _count_outputs(site: WeightSite) -> int:
    return site.shape[output_axis(site)]


def _count_inputs(site: WeightSite) -> int:
    return site.shape[1 - output_axis(site)] * _groups(site)


def output_sizes(site: WeightSite, values: np.ndarray) -> np.ndarray:
    """Return the largest magnitude of each output channel; float64, (channels,)."""
    rest = tuple(at for at in range(values.ndim) if at != output_axis(site))
    return np.abs(values).max(axis=rest).astype(np.float64)


def input_sizes(site: WeightSite, values: np.ndarray, channels: int) -> np.ndarray:
    """Return the largest magnitude with which each channel enters; float64, (channels,)."""
    if site.node.op_type == "Conv":
        groups = _groups(site)
        split = np.abs(values).reshape(groups, values.shape[0] // groups, values.shape[1], -1)
        found = split.max(axis=(1, 3)).reshape(-1)
    else:
        found = np.abs(values).max(axis=output_axis(site))
    return found.reshape(channels, -1).max(axis=1).astype(np.float64)


def is_depthwise(site: WeightSite) -> bool:
    """Whether each output channel has one input channel: scales per channel are for both."""
    return site.node.op_type == "Conv" and site.shape[1] == 1
