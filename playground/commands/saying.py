"""What a command says while it works, and only where somebody watches."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from playground.utils import exports

Progress = Callable[[int, int, str], None]
T = TypeVar("T")


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Yield what to call with (done, of how many, name); None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    shown: Any = click.progressbar(
        length=1,
        label=label,
        file=sys.stderr,
        item_show_func=lambda name: exports.shorten_name(name or "", 40),
    )
    with shown as bar:

        def progress(done: int, total: int, name: str) -> None:
            bar.length = total
            bar.update(done - bar.pos, name)

        yield progress


def tell(line: str) -> None:
    """Say what is going on, where somebody watches."""
    if sys.stderr.isatty():
        click.echo(exports.escape_unprintable(line), err=True)


@contextmanager
def progress_line(describe: Callable[[T], str]) -> Iterator[Callable[[T], None] | None]:
    """Yield what to call while models run: it keeps one line of the terminal up to date."""
    if not sys.stderr.isatty():
        yield None
        return
    width = shutil.get_terminal_size().columns - 1

    def progress(so_far: T) -> None:
        line = exports.shorten_name(describe(so_far), width)
        click.echo(f"\r{line:<{width}}", err=True, nl=False)

    try:
        yield progress
    finally:
        click.echo(f"\r{'':<{width}}\r", err=True, nl=False)
