"""Is this the network of that original? Which layers are, which are not, and by what.

A pair of layers that only share a name is not one weight in two forms; mixing the two makes a
network that nobody trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..operators import operator_named
from ..pairing.base_names import base_name
from ..quantization import is_integer
from ..reading.layers import layers_by_name
from ..records import Layer
from .comparison import Comparison
from .metrics import MeasuredWeight, channel_max_abs, channel_sqnr_db
from .sqnr import are_judged

# Rounding makes 0.29 steps; TFLite's debugger suspects an RMSE above 0.7 of one.
STRAYED_STEPS = 0.7
# Below it, at 8 bits, more than rounding and fine-tuning has moved the weights.
DRIFTED_DB = 20.0
# Least-squares factors of one true factor differ by the rounding of the weight.
SAME_FACTOR = 0.02


class DifferenceKind(Enum):
    VALUES = "values"
    """The channels point elsewhere: the weight of another layer, or of another network."""
    SHAPE = "shape"
    DRIFTED = "drifted"
    """The same weight once, trained further or rescaled as a whole."""


@dataclass(frozen=True)
class LayerDifference:
    """One layer whose weight is not that of the original.

    Attributes:
        cosine: mean of the channels; NaN for SHAPE.
        factor: of the whole weight against the original's; NaN where it is not one.
        original_shape, shape: as the two layers see their weights.
    """

    layer_name: str
    kind: DifferenceKind
    cosine: float = np.nan
    factor: float = np.nan
    original_shape: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class NetworkIdentity:
    """How much of a variant is the original's.

    Attributes:
        same: layers whose weight is the original's.
        differences: layers that are there, with another weight.
        lost: layers of the original without any counterpart.
        strange: layers of the variant without any.
    """

    original: str
    variant: str
    same: tuple[str, ...]
    differences: tuple[LayerDifference, ...]
    lost: tuple[str, ...]
    strange: tuple[str, ...]

    @property
    def compared(self) -> int:
        return len(self.same) + len(self.differences)

    @property
    def is_other_network(self) -> bool:
        """Whether at least half of the layers differ, or none has a counterpart."""
        if self.differences:
            return 2 * len(self.differences) >= self.compared
        return not self.same and bool(self.lost) and bool(self.strange)


def identify_network(comparison: Comparison, variant: str) -> NetworkIdentity | None:
    """Return what a variant shares with the one that names the layers; None for that one itself.

    Looks at weights of two and more dimensions only.
    """
    pairing = comparison.pairings.get(variant)
    if pairing is None:
        return None
    same, differences = [], []
    for layer_name, by_variant in comparison.weights.items():
        measured = by_variant.get(variant)
        if measured is None or measured.pair is None or not _tells(measured):
            continue
        difference = _difference(layer_name, measured)
        if difference is None:
            same.append(layer_name)
        else:
            differences.append(difference)
    originals = layers_by_name(comparison.naming_model)
    theirs = layers_by_name(comparison.variants[variant])
    lost = _with_matrix(originals, pairing.unpaired_original)
    strange = _with_matrix(theirs, pairing.unpaired_variant)
    reshaped = dict(_reshaped(lost, strange))
    differences += [
        LayerDifference(
            name, DifferenceKind.SHAPE, original_shape=_shape(lost[name]), shape=_shape(strange[at])
        )
        for name, at in reshaped.items()
    ]
    return NetworkIdentity(
        comparison.named_by,
        variant,
        tuple(same),
        tuple(differences),
        tuple(name for name in lost if name not in reshaped),
        tuple(name for name in strange if name not in reshaped.values()),
    )


def _tells(measured: MeasuredWeight) -> bool:
    """Whether the values say whose they are: not a vector, not one number, with a good scale."""
    sums, quantization = measured.sums, measured.quantization
    if measured.weight.slot != "weight" or sums.fan_in < 2 or len(measured.weight.shape) < 2:
        return False
    if quantization is not None:
        scale = quantization.scale.astype(np.float64)
        if not np.isfinite(scale).all() or (scale == 0).any():
            return False
    return bool(np.nanmin(sums.low, initial=np.inf) < np.nanmax(sums.high, initial=-np.inf))


def _difference(layer_name: str, measured: MeasuredWeight) -> LayerDifference | None:
    pair = measured.pair
    assert pair is not None
    if pair.score is None:
        return None
    if not pair.is_sure:
        return LayerDifference(layer_name, DifferenceKind.VALUES, cosine=pair.score)
    factor = find_one_factor(measured)
    if factor is not None or _has_drifted(measured):
        return LayerDifference(
            layer_name, DifferenceKind.DRIFTED, pair.score, np.nan if factor is None else factor
        )
    return None


def find_one_factor(measured: MeasuredWeight) -> float | None:
    """Return the factor between the values and the original, where it is one for all channels."""
    pair = measured.pair
    if pair is None or pair.original_factor is None:
        return None
    folding = pair.folding
    if folding is None or folding.rescaled is None or folding.batch_norm or folding.alpha:
        return None
    alive = are_judged(np.nan_to_num(channel_max_abs(measured.sums)))
    factor = np.abs(pair.original_factor[alive])
    same = factor.size > 1 and np.ptp(factor) <= SAME_FACTOR * factor.mean()
    return float(factor.mean()) if same else None


def _has_drifted(measured: MeasuredWeight) -> bool:
    """Whether most channels are off by more than their steps, by rounding or by clipping, explain.

    Only where the steps are fine enough to tell: a coarse type may lose as much.
    """
    sums, quantization = measured.sums, measured.quantization
    if quantization is None or not is_integer(quantization.data_type):
        return False
    if sums.step_square is None or sums.e_square is None or sums.outside_square is None:
        return False
    judged = are_judged(np.nan_to_num(channel_max_abs(sums)))
    with np.errstate(all="ignore"):
        strayed = np.sqrt(sums.step_square / sums.fan_in) > STRAYED_STEPS
        clipped = sums.outside_square > 0.5 * sums.e_square
        weak = channel_sqnr_db(sums) < DRIFTED_DB
    drifted = judged & strayed & weak & ~clipped
    return bool(judged.any() and 2 * drifted.sum() > judged.sum())


def _with_matrix(layers: Mapping[str, Layer], names: Iterable[str]) -> dict[str, Layer]:
    return {
        name: layers[name]
        for name in names
        if name in layers and len(_shape(layers[name])) > 1 and min(_shape(layers[name])) > 0
    }


def _shape(layer: Layer) -> tuple[int, ...]:
    weight = layer.weight
    return weight.shape if weight is not None and weight.slot == "weight" else ()


def _reshaped(lost: Mapping[str, Layer], strange: Mapping[str, Layer]) -> Iterator[tuple[str, str]]:
    """Yield the layers of one family and name in both files whose weights differ in shape."""
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, layer in strange.items():
        by_name[_identity(layer)].append(name)
    for name, layer in lost.items():
        found = by_name.get(_identity(layer), [])
        if len(found) == 1 and sorted(_shape(layer)) != sorted(_shape(strange[found[0]])):
            yield name, found.pop()


def _identity(layer: Layer) -> tuple[str, str]:
    return operator_named(layer.op_type).family, base_name(layer.node_name or layer.name)
