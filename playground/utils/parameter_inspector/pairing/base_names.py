"""What tools do to names, undone: two names are the same when their bases are equal.

Equality only, never "is contained in": conv1 is inside conv10, and the empty name is in all.
"""

from __future__ import annotations

import re

# Source: names that these tools wrote into files made with them: onnxruntime (QDQ, QOperator,
# dynamic, MatMulNBits, its optimizer), Neural Compressor, NNCF, AIMET, ModelOpt, Olive, tf2onnx.
_SUFFIXES = re.compile(
    r"(_quantized|_quant|_prequant|_dequantized|_QuantizeLinear(_Input|_Output)?"
    r"|_DequantizeLinear(_Output)?|_output_quantized|_qdq|_updated|_reshaped"
    r"|_matmul_Q[248]|_DQ_Q[248]|_Q[248](G\d+)?|_Bnb4|_[iu][248]|_q|_T|_token_\d+|_nchwc|_MatMul)$"
)
_PREFIXES = re.compile(r"^(ConvBnFusion_W_|ConvBnFusion_BN_B_|QcQuantizeOp_)")
MAX_NAME_LENGTH = 2000
_NNCF = re.compile(r"^d?q_output_(.+)_\d+$")


def base_name(name: str) -> str:
    """Return ``name`` without what quantizers put around it; what is too long is no name."""
    if len(name) > MAX_NAME_LENGTH:
        return name
    while True:
        stripped = _NNCF.sub(r"\1", _PREFIXES.sub("", _SUFFIXES.sub("", name)))
        if stripped in ("", name):
            return name
        name = stripped
