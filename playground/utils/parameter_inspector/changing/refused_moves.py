"""Which moves cannot be written: asked one by one, and without writing a file.

Each is carried out on a sketch of the file: its nodes and small constants, and of the large ones
type and shape. What ``onnx.checker`` finds wrong with a whole file is not seen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from ..facts import WritingRefusal, WritingRefusalKind
from ..measuring.comparison import Comparison
from ..measuring.outputs import Quantizer
from .edited_graph import EditedGraph
from .move_places import PlacedPair
from .move_refusals import MoveRefusedError
from .move_writing import MoveWriting
from .moves import Move, MoveKind
from .opset_raising import needed_opset, raise_opset
from .rewrite_errors import RewriteError
from .rewriting import model_path
from .schemes import Scheme
from .taking_apart import TakingApart
from .weight_writing import WeightWriting

# Scales and zero-points are needed as they are; the numbers of larger constants tell nothing.
MOST_NUMBERS = 4096
_CONTENT = (
    "raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data",
    "external_data", "data_location",
)  # fmt: skip


def list_refused(
    comparison: Comparison, variant: str, moves: Iterable[Move]
) -> tuple[tuple[Move, WritingRefusal], ...]:
    """Return the moves that `save_moves` refuses, each on its own, and why.

    Raises:
        RewriteError: the variant is no file.
    """
    moves = tuple(moves)
    try:
        sketch = WritingSketch(PlacedPair.of(comparison, variant))
    except MoveRefusedError as error:
        return tuple((move, error.refusal) for move in moves)
    found = ((move, sketch.find_refusal(move)) for move in moves)
    return tuple((move, refusal) for move, refusal in found if refusal is not None)


class WritingSketch:
    """A variant without the numbers of its large constants, and the moves tried on it.

    Raises:
        RewriteError: the variant is no file.
    """

    def __init__(self, pair: PlacedPair) -> None:
        self.pair = pair
        self._path = model_path(pair.variant.model)
        self._opsets: dict[int, WritingRefusal | None] = {}
        self._apart: dict[int, bool] = {}

    @cached_property
    def _proto(self) -> onnx.ModelProto:
        return read_sketch(self._path)

    def _graph(self) -> EditedGraph:
        copy = onnx.ModelProto()
        copy.CopyFrom(self._proto)
        return SketchedGraph(copy)

    def find_refusal(self, move: Move) -> WritingRefusal | None:
        """Return why a move cannot be written; None where it can."""
        try:
            self.pair.check(move.quantizers)
            writing = MoveWriting(self.pair, [_make_quick(move)])
            writing.edit(self._graph())
        except MoveRefusedError as error:
            return error.refusal
        return None if move.weight is None else self.find_opset_refusal(move.weight)

    def can_be_apart(self, quantizer: Quantizer) -> bool:
        """Return whether all layers of a weight can read it from a DequantizeLinear.

        Where they can, the form is in no scheme's way.
        """
        index = quantizer.index
        if index not in self._apart:
            self._apart[index] = self._try_apart(quantizer)
        return self._apart[index]

    def _try_apart(self, quantizer: Quantizer) -> bool:
        graph = self._graph()
        weights = WeightWriting(graph, [], TakingApart(graph, [], self.pair.variant))
        try:
            for layer in self.pair.find_weight(quantizer).layers:
                weights.plain_node(layer)
        except MoveRefusedError:
            return False
        return True

    def find_opset_refusal(self, scheme: Scheme) -> WritingRefusal | None:
        """Return why the file cannot have the opset that a scheme asks for; None where it can."""
        opset = needed_opset(scheme)
        if opset not in self._opsets:
            self._opsets[opset] = self._try_opset(scheme)
        return self._opsets[opset]

    def _try_opset(self, scheme: Scheme) -> WritingRefusal | None:
        # Converting reads the constants that are shapes and axes: they are small.
        copy = onnx.ModelProto()
        copy.CopyFrom(self._proto)
        try:
            raise_opset(self._path, copy, [scheme])
        except RewriteError as error:
            kind = WritingRefusalKind.SCHEME
            return WritingRefusal(kind, tensor=self._path.name, detail=str(error))
        return None


class SketchedGraph(EditedGraph):
    """A graph whose large constants are zero."""

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self.tensors.get(name)
        if tensor is None or not _is_sketched(tensor):
            return super().constant(name)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.broadcast_to(np.zeros((), dtype), tuple(tensor.dims))


def read_sketch(path: Path) -> onnx.ModelProto:
    """Return a model without the numbers of its large constants."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) > MOST_NUMBERS:
            for field in _CONTENT:
                tensor.ClearField(field)
        elif uses_external_data(tensor):
            load_external_data_for_tensor(tensor, str(path.parent))
    return proto


def _is_sketched(tensor: onnx.TensorProto) -> bool:
    held = any(getattr(tensor, field) for field in _CONTENT if field != "data_location")
    return not held and math.prod(tensor.dims) > MOST_NUMBERS


def _make_quick(move: Move) -> Move:
    """Return a move that is refused where this one is, without a search for the best scale."""
    if move.kind is not MoveKind.REQUANTIZE or move.weight is None:
        return move
    return replace(move, weight=replace(move.weight, clipping="min-max"))
