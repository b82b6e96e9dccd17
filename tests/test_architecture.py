"""The house: arrows point down from folder to folder, and each library has one home.

Read from the imports themselves, wherever in a file they stand.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAYGROUND = ROOT / "playground"
UTILS = PLAYGROUND / "utils"
INSPECTOR = UTILS / "parameter_inspector"

# A room imports from the floors below its own, never from beside it. Pairing stands on streaming,
# beside which the design draws it: it compares samples, and only streaming reads a weight's values.
PICTURE = r"""
                 notebook
                     |
                   page     cli     guard
                     |       |        |
                     |    commands    |
                      \     /         |
                      report          |
                         |            |
                      pointing        |
                         |            |
                      markup   guard_variables
                     /   |   \
               tables figures exports
                     \   |   /
                      spelling
                         |
                parameter_inspector
                     /       \
                judging    changing
                     \       /
                      running
                         |
                     measuring
                         |
                      pairing
                         |
                     streaming
                         |
                      reading
                         |
  records  quantization  sharing  budgets  facts  operators  wording  whole_files
"""
FLOORS = [words for line in PICTURE.splitlines() if (words := re.findall(r"\w+", line))]
LEVELS = {room: level for level, floor in enumerate(reversed(FLOORS)) for room in floor}
GROUND = set(FLOORS[-1])

# The rooms that import each library; numpy and the standard library live everywhere.
HOMES = {
    "onnx": {"reading", "running", "changing"},
    "onnx_ir": {"reading", "pairing", "running"},
    "google": {"reading"},
    "PIL": {"streaming"},
    "onnxruntime": {"running"},
    "pandas": {"tables"},
    "matplotlib": {"figures"},
    "marimo": {"notebook", "page"},
    "click": {"cli", "commands"},
    "starlette": {"guard"},
}
EVERYWHERE = {"numpy", "ml_dtypes", "playground"} | set(sys.stdlib_module_names)

# What they show and write comes from the inspector's face: the rooms behind it can be rebuilt.
BEFORE_THE_FACE = {"notebook", "page", "cli", "commands", "report", "exports"}

# The specification gives the notebook its name; `Quantization` is the word of the field.
MAY_BE_NAMED_TWICE = {"quantization"}


def files() -> list[Path]:
    return sorted(PLAYGROUND.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PLAYGROUND).as_posix()


def name_room(path: Path) -> str:
    """Return the room that a file is in; a file beside the folders is a room of its own."""
    if path == PLAYGROUND / "quantization.py":
        return "notebook"
    if path == PLAYGROUND / "__main__.py":
        return "cli"
    for folder in (INSPECTOR, UTILS, PLAYGROUND):
        if path.is_relative_to(folder):
            first = path.relative_to(folder).parts[0].removesuffix(".py")
            return folder.name if first == "__init__" else first
    raise LookupError(path)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, relative names made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def find_file(name: str) -> Path | None:
    """Return the file of the module, or of what it holds, that a dotted name is."""
    path = ROOT.joinpath(*name.split("."))
    for module in (path.with_suffix(".py"), path / "__init__.py"):
        if module.exists():
            return module
    return find_file(name.rpartition(".")[0]) if "." in name else None


def own_imports(path: Path) -> set[Path]:
    """Return the files of the project that a file imports."""
    names = (name for name in imports(parse(path), path) if name.startswith("playground."))
    return {file for file in map(find_file, names) if file is not None}


def libraries(tree: ast.AST, path: Path) -> set[str]:
    """Return the libraries that a file uses; what is imported for an annotation alone is not."""
    return {name.split(".")[0] for name in imports(without_types(tree), path)}


def without_types(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


every_file = pytest.mark.parametrize("path", files(), ids=place)
rooms = sorted({name_room(path) for path in files()} - {"playground", "utils"})
folders = sorted({path.parent for path in files()})
inspector_files = sorted(INSPECTOR.rglob("*.py"))


# The house ----------------------------------------------------------------------------------------


def test_the_picture_shows_every_room_and_no_other():
    assert sorted(LEVELS) == rooms


@every_file
def test_arrows_point_down_only(path):
    room = name_room(path)
    others = {name_room(file) for file in own_imports(path)} - {room}
    # What stands on the ground are files of one folder, and no circle joins them (below).
    beside = GROUND if room in GROUND else set()
    assert {other for other in others - beside if LEVELS[other] >= LEVELS[room]} == set()


def test_no_imports_go_in_a_circle():
    imported = {path: own_imports(path) - {path} for path in files()}
    assert len(list(TopologicalSorter(imported).static_order())) == len(imported)


@pytest.mark.parametrize("path", [p for p in files() if name_room(p) in BEFORE_THE_FACE], ids=place)
def test_what_is_shown_or_written_comes_from_the_inspectors_face(path):
    past = {place(file) for file in own_imports(path) if file.is_relative_to(INSPECTOR)}
    assert past <= {place(INSPECTOR / "__init__.py")}


@pytest.mark.parametrize("folder", folders, ids=place)
def test_a_folder_opens_with_its_rule(folder):
    assert ast.get_docstring(parse(folder / "__init__.py"))


def test_no_two_modules_have_one_name():
    places = defaultdict(list)
    for path in files():
        name = path.parent.name if path.stem == "__init__" else path.stem
        places[name].append(place(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: twice[name] for name in twice.keys() - MAY_BE_NAMED_TWICE} == {}


# Libraries ----------------------------------------------------------------------------------------


@every_file
def test_a_library_is_imported_in_its_home_only(path):
    strangers = libraries(parse(path), path) & set(HOMES)
    assert {name for name in strangers if name_room(path) not in HOMES[name]} == set()


def at_the_top(tree: ast.Module) -> ast.Module:
    """Return the module without what its functions import when they are called."""
    for parent in ast.walk(tree):
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parent.body = [ast.Pass()]
    return tree


@every_file
def test_onnxruntime_is_never_imported_by_importing_us(path):
    assert "onnxruntime" not in libraries(at_the_top(parse(path)), path)


@every_file
def test_only_known_libraries_are_imported(path):
    assert libraries(parse(path), path) <= EVERYWHERE | set(HOMES)


@every_file
def test_no_file_uses_pyplot_or_changes_the_settings_of_matplotlib(path):
    words = {"pyplot", "pylab", "rcParams", "rc_context", "rcdefaults"}
    tree = parse(path)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {part for name in imports(tree, path) for part in name.split(".")}
    assert used & words == set()


@pytest.mark.parametrize("path", inspector_files, ids=place)
def test_no_module_of_the_inspector_prints(path):
    called = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    assert not [name for name in called if isinstance(name, ast.Name) and name.id == "print"]


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


# Public names -------------------------------------------------------------------------------------

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
