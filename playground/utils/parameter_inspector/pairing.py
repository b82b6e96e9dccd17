"""The same layer across variants, with the evidence.

Names propose, values decide: a pair is sure only where the weights point the same way. The score is
the mean over the output channels of abs(cosine), so that batch-norm folding, another sign or
another scale per channel leave it alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .layers import list_layers
from .model_file import Model
from .names import base_name
from .quantization import UnavailableError
from .records import Layer, LayerPair, Pairing, WeightTensor

# Right pairs score 0.84 and more (the worst: int4 per tensor), wrong ones below 0.36.
SURE_SCORE = 0.5
CLEAR_LEAD = 0.15

BATCH_NORM_FOLDED = "batch-norm folded"

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
    sketch: np.ndarray


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
    pairs += _pair_by_name(
        [layer for layer in ours if layer.name not in taken[0]],
        [layer for layer in theirs if layer.name not in taken[1]],
    )
    by_name = {layer.name: layer for layer in ours}, {layer.name: layer for layer in theirs}
    pairs = [_with_folding(pair, *by_name, ours, theirs) for pair in pairs]
    order = {layer.name: layer.index for layer in ours}
    pairs.sort(key=lambda pair: order[pair.reference])
    folded = _folded_norms(pairs, by_name[0], ours)
    taken = {p.reference for p in pairs} | set(folded), {p.variant for p in pairs}
    return Pairing(tuple(pairs), _left_over(ours, taken[0]), _left_over(theirs, taken[1]), folded)


def _folded_norms(
    pairs: Iterable[LayerPair], by_name: dict[str, Layer], layers: Sequence[Layer]
) -> tuple[str, ...]:
    """Return the batch-norms of the reference that the variant folded into the layer before."""
    convolutions = [by_name[p.reference] for p in pairs if p.folding == BATCH_NORM_FOLDED]
    norms = [_batch_norm_after(layer, layers) for layer in convolutions]
    return tuple(norm.name for norm in norms if norm is not None)


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
            sketch = sketch_weight(layer.weight, layer)
        except UnavailableError:
            continue
        if progress is not None:
            progress(layer.name)
        names = _bases([layer.node_name]), _bases(aliases[layer.name]), _bases([layer.weight.name])
        found.append(_Candidate(layer, (_family(layer), _canonical_shape(layer)), names, sketch))
    return found


def _family(layer: Layer) -> str:
    return _FAMILIES.get(layer.op_type, layer.op_type)


def _bases(names: Iterable[str]) -> frozenset[str]:
    return frozenset(base_name(name) for name in names if name)


def _output_aliases(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Return each layer's output names, with those of what follows and may have been fused."""
    readers: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        for name in set(layer.input_names):
            readers[name].append(layer)
    aliases = {}
    for layer in layers:
        names = list(layer.output_names[:1])
        for _ in range(3):
            following = readers[names[-1]] if names and names[-1] else []
            if len(following) != 1 or following[0].op_type not in _PASSING_ON:
                break
            names.append(following[0].output_names[0])
        aliases[layer.name] = names
    return aliases


def channels_first(array: np.ndarray, weight: WeightTensor, layer: Layer) -> np.ndarray:
    """Return a weight as ``(output channels, fan-in)``, the same for every operator of a family."""
    if layer.op_type == "ConvTranspose" and array.ndim > 1:
        group = int(str(layer.attributes.get("group", 1)))
        split = array.reshape(group, array.shape[0] // group, *array.shape[1:])
        return np.moveaxis(split, 2, 1).reshape(group * array.shape[1], -1)
    axis = weight.channel_axis or 0
    if array.ndim == 0:
        return array.reshape(1, 1)
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def _canonical_shape(layer: Layer) -> tuple[int, ...]:
    weight = layer.weight
    assert weight is not None
    empty = np.broadcast_to(np.zeros((), np.int8), weight.shape)
    axis = weight.channel_axis or 0
    moved = np.moveaxis(empty, axis, 0).shape if weight.shape else (1,)
    return tuple(d for d in moved if d != 1)


def sketch_weight(weight: WeightTensor, layer: Layer) -> np.ndarray:
    """Return unit rows of up to 64 channels and 512 columns; one centred row where fan-in is 1."""
    rows = channels_first(weight.values, weight, layer)
    if rows.shape[1] == 1:
        rows = rows.reshape(1, -1)
        rows = rows - rows.mean() if np.ptp(rows) > 0 else rows
    columns = _spread_out(rows.shape[1], SKETCH_COLUMNS)
    sample = rows[_spread_out(rows.shape[0], SKETCH_CHANNELS)][:, columns].astype(np.float64)
    sample = np.nan_to_num(sample, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(sample, axis=1, keepdims=True)
    return np.divide(sample, norms, out=np.zeros_like(sample), where=norms > 0)


def _spread_out(count: int, wanted: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, wanted)).astype(int) if count else np.zeros(0, int)


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
    names[:] = np.where(values >= SURE_SCORE, 0, names)  # from here on position breaks ties
    yield from lock((values >= SURE_SCORE) & _ahead(values, *free), "values")
    yield from lock(values >= SURE_SCORE, "values")
    yield from lock(names > 0, "name only: values differ")
    names[:] = 0
    for i, j in zip(np.flatnonzero(free[0]), np.flatnonzero(free[1]), strict=False):
        yield LayerPair(
            ours[i].layer.name, theirs[j].layer.name, "order: a guess", float(values[i, j])
        )


def _scores(ours: list[_Candidate], theirs: list[_Candidate]) -> np.ndarray:
    """Return the mean abs(cosine) over the channels that are not all zero, of every two layers."""
    left, right = np.stack([c.sketch for c in ours]), np.stack([c.sketch for c in theirs])
    cosines = np.abs(np.einsum("irk,jrk->ijr", left, right))
    left_alive, right_alive = np.abs(left).max(axis=2) > 0, np.abs(right).max(axis=2) > 0
    alive = left_alive[:, None, :] & right_alive[None, :, :]
    total = np.where(alive, cosines, 0).sum(axis=2)
    return np.divide(total, alive.sum(axis=2), out=np.zeros_like(total), where=alive.any(axis=2))


def _name_score(a: _Candidate, b: _Candidate) -> int:
    return 4 * sum(bool(x & y) for x, y in zip(a.names, b.names, strict=True))


def _ahead(values: np.ndarray, free_rows: np.ndarray, free_columns: np.ndarray) -> np.ndarray:
    """Return where a score leads every rival that is still free in its row and its column."""
    masked = np.where(free_rows[:, None] & free_columns[None, :], values, -1.0)
    return (masked - _best_other(masked, 1) >= CLEAR_LEAD) & (
        masked - _best_other(masked, 0) >= CLEAR_LEAD
    )


def _best_other(values: np.ndarray, axis: int) -> np.ndarray:
    """Return, for each entry, the highest of the others along ``axis``."""
    if values.shape[axis] < 2:
        return np.full_like(values, -1.0)
    first = values.max(axis=axis, keepdims=True)
    second = np.partition(values, -2, axis=axis).take([-2], axis=axis)
    return np.where(values == first, second, first)


def _pair_by_name(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[LayerPair]:
    """Pair layers that have no weight to compare, where name or output and family are the same."""
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
        if partner is not None and (layer.weight is None or partner.weight is None):
            taken.add(partner.name)
            pairs.append(LayerPair(layer.name, partner.name, "name", None))
    return pairs


# ------------------------------------------------- folded and rescaled weights


def _with_folding(
    pair: LayerPair,
    ours: dict[str, Layer],
    theirs: dict[str, Layer],
    our_layers: Sequence[Layer],
    their_layers: Sequence[Layer],
) -> LayerPair:
    """Return the pair with the factor per output channel that makes the weights comparable."""
    layer, partner = ours[pair.reference], theirs[pair.variant]
    if (
        pair.score is None
        or pair.score < SURE_SCORE
        or layer.weight is None
        or partner.weight is None
    ):
        return pair
    norm, partner_norm = (
        _batch_norm_after(layer, our_layers),
        _batch_norm_after(partner, their_layers),
    )
    if norm is not None and partner_norm is None:
        factor = batch_norm_factor(norm)
        if factor is not None:
            return replace(pair, folding=BATCH_NORM_FOLDED, reference_factor=factor)
    return _with_rescaling(pair, layer, partner)


def _batch_norm_after(layer: Layer, layers: Sequence[Layer]) -> Layer | None:
    output = layer.output_names[0] if layer.output_names else ""
    readers = [other for other in layers if output and output in other.input_names]
    found = len(readers) == 1 and readers[0].op_type == "BatchNormalization"
    return readers[0] if found and readers[0].input_names[0] == output else None


def batch_norm_factor(norm: Layer) -> np.ndarray | None:
    """Return gamma / sqrt(variance + epsilon), float64 of shape (channels,)."""
    gamma, variance = norm.parameter("weight"), norm.parameter("variance")
    if gamma is None or variance is None:
        return None
    epsilon = float(str(norm.attributes.get("epsilon", 1e-5)))
    return gamma.values.astype(np.float64) / np.sqrt(variance.values.astype(np.float64) + epsilon)


def _with_rescaling(pair: LayerPair, layer: Layer, partner: Layer) -> LayerPair:
    """Say so where the channels agree but for a constant factor: Gemm's alpha, equalization."""
    assert layer.weight is not None and partner.weight is not None
    x = channels_first(layer.weight.values, layer.weight, layer)
    y = channels_first(partner.weight.values, partner.weight, partner)
    if x.shape != y.shape or x.shape[1] < 4:
        return pair
    factor, cosine = channel_factors(x, y)
    agree = cosine > 0.97
    off = np.abs(np.log(np.abs(factor, where=agree, out=np.ones_like(factor)))) > 0.1
    if not agree.any() or off[agree].mean() < 0.5:
        return pair
    low, high = factor[agree].min(), factor[agree].max()
    alpha = float(str(layer.attributes.get("alpha", 1.0)))
    if alpha != 1.0 and np.allclose(factor[agree], alpha, rtol=0.05):
        factor, folding = np.full(len(factor), alpha), f"alpha {alpha:g} folded"
    else:
        folding = f"channels rescaled by {low:.3g} to {high:.3g} (equalization)"
    return replace(pair, folding=folding, reference_factor=np.where(agree, factor, 1.0))


def channel_factors(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares factor from ``x`` to ``y`` and their cosine, each (channels,)."""
    dot = np.einsum("ck,ck->c", x, y, dtype=np.float64)
    xx = np.einsum("ck,ck->c", x, x, dtype=np.float64)
    yy = np.einsum("ck,ck->c", y, y, dtype=np.float64)
    factor = np.divide(dot, xx, out=np.ones_like(dot), where=xx > 0)
    norms = np.sqrt(xx * yy)
    return factor, np.divide(np.abs(dot), norms, out=np.zeros_like(dot), where=norms > 0)


def fold_reference(values: np.ndarray, weight: WeightTensor, pair: LayerPair | None) -> np.ndarray:
    """Return a float weight as the quantized variant folded it, in the layer's frame."""
    if pair is None or pair.reference_factor is None or weight.channel_axis is None:
        return values
    shape = [-1 if i == weight.channel_axis else 1 for i in range(values.ndim)]
    return (values * pair.reference_factor.reshape(shape)).astype(np.float32)
