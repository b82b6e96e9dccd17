"""The sentences about what makes a runtime refuse a file."""

from __future__ import annotations

from collections.abc import Sequence

from ..reading.model_file import printable
from ..reading.schemas import MismatchKind, SchemaMismatch
from .loading_rules import LoadingKind, LoadingProblem, needs_opset
from .phrases import Sentences, counted, list_names


def say_loading_problem(facts: LoadingProblem) -> Sentences:
    return Sentences(f"{_refused_for(facts)}.", f"{_loads_when(facts)}.")


def _refused_for(facts: LoadingProblem) -> str:
    kind, names = facts.kind, list_names(facts.names)
    shapes = [str(tuple(shape)) for shape in facts.shapes]
    if kind is LoadingKind.SCHEMA and facts.mismatch is not None:
        return f"{_mismatch(facts.mismatch, facts.operators)}: {names}"
    if kind is LoadingKind.NEWER_OPSET:
        return f"The file imports opset {facts.version}, and the newest known here is {facts.known}"
    if kind is LoadingKind.NEWER_IR:
        return f"The file has IR version {facts.version}; the newest known here is {facts.known}"
    if kind is LoadingKind.NAME_TWICE:
        return f"Several nodes have one name, which onnxruntime refuses: {names}"
    if kind is LoadingKind.CONSTANT_TWICE:
        return (
            "A constant is given more than once under one name, which ONNX forbids; what is shown "
            f"is the one that onnxruntime computes with: {names}"
        )
    if kind is LoadingKind.NOTHING_MAKES:
        return f"Nothing in the file makes what a node reads: {names}"
    if kind is LoadingKind.LENGTHS_DIFFER:
        return (
            f"Scale and zero-point differ in shape, {shapes[0]} and {shapes[1]}, which onnxruntime "
            f"refuses at the first run: {names}"
        )
    if kind is LoadingKind.ACTIVATION_PER_CHANNEL:
        return (
            f"An activation has a scale for each channel, {shapes[0]}, which onnxruntime "
            f"refuses at the first run where it makes one operator of it: {names}"
        )
    if kind is LoadingKind.NO_KERNEL:
        return (
            f"onnxruntime has no {list_names(facts.operators)} for {facts.data_types[0]} "
            f"activations with {facts.data_types[1]} weights: {names}"
        )
    return (
        f"{counted(len(facts.names), 'convolution')} with a zero-point of its own for each "
        f"channel, which runtimes with integer kernels may refuse (older onnxruntimes do): {names}"
    )


def _mismatch(mismatch: SchemaMismatch, operators: Sequence[str]) -> str:
    at, named = f"opset {mismatch.opset}", list_names(operators)
    if mismatch.kind is MismatchKind.UNKNOWN_ATTRIBUTE:
        return f"{named} has no attribute `{printable(mismatch.subject)}` in {at}"
    if mismatch.kind is MismatchKind.MISSING_ATTRIBUTE:
        return f"{named} lacks the attribute `{mismatch.subject}`, which {at} requires"
    if mismatch.kind is MismatchKind.UNKNOWN_OPERATOR:
        return f"There is no operator {named} in {at}"
    if mismatch.kind is MismatchKind.INPUT_COUNT:
        return f"{named} does not take {counted(mismatch.count, 'input')} in {at}"
    if mismatch.kind is MismatchKind.INPUT_TYPE:
        types = list_names(mismatch.data_types)
        return f"{named} does not take {types} in {at} (`{mismatch.subject}`)"
    return f"Inputs of {named} that have to be of one type are {' and '.join(mismatch.data_types)}"


def _loads_when(facts: LoadingProblem) -> str:
    kind, opset = facts.kind, needs_opset(facts)
    if opset is not None:
        return (
            f"Convert the float model before quantizing, `onnx.version_converter.convert_version("
            f"model, {opset})` or later: the quantizer writes what its opset does not have"
        )
    return _LOADS_WHEN[kind]


_LOADS_WHEN = {
    LoadingKind.SCHEMA: "Write the node as its operator's version asks for",
    LoadingKind.NEWER_OPSET: "Export with an opset that your runtime has",
    LoadingKind.NEWER_IR: "Save with an older `ir_version`; the weights do not change",
    LoadingKind.NAME_TWICE: "Give each node a name of its own, or none",
    LoadingKind.CONSTANT_TWICE: "Leave one of them out: other runtimes may use another",
    LoadingKind.NOTHING_MAKES: "Export the model again: an initializer or a node was lost",
    LoadingKind.LENGTHS_DIFFER: "Write the zero-point in the shape of the scale",
    LoadingKind.ACTIVATION_PER_CHANNEL: "Give the activation one scale",
    LoadingKind.NO_KERNEL: "Quantize with `weight_type=QuantType.QInt8`, or activations as QUInt8",
    LoadingKind.ZERO_POINTS_DIFFER: (
        "Where a runtime refuses, quantize the weights symmetrically: "
        "`weight_type=QuantType.QInt8`, or `extra_options={'WeightSymmetric': True}`"
    ),
}
