"""Style and types: ruff over everything, mypy --strict over playground/utils."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMMANDS = {
    "ruff finds nothing to correct": ["ruff", "check", "."],
    "every file is formatted": ["ruff", "format", "--check", "."],
    "every type is right, strictly": ["mypy"],
}


@pytest.mark.parametrize("claim", COMMANDS)
def test_the_code_is_clean(claim: str) -> None:
    command = [sys.executable, "-m", *COMMANDS[claim]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{claim}? no:\n{done.stdout}{done.stderr}"
