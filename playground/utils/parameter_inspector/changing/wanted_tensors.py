"""What a plan makes of each tensor of the original: the variant's quantization, and the moves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..facts import QuantizerKind, RecipeNoteKind
from ..measuring.outputs import Quantizer
from ..operators import operator_named
from ..quantization import Quantization, is_integer
from .counted_bias import CountedBias
from .move_places import LayerPlace, OperandPlace, PlacedPair
from .moves import ActivationScheme, Move, MoveKind
from .requantizing import requantize
from .schemes import Scheme, scheme_of

# What stands for float where a weight cannot be left out alone: 90 dB.
FLOAT_WEIGHT = Scheme("int16", "per-channel")
ACTIVATION_TYPES = ("int8", "uint8", "int16", "uint16")
# Scales that differ by less are the same: they were computed in another order.
SAME_SCALE = 1e-5

# Above them, as a step of 8 bits and as a constant, there is no number of a network but a mask's.
WIDE_SCALE, WIDE_VALUE = 1e20, 1e22


@dataclass(frozen=True, eq=False)
class WantedWeight:
    """A constant of the original that is quantized.

    Attributes:
        scheme: what makes this scale again; None where only the numbers do.
        scale, zero_point: of shape () or (channels,).
        axis: of the original's constant; None for one scale.
        is_matrix: of a layer that computes with weights, not an operand of an elementwise one.
    """

    tensor: str
    data_type: str
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    scheme: Scheme | None


@dataclass(eq=False)
class WantedTensors:
    """By tensor of the original; built move by move, then only read.

    ``too_wide`` are float ones of such a range (a mask's constant) that 16 bits hold no other
    number of them.
    """

    activations: dict[str, ActivationScheme] = field(default_factory=dict)
    weights: dict[str, WantedWeight] = field(default_factory=dict)
    biases: dict[str, np.ndarray] = field(default_factory=dict)
    too_wide: set[str] = field(default_factory=set)
    notes: dict[RecipeNoteKind, list[str]] = field(default_factory=lambda: defaultdict(list))


def list_wanted(pair: PlacedPair, moves: Sequence[Move]) -> WantedTensors:
    """Return what each tensor of the original is to become.

    Raises:
        UnavailableError: bytes of a weight are missing.
    """
    return _Listing(pair, moves).wanted


class _Listing:
    """The moves by the quantizers that they change, and what is wanted so far."""

    def __init__(self, pair: PlacedPair, moves: Sequence[Move]) -> None:
        self.pair, self.wanted = pair, WantedTensors()
        self.activations: dict[int, ActivationScheme | None] = {}
        self.weights: dict[int, Scheme | None] = {}
        self.freed: set[int] = set()
        for move in moves:
            self._add(move)
        self._list_activations()
        for quantizer in pair.placement.quantizers:
            if quantizer.kind is QuantizerKind.WEIGHT:
                self._list_weight(quantizer)

    def _note(self, kind: RecipeNoteKind, *names: str) -> None:
        self.wanted.notes[kind] += [name for name in names if name not in self.wanted.notes[kind]]

    # ------------------------------------------------- the moves

    def _add(self, move: Move) -> None:
        if move.kind is MoveKind.EQUALIZE:
            self._note(RecipeNoteKind.EQUALIZED, *move.layers)
        elif move.kind is MoveKind.CORRECT_BIAS:
            self._add_bias(move)
        elif move.is_weight:
            free = move.kind is MoveKind.FREE
            for quantizer in move.quantizers:
                self.weights[quantizer.index] = FLOAT_WEIGHT if free else move.weight
                if free:
                    self.freed.add(quantizer.index)
        else:
            self.activations |= spread_scheme(move)

    def _add_bias(self, move: Move) -> None:
        assert move.bias is not None
        for name in move.layers:
            bias = self.pair.original.layers[name].bias
            if bias is None or bias.is_quantized or bias.added_by or bias.layout:
                self._note(RecipeNoteKind.NO_BIAS, name)
            else:
                self.wanted.biases[bias.name] = move.bias.reshape(bias.shape)

    # ------------------------------------------------- activations

    def _list_activations(self) -> None:
        known = self.pair.placement.quantizers
        found: dict[str, list[ActivationScheme]] = defaultdict(list)
        for site in self.pair.placement.activations:
            self._note_range(site.value.name or "", [known[index] for index, _ in site.units])
            made = (self._scheme(known[index]) for index, _ in site.units)
            found[site.value.name or ""] += [one for one in made if one is not None]
        for name, known_there in found.items():
            if any(not _is_same(one, known_there[0]) for one in known_there):
                self._note(RecipeNoteKind.SEVERAL, name)
            if known_there:
                self.wanted.activations[name] = known_there[-1]

    def _note_range(self, name: str, quantizers: Sequence[Quantizer]) -> None:
        for one in quantizers:
            freed = one.index in self.activations and self.activations[one.index] is None
            if freed and one.scale is not None and float(np.ravel(one.scale)[0]) > WIDE_SCALE:
                self.wanted.too_wide.add(name)

    def _scheme(self, quantizer: Quantizer) -> ActivationScheme | None:
        """Return what an activation has after the moves; None for float."""
        if quantizer.index in self.activations:
            return self.activations[quantizer.index]
        if quantizer.data_type not in ACTIVATION_TYPES or quantizer.scale is None:
            self._note(RecipeNoteKind.NO_TYPE, quantizer.tensor)
            return None
        zero_point = 0 if quantizer.zero_point is None else int(np.ravel(quantizer.zero_point)[0])
        scale = float(np.ravel(quantizer.scale)[0])
        return ActivationScheme(quantizer.data_type, scale, zero_point)

    # ------------------------------------------------- weights

    def _list_weight(self, quantizer: Quantizer) -> None:
        for layer in self.pair.find_weight(quantizer).layers:
            operand = layer.main or (layer.operands[0] if layer.operands else None)
            if operand is None:
                continue
            name = self._name_operand(quantizer, layer, operand)
            if name is None:
                self._note(RecipeNoteKind.NO_INITIALIZER, layer.original)
            elif layer.original in self.pair.norms:
                self._note(RecipeNoteKind.FOLDED, layer.original)
            elif quantizer.index in self.freed and not operator_named(layer.layer.op_type).heavy:
                # Its node can be left out, for no weight goes with it.
                if np.abs(operand.read_exact()).max(initial=0) > WIDE_VALUE:
                    self.wanted.too_wide.add(name)
            elif name not in self.wanted.weights:
                if quantizer.index in self.freed:
                    self._note(RecipeNoteKind.WEIGHT_AS_16_BITS, name)
                self._want_weight(name, quantizer, layer, operand)

    def _name_operand(
        self, quantizer: Quantizer, layer: LayerPlace, operand: OperandPlace
    ) -> str | None:
        """Return the initializer of the original that an operand is, read as it is."""
        node = self.pair.original.nodes[layer.original]
        sites = [one for one in self.pair.placement.weights if one.quantizer == quantizer.index]
        known = [one.position for one in sites if one.node is node]
        position = operand.position if operand.position in known or not known else known[0]
        value = node.inputs[position] if position < len(node.inputs) else None
        return value.name if value is not None and value.is_initializer() else None

    def _want_weight(
        self, name: str, quantizer: Quantizer, layer: LayerPlace, operand: OperandPlace
    ) -> None:
        scheme = self.weights.get(quantizer.index)
        if scheme is not None and scheme.granularity == "per-block":
            self._note(RecipeNoteKind.IN_BLOCKS, name)
            scheme = replace(scheme, granularity="per-channel", block_size=None, axis=None)
        parameter = operand.parameter
        quantization = parameter.quantization if parameter is not None else None
        if scheme is None and quantization is not None:
            found = self._keep(name, layer, operand, quantization)
        else:
            usual = Scheme(quantizer.data_type, symmetric=quantizer.data_type.startswith("int"))
            found = self._remake(name, layer, operand, scheme or usual)
        if found is None:
            self._note(RecipeNoteKind.NO_TYPE, name)
        else:
            self.wanted.weights[name] = found

    def _keep(
        self, name: str, layer: LayerPlace, operand: OperandPlace, quantization: Quantization
    ) -> WantedWeight | None:
        """Return the weight as the file has it, by the scheme that makes its scales again."""
        assert operand.parameter is not None
        scheme = scheme_of(operand.parameter)
        if scheme is None or quantization.block_size is not None:
            return self._remake(
                name,
                layer,
                operand,
                scheme and replace(scheme, granularity="per-channel", block_size=None, axis=None),
            )
        for one in _variations(scheme):
            made = self._remake(name, layer, operand, one)
            if made is not None and _has_same_scales(made, quantization):
                return made
        axis = None if quantization.axis is None else self._axis(layer, operand)
        return WantedWeight(
            name,
            quantization.data_type,
            quantization.scale.reshape(-1) if axis is not None else quantization.scale.reshape(()),
            np.broadcast_to(quantization.zero_point, quantization.scale.shape).reshape(
                -1 if axis is not None else ()
            ),
            axis,
            None,
        )

    def _remake(
        self, name: str, layer: LayerPlace, operand: OperandPlace, scheme: Scheme | None
    ) -> WantedWeight | None:
        """Return the float weight under a scheme."""
        if scheme is None or not _has_type(scheme.data_type):
            return None
        parameter = operand.parameter
        axis = (parameter.channel_axis if parameter is not None else None) or 0
        values = operand.read_exact()
        done = requantize(values, scheme, axis, bias=self._counted(layer, operand))
        quantization = done.quantization
        plain = scheme.clipping == "min-max" and scheme.bits is None and not done.raised
        own_axis = None if quantization.axis is None else self._axis(layer, operand)
        return WantedWeight(
            name,
            scheme.data_type,
            quantization.scale,
            quantization.zero_point,
            own_axis if scheme.axis is None else scheme.axis,
            scheme if plain else None,
        )

    def _axis(self, layer: LayerPlace, operand: OperandPlace) -> int:
        """Return the output channels of an operand in the frame of the original."""
        slot = operand.slot
        mine = self.pair.original.layers[layer.original].parameter(slot)
        axis = mine.channel_axis if mine is not None else None
        if axis is None and operand.parameter is not None:
            axis = operand.parameter.channel_axis
        return axis or 0

    def _counted(self, layer: LayerPlace, operand: OperandPlace) -> CountedBias | None:
        """Return the bias that is counted in input scale times weight scale."""
        bias = self.pair.original.layers[layer.original].bias
        edge = self.pair.original.edge(layer.original, 0)
        given = self.wanted.activations.get(edge.value.name or "") if edge is not None else None
        if operand.slot == "bias" or bias is None or bias.added_by or given is None:
            return None
        if bias.is_quantized or not bias.shape:
            return None
        values = self.wanted.biases.get(bias.name, bias.values)
        return CountedBias(values.astype(np.float64).reshape(-1), given.scale)


def spread_scheme(move: Move) -> dict[int, ActivationScheme | None]:
    """Return what becomes of each quantizer of a group; None for float.

    The move's scheme is that of the first; another has it times the factor between the two.
    """
    scheme, first = move.activation, move.quantizers[0].scale
    if move.kind is MoveKind.FREE or scheme is None:
        return dict.fromkeys(move.indices)
    found: dict[int, ActivationScheme | None] = {}
    for one in move.quantizers:
        factor = 1.0
        if first is not None and one.scale is not None:
            factor = float(np.ravel(one.scale)[0]) / float(np.ravel(first)[0])
        found[one.index] = replace(scheme, scale=scheme.scale * factor)
    return found


def _variations(scheme: Scheme) -> Iterator[Scheme]:
    """Yield a scheme as the file shows it, and what it may have been made with."""
    yield scheme
    if is_integer(scheme.data_type) and scheme.bits is None:
        yield replace(scheme, reduce_range=True)


def _has_same_scales(made: WantedWeight, quantization: Quantization) -> bool:
    scale = quantization.scale.reshape(-1).astype(np.float64)
    zero_point = np.broadcast_to(quantization.zero_point, quantization.scale.shape).reshape(-1)
    if made.scale.size != scale.size:
        return False
    near = np.allclose(made.scale.reshape(-1).astype(np.float64), scale, rtol=SAME_SCALE, atol=0)
    return near and bool(np.all(made.zero_point.reshape(-1) == zero_point))


def _has_type(data_type: str) -> bool:
    return data_type in (*ACTIVATION_TYPES, "int4", "uint4")


def _is_same(one: ActivationScheme, other: ActivationScheme) -> bool:
    same = (one.data_type, one.zero_point) == (other.data_type, other.zero_point)
    return same and abs(one.scale / other.scale - 1) < SAME_SCALE
