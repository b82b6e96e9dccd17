"""The accuracy map against onnxruntime's own files, and against what must be so."""

import threading

import numpy as np
import pytest
from networks_to_run import conv_network, run, sqnr_db
from onnx import numpy_helper
from plans_for_tests import SAMPLES, compare_spoiled, quantized_name

from playground.utils.parameter_inspector.changing.accuracy_map import (
    ACTIVATION_BITS,
    GRANULARITIES,
    WEIGHT_BITS,
    Widths,
    list_widths,
    measure_accuracy_map,
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return compare_spoiled(tmp_path_factory.mktemp("map"), factor=1.0)


@pytest.fixture(scope="module")
def found(comparison):
    return measure_accuracy_map(comparison, quantized_name(comparison), SAMPLES)


def test_every_pair_of_widths_is_measured(found):
    assert set(found.cells) == set(list_widths())
    assert len(found.cells) == len(WEIGHT_BITS) * len(ACTIVATION_BITS) * len(GRANULARITIES)
    assert found.complete


@pytest.mark.parametrize("bits", [8, 5, 3])
def test_a_cell_of_16_bits_is_within_1_db_of_the_network_with_rounded_weights(found, bits):
    most = 2 ** (bits - 1) - 1
    rounded = conv_network()
    # The bias has float values in the map, as in the original.
    for tensor in rounded.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim > 1:
            others = tuple(range(1, weight.ndim))
            scale = np.abs(weight).max(axis=others, keepdims=True) / most
            held = (np.rint(weight / scale) * scale).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(held, tensor.name))
    exact, changed = run(conv_network(), SAMPLES)[0], run(rounded, SAMPLES)[0]
    cell = found.cells[Widths(bits, 16, "per-channel")]
    assert cell.sqnr_db == pytest.approx(sqnr_db(exact, changed), abs=1.0)


def test_the_files_own_widths_are_known(found):
    assert (found.own.weight_bits, found.own.activation_bits) == (8, 8)


def test_wide_cells_are_better_than_narrow_ones(found):
    wide = found.cells[Widths(8, 16, "per-channel")]
    for bits in (4, 3, 2):
        assert found.cells[Widths(bits, 4, "per-channel")].sqnr_db < wide.sqnr_db - 10


def test_stop_keeps_the_cells_that_there_are(comparison):
    cancel = threading.Event()

    def progress(so_far):
        if len(so_far.cells) >= 3:
            cancel.set()

    stopped = measure_accuracy_map(
        comparison, quantized_name(comparison), SAMPLES, progress=progress, cancel=cancel
    )
    assert 3 <= len(stopped.cells) < len(list_widths()) and not stopped.complete
