"""The ends of each channel of the tensors between layers, as the float network has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ..running.neighbours import Between
from .plan_bench import PlanBench, Rows

RANGES = "ranges"
# First opset whose ReduceMax takes its axes as an input.
AXES_INPUT_OPSET = 18


@dataclass(frozen=True, eq=False)
class ChannelRange:
    """The ends of each channel; float64, (channels,)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        return np.maximum(self.high, -self.low)


def read_ranges(
    bench: PlanBench, tensors: Sequence[Between], rows: Rows
) -> dict[int, ChannelRange]:
    """Return the ends of the channels of tensors of the float network, by their sites."""
    if not tensors:
        return {}
    first = bench.bench.first
    bench.bench.load(first, create_ranges_model(bench, tensors).SerializeToString(), RANGES)
    off = bench.create_inputs((), np.zeros(len(bench.quantizers), bool))
    size = bench.bench.rows_per_run or 1
    found = first.run(RANGES, extra=off, rows_per_run=size, rows=list(rows))
    bench.count(1)
    first.drop(RANGES)
    runs = -(-len(rows) // size)
    return {
        one.site: ChannelRange(
            found[f"{RANGES}/{one.site}/Min"].astype(np.float64).reshape(runs, -1).min(axis=0),
            found[f"{RANGES}/{one.site}/Max"].astype(np.float64).reshape(runs, -1).max(axis=0),
        )
        for one in tensors
    }


def create_ranges_model(bench: PlanBench, tensors: Sequence[Between]) -> onnx.ModelProto:
    """Return the tunable model with the ends of each channel of tensors put out."""
    proto = onnx.ModelProto()
    proto.CopyFrom(bench.tunable.proto)
    graph = proto.graph
    del graph.output[:]
    opset = next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx"))
    for one in tensors:
        source = bench.tunable.switched.sites[one.site].plain
        graph.node.extend(_range_nodes(one, source, opset))
        for end in ("Min", "Max"):
            graph.output.append(onnx.ValueInfoProto(name=f"{RANGES}/{one.site}/{end}"))
    return proto


def _range_nodes(between: Between, source: str, opset: int) -> Iterator[onnx.NodeProto]:
    stem = f"{RANGES}/{between.site}"
    channels = int(np.prod(between.shape)) // between.copies
    cube = [0, channels, -1] if between.axis == 1 else [-1, channels, 1]
    for name, numbers in (("cube", cube), ("axes", [0, 2])):
        held = helper.make_tensor(f"{stem}/{name}", onnx.TensorProto.INT64, [len(numbers)], numbers)
        yield helper.make_node("Constant", [], [f"{stem}/{name}"], value=held)
    yield helper.make_node("Reshape", [source, f"{stem}/cube"], [f"{stem}/flat"])
    for end in ("Min", "Max"):
        inputs = [f"{stem}/flat"]
        if opset >= AXES_INPUT_OPSET:
            inputs.append(f"{stem}/axes")
        made = helper.make_node(f"Reduce{end}", inputs, [f"{stem}/{end}"], keepdims=0)
        if opset < AXES_INPUT_OPSET:
            made.attribute.append(helper.make_attribute("axes", [0, 2]))
        yield made
