"""Which weights are the same numbers in the same frame, so that they are read and measured once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np

from ..operators import operator_named
from ..quantization import ArraySource, DerivedSource, Quantization, Source
from ..records import Layer, WeightTensor

# Larger arrays are the same only where they are one object.
COMPARED_BYTES = 1 << 12


def identify_weight(weight: WeightTensor, layer: Layer) -> Hashable:
    """Return a key that two weights share where reading them gives the same numbers.

    Holds for as long as both records do: what the file holds is told apart by its source.
    """
    transposed = operator_named(layer.op_type).is_transposed
    return (
        weight.slot,
        _identify_source(weight.source),
        weight.shape,
        _identify_quantization(weight.quantization),
        tuple((step.op_type, _identify_function(step.apply)) for step in weight.layout),
        weight.channel_axis,
        layer.attribute("group", 1) if transposed else None,
    )


def identify_array(array: np.ndarray | None) -> Hashable:
    if array is None:
        return None
    if array.nbytes <= COMPARED_BYTES:
        return array.dtype.str, array.shape, array.tobytes()
    return id(array)


def _identify_source(source: Source | None) -> Hashable:
    if isinstance(source, DerivedSource):
        behind, derive = _identify_source(source.source), _identify_function(source.derive)
        return behind, derive, source.shape, source.data_type
    if isinstance(source, ArraySource):
        return identify_array(source.array), source.data_type
    return id(source)


def _identify_quantization(quantization: Quantization | None) -> Hashable:
    if quantization is None:
        return None
    return (
        quantization.data_type,
        _identify_source(quantization.scale_source),
        _identify_source(quantization.zero_point_source),
        quantization.axis,
        quantization.block_size,
        quantization.limits,
        quantization.value_type,
        quantization.levels,
        identify_array(quantization.blocks),
    )


def _identify_function(function: Callable[..., Any]) -> Hashable:
    """Return what tells a function apart; a partial one by its arguments."""
    if not isinstance(function, partial):
        return function
    arguments = (*enumerate(function.args), *sorted(function.keywords.items()))
    return function.func, tuple((key, _identify_argument(value)) for key, value in arguments)


def _identify_argument(value: object) -> Hashable:
    if isinstance(value, np.ndarray):
        return identify_array(value)
    return value if isinstance(value, Hashable) else id(value)
