"""The switched model whose quantizers can be set anew for each run, without building it again.

Every integer quantizer of an activation computes in 16 bits: ``Clip`` to the ends of its codes,
then QuantizeLinear with a scale and a zero-point that are inputs. So one model stands for any
width, any range and any signedness; and each weight can take one of several values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from ..facts import QuantizerKind
from ..measuring.outputs import Quantizer
from ..operators import MICROSOFT, MOVING
from ..reading.edges import Network, StepKind
from .bias_operands import BiasOperand, find_bias
from .quantizers import Placement, Unit, WeightSite
from .switched_model import Builder, SwitchedModel
from .whole_model import add_domain

SCALES, ZERO_POINTS, BOUNDS = "quantizer_scales", "quantizer_zero_points", "quantizer_bounds"
CHOICES, SHIFTS = "weight_choices", "bias_shifts"
# First opset whose Clip takes its ends as inputs.
CLIP_OPSET = 11
# First opset whose Slice takes its ends as inputs.
SLICE_OPSET = 10
WIDEST = 16
# How far behind an output is looked.
MOST_BEHIND = 12

# Of a weight quantizer: what its sites hold instead, by the index of the site in the placement.
Alternative = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """How one activation quantizer computes.

    Attributes:
        zero_point: counted from the lowest code, 0 to 65535.
        low, high: the ends of what its codes hold.
    """

    scale: float
    zero_point: int
    low: float
    high: float

    @classmethod
    def of(cls, scale: float, zero_point: float, limits: tuple[float, float]) -> Setting:
        """Return the setting of codes between limits."""
        low, high = ((limit - zero_point) * scale for limit in limits)
        return cls(scale, int(zero_point - limits[0]), low, high)


@dataclass(frozen=True, eq=False)
class ShiftedBias:
    """A bias that can be shifted channel by channel.

    Attributes:
        layer: of the original.
        output: the layer's output, behind the bias, as the tunable model names it.
        axis: of its channels there.
        start, size: where its channels are among all shifts.
        values: the original's bias, float32, (size,); zeros where it has none.
    """

    layer: str
    output: str
    axis: int
    start: int
    size: int
    values: np.ndarray


@dataclass(frozen=True)
class Behind:
    """A tensor that an output is made from.

    Attributes:
        through: the operator between it and the one before.
    """

    tensor: str
    through: str


@dataclass(frozen=True, eq=False)
class TunableModel:
    """A switched model with five further inputs.

    Attributes:
        settings: of each quantizer, those of the file; None for what can be switched only.
        choices: how many values each quantizer can take: 1 for all but weights with alternatives,
            and activations whose channels can be divided.
        biases: of weight quantizers, the layers whose bias can be shifted.
        behind: of each output, the tensors that it is made from, the nearest first, as far as one
            leads to the next; they can be put out too.
    """

    switched: SwitchedModel
    inputs: tuple[str, str, str, str, str]
    settings: tuple[Setting | None, ...]
    choices: tuple[int, ...]
    biases: Mapping[int, ShiftedBias]
    behind: Mapping[str, tuple[Behind, ...]]

    @property
    def proto(self) -> onnx.ModelProto:
        return self.switched.proto

    def create_inputs(
        self,
        on: Sequence[bool] | np.ndarray,
        settings: Mapping[int, Setting],
        choices: Mapping[int, int],
        shifts: Mapping[int, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the inputs of a run: who is on, what differs from the file, which weights.

        Args:
            shifts: of weight quantizers, what is added to the bias; float32, (channels,).
        """
        count = len(self.settings)
        scales, zeros = np.ones(count, np.float32), np.zeros(count, np.uint16)
        bounds, chosen = np.zeros((count, 2), np.float32), np.zeros(count, np.int64)
        widest = np.finfo(np.float32).max
        for index, known in enumerate(self.settings):
            setting = settings.get(index, known)
            if setting is not None:
                scales[index], zeros[index] = setting.scale, setting.zero_point
                bounds[index] = np.clip((setting.low, setting.high), -widest, widest)
            chosen[index] = choices.get(index, 0)
        arrays = scales, zeros, bounds, chosen, self._join_shifts(shifts or {})
        return {
            self.switched.gates: np.asarray(on, bool),
            **dict(zip(self.inputs, arrays, strict=True)),
        }

    def _join_shifts(self, shifts: Mapping[int, np.ndarray]) -> np.ndarray:
        joined = np.zeros(1 + sum(one.size for one in self.biases.values()), np.float32)
        for quantizer, shift in shifts.items():
            bias = self.biases[quantizer]
            joined[bias.start : bias.start + bias.size] = shift
        return joined


def create_tunable_model(
    original: Network,
    variant: Network,
    placement: Placement,
    alternatives: Mapping[int, Sequence[Alternative]],
    divisors: Mapping[int, np.ndarray] = MappingProxyType({}),
) -> TunableModel:
    """Return the original with every quantizer of the variant behind a gate, to be set by inputs.

    Args:
        alternatives: of weight quantizers, what the weight can be instead of what the file holds.
        divisors: of activation quantizers, what their first choice divides the tensor by before
            they quantize it, and multiplies it by behind; float32, of a shape that goes with it.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_switched_model`.
    """
    builder = _TunableBuilder(original, variant, placement, alternatives, divisors)
    return builder.build_tunable()


def is_tunable(quantizer: Quantizer) -> bool:
    """Whether a quantizer is one scale and zero-point of integers of at most 16 bits."""
    return (
        quantizer.kind is QuantizerKind.ACTIVATION
        and quantizer.scale is not None
        and quantizer.scale.size == 1
        and float(quantizer.scale.reshape(-1)[0]) > 0
        and quantizer.data_type.removeprefix("u").startswith("int")
        and quantizer.code_limits is not None
        and quantizer.code_limits[1] - quantizer.code_limits[0] < 1 << WIDEST
        and float(quantizer.code_limits[0]).is_integer()
    )


def find_setting(quantizer: Quantizer) -> Setting | None:
    """Return what the file has; None for what can be switched only."""
    if not is_tunable(quantizer):
        return None
    assert quantizer.scale is not None and quantizer.code_limits is not None
    scale = float(quantizer.scale.reshape(-1)[0])
    return Setting.of(scale, quantizer.zero, quantizer.code_limits)


class _TunableBuilder(Builder):
    """Builds quantizers from inputs, and weights from several constants."""

    def __init__(
        self,
        original: Network,
        variant: Network,
        placement: Placement,
        alternatives: Mapping[int, Sequence[Alternative]],
        divisors: Mapping[int, np.ndarray],
    ) -> None:
        super().__init__(original, variant, placement)
        self.alternatives, self.divisors = alternatives, divisors
        ends = SCALES, ZERO_POINTS, BOUNDS, CHOICES, SHIFTS
        self.inputs = tuple(self._new_name(end) for end in ends)
        self.settings = [find_setting(quantizer) for quantizer in placement.quantizers]
        self.site_numbers = {id(site): number for number, site in enumerate(placement.weights)}
        self.biases: dict[int, ShiftedBias] = {}
        self._forget_the_odd()

    def build_tunable(self) -> TunableModel:
        add_domain(self.proto, MICROSOFT)
        switched = self.build()
        count = len(self.settings)
        size = 1 + sum(bias.size for bias in self.biases.values())
        proto_types = onnx.TensorProto
        kinds = (
            (proto_types.FLOAT, [count]),
            (proto_types.UINT16, [count]),
            (proto_types.FLOAT, [count, 2]),
            (proto_types.INT64, [count]),
            (proto_types.FLOAT, [size]),
        )
        for name, (data_type, shape) in zip(self.inputs, kinds, strict=True):
            value = helper.make_tensor_value_info(name, data_type, shape)
            self.proto.graph.input.append(value)
        choices = tuple(
            1 + len(self.alternatives.get(i, ())) + (i in self.divisors) for i in range(count)
        )
        scales, zeros, bounds, chosen, shifts = self.inputs
        inputs = scales, zeros, bounds, chosen, shifts
        behind = {name: tuple(self._list_behind(name)) for name in switched.outputs}
        self._put_out({one.tensor for each in behind.values() for one in each})
        return TunableModel(switched, inputs, tuple(self.settings), choices, self.biases, behind)

    def _list_behind(self, output: str) -> Iterator[Behind]:
        """Yield what an output is made from, as long as each layer reads one tensor alone."""
        main = self.original.model.graph
        value = next(one for one in main.outputs if one.name == output)
        for _ in range(MOST_BEHIND):
            node = value.producer()
            if node is None or node.graph is not main or id(node) not in self.nodes:
                return
            inside = any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())
            data = node.inputs[:1] if node.op_type in MOVING else node.inputs
            read = [(at, v) for at, v in enumerate(data) if self._is_computed(v)]
            if inside or len(read) != 1:
                return
            ((at, found),) = read
            yield Behind(self.nodes[id(node)].input[at], node.op_type)
            assert found is not None
            value = found

    def _is_computed(self, value: ir.Value | None) -> bool:
        return value is not None and not self.original.is_constant(value)

    def _put_out(self, tensors: set[str]) -> None:
        given = {value.name for value in (*self.proto.graph.output, *self.proto.graph.input)}
        self.proto.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in sorted(tensors - given)
        )

    def _forget_the_odd(self) -> None:
        """Leave to gates what dequantizes unlike it quantized, or quantizes by other operators."""
        for site in self.placement.activations:
            for index, unit in site.units:
                if not self._is_plain(unit):
                    self.settings[index] = None

    def _is_plain(self, unit: Unit) -> bool:
        linear = [step for step in unit.steps if step.kind is not StepKind.CLIP]
        kinds = [step.kind for step in linear]
        if kinds not in ([StepKind.QUANTIZE], [StepKind.QUANTIZE, StepKind.DEQUANTIZE]):
            return False
        read = [
            None if source is None else source.read().reshape(-1)
            for step in linear[:1] + linear[-1:]
            for source in map(self.variant.constants.get, (step.scale, step.zero_point))
        ]
        return all(
            (one is None and other is None)
            or (one is not None and other is not None and np.array_equal(one, other))
            for one, other in zip(read[:2], read[2:], strict=True)
        )

    # ------------------------------------------------- activations

    def _computing_type(self, index: int, unit: Unit) -> int:
        if self.settings[index] is None:
            return super()._computing_type(index, unit)
        return int(onnx.TensorProto.FLOAT)

    def _unit_nodes(
        self, index: int, unit: Unit, value: str, stem: str
    ) -> Iterator[onnx.NodeProto]:
        if index not in self.divisors:
            yield from self._quantizing_nodes(index, unit, value, stem)
            return
        factors = self._factors(index)
        divided, last = self._new_name(f"{stem}/divided"), None
        yield helper.make_node("Div", [value, factors], [divided])
        for last in self._quantizing_nodes(index, unit, divided, stem):
            yield last
        assert last is not None
        made = self._new_name(f"{stem}/multiplied")
        yield helper.make_node("Mul", [last.output[0], factors], [made])

    def _factors(self, index: int) -> str:
        """Return the name of what a tensor is divided by: ones as long as that is not chosen."""
        key = f"factors_{index}"
        if key not in self.held:
            flag, name = self._choice_flag(index, 1), self._new_name(key)
            factors = self.divisors[index].astype(np.float32)
            ends = [self._add_constant(one, key) for one in (factors, np.ones_like(factors))]
            self.opening.append(helper.make_node("Where", [flag, *ends], [name]))
            self.held[key] = name
        return self.held[key]

    def _quantizing_nodes(
        self, index: int, unit: Unit, value: str, stem: str
    ) -> Iterator[onnx.NodeProto]:
        if self.settings[index] is None:
            yield from super()._unit_nodes(index, unit, value, stem)
            return
        at = self._held_index(index)
        names = []
        for name in self.inputs[:3]:
            names.append(self._new_name(f"{stem}/{name}"))
            yield helper.make_node("Gather", [name, at], [names[-1]], axis=0)
        scale, zero, bounds = names
        low, high = self._new_name(f"{stem}/low"), self._new_name(f"{stem}/high")
        for end, held in ((low, 0), (high, 1)):
            yield helper.make_node("Gather", [bounds, self._held_index(held)], [end], axis=0)
        clipped = self._new_name(f"{stem}/clipped")
        yield from self._clip(value, low, high, clipped)
        codes = self._new_name(f"{stem}/codes")
        for op_type, inputs, output in (
            ("QuantizeLinear", [clipped, scale, zero], codes),
            ("DequantizeLinear", [codes, scale, zero], self._new_name(f"{stem}/on")),
        ):
            yield helper.make_node(op_type, inputs, [output], domain=MICROSOFT)

    def _clip(self, value: str, low: str, high: str, result: str) -> Iterator[onnx.NodeProto]:
        if self.opset >= CLIP_OPSET:
            yield helper.make_node("Clip", [value, low, high], [result])
            return
        raised = self._new_name(f"{result}/raised")
        yield helper.make_node("Max", [value, low], [raised])
        yield helper.make_node("Min", [raised, high], [result])

    def _held_index(self, index: int) -> str:
        return self._shared(np.asarray(index, np.int64), f"index_{index}")

    def _shared(self, array: np.ndarray, stem: str) -> str:
        if stem not in self.held:
            self.held[stem] = self._add_constant(array, stem)
        return self.held[stem]

    # ------------------------------------------------- weights

    def _weight_nodes(
        self, site: WeightSite, values: np.ndarray, stem: str
    ) -> list[onnx.NodeProto]:
        """Return a chain of choices: the last alternative, else the one before, else the file's."""
        nodes = super()._weight_nodes(site, values, stem)
        number = self.site_numbers[id(site)]
        for choice, alternative in enumerate(self.alternatives.get(site.quantizer, ()), 1):
            if number not in alternative:
                continue
            held = self._add_constant(alternative[number].astype(values.dtype), f"{stem}/{choice}")
            on = [helper.make_node("Identity", [held], [self._new_name(f"{stem}/{choice}/on")])]
            flag = self._choice_flag(site.quantizer, choice)
            nodes.append(self._choose(flag, on, nodes[-1].output[0], f"{stem}/{choice}"))
        return nodes

    def _choice_flag(self, quantizer: int, choice: int) -> str:
        """Return the name of the bool that says whether a quantizer takes one of its choices."""
        key = f"choice_{quantizer}_{choice}"
        if key not in self.held:
            chosen, flag = self._new_name(f"{key}/chosen"), self._new_name(key)
            at = self._held_index(quantizer)
            wanted = self._add_constant(np.asarray(choice, np.int64), key)
            self.opening += [
                helper.make_node("Gather", [self.inputs[3], at], [chosen], axis=0),
                helper.make_node("Equal", [chosen, wanted], [flag]),
            ]
            self.held[key] = flag
        return self.held[key]

    # ------------------------------------------------- biases

    def _finish_sites(self) -> None:
        """Let the bias of each quantized layer be shifted that has one, or can have one."""
        if self.is_narrow or self.opset < SLICE_OPSET:
            return
        for site in self.placement.weights:
            layers = self.placement.quantizers[site.quantizer].layers
            if site.quantizer in self.biases or len(layers) != 1:
                continue
            found = find_bias(self.original, layers[0])
            if found is not None:
                self._shift(site.quantizer, layers[0], found)

    def _shift(self, quantizer: int, layer: str, bias: BiasOperand) -> None:
        node, size = self.nodes[id(bias.node)], bias.size
        start = 1 + sum(one.size for one in self.biases.values())
        node.input.extend([""] * (bias.position + 1 - len(node.input)))
        stem, old = f"{node.output[0]}/bias", node.input[bias.position]
        values = self.folded.get(old, bias.values)
        old = old or self._add_constant(np.zeros(size, np.float32), stem)
        ends = [self._add_constant(np.array([end]), stem) for end in (start, start + size)]
        cut, made = self._new_name(f"{stem}/shift"), self._new_name(f"{stem}/shifted")
        self.opening.append(helper.make_node("Slice", [self.inputs[4], *ends], [cut]))
        self.before[id(node)].append(helper.make_node("Add", [old, cut], [made]))
        node.input[bias.position] = made
        self.biases[quantizer] = ShiftedBias(
            layer, node.output[0], bias.axis, start, size, values.astype(np.float32)
        )
