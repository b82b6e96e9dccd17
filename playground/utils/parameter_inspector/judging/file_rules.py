"""Rules about the file: what is float, lost, not quantized, or not what it should be."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from ..facts import Evidence, RefusalKind
from ..measuring.comparison import Comparison
from ..measuring.metrics import MeasuredWeight
from ..operators import operator_named
from ..quantization import UnavailableError
from ..reading.layers import layers_by_name, list_layers
from ..streaming.compared_weights import Compared
from .channel_states import (
    STRAYED_STEPS,
    QuantizedMatrix,
    channel_states,
    indices,
    living_channels,
    measured_layers,
    only_layer,
    quantized_matrices,
    usable_channels,
)
from .file_facts import (
    LeftInFloat,
    LostLayers,
    NothingQuantized,
    NotRead,
    OneFactor,
    OtherValues,
    SnappedWeights,
    StrayedChannels,
    TiedWeight,
)
from .findings import Finding
from .float_neighbours import list_nodes_to_exclude
from .parameter_rules import is_about_axis, is_about_zero_point, refusals
from .quantizing_methods import Method, can_quantize, find_method
from .resolution_rules import FEWEST_CODES, UNUSED_SHARE, used_codes

# Least-squares factors of one true factor differ by the rounding of the weight.
SAME_FACTOR = 0.02
FLOAT_WARNING_SHARE = 0.3
# Float layers with less than this share of the weights are told of together; so are those that
# are more than half of all layers.
SMALL_FLOAT_SHARE = 0.01
_SAYS_QUANTIZED = re.compile(
    r"quant|qdq|u?int[48]|(^|[^a-z0-9])(q[48]|w[48]a(8|16)|[ui]8)([^a-z0-9]|$)", re.IGNORECASE
)


def _heavy_layers(comparison: Comparison, variant: str) -> dict[str, MeasuredWeight]:
    """Return the layers whose weight one expects to be quantized, by name."""
    return {
        layer_name: measured
        for layer_name, measured in measured_layers(comparison, variant)
        if operator_named(measured.layer.op_type).heavy
        and measured.weight.slot == "weight"
        and len(measured.weight.shape) > 1
        and _size(measured) > 0
    }


def _size(measured: MeasuredWeight) -> int:
    return int(np.prod(measured.weight.shape))


_BY_OPERATOR = (Method.DYNAMIC, Method.WEIGHTS_ONLY)


def find_left_in_float(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A layer is float in a file whose other layers are quantized.

    A note, for it may be meant; a warning where more than 30 % of all weights are float. Whole
    kinds of operators are left out of dynamic and weight-only builds on purpose.
    """
    heavy = _heavy_layers(comparison, variant)
    total = sum(map(_size, heavy.values()))
    tied = {name for users in _half_quantized(comparison, variant) for name in users}
    shares = {
        layer_name: _size(measured) / total
        for layer_name, measured in heavy.items()
        if not measured.weight.is_quantized and measured.grid is None
    }
    if len(shares) == len(heavy) or not any(m.weight.is_quantized for m in heavy.values()):
        return
    finding = partial(_left_in_float, comparison, variant, sum(shares.values()))
    untied = {name: share for name, share in shares.items() if name not in tied}
    # Many layers are one decision (an operator that is not quantized), not one for each.
    many = len(untied) > len(heavy) / 2
    small = {name: share for name, share in untied.items() if many or share < SMALL_FLOAT_SHARE}
    for name, share in untied.items():
        if name not in small:
            yield finding({name: share})
    if small:
        yield finding(small)


def _left_in_float(
    comparison: Comparison, variant: str, share_of_all: float, shares: Mapping[str, float]
) -> Finding:
    method = find_method(comparison.variants[variant])
    op_types = {comparison.measured(name, variant).layer.op_type for name in shares}
    is_choice = method in _BY_OPERATOR and not op_types & _quantized_op_types(comparison, variant)
    severity = "warning" if share_of_all > FLOAT_WARNING_SHARE and not is_choice else "note"
    without = tuple(sorted(op for op in op_types if not can_quantize(method, op)))
    facts = LeftInFloat(
        tuple(shares), sum(shares.values()), share_of_all, method, tuple(sorted(op_types)), without
    )
    return Finding("left-in-float", severity, variant, only_layer(shares), facts)


def _quantized_op_types(comparison: Comparison, variant: str) -> set[str]:
    """Return the operators, as the original calls them, of which some layer is quantized."""
    layers = layers_by_name(comparison.naming_model)
    return {
        (layers.get(name) or measured.layer).op_type
        for name, measured in measured_layers(comparison, variant)
        if measured.weight.is_quantized
    }


def _half_quantized(comparison: Comparison, variant: str) -> Iterator[dict[str, bool]]:
    """Yield, for each constant that several layers share, which of them are quantized.

    Only where some are and some are not. The same constant in this file, or in the original.
    """
    for holder in dict.fromkeys((variant, comparison.named_by)):
        users: dict[str, dict[str, bool]] = defaultdict(dict)
        for layer_name, by_variant in comparison.weights.items():
            if variant in by_variant and holder in by_variant:
                name = by_variant[holder].weight.name
                users[name][layer_name] = by_variant[variant].weight.is_quantized
        halves = [layers for name, layers in users.items() if name and len({*layers.values()}) == 2]
        yield from halves
        if halves:
            return


def find_tied_weight(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """One weight serves several layers and is quantized for some of them only.

    The layers then compute with different numbers, and the file holds the weight twice.
    """
    for users in _half_quantized(comparison, variant):
        quantized = tuple(name for name, is_quantized in users.items() if is_quantized)
        left = tuple(name for name, is_quantized in users.items() if not is_quantized)
        method = find_method(comparison.variants[variant])
        facts = TiedWeight(quantized, left, list_nodes_to_exclude(quantized, comparison, method))
        yield Finding("tied-weight", "warning", variant, left[0], facts)


def find_grid_snapped(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Float weights that lie on a grid of few levels, and no scale in the file says which.

    Fake-quantized training and some tools write such files.
    """
    snapped = tuple(
        layer_name
        for layer_name, measured in _heavy_layers(comparison, variant).items()
        if measured.grid is not None and _count_distinct(measured, FEWEST_CODES) > FEWEST_CODES
    )
    if not snapped:
        return
    measured = comparison.measured(snapped[0], variant)
    assert measured.grid is not None
    facts = SnappedWeights(snapped, _count_distinct(measured), _size(measured), measured.grid)
    yield Finding("grid-snapped", "warning", variant, only_layer(snapped), facts)


def _count_distinct(measured: MeasuredWeight, enough: float = math.inf) -> int:
    """Return how many distinct numbers a weight has, or more than ``enough``, chunk by chunk.

    A constant kernel is no grid.
    """
    numbers = np.zeros(0, np.float32)
    try:
        with Compared(measured.weight, measured.layer).open() as opened:
            for part in opened.parts():
                chunk = opened.codes(part)
                if chunk.min() == chunk.max():  # far quicker to see, and usual in what is masked
                    chunk = chunk[:1, :1]
                numbers = np.union1d(numbers, np.unique_values(chunk.astype(np.float32)))
                if numbers.size > enough:
                    break
    except UnavailableError:
        return 0
    return int(numbers.size)


def find_not_quantized(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A file that stands beside its float original, or is called quantized, and has no codes."""
    heavy = _heavy_layers(comparison, variant)
    if not heavy or any(m.weight.is_quantized or m.grid is not None for m in heavy.values()):
        return
    if any(True for _ in refusals(comparison, variant)):
        return
    model = comparison.variants[variant]
    activations = sum(bool(layer.inputs or layer.outputs) for layer in list_layers(model))
    called = next((n for n in (variant, model.name) if _SAYS_QUANTIZED.search(n)), None)
    beside = variant != comparison.named_by and all(
        measured.weight.data_type == "float32" for measured in heavy.values()
    )
    if activations or called or beside:
        facts = NothingQuantized(len(heavy), called, activations)
        yield Finding("not-quantized", "error" if called else "warning", variant, "", facts)


def find_layers_lost(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Layers of the float original that this file does not have.

    What was folded into another layer (batch-norm, a bias in an Add) does not count.
    """
    pairing = comparison.pairings.get(variant)
    if pairing is None:
        return
    heavy = _heavy_layers(comparison, comparison.named_by)
    lost = tuple(name for name in pairing.unpaired_original if name in heavy)
    unread = sum(name == variant for _, name in comparison.unavailable)
    if len(lost) <= unread:  # they are there, but cannot be compared
        return
    own = _heavy_layers(comparison, variant)
    unmatched = sum(name in own for name in pairing.unpaired_variant)
    weights = sum(_size(heavy[name]) for name in lost)
    severity = "error" if unmatched < len(lost) else "warning"
    facts = LostLayers(lost, len(heavy), weights, unmatched)
    yield Finding("layers-lost", severity, variant, only_layer(lost), facts)


def find_values_differ(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """The codes are not those of this float weight: another training, or the wrong file."""
    for layer_name, measured in measured_layers(comparison, variant):
        pair = measured.pair
        if pair is None or pair.score is None or pair.is_sure:
            continue
        if measured.quantization is not None and not usable_channels(measured).any():
            continue
        severity = "note" if pair.evidence is Evidence.ORDER else "warning"
        facts = OtherValues(pair.variant, pair.evidence, pair.score)
        yield Finding("values-differ", severity, variant, layer_name, facts)
    for matrix in quantized_matrices(comparison, variant):
        factor = _one_factor(matrix.measured)
        if factor is not None:
            one_factor = OneFactor(factor)
            yield Finding("values-differ", "warning", variant, matrix.layer_name, one_factor)
        yield from _find_strayed(variant, matrix)


def _one_factor(measured: MeasuredWeight) -> float | None:
    """Return the factor between the values and the float weight, where it is one for all."""
    pair = measured.pair
    if pair is None or pair.original_factor is None or pair.folding is None:
        return None
    folding = pair.folding
    if folding.rescaled is None or folding.batch_norm or folding.alpha is not None:
        return None
    factor = np.abs(pair.original_factor[living_channels(measured)])
    same = factor.size > 1 and np.ptp(factor) <= SAME_FACTOR * factor.mean()
    return float(factor.mean()) if same else None


def _find_strayed(variant: str, matrix: QuantizedMatrix) -> Iterator[Finding]:
    """Yield a weight whose error is larger than rounding makes it."""
    state = channel_states(matrix)
    if state is None or (state.judged & state.clipped).any():
        return
    strayed = state.judged & state.strayed & ~state.dead & ~state.wide
    used, possible = used_codes(matrix)
    if not strayed.any() or used < UNUSED_SHARE * possible:
        return
    facts = StrayedChannels(
        indices(strayed),
        int(state.judged.sum()),
        STRAYED_STEPS,
        matrix.measured.metrics["rmse_steps"],
    )
    severity = "warning" if (strayed & state.weak).any() else "note"
    yield Finding("values-differ", severity, variant, matrix.layer_name, facts)


def find_not_understood(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """What could not be read is not judged by any other rule, and is said here."""
    for layer_name, layer, refusal in refusals(comparison, variant):
        if is_about_zero_point(refusal) or is_about_axis(refusal, layer):
            continue
        severity = "note" if refusal.kind is RefusalKind.UNKNOWN_OPERATOR else "warning"
        yield Finding("not-understood", severity, variant, layer_name, NotRead(refusal))
