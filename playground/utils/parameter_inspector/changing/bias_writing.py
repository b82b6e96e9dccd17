"""The biases of a changed graph: counted again, or corrected.

An integer kernel wants an int32 bias in input scale times weight scale. Where that is too fine for
a bias, the weight's scale is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from ..facts import WritingNote, WritingNoteKind
from ..measuring.outputs import decibels
from ..operators import operator_named
from ..quantization import ArraySource, Quantization
from .bias_rescaling import raise_scales_for_bias
from .edited_graph import EditedGraph, Slot
from .integer_operators import DEQUANTIZE, SCALED_BIAS, alpha_of, is_integer_operator
from .requantizing import StoredWeight

BIAS_INPUT = 2
# Of a DequantizeLinear.
ZERO_POINT = 2
SAME_SCALE = 1e-5
MOST_ROUNDS = 4
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, eq=False)
class Biased:
    """A layer with its bias, as the graph has them.

    Attributes:
        input_scale: times alpha where the operator counts its bias so; None where it is not known.
        weight: the slots of codes, scale and zero-point; None where there are none.
        bias_at: the input that the bias is.
        dequantizer: of the bias; None where it is float, or codes that an integer operator reads.
    """

    node: onnx.NodeProto
    input_scale: np.ndarray | None
    weight: tuple[Slot, Slot, Slot] | None
    bias_at: int
    dequantizer: onnx.NodeProto | None = None

    @property
    def bias(self) -> str:
        return self.node.input[self.bias_at] if self.bias_at < len(self.node.input) else ""


def read_biased(graph: EditedGraph, node: onnx.NodeProto) -> Biased | None:
    """Return a layer whose operator has a bias; None for any other."""
    if is_integer_operator(node):
        at = SCALED_BIAS.get(node.op_type)
        if at is None:
            return None
        own = (node, 3), (node, 4), (node, 5)
        scale = graph.constant(node.input[1])
        scale = None if scale is None else (scale * alpha_of(node)).astype(scale.dtype)
        return Biased(node, scale, own, at)
    operator = operator_named(node.op_type)
    slots = {operand.slot: operand.index for operand in operator.operands}
    if slots.get("bias") != BIAS_INPUT or not operator.is_neighbour:
        return None
    activation, held = (graph.made_by.get(node.input[i]) for i in (0, 1))
    bias = graph.made_by.get(node.input[BIAS_INPUT]) if len(node.input) > BIAS_INPUT else None
    scale = None
    if activation is not None and activation.op_type == DEQUANTIZE:
        scale = graph.constant(activation.input[1])
    weight = None
    if held is not None and held.op_type == DEQUANTIZE and not _has_blocks(held):
        weight = (held, 0), (held, 1), (held, 2)
    is_stored = bias is not None and bias.op_type == DEQUANTIZE
    return Biased(node, scale, weight, BIAS_INPUT, bias if is_stored else None)


def _has_blocks(node: onnx.NodeProto) -> bool:
    return any(a.name == "block_size" and a.i for a in node.attribute)


class BiasWriting:
    """The biases that integer kernels count, as they were before anything was changed."""

    def __init__(self, graph: EditedGraph, notes: list[WritingNote]) -> None:
        self.graph, self.notes = graph, notes
        # What each is counted in. An integer operator that is taken apart says it no longer.
        self._counted = dict(self._read_counted())

    def _read_counted(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield layers whose bias is int32 in input scale times weight scale, and that product."""
        for node in self.graph.nodes:
            found = read_biased(self.graph, node)
            product = self._product(found) if found is not None and found.bias else None
            if found is None or product is None:
                continue
            scale = self._bias_scale(found)
            if is_integer_operator(node) or (scale is not None and _is_same(product, scale)):
                yield self.graph.origin(node), product

    def _product(self, found: Biased) -> np.ndarray | None:
        """Return input scale times weight scale, flat; None where one is not known."""
        if found.input_scale is None or found.input_scale.size != 1 or found.weight is None:
            return None
        node, at = found.weight[1]
        scale = self.graph.constant(node.input[at])
        if scale is None:
            return None
        return (found.input_scale.reshape(-1)[:1] * scale.reshape(-1)).astype(scale.dtype)

    def _bias_scale(self, found: Biased) -> np.ndarray | None:
        node = found.dequantizer
        if node is None:
            return None
        codes = self.graph.constant(node.input[0])
        if codes is None or codes.dtype != np.int32:
            return None
        return self.graph.constant(node.input[1])

    # ------------------------------------------------- after the changes

    def count_again(
        self,
        read_bias: Callable[[str], np.ndarray | None],
        read_weight: Callable[[str], np.ndarray | None],
        corrected: Mapping[str, np.ndarray],
    ) -> None:
        """Count the biases whose scales have changed, and those that are corrected.

        Args:
            read_bias, read_weight: return the float values by the layer's output in the file.
            corrected: float biases by the layer's output in the file, flat.
        """
        waiting = dict(corrected)
        for _ in range(MOST_ROUNDS):  # a raised scale may be that of a weight that others share
            written = False
            for node in self.graph.nodes:
                found, output = read_biased(self.graph, node), self.graph.origin(node)
                if found is None:
                    continue
                bias = waiting.pop(output, None)
                if bias is None and self._has_changed(found, output):
                    bias = corrected.get(output)
                    bias = read_bias(output) if bias is None else bias
                if bias is not None:
                    self._write(found, bias, read_weight(output))
                    written = True
            if not written:
                return

    def _has_changed(self, found: Biased, output: str) -> bool:
        product, counted = self._product(found), self._counted.get(output)
        return product is not None and counted is not None and not _is_same(product, counted)

    def _write(self, found: Biased, bias: np.ndarray, weight: np.ndarray | None) -> None:
        product = self._product(found)
        was_float = bool(found.bias) and found.dequantizer is None
        if product is None or (was_float and not is_integer_operator(found.node)):
            self._write_float(found, bias)
            return
        if raised := self._raised(found, bias):
            self._raise(found, *raised, weight)
            product = self._product(found)
            assert product is not None
        self._write_codes(found, bias, product)
        self._counted[self.graph.origin(found.node)] = product

    def _write_float(self, found: Biased, bias: np.ndarray) -> None:
        shape = self._shape(found, bias)
        if found.dequantizer is not None:
            kind = WritingNoteKind.TO_FLOAT
            self.notes.append(WritingNote(kind, found.node.name or found.node.output[0], "bias"))
        elif not found.bias:
            self._note_added(found)
        held = bias.reshape(shape).astype(np.float32)
        stem = found.bias or f"{found.node.output[0]}_bias"
        self.graph.set_input(
            found.node, found.bias_at, self.graph.add_constant(held, f"{stem}_float")
        )

    def _write_codes(self, found: Biased, bias: np.ndarray, product: np.ndarray) -> None:
        scale = (
            product.reshape(())
            if product.size == 1
            else np.tile(product, max(1, bias.size // product.size))
        )
        steps = bias.reshape(-1).astype(np.float64) / scale.astype(np.float64)
        codes = np.clip(np.rint(steps), INT32.min, INT32.max).astype(np.int32)
        codes = codes.reshape(self._shape(found, bias))
        stem = found.bias or f"{found.node.output[0]}_bias"
        if not found.bias:
            self._note_added(found)
        if is_integer_operator(found.node):
            self.graph.put([(found.node, found.bias_at)], codes, stem)
            return
        # No zero-point: it would be zero, and take as many bytes as the codes.
        node = found.dequantizer
        if node is None or len(self.graph.readers(node.output[0])) != 1:
            names = [
                self.graph.add_constant(array, f"{stem}_{end}")
                for array, end in ((codes, "codes"), (scale, "scale"))
            ]
            values = self.graph.new_name(f"{stem}_values")
            node = self.graph.add(DEQUANTIZE, names, [values])
            self.graph.set_input(found.node, found.bias_at, values)
        else:
            for at, array in enumerate((codes, scale)):
                self.graph.put([(node, at)], array, f"{stem}_{at}")
            if len(node.input) > ZERO_POINT:
                self.graph.set_input(node, ZERO_POINT, "")
                del node.input[ZERO_POINT:]
        for attribute in list(node.attribute):
            if attribute.name == "axis":
                node.attribute.remove(attribute)
        if scale.ndim:
            node.attribute.append(helper.make_attribute("axis", codes.shape.index(scale.size)))

    def _shape(self, found: Biased, bias: np.ndarray) -> tuple[int, ...]:
        """Return the shape that the bias is stored in."""
        name = found.dequantizer.input[0] if found.dequantizer is not None else found.bias
        held = self.graph.constant(name) if name else None
        return held.shape if held is not None and held.size == bias.size else (bias.size,)

    def _note_added(self, found: Biased) -> None:
        name = found.node.name or found.node.output[0]
        self.notes.append(WritingNote(WritingNoteKind.BIAS_ADDED, name))

    # ------------------------------------------------- a weight's scale is raised

    def _raised(self, found: Biased, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the scales of the weight and the raised ones; None where the bias fits."""
        assert found.weight is not None and found.input_scale is not None
        node, at = found.weight[1]
        scale = self.graph.constant(node.input[at])
        assert scale is not None
        raised = raise_scales_for_bias(scale, found.input_scale, bias)
        return None if raised is scale else (scale, raised)

    def _raise(
        self, found: Biased, scale: np.ndarray, raised: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Store a weight under raised scales; without its float values, from those of the file."""
        assert found.weight is not None
        (node, codes_at), scale_slot, zero_slot = found.weight
        codes = self.graph.constant(node.input[codes_at])
        assert codes is not None
        zero = self.graph.constant(_name_at(*zero_slot))
        before = _quantization(found.node, node, codes, scale, zero)
        exact = weight
        if exact is None or exact.shape != codes.shape:
            exact = before.dequantize(codes)
        after = replace(before, scale_source=_source(raised))
        stored = StoredWeight(after, after.quantize(exact))
        losses = _loss(exact, before, codes), _loss(exact, after, stored.codes)
        self.graph.put([(node, codes_at)], stored.codes, node.input[codes_at])
        self.graph.put([scale_slot], raised, node.input[scale_slot[1]])
        name = found.node.name or found.node.output[0]
        count = int((raised != scale).sum())
        self.notes.append(
            WritingNote(WritingNoteKind.SCALES_RAISED, name, channels=count, sqnr_db=losses)
        )


def _quantization(
    layer: onnx.NodeProto,
    node: onnx.NodeProto,
    codes: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray | None,
) -> Quantization:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if is_integer_operator(layer):
        axis = 0 if layer.op_type == "QLinearConv" else 1
    return Quantization(
        codes.dtype.name,
        _source(scale),
        _source(zero) if zero is not None else None,
        axis=int(axis) % codes.ndim if scale.size > 1 else None,
    )


def _loss(exact: np.ndarray, quantization: Quantization, codes: np.ndarray) -> float:
    """Return the SQNR of a weight, in dB."""
    exact = exact.astype(np.float64)
    noise = np.square(quantization.dequantize(codes) - exact).sum()
    return decibels(float(np.square(exact).sum()), float(noise))


def _source(array: np.ndarray) -> ArraySource:
    return ArraySource("", array, array.dtype.name)


def _is_same(product: np.ndarray, scale: np.ndarray) -> bool:
    flat = scale.reshape(-1)
    if flat.size % product.size and product.size % flat.size:
        return False
    size = max(flat.size, product.size)
    return bool(
        np.allclose(np.resize(product, size), np.resize(flat, size), rtol=SAME_SCALE, atol=0)
    )


def _name_at(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""
