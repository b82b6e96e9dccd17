"""The README and CONTRIBUTING are true: their examples run, the files they name exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from playground.utils.parameter_inspector.judging.finding_wording import TITLES
from playground.utils.parameter_inspector.judging.rules import RULES

ROOT = Path(__file__).parents[1]
PLAYGROUND = ROOT / "playground"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("source", blocks("python"), ids=lambda source: source.split("\n", 1)[0])
def test_every_python_example_of_the_readme_runs_from_the_root(source: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "the example prints nothing, so it shows nothing"


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_room_of_the_house_stands_in_the_readmes_table() -> None:
    table = README[README.index("## Where things are") :]
    folders = {path.parent for path in (ROOT / "playground/utils").rglob("__init__.py")}
    files = [
        p for f in ("utils", "utils/parameter_inspector") for p in PLAYGROUND.glob(f"{f}/*.py")
    ]
    names = [f"{folder.name}/" for folder in folders] + [file.name for file in files]
    assert [name for name in names if name != "__init__.py" and name not in table] == []


def test_every_module_that_contributing_names_exists() -> None:
    recipes = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+(?:/|\.py))`", recipes)
    inside = [path for top in ("playground", "tests") for path in (ROOT / top).rglob("*")]
    known = [f"{path.as_posix()}{'/' * path.is_dir()}" for path in inside]
    assert len(named) > 10
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def test_both_commands_pin_the_tool_they_install_to_one_version() -> None:
    versions = re.findall(r"uv==([\d.]+)", "".join(blocks("sh")))
    assert len(versions) >= 2
    assert len(set(versions)) == 1


def test_ci_runs_the_test_command_of_the_readme_and_wants_a_browser() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    (extraction,) = re.findall(r"^command=\$\((.*)\)$", script, re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True
    )
    marked = README.split("<!-- test command -->", 1)[1].strip()
    assert done.stdout.strip() == marked.split("```")[1].removeprefix("sh\n").strip()
    assert done.stdout.rstrip().endswith("uv run --group test pytest")
    assert re.search(r"^export REQUIRE_BROWSER=1$", script, re.MULTILINE)
    assert re.search(r'^bash .* -c "\$command"$', script, re.MULTILINE)


def test_what_the_readme_says_of_the_shipped_models_is_what_check_finds() -> None:
    variants = [ROOT / "models/dscnn" / name for name in ("fp32.onnx", "uint8.onnx")]
    done = subprocess.run(
        [sys.executable, "-m", "playground", "check", "--all", *map(str, variants)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "29 of 32 channels" in done.stdout
    assert "the whole tensor has 39.2 dB" in done.stdout


def test_the_readme_lists_every_rule_with_its_title() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", README, re.MULTILINE)
    assert dict(rows).items() >= TITLES.items()
    assert f"The {len(RULES)} rules" in README


def test_the_changelog_counts_the_rules() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"{len(RULES)} rules" in changelog
