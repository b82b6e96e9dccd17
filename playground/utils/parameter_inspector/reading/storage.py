"""How each operator stores a quantized weight: one entry per form.

`DEQUANTIZERS` are the operators that stand between a stored tensor and a layer; `READERS` say how
an operator that holds codes itself holds them. To read a new form, write one function in
`decoders` and add its row here; a new operator takes a row in `operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ..facts import Refusal
from ..operators import (
    QDQ_DOMAINS,
    QONNX_DOMAINS,
    Form,
    Operand,
    find_operator,
)
from .constants import ConstantTable
from .decoders import (
    Stored,
    read_bipolar_quant,
    read_dequantize_linear,
    read_gather_blocks,
    read_gemm_weight,
    read_implied_bias,
    read_integer,
    read_lstm,
    read_matmul_bnb4,
    read_matmul_nbits,
    read_mct_symmetric,
    read_qmoe,
    read_qonnx_quant,
    read_trt_fp8,
)
from .model_file import printable

Reader = Callable[[ir.Node, ConstantTable], Stored]

DEQUANTIZERS: dict[tuple[str, str], Reader] = {
    **{(domain, "DequantizeLinear"): read_dequantize_linear for domain in QDQ_DOMAINS},
    ("trt", "TRT_FP8DequantizeLinear"): read_trt_fp8,
    **{(d, op): read_qonnx_quant for d in QONNX_DOMAINS for op in ("Quant", "IntQuant")},
    **{(domain, "BipolarQuant"): read_bipolar_quant for domain in QONNX_DOMAINS},
    ("mct_quantizers", "WeightsSymmetricQuantizer"): read_mct_symmetric,
    ("mct_quantizers", "WeightsPOTQuantizer"): read_mct_symmetric,
}

READERS: Mapping[Form, Callable[[ir.Node, ConstantTable, Operand], Stored]] = {
    Form.INTEGER: read_integer,
    Form.IMPLIED_BIAS: read_implied_bias,
    Form.GEMM: read_gemm_weight,
    Form.NBITS: read_matmul_nbits,
    Form.BNB4: read_matmul_bnb4,
    Form.GATHER_BLOCKS: read_gather_blocks,
    Form.LSTM: read_lstm,
    Form.MOE: read_qmoe,
}


def operands_of(node: ir.Node) -> tuple[Operand, ...]:
    """Return which inputs of a layer are parameters."""
    operator = find_operator(node.domain, node.op_type)
    return operator.operands if operator is not None else ()


def refusal_of(domain: str, op_type: str) -> Refusal | None:
    """Return why an operator that is recognized is not read; None for any other."""
    operator = find_operator(domain, op_type)
    if operator is None or operator.refusal is None:
        return None
    return Refusal(operator.refusal, operator=printable(op_type), domain=domain)
