"""What leaves the page: files that are written only when asked for, and never into the folder."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import dequantize_node, floats, make_model
from onnx import helper

from playground.utils import exports, tables
from playground.utils.page import writing
from playground.utils.parameter_inspector import Comparison, compare_variants, open_folder
from playground.utils.parameter_inspector.changing.layer_options import list_options
from playground.utils.parameter_inspector.changing.planning import choose
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.writability import requantize_layer

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = '<img src=x onerror="window.hacked=1">'


def compare(folder: Path) -> Comparison:
    return compare_variants(open_folder(folder).variants)


@pytest.fixture(scope="module")
def dscnn() -> Comparison:
    return compare(ROOT / "models" / "dscnn")


def save_pair(folder: Path, **options: object) -> None:
    """Save a small network of a hostile name, as float and as int8."""
    original, scale = floats(5, 3), 0.03
    codes = (original / scale).round().clip(-128, 127).astype("int8")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], HOSTILE)
    parts = {"q": codes, "s": np.float32(scale), "z": np.int8(0)}
    for name, nodes, arrays in (
        ("fp32", [node], {"w": original}),
        ("int8", [dequantize_node(), node], parts),
    ):
        model = make_model(nodes, arrays, inputs={"x": (2, 5)})
        output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 3))
        model.graph.output[0].CopyFrom(output)
        onnx.save(model, folder / f"{name}.onnx", **options)


def change_layer(comparison: Comparison):
    """Return what makes the one layer of `save_pair` int4."""
    return partial(requantize_layer, comparison, "INT8", HOSTILE, Scheme("int4"))


@pytest.mark.parametrize(
    ("name", "file"),
    [("dscnn", "dscnn"), ("../a b/ü.onnx", "a-b-.onnx"), ("..", "model"), ("<>", "model")],
)
def test_the_name_of_a_file_to_download_is_safe(name, file):
    assert writing.name_file(name) == file


def test_every_file_has_a_button_that_is_named_after_the_network():
    shown = writing.offer_downloads("a/b", {"metrics.csv": lambda: "x", "all.json": lambda: "y"})
    for name in ("a-b-metrics.csv", "a-b-all.json"):
        assert name in shown.text


@pytest.mark.parametrize("tool", [*exports.EXCLUSIONS, writing.PER_CHANNEL])
def test_every_tool_gets_the_ticked_layers_as_python(dscnn, tool):
    ranked = tables.rank_layers(dscnn, [])
    text = writing.write_exclusion(tool, dscnn, ["/dense/Gemm"], ranked)
    ast.parse(text)
    assert "dense" in text


@pytest.mark.parametrize("external", [False, True])
def test_a_changed_model_is_written_wherever_its_weights_lie_and_never_into_the_folder(
    external, tmp_path
):
    save_pair(tmp_path, save_as_external_data=external, location="w", size_threshold=0)
    before = sorted(tmp_path.iterdir())
    comparison = compare(tmp_path)
    shown = writing.write_file(change_layer(comparison), comparison, "INT8", "changed.onnx")
    assert "The file is ready" in shown.text
    assert sorted(tmp_path.iterdir()) == before
    assert "<img src=x" not in shown.text


def test_what_cannot_be_written_or_run_is_a_sentence(tmp_path):
    save_pair(tmp_path)
    comparison, folder = compare(tmp_path), open_folder(tmp_path)
    (move,) = change_layer(comparison)()
    moves = [replace(move, quantizers=(replace(move.quantizers[0], index=9),))]
    shown = writing.write_file(lambda: moves, comparison, "INT8", "changed.onnx")
    assert "This cannot be written: tensor" in shown.text
    assert "it was made for another file" in shown.text
    shown = writing.run_on_samples(change_layer(comparison), comparison, "INT8", folder)
    assert "This cannot be measured: samples" in shown.text


def test_the_samples_confirm_the_plan_for_the_network_that_uint8_ruins(dscnn):
    plan = choose(*list_options(dscnn, "UINT8"), target_sqnr_db=30)
    folder = open_folder(ROOT / "models" / "dscnn")
    shown = writing.run_on_samples(lambda: plan.moves, dscnn, "UINT8", folder).text
    for words in ("180 of 180, 100.0%", "71 of 180, 39.4%", "2.0 dB", "37.1 dB"):
        assert words in shown


def test_without_samples_there_is_nothing_to_run_and_that_is_said(tmp_path):
    save_pair(tmp_path)
    folder = open_folder(tmp_path)
    buttons = writing.create_run_buttons(folder, "this change")
    assert ["data-disabled='true'" in one.text for one in buttons] == [False, True]
    assert "put samples.npz into the folder" in writing.show_buttons(folder, *buttons).text


def test_nothing_is_written_before_something_is_changed():
    folder = open_folder(ROOT / "models" / "dscnn")
    for changed in (False, True):
        for button in writing.create_run_buttons(folder, "this change", changed):
            assert ("data-disabled='true'" in button.text) is not changed
