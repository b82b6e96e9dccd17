"""The one way a file is written: whole or not at all, and never over what was read."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Samples may be folders of test sets, each a folder of files.
_PATTERNS = ("*", "*/*")
_STANDARD_STREAMS = (1, 2)


class OutputRefusedError(ValueError):
    """A file is not to be written: it was read, or it is another output."""


def refuse_outputs(outputs: Sequence[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse to write what is read, and two outputs to one file.

    Args:
        inputs: files, and folders whose files are meant; missing ones count for nothing. A link to
            one of them, of either kind, is that file.

    Raises:
        OutputRefusedError: the message is one sentence.
        OSError: the folder of an output is missing.
    """
    read = set(_identify_all(inputs))
    seen: set[object] = set()
    for output in outputs:
        if _is_stream(output):
            continue
        identity = _identify(output)
        if identity in read:
            raise OutputRefusedError(f"{output} is one of the files that are read")
        if seen & (both := {identity, output.resolve()} - {None}):
            raise OutputRefusedError(f"{output} is given for two outputs")
        seen |= both
        if not output.resolve().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output))


def write_whole(path: Path, content: bytes, inputs: Iterable[Path] = ()) -> None:
    """Write a file: whoever opens it finds the old one or the new one, whole, whatever happens.

    It keeps the permissions of the old one. A link stays, and what it leads to is replaced; a pipe,
    a device and what stdout already goes to take the bytes as they come.

    Args:
        inputs: as `refuse_outputs` takes them.

    Raises:
        OutputRefusedError, OSError: nothing was written.
    """
    refuse_outputs([path], inputs)
    if _is_stream(path):
        path.write_bytes(content)
        return
    target = path.resolve()
    # Beside the target: only within a file system does one file take another's place at once.
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _write_beside(beside, content, target)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    _sync(target.parent)


def _write_beside(beside: Path, content: bytes, target: Path) -> None:
    with beside.open("xb") as file:
        if target.exists():
            _take_over_permissions(target, beside)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _take_over_permissions(old: Path, new: Path) -> None:
    """Give a new file the owner and the mode of the old one.

    Raises:
        PermissionError: the old one is not ours to write.
    """
    if not os.access(old, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(old))
    there, made = old.stat(), new.stat()
    if (there.st_uid, there.st_gid) != (made.st_uid, made.st_gid) and hasattr(os, "chown"):
        # Another's file in a folder of ours: only the superuser gives files away.
        with contextlib.suppress(PermissionError):
            os.chown(new, there.st_uid, there.st_gid)
    new.chmod(stat.S_IMODE(there.st_mode))


def _sync(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_stream(path: Path) -> bool:
    """Whether a path is no file that another could take the place of."""
    try:
        there = path.stat()
    except OSError:  # what is wrong with it is said where it is written
        return False
    if not stat.S_ISREG(there.st_mode):
        return not stat.S_ISDIR(there.st_mode)
    return any(_is_open_as(one, there) for one in _STANDARD_STREAMS)


def _is_open_as(descriptor: int, there: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), there)
    except OSError:  # closed
        return False


def _identify_all(paths: Iterable[Path]) -> Iterator[tuple[int, int]]:
    for path in paths:
        files = [one for pattern in _PATTERNS for one in path.glob(pattern)]
        yield from (one for one in map(_identify, [path, *files]) if one is not None)


def _identify(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to, the same for all links to it; None where there is none."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino
