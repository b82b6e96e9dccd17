"""The parts of a scheme, and what fits what: for controls that change one part at a time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..quantization import is_integer
from ..records import WeightTensor
from .schemes import (
    BLOCK_SIZES,
    CLIPPINGS,
    DATA_TYPES,
    GRANULARITIES,
    Scheme,
    data_type_bits,
    own_axis,
)

PERCENTILES = (99.0, 99.9, 99.99, 99.999)
USUAL_BLOCK_SIZE = 32


def change_scheme(scheme: Scheme, part: str, value: object) -> Scheme:
    """Return a scheme with one part changed, and the others as near as they fit it."""
    parts: dict[str, Any] = asdict(scheme) | {part: value}
    if not is_integer(parts["data_type"]):
        parts |= {"symmetric": True, "bits": None, "reduce_range": False}
    elif parts["bits"] not in _list_bits(parts["data_type"]):
        parts["bits"] = None
    if is_integer(parts["data_type"]) and not _can_reduce(parts["data_type"], parts["bits"]):
        parts["reduce_range"] = False
    if parts["granularity"] != "per-block":
        parts["block_size"] = None
    elif parts["block_size"] is None:
        parts["block_size"] = USUAL_BLOCK_SIZE
    if parts["granularity"] == "per-tensor" or part == "granularity":
        parts["axis"] = None
    if parts["clipping"] == "std" and parts["data_type"] != "float8e4m3fn":
        parts["clipping"] = "min-max"
    return Scheme(**parts)


def list_choices(scheme: Scheme, weight: WeightTensor) -> dict[str, tuple[Any, ...]]:
    """Return part of a scheme -> the values that fit the others; one alone is no choice."""
    integer = is_integer(scheme.data_type)
    tensor, blocked = scheme.granularity == "per-tensor", scheme.granularity == "per-block"
    reducible = integer and _can_reduce(scheme.data_type, scheme.bits)
    own = own_axis(scheme.granularity, weight.channel_axis or 0, len(weight.shape))
    axes = (axis for axis in range(len(weight.shape)) if axis != own)
    sizes = sorted({*BLOCK_SIZES, scheme.block_size or USUAL_BLOCK_SIZE})
    clips = CLIPPINGS if scheme.data_type == "float8e4m3fn" else CLIPPINGS[:-1]
    cuts = sorted({*PERCENTILES, scheme.percentile})
    return {
        "data_type": DATA_TYPES,
        "bits": _list_bits(scheme.data_type) if integer else (None,),
        "granularity": GRANULARITIES if weight.shape else GRANULARITIES[:1],
        "axis": (None,) if tensor else (None, *axes),
        "block_size": tuple(sizes) if blocked else (None,),
        "symmetric": (True, False) if integer else (True,),
        "reduce_range": (False, True) if reducible else (False,),
        "clipping": clips,
        "percentile": tuple(cuts) if scheme.clipping == "percentile" else (scheme.percentile,),
    }


def _list_bits(data_type: str) -> tuple[int | None, ...]:
    """Return the numbers of bits that leave codes unused, after None: all of them."""
    return None, *range(min(8, data_type_bits(data_type) - 1), 1, -1)


def _can_reduce(data_type: str, bits: int | None) -> bool:
    return (bits or data_type_bits(data_type)) >= 3
