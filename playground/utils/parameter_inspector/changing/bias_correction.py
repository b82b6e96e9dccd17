"""Bias correction: what the mean error of a layer's output says, put into its bias.

Layers are corrected in graph order, each with those before it corrected already: a shift that the
layer before takes away is not taken away twice.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
for the empirical form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from ..running.tunable_model import ShiftedBias, TunableModel
from .moves import Move, MoveKind
from .plan_bench import PlanBench, Rows

MEANS = "means"
# Runs that a correction takes at most: layers next to each other share one where there are more.
MOST_RUNS = 48
# First opset whose ReduceMean takes its axes as an input.
AXES_INPUT_OPSET = 18


def correct_biases(bench: PlanBench, moves: Sequence[Move], rows: Rows) -> tuple[Move, ...]:
    """Return a corrected bias for each layer that can have one, made from some samples."""
    freed = {move.indices[0] for move in moves if move.kind is MoveKind.FREE and move.is_weight}
    biases = {i: one for i, one in bench.tunable.biases.items() if i not in freed}
    if not biases:
        return ()
    order = sorted(biases, key=lambda i: _position(bench, biases[i]))
    model = create_means_model(bench.tunable, [biases[index] for index in order])
    first = bench.bench.first
    bench.bench.load(first, model.SerializeToString(), MEANS)
    off = bench.create_inputs((), np.zeros(len(bench.quantizers), bool))
    wanted = _run(bench, off, rows, len(order))
    made: list[Move] = []
    for part in np.array_split(np.arange(len(order)), min(len(order), MOST_RUNS)):
        found = _run(bench, bench.create_inputs([*moves, *made]), rows, len(order))
        for at in part:
            shift = wanted[at] - found[at]
            if np.isfinite(shift).all():
                bias = biases[order[at]].values + shift.astype(np.float32)
                quantizers = (bench.quantizers[order[at]],)
                made.append(Move(MoveKind.CORRECT_BIAS, quantizers, bias=bias))
    first.drop(MEANS)
    return tuple(made)


def create_means_model(tunable: TunableModel, biases: Sequence[ShiftedBias]) -> onnx.ModelProto:
    """Return the tunable model with the mean of each channel of each layer's output put out."""
    proto = onnx.ModelProto()
    proto.CopyFrom(tunable.proto)
    graph = proto.graph
    del graph.output[:]
    opset = next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx"))
    for number, bias in enumerate(biases):
        name = f"{MEANS}/{number}"
        graph.node.extend(_mean_nodes(bias, name, opset))
        graph.output.append(onnx.ValueInfoProto(name=name))
    return proto


def _mean_nodes(bias: ShiftedBias, name: str, opset: int) -> list[onnx.NodeProto]:
    """Return operators that average all but the channels: these first, the rest flattened."""
    shape = helper.make_tensor(f"{name}/shape", onnx.TensorProto.INT64, [2], [bias.size, -1])
    flat = [helper.make_node("Constant", [], [f"{name}/shape"], value=shape)]
    source = bias.output
    if bias.axis == -1:
        rows = helper.make_tensor(f"{name}/rows", onnx.TensorProto.INT64, [2], [-1, bias.size])
        flat += [
            helper.make_node("Constant", [], [f"{name}/rows"], value=rows),
            helper.make_node("Reshape", [source, f"{name}/rows"], [f"{name}/flat"]),
            helper.make_node("Transpose", [f"{name}/flat"], [f"{name}/turned"], perm=[1, 0]),
        ]
    else:
        cube = helper.make_tensor(f"{name}/cube", onnx.TensorProto.INT64, [3], [0, bias.size, -1])
        flat += [
            helper.make_node("Constant", [], [f"{name}/cube"], value=cube),
            helper.make_node("Reshape", [source, f"{name}/cube"], [f"{name}/flat"]),
            helper.make_node("Transpose", [f"{name}/flat"], [f"{name}/moved"], perm=[1, 0, 2]),
            helper.make_node("Reshape", [f"{name}/moved", f"{name}/shape"], [f"{name}/turned"]),
        ]
    if opset >= AXES_INPUT_OPSET:
        axes = helper.make_tensor(f"{name}/axes", onnx.TensorProto.INT64, [1], [1])
        mean = [
            helper.make_node("Constant", [], [f"{name}/axes"], value=axes),
            helper.make_node("ReduceMean", [f"{name}/turned", f"{name}/axes"], [name], keepdims=0),
        ]
    else:
        mean = [helper.make_node("ReduceMean", [f"{name}/turned"], [name], axes=[1], keepdims=0)]
    return [*flat, *mean]


def _run(
    bench: PlanBench, inputs: dict[str, np.ndarray], rows: Rows, count: int
) -> list[np.ndarray]:
    """Return the mean of each layer's channels over all runs, float64, (channels,)."""
    size = bench.bench.rows_per_run or 1
    found = bench.bench.first.run(MEANS, extra=inputs, rows_per_run=size, rows=list(rows))
    bench.count(1)
    runs = -(-len(rows) // size)
    means = []
    for number in range(count):
        array = found[f"{MEANS}/{number}"].astype(np.float64)
        means.append(array.reshape(runs, -1).mean(axis=0))
    return means


def _position(bench: PlanBench, bias: ShiftedBias) -> int:
    return bench.networks[0].layers[bias.layer].index
