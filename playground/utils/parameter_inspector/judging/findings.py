"""What a rule hands on: a `Finding`. Kinds, names and numbers only; `wording` makes the sentences.

The facts of each kind stand in `resolution_facts`, `parameter_facts` and `file_facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .quantizing_methods import Method

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
    """A layer to leave in float.

    Attributes:
        has_readers: the layers that read it go with it: without them onnxruntime quantizes its
            weight again as the session opens, or its output in any case.
    """

    nodes: NodesToExclude
    has_readers: bool


@dataclass(frozen=True)
class MeasuredLimit:
    """What running the variant found: whose noise the output has.

    Attributes:
        weights_share: of the noise of weights and activations together, each alone.
        activations_db: the output's SQNR with weights in float: what finer weights can reach.
    """

    weights_share: float
    activations_db: float


@dataclass(frozen=True)
class FinerSteps:
    """What gives a layer finer steps: a scale for each channel, or float.

    Attributes:
        has_one_scale: for all channels, today.
        method: what made the file.
        op_type: of the layer in the original.
        reaches_per_channel: whether ``per_channel=True`` changes anything for such a layer.
        is_dequantized: its codes come through a DequantizeLinear, which `requantize` can write.
        cures: whether a scale for each channel lifts every weak channel above the limit; None
            where it is not known, for want of the original.
        layers_in_file: how many layers of the file have a quantized weight.
        limit: whether weights are the limit, where the variant was run.
    """

    has_one_scale: bool
    kept_in_float: KeptInFloat
    method: Method = Method.STATIC_QDQ
    op_type: str = ""
    reaches_per_channel: bool = True
    is_dequantized: bool = False
    cures: bool | None = None
    layers_in_file: int = 0
    limit: MeasuredLimit | None = None
