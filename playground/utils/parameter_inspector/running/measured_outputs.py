"""Measuring from Python: a comparison and samples in any shape -> what running a variant found."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.outputs import Outputs, Progress
from ..pairing.layer_pairs import pair_layers
from ..reading.edges import Network
from ..reading.model_file import Model
from ..records import Pairing
from .gather_limits import find_gather_limits
from .limits import Limits
from .measurement import measure_variant
from .reference import create_reference
from .samples import Samples, check_samples, list_inputs, load_samples
from .synthetic import make_synthetic

# Of a file or folder: more take longer, and say little more.
MOST_SAMPLES = 16

AnySamples = Samples | Mapping[str, np.ndarray] | str | os.PathLike[str] | None


def measure_outputs(
    comparison: Comparison,
    samples: AnySamples = None,
    variant: str | None = None,
    *,
    limits: Limits | None = None,
    optimized: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Outputs:
    """Run a variant and its original in child processes, and return what the outputs lost.

    Of a file or folder of samples, the first 16 are taken.

    Args:
        samples: as `load_samples` returned them, arrays by input name, a file or folder; None
            makes 4 synthetic inputs.
        variant: may be left out where there is one quantized variant. Without an original it is
            compared with itself, its activations in float.
        limits: on memory and time; those of this machine where none are given.
        optimized: let onnxruntime rewrite the graphs, as it does by default.
        progress: is told what is known after each step, from any thread.
        cancel: an event that stops the measuring; what is known then is returned.

    Raises:
        SamplesError: the samples are not what the model asks for.
        RunEndedError: the float original does not run.
        ValueError: there is no such variant, or several and none was named.
    """
    name = variant if variant is not None else _only_variant(comparison)
    if name not in comparison.variants or name == comparison.original:
        raise ValueError(f"{name!r} is none of the quantized variants {_quantized(comparison)}")
    read = read_samples(comparison, samples)
    original, pairing = find_reference(comparison, name)
    return measure_variant(
        original,
        comparison.variants[name],
        pairing,
        read,
        limits=limits or Limits.for_this_machine(),
        optimized=optimized,
        progress=progress,
        cancel=cancel,
    )


def _quantized(comparison: Comparison) -> list[str]:
    return [name for name in comparison.variants if name != comparison.original]


def _only_variant(comparison: Comparison) -> str:
    names = _quantized(comparison)
    if len(names) != 1:
        raise ValueError(f"name one of the variants {names}")
    return names[0]


def find_reference(comparison: Comparison, variant: str) -> tuple[Model, Pairing]:
    """Return what a variant is compared with: without an original, itself in float activations."""
    if comparison.original is not None:
        return comparison.naming_model, comparison.pairings[variant]
    reference = create_reference(comparison.variants[variant])
    return reference, pair_layers(reference, comparison.variants[variant])


def read_samples(
    comparison: Comparison, samples: AnySamples, inside: Path | None = None
) -> Samples:
    """Return the first samples, checked against what the network asks for.

    Args:
        inside: a folder that a file of samples may be no link out of.

    Raises:
        SamplesError: they cannot be used.
    """
    if isinstance(samples, Samples):
        return samples
    wanted = list_inputs(comparison.naming_model)
    if samples is None:
        return make_synthetic(wanted, find_gather_limits(Network(comparison.naming_model)))
    if isinstance(samples, Mapping):
        return check_samples(samples, wanted)
    return load_samples(Path(samples), wanted, most_samples=MOST_SAMPLES, inside=inside)
