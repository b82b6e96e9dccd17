"""Section 2, before outputs are measured: what can be, on what, and how many runs that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..parameter_inspector import Comparison, Samples, describe_given, list_layers
from ..spelling import join_names, spell_count

# Beside one run for each quantizer: the files, the split, the recovered curve, the restored rows.
OTHER_RUNS = 20
SYNTHETIC = "synthetic inputs"


def list_runnable(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """Return label -> the variants to run: all of them first where there are several."""
    names = tuple(name for name in comparison.variants if name != comparison.original)
    together = {f"all {len(names)} variants": names} if len(names) > 1 else {}
    return together | {name: (name,) for name in names}


def spell_samples(samples: Samples | None) -> str:
    """Return what a button says that it measures on."""
    return SYNTHETIC if samples is None else spell_count(samples.count, "sample")


def explain_measuring(
    comparison: Comparison, variants: Sequence[str], samples: Samples | None
) -> list[str]:
    """Return what is not known yet, and what will happen to know it."""
    counts = [count_runs(comparison, name) for name in variants]
    each = " for each variant" if len(variants) > 1 else ""
    return [
        f"What {join_names(variants)} lose{'' if len(variants) > 1 else 's'} at the output, and "
        "which quantizer loses it, is not measured yet.",
        f"About {_round(max(counts))} runs of the network{each} on {_spell_source(samples)}. They "
        "run in processes of their own, with limits on memory and time; the page answers "
        "meanwhile.",
    ]


def _spell_source(samples: Samples | None) -> str:
    if samples is not None:
        return describe_given(samples)
    return (
        f"{SYNTHETIC}, as there is no samples.npz beside the models: they tell which quantizers "
        "matter, but not how much is lost"
    )


def count_runs(comparison: Comparison, variant: str) -> int:
    """Return about how many runs measuring takes: one for each quantizer, and some more."""
    layers = list_layers(comparison.variants[variant])
    tensors = {one.tensor for layer in layers for one in (*layer.inputs, *layer.outputs)}
    weights = sum(any(p.is_quantized for p in layer.parameters) for layer in layers)
    return len(tensors) + weights + OTHER_RUNS


def _round(count: int) -> str:
    """Return a count in tens, from 1,000 on in hundreds: more would promise what is not known."""
    step = 10 if count < 1000 else 100
    return f"{round(count / step) * step:,}"


def order_measured(comparison: Comparison) -> list[str]:
    """Return the variants that were run, the one that lost most first."""

    def lost(name: str) -> float:
        level = comparison.outputs[name].sqnr_db
        return -math.inf if level is None or math.isnan(level) else level

    return sorted(comparison.outputs, key=lost)
