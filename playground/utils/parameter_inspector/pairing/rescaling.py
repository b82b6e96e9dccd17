"""What was done to a float weight before it was quantized: folded, or its channels rescaled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..facts import Folding
from ..quantization import UnavailableError
from ..reading.layers import readers_of
from ..records import Layer, LayerPair
from ..streaming.channel_frame import channel_count, spread_out
from ..streaming.compared_weights import Compared

# Channels agree when their cosine is above this; int4 per tensor stays above 0.97 in most.
AGREEING_COSINE = 0.97
# A factor this far from 1 (as a logarithm) is no rounding error.
NOTABLE_LOG_FACTOR = 0.1


@dataclass(frozen=True, eq=False)
class _Match:
    """A pair of layers with weights, and what was sampled of these."""

    pair: LayerPair
    original: Layer
    other: Layer
    samples: tuple[np.ndarray, np.ndarray]


def fold_pairs(
    pairs: Iterable[LayerPair],
    originals: Sequence[Layer],
    others: Sequence[Layer],
    samples: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
) -> tuple[list[LayerPair], tuple[str, ...]]:
    """Return the pairs with their folding, and the batch-norms that the variant folded away.

    Args:
        samples: of the weights, by layer name, float and quantized side.
    """
    by_name = {layer.name: layer for layer in originals}, {layer.name: layer for layer in others}
    readers = readers_of(originals)
    pairs = list(pairs)
    paired = {pair.original for pair in pairs}
    result, folded = [], []
    for pair in pairs:
        layer, other = by_name[0][pair.original], by_name[1][pair.variant]
        if pair.score is None or layer.weight is None or other.weight is None:
            result.append(pair)
            continue
        norm, factor = _folded_norm(layer, readers)
        if norm is not None and norm.name not in paired:
            folded.append(norm.name)
            pair = replace(pair, folding=Folding(batch_norm=True), original_factor=factor)
        match = _Match(pair, layer, other, (samples[0][layer.name], samples[1][other.name]))
        result.append(_with_rescaling(match))
    return result, tuple(folded)


def _folded_norm(
    layer: Layer, readers: Mapping[str, list[Layer]]
) -> tuple[Layer | None, np.ndarray | None]:
    """Return the batch-norm behind a layer, and what it multiplies each output channel by."""
    norm = _batch_norm_after(layer, readers)
    factor = batch_norm_factor(norm) if norm is not None else None
    if factor is None or factor.shape != (channel_count(layer),):
        return None, None
    return norm, factor


def _batch_norm_after(layer: Layer, readers: Mapping[str, list[Layer]]) -> Layer | None:
    output = layer.output_names[0] if layer.output_names else ""
    following = readers.get(output, [])
    if len(following) != 1 or following[0].op_type != "BatchNormalization":
        return None
    return following[0] if following[0].input_names[0] == output else None


def batch_norm_factor(norm: Layer) -> np.ndarray | None:
    """Return gamma / sqrt(variance + epsilon), float64; None where it cannot be computed."""
    gamma, variance = norm.parameter("weight"), norm.parameter("variance")
    if gamma is None or variance is None:
        return None
    epsilon = norm.attribute("epsilon", 1e-5)
    try:
        factors = gamma.values.astype(np.float64), variance.values.astype(np.float64)
    except UnavailableError:
        return None
    if factors[0].shape != factors[1].shape:
        return None
    with np.errstate(all="ignore"):
        return factors[0] / np.sqrt(factors[1] + epsilon)


def _with_rescaling(match: _Match) -> LayerPair:
    """Say so where the channels agree but for a constant factor: Gemm's alpha, equalization."""
    pair = match.pair
    if not _seems_rescaled(match):
        return pair
    try:
        factor, cosine = _measure_factors(match)
    except UnavailableError:
        return pair  # whoever reads the weight says what is missing
    agree = cosine > AGREEING_COSINE
    if not agree.any():
        return pair
    folding, factor = _name_factor(match, factor, agree)
    before = pair.original_factor
    return replace(
        pair, folding=folding, original_factor=factor if before is None else factor * before
    )


def _seems_rescaled(match: _Match) -> bool:
    """Whether the samples look like it: most of the time they do not, and no weight is read."""
    left, right = match.samples
    if left.shape != right.shape or left.shape[1] < 4:
        return False
    folded = match.pair.original_factor
    if folded is not None:
        left = left * folded[spread_out(folded.size, left.shape[0])][:, None]
    return _is_rescaled(*channel_factors(left, right))


def _name_factor(
    match: _Match, factor: np.ndarray, agree: np.ndarray
) -> tuple[Folding, np.ndarray]:
    """Return what the factors are, with those of the channels that do not agree set right."""
    folding = match.pair.folding or Folding()
    alpha = match.original.attribute("alpha", 1.0)
    if alpha != 1.0 and np.allclose(factor[agree], alpha, rtol=0.05):
        return replace(folding, alpha=alpha), np.full(len(factor), alpha)
    rescaled = float(factor[agree].min()), float(factor[agree].max())
    return replace(folding, rescaled=rescaled), np.where(agree, factor, 1.0)


def _is_rescaled(factor: np.ndarray, cosine: np.ndarray) -> bool:
    agree = cosine > AGREEING_COSINE
    notable = np.abs(np.log(np.abs(factor[agree]))) > NOTABLE_LOG_FACTOR
    return bool(agree.any() and agree.mean() >= 0.5 and notable.mean() >= 0.5)


def _measure_factors(match: _Match) -> tuple[np.ndarray, np.ndarray]:
    """Return `channel_factors` of whole weights, chunk by chunk."""
    assert match.original.weight is not None and match.other.weight is not None
    compared = Compared(
        match.other.weight,
        match.other,
        match.original.weight,
        match.original,
        match.pair.original_factor,
    )
    with compared.open() as opened:
        sums = np.zeros((3, opened.shape[0]))
        for part in opened.parts():
            values, original = opened.values(part, opened.codes(part)), opened.original_values(part)
            if opened.reduced == 0:
                values, original = values.T, original.T
            sums[:, part[0]] += _sum_products(original, values)
        return _factors(*sums)


def channel_factors(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares factors from ``x`` to ``y`` and abs(cosine), each (channels,)."""
    return _factors(*_sum_products(x, y))


def _sum_products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the sums of x * y, x * x and y * y of each channel, shape (3, channels)."""
    both = (x, y), (x, x), (y, y)
    return np.stack([np.einsum("ck,ck->c", *two, dtype=np.float64) for two in both])


def _factors(dot: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor = np.divide(dot, xx, out=np.ones_like(dot), where=xx > 0)
    norms = np.sqrt(xx * yy)
    return factor, np.divide(np.abs(dot), norms, out=np.zeros_like(dot), where=norms > 0)
