"""Starting does not wait for sympy, and what onnx_ir calculates with it stays right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = "import sys, playground.utils.parameter_inspector, onnx_ir\n"


def run_alone(code: str, *paths: Path) -> str:
    """Return what a new process prints, ``paths`` before all others."""
    paths_first = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    command = [sys.executable, "-W", "error", "-c", paths_first + code]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_inspector_does_not_import_sympy():
    assert run_alone(IMPORTED + "print('sympy' in sys.modules)") == "False"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("onnx_ir.SymbolicDim('n') + 3", "n + 3"),
        ("onnx_ir.SymbolicDim('n') * onnx_ir.SymbolicDim('m')", "m*n"),
        ("onnx_ir.SymbolicDim('max(n, 4) + 1').evaluate({'n': 9})", "10"),
        ("onnx_ir.SymbolicDim('floor(n / 2)').evaluate({'n': 9})", "4"),
    ],
)
def test_sizes_without_a_number_are_calculated_as_onnx_ir_alone_does(expression, result):
    ours = run_alone(IMPORTED + f"print({expression})")
    assert ours == run_alone(f"import onnx_ir\nprint({expression})") == result


def test_who_imports_sympy_afterwards_gets_sympy():
    assert run_alone(IMPORTED + "import sympy; print(sympy.Integer(2) + 2)") == "4"


def test_an_onnx_ir_that_builds_on_sympy_at_once_is_imported_with_it(tmp_path):
    (tmp_path / "onnx_ir").mkdir()
    (tmp_path / "onnx_ir" / "__init__.py").write_text(
        "import sympy\nclass Size(sympy.Expr): pass\n", encoding="utf-8"
    )
    code = (
        "import importlib.util\n"
        "place = 'playground/utils/parameter_inspector/reading/sympy_later.py'\n"
        "spec = importlib.util.spec_from_file_location('sympy_later', place)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.import_onnx_ir()\n"
        "import onnx_ir, sympy\n"
        "print(issubclass(onnx_ir.Size, sympy.Expr))\n"
    )
    assert run_alone(code, tmp_path) == "True"
