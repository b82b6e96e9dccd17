"""What was done to a float weight before it was quantized: folded, or its channels rescaled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..quantization import UnavailableError
from ..reading.layers import readers_of
from ..records import Layer, LayerPair
from ..streaming.channel_frame import channel_count, spread_out
from ..streaming.compared_weights import Compared

BATCH_NORM_FOLDED = "batch-norm folded"

# Channels agree when their cosine is above this; int4 per tensor stays above 0.97 in most.
AGREEING_COSINE = 0.97
# A factor this far from 1 (as a logarithm) is no rounding error.
NOTABLE_LOG_FACTOR = 0.1


def fold_pairs(
    pairs: Iterable[LayerPair],
    ours: Sequence[Layer],
    theirs: Sequence[Layer],
    samples: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
) -> tuple[list[LayerPair], tuple[str, ...]]:
    """Return the pairs with their folding, and the batch-norms that the variant folded away.

    Args:
        samples: of the weights, by layer name, float and quantized side.
    """
    by_name = {layer.name: layer for layer in ours}, {layer.name: layer for layer in theirs}
    readers = readers_of(ours)
    pairs = list(pairs)
    kept = {pair.original for pair in pairs}
    result, folded = [], []
    for pair in pairs:
        layer, partner = by_name[0][pair.original], by_name[1][pair.variant]
        if pair.score is None or layer.weight is None or partner.weight is None:
            result.append(pair)
            continue
        norm = _batch_norm_after(layer, readers)
        factor = batch_norm_factor(norm) if norm is not None else None
        if factor is not None and factor.shape != (channel_count(layer),):
            factor = None
        if norm is not None and factor is not None and norm.name not in kept:
            folded.append(norm.name)
            pair = replace(pair, folding=BATCH_NORM_FOLDED, original_factor=factor)
        ours_sampled, theirs_sampled = samples[0][layer.name], samples[1][partner.name]
        result.append(_with_rescaling(pair, layer, partner, ours_sampled, theirs_sampled))
    return result, tuple(folded)


def _batch_norm_after(layer: Layer, readers: Mapping[str, list[Layer]]) -> Layer | None:
    output = layer.output_names[0] if layer.output_names else ""
    following = readers.get(output, [])
    found = len(following) == 1 and following[0].op_type == "BatchNormalization"
    return following[0] if found and following[0].input_names[0] == output else None


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


def _with_rescaling(
    pair: LayerPair,
    layer: Layer,
    partner: Layer,
    our_sample: np.ndarray,
    their_sample: np.ndarray,
) -> LayerPair:
    """Say so where the channels agree but for a constant factor: Gemm's alpha, equalization."""
    if our_sample.shape != their_sample.shape or our_sample.shape[1] < 4:
        return pair
    known = pair.original_factor
    if known is not None:
        our_sample = our_sample * known[spread_out(known.size, our_sample.shape[0])][:, None]
    if not _is_rescaled(*channel_factors(our_sample, their_sample)):
        return pair
    assert layer.weight is not None and partner.weight is not None
    compared = Compared(partner.weight, partner, layer.weight, layer, known)
    try:
        factor, cosine = _measure_factors(compared)
    except UnavailableError:
        return pair  # whoever reads the weight says what is missing
    agree = cosine > AGREEING_COSINE
    if not agree.any():
        return pair
    low, high = factor[agree].min(), factor[agree].max()
    alpha = layer.attribute("alpha", 1.0)
    if alpha != 1.0 and np.allclose(factor[agree], alpha, rtol=0.05):
        reason, factor = f"alpha {alpha:g} folded", np.full(len(factor), alpha)
    else:
        reason = f"channels rescaled by {low:.3g} to {high:.3g} (equalization)"
        factor = np.where(agree, factor, 1.0)
    return replace(
        pair,
        folding=f"{pair.folding}; {reason}" if pair.folding else reason,
        original_factor=factor if known is None else factor * known,
    )


def _is_rescaled(factor: np.ndarray, cosine: np.ndarray) -> bool:
    agree = cosine > AGREEING_COSINE
    notable = np.abs(np.log(np.abs(factor[agree]))) > NOTABLE_LOG_FACTOR
    return bool(agree.any() and agree.mean() >= 0.5 and notable.mean() >= 0.5)


def _measure_factors(compared: Compared) -> tuple[np.ndarray, np.ndarray]:
    """Return `channel_factors` of whole weights, chunk by chunk."""
    with compared.open() as opened:
        sums = np.zeros((3, opened.shape[0]))
        for part in opened.parts():
            values, exact = opened.values(part, opened.codes(part)), opened.original_values(part)
            if opened.reduced == 0:
                values, exact = values.T, exact.T
            sums[:, part[0]] += _sum_products(exact, values)
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
