"""The same layer across variants, with the evidence.

Names propose, values decide: a pair is sure only where the weights point the same way. The score is
the mean over the output channels of abs(cosine), so that batch-norm folding, another sign or
another scale per channel leave it alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .folding import fold_pairs, readers_of
from .layers import list_layers
from .model_file import Model
from .names import base_name
from .quantization import UnavailableError
from .records import Layer, LayerPair, Pairing, WeightTensor
from .rows import sample_values

# Right pairs score 0.84 and more (the worst: int4 per tensor), wrong ones below 0.36.
SURE_SCORE = 0.5

# A sketch of a weight: this many channels and columns decide as well as all of them do.
SKETCH_CHANNELS = 64
SKETCH_COLUMNS = 512

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
    names: tuple[frozenset[str], frozenset[str], frozenset[str]]
    sample: np.ndarray


def pair_layers(
    reference: Model, variant: Model, progress: Callable[[str], None] | None = None
) -> Pairing:
    """Pair the layers of ``variant`` with those of ``reference``, the float original.

    Layers with a weight are paired by name and values; layers without one by name alone. Reads a
    weight at a time.
    """
    ours, theirs = list_layers(reference), list_layers(variant)
    left = _candidates(ours, progress)
    right = _candidates(theirs, progress)
    pairs = list(_pair_candidates(left, right))
    taken = {p.reference for p in pairs}, {p.variant for p in pairs}
    readable = {c.layer.name for c in left}, {c.layer.name for c in right}
    pairs += _pair_by_name(
        [layer for layer in ours if layer.name not in taken[0]],
        [layer for layer in theirs if layer.name not in taken[1]],
        readable,
    )
    samples = {c.layer.name: c.sample for c in left}, {c.layer.name: c.sample for c in right}
    pairs, folded = fold_pairs(pairs, ours, theirs, samples)
    order = {layer.name: layer.index for layer in ours}
    pairs.sort(key=lambda pair: order[pair.reference])
    taken = {p.reference for p in pairs} | set(folded), {p.variant for p in pairs}
    return Pairing(tuple(pairs), _left_over(ours, taken[0]), _left_over(theirs, taken[1]), folded)


def _left_over(layers: Sequence[Layer], taken: set[str]) -> tuple[str, ...]:
    return tuple(
        layer.name for layer in layers if layer.name not in taken and _has_parameters(layer)
    )


def _has_parameters(layer: Layer) -> bool:
    return layer.weight is not None or bool(layer.not_understood)


# ------------------------------------------------- what is compared


def _candidates(
    layers: Sequence[Layer], progress: Callable[[str], None] | None
) -> list[_Candidate]:
    aliases = _output_aliases(layers)
    found = []
    for layer in layers:
        if layer.weight is None:
            continue
        try:
            sample = sample_weight(layer.weight, layer)
        except UnavailableError:
            continue
        if progress is not None:
            progress(layer.name)
        names = _bases([layer.node_name]), _bases(aliases[layer.name]), _bases([layer.weight.name])
        key = _family(layer), _canonical_shape(layer)
        found.append(_Candidate(layer, key, names, sample))
    return found


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
    weight = layer.weight
    assert weight is not None
    empty = np.broadcast_to(np.zeros((), np.int8), weight.shape)
    axis = weight.channel_axis or 0
    moved = np.moveaxis(empty, axis, 0).shape if weight.shape else (1,)
    return tuple(d for d in moved if d != 1)


def sample_weight(weight: WeightTensor, layer: Layer) -> np.ndarray:
    """Return up to 64 channels and 512 columns of a weight, float32; one row where fan-in is 1."""
    sample = sample_values(weight, layer, SKETCH_CHANNELS, SKETCH_COLUMNS)
    if sample.shape[1] == 1:
        sample = sample_values(weight, layer, SKETCH_COLUMNS, 1).reshape(1, -1)
    return np.nan_to_num(sample, posinf=0.0, neginf=0.0)


def unit_rows(sample: np.ndarray) -> np.ndarray:
    """Return the rows scaled to length 1, float64; zero rows are left, a single row is centred."""
    sample = sample.astype(np.float64)
    if sample.shape[0] == 1 and sample.size and np.ptp(sample) > 0:
        sample = sample - sample.mean()
    norms = np.linalg.norm(sample, axis=1, keepdims=True)
    return np.divide(sample, norms, out=np.zeros(sample.shape), where=norms > 0)


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
    """Pair layers of one family and shape in tiers, the surest first, each layer once."""
    values = _scores(ours, theirs)
    names = np.array([[_name_score(a, b) for b in theirs] for a in ours])
    free = np.ones(len(ours), bool), np.ones(len(theirs), bool)

    def lock(wanted: np.ndarray, evidence: str) -> Iterator[LayerPair]:
        rows, columns = np.nonzero(wanted)
        order = np.lexsort(
            (columns, rows, -np.round(values, 3)[rows, columns], -names[rows, columns])
        )
        for i, j in zip(rows[order], columns[order], strict=True):
            if free[0][i] and free[1][j]:
                free[0][i] = free[1][j] = False
                yield LayerPair(
                    ours[i].layer.name, theirs[j].layer.name, evidence, float(values[i, j])
                )

    yield from lock((names > 0) & (values >= SURE_SCORE), "name and values")
    yield from lock(values >= SURE_SCORE, "values")
    yield from lock(names > 0, "name only: values differ")
    for i, j in zip(np.flatnonzero(free[0]), np.flatnonzero(free[1]), strict=False):
        yield LayerPair(
            ours[i].layer.name, theirs[j].layer.name, "order: a guess", float(values[i, j])
        )


def _scores(ours: list[_Candidate], theirs: list[_Candidate]) -> np.ndarray:
    """Return the mean abs(cosine) over the channels that are not all zero, of every two layers."""
    left, right = (np.stack([unit_rows(c.sample) for c in side]) for side in (ours, theirs))
    cosines = np.abs(np.einsum("irk,jrk->ijr", left, right))
    left_alive, right_alive = (
        np.abs(left).max(axis=2, initial=0) > 0,
        np.abs(right).max(axis=2, initial=0) > 0,
    )
    alive = left_alive[:, None, :] & right_alive[None, :, :]
    total = np.where(alive, cosines, 0).sum(axis=2)
    return np.divide(total, alive.sum(axis=2), out=np.zeros_like(total), where=alive.any(axis=2))


def _name_score(a: _Candidate, b: _Candidate) -> int:
    return 4 * sum(bool(x & y) for x, y in zip(a.names, b.names, strict=True))


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
