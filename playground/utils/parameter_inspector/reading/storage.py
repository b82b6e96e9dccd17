"""How each operator stores a quantized weight: one entry per operator.

`DEQUANTIZERS` are the operators that stand between a stored tensor and a layer; `OPERANDS` says
which inputs of a layer are parameters, and how an operator that holds codes itself holds them.
To read a new form, write one function in `decoders` and add its row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx_ir as ir

from .constants import QDQ_DOMAINS, STANDARD_DOMAINS, ConstantTable
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

MICROSOFT = "com.microsoft"
QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

Reader = Callable[[ir.Node, ConstantTable], Stored]

DEQUANTIZERS: dict[tuple[str, str], Reader] = {
    **{(domain, "DequantizeLinear"): read_dequantize_linear for domain in QDQ_DOMAINS},
    ("trt", "TRT_FP8DequantizeLinear"): read_trt_fp8,
    **{(d, op): read_qonnx_quant for d in QONNX_DOMAINS for op in ("Quant", "IntQuant")},
    **{(domain, "BipolarQuant"): read_bipolar_quant for domain in QONNX_DOMAINS},
    ("mct_quantizers", "WeightsSymmetricQuantizer"): read_mct_symmetric,
    ("mct_quantizers", "WeightsPOTQuantizer"): read_mct_symmetric,
}

# Recognized, but their arithmetic or layout is not known well enough to be exact.
REFUSED: dict[tuple[str, str], str] = {
    **{(d, "FloatQuant"): "QONNX FloatQuant is not decoded" for d in QONNX_DOMAINS},
    **{
        ("com.amd.quark", op): f"AMD Quark's {op} is not decoded"
        for op in (
            "ExtendedQuantizeLinear",
            "ExtendedDequantizeLinear",
            "BFPQuantizeDequantize",
            "MXQuantizeDequantize",
        )
    },
    **{
        (MICROSOFT, op): f"{op} keeps its weight in a layout of its own"
        for op in (
            "QOrderedMatMul",
            "QOrderedAttention",
            "QOrderedGelu",
            "QOrderedLayerNormalization",
            "QOrderedLongformerAttention",
            "MatMulFpQ4",
            "QuantizeBFP",
            "DequantizeBFP",
            "GemmFloat8",
        )
    },
    (MICROSOFT, "EPContext"): "the weights are inside a blob of a hardware vendor",
    ("com.microsoft.nchwc", "Conv"): (
        "onnxruntime reordered the weight for one CPU (NCHWc): open the model from before that"
    ),
}


# ------------------------------------------------- which inputs of a layer are parameters


def _first(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 0 if rank else None


def _second(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 1 if rank > 1 else None


def _last(attributes: Mapping[str, Any], rank: int) -> int | None:
    return rank - 1 if rank else None


def _row(attributes: Mapping[str, Any], rank: int) -> int | None:
    return rank - 2 if rank > 1 else None


def _gemm(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 0 if attributes.get("transB", 0) else 1


def _gemm_left(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 1 if attributes.get("transA", 0) else 0


@dataclass(frozen=True)
class Operand:
    """One input of a layer that can be a parameter.

    Attributes:
        slot: what it is to the layer.
        index: the layer's input.
        channel_axis: output channels, from the layer's attributes and the operand's rank.
        read: how the operator itself stores it; None where the graph is followed back.
        extra: inputs that belong to this parameter (scale, zero-point).
    """

    slot: str
    index: int
    channel_axis: Callable[[Mapping[str, Any], int], int | None] = _first
    read: Reader | None = None
    extra: tuple[int, ...] = ()


def _integer(slot: str, codes: int, axis: int, channels: Callable[..., int | None]) -> Operand:
    read = partial(read_integer, codes=codes, scale=codes + 1, zero_point=codes + 2, axis=axis)
    return Operand(slot, codes, channels, read, (codes + 1, codes + 2))


def _linear_integer(codes: int, *, scale: int, zero_point: int) -> Operand:
    read = partial(read_integer, codes=codes, scale=scale, zero_point=zero_point, axis=-1)
    return Operand("weight", codes, _last, read, (scale, zero_point))


def _lstm(slot: str, indices: tuple[int, int, int]) -> Operand:
    return Operand(slot, indices[0], _second, partial(read_lstm, indices=indices), indices[1:])


def _moe(slot: str, indices: tuple[int, int, int]) -> Operand:
    return Operand(slot, indices[0], _second, partial(read_qmoe, indices=indices), indices[1:])


def _embedding(slot: str, codes: int, scale: int, zero_point: int) -> Operand:
    read = partial(read_integer, codes=codes, scale=scale, zero_point=zero_point, axis=0)
    return Operand(slot, codes, _first, read, (scale, zero_point))


_CONV = (Operand("weight", 1), Operand("bias", 2))
_RECURRENT = (
    Operand("weight", 1, _second),
    Operand("recurrence", 2, _second),
    Operand("bias", 3, _second),
)
_NORM = (Operand("weight", 1), Operand("bias", 2))
_BINARY = (Operand("operand", 1, _last), Operand("operand", 0, _last))
_QLINEAR_BINARY = (
    _integer("operand", 3, -1, _last),
    _integer("operand", 0, -1, _last),
)

OPERANDS: dict[tuple[str, str], tuple[Operand, ...]] = {
    ("", "Conv"): _CONV,
    ("", "ConvTranspose"): (Operand("weight", 1, _second), Operand("bias", 2)),
    ("", "DeformConv"): (Operand("weight", 1), Operand("bias", 3)),
    ("", "Gemm"): (
        Operand("weight", 1, _gemm), Operand("bias", 2, _last), Operand("weight", 0, _gemm_left),
    ),
    ("", "MatMul"): (Operand("weight", 1, _last), Operand("weight", 0, _row)),
    ("", "Einsum"): (Operand("weight", 1, _last), Operand("weight", 0, _last)),
    ("", "Gather"): (Operand("weight", 0),),
    ("", "LSTM"): _RECURRENT,
    ("", "GRU"): _RECURRENT,
    ("", "RNN"): _RECURRENT,
    ("", "BatchNormalization"): (*_NORM, Operand("mean", 3), Operand("variance", 4)),
    **{
        ("", op): _NORM
        for op in (
            "InstanceNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "RMSNormalization",
        )
    },
    ("", "PRelu"): (Operand("weight", 1),),
    **{("", op): _BINARY for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")},
    (MICROSOFT, "FusedConv"): _CONV,
    (MICROSOFT, "NhwcFusedConv"): _CONV,
    (MICROSOFT, "FusedGemm"): (Operand("weight", 1, _gemm), Operand("bias", 2, _last)),
    (MICROSOFT, "FusedMatMul"): (Operand("weight", 1, _gemm), Operand("weight", 0, _gemm_left)),
    (MICROSOFT, "TransposeMatMul"): (Operand("weight", 1, _gemm),),
    (MICROSOFT, "Attention"): (Operand("weight", 1, _last), Operand("bias", 2)),
    (MICROSOFT, "SkipLayerNormalization"): (
        Operand("weight", 2), Operand("bias", 3), Operand("bias", 4),
    ),
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): (Operand("weight", 2),),
    ("", "SimplifiedLayerNormalization"): (Operand("weight", 1),),
    (MICROSOFT, "EmbedLayerNormalization"): (
        Operand("weight", 2), Operand("position", 3), Operand("segment", 4),
        Operand("gamma", 5), Operand("bias", 6),
    ),
    (MICROSOFT, "BiasGelu"): (Operand("bias", 1),),
    (MICROSOFT, "FastGelu"): (Operand("bias", 1),),
    (MICROSOFT, "QuickGelu"): (),
    **{
        (domain, "QLinearConv"): (
            _integer("weight", 3, 0, _first),
            Operand("bias", 8, _first, partial(read_implied_bias, bias=8, scales=(1, 4))),
        )
        for domain in ("", MICROSOFT)
    },
    ("", "QLinearMatMul"): (_integer("weight", 3, -1, _last), _integer("weight", 0, -2, _row)),
    (MICROSOFT, "QGemm"): (
        Operand("weight", 3, _gemm, read_gemm_weight, (4, 5)),
        Operand("bias", 6, _last, partial(read_implied_bias, bias=6, scales=(1, 4))),
    ),
    (MICROSOFT, "QLinearAdd"): _QLINEAR_BINARY,
    (MICROSOFT, "QLinearMul"): _QLINEAR_BINARY,
    (MICROSOFT, "DynamicQuantizeMatMul"): (
        _linear_integer(1, scale=2, zero_point=3),
        Operand("bias", 4, _last),
    ),
    (MICROSOFT, "MatMulIntegerToFloat"): (
        _linear_integer(1, scale=3, zero_point=5),
        Operand("bias", 6, _last),
    ),
    (MICROSOFT, "DynamicQuantizeLSTM"): (
        _lstm("weight", (1, 8, 9)), _lstm("recurrence", (2, 10, 11)), Operand("bias", 3, _second),
    ),
    (MICROSOFT, "QAttention"): (
        _linear_integer(1, scale=4, zero_point=7),
        Operand("bias", 2),
    ),
    (MICROSOFT, "QEmbedLayerNormalization"): (
        _embedding("weight", 2, 8, 13), _embedding("position", 3, 9, 14),
        _embedding("segment", 4, 10, 15),
        _embedding("gamma", 5, 11, 16), _embedding("bias", 6, 12, 17),
    ),
    (MICROSOFT, "MatMulNBits"): (
        Operand("weight", 1, _first, read_matmul_nbits, (2, 3, 4)), Operand("bias", 5),
    ),
    (MICROSOFT, "MatMulBnb4"): (Operand("weight", 1, _first, read_matmul_bnb4, (2,)),),
    (MICROSOFT, "GatherBlockQuantized"): (
        Operand("weight", 0, _first, read_gather_blocks, (2, 3)),
    ),
    (MICROSOFT, "QMoE"): (
        _moe("weight", (2, 3, 11)), Operand("bias", 4, _last),
        _moe("weight 2", (5, 6, 12)), Operand("bias 2", 7, _last),
        _moe("weight 3", (8, 9, 13)), Operand("bias 3", 10, _last),
    ),
}  # fmt: skip


def operands_of(node: ir.Node) -> tuple[Operand, ...]:
    domain = (
        ""
        if node.domain in STANDARD_DOMAINS or node.domain == "com.ms.internal.nhwc"
        else node.domain
    )
    return OPERANDS.get((domain, node.op_type), ())
