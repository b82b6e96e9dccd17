"""Rules about the file: what is float, lost, not quantized, or not what it should be."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import MeasuredWeight
from ..quantization import UnavailableError
from ..reading.layers import list_layers
from ..reading.model_file import printable
from ..records import Finding
from ..streaming.compared_weights import Compared
from .channel_states import (
    STRAYED_STEPS,
    channel_states,
    counted,
    listed,
    living_channels,
    measured_rows,
    nodes_to_exclude,
    quantized_matrices,
    together,
    usable_channels,
    which_channels,
)
from .parameter_rules import BY_ZERO_POINT, is_about_axis, refusals
from .resolution_rules import FEWEST_CODES, UNUSED_SHARE, used_codes

# Least-squares factors of one true factor differ by the rounding of the weight.
SAME_FACTOR = 0.02
FLOAT_WARNING_SHARE = 0.3
# Float layers with less than this share of the weights are told of together; so are those that
# are more than half of all layers.
SMALL_FLOAT_SHARE = 0.01
# Operators that a quantizer is expected to quantize, and that have one output channel axis.
_HEAVY = frozenset(
    "Conv ConvTranspose FusedConv NhwcFusedConv QLinearConv ConvInteger Gemm FusedGemm QGemm "
    "MatMul FusedMatMul TransposeMatMul QLinearMatMul MatMulInteger MatMulIntegerToFloat "
    "DynamicQuantizeMatMul MatMulNBits MatMulBnb4 LSTM GRU RNN DynamicQuantizeLSTM Attention "
    "QAttention Gather GatherBlockQuantized".split()
)
_SAYS_QUANTIZED = re.compile(
    r"quant|qdq|u?int[48]|(^|[^a-z0-9])(q[48]|w[48]a(8|16)|[ui]8)([^a-z0-9]|$)", re.IGNORECASE
)


def _heavy(comparison: Comparison, variant: str) -> dict[str, MeasuredWeight]:
    """Return the layers whose weight one expects to be quantized, by row."""
    return {
        layer_name: measured
        for layer_name, measured in measured_rows(comparison, variant)
        if measured.layer.op_type in _HEAVY
        and measured.weight.slot == "weight"
        and len(measured.weight.shape) > 1
        and _size(measured) > 0
    }


def _size(measured: MeasuredWeight) -> int:
    return int(np.prod(measured.weight.shape))


def find_left_in_float(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A layer is float in a file whose other layers are quantized.

    A note, for it may be meant; a warning where more than 30 % of all weights are float.
    """
    heavy = _heavy(comparison, variant)
    total = sum(map(_size, heavy.values()))
    tied = {layer_name for rows in _half_quantized(comparison, variant) for layer_name in rows}
    left = {
        layer_name: _size(measured) / total
        for layer_name, measured in heavy.items()
        if not measured.weight.is_quantized and measured.grid is None
    }
    if len(left) == len(heavy) or not any(m.weight.is_quantized for m in heavy.values()):
        return
    severity = "warning" if sum(left.values()) > FLOAT_WARNING_SHARE else "note"
    finding = partial(_left_in_float, variant, severity, sum(left.values()))
    left = {layer_name: share for layer_name, share in left.items() if layer_name not in tied}
    # Many layers are one decision (an operator that is not quantized), not one for each.
    many = len(left) > len(heavy) / 2
    small = {
        layer_name: share for layer_name, share in left.items() if many or share < SMALL_FLOAT_SHARE
    }
    for layer_name, share in left.items():
        if layer_name not in small:
            yield finding({layer_name: share})
    if small:
        yield finding(small)


def _left_in_float(
    variant: str, severity: str, in_total: float, left: Mapping[str, float]
) -> Finding:
    share = sum(left.values())
    return Finding(
        "left-in-float",
        severity,
        variant,
        together(left),
        f"{listed(left)} ({counted(len(left), 'layer')}, {share:.2%} of the weights) "
        f"{'is' if len(left) == 1 else 'are'} float; in all {in_total:.1%} of the weights of this "
        "file are.",
        "If that is not meant, take it off `nodes_to_exclude` and add its operator to "
        "`op_types_to_quantize`; `quantize_dynamic` leaves Conv out.",
        {"share": share, "layers": len(left), "share_of_all_float": in_total},
    )


def _half_quantized(comparison: Comparison, variant: str) -> Iterator[dict[str, bool]]:
    """Yield, for each constant that several layers share, which of them are quantized.

    Only where some are and some are not. The same constant in this file, or in the reference.
    """
    for holder in dict.fromkeys((variant, comparison.named_by)):
        users: dict[str, dict[str, bool]] = defaultdict(dict)
        for layer_name, by_variant in comparison.weights.items():
            if variant in by_variant and holder in by_variant:
                name = by_variant[holder].weight.name
                users[name][layer_name] = by_variant[variant].weight.is_quantized
        found = [rows for name, rows in users.items() if name and len(set(rows.values())) == 2]
        yield from found
        if found:
            return


def find_tied_weight(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """One weight serves several layers and is quantized for some of them only.

    The layers then compute with different numbers, and the file holds the weight twice.
    """
    for rows in _half_quantized(comparison, variant):
        quantized = [layer_name for layer_name, is_quantized in rows.items() if is_quantized]
        left = [layer_name for layer_name, is_quantized in rows.items() if not is_quantized]
        yield Finding(
            "tied-weight",
            "warning",
            variant,
            left[0],
            f"One weight serves {counted(len(rows), 'layer')}: quantized in {listed(quantized)}, "
            f"float in {listed(left)}.",
            f"Quantize both branches or neither: "
            f"{nodes_to_exclude(quantized, comparison.variants)}, or add "
            "the float branch's operator to `op_types_to_quantize`.",
            {"quantized": len(quantized), "float": len(left)},
        )


def find_grid_snapped(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Float weights that lie on a grid of few levels, and no scale in the file says which.

    Source: `describe_grid`; fake-quantized training and some tools write such files.
    """
    snapped = {
        layer_name: measured
        for layer_name, measured in _heavy(comparison, variant).items()
        if measured.grid is not None and _count_distinct(measured, FEWEST_CODES) > FEWEST_CODES
    }
    if snapped:
        layer_name, measured = next(iter(snapped.items()))
        yield Finding(
            "grid-snapped",
            "warning",
            variant,
            together(snapped),
            f"{counted(len(snapped), 'float weight')} with few levels, {listed(snapped)}: in "
            f"{printable(layer_name)} {_count_distinct(measured)} distinct numbers of "
            f"{_size(measured):,}, {measured.grid}.",
            "Export the model with its quantizers (QuantizeLinear and DequantizeLinear): as it "
            "stands every runtime computes in float.",
            {"layers": len(snapped)},
        )


def _count_distinct(measured: MeasuredWeight, enough: float = math.inf) -> int:
    """Return how many distinct numbers a weight has, or more than ``enough``, chunk by chunk.

    A constant kernel is no grid.
    """
    found = np.zeros(0, np.float32)
    try:
        with Compared(measured.weight, measured.layer).open() as opened:
            for part in opened.parts():
                chunk = opened.codes(part)
                if chunk.min() == chunk.max():  # far quicker to see, and usual in what is masked
                    chunk = chunk[:1, :1]
                found = np.union1d(found, np.unique_values(chunk.astype(np.float32)))
                if found.size > enough:
                    break
    except UnavailableError:
        return 0
    return int(found.size)


def find_not_quantized(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A file that stands beside its float original, or is called quantized, and has no codes."""
    heavy = _heavy(comparison, variant)
    if not heavy or any(m.weight.is_quantized or m.grid is not None for m in heavy.values()):
        return
    if any(True for _ in refusals(comparison, variant)):
        return
    model = comparison.variants[variant]
    activations = [layer.name for layer in list_layers(model) if layer.inputs or layer.outputs]
    called = next((n for n in (variant, model.name) if _SAYS_QUANTIZED.search(n)), None)
    beside = variant != comparison.named_by and all(
        measured.weight.data_type == "float32" for measured in heavy.values()
    )
    if not (activations or called or beside):
        return
    yield Finding(
        "not-quantized",
        "error" if called else "warning",
        variant,
        "",
        f"All {len(heavy)} weights are float"
        + (f", though the file is called {called!r}" if called else "")
        + (f"; activations are quantized in {counted(len(activations), 'layer')}." if activations
           else ", and no activation is quantized."),
        "Run the quantizer again and save what it returns; a simplifier that ran afterwards may "
        "have folded the codes back into float.",
        {"weights": len(heavy), "layers_with_quantized_activations": len(activations)},
    )  # fmt: skip


def find_layers_lost(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Layers of the float original that have no partner in this file.

    What was folded into another layer (batch-norm, a bias in an Add) does not count.
    """
    pairing = comparison.pairings.get(variant)
    if pairing is None:
        return
    heavy = _heavy(comparison, comparison.named_by)
    lost = {
        layer_name: _size(heavy[layer_name])
        for layer_name in pairing.unpaired_original
        if layer_name in heavy
    }
    unread = sum(name == variant for _, name in comparison.unavailable)
    if len(lost) <= unread:  # they are there, but cannot be compared
        return
    strange = [
        layer_name
        for layer_name in pairing.unpaired_variant
        if layer_name in _heavy(comparison, variant)
    ]
    yield Finding(
        "layers-lost",
        "error" if len(strange) < len(lost) else "warning",
        variant,
        together(lost),
        f"{counted(len(lost), 'layer')} of {len(heavy)} ({sum(lost.values()):,} weights) have no "
        f"partner in this file: {listed(lost)}; {len(strange)} of its own are unmatched.",
        "Check that both files come from one export; if they do, name the nodes before "
        "quantizing: a quantizer that finds layers by name loses those without one.",
        {"layers": len(lost), "weights": sum(lost.values()), "unmatched": len(strange)},
    )


def find_values_differ(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """The codes are not those of this float weight: another training, or the wrong file."""
    for layer_name, measured in measured_rows(comparison, variant):
        pair = measured.pair
        if pair is None or pair.score is None or pair.is_sure:
            continue
        if measured.quantization is not None and not usable_channels(measured).any():
            continue
        guess = pair.evidence.startswith("order")
        yield Finding(
            "values-differ",
            "note" if guess else "warning",
            variant,
            layer_name,
            f"Paired with {printable(pair.variant)} by {'order' if guess else 'name'} only: the "
            f"mean cosine of their channels is {pair.score:.2f}, where the same weight has at "
            "least 0.84.",
            "Compare with the float model that this file was made from; errors against this one "
            "are not shown.",
            {"cosine": pair.score},
        )
    yield from _strayed(comparison, variant)


def _strayed(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Yield the weights whose error is larger than rounding makes it."""
    for one in quantized_matrices(comparison, variant):
        state = channel_states(one)
        factor = _one_factor(one.measured)
        if factor is not None:
            yield Finding(
                "values-differ",
                "warning",
                variant,
                one.layer_name,
                f"Every channel is {factor:.4g} times that of the float weight, one factor for "
                "all, which no equalization makes.",
                "Check that the scale is the one the codes were made with.",
                {"factor": factor},
            )
        if state is None or (state.judged & state.clipped).any():
            continue
        strayed = state.judged & state.strayed & ~state.dead & ~state.wide
        used, possible = used_codes(one)
        if not strayed.any() or used < UNUSED_SHARE * possible:
            continue
        weak = bool((strayed & state.weak).any())
        yield Finding(
            "values-differ",
            "warning" if weak else "note",
            variant,
            one.layer_name,
            f"In {int(strayed.sum())} of {int(state.judged.sum())} channels "
            f"({which_channels(strayed)}) the error is more than {STRAYED_STEPS} steps "
            "(rounding makes 0.29) and not by clipping; RMSE over the tensor is "
            f"{one.measured.metrics['rmse_steps']:.2f} steps.",
            "Check that the scale is the one the codes were made with and that the float model is "
            "the one they were made from; after quantization-aware training this is expected.",
            {"channels": int(strayed.sum()), "rmse_steps": one.measured.metrics["rmse_steps"]},
        )


def _one_factor(measured: MeasuredWeight) -> float | None:
    """Return the factor between the values and the float weight, where it is one for all."""
    pair = measured.pair
    if pair is None or pair.original_factor is None or "rescaled" not in pair.folding:
        return None
    factor = np.abs(pair.original_factor[living_channels(measured)])
    same = factor.size > 1 and np.ptp(factor) <= SAME_FACTOR * factor.mean()
    return float(factor.mean()) if same and pair.folding.startswith("channels") else None


def find_not_understood(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """What could not be read is not judged by any other rule, and is said here."""
    for layer_name, layer, message in refusals(comparison, variant):
        if BY_ZERO_POINT.search(message) or is_about_axis(message, layer):
            continue
        unknown = message.startswith("operator ")
        yield Finding(
            "not-understood",
            "note" if unknown else "warning",
            variant,
            layer_name,
            f"Not read: {message}.",
            "No other rule has judged this layer; open the file that the tool at hand converted "
            "or packed, or look at the tensor itself.",
        )
