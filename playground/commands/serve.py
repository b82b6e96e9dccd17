"""``run``: the page, served by marimo in this process's place."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import click

from playground.guard_variables import HOST_VARIABLE, NAMES_VARIABLE, SAID_VARIABLE

from . import COMMANDS
from .arguments import FILE
from .failing import CannotReadError, fail, one_line_errors

PLAYGROUND = Path(__file__).resolve().parents[1]
# In a wheel the shipped models lie inside, in a checkout beside.
SHIPPED = (PLAYGROUND / "models", PLAYGROUND.parent / "models")


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve on.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="The port to serve on.")
@click.option(
    "--token/--no-token",
    default=True,
    show_default=True,
    help="Let only those in who have the token.",
)
@click.option(
    "--token-password-file",
    type=FILE,
    help="Read the token from this file; it is not printed, and no browser is opened. Without it "
    "a random one is printed.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too, such as that of a proxy. Numbers and localhost always do.",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def run(
    models: tuple[Path, ...],
    host: str,
    port: int | None,
    token: bool,
    token_password_file: Path | None,
    names: tuple[str, ...],
    headless: bool,
) -> None:
    """Serve the page about MODELS, and open it in the browser.

    MODELS are .onnx files of one network, or a folder: its files are one network, and so are those
    of each folder inside it. Without any the page is about the models that are shipped.

    Exits with 2 if there is no model to show.
    """
    with one_line_errors():
        asked = name_models(models)
        refuse_no_guard()
        options = ["--host", host, *token_options(token, token_password_file)]
        options += [] if port is None else ["--port", str(port)]
        options += ["--headless"] if headless or token_password_file else []
        # It prints the address with the token in it.
        quiet = ["--quiet"] if token_password_file else []
        # -P: where it is started there may be a folder of our name, or any module's.
        command = [sys.executable, "-P", "-m", "marimo", *quiet, "run", "--no-sandbox"]
        command += [str(PLAYGROUND / "quantization.py"), *options, "--", *asked]
        # One arena for each thread costs several viewers half of their memory again.
        environment = {"MALLOC_ARENA_MAX": "2", **os.environ}
        environment |= guard_environment(host, names, token_password_file)
        os.execve(sys.executable, command, environment)


def name_models(models: Sequence[Path]) -> list[str]:
    """Return the page's options about what to show; raise where there is nothing."""
    if not models:
        return ["--models", str(next(filter(Path.is_dir, SHIPPED)))]
    if len(models) == 1 and models[0].is_dir():
        refuse_no_models(models[0])
        return ["--models", str(models[0].resolve())]
    for path in models:
        if not path.is_file():
            raise CannotReadError(refuse_path(path, alone=len(models) == 1))
    return [f"--file={path.resolve()}" for path in models]


def refuse_path(path: Path, *, alone: bool) -> str:
    """Return why a path is nothing that can be shown."""
    if path.is_dir():
        return f"{path} is a folder: give one folder, or files"
    if path.exists():
        return f"{path} is not a file"
    hint = f", and no command ({', '.join(COMMANDS)})" if alone and path.name == str(path) else ""
    return f"{path}: there is no such file or folder{hint}"


def guard_environment(
    host: str, names: Sequence[str], token_password_file: Path | None
) -> dict[str, str]:
    """Return what turns on `playground.guard`, which the server loads."""
    said = "" if token_password_file is None else f"the token is in {token_password_file}"
    # The random token is a hash: with a seed that is known, so is the token.
    return {
        HOST_VARIABLE: host,
        NAMES_VARIABLE: " ".join(names),
        SAID_VARIABLE: said,
        "PYTHONHASHSEED": "random",
    }


def refuse_no_models(folder: Path) -> None:
    # Not by the engine, which the page imports for itself: it is served two seconds earlier so.
    if next(folder.rglob("*.onnx"), None) is None:
        from playground.utils.parameter_inspector import describe_refusal, look_for_networks

        refusals = look_for_networks(folder).refusals
        raise CannotReadError(f"{folder}: {'; '.join(map(describe_refusal, refusals))}")


def refuse_no_guard() -> None:
    if not entry_points(group="marimo.server.asgi.middleware", name="playground"):
        raise CannotReadError("the page would not be guarded: install the playground again")


def token_options(token: bool, password_file: Path | None) -> list[str]:
    """Return marimo's options about the token."""
    if password_file is None:
        return ["--token" if token else "--no-token"]
    if not token:
        fail("give either --token-password-file or --no-token")
    if not password_file.is_file():
        raise CannotReadError(f"{password_file} is not a file")
    return ["--token", "--token-password-file", str(password_file)]
