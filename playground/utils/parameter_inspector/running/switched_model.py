"""One model that answers every question: the float original with each quantizer behind a gate.

``If(gate)`` chooses between what the variant computes and what the original does; a closed gate
costs a copy. All gates open is the variant, all closed the original.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from ..operators import MICROSOFT
from ..quantization import numpy_dtype
from ..reading.edges import Network, Step, StepKind
from ..reading.model_file import Model
from .fake_quantizers import create_fake_nodes, read_fake_quantizer
from .free_names import FreeNames
from .placing import folded_parameters
from .quantizers import MICROSOFT_TYPES, ActivationSite, NormFolding, Placement, Unit, WeightSite
from .whole_model import add_domain, create_whole_proto

GATES = "quantizer_gates"
# First opset whose QuantizeLinear takes a scale that is not float32.
NARROW_SCALE_OPSET = 19


@dataclass(frozen=True, eq=False)
class UnitNodes:
    """The operators of one quantizer as they stand in a branch; the last one makes the result."""

    quantizer: int
    source: str
    nodes: tuple[onnx.NodeProto, ...]


@dataclass(frozen=True, eq=False)
class SiteNames:
    """Where an activation site stands in the switched model.

    Attributes:
        plain: the original's tensor.
        after: what its readers get.
    """

    plain: str
    after: str
    units: tuple[UnitNodes, ...]


@dataclass(frozen=True, eq=False)
class SwitchedModel:
    """The model, and where its gates are.

    Attributes:
        gates: name of the bool input of shape (quantizers,): True quantizes.
        outputs: names of the original's outputs.
        sites: as the placement orders them.
        switches: names of the If nodes.
        weight_errors: of each weight quantizer, noise over signal of its values in dB.
    """

    proto: onnx.ModelProto
    placement: Placement
    gates: str
    outputs: tuple[str, ...]
    sites: tuple[SiteNames, ...] = ()
    switches: frozenset[str] = frozenset()
    weight_errors: Mapping[int, float] = field(default_factory=dict)


def create_switched_model(
    original: Network, variant: Network, placement: Placement
) -> SwitchedModel:
    """Return the original with the quantizers of the variant behind gates.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_whole_proto`.
    """
    return Builder(original, variant, placement).build()


def settle(
    nodes: Iterable[onnx.NodeProto], switched: SwitchedModel, on: bool
) -> Iterator[list[onnx.NodeProto]]:
    """Yield for each node of a switched model what it is with all gates open, or closed."""
    for node in nodes:
        if node.op_type == "Gather" and node.input[0] == switched.gates:
            yield []
        elif node.op_type == "If" and node.name in switched.switches:
            wanted = "then_branch" if on else "else_branch"
            branch = next(a.g for a in node.attribute if a.name == wanted)
            yield [*map(_copy, branch.node), _identity(branch.output[0].name, node.output[0])]
        else:
            copy = _copy(node)
            for body in bodies_of(copy):
                inner = [one for settled in settle(body.node, switched, on) for one in settled]
                del body.node[:]
                body.node.extend(inner)
            yield [copy]


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    return onnx.NodeProto.FromString(node.SerializeToString())


class Builder:
    """The proto that is being changed, and the nodes that go in: behind which, or first where."""

    def __init__(self, original: Network, variant: Network, placement: Placement) -> None:
        self.original, self.variant, self.placement = original, variant, placement
        self.proto, self.nodes = create_whole_proto(original.model)
        self._free_names = FreeNames(all_names(self.proto.graph))
        self.gates = self._new_name(GATES)
        self.opset = original.model.opset
        self.constants: dict[int, str] = {}
        self.opened: dict[int, str] = {}
        self.renamed: dict[str, str] = {}
        self.removed: set[int] = set()
        self.switches: set[str] = set()
        self.types: dict[str, int] | None = None
        narrow = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
        self.is_narrow = any(t.data_type in narrow for t in self.proto.graph.initializer)
        self.folded: dict[str, np.ndarray] = {}
        self.errors: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self.opening: list[onnx.NodeProto] = []
        self.held: dict[str, str] = {}
        self.first: dict[int, list[onnx.NodeProto]] = defaultdict(list)
        self.before: dict[int, list[onnx.NodeProto]] = defaultdict(list)
        self.behind: dict[int, list[onnx.NodeProto]] = defaultdict(list)

    def build(self) -> SwitchedModel:
        graph = self.proto.graph
        outputs = tuple(value.name for value in graph.output)
        for folding in self.placement.foldings:
            self._fold(folding)
        self._free_outputs()
        for weight in self.placement.weights:
            self._switch_weight(weight)
        sites = tuple(self._switch_activation(site) for site in self.placement.activations)
        self._finish_sites()
        count = len(self.placement.quantizers)
        graph.input.append(
            helper.make_tensor_value_info(self.gates, onnx.TensorProto.BOOL, [count])
        )
        main = self.original.model.graph
        self.first[id(main)][:0] = self.opening
        self._insert(main, graph)
        errors = {index: _error_db(*sums) for index, sums in self.errors.items()}
        return SwitchedModel(
            self.proto, self.placement, self.gates, outputs, sites, frozenset(self.switches), errors
        )

    def _finish_sites(self) -> None:
        """Change what is left to change, with every quantizer in its place."""

    # ------------------------------------------------- names, constants, gates

    def _new_name(self, stem: str) -> str:
        return self._free_names.new(stem)

    def _add_constant(self, array: np.ndarray, stem: str) -> str:
        name = self._new_name(f"{stem}/held")
        self.proto.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _constant(self, value: ir.Value) -> str:
        """Return the name of an initializer that holds a constant of the variant."""
        if id(value) not in self.constants:
            source = self.variant.constants.get(value)
            assert source is not None
            array = np.asarray(source.read()).astype(numpy_dtype(source.data_type), copy=False)
            array = array.reshape(()) if array.size == 1 else array
            self.constants[id(value)] = self._add_constant(array, value.name or "constant")
        return self.constants[id(value)]

    def _gate(self, index: int) -> str:
        """Return the name of the one bool that opens a quantizer."""
        if index not in self.opened:
            at = self._add_constant(np.asarray(index, np.int64), f"gate_{index}")
            name = self._new_name(f"gate_{index}")
            self.opening.append(helper.make_node("Gather", [self.gates, at], [name], axis=0))
            self.opened[index] = name
        return self.opened[index]

    def _choose(
        self, gate: str, on: Sequence[onnx.NodeProto], off: str, stem: str
    ) -> onnx.NodeProto:
        """Return an If: the last output of ``on`` where the gate is open, else ``off``."""
        name, closed = self._new_name(f"{stem}/switched"), self._new_name(f"{stem}/off")
        branches = [
            helper.make_graph(list(nodes), self._new_name(end), [], [onnx.ValueInfoProto(name=end)])
            for nodes, end in ((on, on[-1].output[0]), ([_identity(off, closed)], closed))
        ]
        self.switches.add(name)
        return helper.make_node(
            "If", [gate], [name], name=name, then_branch=branches[0], else_branch=branches[1]
        )

    # ------------------------------------------------- before anything is switched

    def _fold(self, folding: NormFolding) -> None:
        """Put a batch-norm into the layer before it, as the variant has it."""
        node = self.nodes[id(self.original.nodes[folding.layer])]
        norm = self.nodes[id(self.original.nodes[folding.norm])]
        weight, bias = folded_parameters(self.original, folding)
        held = self._add_constant(weight, node.input[1])
        node.input[:] = [node.input[0], held, self._add_constant(bias, f"{held}/bias")]
        self.folded |= dict(zip(node.input[1:], (weight, bias), strict=True))
        self.renamed[node.output[0]] = norm.output[0]
        node.output[0] = norm.output[0]
        self.removed.add(id(norm))

    def _free_outputs(self) -> None:
        """Give what is quantized at an output of the graph another name: the end gets its own."""
        names = {self._name_of(s.value) for s in self.placement.activations if s.at_output}
        new = {name: self._new_name(f"{name}/float") for name in names}
        for node in all_nodes(self.proto.graph.node):
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
        self.renamed.update(new)

    def _name_of(self, value: ir.Value) -> str:
        name = value.name or ""
        while name in self.renamed:
            name = self.renamed[name]
        return name

    # ------------------------------------------------- weights

    def _switch_weight(self, site: WeightSite) -> None:
        node, values = self.nodes[id(site.node)], np.asarray(site.read())
        node.input.extend([""] * (site.position + 1 - len(node.input)))
        old = node.input[site.position]
        given = site.node.inputs[site.position] if site.position < len(site.node.inputs) else None
        stem = old or f"{node.output[0]}/bias"
        if not old:
            old = self._add_constant(np.zeros(values.shape, values.dtype), stem)
        source = self.original.constants.get(given)
        if source is not None:
            values = values.astype(numpy_dtype(source.data_type), copy=False)
        self._add_error(site, old, values)
        on = self._weight_nodes(site, values, stem)
        made = self._choose(self._gate(site.quantizer), on, old, stem)
        self._place_behind(given if given is not None and given.name == old else None, made)
        node.input[site.position] = made.output[0]

    def _weight_nodes(
        self, site: WeightSite, values: np.ndarray, stem: str
    ) -> list[onnx.NodeProto]:
        """Return what stands for a weight where its gate is open; the last node makes it."""
        held = self._add_constant(values, f"{stem}/values")
        return [_identity(held, self._new_name(f"{stem}/on"))]

    def _add_error(self, site: WeightSite, old: str, values: np.ndarray) -> None:
        given = site.node.inputs[site.position] if site.position < len(site.node.inputs) else None
        source = self.original.constants.get(given)
        exact = self.folded.get(old)
        if exact is None and source is not None:
            exact = source.read()
        if exact is None or exact.shape != values.shape:
            return
        with np.errstate(all="ignore"):
            exact, held = exact.astype(np.float64), values.astype(np.float64)
            self.errors[site.quantizer] += np.square(held - exact).sum(), np.square(exact).sum()

    def _place_behind(self, value: ir.Value | None, made: onnx.NodeProto) -> None:
        """Put a node behind the one that makes a value; first where no node makes it."""
        producer = value.producer() if value is not None else None
        while producer is not None and id(self.nodes[id(producer)]) in self.removed:
            producer = producer.inputs[0].producer()  # type: ignore[union-attr]
        if producer is not None:
            self.behind[id(self.nodes[id(producer)])].append(made)
            return
        owner = value.graph if value is not None else None
        graph = owner if isinstance(owner, ir.Graph) else self.original.model.graph
        self.first[id(graph)].append(made)

    # ------------------------------------------------- activations

    def _switch_activation(self, site: ActivationSite) -> SiteNames:
        plain = last = self._name_of(site.value)
        source = self._name_of(site.source)
        units = []
        for index, unit in site.units:
            stem = f"{last}/{index}"
            nodes = tuple(self._in_its_type(index, unit, source, stem, site.source.name or ""))
            units.append(UnitNodes(index, source, nodes))
            made = self._choose(self._gate(index), nodes, last, stem)
            if site.at_output and index == site.units[-1][0]:
                made.output[0] = site.value.name or ""
            self._place_behind(site.value, made)
            last = source = made.output[0]
        for reader, position in site.readers:
            self.nodes[id(reader)].input[position] = last
        return SiteNames(plain, last, tuple(units))

    def _in_its_type(
        self, index: int, unit: Unit, value: str, stem: str, tensor: str
    ) -> Iterator[onnx.NodeProto]:
        """Yield the operators of one quantizer, between casts where it computes in another type."""
        given, wanted = self._float_type(tensor), self._computing_type(index, unit)
        if given == wanted:
            yield from self._unit_nodes(index, unit, value, stem)
            return
        before = helper.make_node("Cast", [value], [self._new_name(f"{stem}/wide")], to=wanted)
        last = before
        yield before
        for last in self._unit_nodes(index, unit, before.output[0], stem):
            yield last
        yield helper.make_node("Cast", [last.output[0]], [self._new_name(f"{stem}/on")], to=given)

    def _computing_type(self, _index: int, unit: Unit) -> int:
        """Return the element type that the operators of a quantizer take."""
        scale = self.variant.constants.get(unit.steps[0].scale)
        if scale is None:
            return int(onnx.TensorProto.FLOAT)
        return int(helper.np_dtype_to_tensor_dtype(numpy_dtype(scale.data_type)))

    def _unit_nodes(
        self, _index: int, unit: Unit, value: str, stem: str
    ) -> Iterator[onnx.NodeProto]:
        """Yield the operators of one quantizer, as the variant has them."""
        first = unit.steps[0]
        if first.kind is StepKind.FAKE:
            yield from self._fake(first.node, value, stem)
            return
        if first.kind is StepKind.DYNAMIC:
            codes = [self._new_name(f"{stem}/{end}") for end in ("codes", "scale", "zero_point")]
            yield helper.make_node("DynamicQuantizeLinear", [value], codes)
            yield helper.make_node("DequantizeLinear", codes, [self._new_name(f"{stem}/on")])
            return
        quantize = self._linear("QuantizeLinear", first, value, f"{stem}/codes")
        yield quantize
        last = quantize
        closing = first
        for step in unit.steps[1:]:
            if step.kind is StepKind.CLIP:
                bounds = [self._constant(v) if v is not None else "" for v in step.node.inputs[1:]]
                name = self._new_name(f"{stem}/clipped")
                last = helper.make_node("Clip", [last.output[0], *bounds], [name])
                yield last
            elif step.kind is StepKind.DEQUANTIZE:
                closing = step
        yield self._linear("DequantizeLinear", closing, last.output[0], f"{stem}/on")

    def _linear(self, op_type: str, step: Step, value: str, stem: str) -> onnx.NodeProto:
        """Return QuantizeLinear or DequantizeLinear with the scale and zero-point of a step."""
        assert step.scale is not None
        inputs = [value, self._constant(step.scale)]
        if step.zero_point is not None:
            inputs.append(self._constant(step.zero_point))
        node = helper.make_node(op_type, inputs, [self._new_name(stem)])
        explicit = step.node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if explicit:
            known = _ATTRIBUTES[op_type]
            for name, attribute in step.node.attributes.items():
                if name in known:
                    node.attribute.append(ir.serde.serialize_attribute(attribute))
        node.domain = self._domain(step, explicit)
        add_domain(self.proto, node.domain)
        return node

    def _domain(self, step: Step, explicit: bool) -> str:
        """Return where the operator is taken from: the original's opset may be too old for it."""
        codes, scale = (self.variant.constants.get(v) for v in (step.zero_point, step.scale))
        needed = self.variant.model.opset
        if scale is not None and scale.data_type != "float32":
            needed = max(needed, NARROW_SCALE_OPSET)
        if explicit and step.node.domain != MICROSOFT and self.opset >= needed:
            return ""
        data_type = codes.data_type if codes is not None else "uint8"
        return MICROSOFT if data_type in MICROSOFT_TYPES else ""

    def _fake(self, node: ir.Node, value: str, stem: str) -> Iterator[onnx.NodeProto]:
        quantizer = read_fake_quantizer(node, self.variant.constants)
        assert quantizer is not None
        yield from create_fake_nodes(
            quantizer,
            value,
            lambda array: self._add_constant(array, stem),
            lambda end: self._new_name(f"{stem}/{end}"),
        )

    def _float_type(self, name: str) -> int:
        """Return the element type of a tensor of the original."""
        if self.types is None:
            self.types = _infer_types(self.original.model) if self.is_narrow else {}
        return self.types.get(name, onnx.TensorProto.FLOAT)

    # ------------------------------------------------- putting it together

    def _insert(self, graph: ir.Graph, proto: onnx.GraphProto) -> None:
        """Write the nodes of a graph again with those that were added, those of bodies first."""
        ordered = list(self.first.get(id(graph), ()))
        for node, made in zip(graph, list(proto.node), strict=True):
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.GRAPH:
                    inner = next(a for a in made.attribute if a.name == name)
                    self._insert(attribute.as_graph(), inner.g)
            if id(made) not in self.removed:
                ordered += [*self.before.get(id(made), ()), made]
            ordered += self.behind.get(id(made), [])
        copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del proto.node[:]
        proto.node.extend(copied)
        del proto.value_info[:]


_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "QuantizeLinear": frozenset(("axis", "block_size", "saturate", "output_dtype", "precision")),
    "DequantizeLinear": frozenset(("axis", "block_size", "output_dtype")),
}


def _infer_types(model: Model) -> dict[str, int]:
    """Return the element type of each tensor, by shape inference without the weights."""
    proto = onnx.ModelProto(ir_version=10)
    proto.graph.CopyFrom(ir.serde.serialize_graph(model.graph))
    for domain, version in model.graph.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    graph = onnx.shape_inference.infer_shapes(proto).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _error_db(noise: float, signal: float) -> float:
    if not noise > 0:
        return -np.inf if noise == 0 else np.inf
    return float(10 * np.log10(noise / signal)) if signal > 0 else np.inf


def _identity(source: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [name])


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of their bodies."""
    for node in nodes:
        yield node
        for body in bodies_of(node):
            yield from all_nodes(body.node)


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield every name that nodes have, read or make, those in their bodies too."""
    for node in all_nodes(nodes):
        yield from (node.name, *node.input, *node.output)
        for body in bodies_of(node):
            yield from (tensor.name for tensor in body.initializer)
            yield from (value.name for value in (*body.input, *body.output))


def all_names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    yield from names_of(graph.node)
