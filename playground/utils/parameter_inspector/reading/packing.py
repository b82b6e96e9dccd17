"""Codes out of bytes: rows of few-bit codes, low bits first, each row beginning on a byte.

Source: onnxruntime, MatMulNBits and its relatives: code ``j`` of a row is the bits ``j * bits`` to
``(j + 1) * bits - 1`` of the row's bytes, counted from the lowest bit of the first byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..quantization import numpy_dtype

BITS = range(2, 9)


def packed_bytes(count: int, bits: int) -> int:
    """Return how many bytes hold ``count`` codes."""
    return -(-count * bits // 8)


def holding_type(bits: int) -> str:
    """Return the narrowest unsigned type of ONNX that holds the codes: uint3 lives in uint4."""
    return next(f"uint{wide}" for wide in (2, 4, 8) if bits <= wide)


@dataclass(frozen=True)
class PackedRows:
    """How the codes of a tensor lie in the bytes of a blob; called with the blob, it unpacks it.

    Attributes:
        shape: of the codes; each row of the last axis begins on a byte.
        row_bytes: of a row, what pads it at its end among them.
        data_type: what the bits of a code are, where they are no unsigned integer.
    """

    shape: tuple[int, ...]
    bits: int
    row_bytes: int
    data_type: str = ""

    def __call__(self, blob: np.ndarray) -> np.ndarray:
        """Return the codes of a whole blob, of ``shape``."""
        return self.unpack(blob, self.shape[:-1])

    def unpack(self, blob: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Return the codes of some whole rows, of shape ``(*rows, shape[-1])``."""
        packed = np.ascontiguousarray(blob).view(np.uint8).reshape(*rows, self.row_bytes)
        codes = _unpack(packed, self.bits)[..., : self.shape[-1]]
        return codes.view(numpy_dtype(self.data_type)) if self.data_type else codes


def _unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """Return at least the codes that the bytes of the last axis hold, one byte each."""
    if bits == 8:
        return packed
    if 8 % bits:
        return _unpack_across_bytes(packed, bits)
    codes = _codes_of_byte(bits)[packed].view(np.uint8)
    return codes.reshape(*packed.shape[:-1], packed.shape[-1] * (8 // bits))


@cache
def _codes_of_byte(bits: int) -> np.ndarray:
    """Return, for each of the 256 bytes, its codes as the bytes of one number, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    table = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8(2**bits - 1)
    return np.ascontiguousarray(table).view(f"<u{8 // bits}").reshape(256)


def _unpack_across_bytes(packed: np.ndarray, bits: int) -> np.ndarray:
    """Return codes that may end in another byte than they begin in: 8 of them fill ``bits``."""
    rows, length = packed.shape[:-1], packed.shape[-1]
    groups = -(-length // bits)
    padded = np.zeros((*rows, groups * bits), np.uint8)
    padded[..., :length] = packed
    numbers = np.zeros((*rows, groups, 8), np.uint8)
    numbers[..., :bits] = padded.reshape(*rows, groups, bits)
    words = numbers.view("<u8")[..., 0]
    codes = np.empty((*rows, groups, 8), np.uint8)
    for place in range(8):
        codes[..., place] = (words >> np.uint64(place * bits)) & np.uint64(2**bits - 1)
    return codes.reshape(*rows, groups * 8)
