"""The benchmarks' own tests: they run, they count, and they notice what is slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from models_for_tests import load_script

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return load_script(BENCHMARKS / "run.py")


@pytest.fixture(scope="module")
def pairs() -> ModuleType:
    return load_script(BENCHMARKS / "pairs.py")


def test_the_quick_benchmarks_meet_their_goals():
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goals met" in done.stdout
    assert "MISSED" not in done.stdout


def one_comparison(run: ModuleType, monkeypatch, work, neighbour) -> None:
    """Let the benchmarks be one comparison of two functions."""

    def compare(started):
        theirs, ours = run.measure(neighbour, 3), run.measure(work, 3)
        yield started.line("work", "neighbour", theirs.seconds, ours.seconds)

    monkeypatch.setattr(run, "COMPARISONS", {"one": compare})
    monkeypatch.setattr(run, "GOALS", {"work": 1.0})


def count(numbers: int) -> int:
    return sum(range(numbers))


def test_work_slower_than_its_goal_makes_the_exit_code_1(run, monkeypatch, capsys):
    one_comparison(run, monkeypatch, lambda: count(400_000), lambda: count(4_000))
    assert run.main([]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_work_faster_than_its_goal_makes_the_exit_code_0(run, monkeypatch, capsys):
    one_comparison(run, monkeypatch, lambda: count(4_000), lambda: count(400_000))
    assert run.main([]) == 0
    assert "1 of 1 goals met" in capsys.readouterr().out


def test_a_goal_that_cannot_be_reached_is_missed_by_the_real_work(run, monkeypatch, capsys):
    monkeypatch.setattr(run, "GOALS", dict.fromkeys(run.GOALS, 1e-9))
    assert run.main(["--quick", "--only", "open"]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_comparison_that_fails_is_a_goal_missed(run, monkeypatch, capsys):
    def fail(_):
        raise RuntimeError("the page was not served")
        yield

    monkeypatch.setattr(run, "COMPARISONS", {"one": fail})
    assert run.main([]) == 1
    told = capsys.readouterr()
    assert "the page was not served" in told.err
    assert "MISSED" in told.out


def test_every_goal_has_a_line_and_every_line_a_goal(run):
    source = (BENCHMARKS / "run.py").read_text()
    for name in run.GOALS:
        assert source.count(f'"{name}"') == 2, name


def test_memory_is_the_highest_of_the_work_not_of_what_came_before(run):
    assert np.ones(64 * run.MB, np.uint8).all()
    peak = run.measure(lambda: np.ones(32 * run.MB, np.uint8).all(), 1).peak
    assert 31 * run.MB < peak < 40 * run.MB


def test_the_same_seed_writes_the_same_pair_and_a_valid_one(pairs, tmp_path):
    for folder in ("one", "two"):
        pairs.write_pair(tmp_path / folder, [(5, 7), (7, 3), (4, 6)], seed=1)
    for name in ("fp32.onnx", "int8.onnx"):
        first, second = ((tmp_path / f / name).read_bytes() for f in ("one", "two"))
        assert first == second
        onnx.checker.check_model(first, full_check=True)


def test_a_sparse_model_takes_no_room_and_ends_each_weight_with_its_number(pairs, tmp_path):
    shape = (512, 1024)
    pairs.write_sparse(tmp_path, shape, count=3)
    data = tmp_path / "weights.data"
    assert data.stat().st_size == 3 * 4 * 512 * 1024
    assert 512 * data.stat().st_blocks < data.stat().st_size / 10
    for i, tensor in enumerate(onnx.load(tmp_path / "fp32.onnx").graph.initializer, 1):
        weight = onnx.numpy_helper.to_array(tensor)
        assert weight.shape == shape
        assert weight.max() == weight[-1, -1] == i


def measure_by_the_clock(run: ModuleType, durations: list[float], repeat: int) -> tuple[float, int]:
    """Return the time that is kept of works that last so long, and how many were done."""
    now, left = 0.0, list(durations)

    def work() -> None:
        nonlocal now
        now += left.pop(0)

    return run.measure(work, repeat, clock=lambda: now).seconds, len(durations) - len(left)


def test_a_measurement_repeats_the_work_and_keeps_the_best_time(run):
    assert measure_by_the_clock(run, [2.0, 0.5, 1.0, 0.25], 3) == (0.5, 3)


def test_a_long_work_is_not_repeated(run):
    long = run.REPEAT_SECONDS + 1
    assert measure_by_the_clock(run, [long, 1.0, 1.0], 3) == (long, 1)
