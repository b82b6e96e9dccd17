"""Arrays out of files that strangers wrote: sizes from the headers first, nothing executed."""

from __future__ import annotations

import ast
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import onnx

from .endings import clean_message
from .sample_problems import SampleProblem, SampleProblemKind, SamplesError

Kind = SampleProblemKind
# numpy itself refuses longer ones.
_MAX_HEADER_BYTES = 10_000
MAX_FILES = 10_000
# What a zip says of its contents: some 100 bytes for each array.
_MAX_CONTENTS_BYTES = 16 << 20
_ZIP_END, _ZIP_END_BYTES, _ZIP_COMMENT_BYTES = b"PK\x05\x06", 22, 1 << 16
_STEP = 1 << 20
# What damaged files lead zipfile and its decompressors to.
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(eq=False)
class Reading:
    """What may be read of files, and what was found there.

    Attributes:
        most_bytes: of all arrays together; ``left`` of them are not taken yet.
        most_rows: of each array by name, the first ones; None for all.
        rows: how many each array has in its file.
    """

    most_bytes: int
    most_rows: Mapping[str, int | None] = field(default_factory=dict)
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
    if folder is not None and not target.is_relative_to(folder.resolve()):
        raise SamplesError(SampleProblem(Kind.OUTSIDE, path.name))
    if not stat.S_ISREG(mode):
        raise SamplesError(SampleProblem(Kind.NOT_A_FILE, path.name))
    return target


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
        raise _unreadable(folder.name, "", error) from error
    return sorted(found, key=lambda path: _numbered(path.name))


def _numbered(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"([0-9]{1,18})", name)]


def read_npz(
    path: Path, names: Collection[str], reading: Reading
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the arrays of those names that are there, and the names of all arrays."""
    arrays = {}
    try:
        _check_contents(path)
        with zipfile.ZipFile(path) as archive:
            there = {one.removesuffix(".npy"): one for one in archive.namelist()}
            for name in names:
                if name in there:
                    with archive.open(there[name]) as stream:
                        arrays[name] = _read_array(stream, path.name, name, reading)
    except SamplesError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path.name, "", error) from error
    return arrays, tuple(there)


def _check_contents(path: Path) -> None:
    """Refuse a list of contents that zipfile would take whole into memory. Source: APPNOTE 4.3.16.

    Raises:
        ValueError: it is too long.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _ZIP_END_BYTES - _ZIP_COMMENT_BYTES, 0))
        tail = file.read()
    # zipfile looks at the very end, and else for the last such mark.
    for start in (len(tail) - _ZIP_END_BYTES, tail.rfind(_ZIP_END)):
        record = tail[start : start + _ZIP_END_BYTES] if start >= 0 else b""
        length = int.from_bytes(record[12:16], "little")
        if record.startswith(_ZIP_END) and length > _MAX_CONTENTS_BYTES:
            raise ValueError("its list of contents is too long")


def read_npy(path: Path, name: str, reading: Reading) -> np.ndarray:
    """Return the one array of a file, as that of an input."""
    try:
        with path.open("rb") as stream:
            return _read_array(stream, path.name, name, reading)
    except SamplesError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path.name, "", error) from error


def read_pb(path: Path, name: str, reading: Reading) -> np.ndarray:
    """Return the array of a file that holds one ``TensorProto``, as that of an input."""
    reading.take(path.stat().st_size, path.name, "")
    proto = onnx.TensorProto()
    try:
        proto.ParseFromString(path.read_bytes())
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError("its numbers lie in another file")
        if any(d < 0 for d in proto.dims):
            raise ValueError("it has an impossible shape")
        reading.take(math.prod(proto.dims) * 8, path.name, name)
        array = onnx.numpy_helper.to_array(proto)
    except SamplesError:
        raise
    except Exception as error:  # onnx and protobuf raise whatever a malformed tensor leads to
        raise _unreadable(path.name, "", error) from error
    reading.rows[name] = reading.rows.get(name, 0) + (len(array) if array.ndim else 1)
    return array


def _read_array(stream: IO[bytes], source: str, name: str, reading: Reading) -> np.ndarray:
    header = _read_header(stream)
    if header.dtype.hasobject:
        raise SamplesError(SampleProblem(Kind.PICKLED, source, name))
    shape = reading.cut(name, header)
    size = math.prod(shape) * header.dtype.itemsize
    reading.take(size, source, name)
    data = np.empty(size, np.uint8)
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
    try:
        said = ast.literal_eval(text.strip())
        descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("the header of its array is damaged") from error
    if not (isinstance(shape, tuple) and all(type(d) is int and d >= 0 for d in shape)):
        raise ValueError("the shape of its array is damaged")
    if not (isinstance(descr, str) and len(descr) < 20 and isinstance(fortran, bool)):
        raise ValueError("it holds no plain array of numbers")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise ValueError("its data type is unknown") from error
    if len(shape) > 32 or dtype.itemsize == 0:
        raise ValueError("it holds no plain array of numbers")
    return Header(dtype, shape, fortran, rest)


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


def _unreadable(source: str, array: str, error: Exception) -> SamplesError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    detail = clean_message(reason or type(error).__name__).rstrip(".")
    return SamplesError(SampleProblem(Kind.UNREADABLE, source, array, detail=detail[:200]))
