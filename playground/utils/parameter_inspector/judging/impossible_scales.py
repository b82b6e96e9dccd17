"""A scale that no number needs: a mask of -3.4e38 that was calibrated as if it were data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..quantization import code_limits, numpy_dtype
from ..reading.dataflow import Dataflow, Given, Operation, Quantizer, Tensor, read_small

# No activation of a network that was trained is as large; a range of 1e6 steps of 1 is.
LARGEST_SCALE = 1e6
LARGEST_VALUE = 1e30


@dataclass(frozen=True, eq=False)
class ImpossibleScale:
    """One tensor whose scale is beyond use, or whose codes do not have a finite value.

    Attributes:
        layer_name, op_type: the layer that makes the tensor, or reads the constant.
        scale: the largest; low, high: what the codes can stand for.
        overflowing: codes of a constant that are read as infinite or NaN; None for an activation.
        end_overflows: whether the lowest or the highest code has no finite value.
        value_type: of the values.
    """

    layer_name: str
    op_type: str
    tensor: str
    data_type: str
    scale: float
    low: float
    high: float
    overflowing: int | None
    end_overflows: bool
    value_type: str

    @property
    def overflows(self) -> bool:
        """Whether values are lost: a constant's codes that occur, an activation's that can."""
        return self.end_overflows if self.overflowing is None else self.overflowing > 0


def find_impossible_scales(flow: Dataflow) -> Iterator[ImpossibleScale]:
    """Yield each quantized tensor whose scale no number needs, once."""
    seen: set[Tensor] = set()
    for operation in flow.operations:
        for given in operation.given:
            constant = given.tensor.constant is not None
            if constant and given.quantizer is not None and given.tensor not in seen:
                seen.add(given.tensor)
                yield from _judge(flow, operation, given.tensor, given.quantizer, given)
        if operation.quantizer is not None and operation.outputs:
            behind = operation.given[0].tensor if operation.given else operation.outputs[0]
            if operation.op_type != "QuantizeLinear" or behind.constant is None:
                tensor = operation.outputs[0]
                yield from _judge(flow, operation, tensor, operation.quantizer, None)


def _judge(
    flow: Dataflow, operation: Operation, tensor: Tensor, quantizer: Quantizer, held: Given | None
) -> Iterator[ImpossibleScale]:
    low, high = quantizer.limits
    too_large = quantizer.step > LARGEST_SCALE or high - low > LARGEST_VALUE
    end_overflows = _end_overflows(quantizer)
    overflowing = _count_overflows(held) if held is not None and end_overflows else None
    if held is not None:
        overflowing = overflowing or 0
    if not too_large and not (end_overflows if held is None else overflowing):
        return
    layer = _layer_beside(flow, operation, is_constant=held is not None)
    yield ImpossibleScale(
        flow.layer_name(layer),
        layer.op_type,
        tensor.name,
        quantizer.data_type,
        quantizer.step,
        low,
        high,
        overflowing,
        end_overflows,
        quantizer.value_type,
    )


def _layer_beside(flow: Dataflow, operation: Operation, *, is_constant: bool) -> Operation:
    """Return the layer behind a DequantizeLinear, or the one before a QuantizeLinear."""
    if operation.op_type == "DequantizeLinear" and is_constant and operation.outputs:
        return next(iter(flow.readers.get(operation.outputs[0], ())), operation)
    if operation.op_type == "QuantizeLinear" and operation.given:
        return flow.producer.get(operation.given[0].tensor, operation)
    return operation


def _end_overflows(quantizer: Quantizer) -> bool:
    ends = np.array(code_limits(quantizer.data_type))[:, None]
    return not np.isfinite(_read_as(quantizer, ends)).all()


def _count_overflows(held: Given) -> int | None:
    """Return how many codes of a small constant have no finite value."""
    codes, quantizer = read_small(held.tensor.constant), held.quantizer
    if codes is None or quantizer is None or quantizer.scale.size != 1:
        return None
    values = _read_as(quantizer, codes.astype(np.float64).reshape(-1, 1))
    return int(np.count_nonzero(~np.isfinite(values)))


def _read_as(quantizer: Quantizer, codes: np.ndarray) -> np.ndarray:
    """Return the values of codes (n, 1) as the operator rounds them, (n, scales).

    Source: onnxruntime's DequantizeLinear: a product in float32, then rounded to the value type.
    """
    steps = (codes - quantizer.zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        values = steps * quantizer.scale.astype(np.float32)
        return values.astype(numpy_dtype(quantizer.value_type)).astype(np.float32)
