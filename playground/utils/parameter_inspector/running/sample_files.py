"""Arrays out of files that strangers wrote: sizes from the headers first, nothing executed."""

from __future__ import annotations

import ast
import io
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from .endings import describe_library_error
from .sample_problems import SampleProblem, SampleProblemKind, SamplesError

Kind = SampleProblemKind
# numpy itself refuses longer ones.
_MAX_HEADER_BYTES = 10_000
MAX_FILES = 10_000
_STEP = 1 << 20
# The list of a zip's contents, some 100 bytes for each array, is all that is read in one piece.
_MAX_PIECE_BYTES = 16 << 20
# The two that numpy writes. Of the others, zipfile unpacks without end what a few bytes stand for.
_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_DIMENSION = 1 << 48
# One number of a plain type: no alias, no unit, no record, no array in an array.
_PLAIN_TYPE = re.compile(r"[<>=|]?[biufcSUVO?][0-9]{0,9}")
# What damaged files lead zipfile and its decompressors to.
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(eq=False)
class Reading:
    """What may be read of files, and what was found there.

    Attributes:
        most_bytes: of all arrays together; ``left`` of them are not taken yet.
        most_rows: of each array by name, the first ones; None for all.
        becomes: the type of each array by name that it is given to the model in.
        rows: how many each array has in its file.
    """

    most_bytes: int
    most_rows: Mapping[str, int | None] = field(default_factory=dict)
    becomes: Mapping[str, np.dtype] = field(default_factory=dict)
    left: int = field(init=False)
    rows: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = self.most_bytes

    def take(self, size: int, source: str, array: str) -> None:
        """Count bytes before they are allocated.

        Raises:
            SamplesError: TOO_LARGE.
        """
        if size > self.left:
            kind = Kind.TOO_LARGE
            raise SamplesError(
                SampleProblem(kind, source, array, count=size, other_count=self.most_bytes)
            )
        self.left -= size

    def take_array(self, count: int, dtype: np.dtype, source: str, name: str) -> None:
        """Count an array, and what it becomes in another type."""
        target = self.becomes.get(name, dtype)
        self.take(
            count * (dtype.itemsize + (target.itemsize if target != dtype else 0)), source, name
        )

    def cut(self, name: str, header: Header) -> tuple[int, ...]:
        """Return the shape of the first rows that are wanted, and note how many there are."""
        shape, most = header.shape, self.most_rows.get(name)
        if not shape:
            return shape
        self.rows[name] = self.rows.get(name, 0) + shape[0]
        # Where columns come first, the first rows lie all over the file.
        return shape if most is None or header.fortran else (min(shape[0], most), *shape[1:])


@dataclass(frozen=True, eq=False)
class Header:
    """What an ``.npy`` file says of its array; ``rest`` are bytes of it that were read already."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    rest: bytes


def check_file(path: Path, folder: Path | None = None) -> Path:
    """Return the path of a regular file, in the folder if one is given.

    Raises:
        SamplesError: it is missing, something else, or a link out of the folder.
    """
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:
        raise SamplesError(SampleProblem(Kind.MISSING, path.name)) from error
    if folder is not None:
        check_inside(target, folder)
    if not stat.S_ISREG(mode):
        raise SamplesError(SampleProblem(Kind.NOT_A_FILE, path.name))
    return target


def check_inside(path: Path, folder: Path) -> None:
    """Raise ``SamplesError`` for a link out of the folder."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SamplesError(SampleProblem(Kind.OUTSIDE, path.name))


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, or not for us to see
        return False


def list_files(folder: Path) -> list[Path]:
    """Return what a folder holds, numbers in names in the order of numbers."""
    found = []
    try:
        for path in folder.iterdir():
            found.append(path)
            if len(found) > MAX_FILES:
                problem = SampleProblem(Kind.TOO_MANY_FILES, folder.name, other_count=MAX_FILES)
                raise SamplesError(problem)
    except OSError as error:
        raise unreadable(folder.name, error) from error
    return sorted(found, key=lambda path: _numbered(path.name))


def _numbered(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"([0-9]{1,18})", name)]


def read_npz(
    path: Path, names: Collection[str], reading: Reading
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the arrays of those names that are there, and the names of all arrays."""
    arrays = {}
    try:
        with _InPieces(path) as file, zipfile.ZipFile(file) as archive:
            there = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            for name in names:
                if name in there:
                    _check_packing(there[name])
                    with archive.open(there[name]) as stream:
                        arrays[name] = _read_array(stream, path.name, name, reading)
    except SamplesError:
        raise
    except _DAMAGE as error:
        raise unreadable(path.name, error) from error
    return arrays, tuple(there)


class _InPieces(io.FileIO):
    """A file of which no large piece is read at once, whatever its headers ask for."""

    def read(self, size: int | None = -1) -> bytes:
        """Raises ``ValueError`` for a large piece."""
        end = os.fstat(self.fileno()).st_size - self.tell()
        if (end if size is None or size < 0 else size) > _MAX_PIECE_BYTES:
            raise ValueError("its list of contents is too long")
        return super().read(size) or b""


def _check_packing(packed: zipfile.ZipInfo) -> None:
    if packed.compress_type not in _UNPACKED:
        raise ValueError("it is compressed in a way that numpy does not write")


def read_npy(path: Path, name: str, reading: Reading) -> np.ndarray:
    """Return the one array of a file, as that of an input."""
    try:
        with path.open("rb") as stream:
            return _read_array(stream, path.name, name, reading)
    except SamplesError:
        raise
    except _DAMAGE as error:
        raise unreadable(path.name, error) from error


def _read_array(stream: IO[bytes], source: str, name: str, reading: Reading) -> np.ndarray:
    header = _read_header(stream)
    if header.dtype.hasobject:
        raise SamplesError(SampleProblem(Kind.PICKLED, source, name))
    shape = reading.cut(name, header)
    count = math.prod(shape)
    reading.take_array(count, header.dtype, source, name)
    data = np.empty(count * header.dtype.itemsize, np.uint8)
    _fill(data, header.rest, stream)
    if shape == header.shape:
        stream.read(1)  # at its end a zip compares the checksum
    return data.view(header.dtype).reshape(shape, order="F" if header.fortran else "C")


def _read_header(stream: IO[bytes]) -> Header:
    """Return the header, of which no more is read than it may be long. Source: numpy's NEP 1."""
    start = _read_up_to(stream, _MAX_HEADER_BYTES)
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise ValueError("it is not an .npy array")
    begin = 10 if start[6] == 1 else 12
    end = begin + int.from_bytes(start[8:begin], "little")
    if end > len(start):
        raise ValueError("the header of its array is too long or cut off")
    return _parse_header(
        start[begin:end].decode("utf-8" if start[6] == 3 else "latin1"), start[end:]
    )


def _parse_header(text: str, rest: bytes) -> Header:
    if "\\" in text:  # numpy writes none, and the parser would warn of some
        raise ValueError("the header of its array is damaged")
    try:
        said = ast.literal_eval(text.strip())
        descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("the header of its array is damaged") from error
    if not (isinstance(shape, tuple) and all(map(_is_dimension, shape))):
        raise ValueError("the shape of its array is damaged")
    if not (isinstance(descr, str) and _PLAIN_TYPE.fullmatch(descr) and isinstance(fortran, bool)):
        raise ValueError("it holds no plain array of numbers")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise ValueError("its data type is unknown") from error
    if len(shape) > 32 or dtype.itemsize == 0:
        raise ValueError("it holds no plain array of numbers")
    return Header(dtype, shape, fortran, rest)


def _is_dimension(said: object) -> bool:
    return type(said) is int and 0 <= said < _MAX_DIMENSION


def _read_up_to(stream: IO[bytes], size: int) -> bytes:
    return b"".join(_pieces(stream, size))


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size and (piece := stream.read(min(size, _STEP))):
        size -= len(piece)
        yield piece


def _fill(data: np.ndarray, start: bytes, stream: IO[bytes]) -> None:
    start = start[: len(data)]
    data[: len(start)] = np.frombuffer(start, np.uint8)
    filled = len(start)
    for piece in _pieces(stream, len(data) - filled):
        data[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    if filled < len(data):
        raise ValueError(f"it ends after {filled:,} of {len(data):,} bytes of its array")


def unreadable(source: str, error: Exception) -> SamplesError:
    detail = describe_library_error(error) or type(error).__name__
    return SamplesError(SampleProblem(Kind.UNREADABLE, source, detail=detail))
