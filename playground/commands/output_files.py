"""What a command writes: refused before the work begins where it would destroy what is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playground.utils.parameter_inspector import (
    Model,
    OutputRefusedError,
    list_files,
    refuse_outputs,
    write_whole,
)

from .failing import CannotWriteError


def list_read(models: Iterable[Model], *others: Path | None) -> tuple[Path, ...]:
    """Return the files of models, external data too, and what else is read, such as samples."""
    files = [path for model in models for path in list_files(model)]
    return *files, *(path for path in others if path is not None)


def refuse_to_write(outputs: Sequence[Path | None], read: Iterable[Path]) -> None:
    """Raise where an output is a file that is read, or another output, or has no folder."""
    given = [path for path in outputs if path is not None]
    with writing(given[0] if given else Path()):
        refuse_outputs(given, read)


def write(path: Path, text: str, read: Iterable[Path]) -> None:
    with writing(path):
        write_whole(path, text.encode("utf-8"), read)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever keeps a file from being written into `CannotWriteError`."""
    try:
        yield
    except OutputRefusedError as error:
        raise CannotWriteError(f"{error}: give another name") from error
    except OSError as error:
        raise CannotWriteError(f"{error.filename or path}: {error.strerror or error}") from error
