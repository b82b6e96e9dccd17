"""How a command ends that cannot do what it was asked: one line on stderr, and exit code 2."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

FOUND, UNREADABLE, INTERRUPTED = 1, 2, 130


class CannotReadError(Exception):
    """Why there is no verdict, in one sentence."""


class CannotWriteError(Exception):
    """Which file could not be written, and why."""


class CannotRunError(Exception):
    """Which file could not be run on the samples, and why."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn whatever goes wrong into one line on stderr and exit code 2.

    Never 1: that says that the model was read and something was found.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        fail(say_why(error))


def say_why(error: Exception) -> str:
    """Return in one sentence what could not be done; a fault of ours with its place."""
    # Imported when something failed: `run` starts without the engine.
    from playground.utils.parameter_inspector import (
        ModelFileError,
        ModelTooLargeError,
        NothingToCompareError,
        OutputRefusedError,
        RewriteError,
        RunEndedError,
        SamplesError,
        UnavailableError,
    )

    if isinstance(error, (CannotReadError, ModelFileError, UnavailableError)):
        return f"cannot read: {error}"
    if isinstance(error, (CannotWriteError, OutputRefusedError)):
        return f"cannot write: {error}"
    cannot_run = CannotRunError, NothingToCompareError, RunEndedError, SamplesError
    if isinstance(error, (*cannot_run, ModelTooLargeError)):
        return f"cannot measure: {error}"
    if isinstance(error, RewriteError):
        return f"cannot requantize: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"this is a fault of the playground: {type(error).__name__}: {error} "
        f"({Path(place.filename).name}:{place.lineno})"
    )


def fail(reason: str) -> NoReturn:
    from playground.utils import exports

    click.echo(exports.escape_unprintable(reason), err=True)
    sys.exit(UNREADABLE)
