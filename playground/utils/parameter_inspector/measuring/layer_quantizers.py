"""The quantizers of a layer: its weight's, those of what it reads, and those of what it makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from ..facts import QuantizerKind
from ..operators import MOVING
from ..reading.layers import list_layers
from ..reading.model_file import Model
from ..records import Layer
from ..sharing import SharedCache
from .comparison import Comparison
from .outputs import ActivationStatistics, GroupNoise, Outputs, Quantizer, decibels

# A quantizer stands behind what only passes on what the layer made: a Relu, a Reshape and so on.
MOST_STEPS = 8


class Role(Enum):
    """What a quantizer is to a layer."""

    WEIGHT = "weight"
    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, eq=False)
class LayerQuantizer:
    """One quantizer of a layer, with what was measured of it.

    Attributes:
        noise: of its group; None where that was not measured.
        statistics: of an activation; None where they were not measured.
    """

    role: Role
    quantizer: Quantizer
    noise: GroupNoise | None
    statistics: ActivationStatistics | None

    @property
    def share(self) -> float:
        """Of its group; NaN where that was not measured."""
        return self.noise.share if self.noise is not None else float("nan")


@dataclass(frozen=True, eq=False)
class MeasuredLayer:
    """What running found of a layer. A quantizer between two layers is counted for both."""

    quantizers: tuple[LayerQuantizer, ...]

    @cached_property
    def noise(self) -> float:
        """Noise alone of its groups together; NaN where none was measured."""
        found = _distinct(self.quantizers)
        return sum(one.alone for one in found) if found else float("nan")

    @property
    def alone_db(self) -> float:
        """Output SQNR where only this layer's quantizers are on, as far as noises add up."""
        return decibels(1.0, self.noise)

    @property
    def share(self) -> float:
        found = _distinct(self.quantizers)
        return sum(one.share for one in found) if found else float("nan")

    def share_of(self, role: Role) -> float:
        """Share of its quantizers of one role; NaN where there is none."""
        found = _distinct(one for one in self.quantizers if one.role is role)
        return sum(one.share for one in found) if found else float("nan")

    @property
    def activations(self) -> tuple[LayerQuantizer, ...]:
        return tuple(one for one in self.quantizers if one.role is not Role.WEIGHT)

    @property
    def worst_local_db(self) -> float:
        """The lowest SQNR of a tensor that flows in or out; NaN where none is known."""
        known = [one.statistics.local_db for one in self.activations if one.statistics]
        return min((db for db in known if db == db), default=float("nan"))

    @property
    def clipped_share(self) -> float:
        """The largest share of values that a scale cuts off; NaN where none is known."""
        known = [one.statistics.clipped_share for one in self.activations if one.statistics]
        return max(known, default=float("nan"))


def name_roles(quantizers: Sequence[LayerQuantizer]) -> list[str]:
    """Return what each is to its layer, numbered where several are the same: input 1, input 2."""
    names = []
    for one in quantizers:
        alike = [other for other in quantizers if other.role is one.role]
        number = f" {alike.index(one) + 1}" if len(alike) > 1 else ""
        names.append(f"{one.role.value}{number}")
    return names


def _distinct(quantizers: Iterable[LayerQuantizer]) -> list[GroupNoise]:
    """Return the groups of some quantizers, each once."""
    found = {one.noise.group: one.noise for one in quantizers if one.noise is not None}
    return list(found.values())


_measured: SharedCache[Mapping[str, MeasuredLayer]] = SharedCache(size=32)


def measure_layers(comparison: Comparison, variant: str) -> Mapping[str, MeasuredLayer]:
    """Return what running a variant found, by layer, in graph order."""
    outputs = comparison.outputs[variant]
    if comparison.original is not None:
        original = comparison.naming_model
        return _measured.get(outputs, lambda: _measure_layers(original, outputs))
    # It was compared with itself: what it calls its layers may be another variant's names.
    model, names = comparison.variants[variant], _names_in(comparison, variant)
    found = _measured.get(outputs, lambda: _measure_layers(model, outputs))
    return {names[own]: layer for own, layer in found.items() if own in names}


def _names_in(comparison: Comparison, variant: str) -> dict[str, str]:
    known = comparison.layer_names.items()
    return {owns[variant]: name for name, owns in known if variant in owns}


def list_layer_activations(
    comparison: Comparison, layer_name: str
) -> dict[str, tuple[LayerQuantizer, ...]]:
    """Return the activations of a layer in each variant that was run on samples."""
    found = {}
    for variant in comparison.outputs:
        layer = measure_layers(comparison, variant).get(layer_name)
        if layer is not None and layer.activations:
            found[variant] = layer.activations
    return found


def _measure_layers(original: Model, outputs: Outputs) -> dict[str, MeasuredLayer]:
    layers = list_layers(original)
    noises = {q.index: group for group in outputs.groups for q in group.quantizers}
    known = outputs.statistics or {}
    found: dict[str, list[LayerQuantizer]] = defaultdict(list)

    def add(layer: str, role: Role, one: Quantizer) -> None:
        quantizer = LayerQuantizer(role, one, noises.get(one.index), known.get(one.index))
        found[layer].append(quantizer)

    for one in outputs.quantizers:
        is_weight = one.kind is QuantizerKind.WEIGHT
        for layer in one.layers:
            add(layer, Role.WEIGHT if is_weight else Role.INPUT, one)
    for layer, one in _find_made(layers, outputs.quantizers):
        add(layer, Role.OUTPUT, one)
    return {
        layer.name: MeasuredLayer(tuple(found[layer.name]))
        for layer in layers
        if layer.name in found
    }


def _find_made(
    layers: Iterable[Layer], quantizers: Iterable[Quantizer]
) -> Iterator[tuple[str, Quantizer]]:
    """Yield each layer with the quantizers of what it makes, also behind what passes that on."""
    at: dict[str, list[Quantizer]] = defaultdict(list)
    for one in quantizers:
        if one.kind is QuantizerKind.ACTIVATION:
            at[one.tensor].append(one)
    readers: dict[str, list[Layer]] = defaultdict(list)
    everything = list(layers)
    for layer in everything:
        for name in layer.input_names[:1] if layer.op_type in MOVING else ():
            readers[name].append(layer)
    for layer in everything:
        for one in _follow(layer, at, readers):
            yield layer.name, one


def _follow(
    layer: Layer, at: Mapping[str, list[Quantizer]], readers: Mapping[str, list[Layer]]
) -> Iterator[Quantizer]:
    """Yield the first quantizers behind a layer."""
    tensors = list(layer.output_names)
    for _ in range(MOST_STEPS):
        for name in tensors:
            yield from at.get(name, ())
        behind = [one for name in tensors if name not in at for one in readers.get(name, ())]
        tensors = [name for one in behind for name in one.output_names]
