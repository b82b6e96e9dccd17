"""`python -m playground run`: the page is served as asked, to those who have the token."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from playground import cli

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models" / "dscnn"


@pytest.fixture
def executed(monkeypatch) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Return the command and the environment that a call would turn into."""

    def run(*arguments: object) -> tuple[list[str], dict[str, str]]:
        calls: list[tuple[list[str], dict[str, str]]] = []
        monkeypatch.setattr(os, "execve", lambda file, argv, env: calls.append((argv, env)))
        done = CliRunner().invoke(cli.main, ["run", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return calls[0]

    return run


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_page_is_served_to_this_machine_alone_and_with_a_token(executed):
    command, _ = executed(MODELS)
    assert command[:4] == [sys.executable, "-m", "marimo", "run"]
    assert Path(command[4]).samefile(ROOT / "playground" / "quantization.py")
    assert option(command, "--host") == "127.0.0.1"
    assert "--token" in command and "--no-token" not in command
    assert command[command.index("--") :] == ["--", "--models", str(MODELS.resolve())]


def test_host_port_and_token_are_passed_on(executed, tmp_path):
    (tmp_path / "token").write_text("secret")
    command, _ = executed(
        MODELS, "--host", "::1", "--port", 2719, "--headless",
        "--token-password-file", tmp_path / "token",
    )  # fmt: skip
    assert (option(command, "--host"), option(command, "--port")) == ("::1", "2719")
    assert option(command, "--token-password-file") == str(tmp_path / "token")
    assert "--headless" in command
    assert "secret" not in command
    assert "--no-token" in executed(MODELS, "--no-token")[0]


def test_a_folder_whose_name_looks_like_an_option_stays_a_folder(executed, tmp_path, monkeypatch):
    shutil.copytree(MODELS, tmp_path / "--host=0.0.0.0; touch x")
    monkeypatch.chdir(tmp_path)
    command, _ = executed("--", "--host=0.0.0.0; touch x")
    assert command[-2:] == ["--models", str(tmp_path / "--host=0.0.0.0; touch x")]
    assert option(command, "--host") == "127.0.0.1"


def test_the_memory_of_several_viewers_is_bounded_unless_told_otherwise(executed, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert executed(MODELS)[1]["MALLOC_ARENA_MAX"] == "2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert executed(MODELS)[1]["MALLOC_ARENA_MAX"] == "7"


@pytest.mark.parametrize("what", ["missing", "empty", "a file"])
def test_a_folder_without_models_is_refused_in_one_line(tmp_path, what):
    folder = tmp_path / "folder"
    if what == "empty":
        folder.mkdir()
    elif what == "a file":
        folder.write_text("")
    done = CliRunner().invoke(cli.main, ["run", str(folder)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert str(folder) in done.stderr


@pytest.mark.parametrize(
    "options", [("--token-password-file", "no such file"), ("--port", "70000"), ("--port", "x")]
)
def test_an_option_that_cannot_be_is_refused(options):
    assert CliRunner().invoke(cli.main, ["run", str(MODELS), *options]).exit_code == 2


@contextmanager
def served(*options: str) -> Iterator[str]:
    """Serve the shipped model on a free port of this machine; end that process afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "playground", "run", str(MODELS), "--headless", "--port", str(port),
         *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        said = iter(server.stdout.readline, "")
        assert any(f":{port}" in line for line in said), "the server ended before it was ready"
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
