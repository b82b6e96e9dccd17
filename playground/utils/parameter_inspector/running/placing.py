"""Which tensor of the float original gets which quantizer of a variant.

Every edge of a variant's layer is followed back through the plumbing; what quantizes there is put
on the same edge of the original's layer. One quantizer has one gate, however many edges it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..facts import Evidence, QuantizerKind, UnplacedReason
from ..measuring.outputs import Quantizer, Unplaced
from ..operators import MOVING
from ..pairing.structure import Walk, family, match_ends
from ..quantization import NotUnderstoodError, UnavailableError, code_limits
from ..reading.edges import Edge, Network, Step, StepKind, operands
from ..reading.model_file import spell_data_type
from ..reading.storage import operands_of
from ..records import Layer, LayerPair, Pairing, WeightTensor
from ..streaming.channel_frame import channels_first, fold_original
from .fake_quantizers import ROUND_OPSET, read_fake_quantizer
from .grouping import MAX_MOVES, group_quantizers
from .quantizers import MICROSOFT_TYPES, ActivationSite, NormFolding, Placement, Unit, WeightSite

# A float weight that differs from the original's by less than this is the same one, folded.
SAME_WEIGHT = 1e-5
# Channels that differ by more than this factor were equalized.
EQUALIZED = 0.01
# The factors explain the difference if they leave less than this of its square.
EXPLAINED = 0.1

# First opsets of DynamicQuantizeLinear, and of QuantizeLinear to float8.
DYNAMIC_OPSET, FLOAT8_OPSET = 11, 19

_MOVED = ("Cast", "Identity", "Dropout")
_DROPPED = ("Relu", "Clip")


def place_quantizers(original: Network, variant: Network, pairing: Pairing) -> Placement:
    """Return where the quantizers of a variant stand in the original.

    Args:
        pairing: of all layers, those without weights among them.
    """
    return _Placing(original, variant, pairing).place()


class _Placing:
    """What is known while the edges are gone through."""

    def __init__(self, original: Network, variant: Network, pairing: Pairing) -> None:
        self.original, self.variant, self.pairing = original, variant, pairing
        self.walk = Walk(original, variant)
        for pair in pairing.pairs:
            if pair.original in original.nodes and pair.variant in variant.nodes:
                self.walk.partner[pair.original] = pair.variant
                self.walk.owner[pair.variant] = pair.original
        self.quantizers: list[Quantizer] = []
        self.index_of: dict[object, int] = {}
        self.sites: dict[tuple[int, ...], ActivationSite] = {}
        self.weights: list[WeightSite] = []
        self.unplaced: list[Unplaced] = []
        self.norms = dict(self._folded_norms())

    def place(self) -> Placement:
        for layer in self.original.layers:
            partner = self.walk.partner.get(layer)
            if partner is not None:
                self._place_layer(layer, partner)
        self._place_outputs()
        self._note_unpaired()
        foldings = tuple(NormFolding(layer, norm) for layer, norm in self.norms.items())
        sites = tuple(self.sites.values())
        quantizers = group_quantizers(self.original, tuple(self.quantizers), sites)
        return Placement(quantizers, sites, tuple(self.weights), foldings, tuple(self.unplaced))

    def _place_layer(self, left: str, right: str) -> None:
        self._place_weights(left, right)
        node = self.original.nodes[left]
        for ours, theirs in self.walk.common_edges(left, right):
            if ours.position < len(node.inputs):
                self._place_edge(ours, theirs, node)

    # ------------------------------------------------- activations

    def _place_edge(self, ours: Edge, theirs: Edge, node: ir.Node | None) -> None:
        source, steps = self._whole_edge(theirs)
        if steps and steps[0].kind is StepKind.DEQUANTIZE and self._is_given(source):
            # Codes come in: who calls the variant quantizes, with the scale that stands here.
            steps = (replace(steps[0], kind=StepKind.QUANTIZE), *steps)
        units = tuple(unit for unit in _units(steps) if self._can_place(unit, theirs))
        if not units or (node is None and ours.value.producer() is None):
            return
        numbered = tuple((self._number(unit, ours), unit) for unit in units)
        start = self._start(ours, source)
        key = (id(ours.value), id(start), node is None, *(i for i, _ in numbered))
        site = self.sites.get(key) or ActivationSite(ours.value, start, numbered, (), node is None)
        readers = ((node, ours.position),) if node is not None else ()
        self.sites[key] = replace(site, readers=(*site.readers, *readers))

    def _is_given(self, value: ir.Value) -> bool:
        """Whether codes come from an input of the graph, perhaps moved."""
        for _ in range(MAX_MOVES):
            if value.is_graph_input():
                return True
            maker = self.variant.maker(value)
            edge = self.variant.edge(maker[0], 0) if maker is not None else None
            if maker is None or edge is None or edge.steps:
                return False
            if self.variant.layers[maker[0]].op_type not in MOVING:
                return False
            value = edge.source
        return False

    def _can_place(self, unit: Unit, edge: Edge) -> bool:
        """Whether a quantizer can be written in the original; if not, that is noted once."""
        if unit.key in self.index_of:
            return self.index_of[unit.key] >= 0
        reason = self._refusal(unit)
        if reason is not None:
            self.index_of[unit.key] = -1
            self._note(reason, QuantizerKind.ACTIVATION, _tensor_of(unit), edge.reader)
        return reason is None

    def _refusal(self, unit: Unit) -> UnplacedReason | None:
        first, opset = unit.steps[0], self.original.model.opset
        if first.kind is StepKind.FAKE:
            if read_fake_quantizer(first.node, self.variant.constants) is None:
                return UnplacedReason.OPERATOR
            return UnplacedReason.OPSET if opset < ROUND_OPSET else None
        if first.kind is StepKind.DYNAMIC:
            return UnplacedReason.OPSET if opset < DYNAMIC_OPSET else None
        linear = [step for step in unit.steps if step.kind is not StepKind.CLIP]
        values = [v for step in linear for v in (step.scale, step.zero_point) if v is not None]
        if any(step.scale is None for step in linear):
            return UnplacedReason.OPERATOR
        if not all(self.variant.is_constant(value) for value in values):
            return UnplacedReason.OPERATOR
        data_type = self._codes_type(unit)
        modern = data_type in MICROSOFT_TYPES or opset >= FLOAT8_OPSET
        return None if modern else UnplacedReason.OPSET

    def _whole_edge(self, edge: Edge) -> tuple[ir.Value, tuple[Step, ...]]:
        """Return source and steps of an edge of the variant, through Casts that only it has."""
        steps = edge.steps
        for _ in range(8):
            maker = self.variant.maker(edge.source)
            if maker is None or maker[0] in self.walk.owner:
                break
            if self.variant.layers[maker[0]].op_type not in _MOVED:
                break
            behind = self.variant.edge(maker[0], 0)
            if behind is None:
                break
            edge, steps = behind, (*behind.steps, *steps)
        return edge.source, steps

    def _start(self, ours: Edge, source: ir.Value) -> ir.Value:
        """Return the tensor of the original that the variant quantizes: before a dropped Relu."""
        made = self.variant.maker(source)
        owner = self.walk.owner.get(made[0]) if made is not None else None
        if made is None or owner is None or self._is_fused(made[0]):
            return ours.value
        value = ours.source
        for _ in range(3):
            maker = self.original.maker(value)
            if maker is None:
                break
            if maker == (owner, made[1]):
                return ours.value if value is ours.source else self._after_norm(owner, value)
            op_type = self.original.layers[maker[0]].op_type
            if maker[0] in self.walk.partner or op_type not in _DROPPED:
                break
            behind = self.original.edge(maker[0], 0)
            if behind is None:
                break
            value = behind.source
            before = self.original.maker(value)
            if before is not None and before[0] in self.norms.values():
                value = self._before_norm(before[0])
        return ours.value

    def _is_fused(self, layer: str) -> bool:
        return "activation" in self.variant.layers[layer].attributes

    def _after_norm(self, layer: str, value: ir.Value) -> ir.Value:
        norm = self.norms.get(layer)
        return self.original.made[norm][0] if norm is not None else value

    def _before_norm(self, norm: str) -> ir.Value:
        layer = next(layer for layer, found in self.norms.items() if found == norm)
        return self.original.made[layer][0]

    def _number(self, unit: Unit, ours: Edge) -> int:
        """Return the index of the quantizer of a unit; a new one the first time it is met."""
        index = self.index_of.get(unit.key)
        if index is None:
            index = self.index_of[unit.key] = len(self.quantizers)
            self.quantizers.append(self._create_activation(unit, ours, index))
        self._serve(index, ours.reader)
        return index

    def _create_activation(self, unit: Unit, ours: Edge, index: int) -> Quantizer:
        first = unit.steps[0]
        tensor, layers = ours.value.name or "", (ours.reader,) if ours.reader else ()
        kind = QuantizerKind.ACTIVATION
        if first.kind is StepKind.FAKE:
            fake = read_fake_quantizer(first.node, self.variant.constants)
            assert fake is not None
            return Quantizer(
                index,
                kind,
                tensor,
                layers,
                fake.data_type,
                fake.scale,
                fake.zero_point,
                fake.limits,
            )
        data_type, limits = self._codes_type(unit), self._limits(unit)
        parameters = self._read(first.scale), self._read(first.zero_point)
        return Quantizer(index, kind, tensor, layers, data_type, *parameters, limits)

    def _codes_type(self, unit: Unit) -> str:
        step = unit.steps[0]
        source = self.variant.constants.get(step.zero_point)
        if source is not None:
            return source.data_type
        declared = step.node.attributes.get("output_dtype")
        if declared is not None and declared.as_int():
            return spell_data_type(ir.DataType(declared.as_int()))
        return "uint8"

    def _limits(self, unit: Unit) -> tuple[float, float]:
        """Return lowest and highest code, those that a Clip leaves where there is one."""
        low, high = code_limits(self._codes_type(unit))
        for step in unit.steps:
            if step.kind is StepKind.CLIP:
                bounds = [self._read(value) for value in step.node.inputs[1:3]]
                low = low if bounds[0] is None else max(low, float(bounds[0]))
                high = high if len(bounds) < 2 or bounds[1] is None else min(high, float(bounds[1]))
        return low, high

    def _read(self, value: ir.Value | None) -> np.ndarray | None:
        source = self.variant.constants.get(value)
        return None if source is None else source.read()

    def _place_outputs(self) -> None:
        ends = match_ends(self.original.outputs, self.variant.outputs)
        for ours, theirs in ends:
            self._place_edge(ours, theirs, None)

    # ------------------------------------------------- weights

    def _place_weights(self, left: str, right: str) -> None:
        """Place what the variant stores at a layer: its weight and bias have one gate."""
        sites: list[tuple[str, str, WeightSite]] = []
        partner = self.variant.layers[right]
        for parameter in partner.parameters:
            if not self._is_own(parameter, partner):
                continue
            found = self._weight_site(self.original.layers[left], partner, parameter)
            if isinstance(found, UnplacedReason):
                self._note(found, QuantizerKind.WEIGHT, parameter.name, right)
            elif found is not None:
                sites.append((parameter.name, parameter.data_type, found))
        if not partner.parameters:
            sites += self._other_constants(left, right)
        if sites:
            index = self._number_weight(left, *sites[0])
            self.weights += [replace(site, quantizer=index) for _, _, site in sites]

    def _number_weight(self, layer: str, stored: str, data_type: str, site: WeightSite) -> int:
        """Return the index of the quantizer of a stored tensor, which several layers may share."""
        key = ("weight", stored or id(site))
        index = self.index_of.get(key)
        if index is None:
            index = self.index_of[key] = len(self.quantizers)
            given = site.node.inputs
            tensor = given[site.position] if site.position < len(given) else None
            name = (tensor.name if tensor is not None else None) or stored
            kind = QuantizerKind.WEIGHT
            self.quantizers.append(Quantizer(index, kind, name, (layer,), data_type))
        else:
            self._serve(index, layer)
        return index

    def _serve(self, index: int, layer: str) -> None:
        known = self.quantizers[index]
        if layer and layer not in known.layers:
            self.quantizers[index] = replace(known, layers=(*known.layers, layer))

    def _is_own(self, parameter: WeightTensor, layer: Layer) -> bool:
        """Whether a parameter is stored at the layer, not in an Add behind it."""
        if parameter.slot != "bias" or family(layer) == "Add":
            return True
        node = self.variant.nodes[layer.name]
        if layer.op_type in ("MatMulInteger", "ConvInteger"):
            return parameter.is_quantized
        return _operand_index(self.variant, node, parameter.slot) is not None

    def _weight_site(
        self, layer: Layer, partner: Layer, theirs: WeightTensor
    ) -> WeightSite | UnplacedReason | None:
        """Return where the variant's values go; None where they are the original's own."""
        found = self._float_operand(layer, theirs)
        if found is None:
            return UnplacedReason.LAYER_UNPAIRED if theirs.is_quantized else None
        node, position, ours = found
        if ours is not None and ours.is_quantized and ours.name == theirs.name:
            return None  # the original holds the same codes: nothing is lost
        factor = self._rescaling(layer, partner, theirs)
        if factor is None:
            return UnplacedReason.RESCALED
        shape = ours.shape if ours is not None else theirs.shape
        frame = _frame(theirs, ours, partner, layer)
        if frame is None:
            return UnplacedReason.SHAPE

        def read() -> np.ndarray:
            values = frame(theirs.values)
            return values if factor == 1 else (values * factor).astype(values.dtype)

        try:
            if not theirs.is_quantized and self._is_same(layer, ours, theirs.slot, read):
                return None
        except (UnavailableError, NotUnderstoodError):
            return UnplacedReason.UNREADABLE
        return WeightSite(-1, node, position, read, shape)

    def _is_same(
        self, layer: Layer, ours: WeightTensor | None, slot: str, read: Callable[[], np.ndarray]
    ) -> bool:
        """Whether the variant's float values are the original's, folded as the variant folds."""
        values = read()
        if layer.name in self.norms:
            exact = folded_parameters(
                self.original, NormFolding(layer.name, self.norms[layer.name])
            )
            ours_values = exact[1] if slot == "bias" else exact[0]
        else:
            ours_values = ours.values if ours is not None else np.zeros_like(values)
        if values.shape != ours_values.shape:
            return False
        size = float(np.abs(ours_values).max(initial=0.0))
        tolerance = SAME_WEIGHT * size if layer.name in self.norms else 0.0
        return bool(np.abs(values.astype(np.float64) - ours_values).max(initial=0.0) <= tolerance)

    def _float_operand(
        self, layer: Layer, theirs: WeightTensor
    ) -> tuple[ir.Node, int, WeightTensor | None] | None:
        """Return node, input and record of the original's operand; the bias may be in an Add."""
        node = self.original.nodes[layer.name]
        slot = theirs.slot
        if family(layer) in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"):
            constant = _constant_operand(self.original, node)
            return (
                None
                if constant is None
                else (node, constant, layer.parameters[0] if layer.parameters else None)
            )
        index = _operand_index(self.original, node, slot)
        if index is not None:
            return node, index, layer.parameter(slot)
        if slot != "bias":
            return None
        added = self._added_bias(layer)
        if added is not None:
            return added
        bias = next((o.index for o in operands_of(node) if o.slot == "bias"), None)
        return (
            None
            if bias is None or (bias < len(node.inputs) and node.inputs[bias] is not None)
            else (node, bias, None)
        )

    def _added_bias(self, layer: Layer) -> tuple[ir.Node, int, WeightTensor | None] | None:
        """Return the Add behind a layer that holds its bias."""
        if layer.bias is None:
            return None
        readers = self.original.readers.get(id(self.original.made[layer.name][0]), [])
        for edge in readers:
            follower = self.original.layers.get(edge.reader)
            if follower is None or follower.op_type != "Add" or edge.reader in self.walk.partner:
                continue
            node = self.original.nodes[edge.reader]
            constant = _constant_operand(self.original, node)
            if constant is not None:
                return node, constant, layer.bias
        return None

    def _rescaling(self, layer: Layer, partner: Layer, theirs: WeightTensor) -> float | None:
        """Return what the variant's values are multiplied by: Gemm's alpha and beta.

        None where channels were equalized.
        """
        name = "beta" if theirs.slot == "bias" else "alpha"
        ours, others = layer.attribute(name, 1.0), partner.attribute(name, 1.0)
        if family(layer) != "Linear":
            ours = others = 1.0
        factor = others / ours if ours else 1.0
        pair = self.pairing.of_original(layer.name)
        known = pair.original_factor if pair is not None else None
        if known is None:
            return factor
        left = np.asarray(known, np.float64) * factor
        if layer.name in self.norms:
            left = left / batch_norm_scale(self.original, self.norms[layer.name])
        alive = np.isfinite(left)
        if np.all(np.abs(left[alive] - 1) < EQUALIZED) or not _is_equalized(layer, partner, known):
            return factor
        return None

    def _other_constants(self, left: str, right: str) -> Iterator[tuple[str, str, WeightSite]]:
        """Yield constants that the variant dequantizes for an operator without parameters."""
        node, partner = self.original.nodes[left], self.variant.nodes[right]
        for position, at, *_ in operands(partner):
            value = partner.inputs[at] if at < len(partner.inputs) else None
            made = value.producer() if value is not None else None
            source = self.variant.constants.get(value)
            if made is None or made.op_type != "DequantizeLinear" or source is None:
                continue
            given = node.inputs[position] if position < len(node.inputs) else None
            ours = self.original.constants.get(given)
            if ours is None or ours.shape != source.shape:
                self._note(UnplacedReason.SHAPE, QuantizerKind.WEIGHT, source.name, right)
                continue
            codes = self.variant.constants.get(made.inputs[0])
            data_type = codes.data_type if codes is not None else "unknown"
            stored = codes.name if codes is not None else source.name
            yield stored, data_type, WeightSite(-1, node, position, source.read, source.shape)

    # ------------------------------------------------- what is left

    def _folded_norms(self) -> Iterator[tuple[str, str]]:
        for norm in self.pairing.folded:
            edge = self.original.edge(norm, 0)
            maker = self.original.maker(edge.source) if edge is not None else None
            if maker is not None and maker[0] in self.walk.partner:
                yield maker[0], norm

    def _note(self, reason: UnplacedReason, kind: QuantizerKind, tensor: str, layer: str) -> None:
        self.unplaced.append(Unplaced(reason, kind, tensor, layer))

    def _note_unpaired(self) -> None:
        """Note the quantizers of the variant on edges that the original does not have."""
        seen = set(self.index_of)
        for name, edges in self.variant.edges.items():
            for edge in edges.values():
                if self.variant.is_constant(edge.source):
                    continue
                for unit in _units(edge.steps):
                    if unit.key not in seen:
                        seen.add(unit.key)
                        reason, kind = UnplacedReason.LAYER_UNPAIRED, QuantizerKind.ACTIVATION
                        self._note(reason, kind, _tensor_of(unit), name)
            if name not in self.walk.owner:
                for parameter in self.variant.layers[name].parameters:
                    if parameter.is_quantized:
                        self._note(
                            UnplacedReason.LAYER_UNPAIRED,
                            QuantizerKind.WEIGHT,
                            parameter.name,
                            name,
                        )
            if self.variant.layers[name].op_type == "DynamicQuantizeLSTM":
                # It quantizes its own state at each step, which no float operator lets be done.
                self._note(UnplacedReason.OPERATOR, QuantizerKind.ACTIVATION, name, name)
            if self.variant.layers[name].not_understood:
                self._note(UnplacedReason.UNREADABLE, QuantizerKind.WEIGHT, name, name)


# ------------------------------------------------- units


def _units(steps: tuple[Step, ...]) -> Iterator[Unit]:
    """Cut the steps of an edge into quantizers; codes that were made before have none."""
    open_steps: list[Step] = []
    for step in steps:
        if step.kind is StepKind.FAKE:
            yield Unit((step,))
        elif step.kind in (StepKind.QUANTIZE, StepKind.DYNAMIC):
            if open_steps:
                yield Unit(tuple(open_steps))
            open_steps = [step]
        elif open_steps:
            open_steps.append(step)
            if step.kind is StepKind.DEQUANTIZE:
                yield Unit(tuple(open_steps))
                open_steps = []
    if open_steps:
        yield Unit(tuple(open_steps))


def _tensor_of(unit: Unit) -> str:
    given = unit.steps[0].node.inputs
    return given[0].name or "" if given and given[0] is not None else ""


# ------------------------------------------------- operands


def _operand_index(network: Network, node: ir.Node, slot: str) -> int | None:
    """Return the input that holds the constant of a slot, as the float operator counts it."""
    plain = {at: position for position, at, *_ in operands(node)}
    for operand in operands_of(node):
        value = node.inputs[operand.index] if operand.index < len(node.inputs) else None
        if operand.slot == slot and value is not None and network.is_constant(value):
            return plain.get(operand.index, operand.index)
    return None


def _constant_operand(network: Network, node: ir.Node) -> int | None:
    found = [i for i, value in enumerate(node.inputs[:2]) if network.is_constant(value)]
    return found[0] if len(found) == 1 else None


def _is_equalized(layer: Layer, partner: Layer, factor: np.ndarray) -> bool:
    """Whether the variant's channels are the original's times a factor, not merely like that."""
    ours, theirs = layer.weight, partner.weight
    if ours is None or theirs is None:
        return False
    try:
        exact = channels_first(ours.values, ours, layer).astype(np.float64)
        held = channels_first(theirs.values, theirs, partner).astype(np.float64)
    except (UnavailableError, NotUnderstoodError):
        return False
    if exact.shape != held.shape or exact.shape[0] != factor.size:
        return False
    plain = np.square(held - exact).sum()
    return bool(np.square(held - exact * factor[:, None]).sum() < EXPLAINED * plain)


Rearrange = Callable[[np.ndarray], np.ndarray]


def _frame(
    theirs: WeightTensor, ours: WeightTensor | None, partner: Layer, layer: Layer
) -> Rearrange | None:
    """Return how the variant's values become those of the original's operand."""
    if ours is None:
        return lambda values: values
    axes = ours.channel_axis, theirs.channel_axis
    if len(ours.shape) == len(theirs.shape) == 2 and None not in axes and axes[0] != axes[1]:
        if ours.shape != theirs.shape[::-1]:
            return None
        return np.transpose
    if ours.shape == theirs.shape:
        return lambda values: values
    squeezed = [tuple(d for d in shape if d != 1) for shape in (ours.shape, theirs.shape)]
    if squeezed[0] == squeezed[1]:
        return lambda values: values.reshape(ours.shape)
    return None


# ------------------------------------------------- batch-norms


def batch_norm_scale(network: Network, norm: str) -> np.ndarray:
    """Return gamma / sqrt(variance + epsilon), float64."""
    layer = network.layers[norm]
    gamma, variance = (_values(layer, slot) for slot in ("weight", "variance"))
    return gamma / np.sqrt(variance + layer.attribute("epsilon", 1e-5))


def folded_parameters(network: Network, folding: NormFolding) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of a layer with the batch-norm behind it folded in."""
    layer, norm = network.layers[folding.layer], network.layers[folding.norm]
    scale = batch_norm_scale(network, folding.norm)
    weight = layer.weight
    assert weight is not None
    pair = LayerPair(layer.name, layer.name, Evidence.STRUCTURE, None, original_factor=scale)
    bias = layer.bias.values.astype(np.float64) if layer.bias is not None else 0.0
    folded = _values(norm, "bias") + (bias - _values(norm, "mean")) * scale
    return fold_original(weight.values, weight, pair), folded.astype(np.float32)


def _values(layer: Layer, slot: str) -> np.ndarray:
    parameter = layer.parameter(slot)
    assert parameter is not None
    return parameter.values.astype(np.float64)
