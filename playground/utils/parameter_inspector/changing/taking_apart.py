"""Every operator that computes in codes, or holds them, as a plain one: what was taken is noted.

Integer operators with static scales are `integer_operators`; here are those that quantize while
the model runs, and those that hold a weight's codes in a form of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from ..facts import WritingNote, WritingNoteKind, WritingRefusal, WritingRefusalKind
from ..operators import operator_named
from ..quantization import NotUnderstoodError, Quantization
from ..reading.edges import Network
from ..reading.following import OutputChain, follow_integers
from ..records import Layer
from .edited_graph import EditedGraph
from .integer_operators import DEQUANTIZE, is_integer_operator, take_apart
from .move_refusals import MoveRefusedError

if TYPE_CHECKING:
    import onnx_ir as ir

INTEGER = ("MatMulInteger", "ConvInteger")
# Of each operator that quantizes, or takes codes, and makes real numbers: where scale, zero-point
# and bias stand.
_TO_FLOAT = {"MatMulIntegerToFloat": (2, 4, 6), "DynamicQuantizeMatMul": (None, None, 4)}
_WEIGHT_TO_FLOAT = {"MatMulIntegerToFloat": (3, 5), "DynamicQuantizeMatMul": (2, 3)}
# They hold the codes of a weight [N, K] that a MatMul reads as [K, N].
TRANSPOSED = ("MatMulNBits", "MatMulBnb4")
_NBITS_BIAS = 5


class TakingApart:
    """The graph that is edited, and the variant as it was read."""

    def __init__(self, graph: EditedGraph, notes: list[WritingNote], variant: Network) -> None:
        self.graph, self.notes, self.variant = graph, notes, variant

    def plain(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the plain operator that a node is, or becomes.

        The weight of `TRANSPOSED`, and of GatherBlockQuantized, is left for the caller to put in.

        Raises:
            MoveRefusedError: no plain operator computes the same.
        """
        origin = self.graph.origin(node)
        name, op_type = node.name or origin, node.op_type
        plain = self._take(node)
        if plain is not node:
            self.graph.become(origin, plain)
            self.notes.append(WritingNote(WritingNoteKind.TAKEN_APART, name, op_type))
        return plain

    def _take(self, node: onnx.NodeProto) -> onnx.NodeProto:
        if is_integer_operator(node):
            return take_apart(self.graph, node)
        if node.op_type in INTEGER:
            return self._integer(node)
        if node.op_type in _TO_FLOAT:
            return self._to_float(node)
        if node.op_type in TRANSPOSED:
            return self._packed_product(node)
        if node.op_type == "GatherBlockQuantized":
            return self._packed_table(node)
        if any(one.form is not None for one in operator_named(node.op_type).operands):
            raise self.refuse(node)  # it holds codes, and is none of those above
        return node

    def reads_codes(self, node: onnx.NodeProto) -> bool:
        """Whether an operator reads the codes of an activation itself."""
        return is_integer_operator(node) or node.op_type in (*INTEGER, "MatMulIntegerToFloat")

    # ------------------------------------------------- computed while the model runs

    def find(self, node: onnx.NodeProto) -> tuple[Layer, ir.Node]:
        """Return the layer of the variant that a node is."""
        for name, one in self.variant.nodes.items():
            if one.op_type == node.op_type and one.outputs[0].name == node.output[0]:
                return self.variant.layers[name], one
        raise self.refuse(node)

    def chain(self, node: onnx.NodeProto) -> tuple[Layer, OutputChain]:
        """Return the layer of a MatMulInteger or ConvInteger, and what follows it.

        Raises:
            MoveRefusedError: it is not between one DynamicQuantizeLinear and one Mul.
        """
        layer, found = self.find(node)
        try:
            chain = follow_integers(found, self.variant.constants)
        except NotUnderstoodError as error:
            raise self.refuse(node) from error
        is_plain = all(one.op_type in ("Cast", "Mul", "Identity") for one in chain.nodes)
        if chain.bias is not None or len(chain.activations) != 1 or not is_plain:
            raise self.refuse(node)
        return layer, chain

    def _integer(self, node: onnx.NodeProto) -> onnx.NodeProto:
        layer, chain = self.chain(node)
        assert chain.output is not None
        output = chain.output.name or ""
        weight = layer.weight
        values = self._dequantized(node, 0, chain.activations[0].name or "", 2)
        inputs = [values, node.input[1]]
        if weight is not None and weight.quantization is not None:
            inputs[1] = self._dequantized_weight(node.input[1], weight.quantization)
        attributes = list(node.attribute)
        op_type = "Conv" if node.op_type == "ConvInteger" else "MatMul"
        self.graph.remove(self.graph.made_by[output])
        self.graph.remove(node)
        return self.graph.add(op_type, inputs, [output], name=node.name, attributes=attributes)

    def _to_float(self, node: onnx.NodeProto) -> onnx.NodeProto:
        scale, zero_point, bias = _TO_FLOAT[node.op_type]
        if scale is None or zero_point is None:
            codes = [
                self.graph.new_name(f"{node.input[0]}_{e}") for e in ("codes", "scale", "zero")
            ]
            self.graph.add("DynamicQuantizeLinear", [node.input[0]], codes)
            left = self._add_dequantizer(codes, None)
        else:
            left = self._dequantized(node, 0, node.input[scale], zero_point)
        weight_scale, weight_zero = _WEIGHT_TO_FLOAT[node.op_type]
        right = self._dequantized(node, 1, node.input[weight_scale], weight_zero, axis=1)
        output, added = node.output[0], _name_at(node, bias)
        self.graph.remove(node)
        made = self.graph.new_name(f"{output}_product") if added else output
        plain = self.graph.add("MatMul", [left, right], [made], name=node.name)
        if added:
            self.graph.add("Add", [made, added], [output])
        return plain

    def _dequantized(
        self, node: onnx.NodeProto, at: int, scale: str, zero_point: int, axis: int | None = None
    ) -> str:
        zero = _name_at(node, zero_point)
        names = [node.input[at], scale, *([zero] if zero else [])]
        held = self.graph.constant(scale)
        return self._add_dequantizer(names, axis if held is not None and held.size > 1 else None)

    def _add_dequantizer(self, names: list[str], axis: int | None) -> str:
        values = self.graph.new_name(f"{names[0]}_dequantized")
        attributes = [helper.make_attribute("axis", axis)] if axis is not None else []
        self.graph.add(DEQUANTIZE, names, [values], attributes=attributes)
        return values

    def _dequantized_weight(self, codes: str, quantization: Quantization) -> str:
        scale = (
            quantization.scale.reshape(-1)
            if quantization.axis is not None
            else (quantization.scale.reshape(()))
        )
        zero = np.asarray(quantization.zero_point).astype(_codes_type(self.graph, codes))
        zero = np.broadcast_to(zero.reshape(-1), scale.shape) if scale.ndim else zero.reshape(())
        names = [
            codes,
            self.graph.add_constant(scale.astype(np.float32), f"{codes}_scales"),
            self.graph.add_constant(np.ascontiguousarray(zero), f"{codes}_zeros"),
        ]
        return self._add_dequantizer(names, quantization.axis)

    # ------------------------------------------------- weights in a form of their own

    def _packed_product(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a MatMul in place of an operator that holds its weight, which is left open."""
        output, added = node.output[0], ""
        if node.op_type == "MatMulNBits":
            added = _name_at(node, _NBITS_BIAS)
        left = node.input[0]
        self.graph.remove(node)
        made = self.graph.new_name(f"{output}_product") if added else output
        plain = self.graph.add("MatMul", [left, ""], [made], name=node.name)
        if added:
            self.graph.add("Add", [made, added], [output])
        return plain

    def _packed_table(self, node: onnx.NodeProto) -> onnx.NodeProto:
        axis = next((a.i for a in node.attribute if a.name == "gather_axis"), 0)
        indices, output = node.input[1], node.output[0]
        self.graph.remove(node)
        attributes = [helper.make_attribute("axis", axis)]
        return self.graph.add(
            "Gather", ["", indices], [output], name=node.name, attributes=attributes
        )

    def refuse(self, node: onnx.NodeProto) -> MoveRefusedError:
        kind = WritingRefusalKind.NO_PLAIN_OPERATOR
        return MoveRefusedError(WritingRefusal(kind, layer=node.name, op_type=node.op_type))


def _codes_type(graph: EditedGraph, name: str) -> np.dtype:
    held = graph.constant(name)
    return held.dtype if held is not None else np.dtype(np.uint8)


def _name_at(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""
