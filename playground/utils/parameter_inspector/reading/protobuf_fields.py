"""A model file without its large payloads, so that opening 2 GB costs what its graph costs.

ONNX is a protobuf. Each large `raw_data` is left where it is and described as external data that
lies in the model file itself; the rest is small and is parsed as usual.

Source: the field numbers of onnx.proto3, and protobuf's wire format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..budgets import spend

# A payload at least this large stays in the file.
MIN_PAYLOAD_BYTES = 1024

# The location that says "in the model file itself"; no file can have this name.
IN_THIS_FILE = "\0"

_WINDOW_BYTES = 1 << 14
_MAX_DEPTH = 100

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field number -> the message in it. RAW_DATA is a payload, not a message.
_RAW_DATA = "raw_data"
_FIELDS = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto", 12: "ValueInfoProto"},
    "GraphProto": {
        1: "NodeProto",
        5: "TensorProto",
        11: "ValueInfoProto",
        12: "ValueInfoProto",
        13: "ValueInfoProto",
    },
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        14: "TypeProto",
        15: "TypeProto",
    },
    "TensorProto": {9: _RAW_DATA},
    "ValueInfoProto": {2: "TypeProto"},
    "TypeProto": {1: "Tensor", 4: "Sequence", 5: "Map", 8: "Tensor", 9: "Optional"},
    "Sequence": {1: "TypeProto"},
    "Optional": {1: "TypeProto"},
    "Map": {2: "TypeProto"},
    "Tensor": {2: "TensorShapeProto"},
    "TensorShapeProto": {1: "Dimension"},
    "Dimension": {},
}

# What a graph may take once it is opened, its weights aside: some 33,000 nodes of a usual kind.
MAX_GRAPH_BYTES = 190_000_000

# What one message takes once it is opened, in bytes, without what is in it. Measured by opening a
# hundred thousand of each with onnx 1.23 and onnx_ir 1.1. A function costs time, not memory.
_MESSAGE_BYTES = {
    "NodeProto": 1000,
    "AttributeProto": 500,
    "TensorProto": 1700,
    "ValueInfoProto": 400,
    "GraphProto": 1000,
    "Dimension": 260,
    "FunctionProto": 30_000,
}
# The same for a field that may be repeated and holds no message: names of values, strings, pairs.
_FIELD_BYTES = {
    ("NodeProto", 1): 640,
    ("NodeProto", 2): 640,
    ("NodeProto", 9): 80,
    ("FunctionProto", 4): 640,
    ("FunctionProto", 5): 640,
    ("AttributeProto", 9): 80,
    ("TensorProto", 6): 80,
    ("TensorProto", 13): 80,
    ("TensorProto", 14): 100,
    ("TensorProto", 16): 80,
    ("GraphProto", 14): 80,
    ("GraphProto", 15): 2000,
    ("GraphProto", 16): 80,
    ("ModelProto", 8): 200,
    ("ModelProto", 14): 80,
}
# Packed numbers: so many bytes for each in the file, where an integer may be a single one.
# Measured: protobuf grows its arrays by doubling.
_PACKED_FACTORS = {
    ("TensorProto", 1): 36,
    ("TensorProto", 5): 12,
    ("TensorProto", 7): 24,
    ("TensorProto", 11): 24,
    ("AttributeProto", 7): 12,
    ("AttributeProto", 8): 28,
}
_EXTERNAL_FIELDS = (13, 14)

# Numbers that are not packed: so many bytes for each in the file, tag and all.
_RUN_FACTORS = {"TensorProto": 18, "AttributeProto": 14}
_RUN = 0
# Fields that were passed over are told as one step of so many.
_FIELDS_A_STEP = 64


def _run_pattern(left_out: int = 0) -> re.Pattern[bytes]:
    """Return what matches fields that hold a number each, all but one field with a tag of a byte.

    A file may hold millions of two bytes: these are passed over at once.
    """

    def tags(kind: int) -> bytes:
        short = bytes(t for t in range(8, 128) if t & 7 == kind and t >> 3 != left_out)
        long = bytes(t for t in range(128, 256) if t & 7 == kind)
        return b"(?:[%b]|[%b][\x80-\xff]{0,3}[\x01-\x7f])" % (re.escape(short), re.escape(long))

    varint = tags(_VARINT) + rb"[\x80-\xff]{0,9}[\x00-\x7f]"
    return re.compile(
        b"(?:%b|%b.{4}|%b.{8})++" % (varint, tags(_FIXED32), tags(_FIXED64)), re.DOTALL
    )


# Where a tensor says that its bytes lie elsewhere is not passed over.
_NUMBERS = {"TensorProto": _run_pattern(left_out=14)}
_ANY_NUMBERS = _run_pattern()


class GraphTooLargeError(ValueError):
    """The graph would take more than `MAX_GRAPH_BYTES`."""


def read_without_payloads(path: Path) -> onnx.ModelProto:
    """Parse a model file, its large payloads left in place as external data at `IN_THIS_FILE`.

    Raises:
        DecodeError: the file is not a protobuf, or was cut off.
        GraphTooLargeError: nothing was parsed.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        pieces = _Rewriter(file.fileno(), size).rewrite("ModelProto", 0, size, 0)
    content = b"".join(pieces)
    del pieces  # or what float_data holds would be in memory three times
    proto = onnx.ModelProto()
    proto.ParseFromString(content)
    return proto


class _Rewriter:
    """Reads a file through a small window and copies all but the payloads."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size
        self._window, self._start = b"", 0
        self._graph_bytes = 0

    def rewrite(self, message: str, start: int, end: int, depth: int) -> list[bytes]:
        """Return the bytes of a message without its payloads, in pieces."""
        fields = _FIELDS[message]
        payload = self._find_payload(start, end) if message == "TensorProto" else None
        pieces: list[bytes] = []
        copied = start
        for number, field_start, value_start, field_end in self._walk(message, start, end):
            inner = fields.get(number)
            length = field_end - value_start
            is_small = length < MIN_PAYLOAD_BYTES
            self._add(_opened_bytes(message, number, length))
            if inner in _FIELDS and is_small and length:
                self._add(_inner_bytes(self._read(value_start, field_end), inner, depth + 1))
            if inner == _RAW_DATA and payload not in (None, field_start):
                replacement = []  # the last one counts
            elif inner is None or is_small:
                continue
            elif inner == _RAW_DATA:
                if payload is None:
                    break
                replacement = _describe(value_start, length)
            elif depth < _MAX_DEPTH:
                body = self.rewrite(inner, value_start, field_end, depth + 1)
                total = sum(len(piece) for piece in body)
                replacement = [_varint(number << 3 | _BYTES), _varint(total), *body]
            else:
                continue
            pieces += [self._read(copied, field_start), *replacement]
            copied = field_end
        return [*pieces, self._read(copied, end)]

    def _add(self, graph_bytes: int) -> None:
        self._graph_bytes += graph_bytes
        if self._graph_bytes > MAX_GRAPH_BYTES:
            raise GraphTooLargeError

    def _find_payload(self, start: int, end: int) -> int | None:
        """Return where the last raw_data of a tensor begins.

        None where there is none, or the tensor names a place of its own: then it is left alone.
        """
        last = None
        for number, field_start, *_ in self._walk("TensorProto", start, end):
            if number in _EXTERNAL_FIELDS:
                return None
            if _FIELDS["TensorProto"].get(number) == _RAW_DATA:
                last = field_start
        return last

    def _walk(self, message: str, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, start, start of the value and end of each field; `_RUN` for several."""
        numbers = _NUMBERS.get(message, _ANY_NUMBERS)
        position, count, in_run = start, 0, False
        while position < end:
            count += 1
            if count % _FIELDS_A_STEP == 0:
                spend(_FIELDS_A_STEP)
            field_start = position
            if in_run and (run_end := self._pass_over(numbers, position, end)) > position:
                position = run_end
                in_run = False
                yield _RUN, field_start, field_start, position
                continue
            tag, position = self._read_varint(position, end)
            kind = tag & 7
            in_run = kind != _BYTES
            if kind == _BYTES:
                length, position = self._read_varint(position, end)
                value_start, position = position, position + length
            elif kind == _VARINT:
                value_start, position = position, self._read_varint(position, end)[1]
            elif kind in (_FIXED64, _FIXED32):
                value_start, position = position, position + (8 if kind == _FIXED64 else 4)
            else:
                raise DecodeError(f"no protobuf field begins at byte {field_start}")
            if position > end:
                raise DecodeError(f"a field at byte {field_start} reaches beyond its message")
            yield tag >> 3, field_start, value_start, position

    def _pass_over(self, numbers: re.Pattern[bytes], position: int, end: int) -> int:
        """Return where the numbers that begin at a place end, as far as the window shows."""
        offset = position - self._start
        if not 0 <= offset < len(self._window):
            return position
        run = numbers.match(self._window, offset, min(len(self._window), end - self._start))
        return position if run is None else self._start + run.end()

    def _read_varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                break
            offset = position - self._start
            if not 0 <= offset < len(self._window):
                self._window = os.pread(self._descriptor, _WINDOW_BYTES, position)
                self._start, offset = position, 0
                if not self._window:
                    break
            byte = self._window[offset]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise DecodeError(f"a number at byte {position} is cut off")

    def _read(self, start: int, end: int) -> bytes:
        if self._start <= start and end <= self._start + len(self._window):
            return self._window[start - self._start : end - self._start]
        pieces = []
        while start < end:
            piece = os.pread(self._descriptor, end - start, start)
            if not piece:
                raise DecodeError("the file became shorter while it was read")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


def _opened_bytes(message: str, number: int, length: int) -> int:
    """Return what a field of a message takes once it is opened, without the messages in it."""
    if number == _RUN:
        return _RUN_FACTORS.get(message, 0) * length
    inner = _FIELDS[message].get(number)
    if inner is not None:
        return _MESSAGE_BYTES.get(inner, 0)
    field = message, number
    return _FIELD_BYTES.get(field, 0) + _PACKED_FACTORS.get(field, 0) * length


def _inner_bytes(content: bytes, message: str, depth: int) -> int:
    """Return what the fields of a small message take once they are opened.

    Written out for speed: every node passes here. What is malformed protobuf refuses later.
    """
    fields, position, end, total = _FIELDS[message], 0, len(content), 0
    try:
        while position < end:
            tag, position = _small_varint(content, position)
            kind = tag & 7
            if kind == _BYTES:
                length, position = _small_varint(content, position)
                total += _opened_bytes(message, tag >> 3, length)
                inner = fields.get(tag >> 3)
                if length and inner in _FIELDS and depth < _MAX_DEPTH:
                    body = content[position : position + length]
                    total += _inner_bytes(body, inner, depth + 1)
                position += length
            elif kind == _VARINT:
                position = _small_varint(content, position)[1]
            else:
                position += 8 if kind == _FIXED64 else 4
    except IndexError:
        pass  # cut off
    return total


def _small_varint(content: bytes, position: int) -> tuple[int, int]:
    byte = content[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        position += 1
        byte = content[position]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, position + 1


def _describe(offset: int, length: int) -> list[bytes]:
    """Return the fields that place a tensor's bytes in this file."""
    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (
        ("location", IN_THIS_FILE),
        ("offset", str(offset)),
        ("length", str(length)),
    ):
        tensor.external_data.add(key=key, value=value)
    return [tensor.SerializeToString()]


def _varint(number: int) -> bytes:
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
