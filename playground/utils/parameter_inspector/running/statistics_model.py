"""What flows through each activation quantizer, reduced inside the graph: nothing large comes out.

The switched model stands twice in one graph, once for the float network and once for the quantized
one, so that each tensor meets its counterpart; both share their constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..measuring.outputs import ActivationStatistics, Quantizer, decibels
from .free_names import FreeNames
from .switched_model import SwitchedModel, UnitNodes, all_names, names_of, settle

SECOND = "/quantized"
NUMBERS, HISTOGRAMS = "statistics:numbers", "statistics:histograms"
HISTOGRAM_BINS = 256
# First opsets of what is used: a TopK that counts at run time, a scatter that adds.
TOP_K_OPSET, SCATTER_OPSET = 11, 16


@dataclass(frozen=True, eq=False)
class StatisticsModel:
    """The model, and what its two outputs hold.

    Attributes:
        numbers: of each element of the first output: the quantizer's index and what it counts.
        histograms: of each stretch of the second output: the quantizer's index.
    """

    proto: onnx.ModelProto
    numbers: tuple[tuple[int, str], ...]
    histograms: tuple[int, ...]


def create_statistics_model(switched: SwitchedModel) -> StatisticsModel:
    """Return the two networks in one graph, without gates: many If nodes take long to open.

    Nodes that belong together stand together, so that no tensor waits long for its counterpart.
    """
    old = switched.proto.graph
    proto = onnx.ModelProto(ir_version=switched.proto.ir_version)
    proto.opset_import.extend(switched.proto.opset_import)
    proto.graph.name = old.name
    proto.graph.initializer.extend(old.initializer)
    proto.graph.input.extend(value for value in old.input if value.name != switched.gates)
    plain = list(settle(old.node, switched, on=False))
    twin = list(settle(old.node, switched, on=True))
    kept = {tensor.name for tensor in old.initializer} | {value.name for value in old.input}
    made = (name for nodes in twin for name in names_of(nodes))
    names = {name: f"{name}{SECOND}" for name in set(made) - kept if name}
    builder = _Statistics(proto, switched, names)
    for node, first, second in zip(old.node, plain, twin, strict=True):
        for one in second:
            _rename(one, names)
        builder.graph.node.extend([*first, *second])
        builder.add_behind(node)
    builder.finish()
    return StatisticsModel(proto, tuple(builder.numbers), tuple(builder.histograms))


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    node.name = f"{node.name}{SECOND}" if node.name else ""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for value in (*body.input, *body.output):
                value.name = names.get(value.name, value.name)
            for tensor in body.initializer:
                tensor.name = names.get(tensor.name, tensor.name)
            for inner in body.node:
                _rename(inner, names)


class _Statistics:
    """Adds the reducing nodes of each quantizer."""

    def __init__(
        self, proto: onnx.ModelProto, switched: SwitchedModel, names: Mapping[str, str]
    ) -> None:
        self.graph, self.switched, self.names = proto.graph, switched, names
        self.sites = {site.after: site for site in switched.sites}
        opsets = {one.domain: one.version for one in proto.opset_import}
        self.opset = opsets.get("", opsets.get("ai.onnx", 0))
        self._free_names = FreeNames([*all_names(switched.proto.graph), *names.values()])
        self.is_narrow = any(
            tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
            for tensor in self.graph.initializer
        )
        self.index, self.stem = 0, ""
        self.held: dict[str, str] = {}
        # One output each would be two thousand: all become two.
        self.numbers: dict[tuple[int, str], str] = {}
        self.histograms: dict[int, str] = {}
        self.seen: set[int] = set()

    def add_behind(self, node: onnx.NodeProto) -> None:
        """Add what is counted at the site that ends at a node, once for each quantizer.

        Sites inside the bodies of If and Loop are left out: nothing of them can be put out.
        """
        for site in filter(None, map(self.sites.get, node.output)):
            for place, unit in enumerate(site.units):
                if unit.quantizer in self.seen:
                    continue
                self.seen.add(unit.quantizer)
                self.index, self.stem = unit.quantizer, f"statistics/{unit.quantizer}"
                quantizer = self.switched.placement.quantizers[unit.quantizer]
                self._add(quantizer, unit, unit.source if place else site.plain)
                self._compare(site.plain, self.names.get(site.after, site.after))

    def finish(self) -> None:
        self._put_out(NUMBERS, list(self.numbers.values()))
        self._put_out(HISTOGRAMS, list(self.histograms.values()))

    def _put_out(self, name: str, parts: list[str]) -> None:
        if parts:
            self.graph.node.append(helper.make_node("Concat", parts, [name], axis=0))
            self.graph.output.append(onnx.ValueInfoProto(name=name))

    def _add(self, quantizer: Quantizer, unit: UnitNodes, source: str) -> None:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in unit.nodes]
        local = {name: f"{name}/statistics" for node in copies for name in node.output}
        local[unit.source] = source
        for node in copies:
            node.input[:] = [local.get(name, name) for name in node.input]
            node.output[:] = [local[name] for name in node.output]
        self.graph.node.extend(copies)
        x, held = self._wide(source), self._wide(copies[-1].output[0])
        error = self._node("Sub", x, held)
        self._end("noise", self._node("ReduceSumSquare", error, keepdims=0))
        self._end("signal", self._node("ReduceSumSquare", x, keepdims=0))
        self._end("low", self._node("ReduceMin", x, keepdims=0))
        self._end("high", self._node("ReduceMax", x, keepdims=0))
        self._end("count", self._cast(self._node("Size", x), onnx.TensorProto.FLOAT))
        size = self._node("Abs", x)
        zero = self._constant("zero", np.float32(0))
        self._end("nonzero", self._count(self._node("Greater", size, zero)))
        self._end("kept", self._count(self._node("Greater", self._node("Abs", held), zero)))
        self._clipping(quantizer, x)
        if self.opset >= TOP_K_OPSET:
            self._percentile(size)
        if self.opset >= SCATTER_OPSET and quantizer.code_limits is not None:
            self._histogram(quantizer, copies[0])

    def _compare(self, plain: str, after: str) -> None:
        """Compare the tensor of the float network with that of the quantized one."""
        x = self._wide(plain)
        away = self._node("Sub", x, self._wide(after))
        self._end("away", self._node("ReduceSumSquare", away, keepdims=0))
        self._end("plain", self._node("ReduceSumSquare", x, keepdims=0))

    def _clipping(self, quantizer: Quantizer, x: str) -> None:
        limits = representable(quantizer)
        if limits is None or self.opset < TOP_K_OPSET:
            return
        step = float(np.max(np.asarray(quantizer.scale, np.float64)))
        bounds = [self._constant(str(v), _as_float32(v)) for v in limits]
        over = self._node("Sub", x, self._node("Clip", x, *bounds))
        self._end("over", self._node("ReduceSumSquare", over, keepdims=0))
        half = self._constant(str(step / 2), _as_float32(step / 2))
        self._end("clipped", self._count(self._node("Greater", self._node("Abs", over), half)))

    def _percentile(self, size: str) -> None:
        """The smallest of the 0.1 % largest absolute values, at least of one."""
        flat = self._node("Reshape", size, self._constant("flat", np.array([-1], np.int64)))
        count = self._node("Shape", flat)
        thousand = self._constant("thousand", np.array([1000], np.int64))
        one = self._constant("one", np.array([1], np.int64))
        k = self._node("Add", self._node("Div", self._node("Sub", count, one), thousand), one)
        values = self._name("values")
        node = helper.make_node("TopK", [flat, k], [values, self._name("indices")], sorted=0)
        self.graph.node.append(node)
        self._end("p999", self._node("ReduceMin", values, keepdims=0))

    def _histogram(self, quantizer: Quantizer, quantize: onnx.NodeProto) -> None:
        made_codes = quantize.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")
        if not made_codes or not quantizer.data_type.startswith(("int", "uint")):
            return
        assert quantizer.code_limits is not None
        low, high = quantizer.code_limits
        wide = self._cast(quantize.output[0], onnx.TensorProto.INT64)
        index = self._node("Sub", wide, self._constant(f"low{low}", np.int64(low)))
        width = int((high - low + 1) // HISTOGRAM_BINS)
        if width > 1:
            index = self._node("Div", index, self._constant(f"width{width}", np.int64(width)))
        flat = self._node("Reshape", index, self._constant("flat", np.array([-1], np.int64)))
        bins = bin_count(quantizer)
        empty = self._constant(f"empty{bins}", np.zeros(bins, np.int64))
        one = numpy_helper.from_array(np.ones(1, np.int64))
        ones = self._node("ConstantOfShape", self._node("Shape", flat), value=one)
        counted = self._node("ScatterElements", empty, flat, ones, reduction="add")
        self.histograms[self.index] = counted

    # ------------------------------------------------- small parts

    def _name(self, end: str) -> str:
        return self._free_names.new(f"{self.stem}/{end}")

    def _node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self._name(op_type)
        self.graph.node.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        return name

    def _wide(self, value: str) -> str:
        """Return a tensor as float32; a float16 holds no sum of squares."""
        return self._cast(value, onnx.TensorProto.FLOAT) if self.is_narrow else value

    def _cast(self, value: str, to: int) -> str:
        return self._node("Cast", value, to=to)

    def _count(self, flags: str) -> str:
        counted = self._cast(flags, onnx.TensorProto.INT32)
        total = self._node("ReduceSum", counted, keepdims=0)
        return self._cast(total, onnx.TensorProto.FLOAT)

    def _constant(self, key: str, array: np.ndarray | np.generic) -> str:
        if key not in self.held:
            name = f"statistics/{key}"
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
            self.held[key] = name
        return self.held[key]

    def _end(self, kind: str, value: str) -> None:
        """Note a number that is put out: an element of a vector."""
        flat = self._constant("flat", np.array([-1], np.int64))
        self.numbers[self.index, kind] = self._node("Reshape", value, flat)


def representable(quantizer: Quantizer) -> tuple[float, float] | None:
    """Return the lowest and highest value that a scale can hold; None where it is not fixed."""
    if quantizer.scale is None or quantizer.code_limits is None:
        return None
    scale = np.asarray(quantizer.scale, np.float64)
    zero = np.asarray(0 if quantizer.zero_point is None else quantizer.zero_point).astype(
        np.float64
    )
    ends = [(limit - zero) * scale for limit in quantizer.code_limits]
    return float(np.min(ends)), float(np.max(ends))


def read_statistics(
    model: StatisticsModel, found: Mapping[str, np.ndarray], quantizers: Sequence[Quantizer]
) -> dict[int, ActivationStatistics]:
    """Return the statistics by the quantizer's index.

    Args:
        found: the outputs, those of several runs one after the other.
    """
    numbers = found[NUMBERS].reshape(-1, len(model.numbers))
    kinds: dict[int, dict[str, np.ndarray]] = {}
    for at, (index, kind) in enumerate(model.numbers):
        kinds.setdefault(index, {})[kind] = numbers[:, at]
    histograms = _cut_histograms(model, found, quantizers)
    return {
        index: _summarize(quantizers[index], counted, histograms.get(index))
        for index, counted in kinds.items()
    }


def _cut_histograms(
    model: StatisticsModel, found: Mapping[str, np.ndarray], quantizers: Sequence[Quantizer]
) -> dict[int, np.ndarray]:
    if not model.histograms:
        return {}
    sizes = [bin_count(quantizers[index]) for index in model.histograms]
    counted = found[HISTOGRAMS].reshape(-1, sum(sizes)).sum(axis=0)
    counted.flags.writeable = False
    parts = np.split(counted, np.cumsum(sizes)[:-1])
    return dict(zip(model.histograms, parts, strict=True))


def _summarize(
    quantizer: Quantizer, found: Mapping[str, np.ndarray], histogram: np.ndarray | None
) -> ActivationStatistics:
    def total(kind: str) -> float:
        return float(found[kind].sum(dtype=np.float64)) if kind in found else 0.0

    def share(kind: str, of: str) -> float:
        return min(1.0, max(0.0, total(kind) / total(of))) if total(of) else 0.0

    return ActivationStatistics(
        quantizer.index,
        low=float(found["low"].min()),
        high=float(found["high"].max()),
        p999=float(found["p999"].mean(dtype=np.float64)) if "p999" in found else None,
        represented=representable(quantizer),
        clipped_share=share("clipped", "count"),
        clipped_error_share=share("over", "noise"),
        codes_used_share=None if histogram is None else float(np.mean(histogram > 0)),
        zeroed_share=1 - share("kept", "nonzero") if total("nonzero") else 0.0,
        local_db=decibels(total("signal"), total("noise")),
        cumulative_db=decibels(total("plain"), total("away")),
        histogram=histogram,
    )


def bin_count(quantizer: Quantizer) -> int:
    """Return how many bins a histogram of codes has: one for each code, 256 at most."""
    assert quantizer.code_limits is not None
    low, high = quantizer.code_limits
    return int(min(high - low + 1, HISTOGRAM_BINS))


def _as_float32(number: float) -> np.float32:
    """Return a number as float32; one beyond its range, as a mask's may be, becomes its largest."""
    widest = float(np.finfo(np.float32).max)
    return np.float32(min(max(number, -widest), widest))
