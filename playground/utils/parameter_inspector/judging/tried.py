"""Remedies that measuring tried: what it gives to switch quantizers off in the quantized model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..measuring.comparison import Comparison
from ..measuring.outputs import ActivationStatistics, GroupNoise, Outputs, Quantizer
from ..reading.layers import list_layers
from ..records import Layer
from .float_neighbours import list_nodes_to_exclude
from .measured_facts import Cost, MeasuredOn, Tried


@dataclass(frozen=True, eq=False)
class Suspect:
    """An activation quantizer that costs something, what flowed through it, and where it stands.

    ``maker``: None for an input of the network. ``readers``: with the position that it is read at.
    """

    quantizer: Quantizer
    seen: ActivationStatistics
    cost: Cost
    maker: Layer | None
    readers: tuple[tuple[Layer, int], ...]
    outputs: Outputs


@dataclass(frozen=True, eq=False)
class Trial:
    """A variant that was measured, and the layers around its tensors."""

    comparison: Comparison
    outputs: Outputs

    @cached_property
    def makers(self) -> dict[str, Layer]:
        layers = list_layers(self.comparison.naming_model)
        return {name: layer for layer in layers for name in layer.output_names if name}

    @cached_property
    def readers(self) -> dict[str, tuple[tuple[Layer, int], ...]]:
        found: dict[str, tuple[tuple[Layer, int], ...]] = {}
        for layer in list_layers(self.comparison.naming_model):
            for position, name in enumerate(layer.input_names):
                found[name] = (*found.get(name, ()), (layer, position))
        return found

    @cached_property
    def curve(self) -> tuple[Tried, ...]:
        """The recovered curve; empty where it is about another model than the file."""
        if self.outputs.check.is_partial or self.outputs.sqnr_db is None:
            return ()
        return tuple(
            self._create_tried(self.outputs.groups[: point.count], point.sqnr_db)
            for point in self.outputs.recovered
            if not math.isnan(point.sqnr_db)
        )

    @cached_property
    def measured_on(self) -> MeasuredOn:
        return MeasuredOn(self.outputs.sample_kind, self.outputs.sample_count)

    def list_suspects(self, least_share: float) -> Iterator[list[Suspect]]:
        """Yield the activations of each group that costs so much, the costliest first."""
        for rank, group in enumerate(self.outputs.groups):
            if group.share >= least_share:
                yield [
                    self._create_suspect(rank, quantizer, seen)
                    for quantizer in group.quantizers
                    if (seen := (self.outputs.statistics or {}).get(quantizer.index)) is not None
                ]

    def _create_suspect(
        self, rank: int, quantizer: Quantizer, seen: ActivationStatistics
    ) -> Suspect:
        tensor = quantizer.tensor
        cost = Cost(
            tensor,
            self.outputs.groups[rank].share,
            self.measured_on,
            self._level(),
            seen.local_db,
            self._restored(self.outputs.groups[rank]),
            next((tried for tried in self.curve if tried.groups > max(rank, 1)), None),
        )
        readers = self.readers.get(tensor, ())
        return Suspect(quantizer, seen, cost, self.makers.get(tensor), readers, self.outputs)

    def _level(self) -> float:
        return math.nan if self.outputs.sqnr_db is None else self.outputs.sqnr_db

    def _restored(self, group: GroupNoise) -> Tried | None:
        if group.restored_db is None or not self.curve:
            return None
        return self._create_tried([group], self._level() + group.restored_db)

    def _create_tried(self, groups: Sequence[GroupNoise], level: float) -> Tried:
        names = dict.fromkeys(name for group in groups for name in self._touched(group))
        return Tried(
            len(groups),
            sum(len(group.quantizers) for group in groups),
            list_nodes_to_exclude(names, self.comparison),
            level - self._level(),
            level,
        )

    def _touched(self, group: GroupNoise) -> Iterator[str]:
        """Yield the layers that make or read the tensors of a group: all have to stay in float."""
        for quantizer in group.quantizers:
            if (maker := self.makers.get(quantizer.tensor)) is not None:
                yield maker.name
            yield from quantizer.layers
