"""A model as operators in the order of computing, each in real numbers: what judging walks.

QuantizeLinear, DequantizeLinear and the QLinear operators all become one kind of record: an
operator, its operands with the quantizer that each is read by, and the quantizer of its output.
No weight is read; scales and zero-points are.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from ..operators import MICROSOFT, QDQ_DOMAINS, STANDARD_DOMAINS, operator_named
from ..quantization import NotUnderstoodError, Source, UnavailableError, code_limits, is_integer
from .computed import Computed
from .constants import ConstantTable, attribute_values, constants_of
from .layers import list_layers
from .model_file import Model, all_nodes, spell_data_type

# Constants beyond this are weights: nobody here reads them.
MOST_ELEMENTS = 1 << 16
_QDQ = ("QuantizeLinear", "DequantizeLinear")
_PLAIN_NAMES = {"QGemm": "Gemm"}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One value of the graph. Two are the same tensor if they are the same object.

    Attributes:
        constant: what it holds, None where it depends on an input of the model.
        data_type: as the file declares it, None where it does not.
    """

    name: str
    constant: Source | None = None
    data_type: str | None = None
    is_output: bool = False


@dataclass(frozen=True, eq=False)
class Quantizer:
    """The quantization of one activation (or small constant): scale and zero-point as numbers.

    Attributes:
        scale, zero_point: float64, one-dimensional; the zero-point has one element or as many.
        value_type: what the operator rounds values to.
    """

    data_type: str
    scale: np.ndarray
    zero_point: np.ndarray
    value_type: str = "float32"

    @cached_property
    def step(self) -> float:
        """The distance of two neighbouring codes, the widest where there are several."""
        return float(np.max(np.abs(self.scale)))

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value that a code stands for."""
        low, high = code_limits(self.data_type)
        with np.errstate(all="ignore"):
            ends = (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale
        return float(np.min(ends)), float(np.max(ends))

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of codes, float64; one scale for all, or codes of its length."""
        return (codes.astype(np.float64) - self.zero_point) * self.scale


@dataclass(frozen=True, eq=False)
class Given:
    """One operand of an operator, with the quantizer that it is read by (None in float)."""

    tensor: Tensor
    quantizer: Quantizer | None = None


@dataclass(frozen=True, eq=False)
class Operation:
    """What one node computes, whichever form it is stored in.

    Attributes:
        op_type: without ``QLinear``: QLinearAdd is an Add whose operands and output are quantized.
        stored_as: the node's own operator.
        name: the node's name as the file has it, perhaps empty.
        operands: the activations and constants, without scales and zero-points; None where an
            optional input is left out.
        quantizer: of the output; None in float.
        is_known: whether the operator is ONNX's, or one of onnxruntime's quantized forms.
    """

    op_type: str
    stored_as: str
    name: str
    operands: tuple[Given | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]
    quantizer: Quantizer | None = None
    is_known: bool = True

    @property
    def given(self) -> tuple[Given, ...]:
        return tuple(g for g in self.operands if g is not None)

    def operand(self, index: int) -> Given | None:
        return self.operands[index] if index < len(self.operands) else None

    def number(self, name: str, default: float) -> float:
        """Return a number of the operator, ``default`` where it is missing or of another kind."""
        found = self.attributes.get(name, default)
        return float(found) if isinstance(found, (int, float)) else default


@dataclass(frozen=True, eq=False)
class Dataflow:
    """The operations of a model, each after those it depends on; a cycle is left out.

    Attributes:
        producer: the operation that makes a tensor.
        readers: the operations that read a tensor.
        layer_names: what the layer is called that makes a tensor, by the tensor's name.
    """

    operations: tuple[Operation, ...]
    producer: Mapping[Tensor, Operation]
    readers: Mapping[Tensor, tuple[Operation, ...]]
    layer_names: Mapping[str, str]

    def layer_name(self, operation: Operation) -> str:
        """Return the layer of an operation; its own name where it is plumbing."""
        for tensor in operation.outputs:
            if tensor.name in self.layer_names:
                return self.layer_names[tensor.name]
        return operation.name or (operation.outputs[0].name if operation.outputs else "")


_opened: weakref.WeakKeyDictionary[Model, Dataflow] = weakref.WeakKeyDictionary()


def read_dataflow(model: Model) -> Dataflow:
    """Return the operations of a model, read once. Takes time in proportion to its nodes."""
    if model not in _opened:
        _opened[model] = _read(model)
    return _opened[model]


def _read(model: Model) -> Dataflow:
    reader = _Reader(constants_of(model))
    operations = tuple(reader.read(node) for node in _in_order(list(all_nodes(model))))
    producer = {tensor: one for one in operations for tensor in one.outputs}
    readers: dict[Tensor, list[Operation]] = defaultdict(list)
    for operation in operations:
        for given in dict.fromkeys(g.tensor for g in operation.given):
            readers[given].append(operation)
    names = {
        tensor: layer.name
        for layer in list_layers(model)
        for tensor in layer.output_names
        if tensor
    }
    return Dataflow(operations, producer, {t: tuple(r) for t, r in readers.items()}, names)


def _in_order(nodes: list[ir.Node]) -> Iterator[ir.Node]:
    """Yield nodes after those whose outputs they read; files need not keep that order."""
    known = {id(node) for node in nodes}
    waits: dict[int, int] = {}
    followers: dict[int, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        before = {
            id(value.producer()): value.producer()
            for value in node.inputs
            if value is not None and value.producer() is not None
        }
        waits[id(node)] = sum(key in known for key in before)
        for key in before:
            followers[key].append(node)
    ready = deque(node for node in nodes if not waits[id(node)])
    while ready:
        node = ready.popleft()
        yield node
        for follower in followers[id(node)]:
            waits[id(follower)] -= 1
            if not waits[id(follower)]:
                ready.append(follower)


class _Reader:
    """Makes records of nodes; every value becomes one tensor."""

    def __init__(self, constants: ConstantTable) -> None:
        self._constants = constants
        self._tensors: dict[int, Tensor] = {}

    def tensor(self, value: ir.Value) -> Tensor:
        if id(value) not in self._tensors:
            self._tensors[id(value)] = Tensor(
                value.name or "",
                self._constants.get(value),
                spell_data_type(value.dtype) if value.dtype is not None else None,
                value.is_graph_output(),
            )
        return self._tensors[id(value)]

    def read(self, node: ir.Node) -> Operation:
        op_type, places, output = _places(node)
        operands: list[Given | None] = []
        for tensor, scale, zero_point in places:
            value = _input(node, tensor)
            code_type = self._code_type(node, value)
            operands.append(
                None
                if value is None
                else Given(self.tensor(value), self._quantizer(node, scale, zero_point, code_type))
            )
        code_type = self._code_type(node, None)
        return Operation(
            op_type,
            node.op_type,
            node.name or "",
            tuple(operands),
            tuple(self.tensor(value) for value in node.outputs),
            attribute_values(node, with_tensors=False),
            None if output is None else self._quantizer(node, output, output + 1, code_type),
            node.domain in (*STANDARD_DOMAINS, MICROSOFT),
        )

    def _code_type(self, node: ir.Node, value: ir.Value | None) -> str:
        """Return the codes' type where no zero-point says it."""
        if node.op_type == "DequantizeLinear" and value is not None:
            source = self._constants.get(value)
            if source is not None:
                return _type_of(source)
            if value.dtype is not None:
                return spell_data_type(value.dtype)
        if node.op_type == "QuantizeLinear":
            named = attribute_values(node, with_tensors=False).get("output_dtype")
            if isinstance(named, int) and named in ir.DataType._value2member_map_ and named:
                return spell_data_type(ir.DataType(named))
        return "uint8"

    def _quantizer(
        self, node: ir.Node, scale: int | None, zero_point: int | None, code_type: str
    ) -> Quantizer | None:
        """Return scale and zero-point as numbers; None where they are not there, or impossible."""
        if scale is None:
            return None
        scales = self._constants.get(_input(node, scale))
        steps = _small_array(scales)
        source = None if zero_point is None else self._constants.get(_input(node, zero_point))
        zeros = _small_array(source)
        if (
            scales is None
            or steps is None
            or not steps.size
            or not np.isfinite(steps).all()
            or (steps <= 0).any()
        ):
            return None
        data_type = code_type if source is None else _type_of(source)
        if not _are_codes(data_type):
            return None
        if zeros is None or zeros.size not in (1, steps.size):
            zeros = np.zeros(1)
        return Quantizer(data_type, steps, zeros, _type_of(scales))


def _type_of(source: Source) -> str:
    """Return the data type of a constant; empty where it cannot be computed."""
    try:
        return source.data_type
    except (UnavailableError, NotUnderstoodError):
        return ""


def _are_codes(data_type: str) -> bool:
    return is_integer(data_type) or data_type.startswith(("float8e4", "float8e5", "float4"))


def _places(
    node: ir.Node,
) -> tuple[str, tuple[tuple[int, int | None, int | None], ...], int | None]:
    """Return the operator, where its operands with their parameters are, and its output's scale."""
    every = tuple((i, None, None) for i in range(len(node.inputs)))
    if node.op_type in _QDQ and node.domain in QDQ_DOMAINS:
        if node.op_type == "QuantizeLinear":
            return node.op_type, ((0, None, None),), 1
        return node.op_type, ((0, 1, 2),), None
    operator = operator_named(node.op_type)
    if operator.activations is None or operator.output_scale is None:
        return node.op_type, every, None
    name = _PLAIN_NAMES.get(node.op_type, node.op_type.removeprefix("QLinear"))
    places = operator.activations
    if operator.activations_from is not None:
        starts = range(operator.activations_from, len(node.inputs), 3)
        places = tuple((i, i + 1, i + 2) for i in starts)
    return name, places, operator.output_scale


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _small_array(source: Source | None) -> np.ndarray | None:
    """Return a constant as float64 (elements,); None where it is large or cannot be read."""
    array = read_small(source)
    return None if array is None else array.astype(np.float64).reshape(-1)


def read_small(source: Source | None) -> np.ndarray | None:
    """Return a constant of at most `MOST_ELEMENTS`; None where it is larger or cannot be read."""
    try:
        return None if source is None or not _is_small(source) else source.read()
    except (NotUnderstoodError, UnavailableError):
        return None


def _is_small(source: Source) -> bool:
    """Return whether all that a constant is computed from is small."""
    waiting: list[Source] = [source]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Computed):
            waiting += [given for given in found.inputs if given is not None]
        elif math.prod(found.shape) > MOST_ELEMENTS:
            return False
    return True
