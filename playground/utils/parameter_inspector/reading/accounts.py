"""What becomes of every constant that could hold codes: none is passed over without a word.

A constant of integers, narrow floats or packed codes is followed to where it is used. It is a
layer's parameter, or known by its use not to be one, or the layer that it reaches says that it was
not understood.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from ..budgets import spend
from ..facts import ConstantRole, Refusal, RefusalKind
from ..operators import STANDARD_DOMAINS, operator_named
from .constants import ConstantTable
from .model_file import Model, all_nodes, spell_data_type
from .read_layers import ReadLayer
from .storage import operands_of

# A weight of fewer elements is not looked for: ONNX's shapes, axes and pads are that short.
FEWEST_ELEMENTS = 17
# Layers that are named as readers of one constant.
MOST_LAYERS = 20

_ROLE_OF_INPUT: Mapping[str, Mapping[int, ConstantRole]] = {
    **{
        name: {1: ConstantRole.INDEX}
        for name in ("Gather", "GatherElements", "GatherND", "GatherBlockQuantized", "OneHot")
    },
    **{
        name: {1: ConstantRole.INDEX}
        for name in ("ScatterElements", "ScatterND", "Scatter", "TensorScatter", "MaxUnpool")
    },
    **{
        name: {1: ConstantRole.SHAPE}
        for name in (
            "Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Split", "TopK", "Trilu",
            "CumSum", "CenterCropPad", "AffineGrid", "SplitToSequence", "DFT",
            "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
            "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
        )
    },
    "OneHot": {0: ConstantRole.INDEX, 1: ConstantRole.SHAPE},
    "Slice": dict.fromkeys(range(1, 5), ConstantRole.SHAPE),
    "Pad": {1: ConstantRole.SHAPE, 3: ConstantRole.SHAPE},
    "Resize": {3: ConstantRole.SHAPE},
    "Col2Im": {1: ConstantRole.SHAPE, 2: ConstantRole.SHAPE},
    "ConstantOfShape": {0: ConstantRole.SHAPE},
    "Range": dict.fromkeys(range(3), ConstantRole.SHAPE),
    "Shape": {0: ConstantRole.SHAPE},
    "Size": {0: ConstantRole.SHAPE},
    "ReverseSequence": {1: ConstantRole.SHAPE},
    "RoiAlign": {2: ConstantRole.INDEX},
    "NonMaxSuppression": {2: ConstantRole.NUMBERS},
    "EmbedLayerNormalization": dict.fromkeys((0, 1, 7, 8), ConstantRole.INDEX),
    "QEmbedLayerNormalization": dict.fromkeys((0, 1, 7), ConstantRole.INDEX),
    "Attention": {3: ConstantRole.MASK},
    "QAttention": {5: ConstantRole.MASK},
    "GroupQueryAttention": {5: ConstantRole.SHAPE, 6: ConstantRole.SHAPE, 9: ConstantRole.INDEX},
    "RotaryEmbedding": {1: ConstantRole.INDEX},
    "Where": {0: ConstantRole.MASK},
    "Compress": {1: ConstantRole.MASK},
    **{name: {4: ConstantRole.SHAPE} for name in ("LSTM", "GRU", "RNN")},
    **{
        name: {0: ConstantRole.MASK, 1: ConstantRole.MASK}
        for name in (
            "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not",
        )
    },
    **{name: {0: ConstantRole.SEQUENCE} for name in ("If", "SequenceInsert", "SequenceAt")},
    **{
        name: {1: ConstantRole.QUANTIZATION, 2: ConstantRole.QUANTIZATION}
        for name in ("QuantizeLinear", "DequantizeLinear")
    },
}  # fmt: skip
# What a runtime index, shape or offset is computed by; whole numbers stay whole in them.
_ON_WHOLE_NUMBERS = frozenset(
    "Add Sub Mul Div Mod Neg Abs Max Min Where Cast Identity Concat Reshape Squeeze Unsqueeze "
    "Transpose Flatten Slice Expand Tile Split Gather GatherND GatherElements Clip Pad CumSum "
    "ReduceSum ReduceMax ReduceMin ScatterElements ScatterND".split()
)


@dataclass(frozen=True)
class AccountedConstant:
    """A constant that could hold codes, and what it is.

    Attributes:
        role: what it is to the layers that it reaches.
        layers: those layers, by name; empty where it reaches none.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]
    role: ConstantRole
    layers: tuple[str, ...] = ()


def account_for_constants(
    model: Model, constants: ConstantTable, layers: tuple[ReadLayer, ...]
) -> Iterator[AccountedConstant]:
    """Yield what becomes of every constant of codes, integers or narrow floats of a model.

    Args:
        layers: as they are read, before they say what they leave unread.
    """
    owners = _Owners(constants, layers)
    for value, tensor in _list_candidates(model):
        role, reached = owners.account(value, spell_data_type(tensor.dtype))
        shape = tuple(int(d) for d in tensor.shape)  # type: ignore[arg-type]
        yield AccountedConstant(
            value.name or "", spell_data_type(tensor.dtype), shape, role, reached
        )


def say_what_is_unread(
    model: Model, constants: ConstantTable, layers: tuple[ReadLayer, ...]
) -> tuple[ReadLayer, ...]:
    """Return the layers, each with a refusal for every constant of codes that it leaves unread."""
    unread: dict[str, list[Refusal]] = defaultdict(list)
    for one in account_for_constants(model, constants, layers):
        if one.role is not ConstantRole.NOT_UNDERSTOOD:
            continue
        refusal = Refusal(
            RefusalKind.CODES_UNREAD, name=one.name, data_type=one.data_type, shape=one.shape
        )
        for name in one.layers:
            unread[name].append(refusal)
    return tuple(_with_refusals(one, unread.get(one.layer.name, [])) for one in layers)


def _with_refusals(one: ReadLayer, refusals: list[Refusal]) -> ReadLayer:
    """Return a layer that says so; what it does not understand for another reason says enough."""
    if not refusals or one.layer.not_understood:
        return one
    return replace(one, layer=replace(one.layer, not_understood=tuple(refusals)))


def _list_candidates(model: Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Yield the constants that could hold codes: initializers and Constant nodes of every graph."""
    graphs = {id(model.graph): model.graph}
    for node in all_nodes(model):
        if isinstance(node.graph, ir.Graph):
            graphs.setdefault(id(node.graph), node.graph)
        held = node.attributes.get("value") if node.op_type == "Constant" else None
        is_tensor = held is not None and held.type == ir.AttributeType.TENSOR and not held.is_ref()
        if held is not None and is_tensor and _is_candidate(held.value):
            yield node.outputs[0], held.value
    for graph in graphs.values():
        for value in graph.initializers.values():
            if value.const_value is not None and _is_candidate(value.const_value):
                yield value, value.const_value


def _is_candidate(tensor: ir.TensorProtocol) -> bool:
    data_type = tensor.dtype
    if data_type in (ir.DataType.UNDEFINED, ir.DataType.STRING, ir.DataType.BOOL):
        return False
    elements = math.prod(tensor.shape.numpy())
    spelled = spell_data_type(data_type)
    is_wide = spelled in ("float32", "float64", "float16", "bfloat16") or "complex" in spelled
    return not is_wide and elements >= FEWEST_ELEMENTS


@dataclass(frozen=True)
class _Account:
    """What a value is to those who read it: the weightiest role, and the layers that it is that to.

    No role where nobody reads it.
    """

    role: ConstantRole | None = None
    layers: tuple[str, ...] = ()

    def join(self, other: _Account) -> _Account:
        """Return the weightier of two; the layers of both where they weigh the same."""
        if self.role is other.role:
            layers = dict.fromkeys((*self.layers, *other.layers))
            return _Account(self.role, tuple(layers)[:MOST_LAYERS])
        return min(self, other, key=lambda one: one.rank)

    @property
    def rank(self) -> int:
        return len(_ORDER) if self.role is None else _ORDER.index(self.role)


# A value, whether it is wide, and whether it depends on an input of the model.
_Followed = tuple[ir.Value, bool, bool]


class _Owners:
    """Who reads what: the layers by their nodes, and the nodes that belong to a layer."""

    def __init__(self, constants: ConstantTable, layers: tuple[ReadLayer, ...]) -> None:
        self._constants = constants
        self._layers = {id(one.node): one for one in layers}
        self._claimed = {id(node): one for one in layers for node in one.chain}
        self._known: dict[tuple[int, bool, bool], _Account] = {}

    def account(self, value: ir.Value, data_type: str) -> tuple[ConstantRole, tuple[str, ...]]:
        """Return what a constant is, and the layers that make it so."""
        found = self._follow((value, _is_wide(data_type), False))
        return found.role or ConstantRole.UNREAD, found.layers

    def _follow(self, start: _Followed) -> _Account:
        """Return what a value is; each value is looked at once, whoever leads to it."""
        waiting, opened = [start], set()
        while waiting:
            spend()
            followed = waiting[-1]
            key = _key(followed)
            own, further = self._readers(followed)
            fresh = [
                one for one in further if _key(one) not in self._known and _key(one) not in opened
            ]
            if key not in self._known and key not in opened and fresh:
                opened.add(key)
                waiting += fresh
                continue
            waiting.pop()
            for one in further:  # a value that leads back to itself says nothing more
                own = own.join(self._known.get(_key(one), _Account()))
            self._known.setdefault(key, own)
        return self._known[_key(start)]

    def _readers(self, followed: _Followed) -> tuple[_Account, list[_Followed]]:
        """Return what a value is to its readers, and the values that it is handed on in."""
        value, is_wide, is_running = followed
        own, further = _Account(), []
        for use in value.uses():
            role, layer = self._role(use.node, use.idx, is_wide, is_running)
            if role is not None:
                own = own.join(_Account(role, (layer,) if layer else ()))
                continue
            own = own.join(_Account(ConstantRole.NUMBERS)) if is_wide else own
            for output in use.node.outputs:
                further.append((output, is_wide, is_running or not self._is_fixed(output)))
        return own, further

    def _is_fixed(self, value: ir.Value) -> bool:
        known = self._constants.is_constant(value)
        return known or self._constants.why_opaque(value) is not None

    def _role(
        self, node: ir.Node, index: int, is_wide: bool, is_running: bool
    ) -> tuple[ConstantRole | None, str]:
        """Return what a constant is to one of its readers; None where it is followed further."""
        layer = self._layers.get(id(node))
        name = layer.layer.name if layer is not None else ""
        if layer is not None and index in layer.parameters:
            return ConstantRole.PARAMETER, name
        if layer is not None and index in layer.refused:
            return ConstantRole.NOT_UNDERSTOOD, name
        if id(node) in self._claimed:
            return ConstantRole.QUANTIZATION, self._claimed[id(node)].layer.name
        known = _ROLE_OF_INPUT.get(node.op_type, {}).get(index)
        if known is not None:
            return known, name
        if layer is None:
            return None, ""  # plumbing, or computed from constants: followed on
        if _belongs_to_operand(node, index):
            return ConstantRole.QUANTIZATION, name
        if layer.layer.not_understood and not is_running:
            return ConstantRole.NOT_UNDERSTOOD, name
        if is_wide:
            if node.op_type in _ON_WHOLE_NUMBERS and node.domain in STANDARD_DOMAINS:
                return None, ""
            return ConstantRole.NUMBERS, name
        return ConstantRole.NOT_UNDERSTOOD, name


def _belongs_to_operand(node: ir.Node, index: int) -> bool:
    """Whether an input is the scale, zero-point or grouping of another, or of an activation."""
    operator = operator_named(node.op_type)
    if any(index in operand.extra for operand in operands_of(node)):
        return True
    triples = operator.activations or ()
    if any(index in (scale, zero_point) for _, scale, zero_point in triples):
        return True
    if operator.activations_from is not None and index >= operator.activations_from:
        return (index - operator.activations_from) % 3 != 0
    output = operator.output_scale
    if output is not None and index in (output, output + 1):
        return True
    return operator.integer_axis is not None and index in (2, 3)


def _key(followed: _Followed) -> tuple[int, bool, bool]:
    value, is_wide, is_running = followed
    return id(value), is_wide, is_running


def _is_wide(data_type: str) -> bool:
    return data_type in ("int64", "uint64", "int32", "uint32")


# What a constant is where it is several things: a weight before all, then what is wrong.
_ORDER = (
    ConstantRole.NOT_UNDERSTOOD,
    ConstantRole.PARAMETER,
    ConstantRole.QUANTIZATION,
    ConstantRole.INDEX,
    ConstantRole.SHAPE,
    ConstantRole.MASK,
    ConstantRole.SEQUENCE,
    ConstantRole.NUMBERS,
)
