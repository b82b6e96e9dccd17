"""What a rule hands on: a `Finding`. Kinds, names and numbers only; `wording` makes the sentences.

The facts of each kind stand in `resolution_facts`, `parameter_facts` and `file_facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

SEVERITIES = ("error", "warning", "note")


class Facts(Protocol):
    """What one kind of finding is about: a record of its own, with a sentence in `wording`."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """Those that leave the playground by name, for machines."""
        ...


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: the rule's id, as in `RULES`.
        severity: ``error``, ``warning`` or ``note``.
        variant: name of the variant it is about.
        layer_name: the layer it is about, as the original names it; empty for the whole file.
        facts: what the sentences are made from.
    """

    rule: str
    severity: str
    variant: str
    layer_name: str
    facts: Facts

    @property
    def numbers(self) -> Mapping[str, float]:
        """The numbers by name, for machines."""
        return self.facts.numbers


# ------------------------------------------------- what remedies speak of


@dataclass(frozen=True)
class NodesToExclude:
    """Layers as the next quantization has to name them: by their nodes in one variant.

    Attributes:
        nodes: the names; a layer whose node has none is missing.
        are_all_named: whether none is missing.
        named_by: the variant whose nodes they are.
        are_of_quantized_file: that variant is quantized: the float model may have others.
    """

    nodes: tuple[str, ...]
    are_all_named: bool
    named_by: str
    are_of_quantized_file: bool


@dataclass(frozen=True)
class KeptInFloat:
    """A layer to leave in float, with the neighbour that has to go too where there is one."""

    nodes: NodesToExclude
    has_neighbour: bool


@dataclass(frozen=True)
class FinerSteps:
    """What gives a layer finer steps: a scale for each channel, or float."""

    has_one_scale: bool
    kept_in_float: KeptInFloat
