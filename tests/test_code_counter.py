"""Codes are counted as numpy counts them, by their bytes."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import codes

from playground.utils.parameter_inspector.streaming.code_counter import count_bytes


@pytest.mark.parametrize("size", [0, 1, 1000, 4096, 100_001])
def test_bytes_are_counted_as_numpy_counts_them(size):
    flat = codes("uint8", size + 1)[1:]  # not aligned
    np.testing.assert_array_equal(count_bytes(flat), np.bincount(flat, minlength=256))
