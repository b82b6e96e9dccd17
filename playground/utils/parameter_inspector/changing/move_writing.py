"""Write a variant again with the moves of a plan, and look whether the file does what it should.

The quantizers are placed again, which tells where each stands in the file; then activations are
changed, then weights, then the biases that follow from both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..facts import QuantizerKind, WritingNote, WritingNoteKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import Quantizer
from ..reading.file_bytes import list_files
from ..records import Layer
from .activation_writing import ActivationWriting
from .bias_writing import BiasWriting, read_biased
from .correcting import correct_float_bias
from .edited_graph import EditedGraph
from .float_shields import shield_float_weight
from .move_places import LayerPlace, PlacedPair
from .moves import ActivationScheme, Move, MoveKind, merge_moves
from .opset_raising import raise_opset
from .rewriting import Saved, load_whole, model_path, save_proto
from .schemes import Scheme
from .taking_apart import TakingApart
from .weight_writing import WeightChange, WeightWriting


def save_moves(
    comparison: Comparison,
    variant: str,
    moves: Sequence[Move],
    out: Path,
    inputs: Iterable[Path] = (),
) -> Saved:
    """Write a variant with moves to ``out``; later moves replace earlier ones.

    Args:
        inputs: files that ``out`` may be no link to, beside those of the comparison.

    Raises:
        MoveRefusedError: a move that cannot be written. Nothing is written then.
        RewriteError: more than one file can hold, or what ``onnx.checker`` refuses.
        OSError: ``out`` cannot be written.
    """
    model = comparison.variants[variant]
    path = model_path(model)
    moves = merge_moves(moves)
    pair = PlacedPair.of(comparison, variant)
    pair.check(one for move in moves for one in move.quantizers)
    proto = load_whole(path)
    writing = MoveWriting(pair, moves)
    raised = raise_opset(path, proto, writing.schemes())
    writing.write(EditedGraph(proto))
    layers = tuple(dict.fromkeys(name for move in moves for name in move.layers))
    others = [path for one in comparison.variants.values() for path in list_files(one)]
    return save_proto(
        model, proto, Path(out), layers, raised, tuple(writing.notes), (*others, *inputs)
    )


def write_moves(comparison: Comparison, variant: str, moves: Sequence[Move]) -> tuple[bytes, Saved]:
    """Return the file that `save_moves` writes, and what it says; none is left behind."""
    with TemporaryDirectory() as folder:
        saved = save_moves(comparison, variant, moves, Path(folder) / "changed.onnx")
        return saved.path.read_bytes(), saved


class MoveWriting:
    """The moves, by what they change: activations and weights by the index of their quantizers."""

    def __init__(self, pair: PlacedPair, moves: Sequence[Move]) -> None:
        self.pair = pair
        self.notes: list[WritingNote] = []
        self.activations: dict[int, ActivationScheme | None] = {}
        self.weights: dict[int, WeightChange] = {}
        self.corrected: dict[str, np.ndarray] = {}
        for move in moves:
            self._add(move)

    # ------------------------------------------------- the moves

    def _add(self, move: Move) -> None:
        if move.kind is MoveKind.EQUALIZE:
            self._add_equalized(move)
        elif move.kind is MoveKind.CORRECT_BIAS:
            self._add_corrected(move)
        elif move.is_weight:
            for quantizer in move.quantizers:
                is_free = move.kind is MoveKind.FREE
                self._note_weight(quantizer, scheme=move.weight, is_free=is_free)
        else:
            self.activations |= _schemes_of(move, move.quantizers)

    def _note_weight(
        self,
        quantizer: Quantizer,
        *,
        scheme: Scheme | None = None,
        is_free: bool = False,
        divided: np.ndarray | None = None,
        multiplied: np.ndarray | None = None,
    ) -> None:
        """Add to what becomes of a weight."""
        known = self.weights.get(quantizer.index)
        place = known.place if known is not None else self.pair.find_weight(quantizer)
        self.weights[quantizer.index] = WeightChange(
            place,
            scheme or (known.scheme if known else None),
            is_free or (known is not None and known.is_free),
            _product(divided, known.divided if known else None),
            _product(multiplied, known.multiplied if known else None),
        )

    def _add_equalized(self, move: Move) -> None:
        first, *between, last = move.quantizers
        self._note_weight(first, divided=move.factors)
        self._note_weight(last, multiplied=move.factors)
        if move.activation is not None:
            self.activations |= _schemes_of(move, between)

    def _add_corrected(self, move: Move) -> None:
        assert move.bias is not None
        original = self.pair.find_layer(move.quantizers[0])
        layer = self.pair.partner(original)
        factor = self.pair.linear_factor(layer, "bias")
        bias = (move.bias.reshape(-1) / np.float32(factor)).astype(np.float32)
        self.corrected[layer.name] = bias

    def schemes(self) -> list[Scheme]:
        """Return what the weights are stored under: it may ask for a newer opset."""
        found = []
        for change in self.weights.values():
            if change.scheme is not None:
                found.append(change.scheme)
        return found

    # ------------------------------------------------- the graph

    def write(self, graph: EditedGraph) -> None:
        """Edit the graph, and put it together again.

        Raises:
            MoveRefusedError: a move that cannot be written.
        """
        biases = BiasWriting(graph, self.notes)
        counted = self.edit(graph)
        biases.count_again(self._read_bias, self._read_weight, counted)
        self._shield(graph)
        graph.finish()

    def edit(self, graph: EditedGraph) -> dict[str, np.ndarray]:
        """Carry out the moves, and return the corrected biases that are still to be counted.

        Raises:
            MoveRefusedError: a move that cannot be written: all of them are found here.
        """
        apart = TakingApart(graph, self.notes, self.pair.variant)
        activations = ActivationWriting(graph, self.notes, apart)
        for index, scheme in self.activations.items():
            place = self.pair.find_activation(self.pair.placement.quantizers[index])
            if scheme is None:
                activations.free(place)
            else:
                activations.change(place, scheme)
        weights = WeightWriting(graph, self.notes, apart)
        for change in self.weights.values():
            weights.change(change)
        return self._correct(graph, apart)

    def _shield(self, graph: EditedGraph) -> None:
        """Keep weights that were left in float so."""
        for change in self.weights.values():
            for layer in change.place.layers if change.is_free else ():
                node, operand = graph.node_of(layer.output), layer.main
                if node is not None and operand is not None:
                    parameter = operand.parameter
                    axis = parameter.channel_axis if parameter is not None else None
                    if shield_float_weight(graph, node, axis or 0):
                        self.notes.append(WritingNote(WritingNoteKind.HELD_FINE, layer.original))

    def _correct(self, graph: EditedGraph, apart: TakingApart) -> dict[str, np.ndarray]:
        """Store corrected biases of real numbers; return those of operators that have one."""
        counted = {}
        for name, bias in (self._equalized_biases() | self.corrected).items():
            layer = self.pair.variant.layers[name]
            origin = self.pair.variant.nodes[name].outputs[0].name or ""
            node = graph.node_of(origin)
            if node is not None and read_biased(graph, node) is not None:
                counted[origin] = bias
            else:
                correct_float_bias(graph, self.pair.variant, layer, bias, apart, self.notes)
        return counted

    def _equalized_biases(self) -> dict[str, np.ndarray]:
        """Return the biases that are divided as their layer's output channels are."""
        biases = {}
        for change in self.weights.values():
            for place in change.place.layers if change.divided is not None else ():
                name, output = place.layer.name, place.output
                bias = self.corrected.pop(name, None)
                bias = self._read_bias(output) if bias is None else bias / change.divided
                if bias is not None:
                    biases[name] = np.asarray(bias, np.float32).reshape(-1)
        return biases

    # ------------------------------------------------- what biases are counted from

    def _read_bias(self, output: str) -> np.ndarray | None:
        """Return the float bias of a layer: the original's where the file's is its rounding."""
        layer = self._layer_at(output)
        if layer is None or layer.bias is None:
            return None
        values = layer.bias.values
        place, change = self._place_of(layer)
        operand = place.operand("bias") if place is not None else None
        if place is not None and operand is not None and layer.bias.quantization is not None:
            exact = operand.read_exact()
            scale = layer.bias.quantization.scale.astype(np.float64).reshape(-1)
            step = np.resize(np.abs(scale), values.size).reshape(values.shape)
            if exact.shape == values.shape and np.all(np.abs(exact - values) <= 0.51 * step):
                values = exact
        if change is not None and change.divided is not None:
            values = values / change.divided.reshape(values.shape)
        return np.asarray(values, np.float32)

    def _read_weight(self, output: str) -> np.ndarray | None:
        """Return the float weight of a layer, as it is to be stored."""
        layer = self._layer_at(output)
        place, change = self._place_of(layer) if layer is not None else (None, None)
        operand = place.main if place is not None else None
        if place is None or operand is None:
            return None
        return change.read(place, operand) if change is not None else operand.read_exact()

    def _layer_at(self, output: str) -> Layer | None:
        names = (n for n, node in self.pair.variant.nodes.items() if node.outputs[0].name == output)
        name = next(names, None)
        return self.pair.variant.layers[name] if name is not None else None

    def _place_of(self, layer: Layer) -> tuple[LayerPlace | None, WeightChange | None]:
        """Return where the weight of a layer of the variant stands, and what becomes of it."""
        for quantizer in self.pair.placement.quantizers:
            if quantizer.kind is not QuantizerKind.WEIGHT:
                continue
            if not any(self.pair.partner(name) is layer for name in quantizer.layers):
                continue
            change = self.weights.get(quantizer.index)
            place = change.place if change is not None else self.pair.find_weight(quantizer)
            found = next((one for one in place.layers if one.layer is layer), None)
            if found is not None:
                return found, change
        return None, None


def _schemes_of(
    move: Move, quantizers: Iterable[Quantizer]
) -> Mapping[int, ActivationScheme | None]:
    """Return what becomes of each quantizer of a group, by its index.

    The move's scheme is that of the first one; another has it times the factor between the two.
    """
    quantizers = tuple(quantizers)
    if move.kind is MoveKind.FREE or move.activation is None:
        return dict.fromkeys(one.index for one in quantizers)
    scheme = move.activation
    first = _scale_of(quantizers[0])
    return {
        one.index: ActivationScheme(
            scheme.data_type, scheme.scale * _factor(first, _scale_of(one)), scheme.zero_point
        )
        for one in quantizers
    }


def _factor(first: float | None, other: float | None) -> float:
    if not first or not other or abs(other / first - 1) < 1e-5:
        return 1.0
    return other / first


def _scale_of(quantizer: Quantizer) -> float | None:
    return None if quantizer.scale is None else float(quantizer.scale.reshape(-1)[0])


def _product(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return one if other is None else other
    return one * other
