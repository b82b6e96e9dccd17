"""A few channels and columns of a weight, without reading the others where the file allows."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from ..records import Layer, WeightTensor
from .channel_frame import spread_out
from .chunks import open_matrix
from .matrix_parameters import spread_parameters

# Neighbours are read at once.
RUN = 32


def spread_runs(count: int, wanted: int) -> np.ndarray:
    """Return up to ``wanted`` indices below ``count`` in runs: neighbours are read at once."""
    if count <= wanted or wanted < RUN:
        return spread_out(count, wanted)
    starts = np.linspace(0, count - RUN, wanted // RUN).astype(int)
    return np.unique(starts[:, None] + np.arange(RUN))


def sample_values(
    weight: WeightTensor, layer: Layer, channel_count: int, column_count: int
) -> np.ndarray:
    """Return the values of a few channels, evenly apart, and of runs of columns, float32.

    Only what is sampled is dequantized, and read where the file allows.

    Raises:
        UnavailableError: bytes are missing.
    """
    with ExitStack() as stack:
        matrix = open_matrix(weight, layer, stack)
        rows = spread_out(matrix.shape[0], channel_count)
        columns = spread_runs(matrix.shape[1], column_count)
        codes = matrix.pick(rows, columns)
        parameters = spread_parameters(weight, layer)
        if parameters is None or weight.quantization is None:
            with np.errstate(all="ignore"):
                return weight.round_as_cast(codes.astype(np.float32)).astype(np.float32)
        scale, zero_point = (parameter.pick(rows, columns) for parameter in parameters)
        with np.errstate(all="ignore"):
            steps = weight.quantization.steps(codes, zero_point)
            values = weight.quantization.round_values(steps * scale)
            return weight.round_as_cast(values).astype(np.float32)
