"""Models run from the command line: what is printed, with which exit code, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from models_for_running import doubling, looping_while_true, make_model, value
from networks_to_run import conv_network, images, quantize, sqnr_db
from networks_to_run import run as run_model
from onnx import helper, numpy_helper

from playground import cli
from playground.utils.parameter_inspector.running import bench
from playground.utils.parameter_inspector.running.process import Child


def run(*arguments: object):
    return CliRunner().invoke(cli.main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A float network, its static int8 build, 20 samples with labels, and what the build keeps."""
    folder = tmp_path_factory.mktemp("network")
    proto = conv_network()
    built = quantize(proto, folder)
    onnx.save(proto, folder / "net-fp32.onnx")
    onnx.save(built, folder / "net-int8.onnx")
    inputs = images(20, seed=9)
    (exact,) = run_model(proto, inputs)
    np.savez(folder / "samples.npz", **inputs, labels=exact.argmax(axis=1))
    np.savez(folder / "unlabelled.npz", **inputs)
    return {
        "float": folder / "net-fp32.onnx",
        "int8": folder / "net-int8.onnx",
        "samples": folder / "samples.npz",
        "unlabelled": folder / "unlabelled.npz",
    }


@pytest.fixture(scope="module")
def level(files) -> float:
    """What the build keeps of the output on the first 16 samples, by onnxruntime alone."""
    inputs = {name: array[:16] for name, array in images(20, seed=9).items()}
    exact, held = (run_model(onnx.load(files[name]), inputs)[0] for name in ("float", "int8"))
    return sqnr_db(exact, held)


def pair(files):
    return files["float"], files["int8"]


def refused(done) -> str:
    """Return the one line that says why a command gave no answer."""
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    return line


# measure ------------------------------------------------------------------------------------------


def test_measure_says_what_onnxruntime_says_the_output_keeps(files, level):
    done = run("measure", *pair(files), "--samples", files["samples"])
    assert done.exit_code == 0 and done.stderr == ""
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"net INT8 keeps {level:.1f} dB of the output on 16 samples")
    assert "Accuracy is" in done.stdout
    assert "agrees with the file bit for bit" in done.stdout


def test_shares_in_the_json_add_up_and_the_curve_rises_to_what_is_restored(files, level, tmp_path):
    out = tmp_path / "out.json"
    assert run("measure", *pair(files), "--samples", files["samples"], "--json", out).exit_code == 0
    found = json.loads(out.read_text())["outputs"]["INT8"]
    assert found["samples"] == {"kind": "file", "count": 16}
    assert found["sqnr_db"] == pytest.approx(level, abs=1e-3)
    assert sum(group["share"] for group in found["groups"]) == pytest.approx(1)
    assert found["recovered"][-1]["sqnr_db"] > level
    assert {one["tensor"] for one in found["activations"]} >= {"x", "y"}


def test_without_samples_the_inputs_are_synthetic_and_it_is_said(files):
    done = run("measure", *pair(files))
    assert done.exit_code == 0
    assert "on 4 synthetic inputs" in done.stdout.splitlines()[0]


def test_a_quantized_model_alone_is_compared_with_itself(files):
    done = run("measure", files["int8"], "--samples", files["samples"])
    assert done.exit_code == 0
    assert "weights are not judged" in done.stdout
    assert "weights cost it" not in done.stdout


def test_the_optimization_level_is_stated(files):
    done = run("measure", *pair(files), "--samples", files["samples"], "--optimized")
    assert done.exit_code == 0
    assert "Optimizations of the graph: as onnxruntime does by default." in done.stdout


def test_the_original_has_to_come_first(files):
    assert "give the float original first" in refused(run("measure", *reversed(pair(files))))


def test_a_float_model_alone_cannot_be_measured(files):
    assert "not quantized" in refused(run("measure", files["float"]))


def test_samples_that_do_not_fit_say_what_the_model_asks_for(files, tmp_path):
    np.savez(tmp_path / "other.npz", image=np.zeros((2, 2)))
    line = refused(run("measure", *pair(files), "--samples", tmp_path / "other.npz"))
    assert "asks for 'x' (float32, N × 2 × 6 × 8)" in line and "'image'" in line


def test_an_interrupt_ends_the_measuring(files, monkeypatch):
    class Interrupting(Child):
        def load(self, *args, **more):
            os.kill(os.getpid(), signal.SIGINT)
            return super().load(*args, **more)

    monkeypatch.setattr(bench, "Child", Interrupting)
    done = run("measure", *pair(files), "--samples", files["samples"])
    assert done.exit_code == 130


# check --------------------------------------------------------------------------------------------


def check(files, *options: object):
    return run("check", *pair(files), "--samples", files["samples"], *options)


def test_a_gate_below_what_the_output_keeps_is_passed_and_one_above_it_fails(files, level):
    assert check(files, "--min-sqnr", level - 0.1).exit_code == 0
    done = check(files, "--min-sqnr", level + 0.1)
    assert done.exit_code == 1
    assert f"Output 'y' keeps {level:.1f} dB on 16 samples" in done.stdout
    assert "the worst is sample" in done.stdout and "[under-minimum]" in done.stdout


def test_what_was_measured_is_said_last(files):
    *_, measured, summary = check(files).stdout.splitlines()
    assert measured.startswith("net INT8 keeps") and summary.startswith("2 files, ")


def test_samples_beside_the_models_are_not_taken_unasked(files):
    assert "not measured" in run("check", *pair(files)).stdout


def test_accuracy_and_agreement_have_gates(files):
    assert check(files, "--min-accuracy", 0.1, "--min-agreement", 0.1).exit_code == 0


def test_a_missed_gate_is_in_the_json_and_the_junit_file(files, level, tmp_path):
    report, junit = tmp_path / "out.json", tmp_path / "out.xml"
    done = check(files, "--min-sqnr", level + 1, "--json", report, "--junit", junit)
    assert done.exit_code == 1
    content = json.loads(report.read_text())
    assert content["outputs"]["INT8"]["sqnr_db"] == pytest.approx(level, abs=1e-3)
    assert content["findings"][0]["rule"] == "under-minimum"
    assert "under-minimum" in junit.read_text()


def test_accuracy_without_labels_is_refused(files):
    options = ["--samples", files["unlabelled"], "--min-accuracy", 0.5]
    assert "no labels" in refused(run("check", *pair(files), *options))


@pytest.mark.parametrize(
    "options",
    [
        ["--min-sqnr", "nan"], ["--min-sqnr", "inf"], ["--min-sqnr", "many"],
        ["--min-agreement", "1.5"], ["--min-agreement", "nan"], ["--min-accuracy", "-0.1"],
        ["--time-limit", "0"], ["--time-limit", "nan"],
    ],
)  # fmt: skip
def test_nonsense_is_a_fault_of_usage(files, options):
    done = check(files, *options)
    assert done.exit_code == 2
    assert "Usage:" in done.stderr and options[0] in done.stderr
    assert done.stdout == ""


def test_a_gate_without_samples_is_a_fault_of_usage(files):
    done = run("check", *pair(files), "--min-sqnr", 20)
    assert done.exit_code == 2 and "--samples" in done.stderr


# report -------------------------------------------------------------------------------------------


def test_the_report_says_what_the_output_keeps_and_which_quantizers_cost_it(files, level, tmp_path):
    target = tmp_path / "report.html"
    folder = files["float"].parent
    done = run("report", folder, "-o", target, "--samples", files["samples"])
    assert done.exit_code == 0
    page = target.read_text()
    assert f"keeps {level:.1f} dB of the output on 16 samples" in page
    assert "Share of the noise" in page


def test_a_report_without_samples_says_that_nothing_was_measured(files, tmp_path):
    target = tmp_path / "report.html"
    assert run("report", files["float"].parent, "-o", target).exit_code == 0
    assert "Not measured: only the weights were judged" in target.read_text()


# Models that do not end well ----------------------------------------------------------------------


def allocating() -> bytes:
    """Makes an array of 8 GB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["filled"]),
        helper.make_node("Neg", ["filled"], ["negated"]),
        helper.make_node("ReduceMax", ["negated"], ["most"], keepdims=0),
        helper.make_node("Add", ["x", "most"], ["y"]),
    ]
    size = numpy_helper.from_array(np.array([2_000_000_000], np.int64), "size")
    return make_model(nodes, [value("x")], [value("y")], [size])


@pytest.fixture
def harmless(tmp_path) -> Path:
    (tmp_path / "a.onnx").write_bytes(doubling())
    np.savez(tmp_path / "samples.npz", x=np.ones((2, 3), np.float32))
    return tmp_path / "a.onnx"


def measure_beside(harmless: Path, model: bytes, *options: object):
    other = harmless.with_name("stranger.onnx")
    other.write_bytes(model)
    samples = harmless.with_name("samples.npz")
    return run("measure", harmless, other, "--samples", samples, *options)


def test_a_model_that_never_ends_is_one_sentence(harmless):
    line = refused(measure_beside(harmless, looping_while_true(), "--time-limit", 2))
    assert "stranger.onnx" in line and "longer than 2 s" in line


def test_a_model_that_takes_8_gb_is_one_sentence(harmless):
    line = refused(measure_beside(harmless, allocating()))
    assert "stranger.onnx" in line and "of memory" in line


def test_a_child_that_is_killed_is_one_sentence(harmless, monkeypatch):
    class Doomed(Child):
        def keep(self, *args, **more):
            os.kill(self.pid, signal.SIGSEGV)
            return super().keep(*args, **more)

    monkeypatch.setattr(bench, "Child", Doomed)
    line = refused(measure_beside(harmless, doubling()))
    assert "crashed" in line and "SIGSEGV" in line


def test_check_ends_in_a_sentence_too(harmless):
    harmless.with_name("stranger.onnx").write_bytes(looping_while_true())
    samples = harmless.with_name("samples.npz")
    stranger = harmless.with_name("stranger.onnx")
    done = run("check", harmless, stranger, "--samples", samples, "--time-limit", 2)
    assert "longer than 2 s" in refused(done)
