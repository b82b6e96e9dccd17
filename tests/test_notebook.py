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
    for words in ("equal bins from", "Output channels of", "Integer codes of", "in steps of"):
        assert words in text_of(outputs)


def test_the_worst_layer_opens_and_its_remedy_is_shown():
    outputs, definitions = run_on(ROOT / "models" / "dscnn")
    assert definitions["layer"] == definitions["ranked"][0].layer == "/block1/conv_dw/Conv"
    assert "What helps: Quantize per-channel" in text_of(outputs)
    assert "2 errors, 1 warning" in text_of(outputs)


def test_two_quantized_builds_without_a_float_original_are_ranked_too(tmp_path):
    for name in ("int8", "uint8"):
        shutil.copy(ROOT / "models" / "dscnn" / f"{name}.onnx", tmp_path)
    outputs, definitions = run_on(tmp_path)
    assert {one.variant for one in definitions["ranked"]} == {"INT8", "UINT8"}
    assert "no float original" in text_of(outputs)
    assert "Output channels of" in text_of(outputs)


def test_a_float_network_alone_has_nothing_to_judge(tmp_path):
    shutil.copy(ROOT / "models/dscnn/fp32.onnx", tmp_path)
    outputs, definitions = run_on(tmp_path)
    assert len(definitions["ranked"]) == 14
    assert "equal bins from" in text_of(outputs)


@pytest.mark.parametrize("tool", [*notebook.exports.EXCLUSIONS, notebook.PER_CHANNEL])
def test_every_tool_gets_the_ticked_layers_as_python(tool):
    _, definitions = run_on(ROOT / "models" / "dscnn")
    models, ranked = definitions["variants"], definitions["ranked"]
    text = notebook.write_exclusion(tool, models, definitions["pairings"], ["/dense/Gemm"], ranked)
    ast.parse(text)
    assert "dense" in text


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
    table = notebook.tables.pairing.create_unpaired_table("FP32", {})
    assert notebook.show_problems("0 layers", table) is None


def test_a_layer_without_weights_has_a_sentence_in_place_of_the_chart():
    scan = notebook.scan_folder(notebook.open_folder(ROOT / "models" / "resnet8"))
    picture = notebook.render_weights(scan, "/relu/Relu", False)
    assert "No weights here." in notebook.show_picture(picture, "No weights here.").text


def test_a_model_that_changes_appears_or_goes_makes_the_folder_another(tmp_path):
    model = tmp_path / "int8.onnx"
    seen = [notebook.identify_folder(tmp_path)]
    for change in (
        lambda: model.write_bytes(b"1"),
        lambda: model.write_bytes(b"12"),
        lambda: (tmp_path / "uint8.onnx").write_bytes(b"1"),
        model.unlink,
    ):
        change()
        assert notebook.identify_folder(tmp_path) not in seen
        seen.append(notebook.identify_folder(tmp_path))
    (tmp_path / "notes.txt").write_bytes(b"1")
    assert notebook.identify_folder(tmp_path) == seen[-1]
