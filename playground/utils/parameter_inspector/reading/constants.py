"""What a graph computes from constants alone: folded when asked, never before.

A `ConstantTable` knows which values of a graph are constant. Each is a `Source`: a tensor of the
file, or a `Computed` record that evaluates its operator on its inputs when it is read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir

from ..facts import Refusal, RefusalKind
from ..operators import QDQ_DOMAINS, STANDARD_DOMAINS
from ..quantization import (
    ArraySource,
    NotUnderstoodError,
    Quantization,
    Source,
    UnavailableError,
    create_quantization,
    numpy_dtype,
)
from .model_file import Model, all_nodes, source_of, spell_data_type

# An operator may not make more elements than this out of fewer: ConstantOfShape can ask for 2^40.
MAX_GROWN_ELEMENTS = 1 << 22
MAX_DEPTH = 200

_ELEMENTWISE = frozenset(
    "Identity Cast CastLike Clip Abs Neg Sign Sqrt Reciprocal Exp Log Floor Ceil Round Not "
    "Add Sub Mul Div Pow Max Min Mod Where Equal Greater GreaterOrEqual Less LessOrEqual And "
    "Or Xor BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift "
    "QuantizeLinear DequantizeLinear".split()
)
_REARRANGING = frozenset(
    "Transpose Reshape Squeeze Unsqueeze Flatten Slice Split Shape Size "
    "ReduceMax ReduceMin ReduceSum ReduceMean ArgMax ArgMin".split()
)
_GROWING = frozenset("Concat Gather Expand Tile ConstantOfShape Range".split())
FOLDABLE = _ELEMENTWISE | _REARRANGING | _GROWING


@dataclass(frozen=True, eq=False)
class Computed:
    """A constant that the graph computes from other constants."""

    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[Source | None, ...]
    attributes: dict[str, Any]
    output: int
    output_count: int
    depth: int
    declared_type: str | None
    declared_shape: tuple[int, ...] | None

    @cached_property
    def data_type(self) -> str:
        known = self.declared_type or self._type_from_operator()
        return known or _array_type(self.read())

    @cached_property
    def shape(self) -> tuple[int, ...]:
        shape = self._shape_from_operator() or self.declared_shape
        return self.read().shape if shape is None else shape

    def read(self) -> np.ndarray:
        """Return the array. Raises ``UnavailableError`` where an operator refuses its inputs."""
        return _evaluate(self)

    def _shape_from_operator(self) -> tuple[int, ...] | None:
        if self.op_type not in _ELEMENTWISE:
            return None
        if self.op_type in ("Identity", "Cast", "Clip", "QuantizeLinear", "DequantizeLinear"):
            return self.inputs[0].shape if self.inputs[0] else None
        shapes = [source.shape for source in self.inputs if source is not None]
        try:
            return tuple(int(d) for d in np.broadcast_shapes(*shapes))
        except ValueError:
            return None

    def _type_from_operator(self) -> str | None:
        if self.op_type == "Cast":
            return spell_data_type(ir.DataType(self.attributes["to"]))
        if self.op_type in ("Identity", "Clip", "Reshape", "Transpose", "Slice") and self.inputs[0]:
            return self.inputs[0].data_type
        return None


class ConstantTable:
    """Which values of a graph are constant. Built in one sweep, without reading a tensor."""

    def __init__(self, model: Model) -> None:
        self._opset = model.opset
        self._path = model.path
        self._known: dict[int, Source] = {}
        self._opaque: dict[int, tuple[str, str]] = {}
        waiting = deque(all_nodes(model))
        seen: set[int] = set()
        while waiting:
            node = waiting.popleft()
            added = [value for value in node.outputs if self._add(node, value)]
            for value in added:  # nodes that stood before what they need get another turn
                waiting.extend(u.node for u in value.uses() if id(u.node) in seen)
            seen.add(id(node))

    def _add(self, node: ir.Node, value: ir.Value) -> bool:
        """Note what is known of a node's output. Returns whether that is new."""
        if id(value) in self._known or id(value) in self._opaque:
            return False
        source = self._from_node(node, value)
        if source is not None:
            self._known[id(value)] = source
            return True
        inputs = [v for v in node.inputs if v is not None]
        if not inputs or not all(self.is_constant(v) or id(v) in self._opaque for v in inputs):
            return False
        behind = [self._opaque[id(v)] for v in inputs if id(v) in self._opaque]
        self._opaque[id(value)] = behind[0] if behind else (node.domain, node.op_type)
        return True

    def why_opaque(self, value: ir.Value) -> tuple[str, str] | None:
        """Return domain and type of the operator that keeps a value from being computed.

        None where the value is known, or depends on an input of the model.
        """
        return self._opaque.get(id(value))

    def get(self, value: ir.Value | None) -> Source | None:
        """Return the constant that ``value`` holds, None where it is computed from the input."""
        if value is None:
            return None
        if value.is_initializer():
            tensor = value.const_value
            return None if tensor is None else source_of(tensor, value.name or "", self._path)
        return self._known.get(id(value))

    def is_constant(self, value: ir.Value | None) -> bool:
        return self.get(value) is not None

    def _from_node(self, node: ir.Node, value: ir.Value) -> Source | None:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
            return _constant_node(node, value, self._path)
        is_qdq = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        known = node.domain in (QDQ_DOMAINS if is_qdq else STANDARD_DOMAINS)
        if not known or node.op_type not in FOLDABLE:
            return None
        inputs = tuple(self.get(v) for v in node.inputs)
        if not inputs or any(
            s is None for s, v in zip(inputs, node.inputs, strict=True) if v is not None
        ):
            return None
        depth = 1 + max((s.depth for s in inputs if isinstance(s, Computed)), default=0)
        if depth > MAX_DEPTH:
            return None
        return Computed(
            value.name or "",
            node.op_type,
            node.domain,
            self._opset,
            inputs,
            attribute_values(node),
            value.index() or 0,
            len(node.outputs),
            depth,
            spell_data_type(value.dtype) if value.dtype is not None else None,
            _static_shape(value),
        )


_GRAPHS = frozenset((ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))
_TENSORS = frozenset(
    (
        ir.AttributeType.TENSOR,
        ir.AttributeType.TENSORS,
        ir.AttributeType.SPARSE_TENSOR,
        ir.AttributeType.SPARSE_TENSORS,
    )
)


def attribute_values(node: ir.Node, *, with_tensors: bool = True) -> dict[str, Any]:
    """Return the node's attributes as Python values; references and subgraphs are left out."""
    # An attribute's type says what it holds. `isinstance(value, ir.TensorProtocol)`, as in
    # `as_tensor`, asks the tensor for its size, and one of an undefined type answers by raising.
    skipped = _GRAPHS if with_tensors else _GRAPHS | _TENSORS
    return {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if not attribute.is_ref() and attribute.type not in skipped
    }


def _static_shape(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape)  # type: ignore[arg-type]


def _constant_node(node: ir.Node, value: ir.Value, path: Path | None) -> Source | None:
    name = value.name or ""
    tensor = node.attributes.get("value")
    if tensor is not None and tensor.type == ir.AttributeType.TENSOR and not tensor.is_ref():
        return source_of(tensor.value, name, path)
    attributes = attribute_values(node, with_tensors=False)
    for key, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if key in attributes:
            array = np.asarray(attributes[key], dtype)
            array.flags.writeable = False
            return ArraySource(name, array, dtype.__name__)
    return None


def _evaluate(root: Computed) -> np.ndarray:
    """Evaluate ``root`` and what it depends on, each once, without recursion."""
    arrays: dict[int, np.ndarray | None] = {id(None): None}
    stack: list[Source] = [root]
    budget = MAX_GROWN_ELEMENTS
    while stack:
        source = stack[-1]
        if not isinstance(source, Computed):
            arrays[id(source)] = source.read()
        else:
            missing = [s for s in source.inputs if s is not None and id(s) not in arrays]
            if missing:
                stack.extend(missing)
                continue
            array = _run(source, [arrays[id(s)] for s in source.inputs])
            largest = max((arrays[id(s)].size for s in source.inputs if s is not None), default=0)  # type: ignore[union-attr]
            budget -= max(0, array.size - largest)
            if budget < 0:
                raise UnavailableError(Refusal(RefusalKind.GROWS_TOO_LARGE, name=root.name))
            arrays[id(source)] = array
        stack.pop()
    result = arrays[id(root)]
    assert result is not None
    return result


def _run(source: Computed, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    try:
        _check_growth(source, arrays)
        result = _apply(source, arrays)
    except UnavailableError:
        raise
    except Exception as error:  # the reference operators raise whatever numpy raises
        refusal = Refusal(
            RefusalKind.OPERATOR_FAILS,
            name=source.name,
            operator=source.op_type,
            shapes=tuple(a.shape for a in arrays if a is not None),
            reason=str(error)[:120],
        )
        raise UnavailableError(refusal) from error
    result = np.asarray(result)
    if result.flags.writeable:
        result = result.view()
        result.flags.writeable = False
    return result


def _apply(source: Computed, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    first = arrays[0]
    if source.op_type == "Identity" and first is not None:
        return first
    if source.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _apply_qdq(source)
    proto = onnx.helper.make_node(
        source.op_type,
        [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)],
        [f"o{k}" for k in range(source.output_count)],
        **{name: _as_proto(value) for name, value in source.attributes.items()},
    )
    feeds = {f"i{k}": a for k, a in enumerate(arrays) if a is not None}
    run = onnx.reference.ReferenceEvaluator(proto, opsets={"": max(source.opset, 1)})
    outputs: list[np.ndarray] = run.run(None, feeds)  # type: ignore[assignment]
    return outputs[source.output]


def _as_proto(value: Any) -> Any:
    return ir.serde.serialize_tensor(value) if isinstance(value, ir.TensorProtocol) else value


def _apply_qdq(source: Computed) -> np.ndarray:
    quantization = quantization_of(source.op_type, source.inputs, source.attributes)
    codes = source.inputs[0]
    assert codes is not None
    if source.op_type == "QuantizeLinear":
        return quantization.quantize(codes.read())
    return quantization.dequantize(codes.read()).astype(numpy_dtype(quantization.value_type))


def quantization_of(
    op_type: str, inputs: Sequence[Source | None], attributes: dict[str, Any]
) -> Quantization:
    """Return the quantization that a QuantizeLinear or DequantizeLinear node spells out.

    Raises:
        NotUnderstoodError: an input is missing or does not fit.
    """
    tensor, scale, zero_point = (*inputs, None, None, None)[:3]
    if tensor is None or scale is None:
        raise NotUnderstoodError(Refusal(RefusalKind.NO_SCALE, operator=op_type))
    named_type = attributes.get("output_dtype") or 0
    output_type = spell_data_type(ir.DataType(named_type)) if named_type else None
    quantizes = op_type == "QuantizeLinear"
    code_type = tensor.data_type
    if quantizes:
        code_type = zero_point.data_type if zero_point else output_type or "uint8"
    return create_quantization(
        tensor,
        scale,
        zero_point,
        axis=attributes.get("axis", 1),
        block_size=attributes.get("block_size", 0),
        data_type=code_type,
        value_type=None if quantizes else output_type,
    )


def _check_growth(source: Computed, arrays: Sequence[np.ndarray | None]) -> None:
    present = [a for a in arrays if a is not None]
    grown = _result_elements(source, present)
    present_elements = sum({id(a): a.size for a in present}.values())
    if grown > max(MAX_GROWN_ELEMENTS, present_elements):
        raise UnavailableError(
            Refusal(
                RefusalKind.OPERATOR_GROWS, name=source.name, operator=source.op_type, count=grown
            )
        )


def _result_elements(source: Computed, arrays: Sequence[np.ndarray]) -> int:
    """Return how many elements the operator makes, before it makes them."""
    op_type = source.op_type
    if op_type == "ConstantOfShape":
        return math.prod(int(d) for d in arrays[0])
    if op_type == "Expand":
        return math.prod(np.broadcast_shapes(arrays[0].shape, tuple(int(d) for d in arrays[1])))
    if op_type == "Tile":
        return arrays[0].size * math.prod(int(d) for d in arrays[1])
    if op_type == "Range":
        start, limit, delta = (float(a) for a in arrays)
        return math.ceil(abs((limit - start) / delta)) if delta else 0
    if op_type == "Gather":
        return (
            arrays[0].size
            // max(1, arrays[0].shape[source.attributes.get("axis", 0)])
            * arrays[1].size
        )
    if op_type == "Concat":
        return sum(a.size for a in arrays)
    if op_type in _ELEMENTWISE and op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return math.prod(np.broadcast_shapes(*(a.shape for a in arrays)))
    return 0


def _array_type(array: np.ndarray) -> str:
    return spell_data_type(ir.DataType.from_numpy(array.dtype))
