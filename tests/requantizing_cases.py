"""Weights and schemes to requantize, and what is said of them by other means."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from playground.utils.parameter_inspector.changing.schemes import DATA_TYPES, Scheme
from playground.utils.parameter_inspector.streaming import array_parts

INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
"""The integer types that onnxruntime's quantizer offers."""


SHAPE = (5, 34, 3)
"""Channels, 34 (no multiple of a block), 3."""


BLOCK = 16


def wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.float64)


def sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    exact = wide(exact)
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - wide(held))))


def table() -> list[Scheme]:
    """Every type, granularity, symmetry, reduced range and clipping; every number of bits once."""
    places = [("per-tensor", None), *(("per-channel", axis) for axis in range(3)),
              ("per-block", 0), ("per-block", 1)]  # fmt: skip
    schemes = []
    for data_type, (granularity, axis), clipping in itertools.product(
        DATA_TYPES, places, ("min-max", "percentile", "mse")
    ):
        plain = Scheme(
            data_type, granularity, axis=axis, clipping=clipping,
            percentile=97.0 if clipping == "percentile" else 99.99,
            block_size=BLOCK if granularity == "per-block" else None,
        )  # fmt: skip
        schemes.append(plain)
        if not data_type.startswith("float"):
            schemes.append(replace(plain, symmetric=False))
        if data_type in INTEGERS:
            schemes.append(replace(plain, reduce_range=True))
    for data_type, bits, symmetric in itertools.product(
        ("int8", "uint8"), range(2, 9), (False, True)
    ):
        schemes.append(Scheme(data_type, "per-channel", symmetric, axis=1, bits=bits))
        schemes.append(Scheme(data_type, "per-channel", symmetric, bits=bits, clipping="mse"))
    return schemes


UNCLIPPED = [scheme for scheme in table() if scheme.clipping == "min-max"]


def gaussian(count: int = 1_000_000) -> np.ndarray:
    return np.random.default_rng(1).normal(size=count).astype(np.float32)


def cut_small(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    """Have arrays cut into slabs of a few elements."""
    monkeypatch.setattr(array_parts, "PART_ELEMENTS", elements)
