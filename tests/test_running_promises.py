"""What SECURITY.md promises of running models: a case for each line."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from models_for_running import doubling, looping_while_true, write_fake_child

from playground import cli
from playground.utils import page
from playground.utils.parameter_inspector import (
    Limits,
    RewriteError,
    SamplesError,
    UnavailableError,
    compare,
    find_refused,
    list_inputs,
    load_model,
    measure_moves,
    measure_truth,
)
from playground.utils.parameter_inspector.changing import trial_runs
from playground.utils.parameter_inspector.changing.rewriting import load_whole
from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.running import bench
from playground.utils.parameter_inspector.running.endings import RunEndedError
from playground.utils.parameter_inspector.running.process import Child
from playground.utils.parameter_inspector.running.samples import load_samples
from playground.utils.parameter_inspector.running.turn import SERVER_TURNS

ROOT = Path(__file__).resolve().parents[1]
DSCNN = ROOT / "models" / "dscnn"
PAIR = [str(DSCNN / "fp32.onnx"), str(DSCNN / "int8.onnx")]
LIMITS = Limits(run_seconds=30)
ONE_SAMPLE = {"x": np.ones((1, 3), np.float32)}


def run(*arguments: object):
    return CliRunner().invoke(cli.main, [str(one) for one in arguments])


def ask_child(answer: str, folder: Path):
    """Run a program that answers so in a child's place."""
    with Child(LIMITS, program=write_fake_child(folder, answer)) as child:
        child.hold("samples", ONE_SAMPLE)


# A model runs only when you ask -------------------------------------------------------------------


def test_checking_and_reporting_start_no_process_though_samples_lie_beside(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert (DSCNN / "samples.npz").exists()
    assert run("check", *PAIR).exit_code == 0
    assert run("report", DSCNN, "-o", tmp_path / "report.html").exit_code == 0


def test_nothing_imports_onnxruntime_where_measuring_was_asked_for():
    script = (
        "import sys\n"
        "from playground.utils.parameter_inspector import compare, measure_outputs\n"
        f"found = measure_outputs(compare({PAIR!r}))\n"
        "print(found.complete, 'onnxruntime' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


# A separate process with bounded memory and time --------------------------------------------------


def test_the_limits_are_those_that_are_written_down():
    limits = Limits.for_this_machine()
    assert limits.memory_bytes <= 4 << 30
    assert (limits.run_seconds, limits.total_seconds) == (60, 1800)


def test_a_child_sees_neither_the_environment_nor_a_folder_with_files(monkeypatch):
    monkeypatch.setenv("A_SECRET", "x")
    with Child(LIMITS) as child:
        child.load(doubling())
        place = Path(f"/proc/{child.pid}")
        assert list((place / "cwd").iterdir()) == []
        seen = dict(
            one.split("=", 1) for one in (place / "environ").read_text().split("\0") if "=" in one
        )
    assert "A_SECRET" not in seen
    assert seen["ORT_DISABLE_TELEMETRY"] == "1"


def test_external_data_outside_is_refused_before_a_model_runs(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(12))
    folder = tmp_path / "models"
    folder.mkdir()
    weight = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=1)
    weight.external_data.add(key="location", value="../secret")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 3])],
        [onnx.helper.make_tensor_value_info("y", 1, None)], [weight],
    )  # fmt: skip
    (folder / "b.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    (folder / "a.onnx").write_bytes(doubling())
    np.savez(folder / "samples.npz", **ONE_SAMPLE)
    done = run("measure", folder / "a.onnx", folder / "b.onnx", "--samples", folder / "samples.npz")
    assert done.exit_code == 2
    assert "outside the model's folder" in done.stderr


def test_what_a_child_says_is_never_unpickled(tmp_path):
    target = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(target),)

    trap = pickle.dumps(Trap())
    with pytest.raises(RunEndedError) as caught:
        ask_child(f"send({trap!r} + b'\\n')", tmp_path)
    assert caught.value.ending.kind is EndingKind.BAD_REPLY
    assert not target.exists()


def test_who_asked_lives_on_after_a_limit(tmp_path):
    (tmp_path / "a.onnx").write_bytes(doubling())
    (tmp_path / "b.onnx").write_bytes(looping_while_true())
    np.savez(tmp_path / "s.npz", **ONE_SAMPLE)
    asked = ("measure", tmp_path / "a.onnx", tmp_path / "b.onnx", "--samples", tmp_path / "s.npz")
    done = run(*asked, "--time-limit", 1)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert not SERVER_TURNS.busy


@pytest.mark.parametrize("stands", [0, 1, 2])
def test_a_change_that_is_tried_on_an_endless_model_ends_in_a_sentence(
    tmp_path, monkeypatch, stands
):
    models = [tmp_path / f"{i}.onnx" for i in range(3)]
    for i, path in enumerate(models):
        path.write_bytes(looping_while_true() if i == stands else doubling())
    np.savez(tmp_path / "s.npz", **ONE_SAMPLE)
    monkeypatch.setattr(Limits, "for_this_machine", lambda: Limits(run_seconds=0.5))
    with pytest.raises(RewriteError, match="The model was stopped: it took longer than") as caught:
        measure_truth(*models, tmp_path / "s.npz")
    assert str(tmp_path) not in str(caught.value)
    assert not SERVER_TURNS.busy


def test_what_cannot_be_read_is_said_without_a_path_of_the_server(tmp_path):
    folder = tmp_path / "a folder of mine"
    folder.mkdir()
    (folder / "w.bin").write_bytes(bytes(64))
    path = folder / "q.onnx"
    path.write_bytes(quantized_beside("w.bin").SerializeToString())
    model = load_model(path)
    for lose in ((folder / "w.bin").unlink, path.unlink):
        lose()
        with pytest.raises(UnavailableError) as refused:
            list(find_refused({"q": model}))
        with pytest.raises(RewriteError) as left:
            load_whole(path)
        for caught in (refused, left):
            assert "of mine" not in str(caught.value) and "/" not in str(caught.value)
            assert "q.onnx" in str(caught.value)


def test_a_process_that_cannot_be_started_is_an_ending(monkeypatch):
    def refuse(*_args, **_more):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), sys.executable)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RunEndedError) as caught:
        Child(LIMITS)
    sentence = str(caught.value)
    assert "no process for it can be started: Cannot allocate memory" in sentence
    assert sys.executable not in sentence


def quantized_beside(location: str) -> onnx.ModelProto:
    """Return a model of one MatMul whose 8 x 8 codes lie in another file."""
    weight = onnx.TensorProto(name="w", data_type=3, dims=[8, 8], data_location=1)
    weight.external_data.add(key="location", value=location)
    scale = onnx.numpy_helper.from_array(np.float32(0.1), "s")
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "s"], ["v"]),
        onnx.helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    ends = [[onnx.helper.make_tensor_value_info(n, 1, ["n", 8])] for n in "xy"]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *ends, [weight, scale]))


# Samples are data too -----------------------------------------------------------------------------


@pytest.fixture
def wanted():
    return list_inputs(load_model(onnx.load_from_string(doubling())))


def test_objects_in_samples_are_refused_and_never_unpickled(tmp_path, wanted):
    np.savez(tmp_path / "s.npz", x=np.array([{"a": 1}], object))
    with pytest.raises(SamplesError, match="never loaded"):
        load_samples(tmp_path / "s.npz", wanted)


def test_a_size_is_taken_from_the_header_before_it_is_allocated(tmp_path, wanted):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 3)}
    text = repr(header).ljust(117).encode() + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(SamplesError, match="12,000,000,000 bytes"):
        load_samples(tmp_path / "x.npy", wanted)


def test_a_link_out_of_the_folder_and_a_pipe_are_not_opened(tmp_path, wanted):
    folder = tmp_path / "samples"
    folder.mkdir()
    np.save(tmp_path / "x.npy", ONE_SAMPLE["x"])
    (folder / "x.npy").symlink_to(tmp_path / "x.npy")
    with pytest.raises(SamplesError, match="link out of the folder"):
        load_samples(folder, wanted)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(SamplesError, match="not a regular file"):
        load_samples(tmp_path / "pipe.npz", wanted)


@pytest.fixture
def linked(tmp_path) -> Path:
    """A network as the page opens it, whose samples are a link out of its folder."""
    folder = tmp_path / "network"
    folder.mkdir()
    for name in ("fp32", "int8"):
        (folder / f"{name}.onnx").symlink_to(DSCNN / f"{name}.onnx")
    shutil.copy(DSCNN / "samples.npz", tmp_path / "samples.npz")
    (folder / "samples.npz").symlink_to(tmp_path / "samples.npz")
    return folder


def test_the_page_follows_no_link_of_samples_out_of_the_folder(linked):
    comparison = compare([linked / "fp32.onnx", linked / "int8.onnx"])
    found = page.find_samples(comparison)
    assert found.samples is None and "link out of the folder" in found.why
    with pytest.raises(RewriteError, match="link out of the folder"):
        measure_moves(comparison, "INT8", (), linked / "samples.npz", linked)


def test_a_change_is_tried_on_so_many_samples_at_most(monkeypatch):
    assert trial_runs.MOST_TRIED == 100_000
    monkeypatch.setattr(trial_runs, "MOST_TRIED", 3)
    models = [DSCNN / f"{name}.onnx" for name in ("fp32", "int8", "uint8")]
    assert measure_truth(*models, DSCNN / "samples.npz").sample_count == 3


def test_samples_are_compared_with_the_model_before_it_is_started(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise AssertionError("a process was started")

    monkeypatch.setattr(bench, "Child", refuse)
    np.savez(tmp_path / "s.npz", image=np.zeros((1, 2)))
    done = run("measure", *PAIR, "--samples", tmp_path / "s.npz")
    assert done.exit_code == 2
    assert "asks for 'image' (float32" in done.stderr


def test_security_names_this_file_and_promises_no_sandbox():
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert Path(__file__).name in said
    assert re.search(r"not promised\b.*\bA sandbox\b", said, re.DOTALL)
    assert json.dumps("separate process with bounded memory and time")[1:-1] in said.replace(
        "\n", " "
    )
