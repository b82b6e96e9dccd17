"""The gate: what is printed, where, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hostile_names import HOSTILE, chain
from models_for_tests import mlp, quantized_statically
from planted_findings import plant_finding

from playground import cli
from playground.commands import COMMANDS, check
from playground.commands.opening import open_models

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"


def run(*arguments: object):
    return CliRunner().invoke(cli.main, [str(one) for one in arguments])


def run_command(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Run the real command, every warning an error."""
    command = [sys.executable, "-W", "error", "-m", "playground", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


@pytest.fixture
def files(tmp_path):
    """A float model and its int8 build, as files."""
    onnx.save(mlp(), tmp_path / "float.onnx")
    onnx.save(quantized_statically(mlp(), tmp_path), tmp_path / "int8.onnx")
    (tmp_path / "static.onnx").unlink()
    return tmp_path / "float.onnx", tmp_path / "int8.onnx"


def plant(monkeypatch, *severities: str, layer: str = "fc1", text: str = "It is so.") -> None:
    """Have the rules find one problem of each severity, and no other."""
    found = tuple(plant_finding("a-rule", s, "INT8", layer, text, "Do this.") for s in severities)
    monkeypatch.setattr(check, "find_problems", lambda comparison: found)


# The verdict --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severities", "level", "code"),
    [
        ([], "error", 0),
        (["note"], "error", 0),
        (["note"], "warning", 0),
        (["warning"], "error", 0),
        (["warning"], "warning", 1),
        (["error"], "error", 1),
        (["error"], "warning", 1),
        (["error", "note"], "error", 1),
    ],
)
def test_check_exits_1_for_a_finding_at_the_level_or_above(
    files, monkeypatch, severities, level, code
):
    plant(monkeypatch, *severities)
    done = run("check", *files, "--fail-on", level)
    assert done.exit_code == code
    assert done.stdout.count("Do this.") == len(severities)
    assert done.stderr == ""


def test_check_fails_on_errors_unless_told_otherwise(files, monkeypatch):
    plant(monkeypatch, "warning")
    assert run("check", *files).exit_code == 0
    plant(monkeypatch, "error")
    assert run("check", *files).exit_code == 1


def test_check_says_in_one_line_that_nothing_is_found(files, monkeypatch):
    plant(monkeypatch)
    assert run("check", *files).output == (
        "2 files, 4 weights: nothing found; "
        "activations were not measured (give --samples to run the models on)\n"
    )


def test_findings_of_one_cause_are_printed_as_one_and_all_of_them_on_demand(tmp_path):
    files = [MODELS / "dscnn/fp32.onnx", MODELS / "dscnn/uint8.onnx"]
    grouped, every = run("check", *files).stdout, run("check", "--all", *files).stdout
    assert "2 of 14 layers share one scale for all channels" in grouped
    assert grouped.count("\n    ") < every.count("\n    ")
    assert "/block2/conv_dw/Conv" in every
    assert "of 1 cause (--all lists each)" in grouped.splitlines()[-1]


def test_a_file_that_onnxruntime_does_not_open_is_said_when_asked(tmp_path):
    node = onnx.helper.make_node("Strange", ["x"], ["y"], domain="nobody.knows")
    shape = [onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", shape[:1], shape[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8), tmp_path / "m.onnx")
    done = run("check", "--load", tmp_path / "m.onnx")
    assert done.exit_code == 1
    assert "onnxruntime does not accept the model" in done.stdout


def test_a_file_that_fails_at_its_first_run_is_said_when_there_are_samples(files, tmp_path):
    model = onnx.load(files[1])
    made = model.graph.output.pop()
    shape = onnx.numpy_helper.from_array(np.array([7, 11]), "impossible")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", [made.name, shape.name], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [7, 11]))
    onnx.save(model, files[1])
    (given,) = onnx.load(files[0]).graph.input
    sizes = [one.dim_value or 3 for one in given.type.tensor_type.shape.dim]
    np.savez(tmp_path / "samples.npz", **{given.name: np.ones(sizes, np.float32)})
    assert run("check", "--load", *files).exit_code == 0
    done = run("check", "--load", "--samples", tmp_path / "samples.npz", *files)
    assert done.exit_code == 1
    assert f"{files[1]} (INT8): The model could not be run: " in done.stdout


def test_a_finding_names_the_file_the_variant_the_layer_and_the_rule(files, monkeypatch):
    plant(monkeypatch, "error")
    first, second, last = run("check", *files).stdout.splitlines()
    assert first == f"{files[1]} (INT8): error: fc1: It is so. [a-rule]"
    assert second.strip() == "Do this."
    assert last.startswith("2 files, 4 weights: 1 error; ")


def test_a_finding_about_the_whole_file_names_no_layer(files, monkeypatch):
    plant(monkeypatch, "error", layer="")
    assert "(INT8): error: It is so. [a-rule]" in run("check", *files).stdout


def test_check_fails_the_shipped_model_that_lost_its_accuracy():
    done = run_command("check", MODELS / "dscnn/fp32.onnx", MODELS / "dscnn/uint8.onnx")
    assert done.returncode == 1
    assert "/block1/conv_dw/Conv" in done.stdout
    assert done.stderr == ""


def test_check_of_a_folder_is_the_check_of_its_files(files):
    assert run("check", files[0].parent).output == run("check", *files).output


@pytest.mark.parametrize("network", ["dscnn", "resnet8"])
def test_check_passes_the_shipped_models_that_kept_it(network):
    done = run("check", MODELS / network / "fp32.onnx", MODELS / network / "int8.onnx")
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "names", [["int8"], ["int8", "uint8"], ["fp32"], ["uint8", "fp32", "int8"]]
)
def test_check_takes_a_quantized_model_alone_and_any_order(names):
    done = run("check", *(MODELS / "resnet8" / f"{name}.onnx" for name in names))
    assert done.exit_code in (0, 1)
    assert done.stderr == ""


def test_builds_of_one_file_name_are_told_apart_by_their_folders(tmp_path):
    paths = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "model.onnx")
        shutil.copy(MODELS / "resnet8/int8.onnx", paths[-1])
    assert len(open_models(paths)) == 3


# No verdict ---------------------------------------------------------------------------------------


def refused(done, code: int = 2) -> str:
    """Return the one line that stands on stderr."""
    assert done.exit_code == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "no such file"), (b"", "is empty"), (b"not a model", "damaged"),
     (b"<html>", "web page"), (b"version https://git-lfs", "git lfs pull")],
)  # fmt: skip
def test_check_exits_2_and_says_in_one_line_why_a_file_cannot_be_read(
    files, tmp_path, content, why
):
    path = tmp_path / "other.onnx"
    if content is not None:
        path.write_bytes(content)
    line = refused(run("check", files[0], path))
    assert "other.onnx" in line
    assert why in line


def test_check_exits_2_for_half_a_file(files):
    files[1].write_bytes(files[1].read_bytes()[:-40])
    assert "int8.onnx" in refused(run("check", *files))


def test_check_exits_2_for_a_folder_without_models_and_names_those_inside():
    assert str(MODELS / "dscnn") in refused(run("check", MODELS))


def test_check_exits_2_for_a_folder_of_which_a_file_cannot_be_read(files):
    (files[0].parent / "broken.onnx").write_bytes(b"")
    assert "broken.onnx is empty" in refused(run("check", files[0].parent))


def test_check_exits_2_for_the_same_file_twice(files):
    assert "int8.onnx is given twice" in refused(run("check", files[1], files[1]))


def test_a_model_whose_weights_are_not_there_gets_no_clean_bill(files, monkeypatch):
    model = onnx.load(files[1])
    onnx.save(model, files[1], save_as_external_data=True, location="weights", size_threshold=0)
    (files[1].parent / "weights").unlink()
    plant(monkeypatch)
    assert "'weights' is missing" in refused(run("check", *files))


def test_a_fault_of_ours_is_one_line_and_never_looks_like_a_finding(files, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("no\nluck")

    monkeypatch.setattr(check, "find_problems", fail)
    assert "ZeroDivisionError: no\\x0aluck (test_cli.py:" in refused(run("check", *files))


def test_an_interrupted_check_does_not_look_like_a_finding(files, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "find_problems", interrupt)
    assert run("check", *files).exit_code == 130


@pytest.mark.parametrize("option", ["--json", "--junit", "--sarif", "--summary"])
def test_check_exits_2_where_it_cannot_write(files, tmp_path, option, monkeypatch):
    plant(monkeypatch)
    missing = tmp_path / "no folder" / "file"
    assert f"cannot write: {missing}" in refused(run("check", *files, option, missing))


def test_a_true_process_says_why_in_one_line_without_a_traceback(tmp_path):
    done = run_command("check", tmp_path / "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cannot read: none.onnx: there is no such file\n"


# Names, files, progress ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_no_name_can_steer_the_terminal(files, monkeypatch, name):
    plant(monkeypatch, "error", layer=name, text=name)
    lines = run("check", *files).stdout.split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


def test_hostile_models_pass_through_check_and_both_files(tmp_path):
    for name, quantized in (("float", False), ("int8", True)):
        onnx.save(chain(HOSTILE, quantized=quantized), tmp_path / f"{name}.onnx")
    report, junit = tmp_path / "out.json", tmp_path / "out.xml"
    done = run("check", tmp_path / "float.onnx", tmp_path / "int8.onnx", "--json", report,
               "--junit", junit)  # fmt: skip
    assert done.exit_code in (0, 1)
    assert len(json.loads(report.read_text("utf-8"))["layers"]) == len(HOSTILE)
    # One more for each file: that two nodes have one name is said of the file.
    assert len(ET.parse(junit).getroot().findall(".//testcase")) == 2 * len(HOSTILE) + 2


def test_json_and_junit_hold_the_findings_that_are_printed(files, tmp_path, monkeypatch):
    plant(monkeypatch, "error", "warning")
    report, junit = tmp_path / "out.json", tmp_path / "out.xml"
    done = run("check", *files, "--json", report, "--junit", junit)
    content = json.loads(report.read_text("utf-8"))
    assert [f["severity"] for f in content["findings"]] == ["error", "warning"]
    assert len(ET.parse(junit).getroot().findall(".//failure")) == 1
    assert done.stdout.count("[a-rule]") == 2


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminal on this system")
def test_progress_stands_on_stderr_and_only_on_a_terminal(files):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "playground", "check", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "Reading the weights" in shown
    assert "100%" in shown
    assert "Reading the weights" not in done.stdout
    assert run_command("check", *files).stderr == ""


def test_check_starts_without_the_libraries_that_draw():
    code = (
        "import sys, playground.commands.check\n"
        "print({'matplotlib', 'pandas', 'marimo'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("options", [["--help"], ["--version"]], ids=" ".join)
def test_what_is_said_of_the_whole_is_said_without_the_engine(options):
    code = (
        "import sys, playground.cli\n"
        f"playground.cli.main({options!r}, standalone_mode=False)\n"
        "print({'numpy', 'onnx', 'marimo'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_a_command_says_of_itself(name):
    listed = " ".join(COMMANDS[name].help.split()).rstrip(".")
    assert f"{name} " in run("--help").output
    assert listed in " ".join(run(name, "--help").output.split())


# The report ---------------------------------------------------------------------------------------


def test_report_writes_one_html_file(files, tmp_path):
    done = run("report", tmp_path, "-o", tmp_path / "out.html")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "out.html").read_text("utf-8").startswith("<!doctype html>")


def test_report_goes_on_without_a_file_that_cannot_be_read_and_says_so(files, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"")
    done = run("report", tmp_path, "-o", tmp_path / "out.html")
    assert done.exit_code == 0
    assert done.stderr == "broken.onnx is empty\n"
    assert "broken.onnx is empty" in (tmp_path / "out.html").read_text("utf-8")


def test_report_exits_2_where_there_is_no_model(tmp_path):
    assert "there is no .onnx file under" in refused(
        run("report", tmp_path, "-o", tmp_path / "out.html")
    )
    missing = tmp_path / "none"
    assert "not a folder" in refused(run("report", missing, "-o", tmp_path / "out.html"))


def test_report_names_the_folders_that_hold_models():
    line = refused(run("report", MODELS, "-o", "never-written.html"))
    assert str(MODELS / "dscnn") in line


def test_report_exits_2_where_it_cannot_write(files, tmp_path):
    missing = tmp_path / "no folder" / "out.html"
    assert f"cannot write: {missing}" in refused(run("report", tmp_path, "-o", missing))
