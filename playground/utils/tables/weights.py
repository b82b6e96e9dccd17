"""The histograms of one layer, of its weights and of their errors, and why one is missing."""

from __future__ import annotations

from ..parameter_inspector import (
    ErrorSteps,
    Histograms,
    Scan,
    UnavailableError,
    compute_error_steps,
    compute_layer_histograms,
)


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
