"""What the writer would refuse of a layer's weight, asked before anything is offered."""

from __future__ import annotations

from functools import cached_property

from ..facts import QuantizerKind, Stay, StayReason
from ..measuring.comparison import Comparison
from ..measuring.outputs import Quantizer
from ..records import Layer
from .move_places import PlacedPair
from .move_refusals import describe_writing_refusal
from .moves import Move, MoveKind
from .originals import StaysError
from .refused_moves import WritingSketch
from .runtime_support import why_not_run
from .schemes import Scheme


class Writability:
    """Which weights of a variant, and which schemes there, can be written again.

    A model that is in memory only is taken for one that can: it has to be saved first.
    """

    def __init__(self, comparison: Comparison, variant: str) -> None:
        self._comparison, self._variant = comparison, variant

    @cached_property
    def _pair(self) -> PlacedPair:
        return PlacedPair.of(self._comparison, self._variant)

    @cached_property
    def _sketch(self) -> WritingSketch | None:
        in_memory = self._comparison.variants[self._variant].path is None
        return None if in_memory else WritingSketch(self._pair)

    def find_quantizer(self, layer_name: str, layer: Layer) -> Quantizer:
        """Return the quantizer of a layer's weight.

        Raises:
            StaysError: it is not known where the weight stands, it changes with that of another
                layer, or none can be written there.
        """
        found = (one for one in self._pair.placement.quantizers if _serves(one, layer_name))
        quantizer = next((one for one in found if self._is_weight_of(one, layer)), None)
        if quantizer is None:
            raise StaysError(Stay(layer_name, StayReason.NOT_PLACED))
        first = quantizer.layers[0]
        if first != layer_name:
            raise StaysError(Stay(layer_name, StayReason.SHARED, name=first))
        self._check(layer_name, quantizer)
        return quantizer

    def _is_weight_of(self, quantizer: Quantizer, layer: Layer) -> bool:
        places = self._pair.find_weight(quantizer).layers
        names = {one.main.parameter.name for one in places if one.main and one.main.parameter}
        return layer.weight is not None and layer.weight.name in names

    def _check(self, layer_name: str, quantizer: Quantizer) -> None:
        """Refuse a weight that cannot be written in any scheme, not even in that which it has."""
        if self._sketch is None or self._sketch.can_be_apart(quantizer):
            return
        moves = [requantizing(quantizer, Scheme(data_type)) for data_type in ("int8", "uint8")]
        refusals = [self._sketch.find_refusal(move) for move in moves]
        if refusals[0] is not None and refusals[1] is not None:
            detail = describe_writing_refusal(refusals[0])
            raise StaysError(Stay(layer_name, StayReason.NOT_WRITTEN, detail=detail))

    def takes(self, quantizer: Quantizer, scheme: Scheme) -> bool:
        """Return whether a scheme can be written for a weight, and runs there."""
        layers = [self._pair.partner(name) for name in quantizer.layers]
        if any(why_not_run(layer, scheme) is not None for layer in layers):
            return False
        if self._sketch is None:
            return True
        if not self._sketch.can_be_apart(quantizer):
            return self._sketch.find_refusal(requantizing(quantizer, scheme)) is None
        return self._sketch.find_opset_refusal(scheme) is None


def requantizing(quantizer: Quantizer, scheme: Scheme) -> Move:
    """Return the move that stores a weight under a scheme."""
    return Move(MoveKind.REQUANTIZE, (quantizer,), weight=scheme)


def requantize_layer(
    comparison: Comparison, variant: str, layer_name: str, scheme: Scheme
) -> tuple[Move, ...]:
    """Return what stores the weight of one layer under a scheme, as `save_moves` takes it.

    Raises:
        StaysError: its weight cannot be written again.
    """
    layer = comparison.measured(layer_name, variant).layer
    quantizer = Writability(comparison, variant).find_quantizer(layer_name, layer)
    return (requantizing(quantizer, scheme),)


def _serves(quantizer: Quantizer, layer_name: str) -> bool:
    return quantizer.kind is QuantizerKind.WEIGHT and layer_name in quantizer.layers
