"""The same layer across variants, with the evidence.

Names propose, values decide: a pair is sure only where the weights point the same way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..facts import Evidence
from ..operators import operator_named
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
    """Pair the layers of ``variant`` with those of ``original``, the float variant.

    Layers with a weight are paired by name and values; layers without one by name alone. Reads a
    weight at a time.
    """
    originals, others = list_layers(original), list_layers(variant)
    size = sketch_size(sum(layer.weight is not None for layer in (*originals, *others)))
    left = _candidates(originals, size, progress)
    right = _candidates(others, size, progress)
    pairs = list(_pair_candidates(left, right))
    pairs += _pair_by_name(
        _not_in(originals, {pair.original for pair in pairs}),
        _not_in(others, {pair.variant for pair in pairs}),
        ({c.layer.name for c in left}, {c.layer.name for c in right}),
    )
    samples = {c.layer.name: c.sample for c in left}, {c.layer.name: c.sample for c in right}
    pairs, folded = fold_pairs(pairs, originals, others, samples)
    order = {layer.name: layer.index for layer in originals}
    pairs.sort(key=lambda pair: order[pair.original])
    return Pairing(
        tuple(pairs),
        _left_over(originals, {pair.original for pair in pairs} | set(folded)),
        _left_over(others, {pair.variant for pair in pairs}),
        folded,
    )


def _not_in(layers: Sequence[Layer], taken: set[str]) -> list[Layer]:
    return [layer for layer in layers if layer.name not in taken]


def _left_over(layers: Sequence[Layer], taken: set[str]) -> tuple[str, ...]:
    return tuple(layer.name for layer in _not_in(layers, taken) if _has_parameters(layer))


def _has_parameters(layer: Layer) -> bool:
    return layer.weight is not None or bool(layer.not_understood)


# ------------------------------------------------- what is compared


def _candidates(
    layers: Sequence[Layer], size: tuple[int, int], progress: Callable[[str], None] | None
) -> list[_Candidate]:
    aliases = _output_aliases(layers)
    candidates = []
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
        candidates.append(_Candidate(layer, key, tuple(map(_bases, names)), sample))
    return candidates


def _weight(layer: Layer) -> WeightTensor:
    assert layer.weight is not None
    return layer.weight


def _family(layer: Layer) -> str:
    return operator_named(layer.op_type).family


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
            if len(following) != 1 or not operator_named(following[0].op_type).is_passed_on:
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
    for of_original, of_variant in groups.values():
        if of_original and of_variant:
            yield from _Group(of_original, of_variant).pair()


class _Group:
    """The layers of one family and shape on both sides, paired in tiers, each layer once.

    Values are compared where names propose a pair; then, of what is left, everything with
    everything.
    """

    def __init__(self, left: list[_Candidate], right: list[_Candidate]) -> None:
        self._left, self._right = left, right
        self._free = dict.fromkeys(range(len(left))), dict.fromkeys(range(len(right)))
        self._proposed = _propose_by_name(left, right)
        self._scores: dict[Place, float] = {}
        self._score(self._proposed)

    def pair(self) -> Iterator[LayerPair]:
        """Yield the pairs, the surest first."""
        scores = self._scores
        sure = [place for place in self._proposed if scores[place] >= SURE_SCORE]
        yield from self._lock(sure, Evidence.NAME_AND_VALUES)
        yield from self._lock(self._score(self._similar()), Evidence.VALUES)
        yield from self._lock(self._proposed, Evidence.NAME_ONLY)
        in_order = zip(*map(list, self._free), strict=False)
        yield from self._lock(self._score(in_order), Evidence.ORDER)

    def _similar(self) -> Iterator[Place]:
        """Yield which of the layers that are left have values that go together."""
        left, right = map(list, self._free)
        samples = [self._left[i].sample for i in left], [self._right[j].sample for j in right]
        return ((left[i], right[j]) for i, j in find_similar(*samples, SURE_SCORE))

    def _score(self, places: Iterable[Place]) -> list[Place]:
        places = list(places)
        for i, j in places:
            if (i, j) not in self._scores:
                score = score_sketches(self._left[i].sample, self._right[j].sample)
                self._scores[i, j] = score
        return places

    def _lock(self, places: Iterable[Place], evidence: Evidence) -> Iterator[LayerPair]:
        """Yield the best pairs among the places, none of a layer that has a partner already."""
        for i, j in sorted(places, key=self._badness):
            if i in self._free[0] and j in self._free[1]:
                del self._free[0][i], self._free[1][j]
                names = self._left[i].layer.name, self._right[j].layer.name
                yield LayerPair(*names, evidence, self._scores[i, j])

    def _badness(self, place: Place) -> tuple[float, ...]:
        return (-self._proposed.get(place, 0), -round(self._scores[place], 3), *place)


def _propose_by_name(left: list[_Candidate], right: list[_Candidate]) -> dict[Place, int]:
    """Return which layers share a name, and of how many kinds: node, outputs, weight."""
    shared: Counter[Place] = Counter()
    for kind in range(3):
        named = defaultdict(list)
        for j, candidate in enumerate(right):
            for name in candidate.names[kind]:
                named[name].append(j)
        for i, candidate in enumerate(left):
            partners = {
                j
                for name in candidate.names[kind]
                if len(named.get(name, ())) <= MOST_OF_ONE_NAME
                for j in named.get(name, ())
            }
            shared.update((i, j) for j in partners)
    return dict(shared)


def _pair_by_name(
    originals: Sequence[Layer], others: Sequence[Layer], readable: tuple[set[str], set[str]]
) -> list[LayerPair]:
    """Pair layers whose weights cannot be compared, where name or output and family are equal."""
    by_key = {key: layer for layer in reversed(others) for key in _name_keys(layer)}
    taken: set[str] = set()
    pairs = []
    for layer in originals:
        named = (by_key.get(key) for key in _name_keys(layer))
        partner = next((n for n in named if n is not None and n.name not in taken), None)
        if partner is None or (layer.name in readable[0] and partner.name in readable[1]):
            continue
        taken.add(partner.name)
        pairs.append(LayerPair(layer.name, partner.name, Evidence.NAME, None))
    return pairs


def _name_keys(layer: Layer) -> list[tuple[str, str]]:
    """Return family and name, and family and output: what equal layers share."""
    names = _bases([layer.node_name, *layer.output_names[:1]])
    return [(_family(layer), name) for name in sorted(names)]
