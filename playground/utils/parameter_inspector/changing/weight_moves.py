"""What a quantized weight could hold instead: other schemes of the same size, or wider ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..facts import QuantizerKind
from ..measuring.comparison import Comparison
from ..measuring.metrics import MeasuredWeight
from ..reading.edges import Network
from ..running.placing import folded_parameters
from ..running.quantizers import Placement, WeightSite
from ..running.tunable_model import Alternative
from .layer_options import read_current
from .moves import Move, MoveKind
from .originals import StaysError
from .requantizing import requantize
from .runtime_support import why_not_run
from .schemes import Scheme, data_type_bits

# An alternative has to have less than this part of the squared error, or it is no change worth.
WORTH = 0.8
# What the alternatives of all weights may take in the model that is run.
MOST_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class WeightAlternative:
    """Another scheme of one weight.

    Attributes:
        values: of the weight and its bias, by the index of their site in the placement.
        added_bytes: to the file.
    """

    scheme: Scheme
    values: Alternative
    added_bytes: int


def list_weight_alternatives(
    comparison: Comparison, variant: str, original: Network, placement: Placement
) -> dict[int, tuple[WeightAlternative, ...]]:
    """Return what the weights of a variant could hold, by the index of the quantizer."""
    left = MOST_BYTES
    found: dict[int, tuple[WeightAlternative, ...]] = {}
    for quantizer in placement.quantizers:
        if quantizer.kind is not QuantizerKind.WEIGHT or len(quantizer.layers) != 1:
            continue
        measured = comparison.find_measured(quantizer.layers[0], variant)
        if measured is None or not measured.weight.is_quantized or left <= 0:
            continue
        alternatives = tuple(_try(measured, original, placement, quantizer.index))
        left -= sum(one.nbytes for each in alternatives for one in each.values.values())
        if alternatives:
            found[quantizer.index] = alternatives
    return found


def free_weight_move(comparison: Comparison, variant: str, move: Move) -> Move:
    """Return the move that leaves a weight in float, with what that adds to the file."""
    quantizer = move.quantizers[0]
    added = 0
    for layer in quantizer.layers[:1]:
        measured = comparison.find_measured(layer, variant)
        if measured is not None and measured.weight.quantization is not None:
            try:
                current = read_current(layer, measured.weight)[1]
            except StaysError:
                current = 0
            added = max(0, 4 * math.prod(measured.weight.shape) - current)
    return Move(MoveKind.FREE, move.quantizers, added_bytes=added)


def read_exact(original: Network, placement: Placement, site: WeightSite) -> np.ndarray | None:
    """Return the float values of an operand, with the batch-norm that the variant folded in.

    None where the operand is none of the original's constants.
    """
    for folding in placement.foldings:
        if original.nodes[folding.layer] is site.node and site.position in (1, 2):
            return folded_parameters(original, folding)[site.position - 1]
    given = site.node.inputs
    value = given[site.position] if site.position < len(given) else None
    source = original.constants.get(value)
    return None if source is None else np.asarray(source.read())


def _try(
    measured: MeasuredWeight, original: Network, placement: Placement, index: int
) -> Iterator[WeightAlternative]:
    """Yield the schemes that are clearly better, one for each size."""
    weight = measured.weight
    try:
        scheme, current_bytes, scale_type = read_current(measured.layer.name, weight)
    except StaysError:
        return
    sites = [(n, s) for n, s in enumerate(placement.weights) if s.quantizer == index]
    number, site = sites[0]
    exact = read_exact(original, placement, site)
    axis = find_operand_axis(original, placement, index, exact)
    if exact is None or axis is None or exact.ndim < 2 or not np.isfinite(exact).all():
        return
    biases = {
        at: bias
        for at, one in sites[1:]
        if (bias := read_exact(original, placement, one)) is not None and bias.shape == one.shape
    }
    error = float(np.square(site.read().astype(np.float64) - exact).sum())
    best: dict[int, tuple[float, WeightAlternative]] = {}
    for tried in _list_schemes(scheme):
        if why_not_run(measured.layer, tried) is not None:
            continue
        done = requantize(exact, tried, axis, scale_type)
        found = float(np.square(done.values.astype(np.float64) - exact).sum())
        bits = data_type_bits(tried.data_type)
        if found < WORTH * error and (bits not in best or found < best[bits][0]):
            values = {number: done.values, **biases}
            added = max(0, done.byte_count - current_bytes)
            best[bits] = found, WeightAlternative(tried, values, added)
    yield from (best[bits][1] for bits in sorted(best))


def find_operand_axis(
    original: Network, placement: Placement, index: int, exact: np.ndarray | None
) -> int | None:
    """Return the output channels of the weight of a quantizer, as its operand counts its axes."""
    layer = original.layers[placement.quantizers[index].layers[0]]
    for parameter in layer.parameters:
        if exact is not None and parameter.slot != "bias" and parameter.shape == exact.shape:
            return parameter.channel_axis
    return None


def _list_schemes(scheme: Scheme) -> Iterator[Scheme]:
    """Yield schemes of the same width, then wider ones; the writer has a form for each."""
    bits = data_type_bits(scheme.data_type)
    if scheme.granularity == "per-block" and scheme.block_size is not None:
        yield Scheme(
            scheme.data_type, "per-block", block_size=scheme.block_size, symmetric=False,
            clipping="mse",
        )  # fmt: skip
    elif bits == 8:
        yield Scheme("int8", "per-channel")
        yield Scheme("int8", "per-channel", clipping="mse")
    if bits < 8:
        yield Scheme("int8", "per-channel")
