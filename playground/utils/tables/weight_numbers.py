"""The numbers behind the histograms of one layer: its weights, and their errors in steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..parameter_inspector import (
    Histograms,
    Measured,
    Scan,
    UnavailableError,
    WeightTensor,
    compute_layer_histograms,
)
from ..parameter_inspector.folding import channels_first


def count_weights(scan: Scan, layer: str) -> tuple[Histograms | None, list[str]]:
    """Return the histograms of a layer's weights, and a sentence for each that cannot be read.

    None where the layer has no weight, or none that can be read.
    """
    problems = [
        f"The weight of {variant} cannot be read: {why}"
        for (row, variant), why in scan.unavailable.items()
        if row == layer
    ]
    measured = scan.rows.get(layer, {})
    try:
        return (compute_layer_histograms(measured) if measured else None), problems
    except UnavailableError as error:
        return None, [*problems, f"The weights cannot be read any more: {error}"]


ERROR_BINS = 64
# float32 rounds x / scale; what lies this far beyond half a step is more than rounding.
HALF_STEP = 0.5 + 1e-3


@dataclass(frozen=True, eq=False)
class ErrorSteps:
    """How far the values of a weight are from the float original, in steps of their scale.

    Attributes:
        edges: of the bins, symmetric around 0, at least from -1 to 1.
        rms: root-mean-square error; rounding alone gives 1/sqrt(12) = 0.289.
        largest: the largest absolute error.
        beyond_half_share: share of the weights whose error is more than rounding makes.
    """

    edges: np.ndarray
    counts: np.ndarray
    count: int
    rms: float
    largest: float
    beyond_half_share: float


def compute_error_steps(one: Measured, original: Measured) -> ErrorSteps | None:
    """Return the errors of a quantized weight, None where it cannot be compared.

    Raises:
        UnavailableError: bytes are missing.
    """
    quantization, weight = one.quantization, one.weight
    if quantization is None or one.sums.e_square is None:
        return None
    exact = channels_first(original.weight.values, original.weight, original.layer)
    if one.pair is not None and one.pair.reference_factor is not None:
        exact = exact * one.pair.reference_factor[:, None]
    shape = weight.codes.shape
    scale = quantization.spread(quantization.scale.astype(np.float32), shape)
    frame = weight.rearrange(np.broadcast_to(scale, shape))
    with np.errstate(all="ignore"):
        error = exact - channels_first(weight.values, weight, one.layer)
        steps = error / np.abs(channels_first(frame, weight, one.layer))
    steps = steps[np.isfinite(steps)]
    return summarize_errors(steps) if steps.size else None


def summarize_errors(steps: np.ndarray) -> ErrorSteps:
    """Return the histogram of errors in steps, and what it says."""
    largest = float(np.abs(steps).max())
    limit = max(1.0, float(np.ceil(largest)))
    counts, edges = np.histogram(steps, ERROR_BINS, (-limit, limit))
    rms = float(np.sqrt(np.mean(steps.astype(np.float64) ** 2)))
    beyond = float((np.abs(steps) > HALF_STEP).mean())
    return ErrorSteps(edges, counts, steps.size, rms, largest, beyond)


def compute_layer_errors(scan: Scan, layer: str) -> tuple[dict[str, ErrorSteps], list[str]]:
    """Return the errors of a layer in each variant that can be compared, and what could not be."""
    measured = scan.rows.get(layer, {})
    original = next(iter(measured.values()), None)
    errors, problems = {}, []
    for name, one in measured.items():
        if original is None or one is original:
            continue
        try:
            found = compute_error_steps(one, original)
        except UnavailableError as error:
            problems.append(f"The weight of {name} cannot be read: {error}")
            continue
        if found is not None:
            errors[name] = found
    return errors, problems


def read_values(weights: Mapping[str, WeightTensor]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the values of each weight that can be read, and a sentence for each that cannot."""
    values, problems = {}, []
    for name, weight in weights.items():
        try:
            values[name] = weight.values
        except UnavailableError as error:
            problems.append(f"The weight of {name} cannot be read: {error}")
    return values, problems
