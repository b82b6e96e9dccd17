"""Lists of layers to leave in float, for each quantizer: a new one is an entry of `EXCLUSIONS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..parameter_inspector import (
    Comparison,
    Layer,
    Move,
    MoveKind,
    layers_by_name,
    list_nodes_left_out_along,
    merge_moves,
)
from ..spelling import spell_count
from .escaping import quote_short
from .layer_lookup import find_layer_in
from .python_text import assign, list_names


@dataclass(frozen=True)
class Exclusion:
    """Layers to leave float, as the next quantization has to name them.

    Attributes:
        names: of the nodes, in the first variant: the model that is quantized again.
        along: further nodes that onnxruntime has to leave out: what reads the layers.
        notes: one sentence for each layer that cannot be named so, and other things to know.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...]
    along: tuple[str, ...] = ()


def create_exclusion(comparison: Comparison, layer_names: Iterable[str]) -> Exclusion:
    """Return how layers are named in the variant that names them."""
    layer_names = tuple(layer_names)
    named_by, layers = comparison.named_by, layers_by_name(comparison.naming_model)
    counts = Counter(layer.node_name for layer in layers.values())
    names: list[str] = []
    notes: list[str] = []
    for layer_name in layer_names:
        layer = find_layer_in(comparison, named_by, layer_name)
        if layer is not None and layer.node_name:
            names.append(layer.node_name)
        notes += _note_layer(layer_name, layer, named_by, counts)
    if any(layer.weight and layer.weight.is_quantized for layer in layers.values()):
        notes.append(f"There is no float original here: the names are those of {named_by}.")
    return Exclusion(
        tuple(dict.fromkeys(names)),
        tuple(dict.fromkeys(notes)),
        list_nodes_left_out_along(comparison, layer_names),
    )


def exclude_freed_layers(comparison: Comparison, moves: Iterable[Move]) -> Exclusion:
    """Return how the layers are named that a plan leaves in float, or an activation of which.

    NNCF and Quark leave out layers, not tensors: a float activation takes the layers that read it
    along, and other moves have no words there.
    """
    moves = tuple(merge_moves(moves))
    freed = [move for move in moves if move.kind is MoveKind.FREE]
    found = create_exclusion(comparison, dict.fromkeys(n for move in freed for n in move.layers))
    others = Counter(move.kind.value for move in moves if move.kind is not MoveKind.FREE)
    rest = [f"Not in this list: {count} × {what}." for what, count in others.items()]
    if any(not move.is_weight for move in freed):
        rest.append("What reads an activation that the plan leaves in float is left out whole.")
    return replace(found, notes=(*found.notes, *rest))


def _note_layer(
    layer_name: str, layer: Layer | None, named_by: str, counts: Mapping[str, int]
) -> Iterator[str]:
    """Yield what to know about leaving a layer out by name."""
    quoted = quote_short(layer_name)
    if layer is None:
        yield f"{quoted} is not in {named_by}, so it cannot be left out there."
    elif not layer.node_name:
        yield (
            f"{quoted} has no node name in {named_by}, so it cannot be left out by name: name the "
            "nodes first."
        )
    elif counts[layer.node_name] > 1:
        yield (
            f"{counts[layer.node_name]} nodes are called {quote_short(layer.node_name)}: all of "
            "them are left out."
        )


def exclude_in_onnxruntime(exclusion: Exclusion) -> str:
    """Return ``nodes_to_exclude`` of onnxruntime's quantize_static and quantize_dynamic.

    What goes along was measured with onnxruntime 1.31: see models/README.md.
    """
    along = [
        f"The last {spell_count(len(exclusion.along), 'node')} of the list go along: since 1.21,",
        "onnxruntime quantizes a float Conv again where what reads it is quantized.",
    ]
    return assign(
        "nodes_to_exclude",
        list_names([*exclusion.names, *exclusion.along]),
        [
            "quantize_static(..., nodes_to_exclude=nodes_to_exclude)",
            *(along if exclusion.along else ()),
            *exclusion.notes,
        ],
    )


def exclude_in_nncf(exclusion: Exclusion) -> str:
    """Return NNCF's ``IgnoredScope``: on ONNX its names are those of the nodes.

    Source: https://github.com/openvinotoolkit/nncf, class IgnoredScope.
    """
    return "import nncf\n\n" + assign(
        "ignored_scope",
        f"nncf.IgnoredScope(names={list_names(exclusion.names)})",
        ["nncf.quantize(..., ignored_scope=ignored_scope)", *exclusion.notes],
    )


def exclude_in_quark(exclusion: Exclusion) -> str:
    """Return ``exclude`` of AMD Quark's QConfig for ONNX.

    Source: https://github.com/amd/Quark,
    docs/source/onnx/appendix_full_quant_config_features.rst: names of nodes, or regular
    expressions, which "must start with ^ and contain the .* characters".
    """
    patterns = [name for name in exclusion.names if name.startswith("^") and ".*" in name]
    return assign(
        "exclude",
        list_names(exclusion.names),
        [
            "QConfig(..., exclude=exclude)",
            *exclusion.notes,
            *(f"Quark reads {quote_short(name)} as a regular expression." for name in patterns),
        ],
    )


EXCLUSIONS: Mapping[str, Callable[[Exclusion], str]] = {
    "onnxruntime": exclude_in_onnxruntime,
    "NNCF": exclude_in_nncf,
    "Quark": exclude_in_quark,
}
"""The tools that can leave layers float, and who writes their text. A new one is an entry."""
