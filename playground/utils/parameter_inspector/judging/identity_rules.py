"""Rules about whose network it is: one finding for a file that is not that of the original."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..facts import Refusal, RefusalKind
from ..measuring.comparison import Comparison
from ..measuring.network_identity import DifferenceKind, NetworkIdentity, identify_network
from ..reading.schemas import MismatchKind
from .channel_states import measured_layers, only_layer
from .findings import Finding
from .loading_rules import LoadingKind, LoadingProblem

# What is said against an original says nothing where that is another network.
_AGAINST_THE_ORIGINAL = frozenset(
    "channel-collapse range-disparity clipping scale-too-wide unused-codes values-differ "
    "layers-lost".split()
)

# A layer that was refused for these says more than the schema that the file breaks.
_UNFIT = frozenset(
    (
        RefusalKind.CODES_TYPE,
        RefusalKind.SCALE_TYPE,
        RefusalKind.ZERO_POINT_TYPE,
        RefusalKind.ZERO_POINT_SHAPE,
        RefusalKind.SCALE_SHAPE,
    )
)
_BY_TYPE = (MismatchKind.INPUT_TYPE, MismatchKind.TYPES_DIFFER)


@dataclass(frozen=True)
class OtherNetwork:
    """A file whose weights are not those of the original.

    Attributes:
        original: the variant that it stands beside.
        compared: layers that both have.
    """

    original: str
    identity: NetworkIdentity

    @property
    def compared(self) -> int:
        return self.identity.compared

    def count(self, kind: DifferenceKind) -> int:
        return Counter(d.kind for d in self.identity.differences)[kind]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "differing": len(self.identity.differences),
            "compared": self.compared,
            "lost": len(self.identity.lost),
            "strange": len(self.identity.strange),
        }


@dataclass(frozen=True)
class DeadWeights:
    """Layers whose codes all equal the zero-point, though the original's weights do not vanish."""

    layers: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"layers": len(self.layers)}


def find_other_network(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """The weights are those of other layers, of another training run, or of another shape."""
    identity = identify_network(comparison, variant)
    if identity is not None and identity.is_other_network:
        facts = OtherNetwork(comparison.named_by, identity)
        yield Finding("other-network", "error", variant, "", facts)


def find_dead_weights(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Every code of a layer is the zero-point: its output does not depend on its input."""
    dead = tuple(
        name
        for name, measured in measured_layers(comparison, variant)
        if measured.weight.slot == "weight"
        and measured.sums.dead is not None
        and measured.sums.dead.size
        and measured.sums.dead.all()
        and not _is_zero_in_original(comparison, name)
    )
    if dead:
        yield Finding("dead-weight", "error", variant, only_layer(dead), DeadWeights(dead))


def _is_zero_in_original(comparison: Comparison, layer_name: str) -> bool:
    by_variant = comparison.weights[layer_name]
    if comparison.original is None or comparison.original not in by_variant:
        return False
    sums = by_variant[comparison.original].sums
    return bool(np.nan_to_num(np.maximum(np.abs(sums.low), np.abs(sums.high))).max(initial=0) == 0)


def _is_about_parameters(finding: Finding) -> bool:
    """Return whether a layer's scale, zero-point or codes were refused for type or shape."""
    refusal = getattr(finding.facts, "refusal", None)
    return isinstance(refusal, Refusal) and refusal.kind in _UNFIT


def _says_so_of_the_file(finding: Finding) -> bool:
    facts = finding.facts
    if not isinstance(facts, LoadingProblem):
        return False
    by_type = facts.mismatch is not None and facts.mismatch.kind in _BY_TYPE
    return by_type or facts.kind is LoadingKind.LENGTHS_DIFFER


def drop_consequences(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out what only says again that a file is another network, or a weight is dead."""
    findings = list(findings)
    others = {f.variant for f in findings if f.rule == "other-network"}
    dead = {
        (f.variant, name)
        for f in findings
        if isinstance(f.facts, DeadWeights)
        for name in f.facts.layers
    }
    unread = {f.variant for f in findings if _is_about_parameters(f)}

    def is_said_already(finding: Finding) -> bool:
        variant, rule = finding.variant, finding.rule
        if variant in unread and _says_so_of_the_file(finding):
            return True
        if variant in others and rule in _AGAINST_THE_ORIGINAL:
            return True
        is_dead = (variant, finding.layer_name) in dead
        return is_dead and rule in (*_AGAINST_THE_ORIGINAL, "lost-constant")

    return [finding for finding in findings if not is_said_already(finding)]
