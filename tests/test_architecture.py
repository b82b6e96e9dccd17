"""The import diagram: arrows point down, and each library has one home.

Read from the imports themselves, wherever in a file they stand.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAYGROUND = ROOT / "playground"
INSPECTOR = PLAYGROUND / "utils" / "parameter_inspector"

# From the ground up: a module imports only what stands in a row above its own.
DIAGRAM = """
    quantization names wire sharing
    records model_file
    constants folding
    rows counting
    passes
    sums sketches rescaling
    metrics
    histograms code_counts
    layer_counts
    decoders activations
    storage
    tracing
    layers
    pairing variants
    comparison
    channels requantize
    planning
    rewrite trials
    rules_resolution
    rules_parameters
    rules_file
    findings
    __init__
"""
RANKS = {
    name: rank for rank, row in enumerate(DIAGRAM.strip().splitlines()) for name in row.split()
}

# The one home of each library under playground/; numpy and the standard library live everywhere.
ONNX_MODULES = {
    f"utils/parameter_inspector/{name}.py"
    for name in (
        "model_file",
        "constants",
        "decoders",
        "storage",
        "tracing",
        "activations",
        "layers",
    )
}
HOMES = {
    "onnx": ONNX_MODULES | {f"utils/parameter_inspector/{name}.py" for name in ("wire", "rewrite")},
    "onnx_ir": ONNX_MODULES,
    "google": {f"utils/parameter_inspector/{name}.py" for name in ("model_file", "wire")},
    "pandas": {f"utils/tables/{path.name}" for path in (PLAYGROUND / "utils/tables").glob("*.py")},
    "matplotlib": {
        f"utils/figures/{path.name}" for path in (PLAYGROUND / "utils/figures").glob("*.py")
    },
    "marimo": {"quantization.py"},
    "click": {"cli.py"},
    "PIL": {"utils/parameter_inspector/counting.py"},
}
EVERYWHERE = {"numpy", "ml_dtypes", "playground"} | set(sys.stdlib_module_names)


def files() -> list[Path]:
    return sorted(PLAYGROUND.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PLAYGROUND).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, relative names made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for found in ast.walk(tree):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            above = package[: len(package) - found.level + 1] if found.level else ()
            base = ".".join((*above, *([found.module] if found.module else [])))
            yield from (f"{base}.{alias.name}" for alias in found.names)


def inspector_imports(path: Path) -> set[str]:
    """Return the modules of the inspector that a file imports."""
    inside = "playground.utils.parameter_inspector"
    names = {
        name.removeprefix(f"{inside}.").split(".")[0]
        for name in imports(parse(path), path)
        if name.startswith(f"{inside}.")
    }
    return {name if (INSPECTOR / f"{name}.py").exists() else "__init__" for name in names}


every_file = pytest.mark.parametrize("path", files(), ids=place)
every_module = pytest.mark.parametrize(
    "path", sorted(INSPECTOR.glob("*.py")), ids=lambda path: path.stem
)


@every_module
def test_a_module_has_its_place_in_the_diagram(path):
    assert path.stem in RANKS


@every_module
def test_arrows_point_down_only(path):
    upward = {one for one in inspector_imports(path) if RANKS[one] >= RANKS[path.stem]}
    assert upward == set()


@every_module
def test_the_inspector_knows_nothing_of_the_page(path):
    outside = {
        name
        for name in imports(parse(path), path)
        if name.startswith("playground.") and "parameter_inspector" not in name
    }
    assert outside == set()


@every_file
def test_a_library_is_imported_in_its_home_only(path):
    libraries = {name.split(".")[0] for name in imports(parse(path), path)}
    strangers = {one for one in libraries & set(HOMES) if place(path) not in HOMES[one]}
    assert strangers == set()


def at_the_top(tree: ast.Module) -> ast.Module:
    """Return the module without what its functions import when they are called."""

    for parent in ast.walk(tree):
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parent.body = [ast.Pass()]
    return tree


@every_file
def test_onnxruntime_is_never_imported_by_importing_us(path):
    top = {name.split(".")[0] for name in imports(at_the_top(parse(path)), path)}
    assert "onnxruntime" not in top


@every_file
def test_only_known_libraries_are_imported(path):
    libraries = {name.split(".")[0] for name in imports(parse(path), path)}
    assert libraries <= EVERYWHERE | set(HOMES) | {"onnxruntime"}


@every_file
def test_no_file_uses_pyplot_or_changes_the_settings_of_matplotlib(path):
    words = {"pyplot", "pylab", "rcParams", "rc_context", "rcdefaults"}
    tree = parse(path)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {part for name in imports(tree, path) for part in name.split(".")}
    assert used & words == set()


@every_module
def test_no_module_prints(path):
    called = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    assert not [one for one in called if isinstance(one, ast.Name) and one.id == "print"]


def test_importing_the_inspector_brings_none_of_the_page_along():
    strangers = ["matplotlib", "pandas", "marimo", "onnxruntime"]
    code = (
        "import sys, playground.utils.parameter_inspector\n"
        f"print([name for name in {strangers} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


PUBLIC = """
    load_model list_layers extract_layer_params extract_layer_parameters extract_weight_tensors
    compute_all_layer_ranges compute_layer_ranges create_summary_stats
"""


@pytest.mark.parametrize("name", PUBLIC.split())
def test_the_name_that_the_specification_gives_is_public(name):
    from playground.utils import parameter_inspector

    assert callable(getattr(parameter_inspector, name))
    assert name in parameter_inspector.__all__


def test_every_public_name_exists():
    from playground.utils import parameter_inspector

    missing = [n for n in parameter_inspector.__all__ if not hasattr(parameter_inspector, n)]
    assert missing == []


def test_the_notebook_keeps_nothing_for_the_next_viewer():
    # Each viewer runs a notebook of their own: what they are to share lives in a module.
    names = {
        n.id for n in ast.walk(parse(PLAYGROUND / "quantization.py")) if isinstance(n, ast.Name)
    }
    assert names.isdisjoint({"SharedCache", "OrderedDict", "cache", "lru_cache"})
