"""A weight that is read in chunks is read whole, each part once, by one thread or by two."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from models_for_tests import codes, dequantize_node, floats, matmul_model, scales

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.streaming import compared_weights as passes
from playground.utils.parameter_inspector.streaming import threads
from playground.utils.parameter_inspector.streaming.compared_weights import Compared, sum_squares


def weight(size: int) -> Compared:
    model = matmul_model(
        [dequantize_node(axis=1)],
        {"q": codes("int8", size, 31), "s": scales(31), "z": codes("int8", 31, seed=9)},
        inner=size,
    )
    (layer,) = list_layers(load_model(model))
    return Compared(layer.weight, layer)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_every_chunk_is_read_once_and_by_two_threads_where_there_are_many(size, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 60)
    seen = np.zeros((31, size), int)
    identities = set()
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    barrier = threading.Barrier(2, timeout=60)

    def work(opened, parts):
        identities.add(threading.get_ident())
        if len(seen[0]) > 2 * threads.FEW_PARTS:
            barrier.wait()  # both are at work at the same time
        for part in parts:
            seen[part] += 1
        return len(parts)

    counts = weight(size).share_out(work)
    assert (seen == 1).all()
    assert sum(counts) > 0
    assert len(identities) == (2 if size == 40 else 1)


def test_values_of_chunks_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 100)
    one = weight(40)
    found = np.empty((31, 40), np.float32)
    with one.open() as opened:
        for part in opened.parts():
            values = opened.values(part, opened.codes(part))
            found[part] = values.T if opened.reduced == 0 else values
    np.testing.assert_array_equal(found, one.weight.values.T)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(5, 7), (3, 20_000), (20_000, 3)])
def test_squares_are_added_up_in_float64(axis, shape):
    x = 1000 + floats(*shape)
    expected = (x.astype(np.float64) ** 2).sum(axis=axis)
    np.testing.assert_allclose(sum_squares(x, axis), expected, rtol=1e-12)
    wide = np.full(x.shape, np.nan)
    np.testing.assert_array_equal(sum_squares(x, axis, wide), sum_squares(x, axis))
