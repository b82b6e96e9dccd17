"""A cell of the accuracy map as a script: pasted it runs, and gives about what the cell says."""

from __future__ import annotations

import runpy

import numpy as np
import onnx
import pytest
from networks_to_run import conv_network, run, sqnr_db
from plans_for_tests import SAMPLES, compare_spoiled, quantized_name

from playground.utils import exports
from playground.utils.parameter_inspector import Widths, measure_accuracy_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("widths")


@pytest.fixture(scope="module")
def comparison(folder):
    np.savez(folder / "samples.npz", **SAMPLES)
    return compare_spoiled(folder, factor=1.0)


@pytest.fixture(scope="module")
def found(comparison):
    return measure_accuracy_map(comparison, quantized_name(comparison), SAMPLES)


@pytest.mark.parametrize(
    "widths",
    [
        Widths(8, 8, "per-channel"),
        Widths(8, 16, "per-channel"),
        Widths(8, 16, "per-tensor"),
    ],
    ids=str,
)
def test_the_script_gives_within_2_db_what_the_cell_says(
    comparison, found, folder, monkeypatch, widths
):
    text = exports.write_width_recipe(comparison, quantized_name(comparison), widths)
    (folder / "recipe.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    runpy.run_path("recipe.py")
    exact = run(conv_network(), SAMPLES)[0]
    held = run(onnx.load(folder / "quantized.onnx"), SAMPLES)[0]
    assert sqnr_db(exact, held) == pytest.approx(found.cells[widths].sqnr_db, abs=2.0)


def test_weights_of_4_bits_are_written_as_such(comparison, folder, monkeypatch):
    widths = Widths(4, 8, "per-channel")
    text = exports.write_width_recipe(comparison, quantized_name(comparison), widths)
    (folder / "recipe.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    runpy.run_path("recipe.py")
    tensors = onnx.load(folder / "quantized.onnx").graph.initializer
    assert onnx.TensorProto.INT4 in {one.data_type for one in tensors}


def test_widths_that_the_quantizer_has_no_types_for_are_refused(comparison):
    widths = Widths(7, 8, "per-channel")
    assert not exports.can_be_built(widths)
    with pytest.raises(ValueError, match="weights 7 bits per-channel"):
        exports.write_width_recipe(comparison, quantized_name(comparison), widths)


def test_the_maps_own_widths_have_the_granularity_of_the_file(found):
    assert found.own.granularity in ("per-channel", "per-tensor")
