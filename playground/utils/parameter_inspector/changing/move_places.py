"""Where the quantizers that moves name stand in the variant's file, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..facts import QuantizerKind, WritingRefusal, WritingRefusalKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import Quantizer
from ..pairing.structure import pair_by_structure
from ..reading.constants import attribute_values
from ..reading.edges import Network, StepKind, operands
from ..reading.storage import operands_of
from ..records import Layer, Pairing, WeightTensor
from ..running.placing import folded_parameters, place_quantizers
from ..running.quantizers import ActivationSite, NormFolding, Placement, WeightSite
from .move_refusals import MoveRefusedError

if TYPE_CHECKING:
    import onnx_ir as ir

MAX_DROPPED = 3


class Dropped(NamedTuple):
    """A Relu or Clip of the original that the zero-point of a quantizer stands for."""

    op_type: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ActivationPlace:
    """One quantizer of an activation in the file.

    Attributes:
        codes: the integers that it makes; what makes them has them as its first output.
        kind: of its first step.
    """

    quantizer: Quantizer
    codes: str
    kind: StepKind
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, eq=False)
class OperandPlace:
    """A constant operand of a layer.

    Attributes:
        position: as the float operator counts it.
        read_exact: returns the original's values, folded as the variant folds, in its frame.
        shape: of the operand in the variant.
        data_type: of the original's values.
    """

    slot: str
    position: int
    read_exact: Callable[[], np.ndarray]
    shape: tuple[int, ...]
    parameter: WeightTensor | None = None
    data_type: str = "float32"


@dataclass(frozen=True, eq=False)
class LayerPlace:
    """A layer that a weight quantizer serves: its node makes ``output``."""

    original: str
    layer: Layer
    output: str
    operands: tuple[OperandPlace, ...]

    def operand(self, slot: str) -> OperandPlace | None:
        return next((one for one in self.operands if one.slot == slot), None)

    @property
    def main(self) -> OperandPlace | None:
        """The first operand that is no bias."""
        return next((one for one in self.operands if one.slot != "bias"), None)


@dataclass(frozen=True, eq=False)
class WeightPlace:
    quantizer: Quantizer
    layers: tuple[LayerPlace, ...]


@dataclass(frozen=True, eq=False)
class PlacedPair:
    """An original and a variant with the quantizers of the one placed in the other."""

    original: Network
    variant: Network
    pairing: Pairing
    placement: Placement
    norms: dict[str, NormFolding] = field(default_factory=dict)

    @classmethod
    def of(cls, comparison: Comparison, variant: str) -> PlacedPair:
        """Place the quantizers of a variant as measuring does.

        Raises:
            MoveRefusedError: there is no float original.
        """
        if comparison.original is None:
            raise MoveRefusedError(WritingRefusal(WritingRefusalKind.NO_ORIGINAL, tensor=variant))
        networks = Network(comparison.naming_model), Network(comparison.variants[variant])
        pairing = pair_by_structure(*networks, comparison.pairings[variant])
        placement = place_quantizers(*networks, pairing)
        norms = {folding.layer: folding for folding in placement.foldings}
        return cls(*networks, pairing, placement, norms)

    def check(self, quantizers: Iterable[Quantizer]) -> None:
        """Refuse quantizers that are not what stands at their numbers."""
        known = self.placement.quantizers
        for one in quantizers:
            found = known[one.index] if one.index < len(known) else None
            if found is None or (found.kind, found.tensor) != (one.kind, one.tensor):
                raise MoveRefusedError(
                    WritingRefusal(WritingRefusalKind.OTHER_PLACEMENT, tensor=one.tensor)
                )

    # ------------------------------------------------- activations

    def find_activation(self, quantizer: Quantizer) -> ActivationPlace:
        sites = [
            (site, i, unit)
            for site in self.placement.activations
            for i, (index, unit) in enumerate(site.units)
            if index == quantizer.index
        ]
        first = sites[0][2].steps[0]
        if first.kind is StepKind.QUANTIZE and first.node.op_type == "DequantizeLinear":
            raise MoveRefusedError(
                WritingRefusal(WritingRefusalKind.GIVEN_AS_CODES, tensor=quantizer.tensor)
            )
        dropped = [self._dropped(site) for site, i, _ in sites if i == 0]
        longest = max(dropped, key=len, default=())
        return ActivationPlace(
            quantizer, first.node.outputs[0].name or "", first.kind, tuple(longest)
        )

    def _dropped(self, site: ActivationSite) -> tuple[Dropped, ...]:
        """Return what the original computes between what is quantized and what its readers get."""
        if site.source is site.value:
            return ()
        found: list[Dropped] = []
        value = self.original.trace("", 0, site.value).source
        for _ in range(MAX_DROPPED):
            maker = self.original.maker(value)
            edge = self.original.edge(maker[0], 0) if maker is not None else None
            if maker is None or edge is None or value is site.source:
                break
            node = self.original.nodes[maker[0]]
            if node.op_type not in ("Relu", "Clip"):
                break
            found.append(Dropped(node.op_type, *clip_bounds(self.original, node)))
            value = edge.source
        return tuple(reversed(found))

    # ------------------------------------------------- weights

    def find_weight(self, quantizer: Quantizer) -> WeightPlace:
        sites = [site for site in self.placement.weights if site.quantizer == quantizer.index]
        by_layer: dict[str, list[WeightSite]] = {}
        for site in sites:
            by_layer.setdefault(self._layer_of(site, quantizer), []).append(site)
        return WeightPlace(
            quantizer,
            tuple(self._layer_place(name, found) for name, found in by_layer.items()),
        )

    def find_layer(self, quantizer: Quantizer) -> str:
        """Return the one layer that a weight quantizer serves.

        Raises:
            MoveRefusedError: there are several.
        """
        if len(quantizer.layers) != 1:
            raise MoveRefusedError(
                WritingRefusal(WritingRefusalKind.SEVERAL_LAYERS, tensor=quantizer.tensor)
            )
        return quantizer.layers[0]

    def partner(self, original: str) -> Layer:
        pair = self.pairing.of_original(original)
        assert pair is not None
        return self.variant.layers[pair.variant]

    def _layer_of(self, site: WeightSite, quantizer: Quantizer) -> str:
        for name in quantizer.layers:
            if self.original.nodes[name] is site.node:
                return name
        for name in quantizer.layers:
            read = {id(value) for value in self.original.made[name]}
            if any(id(value) in read for value in site.node.inputs):
                return name
        return quantizer.layers[0]

    def _layer_place(self, original: str, sites: list[WeightSite]) -> LayerPlace:
        layer = self.partner(original)
        node = self.variant.nodes[layer.name]
        found = (self._operand(original, layer, node, site) for site in sites)
        return LayerPlace(original, layer, node.outputs[0].name or "", tuple(found))

    def _operand(
        self, original: str, layer: Layer, node: ir.Node, site: WeightSite
    ) -> OperandPlace:
        ours = self.original.layers[original]
        slot = "bias"
        if self.original.nodes[original] is site.node:
            slots = (one.slot for one in operands_of(site.node) if one.index == site.position)
            slot = next(slots, "operand")
        if not layer.parameters:
            return self._other(layer, node, site, slot)
        parameter = layer.parameter(slot) or layer.parameters[0]
        position = self._position(node, parameter.slot)
        exact = ours.parameter(slot)

        def read_exact() -> np.ndarray:
            return self._in_frame(self._exact(original, site, slot), exact, parameter, layer)

        data_type = exact.data_type if exact is not None else "float32"
        return OperandPlace(slot, position, read_exact, parameter.shape, parameter, data_type)

    def _other(self, layer: Layer, node: ir.Node, site: WeightSite, slot: str) -> OperandPlace:
        """Return a constant that is dequantized for an operator without parameters."""

        def read_exact() -> np.ndarray:
            return self._exact("", site, slot)

        return OperandPlace(slot, site.position, read_exact, site.shape)

    def _position(self, node: ir.Node, slot: str) -> int:
        """Return which input a parameter is, as the float operator counts it."""
        plain = {at: position for position, at, *_ in operands(node)}
        known = [
            operand
            for operand in operands_of(node)
            if operand.index < len(node.inputs)
            and self.variant.is_constant(node.inputs[operand.index])
        ]
        # A sum's constant is the bias of the layer before it, or its own operand.
        found = [one.index for one in known if one.slot in (slot, "operand")]
        return plain.get(found[0], found[0]) if found else 1

    def _exact(self, original: str, site: WeightSite, slot: str) -> np.ndarray:
        if original in self.norms:
            weight, bias = folded_parameters(self.original, self.norms[original])
            return bias if slot == "bias" else weight
        given = site.node.inputs[site.position] if site.position < len(site.node.inputs) else None
        source = self.original.constants.get(given)
        if source is None:
            return np.zeros(site.shape, np.float32)
        return np.asarray(source.read()).astype(np.float32, copy=False)

    def _in_frame(
        self, exact: np.ndarray, ours: WeightTensor | None, theirs: WeightTensor, layer: Layer
    ) -> np.ndarray:
        """Return values of the original's operand as the variant's operand holds them."""
        if ours is not None and exact.ndim == len(theirs.shape) == 2:
            axes = ours.channel_axis, theirs.channel_axis
            if None not in axes and axes[0] != axes[1]:
                exact = exact.T
        if exact.size != int(np.prod(theirs.shape)):
            raise MoveRefusedError(
                WritingRefusal(
                    WritingRefusalKind.SHAPE,
                    layer=layer.name,
                    shape=exact.shape,
                    expected_shape=theirs.shape,
                )
            )
        factor = self.linear_factor(layer, theirs.slot)
        return np.ascontiguousarray(exact.reshape(theirs.shape) / np.float32(factor))

    def linear_factor(self, layer: Layer, slot: str) -> float:
        """Return what the variant's values are multiplied by to be the original's: alpha, beta."""
        pair = next((p for p in self.pairing.pairs if p.variant == layer.name), None)
        ours = self.original.layers.get(pair.original) if pair is not None else None
        if ours is None or ours.weight is None:
            return 1.0
        name = "beta" if slot == "bias" else "alpha"
        mine = ours.attribute(name, 1.0)
        return layer.attribute(name, 1.0) / mine if mine else 1.0


def clip_bounds(network: Network, node: ir.Node) -> tuple[float, float]:
    """Return between which values a Relu or Clip keeps what it reads."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    attributes = attribute_values(node)
    low, high = (float(attributes.get(n, d)) for n, d in (("min", -np.inf), ("max", np.inf)))
    values = [network.constants.get(value) for value in node.inputs[1:3]]
    if values and values[0] is not None:
        low = float(values[0].read().reshape(-1)[0])
    if len(values) > 1 and values[1] is not None:
        high = float(values[1].read().reshape(-1)[0])
    return low, high


def is_activation(quantizer: Quantizer) -> bool:
    return quantizer.kind is QuantizerKind.ACTIVATION
