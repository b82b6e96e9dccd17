"""Q and DQ of one tensor that differ: it is written with one scale and read with another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..reading.dataflow import Dataflow, Operation, Quantizer, Tensor
from .known_ranges import MOVING

# Half a code of 256 is 2e-3; float16 rounds a scale by 5e-4.
SCALE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class MismatchedQuantizers:
    """One tensor between the operator that quantizes it and the one that reads its codes.

    Attributes:
        layer_name, op_type: the layer that reads the codes wrongly.
        writer_name: the layer whose output was quantized.
        ratio: the scale read with / the scale written with, where it is furthest from 1.
        zero_points: written and read, where they differ most.
        data_types: of the codes, written and read.
    """

    layer_name: str
    op_type: str
    writer_name: str
    tensor: str
    ratio: float
    zero_points: tuple[float, float]
    data_types: tuple[str, str]


def find_mismatched_quantizers(flow: Dataflow) -> Iterator[MismatchedQuantizers]:
    """Yield each place where codes are read by another quantization than they were written by."""
    written: dict[Tensor, tuple[tuple[Quantizer, Operation], ...]] = {}
    for operation in flow.operations:
        for given in operation.given:
            if given.quantizer is None or given.tensor.constant is not None:
                continue
            for quantizer, writer in written.get(given.tensor, ()):
                if not _are_one(quantizer, given.quantizer):
                    yield _fact(flow, operation, writer, given.tensor, quantizer, given.quantizer)
                    break
        found = _written_by(operation, written)
        if found:
            written.update(dict.fromkeys(operation.outputs, found))


def _written_by(
    operation: Operation, written: dict[Tensor, tuple[tuple[Quantizer, Operation], ...]]
) -> tuple[tuple[Quantizer, Operation], ...]:
    """Return by which quantizations the codes in an operator's output were written."""
    if operation.quantizer is not None:
        return ((operation.quantizer, operation),)
    carried = operation.given[:1] if operation.op_type in MOVING else ()
    if operation.op_type == "Concat":
        carried = operation.given
    found: dict[tuple[bytes, bytes], tuple[Quantizer, Operation]] = {}
    for given in carried:
        for quantizer, writer in written.get(given.tensor, ()):
            key = quantizer.scale.tobytes(), quantizer.zero_point.tobytes()
            found.setdefault(key, (quantizer, writer))
    return tuple(found.values())


def _are_one(one: Quantizer, other: Quantizer) -> bool:
    if one.data_type != other.data_type:
        return False
    if one.scale.size != other.scale.size and 1 not in (one.scale.size, other.scale.size):
        return False
    scales = np.abs(other.scale / one.scale - 1).max() <= SCALE_TOLERANCE
    return bool(scales and (one.zero_point - other.zero_point == 0).all())


def _fact(
    flow: Dataflow,
    reader: Operation,
    writer: Operation,
    tensor: Tensor,
    one: Quantizer,
    other: Quantizer,
) -> MismatchedQuantizers:
    layer, before = _reading_layer(flow, reader), _writing_layer(flow, writer)
    same_length = one.scale.size == other.scale.size or 1 in (one.scale.size, other.scale.size)
    ratios = other.scale / one.scale if same_length else np.array([np.nan])
    return MismatchedQuantizers(
        flow.layer_name(layer),
        layer.op_type,
        flow.layer_name(before) if before is not None else "",
        tensor.name,
        float(ratios[np.abs(ratios - 1).argmax()]),
        (float(one.zero_point[0]), float(other.zero_point[0])),
        (one.data_type, other.data_type),
    )


def _reading_layer(flow: Dataflow, reader: Operation) -> Operation:
    if reader.op_type != "DequantizeLinear" or not reader.outputs:
        return reader
    return next(iter(flow.readers.get(reader.outputs[0], ())), reader)


def _writing_layer(flow: Dataflow, writer: Operation) -> Operation | None:
    if writer.op_type != "QuantizeLinear" or not writer.given:
        return writer
    return flow.producer.get(writer.given[0].tensor)
