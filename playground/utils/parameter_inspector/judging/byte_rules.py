"""The bytes that are there: float weights behind Q, constants nobody reads, files that grew."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ..measuring.comparison import Comparison
from ..measuring.metrics import MeasuredWeight
from ..quantization import numpy_dtype
from ..reading.file_bytes import find_float_behind, list_stored_tensors
from .channel_states import measured_layers, only_layer
from .findings import Finding

# What is left over of shapes and constants is no matter.
LEAST_UNREAD_BYTES = 1024
LEAST_UNREAD_SHARE = 0.01


class BytesKind(Enum):
    FLOAT_BEHIND_QUANTIZER = "float behind quantizer"
    UNREAD = "unread"
    LARGER_THAN_ORIGINAL = "larger than original"
    QUANTIZED_TWICE = "quantized twice"


@dataclass(frozen=True)
class BytesProblem:
    """Bytes that a file holds and need not.

    Attributes:
        names: layers, or constants where nobody reads them.
        stored_bytes: what the file holds.
        needed_bytes: what would do: the codes; the original's bytes for LARGER_THAN_ORIGINAL.
        constant: of the original, for QUANTIZED_TWICE.
        data_types: of its quantizations, in the order of ``names``.
    """

    kind: BytesKind
    names: tuple[str, ...]
    stored_bytes: int
    needed_bytes: int = 0
    constant: str = ""
    data_types: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        return "warning" if self.kind is BytesKind.LARGER_THAN_ORIGINAL else "note"

    @property
    def numbers(self) -> Mapping[str, float]:
        return {
            "stored_bytes": self.stored_bytes,
            "needed_bytes": self.needed_bytes,
            "places": len(self.names),
        }


def find_bytes(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Bytes that the file holds and need not."""
    for problem in find_wasted_bytes(comparison, variant):
        yield Finding(
            "wasted-bytes", problem.severity, variant, only_layer(_layers(problem)), problem
        )


def _layers(problem: BytesProblem) -> tuple[str, ...]:
    return () if problem.kind is BytesKind.UNREAD else problem.names


def find_wasted_bytes(comparison: Comparison, variant: str) -> Iterator[BytesProblem]:
    """Yield one fact for each cause."""
    behind = {
        name: behind
        for name, measured in measured_layers(comparison, variant)
        if (behind := _float_bytes(measured)) is not None
    }
    stored, needed = (sum(count) for count in zip((0, 0), *behind.values(), strict=True))
    if behind:
        yield BytesProblem(BytesKind.FLOAT_BEHIND_QUANTIZER, tuple(behind), stored, needed)
    held = count_stored_bytes(comparison, variant)
    tensors = list_stored_tensors(comparison.variants[variant])
    unread = {tensor.name: tensor.byte_count for tensor in tensors if not tensor.is_read}
    unread_bytes = sum(unread.values())
    if unread_bytes >= max(LEAST_UNREAD_BYTES, LEAST_UNREAD_SHARE * held):
        yield BytesProblem(BytesKind.UNREAD, tuple(unread), unread_bytes)
    # What those explain is not said again.
    yield from _larger(comparison, variant, held - unread_bytes - (stored - needed))
    yield from _quantized_twice(comparison, variant)


def count_stored_bytes(comparison: Comparison, variant: str) -> int:
    """Return what all constants of a variant take."""
    return sum(tensor.byte_count for tensor in list_stored_tensors(comparison.variants[variant]))


def _float_bytes(measured: MeasuredWeight) -> tuple[int, int] | None:
    """Return the bytes of the float tensor behind the codes, and of the codes; None without one."""
    quantization = measured.quantization
    source = measured.weight.source
    behind = find_float_behind(source) if quantization is not None else None
    if behind is None or quantization is None:
        return None
    return _count(behind.data_type, behind.shape), _count(quantization.data_type, source.shape)


def _count(data_type: str, shape: tuple[int, ...]) -> int:
    packed = data_type.startswith(("int4", "uint4", "float4")) and 4
    packed = packed or (data_type.startswith(("int2", "uint2")) and 2)
    bits = packed or 8 * numpy_dtype(data_type).itemsize
    return math.ceil(bits * math.prod(shape) / 8)


def _larger(comparison: Comparison, variant: str, held: int) -> Iterator[BytesProblem]:
    """Yield a quantized file whose constants take more than those of its original."""
    original = comparison.original
    if original is None or variant == original:
        return
    quantized = [n for n, m in measured_layers(comparison, variant) if m.weight.is_quantized]
    before = count_stored_bytes(comparison, original)
    if quantized and held > before:
        yield BytesProblem(BytesKind.LARGER_THAN_ORIGINAL, (), held, before)


def _quantized_twice(comparison: Comparison, variant: str) -> Iterator[BytesProblem]:
    """Yield the constants of the original that this file holds as several sets of codes."""
    original = comparison.original
    if original is None or variant == original:
        return
    users: dict[str, dict[str, MeasuredWeight]] = defaultdict(dict)
    for layer_name, by_variant in comparison.weights.items():
        if original in by_variant and variant in by_variant:
            users[by_variant[original].weight.name][layer_name] = by_variant[variant]
    for constant, by_layer in users.items():
        stored = _by_constant(by_layer)
        if constant and len(stored) > 1 and all(m.weight.is_quantized for m in by_layer.values()):
            sizes = {name: _count(m.weight.data_type, m.weight.source.shape)
                     for name, m in stored.items()}  # fmt: skip
            names, total = tuple(by_layer), sum(sizes.values())
            types = tuple(m.weight.data_type for m in by_layer.values())
            yield BytesProblem(
                BytesKind.QUANTIZED_TWICE, names, total, min(sizes.values()), constant, types
            )


def _by_constant(by_layer: Mapping[str, MeasuredWeight]) -> dict[str, MeasuredWeight]:
    return {measured.weight.name: measured for measured in by_layer.values()}
