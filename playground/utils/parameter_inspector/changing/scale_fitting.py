"""Scale and zero-point of each group of weights, by onnxruntime's rules."""

from __future__ import annotations

import numpy as np

from ..quantization import is_integer, numpy_dtype
from .range_search import find_best_parts
from .scale_groups import ScaleGroups
from .schemes import Scheme, float_info


class ScaleRangeError(ValueError):
    """A weight reaches further than ``scale_type`` can say."""

    def __init__(self, low: float, high: float, scale_type: str) -> None:
        super().__init__(low, high, scale_type)
        self.low, self.high, self.scale_type = low, high, scale_type

    def __str__(self) -> str:
        return (
            f"weights from {self.low:.3g} to {self.high:.3g}: no {self.scale_type} scale is so wide"
        )


def fit_scales(
    groups: ScaleGroups, scheme: Scheme, scale_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale (of ``scale_type``) and the zero-point (float64) of each group."""
    low, high = _find_range(groups, scheme)
    if scheme.clipping == "mse":
        start = _search_start(scheme, low, high)
        factor = find_best_parts(groups.weights, scheme, *start)
        low, high = (low * factor).astype(np.float32), (high * factor).astype(np.float32)
    if not is_integer(scheme.data_type):
        return _float_scale(groups, scheme, high, scale_type)
    with np.errstate(all="ignore"):
        scale, zero_point = _scale_and_zero_point(low, high, scheme, scale_type)
    if not np.isfinite(scale).all():
        raise ScaleRangeError(float(low.min()), float(high.max()), scale_type)
    return scale, zero_point


def _find_range(groups: ScaleGroups, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest weight to hold of each group, float32, zero between them."""
    if scheme.clipping == "percentile" and groups.weights.size:
        low, high = _percentiles(groups.weights, scheme)
    else:
        low, high = groups.find_ends()
    low = np.minimum(low, 0).astype(np.float32)
    high = np.maximum(high, 0).astype(np.float32)
    if scheme.symmetric:
        high = np.maximum(-low, high)
        low = -high
    return low, high


def _percentiles(weights: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric: of abs(weight). Else half of what is cut off is cut from either end."""
    if scheme.symmetric:
        high = np.quantile(np.abs(weights), scheme.percentile / 100, axis=1)
        return -high, high
    cut = (1 - scheme.percentile / 100) / 2
    low, high = np.quantile(weights, (cut, 1 - cut), axis=1)
    return low, high


def _scale_and_zero_point(
    low: np.ndarray, high: np.ndarray, scheme: Scheme, scale_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Source: onnxruntime's ``compute_scale_zp``, and ``compute_scale_zp_blocked`` for blocks.

    Blocks subtract in float32 and find the zero-point with the rounded scale; the others do both
    in float64.
    """
    dtype = numpy_dtype(scale_type)
    bottom, top = scheme.limits
    blocked = scheme.granularity == "per-block"
    width = (high - low).astype(np.float64) if blocked else high.astype(np.float64) - low
    wide_scale = width / (top - bottom)
    scale = wide_scale.astype(dtype)
    tiny = float(float_info(dtype).tiny)
    degenerate = (scale.astype(np.float64) if blocked else wide_scale) < tiny
    if scheme.symmetric:
        zero_point = np.full(low.shape, np.rint((bottom + top) / 2) + 0.0)
    else:
        zero_point = np.rint(bottom - low / (scale.astype(np.float64) if blocked else wide_scale))
        zero_point = np.clip(np.nan_to_num(zero_point), bottom, top)
    return np.where(degenerate, np.ones_like(scale), scale), _zero_where(
        degenerate, zero_point, keep=blocked and scheme.symmetric
    )


def _zero_where(degenerate: np.ndarray, zero_point: np.ndarray, keep: bool) -> np.ndarray:
    """A range of nothing has zero-point 0; symmetric blocks keep theirs, as in onnxruntime."""
    return zero_point if keep else np.where(degenerate, 0.0, zero_point)


def _search_start(
    scheme: Scheme, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and zero-point of the widest range, float32: where a search begins."""
    if is_integer(scheme.data_type):
        with np.errstate(all="ignore"):
            scale, zero_point = _scale_and_zero_point(low, high, scheme, "float32")
        return scale.astype(np.float32), zero_point.astype(np.float32)
    scale = (high / np.float32(scheme.limits[1])).astype(np.float32)
    return np.where(scale > 0, scale, np.float32(1)), np.zeros_like(scale)


def _float_scale(
    groups: ScaleGroups, scheme: Scheme, high: np.ndarray, scale_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale that puts the widest weight on the highest code; ``std``: onnxruntime's."""
    dtype = numpy_dtype(scale_type)
    if scheme.clipping == "std":
        scale = (np.std(np.ascontiguousarray(groups.weights), axis=1) / _float8_deviation()).astype(
            dtype
        )
    else:
        scale = (high.astype(np.float64) / scheme.limits[1]).astype(dtype)
    tiny = float_info(dtype).tiny
    return np.where(scale < tiny, np.ones_like(scale), scale), np.zeros(len(scale))


def _float8_deviation() -> np.floating:
    """Standard deviation of all finite float8e4m3fn. Source: ``compute_scale_zp_float8``."""
    codes = np.arange(256, dtype=np.uint8).view(numpy_dtype("float8e4m3fn")).astype(np.float32)
    return np.std(codes[np.isfinite(codes)])
