"""The same layer across variants, with the evidence.

Names propose, values decide: a pair is sure only where the weights point the same way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..quantization import UnavailableError
from ..reading.layers import list_layers, readers_of
from ..reading.model_file import Model
from ..records import Layer, LayerPair, Pairing, WeightTensor
from .base_names import base_name
from .rescaling import fold_pairs
from .sketches import find_similar, sample_weight, score_sketches, sketch_size

# Right pairs score 0.84 and more (the worst: int4 per tensor), wrong ones below 0.36.
SURE_SCORE = 0.5

# A name that more layers of one family and shape have than this says nothing.
MOST_OF_ONE_NAME = 16

Place = tuple[int, int]

_FAMILIES = {
    **dict.fromkeys(
        "Gemm MatMul QGemm FusedGemm FusedMatMul TransposeMatMul QLinearMatMul MatMulInteger "
        "MatMulNBits MatMulBnb4 DynamicQuantizeMatMul MatMulIntegerToFloat".split(),
        "Linear",
    ),
    **dict.fromkeys("Conv FusedConv NhwcFusedConv QLinearConv ConvInteger".split(), "Conv"),
    **dict.fromkeys("Gather GatherBlockQuantized".split(), "Gather"),
    **dict.fromkeys("LSTM DynamicQuantizeLSTM".split(), "LSTM"),
    **dict.fromkeys("Attention QAttention".split(), "Attention"),
    **dict.fromkeys("EmbedLayerNormalization QEmbedLayerNormalization".split(), "Embedding"),
    **dict.fromkeys("Add QLinearAdd".split(), "Add"),
    **dict.fromkeys("Mul QLinearMul".split(), "Mul"),
    **dict.fromkeys("LayerNormalization SkipLayerNormalization".split(), "LayerNormalization"),
}
_PASSING_ON = ("BatchNormalization", "Relu", "Clip", "LeakyRelu", "Add")


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One layer with a weight, as the pairing sees it."""

    layer: Layer
    key: tuple[str, tuple[int, ...]]
    names: tuple[frozenset[str], ...]
    sample: np.ndarray


def pair_layers(
    original: Model, variant: Model, progress: Callable[[str], None] | None = None
) -> Pairing:
    """Pair the layers of ``variant`` with those of ``reference``, the float original.

    Layers with a weight are paired by name and values; layers without one by name alone. Reads a
    weight at a time.
    """
    ours, theirs = list_layers(original), list_layers(variant)
    size = sketch_size(sum(layer.weight is not None for layer in (*ours, *theirs)))
    left = _candidates(ours, size, progress)
    right = _candidates(theirs, size, progress)
    pairs = list(_pair_candidates(left, right))
    taken = {p.original for p in pairs}, {p.variant for p in pairs}
    readable = {c.layer.name for c in left}, {c.layer.name for c in right}
    pairs += _pair_by_name(
        [layer for layer in ours if layer.name not in taken[0]],
        [layer for layer in theirs if layer.name not in taken[1]],
        readable,
    )
    samples = {c.layer.name: c.sample for c in left}, {c.layer.name: c.sample for c in right}
    pairs, folded = fold_pairs(pairs, ours, theirs, samples)
    order = {layer.name: layer.index for layer in ours}
    pairs.sort(key=lambda pair: order[pair.original])
    taken = {p.original for p in pairs} | set(folded), {p.variant for p in pairs}
    return Pairing(tuple(pairs), _left_over(ours, taken[0]), _left_over(theirs, taken[1]), folded)


def _left_over(layers: Sequence[Layer], taken: set[str]) -> tuple[str, ...]:
    return tuple(
        layer.name for layer in layers if layer.name not in taken and _has_parameters(layer)
    )


def _has_parameters(layer: Layer) -> bool:
    return layer.weight is not None or bool(layer.not_understood)


# ------------------------------------------------- what is compared


def _candidates(
    layers: Sequence[Layer], size: tuple[int, int], progress: Callable[[str], None] | None
) -> list[_Candidate]:
    aliases = _output_aliases(layers)
    found = []
    for layer in layers:
        if layer.weight is None:
            continue
        try:
            sample = sample_weight(layer.weight, layer, size)
        except UnavailableError:
            continue
        if progress is not None:
            progress(layer.name)
        names = [layer.node_name], aliases[layer.name], [layer.weight.name]
        # Of one shape, a ConvTranspose in more groups has more channels.
        key = _family(layer), (*_canonical_shape(layer), *sample.shape)
        found.append(_Candidate(layer, key, tuple(map(_bases, names)), sample))
    return found


def _weight(layer: Layer) -> WeightTensor:
    assert layer.weight is not None
    return layer.weight


def _family(layer: Layer) -> str:
    return _FAMILIES.get(layer.op_type, layer.op_type)


def _bases(names: Iterable[str]) -> frozenset[str]:
    return frozenset(base_name(name) for name in names if name)


def _output_aliases(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Return each layer's output names, with those of what follows and may have been fused."""
    readers = readers_of(layers)
    aliases = {}
    for layer in layers:
        names = list(layer.output_names[:1])
        for _ in range(3):
            following = readers.get(names[-1], []) if names and names[-1] else []
            if len(following) != 1 or following[0].op_type not in _PASSING_ON:
                break
            names.append(following[0].output_names[0])
        aliases[layer.name] = names
    return aliases


def _canonical_shape(layer: Layer) -> tuple[int, ...]:
    weight = _weight(layer)
    axis, shape = weight.channel_axis or 0, weight.shape
    moved = (*shape[axis : axis + 1], *shape[:axis], *shape[axis + 1 :])
    return tuple(d for d in moved if d != 1)


# ------------------------------------------------- who goes with whom


def _pair_candidates(left: list[_Candidate], right: list[_Candidate]) -> Iterator[LayerPair]:
    groups = defaultdict(lambda: ([], []))  # type: ignore[var-annotated]
    for side, candidates in enumerate((left, right)):
        for candidate in candidates:
            groups[candidate.key][side].append(candidate)
    for ours, theirs in groups.values():
        if ours and theirs:
            yield from _pair_group(ours, theirs)


def _pair_group(ours: list[_Candidate], theirs: list[_Candidate]) -> Iterator[LayerPair]:
    """Pair layers of one family and shape in tiers, the surest first, each layer once.

    Values are compared where names propose a pair; then, of what is left, everything with
    everything.
    """
    proposed = _propose_by_name(ours, theirs)
    scores = {at: score_sketches(ours[at[0]].sample, theirs[at[1]].sample) for at in proposed}
    free = dict.fromkeys(range(len(ours))), dict.fromkeys(range(len(theirs)))

    def lock(places: Iterable[Place], evidence: str) -> Iterator[LayerPair]:
        def badness(at: Place) -> tuple[float, ...]:
            return (-proposed.get(at, 0), -round(scores[at], 3), *at)

        for i, j in sorted(places, key=badness):
            if i in free[0] and j in free[1]:
                del free[0][i], free[1][j]
                yield LayerPair(ours[i].layer.name, theirs[j].layer.name, evidence, scores[i, j])

    def score(places: Iterable[Place]) -> list[Place]:
        places = list(places)
        for i, j in places:
            if (i, j) not in scores:
                scores[i, j] = score_sketches(ours[i].sample, theirs[j].sample)
        return places

    yield from lock([at for at in proposed if scores[at] >= SURE_SCORE], "name and values")
    left, right = list(free[0]), list(free[1])
    similar = find_similar(
        [ours[i].sample for i in left], [theirs[j].sample for j in right], SURE_SCORE
    )
    yield from lock(score((left[i], right[j]) for i, j in similar), "values")
    yield from lock(proposed, "name only: values differ")
    yield from lock(score(zip(*map(list, free), strict=False)), "order: a guess")


def _propose_by_name(ours: list[_Candidate], theirs: list[_Candidate]) -> dict[Place, int]:
    """Return which layers share a name, and of how many kinds: node, outputs, weight."""
    shared: Counter[Place] = Counter()
    for kind in range(3):
        named = defaultdict(list)
        for j, candidate in enumerate(theirs):
            for name in candidate.names[kind]:
                named[name].append(j)
        for i, candidate in enumerate(ours):
            partners = {
                j
                for name in candidate.names[kind]
                if len(named.get(name, ())) <= MOST_OF_ONE_NAME
                for j in named.get(name, ())
            }
            shared.update((i, j) for j in partners)
    return dict(shared)


def _pair_by_name(
    ours: Sequence[Layer], theirs: Sequence[Layer], readable: tuple[set[str], set[str]]
) -> list[LayerPair]:
    """Pair layers whose weights cannot be compared, where name or output and family are equal."""
    free: dict[tuple[str, str], Layer] = {}
    for layer in reversed(theirs):
        for name in _bases([layer.node_name, *layer.output_names[:1]]):
            free[_family(layer), name] = layer
    taken: set[str] = set()
    pairs = []
    for layer in ours:
        found = [
            free.get((_family(layer), name))
            for name in sorted(_bases([layer.node_name, *layer.output_names[:1]]))
        ]
        partner = next((f for f in found if f is not None and f.name not in taken), None)
        comparable = (
            partner is not None and layer.name in readable[0] and partner.name in readable[1]
        )
        if partner is not None and not comparable:
            taken.add(partner.name)
            pairs.append(LayerPair(layer.name, partner.name, "name", None))
    return pairs
