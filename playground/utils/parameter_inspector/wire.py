"""A model file without its large payloads, so that opening 2 GB costs what its graph costs.

ONNX is a protobuf. Each large `raw_data` is left where it is and described as external data that
lies in the model file itself; the rest is small and is parsed as usual.

Source: the field numbers of onnx.proto3, and protobuf's wire format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

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
    "ModelProto": {7: "GraphProto", 25: "FunctionProto"},
    "FunctionProto": {7: "NodeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto"},
    "TensorProto": {9: _RAW_DATA},
}
_EXTERNAL_FIELDS = (13, 14)


def read_without_payloads(path: Path) -> onnx.ModelProto:
    """Parse a model file, its large payloads left in place as external data at `IN_THIS_FILE`.

    Raises:
        DecodeError: the file is not a protobuf, or was cut off.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        pieces = _Rewriter(file.fileno(), size).rewrite("ModelProto", 0, size, 0)
    proto = onnx.ModelProto()
    proto.ParseFromString(b"".join(pieces))
    return proto


class _Rewriter:
    """Reads a file through a small window and copies all but the payloads."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size
        self._window, self._start = b"", 0

    def rewrite(self, message: str, start: int, end: int, depth: int) -> list[bytes]:
        """Return the bytes of a message without its payloads, in pieces."""
        fields = _FIELDS[message]
        pieces: list[bytes] = []
        copied = start
        for number, field_start, value_start, field_end in self._walk(start, end):
            inner = fields.get(number)
            if inner is None or field_end - value_start < MIN_PAYLOAD_BYTES:
                continue
            if inner == _RAW_DATA:
                if self._is_external(start, end):
                    break
                replacement = _describe(value_start, field_end - value_start)
            elif depth < _MAX_DEPTH:
                body = self.rewrite(inner, value_start, field_end, depth + 1)
                length = sum(len(piece) for piece in body)
                replacement = [_varint(number << 3 | _BYTES), _varint(length), *body]
            else:
                continue
            pieces += [self._read(copied, field_start), *replacement]
            copied = field_end
        return [*pieces, self._read(copied, end)]

    def _is_external(self, start: int, end: int) -> bool:
        """Whether a tensor names a place of its own already; then it is left alone."""
        return any(number in _EXTERNAL_FIELDS for number, *_ in self._walk(start, end))

    def _walk(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, start, start of the value and end of each field with a length."""
        position = start
        while position < end:
            field_start = position
            tag, position = self._read_varint(position, end)
            kind = tag & 7
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
        pieces = []
        while start < end:
            piece = os.pread(self._descriptor, end - start, start)
            if not piece:
                raise DecodeError("the file became shorter while it was read")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


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
