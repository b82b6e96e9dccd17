"""The notebook without a browser: its form, every cell on the shipped models, and odd folders."""

from __future__ import annotations

import ast
import gc
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from models_for_tests import dequantize_node, floats, make_model
from onnx import helper

import playground.quantization as notebook
from playground.utils.parameter_inspector import WorkCancelledError

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
    table = notebook.tables.pairing_tables.create_unpaired_table("FP32", {})
    assert notebook.show_problems("0 layers", table) is None


def test_a_table_of_no_candidates_is_shown():
    table = notebook.tables.trial_tables.create_candidate_table([], None)
    assert len(notebook.show_candidates(table).value) == 0


def test_a_layer_without_weights_has_a_sentence_in_place_of_the_chart():
    comparison = notebook.compare_folder(notebook.open_folder(ROOT / "models" / "resnet8"))
    picture = notebook.render_weights(comparison, "/relu/Relu", False)
    assert "No weights here." in notebook.show_picture(picture, otherwise="No weights here.").text


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


# Section 4 ----------------------------------------------------------------------------------------

TRIAL = "Another quantization of the weights of"
HOSTILE = '<img src=x onerror="window.hacked=1">'


def test_section_4_opens_on_the_variant_whose_layer_is_worst_with_the_scheme_of_the_file():
    outputs, definitions = run_on(ROOT / "models" / "dscnn")
    assert definitions["trial_variant"] == "UINT8"
    trial = definitions["trial"]
    assert trial.current.scheme == trial.tried.scheme
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


def save_pair(folder: Path, **options: object) -> None:
    """Save a small network of a hostile name, as float and as int8."""
    exact, scale = floats(5, 3), 0.03
    codes = (exact / scale).round().clip(-128, 127).astype("int8")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], HOSTILE)
    parts = {"q": codes, "s": exact.dtype.type(scale), "z": codes.dtype.type(0)}
    for name, nodes, arrays in (
        ("fp32", [node], {"w": exact}),
        ("int8", [dequantize_node(), node], parts),
    ):
        model = make_model(nodes, arrays, inputs={"x": (2, 5)})
        output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 3))
        model.graph.output[0].CopyFrom(output)
        onnx.save(model, folder / f"{name}.onnx", **options)


@pytest.mark.parametrize("external", [False, True])
def test_a_changed_model_is_written_wherever_its_weights_lie_and_never_into_the_folder(
    external, tmp_path
):
    save_pair(tmp_path, save_as_external_data=external, location="w", size_threshold=0)
    before = sorted(tmp_path.iterdir())
    outputs, found = run_on(tmp_path)
    path = found["variants"]["INT8"].path
    shown = notebook.write_file(found["create_trial"], path, "changed.onnx")
    assert "The file is ready" in shown.text
    assert sorted(tmp_path.iterdir()) == before
    assert TRIAL in text_of(outputs)
    assert "<img src=x" not in text_of([*outputs, shown])


def test_what_cannot_be_written_or_run_is_a_sentence(tmp_path):
    save_pair(tmp_path)
    _, found = run_on(tmp_path)
    variants, folder = found["variants"], found["folder"]
    path = variants["INT8"].path
    change = next(iter(found["create_trial"]().values()))
    shown = notebook.write_file(lambda: {HOSTILE[1:]: change}, path, "changed.onnx")
    assert "This cannot be written: the model has no layer" in shown.text
    shown = notebook.show_truth(found["create_trial"], variants, "INT8", folder)
    assert "This cannot be measured: samples.npz cannot be read" in shown.text


def test_the_samples_confirm_the_plan_for_the_network_that_uint8_ruins():
    _, found = run_on(ROOT / "models" / "dscnn")
    variants, folder, comparison = (found[name] for name in ("variants", "folder", "comparison"))
    plan = notebook.choose(*notebook.list_options(comparison, "UINT8"), target_sqnr_db=30)
    create = partial(notebook.create_changes, plan, comparison, "UINT8")
    shown = notebook.show_truth(create, variants, "UINT8", folder).text
    for words in ("180 of 180, 100.0%", "71 of 180, 39.4%", "2.0 dB", "37.1 dB"):
        assert words in shown


def search_on_a_thread(key, search):
    """Run a search as the page does; return the event that stops it, and what it sets."""
    said, progress, done, stop = [], [], threading.Event(), threading.Event()

    def set_run(result):
        said.append(result)
        done.set()

    notebook.start_search(key, search, stop, set_run, progress.append)
    return stop, done, said, progress


def test_a_search_tells_how_far_it_is_and_its_result_is_kept_for_all_viewers():
    calls = []

    def search(progress, cancelled):
        calls.append(cancelled())
        progress(1, 2, "stem")
        return "options", "left out"

    for told in ([(0, 1, ""), (1, 2, "stem")], [(0, 1, "")]):
        _, done, said, progress = search_on_a_thread("kept", search)
        assert done.wait(30)
        assert said == [("options", "left out")]
        assert progress == told
    assert calls == [False]


def test_a_search_that_is_stopped_says_so_and_can_begin_again():
    began = threading.Event()

    def search(progress, cancelled):
        began.set()
        while not cancelled():
            progress(3, 9, "stem")
        raise WorkCancelledError("stopped after 3 of 9 layers")

    stop, done, said, progress = search_on_a_thread("stopped", search)
    assert began.wait(30)
    stop.set()
    assert done.wait(30)
    assert said == ["Stopped after 3 of 9 layers."]
    assert progress[:2] == [(0, 1, ""), (3, 9, "stem")]
    _, done, said, _ = search_on_a_thread("stopped", lambda *_: ("a", "b"))
    assert done.wait(30)
    assert said == [("a", "b")]


def test_a_search_that_fails_ends_with_a_sentence():
    def search(progress, cancelled):
        raise MemoryError

    _, done, said, _ = search_on_a_thread("failed", search)
    assert done.wait(30)
    assert said == ["There is not enough memory."]


def test_what_a_served_page_holds_is_frozen_and_a_script_freezes_nothing(monkeypatch):
    notebook.settle()
    assert gc.get_freeze_count() == 0
    monkeypatch.setattr(notebook.mo, "app_meta", lambda: SimpleNamespace(mode="run"))
    try:
        notebook.settle()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
