"""What runs in float in a quantized file: no integer kernel can take it."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..reading.dataflow import Dataflow, Operation, Tensor
from ..records import Layer
from .known_ranges import MOVING

PRODUCTS = frozenset("MatMul Gemm FusedMatMul Einsum".split())
# Operators whose work an integer kernel would do, given codes on both sides.
HEAVY = PRODUCTS | frozenset(
    "Conv ConvTranspose FusedConv NhwcFusedConv FusedGemm TransposeMatMul LSTM GRU RNN".split()
)
_DYNAMIC = frozenset("DynamicQuantizeLinear DynamicQuantizeMatMul DynamicQuantizeLSTM".split())


class FloatWorkKind(enum.Enum):
    """What is computed in float."""

    WEIGHTS_ONLY = "weights only"  # quantized weights, and no activation in the whole file
    PRODUCTS = "products"  # matrix products of two activations, in a static build
    LAYERS = "layers"  # quantized weights that meet a float activation, in a static build


@dataclass(frozen=True, eq=False)
class FloatWork:
    """The layers of one kind and operator that run in float.

    Attributes:
        layer_names: in graph order.
        total: the layers of this kind and operator in the file, in float or not.
    """

    kind: FloatWorkKind
    op_type: str
    layer_names: tuple[str, ...]
    total: int


def find_float_work(flow: Dataflow, layers: Sequence[Layer]) -> Iterator[FloatWork]:
    """Yield what runs in float though the file is quantized, by operator."""
    weighted = {layer.name: layer for layer in layers if _has_quantized_weight(layer)}
    if any(operation.op_type in _DYNAMIC for operation in flow.operations):
        return
    quantized = _quantized_tensors(flow)
    if not quantized:
        yield from _grouped(FloatWorkKind.WEIGHTS_ONLY, flow, _weight_layers(flow, weighted), set())
        return
    products = [one for one in flow.operations if _is_product_of_activations(one)]
    yield from _grouped(FloatWorkKind.PRODUCTS, flow, products, quantized)
    yield from _grouped(FloatWorkKind.LAYERS, flow, _weight_layers(flow, weighted), quantized)


def _has_quantized_weight(layer: Layer) -> bool:
    weight = layer.weight
    return weight is not None and weight.is_quantized and weight.slot == "weight"


def _weight_layers(flow: Dataflow, weighted: dict[str, Layer]) -> list[Operation]:
    kinds = HEAVY | {"MatMulNBits", "MatMulBnb4"}
    return [
        one for one in flow.operations if one.op_type in kinds and flow.layer_name(one) in weighted
    ]


def _is_product_of_activations(operation: Operation) -> bool:
    if operation.op_type not in PRODUCTS:
        return False
    given = operation.given[:2]
    return len(given) == 2 and all(g.tensor.constant is None for g in given)


def _quantized_tensors(flow: Dataflow) -> set[Tensor]:
    """Return the activations that were read from codes, and the codes; moved ones too."""
    quantized: set[Tensor] = set()
    for operation in flow.operations:
        if not operation.given or operation.given[0].tensor.constant is not None:
            continue
        moved = operation.op_type in MOVING and operation.given[0].tensor in quantized
        held = operation.quantizer is not None or operation.op_type in (
            "QuantizeLinear",
            "DequantizeLinear",
        )
        if moved or held:
            quantized.update(operation.outputs)
    return quantized


def _grouped(
    kind: FloatWorkKind, flow: Dataflow, work: Sequence[Operation], quantized: set[Tensor]
) -> Iterator[FloatWork]:
    """Yield the operations that read a float activation, one record for each operator."""
    total: dict[str, int] = defaultdict(int)
    names: dict[str, list[str]] = defaultdict(list)
    for operation in work:
        total[operation.op_type] += 1
        activations = [g for g in operation.given if g.tensor.constant is None]
        if any(g.quantizer is None and g.tensor not in quantized for g in activations[:2]):
            names[operation.op_type].append(flow.layer_name(operation))
    for op_type, found in names.items():
        yield FloatWork(kind, op_type, tuple(found), total[op_type])
