"""A file costs what it weighs: twice the file, twice the cost, whatever is in it.

The cost is counted, not timed: lines of Python that run, and bytes that are held at most.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import costly_files
import numpy as np
import onnx
import pytest

from playground.utils.parameter_inspector import (
    Model,
    UnavailableError,
    compare_variants,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.measuring import comparison, layer_work
from playground.utils.parameter_inspector.reading import computed

# Twice as much and a little: what is there before the first layer counts too.
TWICE = 2.3


def save(made: onnx.ModelProto | bytes, path: Path) -> Path:
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def open_file(path: Path) -> Model:
    model = load_model(path)
    list_layers(model)
    return model


def scan_file(path: Path) -> None:
    compare_variants({"FP32": open_file(path)})


def count_lines(work: Callable[[], Any]) -> int:
    """Return how many lines of Python run in this thread, a loop's as often as it goes round."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def peak_bytes(work: Callable[[], Any]) -> int:
    """Return how many bytes are held at most, above those that were before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


OPENED = {
    costly_files.many_raw_data_fields: 20,
    costly_files.two_byte_numbers: 5000,
    costly_files.two_byte_numbers_in_turn: 5000,
    costly_files.empty_unknown_fields: 1000,
    costly_files.numbers_of_an_attribute: 5000,
    costly_files.nodes_of_one_name: 50,
    costly_files.nodes_whose_next_names_are_taken: 50,
    costly_files.weights_of_one_name: 30,
    costly_files.calls_of_a_function_of_many_outputs: 10,
    costly_files.functions_that_call_each_other: 30,
    costly_files.reversed_before_wide_maxima: 40,
    costly_files.layers_that_share_a_chain: 20,
    costly_files.layers_on_one_weight: 30,
    costly_files.casts_in_a_row_before_many: 20,
    costly_files.adds_to_one_value: 30,
    costly_files.gathers_of_one_table: 30,
    costly_files.integer_products_of_one_scale: 20,
    costly_files.chain_of_quantizers: 5,
}
"""Makers, and how large their first file is."""


@pytest.mark.parametrize("make", OPENED, ids=lambda make: make.__name__)
def test_opening_twice_the_file_runs_twice_the_lines(make, tmp_path):
    n = OPENED[make]
    paths = [save(make(size), tmp_path / f"{size}.onnx") for size in (n, n, 2 * n, 4 * n)]
    _, *counts = (count_lines(lambda path=path: open_file(path)) for path in paths)
    assert counts[1] < TWICE * counts[0]
    assert counts[2] < TWICE * counts[1]


@pytest.mark.parametrize(
    ("make", "n"),
    [
        (costly_files.adds_on_a_grown_constant, 5),
        (costly_files.adds_on_a_weight, 5),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_longer_chain_holds_no_more(make, n):
    """Only what is still to be read is held: not one array for each operator."""

    def read(made: onnx.ModelProto) -> None:
        (layer,) = list_layers(load_model(made))
        assert layer.weight is not None
        layer.weight.source.read()

    read(make(n))  # what the first one imports stays
    files = [make(size) for size in (n, 2 * n, 4 * n)]
    peaks = [peak_bytes(lambda made=made: read(made)) for made in files]
    assert peaks[2] < 1.3 * peaks[0]


def test_what_has_to_be_held_at_once_is_bounded_by_what_the_file_holds():
    (layer,) = list_layers(load_model(costly_files.wide_maximum(1000)))
    with pytest.raises(UnavailableError, match="memory") as raised:
        layer.weight.source.read()
    assert raised.value.refusal.kind is RefusalKind.HOLDS_TOO_MUCH


def test_a_maximum_of_some_is_computed():
    (layer,) = list_layers(load_model(costly_files.wide_maximum(20)))
    np.testing.assert_array_equal(layer.weight.values, -np.ones((256, 256)))


@pytest.mark.parametrize(
    "make",
    [costly_files.layers_that_share_a_chain, costly_files.layers_on_parts_of_a_chain],
    ids=lambda make: make.__name__,
)
def test_what_layers_share_is_evaluated_once(make, monkeypatch):
    ran, run = [], computed._run
    monkeypatch.setattr(computed, "_run", lambda source, arrays: (
        ran.append(source.name), run(source, arrays))[1])  # fmt: skip
    model = load_model(make(12, operators=5, side=8))
    compare_variants({"FP32": model})
    shared = [name for name in ran if name.startswith("c")]
    assert sorted(shared) == [f"c{i + 1}" for i in range(5)]


@pytest.mark.parametrize(
    ("make", "tried"),
    [
        (costly_files.tile_of_many_repeats, ["w"]),
        (costly_files.layers_on_parts_of_a_failure, ["c1"]),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_evaluated_is_tried_once(make, tried, monkeypatch):
    ran, run = [], computed._run
    monkeypatch.setattr(computed, "_run", lambda source, arrays: (
        ran.append(source.name), run(source, arrays))[1])  # fmt: skip
    model = load_model(make(100))
    compare_variants({"FP32": model})
    assert ran == tried


@pytest.mark.parametrize(
    "make",
    [costly_files.reshape_to_many_dimensions, costly_files.tile_of_many_repeats],
    ids=lambda make: make.__name__,
)
def test_an_argument_of_many_numbers_is_refused_before_it_becomes_objects(make):
    model = load_model(make(1_000_000))
    peak = peak_bytes(lambda: list_layers(model))
    assert peak < 9_000_000  # it weighs eight
    assert list_layers(model)[0].not_understood


def test_layers_on_one_weight_are_measured_once(monkeypatch):
    measured, measure = [], layer_work.sum_weight
    monkeypatch.setattr(layer_work, "sum_weight", lambda *arguments: (
        measured.append(arguments), measure(*arguments))[1])  # fmt: skip
    original, variant = (load_model(costly_files.layers_on_one_weight(9)) for _ in range(2))
    compared = compare_variants({"FP32": original, "also FP32": variant})
    assert len(compared.weights) == 9
    assert len(measured) == 1
    rows = [row["also FP32"] for row in compared.weights.values()]
    assert {row.layer.name for row in rows} == {f"matmul{i}" for i in range(9)}
    assert {row.pair.original for row in rows} == {f"matmul{i}" for i in range(9)}


SCANNED = {
    costly_files.blocks_of_one: 512,
    costly_files.matmul_nbits_in_groups: 2048,
    costly_files.matmul_bnb4: 2048,
    costly_files.lstm_of_two_directions: 2048,
    costly_files.qmoe_of_two_experts: 1024,
}


@pytest.mark.parametrize("make", SCANNED, ids=lambda make: make.__name__)
def test_scanning_holds_a_few_times_what_twice_the_file_weighs_more(make, tmp_path):
    """What a chunk takes is the same for both, and left out."""
    n = SCANNED[make]
    paths = [save(make(size), tmp_path / f"{size}.onnx") for size in (n, 2 * n, 4 * n)]
    scan_file(paths[0])
    peaks = [peak_bytes(lambda path=path: scan_file(path)) for path in paths]
    sizes = [path.stat().st_size for path in paths]
    assert peaks[2] - peaks[1] < 4 * (sizes[2] - sizes[1])


def test_what_is_beyond_the_work_that_files_of_a_size_are_given_is_said(monkeypatch):
    monkeypatch.setattr(comparison, "MOST_STEPS", 2000)
    model = load_model(costly_files.layers_on_grown_constants(8))
    list_layers(model)
    compared = compare_variants({"FP32": model})
    assert compared.unavailable
    for refusal in compared.unavailable.values():
        assert refusal.kind is RefusalKind.TOO_MUCH_WORK
