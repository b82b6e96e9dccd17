"""What is read of a weight at a time serves again for the next chunk."""

from __future__ import annotations

import numpy as np

from playground.utils.parameter_inspector.streaming.chunks import Scratch


def test_scratch_serves_again_where_it_is_large_enough():
    scratch = Scratch()
    first = scratch.take("a", (4, 6))
    assert np.shares_memory(scratch.take("a", (3, 7)), first)
    assert not np.shares_memory(scratch.take("b", (4, 6)), first)
    larger = scratch.take("a", (5, 5))
    assert not np.shares_memory(larger, first)
    assert (larger.shape, larger.dtype) == ((5, 5), np.float32)
