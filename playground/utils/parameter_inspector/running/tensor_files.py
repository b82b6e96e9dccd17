"""Arrays out of files of one ``TensorProto`` each; what they say is counted before it is parsed.

Source: the field numbers of onnx.proto3, and protobuf's wire format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from .sample_files import Reading, unreadable
from .sample_problems import SamplesError

# A tensor has a dozen fields. What repeats them, a piece at a time, takes many times its size.
MAX_FIELDS = 10_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DIMS, _FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA = 1, 4, 9, 10
_MAX_DIMS_BYTES = 64 * 10
# Parsed numbers take so much: an int32 of one byte in the file measured 14.
_PARSED_FACTOR = 16


def read_pb(path: Path, name: str, reading: Reading) -> np.ndarray:
    """Return the array of a file, as that of an input."""
    reading.take(path.stat().st_size, path.name, "")
    try:
        content = path.read_bytes()
        reading.take(_count_parsed(content), path.name, name)
        array = _parse(content, path.name, name, reading)
    except SamplesError:
        raise
    except Exception as error:  # onnx and protobuf raise whatever a malformed tensor leads to
        raise unreadable(path.name, error) from error
    reading.rows[name] = reading.rows.get(name, 0) + (len(array) if array.ndim else 1)
    return array


def _parse(content: bytes, source: str, name: str, reading: Reading) -> np.ndarray:
    proto = onnx.TensorProto.FromString(content)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError("its numbers lie in another file")
    if any(d < 0 for d in proto.dims):
        raise ValueError("it has an impossible shape")
    # Complex numbers take 16 bytes.
    reading.take(math.prod(proto.dims) * 16, source, name)
    return onnx.numpy_helper.to_array(proto)


def _count_parsed(content: bytes) -> int:
    """Return how many bytes the fields take once they are parsed.

    Raises:
        ValueError: there are too many of them, or they are no fields.
    """
    total = 0
    for count, (number, length) in enumerate(_list_fields(content)):
        if count >= MAX_FIELDS:
            raise ValueError(f"it has more than {MAX_FIELDS:,} fields")
        if number == _DIMS and length > _MAX_DIMS_BYTES:
            raise ValueError("it has an impossible shape")
        as_it_lies = number in (_FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA)
        total += length if as_it_lies else length * _PARSED_FACTOR
    return total


def _list_fields(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the number of each field, and how many bytes its value takes."""
    position = 0
    while position < len(content):
        tag, position = _read_varint(content, position)
        kind = tag & 7
        if kind == _VARINT:
            length = _read_varint(content, position)[1] - position
        elif kind == _BYTES:
            length, position = _read_varint(content, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("it is not a tensor")
        position += length
        yield tag >> 3, length


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(content[position : position + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("it is cut off")
