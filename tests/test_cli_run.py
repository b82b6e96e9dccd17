"""`run`, or no command at all: the page is served as asked, to those who have the token."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from playground import cli
from playground.commands import serve

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models" / "dscnn"


@pytest.fixture
def executed(monkeypatch) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Return the command and the environment that a call would turn into."""

    def run(*arguments: object) -> tuple[list[str], dict[str, str]]:
        calls: list[tuple[list[str], dict[str, str]]] = []
        monkeypatch.setattr(os, "execve", lambda file, argv, env: calls.append((argv, env)))
        done = CliRunner().invoke(cli.main, [*map(str, arguments)])
        assert done.exit_code == 0, done.output
        return calls[0]

    return run


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_page_is_served_to_this_machine_alone_and_with_a_token(executed):
    command, _ = executed("run", MODELS)
    assert command[:5] == [sys.executable, "-P", "-m", "marimo", "run"]
    assert any(Path(one).name == "quantization.py" and Path(one).exists() for one in command)
    assert option(command, "--host") == "127.0.0.1"
    assert "--token" in command and "--no-token" not in command
    assert command[command.index("--") :] == ["--", "--models", str(MODELS.resolve())]


def test_host_port_and_token_are_passed_on(executed, tmp_path):
    (tmp_path / "token").write_text("secret")
    command, _ = executed(
        "run", MODELS, "--host", "::1", "--port", 2719, "--headless",
        "--token-password-file", tmp_path / "token",
    )  # fmt: skip
    assert (option(command, "--host"), option(command, "--port")) == ("::1", "2719")
    assert option(command, "--token-password-file") == str(tmp_path / "token")
    assert "--headless" in command
    assert "secret" not in command
    assert "--no-token" in executed("run", MODELS, "--no-token")[0]


def test_a_folder_whose_name_looks_like_an_option_stays_a_folder(executed, tmp_path, monkeypatch):
    shutil.copytree(MODELS, tmp_path / "--host=0.0.0.0; touch x")
    monkeypatch.chdir(tmp_path)
    command, _ = executed("run", "--", "--host=0.0.0.0; touch x")
    assert command[-2:] == ["--models", str(tmp_path / "--host=0.0.0.0; touch x")]
    assert option(command, "--host") == "127.0.0.1"


def test_the_memory_of_several_viewers_is_bounded_unless_told_otherwise(executed, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert executed("run", MODELS)[1]["MALLOC_ARENA_MAX"] == "2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert executed("run", MODELS)[1]["MALLOC_ARENA_MAX"] == "7"


PAIR = (MODELS / "fp32.onnx", MODELS / "int8.onnx")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], ["--models", str(ROOT / "models")]),
        ([MODELS], ["--models", str(MODELS)]),
        (PAIR, [f"--file={path}" for path in PAIR]),
        (["--port", "2719", PAIR[1]], [f"--file={PAIR[1]}"]),
        (["run", *PAIR], [f"--file={path}" for path in PAIR]),
    ],
    ids=["nothing", "a folder", "files", "options first", "by its name"],
)
def test_models_are_shown_by_naming_them_and_the_shipped_ones_by_nothing(
    executed, arguments, shown
):
    command, _ = executed(*arguments)
    assert command[command.index("--") + 1 :] == shown


def test_the_shipped_models_are_in_the_wheel_where_run_looks_for_them_first():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    networks = {path.parent for path in (ROOT / "models").rglob("*.onnx")}
    included = {one: place for one, place in included.items() if (ROOT / one).is_dir()}
    inside = serve.SHIPPED[0].relative_to(ROOT)
    assert {ROOT / one for one in included} == networks
    assert {Path(one).parent for one in included.values()} == {inside}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["chek"], "no such file or folder, and no command (check, measure,"),
        (["no/such.onnx"], "no such file or folder\n"),
        ([*PAIR, "no.onnx"], "no.onnx: there is no such file or folder\n"),
        ([MODELS, *PAIR], "is a folder: give one folder, or files"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(arguments, why):
    done = CliRunner().invoke(cli.main, [*map(str, arguments)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_folder_without_models_is_refused_in_one_line(tmp_path, what):
    folder = tmp_path / "folder"
    if what == "empty":
        folder.mkdir()
    done = CliRunner().invoke(cli.main, ["run", str(folder)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert str(folder) in done.stderr


@pytest.mark.parametrize(
    "options", [("--token-password-file", "no such file"), ("--port", "70000"), ("--port", "x")]
)
def test_an_option_that_cannot_be_is_refused(options):
    assert CliRunner().invoke(cli.main, ["run", str(MODELS), *options]).exit_code == 2


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served(*options: str, folder: Path = ROOT) -> Iterator[str]:
    """Serve the shipped model on a free port of this machine, as started in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [Path(sys.executable).with_name("quantization-playground"), str(MODELS), "--headless",
         "--port", str(port), *options],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        said = iter(server.stdout.readline, "")
        assert any(f":{port}" in line for line in said), "the server ended before it was ready"
        # It says so before it listens.
        while not listens(port):
            assert server.poll() is None
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.stdout.close()
        server.wait()


def fetch(url: str) -> str:
    """Return a page as a browser that keeps cookies gets it; the token is in one."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(url, timeout=60) as answer:
        return answer.read().decode()


def test_the_page_answers_with_the_token_only_and_ends_when_it_is_told(tmp_path):
    (tmp_path / "token").write_text("for-this-test")
    with served("--token-password-file", str(tmp_path / "token")) as url:
        assert "Quantization playground" in fetch(f"{url}?access_token=for-this-test")
        try:
            shown = fetch(f"{url}?access_token=wrong")
        except urllib.error.HTTPError as refusal:
            shown = refusal.read().decode()
            refusal.close()
        assert "Quantization playground" not in shown


def test_a_folder_that_has_modules_of_our_names_is_a_folder_like_any_other(tmp_path):
    (tmp_path / "playground").mkdir()
    for name in ("playground/__init__.py", "marimo.py", "click.py", "onnx.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    with served("--no-token", folder=tmp_path) as url:
        assert "Quantization playground" in fetch(url)


def test_a_page_that_has_not_run_yet_says_what_it_is_doing():
    with served("--no-token") as url:
        assert 'content: "Opening the models …"' in fetch(url)


def test_a_token_given_by_file_is_said_nowhere(tmp_path):
    (tmp_path / "token").write_text("for-this-test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "playground", "run", str(MODELS), "--port", str(port),
         "--token-password-file", str(tmp_path / "token")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    with server.stdout:
        first = server.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            pass
        server.terminate()
        rest = server.stdout.read()
    server.wait()
    assert first == f"The page is at http://127.0.0.1:{port}; the token is in {tmp_path}/token\n"
    assert "for-this-test" not in first + rest


def test_the_random_token_is_random_whatever_the_seed_of_hashes_is(executed, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert executed(MODELS)[1]["PYTHONHASHSEED"] == "random"
