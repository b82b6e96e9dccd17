"""A constant that the graph computes: evaluated when it is read, never before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from ..budgets import OutOfTimeError
from ..facts import Refusal, RefusalKind
from ..operators import STANDARD_DOMAINS
from ..quantization import (
    ArraySource,
    NotUnderstoodError,
    Quantization,
    Source,
    UnavailableError,
    create_quantization,
    numpy_dtype,
)
from .custom_quantizers import ENCODERS, QUANTIZERS, make_quantized
from .evaluation import Deferred, count_computed
from .growth import ELEMENTWISE, check_arguments, check_growth
from .model_file import spell_data_type
from .operator_versions import Call, run_reference, spell_newest
from .pieces import PIECE_ELEMENTS, Step, compute_in_pieces, cut_quantization

_REARRANGING = frozenset(
    "Transpose Reshape Squeeze Unsqueeze Flatten Slice Split Shape Size "
    "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare "
    "ArgMax ArgMin DepthToSpace SpaceToDepth Trilu".split()
)
_GROWING = frozenset("Concat Gather Expand Tile Pad ConstantOfShape Range".split())
# What they put out has the shape of their first input.
_LIKE_FIRST = ("Identity", "Cast", "Clip", "QuantizeLinear", "DequantizeLinear", "Relu")
# What they put out has the elements of their first input, in the same order.
_KEEPING_ORDER = frozenset("Identity Reshape Squeeze Unsqueeze Flatten".split())
_WIDE_FLOATS = ("float", "bfloat")
# Any of their operands may be the one that holds a weight.
_OF_EQUALS = frozenset(
    "Add Sub Mul Div Pow Max Min Where Concat BitwiseAnd BitwiseOr BitwiseXor".split()
)
_KEEPING_TYPE = _KEEPING_ORDER | frozenset(
    "Clip Transpose Slice Split Concat Gather Expand Tile Pad Relu Neg Abs Add Sub Mul Div Max Min "
    "Where BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift".split()
)
FOLDABLE = ELEMENTWISE | _REARRANGING | _GROWING


@dataclass(frozen=True, eq=False)
class Computed(Deferred):
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
    is_shared: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.domain, self.op_type

    @cached_property
    def data_type(self) -> str:
        return self.known_type or _array_type(self.read())

    @cached_property
    def known_type(self) -> str:
        """The data type as far as it is known without computing; empty where it is not."""
        return self.declared_type or self._type_from_operator()

    @cached_property
    def shape(self) -> tuple[int, ...]:
        _note_shapes_behind(self)
        shape = self.shape_from_operator or self.declared_shape
        return self.read().shape if shape is None else shape

    def read_at_once(self) -> np.ndarray | None:
        chain = _large_chain(self)
        return None if chain is None else _evaluate_in_pieces(self, *chain)

    def compute(self, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
        return _run(self, arrays)

    @cached_property
    def shape_from_operator(self) -> tuple[int, ...] | None:
        """Return the shape as far as it follows without computing the array."""
        shapes = [source.shape for source in self.shaping if source is not None]
        if not shapes:
            return None
        if self.op_type in _KEEPING_ORDER or self.op_type == "Transpose":
            return self._shape_of_view()
        try:
            return tuple(int(d) for d in np.broadcast_shapes(*shapes))
        except ValueError:
            return None

    @property
    def shaping(self) -> tuple[Source | None, ...]:
        """The inputs whose shapes say that of the result; none where numbers do."""
        is_custom = self.key in QUANTIZERS or self.key in ENCODERS
        if is_custom or self.op_type in _LIKE_FIRST:
            return self.inputs[:1]
        if self.op_type in _KEEPING_ORDER or self.op_type == "Transpose":
            return self.inputs[:1]
        return self.inputs if self.op_type in ELEMENTWISE else ()

    def _shape_of_view(self) -> tuple[int, ...] | None:
        """Return the shape of what is only laid out anew, tried on an array without memory."""
        first, *others = self.inputs
        if first is None:
            return None
        try:
            array = np.broadcast_to(np.zeros((), np.int8), first.shape)
            arrays = [array, *(None if s is None else s.read() for s in others)]
            return _run(self, arrays).shape
        except UnavailableError:
            return None

    def _type_from_operator(self) -> str:
        to, output_type = (self.attributes.get(name) for name in ("to", "output_dtype"))
        if self.op_type == "Cast" and isinstance(to, int):
            return _spell(to)
        if self.key in QUANTIZERS:
            return "float32"
        scale, zero_point = (*self.inputs, None, None, None)[1:3]
        if self.op_type in ("QuantizeLinear", "DequantizeLinear") and output_type:
            return _spell(output_type)
        if self.op_type == "DequantizeLinear":
            return _known_type(scale)
        if self.op_type == "QuantizeLinear":
            return "uint8" if zero_point is None else _known_type(zero_point)
        return _known_type(self.carrier) if self.op_type in _KEEPING_TYPE else ""

    @cached_property
    def carrier(self) -> Source | None:
        """The input that the result is made of: of several operands, the one that holds codes.

        A scale or a zero-point is smaller than its codes; a mask of integers is not larger than
        the numbers that it is multiplied with.
        """
        return max(self.operands, key=_carried, default=None)

    @cached_property
    def carried(self) -> tuple[bool, int, bool]:
        """How much speaks for it as an operand: dequantized codes, then the largest, then floats.

        That is of the constant that its operators begin with.
        """
        if self.carrier is None:
            shape = self.declared_shape or ()
            return False, math.prod(shape), self.known_type.startswith(_WIDE_FLOATS)
        dequantized, elements, is_float = _carried(self.carrier)
        dequantizes = self.op_type == "DequantizeLinear" or self.key in QUANTIZERS
        return dequantized or dequantizes, elements, is_float

    def settle(self) -> None:
        """Note what follows from the inputs, so that no chain is walked from its far end."""
        _ = self.known_type, self.carried

    @property
    def operands(self) -> tuple[Source, ...]:
        """The inputs that the result is made of: no indices, shapes or conditions."""
        first = 1 if self.op_type == "Where" else 0
        operands = self.inputs[first:] if self.op_type in _OF_EQUALS else self.inputs[:1]
        return tuple(source for source in operands if source is not None)


def _note_shapes_behind(root: Computed) -> None:
    """Note the shapes that another follows from, from the far end: chains are deeper than calls."""
    waiting, opened = [root], {id(root)}
    while waiting:
        unknown = [
            source
            for source in waiting[-1].shaping
            if isinstance(source, Computed)
            and "shape" not in vars(source)
            and id(source) not in opened
        ]
        if unknown:
            waiting += unknown
            opened.update(map(id, unknown))
        elif (one := waiting.pop()) is not root:
            _ = one.shape


def _spell(number: Any) -> str:
    """Return a data type by its number in the file; empty where there is no such type."""
    known = isinstance(number, int) and number in ir.DataType.__members__.values()
    return spell_data_type(ir.DataType(number)) if known else ""


def _known_type(source: Source | None) -> str:
    if isinstance(source, Computed):
        return source.known_type
    return "" if source is None else source.data_type


def _carried(source: Source) -> tuple[bool, int, bool]:
    if isinstance(source, Computed):
        return source.carried
    return False, math.prod(source.shape), source.data_type.startswith(_WIDE_FLOATS)


def _large_chain(root: Computed) -> tuple[Source, list[Computed]] | None:
    """Return the constant that operators in the order of its elements begin with, and those.

    None where another operator stands between, another node reads it halfway, or it is small.
    """
    chain: list[Computed] = []
    source: Source = root
    while isinstance(source, Computed) and _keeps_order(source):
        if source.is_shared and source is not root:
            return None
        chain.append(source)
        first = source.inputs[0]
        assert first is not None
        source = first
    if isinstance(source, Computed) or math.prod(source.shape) <= PIECE_ELEMENTS:
        return None
    if any(one.shape_from_operator is None for one in chain):
        return None
    # The others are held all at once, and are no large constants of their own.
    others = {id(s): s for one in chain for s in one.inputs[1:] if s is not None}.values()
    is_worth_it = sum(math.prod(s.shape) for s in others) <= PIECE_ELEMENTS
    return (source, chain[::-1]) if is_worth_it else None


def _keeps_order(source: Computed) -> bool:
    """Whether each element of what an operator puts out is made of one element of its input."""
    if source.inputs[0] is None or source.output_count > 1:
        return False
    if source.op_type in _KEEPING_ORDER:
        return True
    if source.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return not source.attributes.get("block_size")
    return source.op_type in ("Cast", "Clip", "Relu") and source.domain in STANDARD_DOMAINS


def _evaluate_in_pieces(root: Computed, base: Source, chain: Sequence[Computed]) -> np.ndarray:
    size = math.prod(base.shape)
    elements = size * len(chain)
    count_computed(root.name, elements, size, newly=elements)
    try:
        steps = [_step_of(source) for source in chain if source.op_type not in _KEEPING_ORDER]
    except NotUnderstoodError as error:
        raise UnavailableError(error.refusal) from error
    array = compute_in_pieces(base, steps, root.shape)
    array.flags.writeable = False
    return array


def _step_of(source: Computed) -> Step:
    """Return an operator as it is applied to a stretch of the elements of its input."""
    first = source.inputs[0]
    assert first is not None
    if source.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        others = [None if s is None else s.read() for s in source.inputs[1:]]
        return lambda piece, start: _run(source, [piece, *others])
    shape = first.shape
    quantization = quantization_of(source.op_type, source.inputs, source.attributes)
    if source.op_type == "QuantizeLinear":
        return lambda piece, start: cut_quantization(
            quantization, shape, start, piece.size
        ).quantize(piece)
    dtype = numpy_dtype(quantization.value_type)
    return lambda piece, start: (
        cut_quantization(quantization, shape, start, piece.size).dequantize(piece).astype(dtype)
    )


def _run(source: Computed, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    try:
        result = _apply(source, arrays)
    except (UnavailableError, OutOfTimeError):
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
    if result.base is not None and _owner(result).nbytes > 2 * result.nbytes:
        result = result.copy()  # a small part of it would hold it all
    if result.flags.writeable:
        result = result.view()
        result.flags.writeable = False
    return result


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _apply(source: Computed, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    first = arrays[0]
    if source.op_type == "Identity" and first is not None:
        return first
    # Of the arrays at hand: to read the inputs again would compute what is behind them once more.
    inputs = [None if a is None else ArraySource("", a, _array_type(a)) for a in arrays]
    if source.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _apply_qdq(source, inputs)
    if source.key in QUANTIZERS or source.key in ENCODERS:
        return _apply_custom(source, inputs)
    attributes = {name: _as_proto(value) for name, value in source.attributes.items()}
    call = Call(source.op_type, attributes, tuple(arrays))
    check_arguments(source.name, call)
    call = spell_newest(call, source.opset, source.output_count, source.name)
    check_growth(source.name, call)
    return run_reference(call, source.output_count)[source.output]


def _as_proto(value: Any) -> Any:
    return ir.serde.serialize_tensor(value) if isinstance(value, ir.TensorProtocol) else value


def _apply_custom(source: Computed, inputs: Sequence[Source | None]) -> np.ndarray:
    """Return the values of a tool's own quantizer, or the codes of one that only encodes."""
    made = make_quantized(source.domain, source.op_type, inputs, source.attributes)
    assert made is not None
    codes = made.codes.read()
    return codes if source.key in ENCODERS else made.quantization.dequantize(codes)


def _apply_qdq(source: Computed, inputs: Sequence[Source | None]) -> np.ndarray:
    quantization = quantization_of(source.op_type, inputs, source.attributes)
    codes = inputs[0]
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


def _array_type(array: np.ndarray) -> str:
    return spell_data_type(ir.DataType.from_numpy(array.dtype))
