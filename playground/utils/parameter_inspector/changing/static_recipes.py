"""How onnxruntime's ``quantize_static`` makes what a plan makes, from the float original.

It quantizes node by node, the plan tensor by tensor. A node that would quantize what the plan
leaves in float is left out; where its weight is to be quantized all the same, that tensor gets 16
bits. Every tensor that is quantized has its scale given, so that no calibration changes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..facts import RecipeNote, RecipeNoteKind
from ..measuring.comparison import Comparison
from ..quantization import code_limits, is_integer
from .move_places import PlacedPair, clip_bounds
from .moves import ActivationScheme, Move, merge_moves
from .static_graphs import read_static_graph
from .static_marks import QUANTIZED_OPERATORS, REMOVABLE, Marks, StaticGraph, StaticNode, mark
from .wanted_tensors import WantedTensors, WantedWeight, list_wanted

# What float activations become beside a layer that is quantized.
NEAR_FLOAT = "uint16"


_Found = TypeVar("_Found", str, bool)


@dataclass(frozen=True, eq=False)
class TensorRecipe:
    """What ``TensorQuantOverrides`` says of a tensor.

    Attributes:
        scale, zero_point: of shape () or (channels,); None where ``symmetric`` and ``reduce_range``
            say how they are found: of an activation from the range on the samples.
        axis: of a weight with a scale for each channel.
    """

    tensor: str
    data_type: str
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    axis: int | None = None
    symmetric: bool | None = None
    reduce_range: bool | None = None


@dataclass(frozen=True, eq=False)
class StaticRecipe:
    """The arguments of ``quantize_static``.

    Attributes:
        inputs: of the original, as the samples name them -> their data type.
        rows: of the samples that one run takes.
        weight_type, activation_type, per_channel, reduce_range: what most tensors have.
        op_types: of the nodes that are quantized.
        excluded: (name, first output) of each node of these types that is not.
        names_nodes: some of these nodes have no name, or one that another node has too.
        overrides: of all activations, and of weights that the arguments do not say already.
        options: further ``extra_options``.
        biases: initializer of the original -> float32 that replaces it.
        folds: a batch-norm has to be folded before.
        notes: what is not as the plan has it.
    """

    variant: str
    inputs: Mapping[str, str]
    rows: int
    weight_type: str
    activation_type: str
    per_channel: bool
    reduce_range: bool
    op_types: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    names_nodes: bool
    overrides: tuple[TensorRecipe, ...]
    options: Mapping[str, bool]
    biases: Mapping[str, np.ndarray]
    folds: bool
    notes: tuple[RecipeNote, ...]


def plan_static_recipe(
    comparison: Comparison, variant: str, moves: Sequence[Move] = ()
) -> StaticRecipe:
    """Return how ``quantize_static`` makes a variant with moves, as near as it can.

    Raises:
        MoveRefusedError: there is no float original.
        UnavailableError: bytes of a weight are missing.
    """
    pair = PlacedPair.of(comparison, variant)
    moves = merge_moves(moves)
    pair.check(one for move in moves for one in move.quantizers)
    wanted = list_wanted(pair, moves)
    graph = read_static_graph(comparison.naming_model)
    return _Fitting(pair, wanted, graph, variant).recipe()


class _Fitting:
    """Which nodes to leave out so that what is quantized is what is wanted."""

    def __init__(
        self, pair: PlacedPair, wanted: WantedTensors, graph: StaticGraph, variant: str
    ) -> None:
        self.pair, self.wanted, self.graph, self.variant = pair, wanted, graph, variant
        self.keeps_removable = self._keeps_removable()
        self.operators = set(QUANTIZED_OPERATORS)
        self.excluded = self._choose_excluded()
        self.operators |= self._list_further_operators()
        self.excluded = self._choose_excluded()
        self.marks = self._mark(self.excluded)

    def _mark(self, excluded: Collection[int]) -> Marks:
        keeps = self.keeps_removable
        return mark(self.graph, excluded, operators=self.operators, keeps_removable=keeps)

    def _list_further_operators(self) -> set[str]:
        """Return operators that are not quantized by default, where only they reach a tensor."""
        marked = self._mark(self.excluded).scaled_by
        return {
            node.op_type
            for node in self.graph.nodes
            if node.op_type not in self.operators
            and (real := [name for name in _tensors(node) if name in self.graph.floats])
            and all(map(self._wants, real))
            and any(name not in marked for name in real)
        }

    def _wants(self, name: str) -> bool:
        return name in self.wanted.activations or name in self.wanted.weights

    def _keeps_removable(self) -> bool:
        """Return whether both ends of a Relu or Clip are quantized that could be left out."""
        return any(
            all(self._wants(name) for name in (node.inputs[0], node.outputs[0]))
            for node in self.graph.nodes
            if node.op_type in REMOVABLE and self.graph.can_drop(node)
        )

    # ------------------------------------------------- nodes

    def _choose_excluded(self) -> set[int]:
        vanishing = self._list_vanishing()
        excluded: set[int] = set()
        for node in self.graph.nodes:
            if node.op_type not in self.operators:
                continue
            unwanted = [
                name
                for name in node.list_marked()
                if name in self.graph.floats and not self._wants(name) and name not in vanishing
            ]
            if self._is_out_of_place(node) or (
                unwanted and self._is_better_left_out(node, unwanted, excluded)
            ):
                excluded.add(node.index)
        return excluded | self._list_own_scales(excluded)

    def _list_vanishing(self) -> set[str]:
        """Return what a node makes for a Relu or Clip that is left out."""
        return {
            node.inputs[0]
            for node in self.graph.nodes
            if node.op_type in REMOVABLE
            and not self.keeps_removable
            and self.graph.can_drop(node)
            and self._wants(node.outputs[0])
        }

    def _is_better_left_out(
        self, node: StaticNode, unwanted: Sequence[str], excluded: set[int]
    ) -> bool:
        """Return whether a node goes, so that nothing it quantizes needs 16 bits in float's place.

        Not where what is wanted would go with it, but for numbers that 16 bits do not hold.
        """
        if any(name in self.wanted.too_wide for name in unwanted):
            return True
        without = self._mark({*excluded, node.index}).scaled_by
        mine = [name for name in _tensors(node) if self._wants(name)]
        return all(name in without for name in mine)

    def _is_out_of_place(self, node: StaticNode) -> bool:
        """Return whether a node that only hands on quantizes what is not wanted."""
        if not (node.waits or node.moves) or not node.inputs:
            return False
        read = [name for name in node.inputs[:1] if name in self.graph.floats]
        made = [name for name in node.outputs if name in self.graph.floats]
        return bool(read) and any(not self._wants(name) for name in made)

    def _list_own_scales(self, excluded: set[int]) -> set[int]:
        """Return the moving nodes whose output has another scale, and is quantized without them."""
        found = set()
        for node in self.graph.nodes:
            if not node.moves or node.index in excluded or not self._differs(node):
                continue
            without = self._mark({*excluded, node.index}).scaled_by
            if node.inputs[0] in without and node.outputs[0] in without:
                found.add(node.index)
        return found

    def _differs(self, node: StaticNode) -> bool:
        known = self.wanted.activations
        read, made = known.get(node.inputs[0]), known.get(node.outputs[0])
        return read is not None and made is not None and not _is_near(read, made)

    # ------------------------------------------------- tensors

    def _fit_to_clips(self) -> dict[str, ActivationScheme]:
        """Return the activations, those behind a Relu or Clip that goes with its bounds."""
        found = dict(self.wanted.activations)
        nodes = {node.outputs[0].name: node for node in self.pair.original.model.graph}
        for dropped in self.marks.dropped:
            name = dropped.outputs[0]
            if name not in found:
                continue
            bounds = clip_bounds(self.pair.original, nodes[name])
            fitted = fit_to_bounds(found[name], *bounds)
            if fitted is not found[name]:
                found[name] = fitted
                self.wanted.notes[RecipeNoteKind.CLIPPED_BY_RANGE].append(name)
        return found

    def recipe(self) -> StaticRecipe:
        activations = self._fit_to_clips()
        op_types = self._list_operators()
        out = [
            node
            for node in self.graph.nodes
            if node.index in self.excluded and node.op_type in op_types
        ]
        self._note_rest(activations)
        weights = [w for name, w in self.wanted.weights.items() if name in self.marks.scaled_by]
        general = _General.of(weights, activations.values())
        overrides = [
            *self._list_activations(activations),
            *(one for one in map(general.override, weights) if one is not None),
        ]
        names = Counter(node.name for node in self.graph.nodes)
        return StaticRecipe(
            self.variant,
            self.graph.inputs,
            self.graph.rows,
            general.weight_type,
            general.activation_type,
            general.per_channel,
            general.reduce_range,
            op_types,
            tuple((node.name, node.outputs[0]) for node in out),
            any(not node.name or names[node.name] > 1 for node in out),
            # The quantizer looks at the first one alone to see whether any has 16 bits.
            tuple(sorted(overrides, key=lambda one: "16" not in one.data_type)),
            {"QDQKeepRemovableActivations": True} if self.keeps_removable else {},
            self.wanted.biases,
            bool(self.pair.placement.foldings),
            tuple(
                RecipeNote(k, tuple(dict.fromkeys(v))) for k, v in self.wanted.notes.items() if v
            ),
        )

    def _list_operators(self) -> tuple[str, ...]:
        """Return the operators of which a node is quantized."""
        quantized = (
            node.op_type
            for node in self.graph.nodes
            if node.op_type in self.operators
            and node.index not in self.excluded
            and any(name in self.marks.scaled_by for name in _tensors(node))
        )
        return tuple(dict.fromkeys(quantized))

    def _list_activations(
        self, activations: Mapping[str, ActivationScheme]
    ) -> Iterable[TensorRecipe]:
        for name, own in self.marks.scaled_by.items():
            scheme = activations.get(name)
            if own != name or name in self.wanted.weights:
                continue
            if scheme is None:
                yield TensorRecipe(name, NEAR_FLOAT)
            else:
                low, high = np.float32(scheme.scale), np.int64(scheme.zero_point)
                yield TensorRecipe(name, scheme.data_type, np.asarray(low), np.asarray(high))

    def _note_rest(self, activations: Mapping[str, ActivationScheme]) -> None:
        """Note what is quantized otherwise than wanted."""
        notes, scaled = self.wanted.notes, self.marks.scaled_by
        for name, own in scaled.items():
            if not self._wants(name):
                notes[RecipeNoteKind.FLOAT_AS_16_BITS].append(name)
            elif name != own and name in activations:
                mine, other = activations[name], activations.get(own)
                if other is not None and not _is_near(mine, other):
                    notes[RecipeNoteKind.SCALE_OF_ANOTHER].append(name)
        missing = [n for n in (*activations, *self.wanted.weights) if n not in scaled]
        notes[RecipeNoteKind.LEFT_IN_FLOAT] += missing


@dataclass(frozen=True)
class _General:
    """What most tensors have, so that it need not be said of each."""

    weight_type: str
    activation_type: str
    per_channel: bool
    reduce_range: bool

    @classmethod
    def of(
        cls, weights: Sequence[WantedWeight], activations: Iterable[ActivationScheme]
    ) -> _General:
        schemes = [one.scheme for one in weights if one.scheme is not None]
        return cls(
            _most([one.data_type for one in weights], "int8"),
            _most([one.data_type for one in activations], "uint8"),
            _most([one.axis is not None for one in weights], True),
            _most([one.reduce_range for one in schemes], False),
        )

    def override(self, weight: WantedWeight) -> TensorRecipe | None:
        """Return what is to be said of a weight; None where the arguments say it."""
        scheme = weight.scheme
        if scheme is None:
            return TensorRecipe(
                weight.tensor, weight.data_type, weight.scale, weight.zero_point, weight.axis
            )
        symmetric = scheme.symmetric if is_integer(scheme.data_type) else None
        return TensorRecipe(
            weight.tensor,
            weight.data_type,
            axis=weight.axis,
            symmetric=symmetric,
            reduce_range=scheme.reduce_range,
        )


def fit_to_bounds(scheme: ActivationScheme, low: float, high: float) -> ActivationScheme:
    """Return a scheme whose range stands for clipping at two bounds; itself where it does already.

    Half a step beyond a bound is rounded to it.
    """
    lowest, highest = scheme.bounds
    half = scheme.scale / 2
    if lowest >= low - half and highest <= high + half:
        return scheme
    lowest, highest = max(lowest, low), min(highest, high)
    first, last = code_limits(scheme.data_type)
    scale = (highest - lowest) / (last - first)
    if not scale > 0:
        return scheme
    return ActivationScheme(scheme.data_type, scale, int(np.rint(first - lowest / scale)))


def _is_near(one: ActivationScheme, other: ActivationScheme) -> bool:
    same = (one.data_type, one.zero_point) == (other.data_type, other.zero_point)
    return same and abs(one.scale / other.scale - 1) < 1e-4


def _tensors(node: StaticNode) -> tuple[str, ...]:
    return (*node.inputs, *node.outputs)


def _most(found: Sequence[_Found], usual: _Found) -> _Found:
    return Counter(found).most_common(1)[0][0] if found else usual
