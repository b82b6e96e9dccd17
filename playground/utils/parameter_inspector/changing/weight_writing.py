"""Another scheme, or none, for the weights of layers, in the graph of a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from ..facts import WritingNote, WritingNoteKind, WritingRefusal, WritingRefusalKind
from ..operators import MICROSOFT
from ..quantization import Quantization, numpy_dtype
from ..reading.edges import integer_operands
from ..running.quantizers import MICROSOFT_TYPES
from .edited_graph import EditedGraph
from .integer_operators import DEQUANTIZE, QUANTIZE
from .layer_frames import divide_channels, multiply_inputs
from .move_places import LayerPlace, OperandPlace, WeightPlace
from .move_refusals import MoveRefusedError
from .operator_weights import holds_codes, put_into_operator
from .requantizing import StoredWeight, requantize
from .runtime_support import why_not_run, why_wrong
from .schemes import Scheme, scheme_of
from .taking_apart import TRANSPOSED, TakingApart

# A table whose codes are gathered, and dequantized by whoever reads them.
GATHERED = "Gather → DequantizeLinear"


@dataclass(frozen=True, eq=False)
class WeightChange:
    """What becomes of one weight, all moves together.

    Attributes:
        scheme: None keeps that of the file, where the values change.
        divided, multiplied: what equalization divides the output channels by, and multiplies the
            input channels by.
    """

    place: WeightPlace
    scheme: Scheme | None = None
    is_free: bool = False
    divided: np.ndarray | None = None
    multiplied: np.ndarray | None = None

    def read(self, layer: LayerPlace, operand: OperandPlace) -> np.ndarray:
        """Return the float values that are stored, in the frame of the variant's operand."""
        values = operand.read_exact()
        if self.divided is not None:
            values = divide_channels(values, operand, layer.layer, self.divided)
        if self.multiplied is not None and operand.slot != "bias":
            values = multiply_inputs(values, operand, layer.layer, self.multiplied)
        return values


class WeightWriting:
    """The graph that is edited, and what became of layers beside."""

    def __init__(self, graph: EditedGraph, notes: list[WritingNote], apart: TakingApart) -> None:
        self.graph, self.notes, self.apart = graph, notes, apart

    def change(self, change: WeightChange) -> None:
        """Store a weight in another scheme, or in float with its bias.

        Raises:
            MoveRefusedError: it cannot be stored so.
        """
        if change.is_free:
            for layer in change.place.layers:
                for operand in layer.operands:
                    self.free(layer, operand, change.read(layer, operand))
        elif (
            change.scheme is not None or change.divided is not None or change.multiplied is not None
        ):
            self._requantize(change)

    # ------------------------------------------------- in float

    def free(self, layer: LayerPlace, operand: OperandPlace, values: np.ndarray) -> None:
        """Let a layer read float values in place of an operand."""
        is_transposed = self.is_transposed(layer, operand)
        node = self.plain_node(layer)
        index = input_index(node, operand.position)
        stem = operand.parameter.name if operand.parameter is not None else f"{layer.output}_held"
        held = values.astype(float_type(operand), copy=False)
        held = np.ascontiguousarray(held.T) if is_transposed else held
        self.graph.set_input(node, index, self.graph.add_constant(held, f"{stem}_float"))

    def node(self, layer: LayerPlace) -> onnx.NodeProto:
        """Return the node of a layer. Raises ``MoveRefusedError`` where the main graph has none."""
        node = self.graph.node_of(layer.output)
        if node is None:
            raise MoveRefusedError(
                WritingRefusal(WritingRefusalKind.NOT_IN_MAIN_GRAPH, layer=layer.original)
            )
        return node

    def plain_node(self, layer: LayerPlace) -> onnx.NodeProto:
        """Return the node of a layer as an operator that computes in real numbers."""
        if any(one.parameter and one.parameter.storage == GATHERED for one in layer.operands):
            kind = WritingRefusalKind.NO_PLAIN_OPERATOR
            raise MoveRefusedError(WritingRefusal(kind, layer=layer.original, op_type="Gather"))
        return self.apart.plain(self.node(layer))

    def is_transposed(self, layer: LayerPlace, operand: OperandPlace) -> bool:
        """Whether the plain operator reads the weight the other way round than it is stored."""
        return operand.slot != "bias" and layer.layer.op_type in TRANSPOSED

    # ------------------------------------------------- in another scheme

    def _requantize(self, change: WeightChange) -> None:
        inside: list[tuple[onnx.NodeProto, StoredWeight]] = []
        for layer in change.place.layers:
            operand = layer.main
            if operand is None:
                continue
            if self._keeps_form(change, layer, operand):
                continue
            stored = self.quantize(change, layer, operand)
            dequantizer = self._own_dequantizer(self.plain_node(layer), operand, stored)
            if dequantizer is None:
                self.put_before(layer, operand, stored)
            else:
                inside.append((dequantizer, stored))
        for stored in _unlike([one for _, one in inside]):
            self.store([node for node, one in inside if _is_same(one, stored)], stored)

    def quantize(
        self,
        change: WeightChange,
        layer: LayerPlace,
        operand: OperandPlace,
        as_read: bool = True,
    ) -> StoredWeight:
        """Return the codes of a weight, in the frame of the plain operator or of the file's."""
        parameter = operand.parameter
        scheme = change.scheme or (scheme_of(parameter) if parameter is not None else None)
        if scheme is None:
            raise self._refuse(layer, "its scheme in the file is none that can be made again")
        reason = why_not_run(layer.layer, scheme)
        if as_read and reason is None:
            reason = why_wrong(self.plain_node(layer).op_type, scheme.data_type)
        if scheme.block_size is not None and len(operand.shape) < 2:
            reason = "onnxruntime cannot run blocks of a weight with one axis"
        if reason:
            raise self._refuse(layer, reason)
        axis = (parameter.channel_axis if parameter is not None else None) or 0
        values = change.read(layer, operand)
        if as_read and self.is_transposed(layer, operand):
            values, axis = np.ascontiguousarray(values.T), 1 - axis
            scheme = scheme if scheme.axis is None else replace(scheme, axis=1 - scheme.axis)
        try:
            return requantize(values, scheme, axis, scale_type(operand)).stored
        except MoveRefusedError:
            raise
        except ValueError as error:
            raise self._refuse(layer, str(error)) from error

    def _keeps_form(self, change: WeightChange, layer: LayerPlace, operand: OperandPlace) -> bool:
        """Store a weight where its operator holds it, if that takes the scheme; say whether."""
        node = self.node(layer)
        if not holds_codes(node):
            return False
        stored = self.quantize(change, layer, operand, as_read=False)
        return put_into_operator(self.graph, node, operand.position, stored, self.apart)

    def _own_dequantizer(
        self, node: onnx.NodeProto, operand: OperandPlace, stored: StoredWeight
    ) -> onnx.NodeProto | None:
        """Return the DequantizeLinear right before a layer whose constants can be put anew."""
        index = input_index(node, operand.position)
        found = self.graph.made_by.get(node.input[index])
        if found is None or found.op_type != DEQUANTIZE or operand.parameter is None:
            return None
        if any(step.op_type not in ("Identity", "Cast") for step in operand.parameter.layout):
            return None
        parts = self.stored_inputs(found)
        if not all(self.graph.is_constant(name) for name in parts if name):
            return None
        shape = tuple(self.graph.tensors[parts[0]].dims)
        return found if shape == stored.codes.shape else None

    def stored_inputs(self, dequantizer: onnx.NodeProto) -> list[str]:
        """Return codes (or the float weight that a QuantizeLinear before reads) and parameters."""
        before = self.graph.made_by.get(dequantizer.input[0])
        names = list(dequantizer.input)
        if before is not None and before.op_type == QUANTIZE:
            return [before.input[0], *names[1:]]
        return names

    def store(self, dequantizers: Sequence[onnx.NodeProto], stored: StoredWeight) -> None:
        """Put codes, scale and zero-point behind DequantizeLinear nodes that share them."""
        unique = list({id(node): node for node in dequantizers}.values())
        quantization = stored.quantization
        before = self._quantizers_before(unique)
        if before and self._makes_codes(before, stored):
            self._put_parameters([*unique, *before], quantization)
            return
        for node in unique:
            if before:
                self.notes.append(WritingNote(WritingNoteKind.TO_CODES, node.output[0]))
        stem = self.stored_inputs(unique[0])[0]
        if before:
            name = self.graph.add_constant(stored.codes, f"{stem}_codes")
            for node in unique:
                self.graph.set_input(node, 0, name)
        else:
            self.graph.put([(node, 0) for node in unique], stored.codes, stem)
        self._put_parameters(unique, quantization)

    def _quantizers_before(self, dequantizers: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
        found = (self.graph.made_by.get(node.input[0]) for node in dequantizers)
        return list({id(n): n for n in found if n is not None and n.op_type == QUANTIZE}.values())

    def _makes_codes(self, quantizers: Sequence[onnx.NodeProto], stored: StoredWeight) -> bool:
        """Whether quantizing the float weights of the file gives the very codes."""
        exact = [self.graph.constant(node.input[0]) for node in quantizers]
        return all(
            one is not None and np.array_equal(stored.quantization.quantize(one), stored.codes)
            for one in exact
        )

    def _put_parameters(self, nodes: Sequence[onnx.NodeProto], quantization: Quantization) -> None:
        stem = nodes[0].input[1]
        self.graph.put([(node, 1) for node in nodes], quantization.scale, stem)
        self.graph.put([(node, 2) for node in nodes], quantization.zero_point, f"{stem}_zero")
        for node in nodes:
            set_attributes(node, quantization)

    def put_before(self, layer: LayerPlace, operand: OperandPlace, stored: StoredWeight) -> None:
        """Put a DequantizeLinear of its own right before a layer."""
        node = self.plain_node(layer)
        index = input_index(node, operand.position)
        stem = operand.parameter.name if operand.parameter is not None else f"{layer.output}_held"
        quantization = stored.quantization
        names = [
            self.graph.add_constant(array, f"{stem}_{end}")
            for array, end in (
                (stored.codes, "codes"),
                (quantization.scale, "scale"),
                (quantization.zero_point, "zero_point"),
            )
        ]
        values = self.graph.new_name(f"{stem}_values")
        made = self.graph.add(DEQUANTIZE, names, [values])
        set_attributes(made, quantization)
        self.graph.set_input(node, index, values)

    def _refuse(self, layer: LayerPlace, detail: str) -> MoveRefusedError:
        return MoveRefusedError(
            WritingRefusal(WritingRefusalKind.SCHEME, layer=layer.original, detail=detail)
        )


def _unlike(stored: Sequence[StoredWeight]) -> list[StoredWeight]:
    """Return one of each: layers may read the same codes under scales of their own."""
    found: list[StoredWeight] = []
    for one in stored:
        if not any(_is_same(one, other) for other in found):
            found.append(one)
    return found


def _is_same(one: StoredWeight, other: StoredWeight) -> bool:
    scales = one.quantization.scale, other.quantization.scale
    return one is other or (np.array_equal(*scales) and np.array_equal(one.codes, other.codes))


def set_attributes(node: onnx.NodeProto, quantization: Quantization) -> None:
    """Say in a Q or DQ how its scales are counted, in the domain that knows the type."""
    for attribute in list(node.attribute):
        if attribute.name in ("axis", "block_size"):
            node.attribute.remove(attribute)
    if quantization.axis is not None:
        node.attribute.append(helper.make_attribute("axis", quantization.axis))
    if quantization.block_size is not None:
        node.attribute.append(helper.make_attribute("block_size", quantization.block_size))
    own = quantization.data_type in MICROSOFT_TYPES and quantization.block_size is None
    if node.domain == MICROSOFT and not own:
        node.domain = ""


def input_index(node: onnx.NodeProto, position: int) -> int:
    """Return which input of a node an operand is, counted as the float operator counts it."""
    rows = integer_operands(node.op_type, max(len(node.input), position + 1))
    return next((row[1] for row in rows if row[0] == position), position)


def scale_type(operand: OperandPlace) -> str:
    """Return what scales are stored as: the type of the real numbers that the layer reads."""
    found = float_type(operand).name
    parameter = operand.parameter
    if not _is_packed(operand) and parameter is not None and parameter.quantization is not None:
        found = parameter.quantization.scale_source.data_type
    return found if found in ("float32", "float16") else "float32"


def float_type(operand: OperandPlace) -> np.dtype:
    """Return the type of the real numbers that the layer reads."""
    parameter = operand.parameter
    if parameter is None or _is_packed(operand):
        return numpy_dtype(operand.data_type)
    if parameter.quantization is not None:
        return numpy_dtype(parameter.quantization.value_type)
    return numpy_dtype(parameter.data_type)


def _is_packed(operand: OperandPlace) -> bool:
    """Whether the operator holds the codes, and reads what type the original does."""
    packed = (*TRANSPOSED, "GatherBlockQuantized")
    return operand.parameter is not None and operand.parameter.storage in packed
