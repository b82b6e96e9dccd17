"""A model runs apart: what it answers, and every way in which it can end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from models_for_running import (
    doubling,
    ending_of,
    filling,
    identity,
    looping_while_true,
    make_model,
    scaling,
    spelling,
    value,
    write_fake_child,
)
from onnx import TensorProto, helper

from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.running import process
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.process import PROGRAM, Child

ROOT = Path(__file__).resolve().parents[1]
LIMITS = Limits(memory_bytes=600 << 20, run_seconds=60, total_seconds=300)
ONCE_THEN_FOR_EVER = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
ENDLESS = {"outputs": ["y"], "one_by_one": True}


@pytest.fixture
def child():
    with Child(LIMITS) as child:
        yield child


def loop(child: Child) -> None:
    child.load(looping_while_true())
    child.hold("samples", {"x": ONCE_THEN_FOR_EVER})
    child.run("switched", **ENDLESS)


def load_anything(child: Child) -> None:
    child.load(b"anything")


# --- what it answers -----------------------------------------------------------------------------


def test_a_run_gives_out_what_the_model_computes(child):
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    child.load(doubling())
    child.hold("samples", {"x": x})
    np.testing.assert_array_equal(child.run("switched")["y"], 2 * x)


def test_a_loaded_model_says_what_it_takes_and_gives(child):
    loaded = child.load(spelling())
    found = [(one.name, one.data_type, one.shape, one.comparable) for one in loaded.outputs]
    assert loaded.inputs[0].shape == (None, 3)
    assert found == [
        ("y", "tensor(float)", (None, 3), True),
        ("text", "tensor(string)", (None, 3), False),
    ]


@pytest.mark.parametrize("rows_per_run", [None, 1, 2])
def test_samples_give_the_same_however_they_are_run(child, rows_per_run):
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    child.load(doubling())
    child.hold("samples", {"x": x})
    found = child.run("switched", rows_per_run=rows_per_run, rows=[4, 0, 2])["y"]
    np.testing.assert_array_equal(found, 2 * x[[4, 0, 2]])


def test_an_extra_input_goes_into_each_run(child):
    x = np.ones((4, 3, 2), np.float32)
    child.load(scaling())
    child.hold("samples", {"x": x})
    extra = {"factor": np.array([7], np.float32)}
    found = child.run("switched", extra=extra, one_by_one=True)["y"]
    np.testing.assert_array_equal(found, 7 * x)


def test_stacked_samples_are_fed_without_their_axis(child):
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    child.load(doubling())
    child.hold("samples", {"x": x}, stacked=True)
    np.testing.assert_array_equal(child.run("switched")["y"], 2 * x)


@pytest.mark.parametrize(
    "kind, dtype",
    [
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.INT64, "int64"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_arrays_of_each_kind_cross_the_pipe(child, kind, dtype):
    x = np.array([[0, 1, 2], [3, 0, 1]]).astype(dtype)
    child.load(identity(kind))
    child.hold("samples", {"x": x})
    found = child.run("switched")["y"]
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x)


def test_fifty_megabytes_cross_the_pipe_unchanged(child):
    x = np.random.default_rng(0).random((1 << 22, 3), np.float32)
    child.load(identity())
    child.hold("samples", {"x": x})
    np.testing.assert_array_equal(child.run("switched")["y"], x)


def test_outputs_that_numpy_cannot_hold_are_left_out(child):
    child.load(spelling())
    child.hold("samples", {"x": np.ones((2, 3), np.float32)})
    assert list(child.run("switched")) == ["y"]


def test_a_sequence_is_left_out_and_named_as_not_comparable(child):
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["listed"]),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    listed = helper.make_tensor_sequence_value_info("listed", TensorProto.FLOAT, None)
    loaded = child.load(make_model(nodes, [value("x")], [listed, value("y")]))
    child.hold("samples", {"x": np.ones((2, 3), np.float32)})
    assert [(one.name, one.comparable) for one in loaded.outputs] == [
        ("listed", False),
        ("y", True),
    ]
    assert list(child.run("switched")) == ["y"]


def test_samples_that_a_model_does_not_take_are_not_fed(child):
    child.load(doubling())
    child.hold("samples", {"x": np.ones((2, 3), np.float32), "z": np.ones((2, 9))})
    assert child.run("switched")["y"].shape == (2, 3)


def test_what_is_printed_to_the_output_does_not_reach_the_replies(tmp_path):
    program = tmp_path / "printing.py"
    program.write_text(
        "import importlib.util, os, sys\n"
        f"spec = importlib.util.spec_from_file_location('child', {os.fspath(PROGRAM)!r})\n"
        "child = importlib.util.module_from_spec(spec)\n"
        "sys.modules['child'] = child\n"
        "spec.loader.exec_module(child)\n"
        "load = child.Worker.load\n"
        "def print_and_load(*args):\n"
        "    os.write(1, b'{}\\n' * 1000)\n"
        "    return load(*args)\n"
        "child.Worker.load = print_and_load\n"
        "child.main(int(sys.argv[1]), int(sys.argv[2]))\n"
    )
    with Child(LIMITS, program=program) as child:
        assert child.load(doubling()).inputs[0].name == "x"


def test_a_flood_of_errors_holds_nothing_up(tmp_path):
    program = write_fake_child(
        tmp_path, "for _ in range(50): os.write(2, b'x' * (1 << 20))\nsend(done(number))"
    )
    with Child(LIMITS, program=program) as child:
        child.hold("samples", {})
        assert child.alive


def test_the_child_sees_nothing_of_the_environment_that_it_does_not_need(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "1")
    answer = (
        "ok = 'SECRET_OF_THE_SERVER' not in os.environ and os.listdir() == []\n"
        "ok = ok and os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        "send(done(number) if ok else b'not so')"
    )
    with Child(LIMITS, program=write_fake_child(tmp_path, answer)) as child:
        child.hold("samples", {})
        assert child.alive


def test_the_peak_of_memory_is_known_after_the_end():
    with Child(LIMITS) as child:
        child.load(doubling())
    assert 10 << 20 < child.peak_memory < 600 << 20


def test_an_array_that_is_not_of_numbers_is_refused_before_it_is_sent(child):
    with pytest.raises(TypeError, match="'x' has type"):
        child.hold("samples", {"x": np.array(["a"])})


# --- how it ends ---------------------------------------------------------------------------------


def test_an_endless_loop_ends_at_the_limit_of_one_run():
    with Child(Limits(600 << 20, run_seconds=2, total_seconds=300)) as child:
        ending = ending_of(child, loop)
    assert (ending.kind, ending.seconds, ending.in_all) == (EndingKind.TIME, 2, False)


def test_an_endless_loop_ends_at_the_limit_of_all_runs():
    with Child(Limits(600 << 20, run_seconds=300, total_seconds=3)) as child:
        ending = ending_of(child, loop)
    assert (ending.kind, ending.seconds, ending.in_all) == (EndingKind.TIME, 3, True)


def test_many_short_runs_end_at_the_limit_of_all_runs():
    def run_for_ever(child):
        child.load(doubling())
        child.hold("samples", {"x": ONCE_THEN_FOR_EVER})
        while True:
            child.run("switched")

    with Child(Limits(600 << 20, run_seconds=300, total_seconds=2)) as child:
        assert ending_of(child, run_for_ever).in_all


def test_a_run_that_wants_eight_gigabytes_ends_by_memory(child):
    child.load(filling())
    child.hold("samples", {"x": np.array([2 << 30])})
    ending = ending_of(child, lambda child: child.run("switched"))
    assert (ending.kind, ending.memory_bytes) == (EndingKind.MEMORY, LIMITS.memory_bytes)


def test_a_child_that_ran_out_of_memory_can_be_asked_again(child):
    child.load(filling())
    child.hold("samples", {"x": np.array([2 << 30])})
    ending_of(child, lambda child: child.run("switched"))
    child.load(filling())
    child.hold("samples", {"x": np.array([5])})
    assert child.run("switched")["y"] == 0


def test_memory_that_the_system_does_not_limit_is_watched(tmp_path):
    # Shared memory is no data segment: the limit of the system does not count it.
    answer = "import mmap\nm = mmap.mmap(-1, 4 << 30)\nwhile True: m.write(b'x' * (1 << 20))"
    with Child(Limits(200 << 20, 60, 300), program=write_fake_child(tmp_path, answer)) as child:
        assert child.limits_memory
        ending = ending_of(child, load_anything)
    assert ending.kind is EndingKind.MEMORY
    assert 200 << 20 < child.peak_memory < 4 << 30


def test_samples_that_do_not_fit_into_memory_leave_the_child_as_it_was():
    with Child(Limits(200 << 20, 60, 300)) as child:
        child.load(doubling())
        samples = {"x": np.ones((40 << 20, 3), np.float32)}
        ending = ending_of(child, lambda child: child.hold("samples", samples))
        assert ending.kind is EndingKind.MEMORY
        child.hold("samples", {"x": np.ones((2, 3), np.float32)})
        np.testing.assert_array_equal(child.run("switched")["y"], np.full((2, 3), 2))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_signal_is_named(number):
    with Child(LIMITS, on_step=lambda: os.kill(child.pid, number)) as child:
        ending = ending_of(child, loop)
    assert (ending.kind, ending.signal) == (EndingKind.CRASHED, number)


def test_a_child_that_exits_is_a_crash_with_its_code(tmp_path):
    with Child(LIMITS, program=write_fake_child(tmp_path, "os._exit(7)")) as child:
        ending = ending_of(child, load_anything)
    assert (ending.kind, ending.signal, ending.detail) == (EndingKind.CRASHED, None, "exit code 7")


@pytest.mark.parametrize("model", [b"", b"not a model", b"ORTM" * 100])
def test_bytes_that_are_no_model_are_refused(child, model):
    assert ending_of(child, lambda child: child.load(model)).kind is EndingKind.REFUSED


def test_a_model_with_an_unknown_operator_is_refused_by_its_name(child):
    model = make_model([helper.make_node("Frobnicate", ["x"], ["y"])], [value("x")], [value("y")])
    ending = ending_of(child, lambda child: child.load(model))
    assert ending.kind is EndingKind.REFUSED
    assert "Frobnicate" in ending.detail


def test_a_refused_model_leaves_the_others_loaded(child):
    child.load(doubling(), session="float")
    child.hold("samples", {"x": np.ones((2, 3), np.float32)})
    ending_of(child, lambda child: child.load(b"x", session="file"))
    np.testing.assert_array_equal(child.run("float")["y"], np.full((2, 3), 2))


@pytest.mark.parametrize(
    "ask",
    [
        lambda child: child.run("nothing"),
        lambda child: child.run("switched", held="nothing"),
        lambda child: child.run("switched", outputs=["nothing"]),
        lambda child: child.run("switched", outputs=[]),
        lambda child: child.run("switched", rows=[0, 2]),
        lambda child: child.run("switched", extra={"x": np.ones((2, 5), np.float32)}),
        lambda child: child.compare("nothing", "switched"),
    ],
)
def test_a_run_that_cannot_be_done_fails_with_a_reason(child, ask):
    child.load(doubling())
    child.hold("samples", {"x": np.ones((2, 3), np.float32)})
    ending = ending_of(child, ask)
    assert ending.kind is EndingKind.FAILED
    assert ending.detail and child.alive


def test_outputs_larger_than_what_is_taken_over_fail(child, monkeypatch):
    monkeypatch.setattr(process, "_MOST_REPLY_BYTES", 1000)
    child.load(doubling())
    child.hold("samples", {"x": np.ones((100, 3), np.float32)})
    ending = ending_of(child, lambda child: child.run("switched"))
    assert ending.kind is EndingKind.FAILED
    assert "1,200 bytes, more than 1,000" in ending.detail


def test_stop_ends_a_run_that_goes_on():
    cancel = threading.Event()
    with Child(LIMITS, cancel=cancel, on_step=cancel.set) as child:
        ending = ending_of(child, loop)
        assert ending.kind is EndingKind.CANCELLED
        assert not child.alive


def test_stop_ends_the_loading_of_a_model(tmp_path):
    cancel = threading.Event()
    program = write_fake_child(tmp_path, "send({'number': number, 'ran': 1})\nwhile True: pass")
    with Child(LIMITS, cancel=cancel, on_step=cancel.set, program=program) as child:
        assert ending_of(child, load_anything).kind is EndingKind.CANCELLED


def test_stop_ends_a_child_that_does_not_read(tmp_path):
    cancel = threading.Event()
    program = write_fake_child(
        tmp_path, "send({'number': number, 'ran': 1})\nsend(done(number))\nwhile True: pass"
    )
    with Child(LIMITS, cancel=cancel, program=program) as child:
        child.hold("samples", {})
        threading.Thread(target=cancel.set).start()
        samples = {"x": np.ones(10 << 20)}
        ending = ending_of(child, lambda child: child.hold("samples", samples))
    assert ending.kind is EndingKind.CANCELLED


def test_what_ended_stays_ended():
    cancel = threading.Event()
    with Child(LIMITS, cancel=cancel, on_step=cancel.set) as child:
        first = ending_of(child, loop)
        assert ending_of(child, load_anything) == first


def test_after_the_end_neither_process_nor_folder_is_left():
    with Child(LIMITS) as child:
        child.load(doubling())
        folder = Path(f"/proc/{child.pid}/cwd").resolve()
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


PARENT = """
import numpy as np
from models_for_running import looping_while_true
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.process import Child
child = Child(Limits(600 << 20, 600, 600), on_step=lambda: print(child.pid, flush=True))
child.load(looping_while_true())
child.hold("samples", {"x": np.array([[0, 0, 0], [1, 1, 1]], np.float32)})
child.run("switched", one_by_one=True)
"""


def test_a_child_dies_with_its_parent_in_the_middle_of_a_run():
    path = os.pathsep.join(map(os.fspath, (ROOT, ROOT / "tests")))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        try:
            parent.kill()
            ended, _, _ = select.select([handle], [], [], 60)
        finally:
            os.close(handle)
    assert ended == [handle]


def test_what_a_listener_raises_reaches_who_asked():
    def fail():
        raise ZeroDivisionError

    with Child(LIMITS, on_step=fail) as child, pytest.raises(ZeroDivisionError):
        loop(child)
