"""How each operator stores a quantized weight: one entry per form.

`DEQUANTIZERS` are the operators that stand between a stored tensor and a layer; `READERS` say how
an operator that holds codes itself holds them. To read a new form, write one function in
`decoders` (`block_decoders`, `custom_quantizers`) and add its row here; a new operator takes a row
in `operators`. An attribute that is not known of an operator makes it refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ..facts import Refusal
from ..operators import (
    QDQ_DOMAINS,
    Form,
    Operand,
    find_operator,
)
from .block_decoders import (
    read_fp4_blocks,
    read_fp8_blocks,
    read_gather_blocks,
    read_matmul_bnb4,
    read_matmul_nbits,
    read_qmoe,
)
from .constants import ConstantTable
from .custom_quantizers import QUANTIZERS, refuse_unknown_attributes
from .decoders import (
    Stored,
    read_custom_quantizer,
    read_dequantize_linear,
    read_gemm_weight,
    read_implied_bias,
    read_integer,
    read_lstm,
)
from .model_file import printable

Reader = Callable[[ir.Node, ConstantTable], Stored]
OperandReader = Callable[[ir.Node, ConstantTable, Operand], Stored]


def _of_known_attributes(read: OperandReader) -> OperandReader:
    """Return a reader that refuses a node with an attribute that is not known of its operator."""

    def checked(node: ir.Node, constants: ConstantTable, operand: Operand) -> Stored:
        refuse_unknown_attributes(node.domain, node.op_type, node.attributes)
        return read(node, constants, operand)

    return checked


def _read_dequantize_linear(node: ir.Node, constants: ConstantTable) -> Stored:
    refuse_unknown_attributes(node.domain, node.op_type, node.attributes)
    return read_dequantize_linear(node, constants)


DEQUANTIZERS: dict[tuple[str, str], Reader] = {
    **{(domain, "DequantizeLinear"): _read_dequantize_linear for domain in QDQ_DOMAINS},
    **dict.fromkeys(QUANTIZERS, read_custom_quantizer),
}

READERS: Mapping[Form, OperandReader] = {
    form: _of_known_attributes(read)
    for form, read in {
        Form.INTEGER: read_integer,
        Form.IMPLIED_BIAS: read_implied_bias,
        Form.GEMM: read_gemm_weight,
        Form.NBITS: read_matmul_nbits,
        Form.BNB4: read_matmul_bnb4,
        Form.GATHER_BLOCKS: read_gather_blocks,
        Form.LSTM: read_lstm,
        Form.MOE: read_qmoe,
        Form.FP4_BLOCKS: read_fp4_blocks,
        Form.FP8_BLOCKS: read_fp8_blocks,
    }.items()
}


def operands_of(node: ir.Node) -> tuple[Operand, ...]:
    """Return which inputs of a layer are parameters."""
    operator = find_operator(node.domain, node.op_type)
    if operator is None or not operator.is_variadic:
        return operator.operands if operator is not None else ()
    last = operator.operands[-1]
    step = 1 + len(last.extra)
    further = (last.moved(by) for by in range(step, len(node.inputs) - last.index, step))
    return (*operator.operands, *further)


def refusal_of(domain: str, op_type: str) -> Refusal | None:
    """Return why an operator that is recognized is not read; None for any other."""
    operator = find_operator(domain, op_type)
    if operator is None or operator.refusal is None:
        return None
    return Refusal(operator.refusal, operator=printable(op_type), domain=domain)
