"""The notebook without a browser: its form, every cell on the shipped models, and odd folders."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import playground.quantization as notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "playground" / "quantization.py"


def run_on(folder: Path) -> tuple[list, dict]:
    """Run every cell on the models of ``folder``."""
    outputs, definitions = notebook.app.run(defs={"models_folder": folder})
    return list(outputs), dict(definitions)


def text_of(outputs: list) -> str:
    return " ".join(getattr(output, "text", "") for output in outputs if output is not None)


def cells() -> list[ast.FunctionDef]:
    tree = ast.parse(NOTEBOOK.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f for f in functions if ast.unparse(f.decorator_list[0]).startswith("app.cell")]


def test_marimo_finds_nothing_to_complain_about():
    command = [sys.executable, "-m", "marimo", "check", "--strict", str(NOTEBOOK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.name)
def test_every_cell_has_a_name_and_is_short(cell):
    body = [node for node in cell.body if not isinstance(node, ast.Return)]
    assert not cell.name.startswith("_")
    assert body[-1].end_lineno - body[0].lineno < 10


def test_it_runs_as_a_script():
    command = [sys.executable, str(NOTEBOOK), "--models", str(ROOT / "models")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("network", "layers"), [("dscnn", 14), ("resnet8", 10)])
def test_every_cell_runs_on_the_shipped_models(network, layers):
    outputs, definitions = run_on(ROOT / "models" / network)
    assert list(definitions["variants"]) == ["FP32", "INT8", "UINT8"]
    assert f"{layers} layers in FP32, INT8, UINT8" in text_of(outputs)
    assert "equal bins from" in text_of(outputs)


def test_a_folder_without_models_is_answered_with_a_sentence(tmp_path):
    assert "no .onnx file" in text_of(run_on(tmp_path)[0])


def test_a_damaged_file_is_named_beside_the_others(tmp_path):
    shutil.copy(ROOT / "models/dscnn/int8.onnx", tmp_path)
    (tmp_path / "cut.onnx").write_bytes((ROOT / "models/dscnn/fp32.onnx").read_bytes()[:999])
    shown = text_of(run_on(tmp_path)[0])
    assert "cut.onnx is not a complete ONNX file" in shown
    assert "no float original" in shown
    assert "equal bins from" in shown


def test_a_folder_of_damaged_files_alone_is_answered_with_a_sentence(tmp_path):
    (tmp_path / "cut.onnx").write_bytes(b"hello")
    assert "No file of this folder" in text_of(run_on(tmp_path)[0])


def test_a_sentence_of_a_callout_is_plain_text():
    callout = notebook.say(["<script>1</script>"], "warn").text
    assert "<script>" not in callout
    assert notebook.say([]) is None


def test_a_list_of_problems_is_shown_only_if_there_are_any():
    table = notebook.tables.create_unpaired_table("FP32", {})
    assert notebook.show_problems("0 layers", table) is None


def test_a_layer_without_weights_has_a_sentence_in_place_of_the_chart():
    shown = notebook.show_picture(notebook.render_weights({}, "relu", False), "No weights here.")
    assert "No weights here." in shown.text
