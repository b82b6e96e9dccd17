"""The notebook without a browser: its form, every cell on the shipped models, and odd folders."""

from __future__ import annotations

import ast
import html
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from models_for_tests import make_model
from onnx import helper

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
    assert len(definitions["shown_rows"]) == layers
    for words in ("equal bins from", "Output channels of", "Integer codes of", "in steps of"):
        assert words in text_of(outputs)


def test_the_worst_layer_opens_and_its_remedy_is_shown():
    outputs, definitions = run_on(ROOT / "models" / "dscnn")
    assert definitions["layer"] == definitions["ranked"][0].layer_name == "/block1/conv_dw/Conv"
    assert "What helps: Quantize per-channel" in text_of(outputs)
    assert "1 error, 1 warning" in html.unescape(html.unescape(text_of(outputs)))


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
    assert "No file in this folder" in text_of(run_on(tmp_path)[0])


# Section 4 ----------------------------------------------------------------------------------------

TRIAL = "Another quantization of the weights of"


def test_section_4_opens_on_the_variant_whose_layer_is_worst_with_the_scheme_of_the_file():
    outputs, definitions = run_on(ROOT / "models" / "dscnn")
    assert definitions["trial_variant"] == "UINT8"
    trial = definitions["trial"]
    assert trial.current.scheme == trial.proposed.scheme
    assert str(trial.current.scheme) == "uint8 per-tensor asymmetric"
    for words in (f"{TRIAL} /block1/conv_dw/Conv", "What the controls mean", "Candidates"):
        assert words in text_of(outputs)


def test_what_cannot_be_tried_is_said_in_a_sentence(tmp_path):
    for name in ("int8", "uint8"):
        shutil.copy(ROOT / "models" / "dscnn" / f"{name}.onnx", tmp_path)
    shown = text_of(run_on(tmp_path)[0])
    assert "There is no float original of this layer to quantize again." in shown
    assert TRIAL not in shown


def test_a_network_that_is_float_or_without_weights_has_nothing_to_try(tmp_path):
    shutil.copy(ROOT / "models/dscnn/fp32.onnx", tmp_path)
    shown = text_of(run_on(tmp_path)[0])
    assert "This layer has no quantized weight in FP32: nothing to try here." in shown
    assert "Try every layer" not in shown
    (tmp_path / "fp32.onnx").unlink()
    onnx.save(make_model([helper.make_node("Relu", ["x"], ["y"])]), tmp_path / "relu.onnx")
    assert "nothing to try here" in text_of(run_on(tmp_path)[0])


# The form of the notebook -------------------------------------------------------------------------


def test_the_page_makes_nothing_itself():
    tree = ast.parse(NOTEBOOK.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert {ast.unparse(f.decorator_list[0]).split("(")[0] for f in functions} == {"app.cell"}
    assert len(NOTEBOOK.read_text(encoding="utf-8").splitlines()) < 1050


def test_nothing_of_a_viewer_lives_in_a_module_of_the_page():
    # Viewers are threads of one process: at the top stand functions and what never changes.
    made = (ast.List, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp)
    for path in (ROOT / "playground/utils/page").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)], path.name
        values = {
            ast.unparse(node.targets[0]): node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
        assert [name for name, value in values.items() if isinstance(value, made)] in (
            [],
            ["__all__"],
        ), path.name


def test_the_last_cell_to_see_names_what_a_person_explores_with():
    _, definitions = run_on(ROOT / "models" / "dscnn")
    weights = definitions["weights"]
    assert list(weights) == ["FP32", "INT8", "UINT8"]
    assert weights["INT8"].values.shape == weights["INT8"].shape == (32, 1, 3, 3)
