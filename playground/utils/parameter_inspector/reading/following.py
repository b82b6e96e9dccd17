"""From a layer on to the scale of its codes: what is multiplied after it, and belongs to it.

Three kinds of layers hand on numbers that are no real numbers yet: operators of integers
(MatMulInteger, ConvInteger), products with codes that were only cast to float, and tables that are
looked up as codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from ..budgets import NUMBERS_A_STEP, spend
from ..facts import Refusal, RefusalKind
from ..operators import STANDARD_DOMAINS
from ..quantization import NotUnderstoodError, Source
from .computed import Computed
from .constants import ConstantTable

MAX_STEPS = 100

MOVES = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"))
_UNCHANGED = frozenset(("Cast", "Identity"))
# What a bias in the units of the integers is made by, out of the float bias and the scales.
_ROUNDING = frozenset(("Cast", "Identity", "Floor", "Ceil", "Round", "Clip", "Div")) | MOVES


@dataclass(frozen=True, eq=False)
class OutputChain:
    """What follows a layer until its result is a real number again.

    Attributes:
        factors: the constants that the result is multiplied by.
        activations: the factors that are computed while the model runs.
        bias: the constant that is added before, if any; where the model rounds it to the integers'
            units while it runs, what it rounds.
        is_rounded: whether it does.
        moves: the nodes that rearrange the result before the constant factor.
        nodes: the operators that belong to the layer.
        output: the first value that is a real number.
    """

    factors: tuple[Source, ...] = ()
    activations: tuple[ir.Value, ...] = ()
    bias: Source | None = None
    is_rounded: bool = False
    moves: tuple[ir.Node, ...] = ()
    nodes: tuple[ir.Node, ...] = ()
    output: ir.Value | None = None

    def finds_more_than(self, scaled: OutputChain | None) -> bool:
        """Whether a kind of factor is found here that is not found before."""
        if scaled is None:
            return bool(self.factors or self.activations)
        return bool(self.factors) > bool(scaled.factors) or bool(self.activations) > bool(
            scaled.activations
        )


def follow_integers(node: ir.Node, constants: ConstantTable) -> OutputChain:
    """Walk on from an integer operator through Add, Cast and Mul, in any order, to its scales.

    Raises:
        NotUnderstoodError: no Mul follows.
    """
    return _follow(node, constants, wants_activation=_is_quantized_while_running(node.inputs[0]))


def follow_product(node: ir.Node, constants: ConstantTable) -> OutputChain:
    """Walk on from a product with codes to the constant that it is multiplied by.

    Raises:
        NotUnderstoodError: no such Mul follows.
    """
    chain = _follow(node, constants, wants_activation=False)
    if not chain.factors:
        raise NotUnderstoodError(Refusal(RefusalKind.NEVER_SCALED))
    return chain


def _follow(node: ir.Node, constants: ConstantTable, *, wants_activation: bool) -> OutputChain:
    """Follow the only reader of each value up to the last Mul by a scale that is looked for."""
    chain, scaled = OutputChain(output=node.outputs[0]), None
    for _ in range(MAX_STEPS):
        step = _next_step(chain, constants)
        if step is None or (scaled is not None and step.bias is not scaled.bias):
            break  # a bias behind the scale is a real number, of an Add of its own
        if step.finds_more_than(scaled):
            scaled = step
        if scaled is not None and scaled.factors and (scaled.activations or not wants_activation):
            break
        chain = step
    if scaled is None:
        raise NotUnderstoodError(Refusal(RefusalKind.NEVER_SCALED))
    return scaled


def _next_step(chain: OutputChain, constants: ConstantTable) -> OutputChain | None:
    """Return the chain with the next operator in it; None where it does not belong to the layer."""
    value = chain.output
    uses = list(value.uses()) if value is not None else []
    if value is None or len(uses) != 1 or value.is_graph_output():
        return None
    consumer = uses[0].node
    if consumer.domain not in STANDARD_DOMAINS or not consumer.outputs:
        return None
    longer = replace(chain, nodes=(*chain.nodes, consumer), output=consumer.outputs[0])
    other = next((v for v in consumer.inputs if v is not None and v is not value), None)
    if consumer.op_type in _UNCHANGED:
        return longer
    if consumer.op_type in MOVES and consumer.inputs[0] is value:
        return longer if chain.factors else replace(longer, moves=(*chain.moves, consumer))
    if consumer.op_type == "Mul" and other is not None:
        factors, activations, products = _factors(other, constants)
        return replace(
            longer,
            factors=(*chain.factors, *factors),
            activations=(*chain.activations, *activations),
            nodes=(*longer.nodes, *products),
        )
    if consumer.op_type == "Add" and other is not None and chain.bias is None:
        return _with_bias(longer, other, constants)
    return None


def _with_bias(chain: OutputChain, value: ir.Value, constants: ConstantTable) -> OutputChain | None:
    """Return the chain with a bias; None where what is added is made from an activation."""
    nodes: list[ir.Node] = []
    for _ in range(MAX_STEPS):
        source, node = constants.get(value), value.producer()
        if source is not None:
            return replace(chain, bias=source, is_rounded=bool(nodes), nodes=(*chain.nodes, *nodes))
        if node is None or node.op_type not in _ROUNDING or not node.inputs:
            return None
        nodes += [node] if _is_read_once(value) else []
        if node.op_type == "Div" and len(node.inputs) > 1 and node.inputs[1] is not None:
            nodes += [
                n for n in _factors(node.inputs[1], constants)[2] if _is_read_once(n.outputs[0])
            ]
        following = node.inputs[0]
        if following is None:
            return None
        value = following
    return None


def _is_read_once(value: ir.Value) -> bool:
    count = len(value.uses())
    spend(1 + count // NUMBERS_A_STEP)
    return count == 1 and not value.is_graph_output()


def _is_quantized_while_running(value: ir.Value | None) -> bool:
    for _ in range(MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None or not node.inputs:
            return False
        if node.op_type not in MOVES and node.op_type != "Identity":
            return node.op_type == "DynamicQuantizeLinear"
        value = node.inputs[0]
    return False


def _factors(
    value: ir.Value, constants: ConstantTable
) -> tuple[list[Source], list[ir.Value], list[ir.Node]]:
    """Return the constant and the running factors of a product, and the Mul nodes of it."""
    factors: list[Source] = []
    activations: list[ir.Value] = []
    nodes: list[ir.Node] = []
    waiting, seen = [value], {id(value)}
    while waiting:
        spend()
        operand = waiting.pop(0)
        source, node = constants.get(operand), operand.producer()
        if isinstance(source, Computed) and source.op_type == "Mul" and None not in source.inputs:
            factors += [s for s in source.inputs if s is not None]
        elif source is not None:
            factors.append(source)
        elif node is None or node.op_type != "Mul":
            activations.append(operand)
        else:
            nodes.append(node)
            for factor in node.inputs:
                if factor is not None and id(factor) in seen:
                    raise NotUnderstoodError(Refusal(RefusalKind.SCALES_IN_CIRCLE))
                if factor is not None:
                    seen.add(id(factor))
                    waiting.append(factor)
    return factors, activations, nodes
