"""What a run may take of this machine, and what a process takes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_MOST_MEMORY = 4 << 30
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """What a child process may take.

    Attributes:
        memory_bytes: resident memory of the process.
        run_seconds: for loading a model, for each run, and for whatever else is one step.
        total_seconds: for the life of the process.
    """

    memory_bytes: int = _MOST_MEMORY
    run_seconds: float = 60.0
    total_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if not (self.memory_bytes > 0 and self.run_seconds > 0 and self.total_seconds > 0):
            raise ValueError(f"limits have to be positive: {self}")

    @classmethod
    def for_this_machine(
        cls, *, run_seconds: float = 60.0, total_seconds: float = 1800.0
    ) -> Limits:
        """Return limits with 4 GB of memory or half of what is free, whichever is less."""
        free = read_free_memory()
        memory = _MOST_MEMORY if free is None else min(_MOST_MEMORY, max(free // 2, 1 << 20))
        return cls(memory, run_seconds, total_seconds)


def read_free_memory() -> int | None:
    """Return the bytes that can be allocated without swapping; None where it cannot be known."""
    known = [one for one in (_read_available(), _read_container()) if one is not None]
    return min(known, default=None)


def _read_available() -> int | None:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return _read_physical()
    values = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(values[0]) << 10 if values else _read_physical()


def _read_physical() -> int | None:
    """Return all memory of the machine: macOS does not tell how much of it is free."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _read_container() -> int | None:
    """Return what is left of a container's limit (cgroup version 2)."""
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return None
    return max(int(most) - int(used), 0) if most.isdigit() and used.isdigit() else None


def can_read_memory() -> bool:
    """Return whether the memory of another process can be read, and so limited."""
    return sys.platform == "darwin" or (_PROC / "self" / "statm").exists()


def read_memory(pid: int) -> int | None:
    """Return the resident bytes of a process; None where they cannot be read."""
    if sys.platform == "darwin":
        return _ask_ps(pid)
    try:
        pages = (_PROC / str(pid) / "statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def read_peak_memory(pid: int) -> int | None:
    """Return the most resident bytes that a running process ever had; None if not known."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(values[0]) << 10 if values else None


def _ask_ps(pid: int) -> int | None:
    try:
        said = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return int(said) << 10 if said.isdigit() else None
