"""The sentences about a file of another network, and weights that are gone."""

from __future__ import annotations

from ..measuring.network_identity import DifferenceKind
from ..reading.model_file import printable
from .identity_rules import DeadWeights, OtherNetwork
from .phrases import Sentences, counted, list_names


def say_other_network(facts: OtherNetwork) -> Sentences:
    identity = facts.identity
    parts = [
        f"{facts.count(kind)} {what}" for kind, what in _DIFFERENCES.items() if facts.count(kind)
    ]
    first = list_names([d.layer_name for d in identity.differences] or identity.lost)
    if identity.differences:
        shares = (
            f"{len(identity.differences)} of {facts.compared} layers differ ({', '.join(parts)})"
        )
    else:
        shares = (
            f"none of its {len(identity.strange)} layers is one of the {len(identity.lost)} there"
        )
    shapes = next((d for d in identity.differences if d.shape), None)
    example = (
        f"; {printable(shapes.layer_name)} has {shapes.shape} where the original has "
        f"{shapes.original_shape}"
        if shapes
        else ""
    )
    return Sentences(
        f"This is not the network of {facts.original}: {shares}: {first}{example}; "
        f"{counted(len(identity.lost), 'layer')} of the original and {len(identity.strange)} of "
        "this file are without counterpart.",
        "Compare with the float model that this file was made from; nothing that needs the "
        "original was judged, and `requantize` refuses to mix the two.",
    )


_DIFFERENCES = {
    DifferenceKind.VALUES: "with other weights",
    DifferenceKind.SHAPE: "of another shape",
    DifferenceKind.DRIFTED: "trained further or rescaled",
}


def say_dead_weights(facts: DeadWeights) -> Sentences:
    return Sentences(
        f"In {counted(len(facts.layers), 'layer')}, {list_names(facts.layers)}, every code equals "
        "the zero-point: the weight is zero, and what leaves does not depend on what enters.",
        "Quantize from the float weight again, and compare the codes as they are saved: the scales "
        "are there, so the codes were lost on the way to the file.",
    )
