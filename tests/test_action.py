"""The action and the hook for CI: what they run, with arguments that stay what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from playground import cli

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
CHECK = ACTION["runs"]["steps"][-1]


@pytest.fixture
def run_check(tmp_path):
    """Return what runs the last step, with a command that says what it was given."""
    command = tmp_path / "bin" / "quantization-playground"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    command.chmod(0o755)

    def run(**inputs: str) -> list[str]:
        given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | inputs
        environment = {"PATH": "/usr/bin:/bin", "GITHUB_STEP_SUMMARY": "summary.md"}
        for name, source in CHECK["env"].items():
            environment[name] = given.get(source.strip("${ }").removeprefix("inputs."), "")
        environment["PLACE"] = str(tmp_path)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", CHECK["run"]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def test_models_are_given_one_a_line_and_nothing_in_a_name_is_a_command(run_check, tmp_path):
    names = ["a b.onnx", "$(touch ran).onnx", "--fail-on=note", "`touch ran`;x'\".onnx"]
    command, *arguments = run_check(models="\n".join(names))
    assert command == "check"
    assert arguments[arguments.index("--") + 1 :] == names
    assert not (tmp_path / "ran").exists()


def test_every_input_reaches_the_command_as_the_option_it_is(run_check):
    given = run_check(
        **{"models": "m", "samples": "s.npz", "fail-on": "warning", "sarif": "a b.sarif",
           "junit": "j.xml", "options": "--min-sqnr=20\n--load\n"},
    )  # fmt: skip
    assert given == [
        "check", "--fail-on", "warning", "--sarif", "a b.sarif", "--summary", "summary.md",
        "--samples", "s.npz", "--junit", "j.xml", "--min-sqnr=20", "--load", "--", "m",
    ]  # fmt: skip


def test_what_the_action_runs_is_a_command_that_takes_these_options(run_check, tmp_path):
    summary = tmp_path / "summary.md"
    arguments = run_check(models=str(ROOT / "models" / "dscnn"), sarif=str(tmp_path / "a.sarif"))
    arguments[arguments.index("summary.md")] = str(summary)
    assert CliRunner().invoke(cli.main, arguments).exit_code == 1
    assert "channel-collapse" in summary.read_text("utf-8")
    assert "channel-collapse" in (tmp_path / "a.sarif").read_text("utf-8")


def test_no_input_is_pasted_into_a_script():
    assert not [step for step in ACTION["runs"]["steps"] if "${{" in step["run"]]


def test_the_hook_runs_the_check_of_the_folder_that_it_is_given():
    program, *arguments = HOOK["entry"].split()
    assert program == "quantization-playground"
    assert HOOK["language"] == "python" and HOOK["pass_filenames"] is False
    done = CliRunner().invoke(cli.main, [*arguments, str(ROOT / "models" / "resnet8")])
    assert done.exit_code == 0, done.output
