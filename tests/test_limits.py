"""What a run may take of this machine, and what a process takes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from playground.utils.parameter_inspector.running import limits as machine
from playground.utils.parameter_inspector.running.limits import (
    Limits,
    read_free_memory,
    read_memory,
    read_peak_memory,
)


def test_limits_of_this_machine_leave_half_of_what_is_free():
    limits = Limits.for_this_machine(run_seconds=5, total_seconds=50)
    assert 0 < limits.memory_bytes <= 4 << 30
    assert (limits.run_seconds, limits.total_seconds) == (5, 50)


def test_limits_have_to_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Limits(0, 1, 1)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system of files: 6 GB are available, and nothing says that this is a container."""
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cgroup")
    for name in ("proc", "cgroup"):
        (tmp_path / name).mkdir()
    (tmp_path / "proc" / "meminfo").write_text(
        "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    6000000 kB\n"
    )
    return tmp_path


def test_what_is_available_is_free(system):
    assert read_free_memory() == 6_000_000 * 1024
    assert Limits.for_this_machine().memory_bytes == 3_000_000 * 1024


@pytest.mark.parametrize(
    "most, free",
    [("3000000000", 1_000_000_000), ("1000000000", 0), ("max", 6_000_000 * 1024)],
)
def test_what_a_container_has_left_is_free(system, most, free):
    (system / "cgroup" / "memory.max").write_text(f"{most}\n")
    (system / "cgroup" / "memory.current").write_text("2000000000\n")
    assert read_free_memory() == free


def test_a_full_container_leaves_one_megabyte(system):
    for name in ("memory.max", "memory.current"):
        (system / "cgroup" / name).write_text("2000000000\n")
    assert Limits.for_this_machine().memory_bytes == 1 << 20


def test_an_array_that_is_filled_is_memory_of_its_process():
    before = read_memory(os.getpid())
    array = np.ones(200 << 20, np.uint8)
    after = read_memory(os.getpid())
    assert after - before == pytest.approx(array.nbytes, rel=0.1)
    assert read_peak_memory(os.getpid()) >= before + array.nbytes // 2


def test_a_process_that_is_not_there_has_no_memory(system):
    assert read_memory(os.getpid()) is None
    assert read_peak_memory(os.getpid()) is None
