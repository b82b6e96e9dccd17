"""A small network in each form, and moves to write into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from networks_to_run import conv_network, images

from playground.utils.parameter_inspector import compare
from playground.utils.parameter_inspector.changing.move_places import PlacedPair
from playground.utils.parameter_inspector.changing.move_writing import save_moves
from playground.utils.parameter_inspector.changing.moves import ActivationScheme, Move, MoveKind
from playground.utils.parameter_inspector.changing.rewriting import Saved
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.facts import QuantizerKind
from playground.utils.parameter_inspector.measuring.comparison import Comparison
from playground.utils.parameter_inspector.measuring.outputs import Quantizer

X = images(3, seed=11)


@dataclass(frozen=True, eq=False)
class Written:
    """A variant that moves were written into, and what both files compute."""

    saved: Saved
    path: Path

    @property
    def proto(self) -> onnx.ModelProto:
        return onnx.load(self.path)

    def run(self, optimized: bool = False, feeds: dict[str, np.ndarray] = X) -> np.ndarray:
        return run_file(self.path, optimized, feeds)

    def operators(self) -> list[str]:
        return [node.op_type for node in self.proto.graph.node]


class Bench:
    """An original and a variant on disk."""

    def __init__(self, folder: Path, variant: onnx.ModelProto, original=None) -> None:
        self.folder = folder
        self.original = conv_network() if original is None else original
        say_shapes(self.original)
        variant.graph.output[0].CopyFrom(self.original.graph.output[0])
        onnx.save(self.original, folder / "fp32.onnx")
        onnx.save(variant, folder / "variant.onnx")
        self.comparison: Comparison = compare([folder / "fp32.onnx", folder / "variant.onnx"])
        self.variant = next(n for n in self.comparison.variants if n != self.comparison.original)
        self.placement = PlacedPair.of(self.comparison, self.variant).placement

    def groups(self, kind: QuantizerKind) -> list[tuple[Quantizer, ...]]:
        return [qs for qs in self.placement.groups.values() if qs[0].kind is kind]

    def activation(self, tensor: str) -> tuple[Quantizer, ...]:
        found = self.groups(QuantizerKind.ACTIVATION)
        return next(qs for qs in found if tensor in {q.tensor for q in qs})

    def weight(self, tensor: str) -> tuple[Quantizer, ...]:
        return next(qs for qs in self.groups(QuantizerKind.WEIGHT) if qs[0].tensor == tensor)

    def write(self, moves: Sequence[Move], name: str = "out.onnx") -> Written:
        path = self.folder / name
        return Written(save_moves(self.comparison, self.variant, moves, path), path)

    def exact(self) -> np.ndarray:
        return run_file(self.folder / "fp32.onnx")

    def current(self) -> np.ndarray:
        return run_file(self.folder / "variant.onnx")

    def free_activations(self) -> list[Move]:
        return [Move(MoveKind.FREE, qs) for qs in self.groups(QuantizerKind.ACTIVATION)]

    def free_weights(self) -> list[Move]:
        return [Move(MoveKind.FREE, qs) for qs in self.groups(QuantizerKind.WEIGHT)]

    def widen(self) -> list[Move]:
        groups = self.groups(QuantizerKind.ACTIVATION)
        return [Move(MoveKind.WIDEN, qs, activation=widened(qs[0])) for qs in groups]

    def requantize(self, scheme: Scheme) -> list[Move]:
        groups = self.groups(QuantizerKind.WEIGHT)
        return [Move(MoveKind.REQUANTIZE, qs, weight=scheme) for qs in groups]


def say_shapes(proto: onnx.ModelProto) -> None:
    """Say the shapes of outputs that do not: the checker asks for them."""
    found = {v.name: v for v in onnx.shape_inference.infer_shapes(proto).graph.output}
    for value in proto.graph.output:
        value.CopyFrom(found[value.name])


def number(array: np.ndarray | None) -> float:
    return 0.0 if array is None else float(array.reshape(-1)[0])


def widened(quantizer: Quantizer) -> ActivationScheme:
    """Twice the range in 16 bits: nothing is cut."""
    scale, zero = number(quantizer.scale), int(number(quantizer.zero_point))
    low, high = quantizer.code_limits
    step = 2 * (high - low) * scale / 65535
    return ActivationScheme("uint16", step, round(2 * (zero - low) * scale / step))


def turned(quantizer: Quantizer) -> ActivationScheme:
    """The same range and codes, the other signedness."""
    zero = int(number(quantizer.zero_point))
    if quantizer.data_type == "uint8":
        return ActivationScheme("int8", number(quantizer.scale), zero - 128)
    return ActivationScheme("uint8", number(quantizer.scale), zero + 128)


def run_file(path: Path, optimized: bool = False, feeds: dict[str, np.ndarray] = X) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]
