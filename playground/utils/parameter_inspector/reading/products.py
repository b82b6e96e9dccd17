"""Weights that a product reads as bare codes: their scale is multiplied into its result."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import Operand, operator_named
from ..quantization import ArraySource, NotUnderstoodError, Source
from .arithmetic import SpelledOut, find_spelled_out, hold_codes, read_spelled_out
from .computed import Computed
from .constants import ConstantTable, attribute_values
from .decoders import Stored
from .following import OutputChain


def find_bare_codes(
    node: ir.Node, operand: Operand, constants: ConstantTable
) -> tuple[SpelledOut, Source] | None:
    """Return the codes of a product's weight that no scale stands between, and what is read."""
    operator = operator_named(node.op_type)
    multiplies = operator.is_convolution or operator.family == "Linear"
    if not multiplies or operand.slot != "weight" or operand.form is not None:
        return None
    value = node.inputs[operand.index] if operand.index < len(node.inputs) else None
    source = constants.get(value)
    if not isinstance(source, Computed):
        return None
    found = find_spelled_out(source)
    if found is None or found.is_scaled or not hold_codes(found.codes.data_type):
        return None
    return found, source


def read_scaled_product(
    node: ir.Node,
    operand: Operand,
    found: SpelledOut,
    chain: OutputChain,
    constants: ConstantTable,
) -> Stored:
    """Return the weight whose scale its product is multiplied by.

    Raises:
        NotUnderstoodError: the scale is not one number, or one for each output channel.
    """
    shape = found.shape
    if shape is None:
        raise _misfit(chain.factors[0], found.codes.shape)
    scale = _scale_for_weight(node, operand, chain, shape, constants)
    names = [*(step.op_type for step in found.steps), node.op_type, "Mul"]
    stored = read_spelled_out(found, scale, " → ".join(names))
    if stored is None:
        raise _misfit(scale, shape)
    return stored


def _scale_for_weight(
    node: ir.Node,
    operand: Operand,
    chain: OutputChain,
    shape: tuple[int, ...],
    constants: ConstantTable,
) -> Source:
    """Return the factors of the result as one that broadcasts against the weight."""
    factor = _product_of(chain.factors)
    array = factor.read()
    if array.size == 1:
        return ArraySource(factor.name, array.reshape(()), factor.data_type)
    attributes = attribute_values(node)
    axis = operand.channel_axis(attributes, len(shape))
    place = _channel_place(node, operand, attributes, len(shape))
    if axis is None or place is None or not _keeps_place(chain, place, shape[axis], constants):
        raise _misfit(factor, shape)
    summed = place - 3  # counted from the end: the other of the last two axes
    if node.op_type == "MatMul" and not chain.moves and array.ndim > 2 and array.shape[summed] == 1:
        return factor  # as many scales for each matrix of a batch
    long = [d for d in array.shape if d != 1]
    at = array.ndim - place
    if long != [shape[axis]] or at < 0 or array.shape[at] != shape[axis]:
        raise _misfit(factor, shape)
    spread = [-1 if i == axis else 1 for i in range(len(shape))]
    return ArraySource(factor.name, array.reshape(spread), factor.data_type)


def _product_of(factors: tuple[Source, ...]) -> Source:
    if len(factors) == 1:
        return factors[0]
    sizes = [math.prod(f.shape) for f in factors]
    if math.prod(np.broadcast_shapes(*(f.shape for f in factors))) > max(sizes):
        raise _misfit(factors[0], factors[1].shape)
    product = math.prod((f.read() for f in factors[1:]), start=factors[0].read())
    return ArraySource(f"{factors[0].name} (product)", np.asarray(product), factors[0].data_type)


def _channel_place(
    node: ir.Node, operand: Operand, attributes: dict[str, object], rank: int
) -> int | None:
    """Return where the weight's channels are in the result, counted from its end."""
    operator = operator_named(node.op_type)
    if operator.is_convolution:
        grouped = operator.is_transposed and attributes.get("group", 1) != 1
        return None if grouped else rank - 1
    return 1 if operand.index == 1 else 2


def _keeps_place(chain: OutputChain, place: int, channels: int, constants: ConstantTable) -> bool:
    """Whether the channels stay the last axis through what rearranges the result."""
    for move in chain.moves:
        shape = move.outputs[0].shape
        last = shape[-1] if shape else None
        if move.op_type == "Reshape" and len(move.inputs) > 1:
            last = _last_number(move.inputs[1], constants) or last
        if (
            move.op_type not in ("Reshape", "Squeeze", "Unsqueeze")
            or place != 1
            or last != channels
        ):
            return False
    return True


def _last_number(value: ir.Value | None, constants: ConstantTable) -> int | None:
    """Return the end of a shape, of which the beginning may be computed while the model runs."""
    source, node = constants.get(value), value.producer() if value is not None else None
    if source is None and node is not None and node.op_type == "Concat":
        source = constants.get(node.inputs[-1])
    return None if source is None else int(source.read().reshape(-1)[-1])


def _misfit(scale: Source, shape: tuple[int, ...]) -> NotUnderstoodError:
    return NotUnderstoodError(
        Refusal(RefusalKind.SCALE_AGAINST_CODES, scale_shape=scale.shape, shape=shape)
    )
