"""Another range, another type or none for the quantizers of activations, in the graph of a file.

What reads the codes of a quantizer is found from its codes on: every DequantizeLinear, every
integer operator, and those behind operators that only move codes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from ..facts import WritingNote, WritingNoteKind, WritingRefusal, WritingRefusalKind
from ..operators import MICROSOFT, MOVING
from ..quantization import numpy_dtype
from ..reading.edges import StepKind
from ..running.whole_model import add_domain
from .edited_graph import EditedGraph, Slot
from .integer_operators import (
    DEQUANTIZE,
    QUANTIZE,
    coded_operands,
    is_integer_operator,
    output_slots,
)
from .move_places import ActivationPlace, Dropped
from .move_refusals import MoveRefusedError
from .moves import ActivationScheme
from .taking_apart import TakingApart

# First opset whose QuantizeLinear makes 16 bits; before it onnxruntime's own does.
WIDE_OPSET = 21
WIDE_TYPES = ("int16", "uint16")
CLIP_INPUTS_OPSET = 11
# Where codes are resized between two scales that are the same, real numbers would be as well.
_MOVING_CODES = MOVING | {"Resize", "DepthToSpace", "SpaceToDepth", "Tile", "Upsample"}
# Scale and zero-point of one quantizing operator.
Parameters = tuple[Slot, Slot]


class ActivationWriting:
    """The graph that is edited, and what became of layers beside."""

    def __init__(self, graph: EditedGraph, notes: list[WritingNote], apart: TakingApart) -> None:
        self.graph, self.notes, self.apart = graph, notes, apart

    # ------------------------------------------------- another scheme

    def change(self, place: ActivationPlace, scheme: ActivationScheme) -> None:
        """Let a quantizer have another scale, zero-point and type.

        Raises:
            MoveRefusedError: its codes are read in a way that cannot take them.
        """
        if place.kind is StepKind.DYNAMIC:
            place = self._make_static(place)
        cuts = cuts_less(place.dropped, scheme)
        is_same_type = self._type_of(place) == scheme.data_type
        quantizer = self._quantizer(place, apart=cuts or not is_same_type)
        if cuts:
            restored = self.restore(quantizer.input[0], place)
            self.graph.set_input(quantizer, 0, restored)
        parameters = [
            self._parameters_of(quantizer),
            *self._readers(place, place.codes, is_same_type),
        ]
        self._set(place, parameters, scheme)

    def _quantizer(self, place: ActivationPlace, apart: bool) -> onnx.NodeProto:
        """Return the node that makes the codes, a QuantizeLinear of its own where that is asked."""
        node = self.graph.made_by.get(place.codes)
        if node is None:
            raise self._refuse(WritingRefusalKind.NOT_IN_MAIN_GRAPH, place)
        if is_integer_operator(node) and apart:
            self.apart.plain(node)
            node = self.graph.made_by[place.codes]
        if node.op_type != QUANTIZE and not is_integer_operator(node):
            raise self._refuse(WritingRefusalKind.CODES_COMBINED, place, node.op_type)
        return node

    def _parameters_of(self, node: onnx.NodeProto) -> Parameters:
        return output_slots(node) if is_integer_operator(node) else ((node, 1), (node, 2))

    def _type_of(self, place: ActivationPlace) -> str:
        return place.quantizer.data_type

    def _readers(self, place: ActivationPlace, codes: str, whole: bool) -> Iterator[Parameters]:
        """Yield where all that read codes hold scale and zero-point.

        Args:
            whole: the type of the codes stays, so that integer operators can go on reading them.
        """
        self._check_end(place, codes)
        done: set[tuple[int, int]] = set()
        while True:
            waiting = [s for s in self.graph.readers(codes) if (id(s[0]), s[1]) not in done]
            if not waiting:
                return
            node, index = waiting[0]
            done.add((id(node), index))
            if node.op_type == DEQUANTIZE and index == 0:
                yield (node, 1), (node, 2)
            elif node.op_type == "Clip" and index == 0:
                self.graph.bypass(node, codes)
            elif whole and is_integer_operator(node):
                yield self._operand_of(node, index)
            elif self.apart.reads_codes(node):
                self.apart.plain(node)
            elif node.op_type in _MOVING_CODES and index == 0 and not self._is_inside(node):
                yield from self._behind_mover(place, node, codes)
            else:
                raise self._refuse(WritingRefusalKind.CODES_COMBINED, place, node.op_type)

    def _is_inside(self, node: onnx.NodeProto) -> bool:
        """Whether a node is one of a body."""
        return self.graph.made_by.get(node.output[0]) is not node

    def _operand_of(self, node: onnx.NodeProto, index: int) -> Parameters:
        operand = next(one for one in coded_operands(node) if one.codes == index)
        return (node, operand.scale), (node, operand.zero_point)

    def _behind_mover(
        self, place: ActivationPlace, node: onnx.NodeProto, codes: str
    ) -> Iterator[Parameters]:
        """Let an operator that moves codes move real numbers, and quantize them again behind it.

        That is the same, and holds for every type and for what a Pad fills in.
        """
        given = self._parameters_of(self.graph.made_by[place.codes])
        names = [one.input[at] for one, at in given if at < len(one.input) and one.input[at]]
        moved, values = node.output[0], self.graph.new_name(f"{codes}_values")
        before = self.graph.add(DEQUANTIZE, [codes, *names], [values])
        self.graph.set_input(node, 0, values)
        self._fill_with_values(node, place)
        made = self.graph.new_name(f"{moved}_float")
        self.graph.set_output(node, 0, made)
        behind = self.graph.add(QUANTIZE, [made, *names], [moved])
        yield (before, 1), (before, 2)
        yield (behind, 1), (behind, 2)
        yield from self._readers(place, moved, whole=False)

    def _fill_with_values(self, node: onnx.NodeProto, place: ActivationPlace) -> None:
        """Turn the code that a Pad fills in into the value it stands for."""
        if node.op_type != "Pad" or len(node.input) < 3 or not node.input[2]:
            return
        filled = self.graph.constant(node.input[2])
        scale, zero = place.quantizer.scale, place.quantizer.zero_point
        if filled is None or scale is None:
            raise self._refuse(WritingRefusalKind.CODES_COMBINED, place, node.op_type)
        steps = filled.astype(np.float32) - (0 if zero is None else zero.astype(np.float32))
        values = (steps.reshape(-1)[:1] * scale.reshape(-1)[:1]).astype(scale.dtype).reshape(())
        self.graph.set_input(node, 2, self.graph.add_constant(values, f"{node.input[2]}_value"))

    def _set(
        self, place: ActivationPlace, parameters: list[Parameters], scheme: ActivationScheme
    ) -> None:
        old = place.quantizer.scale
        scale_type = old.dtype if old is not None else np.dtype(np.float32)
        scale = np.asarray(scheme.scale, scale_type)
        zero = np.asarray(scheme.zero_point, numpy_dtype(scheme.data_type))
        stem = place.codes
        self.graph.put([one for one, _ in parameters], scale, f"{stem}_scale")
        self.graph.put([zero_at for _, zero_at in parameters], zero, f"{stem}_zero_point")
        for (node, _), _ in parameters:
            if not is_integer_operator(node):
                self._fit_operator(node, scheme.data_type)

    def _fit_operator(self, node: onnx.NodeProto, data_type: str) -> None:
        """Let a Q or DQ count one scale, and be of the domain that knows the type."""
        named = ("axis", "block_size") + (("output_dtype",) if node.op_type == QUANTIZE else ())
        for attribute in list(node.attribute):
            if attribute.name in named:
                node.attribute.remove(attribute)
        if data_type in WIDE_TYPES and self.graph.opset < WIDE_OPSET:
            node.domain = MICROSOFT
            add_domain(self.graph.proto, MICROSOFT)

    # ------------------------------------------------- a scale of its own

    def _make_static(self, place: ActivationPlace) -> ActivationPlace:
        """Return a quantizer whose scale was computed while the model runs as one of constants.

        Which constants does not matter: they are put anew, or it is taken out.
        """
        node = self.graph.made_by.get(place.codes)
        if node is not None and node.op_type == "DynamicQuantizeMatMul":
            dequantizer = self.graph.made_by[self.apart.plain(node).input[0]]
            node = self.graph.made_by[dequantizer.input[0]]
        if node is None or node.op_type != "DynamicQuantizeLinear":
            raise self._refuse(
                WritingRefusalKind.SCALE_COMPUTED, place, node.op_type if node else ""
            )
        codes, scale, zero_point = node.output
        self._take_readers_apart(codes)
        made = self.graph.new_name(f"{codes}_static")
        held = (
            self.graph.add_constant(np.ones((), np.float32), f"{scale}_static"),
            self.graph.add_constant(np.zeros((), np.uint8), f"{zero_point}_static"),
        )
        self.graph.add(QUANTIZE, [node.input[0], *held], [made])
        for old, new in ((codes, made), (scale, held[0]), (zero_point, held[1])):
            for reader, index in self.graph.readers(old):
                self.graph.set_input(reader, index, new)
        return replace(place, codes=made, kind=StepKind.QUANTIZE)

    def _take_readers_apart(self, codes: str) -> None:
        for node, index in self.graph.readers(codes):
            if self.apart.reads_codes(node):
                self.apart.plain(node)
            elif node.op_type in _MOVING_CODES and index == 0:
                self._take_readers_apart(node.output[0])

    # ------------------------------------------------- none

    def free(self, place: ActivationPlace) -> None:
        """Let all who read a quantizer read the float tensor before it.

        Raises:
            MoveRefusedError: its codes are read in a way that real numbers cannot take.
        """
        if place.kind is StepKind.DYNAMIC:
            place = self._make_static(place)
        quantizer = self._quantizer(place, apart=True)
        source = quantizer.input[0]
        if place.dropped:
            source = self.restore(source, place)
        self._let_read(place, place.codes, source)

    def _let_read(self, place: ActivationPlace, codes: str, source: str) -> None:
        self._check_end(place, codes)
        while readers := self.graph.readers(codes):
            node, index = readers[0]
            if node.op_type == DEQUANTIZE and index == 0:
                source = self.graph.bypass(node, source)
            elif node.op_type == "Clip" and index == 0:
                self.graph.bypass(node, codes)
            elif self.apart.reads_codes(node):
                self.apart.plain(node)
            elif node.op_type in _MOVING_CODES and index == 0 and not self._is_inside(node):
                moved, made = node.output[0], self.graph.new_name(f"{node.output[0]}_float")
                self.graph.set_input(node, 0, source)
                self._fill_with_values(node, place)
                self.graph.set_output(node, 0, made)
                self._let_read(place, moved, made)
            else:
                raise self._refuse(WritingRefusalKind.CODES_COMBINED, place, node.op_type)

    # ------------------------------------------------- a Relu or Clip comes back

    def restore(self, source: str, place: ActivationPlace) -> str:
        """Return a tensor cut as the original cuts it."""
        for one in place.dropped:
            made = self.graph.new_name(f"{source}_{one.op_type}")
            self._add_activation(one, source, made, place)
            layer = next(iter(place.quantizer.layers), place.quantizer.tensor)
            self.notes.append(WritingNote(WritingNoteKind.ACTIVATION_BACK, layer, one.op_type))
            source = made
        return source

    def _add_activation(self, one: Dropped, source: str, made: str, place: ActivationPlace) -> None:
        if one.op_type == "Relu":
            self.graph.add("Relu", [source], [made])
            return
        bounds = {"min": one.low, "max": one.high}
        known = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
        if self.graph.opset < CLIP_INPUTS_OPSET:
            attributes = [helper.make_attribute(name, bound) for name, bound in known.items()]
            self.graph.add("Clip", [source], [made], attributes=attributes)
            return
        scale = place.quantizer.scale
        dtype = scale.dtype if scale is not None else np.dtype(np.float32)
        names = [
            self.graph.add_constant(np.asarray(known[name], dtype), f"{made}_{name}")
            if name in known
            else ""
            for name in bounds
        ]
        self.graph.add("Clip", [source, *names], [made])

    # ------------------------------------------------- what cannot be

    def _check_end(self, place: ActivationPlace, codes: str) -> None:
        if self.graph.is_end(codes):
            raise self._refuse(WritingRefusalKind.LEAVES_AS_CODES, place)

    def _refuse(
        self, kind: WritingRefusalKind, place: ActivationPlace, op_type: str = ""
    ) -> MoveRefusedError:
        return MoveRefusedError(
            WritingRefusal(kind, tensor=place.quantizer.tensor, op_type=op_type)
        )


def cuts_less(dropped: tuple[Dropped, ...], scheme: ActivationScheme) -> bool:
    """Whether a scheme holds values that a Relu or Clip, which it stood for, would have cut."""
    low, high = scheme.bounds
    slack = 1e-6 * (high - low)
    return any(low < one.low - slack or high > one.high + slack for one in dropped)
