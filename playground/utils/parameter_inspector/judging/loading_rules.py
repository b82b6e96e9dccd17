"""Does it load? What makes a runtime refuse a file, or read it otherwise: facts from the file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..measuring.comparison import Comparison
from ..reading.layers import list_layers
from ..reading.model_file import Model
from ..reading.quantize_nodes import QuantizeNode, list_dangling_inputs, list_quantize_nodes
from ..reading.schemas import (
    MismatchKind,
    SchemaMismatch,
    find_schema_mismatches,
    newest_ir_version,
    newest_opset,
)
from .channel_states import quantized_matrices
from .findings import Finding

# onnxruntime makes integer operators of these between Q and DQ; each takes one scale for what
# enters it. Measured with 1.31: QLinearConv refuses the others at its first run.
_FUSED = frozenset("Conv MatMul Gemm ConvTranspose".split())
# Measured with 1.31: uint8 with uint8, uint8 with int8, int8 with int8, and no more.
_SAME_SIGN = ("QLinearConv", "QLinearMatMul")


class LoadingKind(Enum):
    """Why a runtime refuses a file, or reads it otherwise."""

    SCHEMA = "schema"
    NEWER_OPSET = "newer opset"
    NEWER_IR = "newer ir"
    NAME_TWICE = "name twice"
    CONSTANT_TWICE = "constant twice"
    NOTHING_MAKES = "nothing makes"
    LENGTHS_DIFFER = "lengths differ"
    ACTIVATION_PER_CHANNEL = "activation per channel"
    NO_KERNEL = "no kernel"
    ZERO_POINTS_DIFFER = "zero-points differ"


# The others are an error: the file does not open, or fails at its first run.
SEVERITY = {
    LoadingKind.ZERO_POINTS_DIFFER: "note",
    LoadingKind.CONSTANT_TWICE: "note",
    # Only where the layer is fused, which depends on what stands around it.
    LoadingKind.ACTIVATION_PER_CHANNEL: "warning",
}


@dataclass(frozen=True)
class LoadingProblem:
    """One cause for which a file is refused, and all places that have it.

    Attributes:
        names: nodes or tensors, in graph order.
        mismatch: for SCHEMA, that of the first place.
        version: of opset or IR, for NEWER_OPSET and NEWER_IR; ``known`` is the newest known.
        shapes: of scale and zero-point, for LENGTHS_DIFFER and ACTIVATION_PER_CHANNEL.
        data_types: of activation and weight, for NO_KERNEL.
        operators: that the places have, for SCHEMA and NO_KERNEL.
    """

    kind: LoadingKind
    names: tuple[str, ...]
    mismatch: SchemaMismatch | None = None
    version: int = 0
    known: int = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    data_types: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        return SEVERITY.get(self.kind, "error")

    @property
    def numbers(self) -> Mapping[str, float]:
        found = {"places": len(self.names), "version": self.version, "known": self.known}
        return {name: number for name, number in found.items() if number}


def find_does_not_load(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """What makes a runtime refuse the file, or read it otherwise. Source: the schemas of ONNX."""
    for problem in find_loading_problems(comparison, variant):
        yield Finding("does-not-load", problem.severity, variant, "", problem)


def find_loading_problems(comparison: Comparison, variant: str) -> Iterator[LoadingProblem]:
    """Yield why a variant would not load, one fact for each cause, worst first."""
    model = comparison.variants[variant]
    yield from find_graph_problems(model)
    if (differing := _differing_zero_points(comparison, variant)) is not None:
        yield differing


def find_graph_problems(model: Model) -> Iterator[LoadingProblem]:
    """Yield what the graph alone shows."""
    yield from _versions(model)
    yield from group_mismatches(find_schema_mismatches(model))
    if model.repeated_names:
        yield LoadingProblem(LoadingKind.NAME_TWICE, model.repeated_names)
    if model.constants_defined_again:
        yield LoadingProblem(LoadingKind.CONSTANT_TWICE, model.constants_defined_again)
    if dangling := list(list_dangling_inputs(model)):
        yield LoadingProblem(LoadingKind.NOTHING_MAKES, tuple(name for name, _ in dangling))
    yield from _quantize_problems(model)
    yield from _missing_kernels(model)


def group_mismatches(mismatches: Iterator[SchemaMismatch]) -> Iterator[LoadingProblem]:
    """Yield one problem for the mismatches of one cause: an attribute, or a type.

    Types that differ at one node follow from a type that another may not have.
    """
    places: dict[Hashable, list[SchemaMismatch]] = {}
    for mismatch in mismatches:
        key = mismatch.kind, mismatch.allowed_from, mismatch.data_types, _subject(mismatch)
        places.setdefault(key, []).append(mismatch)
    by_type = any(found[0].kind is MismatchKind.INPUT_TYPE for found in places.values())
    for found in places.values():
        if by_type and found[0].kind is MismatchKind.TYPES_DIFFER:
            continue
        names = tuple(dict.fromkeys(mismatch.node for mismatch in found))
        operators = tuple(dict.fromkeys(mismatch.operator for mismatch in found))
        yield LoadingProblem(LoadingKind.SCHEMA, names, mismatch=found[0], operators=operators)


def _subject(mismatch: SchemaMismatch) -> Hashable:
    """Return what else two mismatches share that have one cause."""
    if mismatch.kind is MismatchKind.INPUT_TYPE:
        return None
    if mismatch.kind is MismatchKind.UNKNOWN_ATTRIBUTE:
        return mismatch.subject
    return mismatch.operator, mismatch.subject, mismatch.count


def _versions(model: Model) -> Iterator[LoadingProblem]:
    for kind, version, known in (
        (LoadingKind.NEWER_OPSET, model.opset, newest_opset()),
        (LoadingKind.NEWER_IR, model.ir_version, newest_ir_version()),
    ):
        if version > known:
            yield LoadingProblem(kind, (), version=version, known=known)


def _quantize_problems(model: Model) -> Iterator[LoadingProblem]:
    """Yield Q and DQ nodes whose scale and zero-point differ in length, or serve an activation.

    A scale of shape (1,) with a zero-point of shape () is well.
    """
    differing, per_channel = [], []
    for node in list_quantize_nodes(model):
        zero_point = node.zero_point_shape
        if node.scale_shape is None:
            continue
        both_one = node.scale_count == 1 and math.prod(zero_point or ()) == 1
        if zero_point is not None and node.scale_shape != zero_point and not both_one:
            differing.append(node)
        elif _serves_activation_per_channel(node):
            per_channel.append(node)
    for kind, nodes in (
        (LoadingKind.LENGTHS_DIFFER, differing),
        (LoadingKind.ACTIVATION_PER_CHANNEL, per_channel),
    ):
        if nodes:
            shapes = (nodes[0].scale_shape or (), nodes[0].zero_point_shape or ())
            yield LoadingProblem(kind, tuple(node.name for node in nodes), shapes=shapes)


def _serves_activation_per_channel(node: QuantizeNode) -> bool:
    is_one = node.is_constant or node.block_size or node.scale_count == 1
    return not is_one and bool(_FUSED.intersection(node.data_readers))


def _missing_kernels(model: Model) -> Iterator[LoadingProblem]:
    """Yield the integer operators that get int8 activations and uint8 weights."""
    found = [
        layer
        for layer in list_layers(model)
        if layer.op_type in _SAME_SIGN
        and layer.weight is not None
        and layer.weight.data_type == "uint8"
        and any(activation.data_type == "int8" for activation in layer.inputs[:1])
    ]
    if found:
        names = tuple(layer.name for layer in found)
        types = ("int8", "uint8")
        yield LoadingProblem(
            LoadingKind.NO_KERNEL,
            names,
            data_types=types,
            operators=tuple(dict.fromkeys(layer.op_type for layer in found)),
        )


def _differing_zero_points(comparison: Comparison, variant: str) -> LoadingProblem | None:
    """Return the convolutions whose output channels have zero-points of their own.

    onnxruntime's QLinearConv refused them until it was taught better (its issue 28447), and other
    runtimes want one, or 0.
    """
    names = [
        one.layer_name
        for one in quantized_matrices(comparison, variant)
        if "Conv" in one.measured.layer.op_type
        and one.quantization.granularity == "per-channel"
        and np.unique_values(one.quantization.zero_point).size > 1
    ]
    return LoadingProblem(LoadingKind.ZERO_POINTS_DIFFER, tuple(names)) if names else None


def needs_opset(problem: LoadingProblem) -> int | None:
    """Return the opset that the float model is to be converted to before it is quantized."""
    mismatch = problem.mismatch
    if mismatch is None or mismatch.kind is MismatchKind.UNKNOWN_OPERATOR:
        return None
    return mismatch.allowed_from
