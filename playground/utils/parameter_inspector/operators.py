"""What is known of each operator, one row each: all that reads an operator's name asks here.

`find_operator` is exact about the domain; `operator_named` is for facts that hold wherever a tool
moved the operator to (``com.ms.internal.nhwc``, ``com.microsoft.nchwc``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cache
from typing import Any

from .facts import RefusalKind

MICROSOFT = "com.microsoft"
STANDARD_DOMAINS = ("", "ai.onnx")
QDQ_DOMAINS = (*STANDARD_DOMAINS, MICROSOFT)
QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
QUARK = "com.amd.quark"
# They take narrower codes out of wider ones.
# What these put out is a selection of what they read, in another order or with zeros.
MOVING = frozenset(
    "Reshape Transpose Flatten Squeeze Unsqueeze Slice Identity MaxPool Gather Expand Split Pad "
    "Relu Clip".split()
)
BIT_OPERATORS = frozenset(("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"))

ChannelAxis = Callable[[Mapping[str, Any], int], int | None]


def first_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 0 if rank else None


def second_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 1 if rank > 1 else None


def last_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return rank - 1 if rank else None


def last_but_one_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return rank - 2 if rank > 1 else None


def gemm_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 0 if attributes.get("transB", 0) else 1


def left_gemm_axis(attributes: Mapping[str, Any], rank: int) -> int | None:
    return 1 if attributes.get("transA", 0) else 0


class Form(Enum):
    """How an operator itself stores a parameter. `storage` has the function that reads each."""

    INTEGER = auto()
    """Codes, scale and zero-point are inputs of the layer."""
    IMPLIED_BIAS = auto()
    """int32 codes; their scale is the product of two others."""
    GEMM = auto()
    NBITS = auto()
    BNB4 = auto()
    GATHER_BLOCKS = auto()
    LSTM = auto()
    MOE = auto()
    FP4_BLOCKS = auto()
    FP8_BLOCKS = auto()


@dataclass(frozen=True)
class Operand:
    """One input of a layer that can be a parameter.

    Attributes:
        slot: what it is to the layer.
        index: the layer's input.
        channel_axis: output channels, from the layer's attributes and the operand's rank.
        form: how the operator itself stores it; None where the graph is followed back.
        extra: inputs that belong to this parameter: scale and zero-point; of an implied bias the
            two scales that are multiplied.
        axis: of the scales in the codes, for `Form.INTEGER`.
        rows: the attribute that says how many rows it has, for `Form.NBITS`.
        bits: the attributes that say how many bits a code has; the first that is there counts.
    """

    slot: str
    index: int
    channel_axis: ChannelAxis = first_axis
    form: Form | None = None
    extra: tuple[int, ...] = ()
    axis: int = 0
    rows: str = "N"
    bits: tuple[str, ...] = ("bits",)

    def moved(self, by: int) -> Operand:
        """Return the same some inputs further on."""
        return replace(self, index=self.index + by, extra=tuple(i + by for i in self.extra))


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        family: operators of one family compute the same, quantized or not; layers pair within it.
        heavy: a quantizer is expected to quantize its weight.
        operands: its inputs that can be parameters.
        activations: inputs that hold tensor, scale and zero-point of each activation that enters;
            None where they come through Q and DQ nodes.
        activations_from: they repeat in threes from this input on.
        output_scale: input that holds the scale of what leaves; the zero-point follows it.
        is_dynamic: quantizes what enters while the model runs.
        integer_axis: axis of the weight's scales, where the operator computes with bare integers
            and the scales follow in the graph.
        one_axis: an optimized runtime takes its scales for those of the output channels, whatever
            the file says.
        is_convolution, is_transposed: its channels lie behind the batch; the weight is [in, out /
            groups, ...].
        has_alpha: multiplies the product by an attribute ``alpha``.
        is_neighbour: a convolution or product; a layer left in float takes the next one with it.
        is_activation: stands between two neighbours and does not part them.
        is_passed_on: tools may fuse it into the layer before and name that after it.
        is_plumbing: moves or quantizes a tensor, is no layer.
        is_quantizer: stands between a stored tensor and a layer, in whatever domain.
        wrong_types: types of weights that onnxruntime 1.31 computes wrongly with.
        refusal: why it is recognized, but not read.
        attributes: all that it has by its definition, where it holds or makes codes: one that is
            not among them may change what they mean. None where nothing depends on them.
        is_variadic: every input behind the last of ``operands`` can be a parameter as that can.
    """

    name: str
    domain: str
    family: str
    heavy: bool
    operands: tuple[Operand, ...] = ()
    activations: tuple[tuple[int, int, int], ...] | None = None
    activations_from: int | None = None
    output_scale: int | None = None
    is_dynamic: bool = False
    integer_axis: int | None = None
    one_axis: bool = False
    is_convolution: bool = False
    is_transposed: bool = False
    has_alpha: bool = False
    is_neighbour: bool = False
    is_activation: bool = False
    is_passed_on: bool = False
    is_plumbing: bool = False
    is_quantizer: bool = False
    wrong_types: frozenset[str] = frozenset()
    refusal: RefusalKind | None = None
    attributes: frozenset[str] | None = None
    is_variadic: bool = False

    def weight_axis(self, attributes: Mapping[str, Any], rank: int) -> int | None:
        """Return the output channels of its first operand, which the operator implies."""
        return self.operands[0].channel_axis(attributes, rank) if self.operands else None


# ------------------------------------------------- operands that several operators have


def _codes(slot: str, index: int, axis: int, channels: ChannelAxis) -> Operand:
    return Operand(slot, index, channels, Form.INTEGER, (index + 1, index + 2), axis)


def _columns(index: int, scale: int, zero_point: int) -> Operand:
    return Operand("weight", index, last_axis, Form.INTEGER, (scale, zero_point), -1)


def _table(slot: str, index: int, scale: int, zero_point: int) -> Operand:
    return Operand(slot, index, first_axis, Form.INTEGER, (scale, zero_point), 0)


def _implied_bias(index: int, channels: ChannelAxis) -> Operand:
    return Operand("bias", index, channels, Form.IMPLIED_BIAS, (1, 4))


def _lstm(slot: str, index: int, scale: int, zero_point: int) -> Operand:
    return Operand(slot, index, second_axis, Form.LSTM, (scale, zero_point))


def _experts(slot: str, index: int, bits: str, *extra: int) -> Operand:
    """Scale and zero-point, and the one scale for each expert where the projection has one."""
    return Operand(slot, index, second_axis, Form.MOE, extra, bits=(bits, "expert_weight_bits"))


def _projection(slot: str, index: int, rows: str) -> tuple[Operand, Operand]:
    """One of several weights of an operator, each with its scales and its bias behind it."""
    return (
        Operand(slot, index, first_axis, Form.NBITS, (index + 1,), rows=rows),
        Operand("bias", index + 2),
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WEIGHT, _BIAS = Operand("weight", 1), Operand("bias", 2)
_CONV = (_WEIGHT, _BIAS)
_NORM = (_WEIGHT, _BIAS)
_RECURRENT = (
    Operand("weight", 1, second_axis),
    Operand("recurrence", 2, second_axis),
    Operand("bias", 3, second_axis),
)
_BINARY = (Operand("operand", 1, last_axis), Operand("operand", 0, last_axis))
_QLINEAR_BINARY = (
    _codes("operand", 3, -1, last_axis),
    _codes("operand", 0, -1, last_axis),
)
_QLINEAR_CONV = (_codes("weight", 3, 0, first_axis), _implied_bias(8, first_axis))
_ONE_ACTIVATION = ((0, 1, 2),)
_TWO_ACTIVATIONS = ((0, 1, 2), (3, 4, 5))
_TWO_BITS = frozenset(("int2", "uint2"))
_NOTHING = _names("")
_CONV_ATTRIBUTES = _names("auto_pad dilations group kernel_shape pads strides")
_NBITS_ATTRIBUTES = _names("K bits block_size accuracy_level")


# ------------------------------------------------- the table

_LAYERS: tuple[Operator, ...] = (
    Operator(
        "Conv", "", "Conv", True, _CONV,
        one_axis=True, is_convolution=True, is_neighbour=True,
    ),
    Operator("FusedConv", MICROSOFT, "Conv", True, _CONV, one_axis=True, is_convolution=True),
    Operator("NhwcFusedConv", MICROSOFT, "Conv", True, _CONV, is_convolution=True),
    *(
        Operator(
            "QLinearConv", domain, "Conv", True, _QLINEAR_CONV, _ONE_ACTIVATION,
            output_scale=6, is_convolution=True,
            attributes=_CONV_ATTRIBUTES | _names("channels_last" if domain else ""),
        )
        for domain in ("", MICROSOFT)
    ),
    Operator("ConvInteger", "", "Conv", True, integer_axis=0, is_convolution=True),
    Operator(
        "ConvTranspose", "", "ConvTranspose", True, (Operand("weight", 1, second_axis), _BIAS),
        one_axis=True, is_convolution=True, is_transposed=True, is_neighbour=True,
    ),
    Operator(
        "DeformConv", "", "DeformConv", False, (_WEIGHT, Operand("bias", 3)), is_convolution=True
    ),
    Operator(
        "Gemm", "", "Linear", True,
        (
            Operand("weight", 1, gemm_axis), Operand("bias", 2, last_axis),
            Operand("weight", 0, left_gemm_axis),
        ),
        one_axis=True, has_alpha=True, is_neighbour=True, wrong_types=_TWO_BITS,
    ),
    Operator(
        "FusedGemm", MICROSOFT, "Linear", True,
        (Operand("weight", 1, gemm_axis), Operand("bias", 2, last_axis)), one_axis=True,
    ),
    Operator(
        "QGemm", MICROSOFT, "Linear", True,
        (
            Operand("weight", 3, gemm_axis, Form.GEMM, (4, 5)),
            _implied_bias(6, last_axis),
        ),
        _ONE_ACTIVATION, output_scale=7, has_alpha=True,
        attributes=_names("alpha transA transB"),
    ),
    Operator(
        "MatMul", "", "Linear", True,
        (Operand("weight", 1, last_axis), Operand("weight", 0, last_but_one_axis)),
        one_axis=True, is_neighbour=True, wrong_types=_TWO_BITS,
    ),
    Operator(
        "FusedMatMul", MICROSOFT, "Linear", True,
        (Operand("weight", 1, gemm_axis), Operand("weight", 0, left_gemm_axis)), one_axis=True,
    ),
    Operator(
        "TransposeMatMul", MICROSOFT, "Linear", True, (Operand("weight", 1, gemm_axis),)
    ),
    Operator(
        "QLinearMatMul", "", "Linear", True,
        (_codes("weight", 3, -1, last_axis), _codes("weight", 0, -2, last_but_one_axis)),
        _TWO_ACTIVATIONS, output_scale=6, attributes=_NOTHING,
    ),
    Operator("MatMulInteger", "", "Linear", True, integer_axis=-1),
    Operator(
        "MatMulIntegerToFloat", MICROSOFT, "Linear", True,
        (_columns(1, 3, 5), Operand("bias", 6, last_axis)), ((0, 2, 4),), attributes=_NOTHING,
    ),
    Operator(
        "DynamicQuantizeMatMul", MICROSOFT, "Linear", True,
        (_columns(1, 2, 3), Operand("bias", 4, last_axis)), is_dynamic=True, attributes=_NOTHING,
    ),
    Operator(
        "MatMulNBits", MICROSOFT, "Linear", True,
        (Operand("weight", 1, first_axis, Form.NBITS, (2, 3, 4)), Operand("bias", 5)),
        attributes=_NBITS_ATTRIBUTES | _names("N weight_prepacked"),
    ),
    Operator(
        "MatMulNBitsMlp", MICROSOFT, "MatMulNBitsMlp", True,
        (
            *_projection("weight", 3, "N"), *_projection("weight 2", 6, "N"),
            Operand("gamma", 2),
        ),
        attributes=_NBITS_ATTRIBUTES | _names("N activation epsilon"),
    ),
    Operator(
        "MatMulNBitsQkv", MICROSOFT, "MatMulNBitsQkv", True,
        (
            *_projection("weight", 3, "Nq"), *_projection("weight 2", 6, "Nkv"),
            *_projection("weight 3", 9, "Nkv"), Operand("gamma", 2),
        ),
        attributes=_NBITS_ATTRIBUTES | _names("Nq Nkv epsilon"),
    ),
    Operator(
        "MatMulBnb4", MICROSOFT, "Linear", True,
        (Operand("weight", 1, first_axis, Form.BNB4, (2,)),),
        attributes=_names("K N block_size quant_type training_mode transB"),
    ),
    Operator(
        "MatMulBlockQuantizedFp4Weight", MICROSOFT, "Linear", True,
        (Operand("weight", 1, first_axis, Form.FP4_BLOCKS, (2, 3)), Operand("bias", 5)),
        attributes=_names("block_size"),
    ),
    Operator(
        "MatMulBlockQuantizedFp8Weight", MICROSOFT, "Linear", True,
        (Operand("weight", 1, first_axis, Form.FP8_BLOCKS, (2,)), Operand("bias", 4)),
        attributes=_names("block_size"),
    ),
    Operator(
        "Einsum", "", "Einsum", False,
        (Operand("weight", 1, last_axis), Operand("weight", 0, last_axis)),
    ),
    Operator("Gather", "", "Gather", True, (Operand("weight", 0),)),
    *(
        Operator(name, "", name, False, (Operand("weight", 0),))
        for name in ("GatherND", "GatherElements")
    ),
    Operator(
        "GatherBlockQuantized", MICROSOFT, "Gather", True,
        (Operand("weight", 0, first_axis, Form.GATHER_BLOCKS, (2, 3)),),
        attributes=_names("bits block_size gather_axis quantize_axis"),
    ),
    Operator("LSTM", "", "LSTM", True, _RECURRENT),
    Operator("GRU", "", "GRU", True, _RECURRENT),
    Operator("RNN", "", "RNN", True, _RECURRENT),
    Operator(
        "DynamicQuantizeLSTM", MICROSOFT, "LSTM", True,
        (
            _lstm("weight", 1, 8, 9), _lstm("recurrence", 2, 10, 11),
            Operand("bias", 3, second_axis),
        ),
        is_dynamic=True,
        attributes=_names(
            "activation_alpha activation_beta activations clip direction hidden_size input_forget"
        ),
    ),
    Operator(
        "Attention", MICROSOFT, "Attention", True, (Operand("weight", 1, last_axis), _BIAS)
    ),
    Operator(
        "QAttention", MICROSOFT, "Attention", True, (_columns(1, 4, 7), _BIAS), ((0, 3, 6),),
        attributes=_names(
            "do_rotary mask_filter_value num_heads past_present_share_buffer scale unidirectional"
        ),
    ),
    Operator(
        "QMoE", MICROSOFT, "QMoE", False,
        (
            _experts("weight", 2, "fc1_expert_weight_bits", 3, 11, 15),
            Operand("bias", 4, last_axis),
            _experts("weight 2", 5, "fc2_expert_weight_bits", 6, 12, 16),
            Operand("bias 2", 7, last_axis),
            _experts("weight 3", 8, "fc3_expert_weight_bits", 9, 13),
            Operand("bias 3", 10, last_axis),
        ),
        attributes=_names(
            "accuracy_level activation_alpha activation_beta activation_type block_size "
            "expert_weight_bits fc1_expert_weight_bits fc2_expert_weight_bits "
            "fc3_expert_weight_bits k normalize_routing_weights num_shared_experts quant_type "
            "swiglu_fusion swiglu_limit use_sparse_mixer weights_prepacked"
        ),
    ),
    Operator(
        "BatchNormalization", "", "BatchNormalization", False,
        (*_NORM, Operand("mean", 3), Operand("variance", 4)), is_passed_on=True,
    ),
    Operator("InstanceNormalization", "", "InstanceNormalization", False, _NORM),
    Operator("LayerNormalization", "", "LayerNormalization", False, _NORM),
    Operator("GroupNormalization", "", "GroupNormalization", False, _NORM),
    Operator("RMSNormalization", "", "RMSNormalization", False, _NORM),
    Operator("SimplifiedLayerNormalization", "", "SimplifiedLayerNormalization", False, (_WEIGHT,)),
    Operator(
        "SkipLayerNormalization", MICROSOFT, "LayerNormalization", False,
        (Operand("weight", 2), Operand("bias", 3), Operand("bias", 4)),
    ),
    Operator(
        "SkipSimplifiedLayerNormalization", MICROSOFT, "SkipSimplifiedLayerNormalization", False,
        (Operand("weight", 2),),
    ),
    Operator(
        "EmbedLayerNormalization", MICROSOFT, "Embedding", False,
        (
            Operand("weight", 2), Operand("position", 3), Operand("segment", 4),
            Operand("gamma", 5), Operand("bias", 6),
        ),
    ),
    Operator(
        "QEmbedLayerNormalization", MICROSOFT, "Embedding", False,
        (
            _table("weight", 2, 8, 13), _table("position", 3, 9, 14), _table("segment", 4, 10, 15),
            _table("gamma", 5, 11, 16), _table("bias", 6, 12, 17),
        ),
        attributes=_names("epsilon"),
    ),
    Operator("PRelu", "", "PRelu", False, (_WEIGHT,)),
    Operator("Add", "", "Add", False, _BINARY, is_passed_on=True),
    Operator("Mul", "", "Mul", False, _BINARY),
    *(Operator(name, "", name, False, _BINARY) for name in ("Sub", "Div", "Pow", "Max", "Min")),
    *(
        Operator(
            f"QLinear{name}", MICROSOFT, name, False, _QLINEAR_BINARY, _TWO_ACTIVATIONS,
            output_scale=6, attributes=_NOTHING,
        )
        for name in ("Add", "Mul")
    ),
    Operator(
        "Where", "", "Where", False,
        (Operand("operand", 1, last_axis), Operand("operand", 2, last_axis)),
    ),
    Operator("Concat", "", "Concat", False, (Operand("operand", 0, last_axis),), is_variadic=True),
    Operator("BiasGelu", MICROSOFT, "BiasGelu", False, (Operand("bias", 1),)),
    Operator("FastGelu", MICROSOFT, "FastGelu", False, (Operand("bias", 1),)),
    Operator("QuickGelu", MICROSOFT, "QuickGelu", False),
    *(
        Operator(name, "", name, False, is_activation=True, is_passed_on=True)
        for name in ("Relu", "Clip", "LeakyRelu")
    ),
    *(Operator(name, "", name, False, is_activation=True) for name in ("Sigmoid", "HardSwish")),
    Operator(
        "QLinearConcat", MICROSOFT, "Concat", False, (_codes("operand", 2, -1, last_axis),),
        is_variadic=True, activations=(), activations_from=2, output_scale=0,
        attributes=_names("axis"),
    ),
    Operator(
        "QLinearWhere", MICROSOFT, "Where", False,
        (_codes("operand", 1, -1, last_axis), _codes("operand", 4, -1, last_axis)),
        activations=((1, 2, 3), (4, 5, 6)), output_scale=7, attributes=_NOTHING,
    ),
    # A family of their own: what has no weight is paired by name within it.
    *(
        Operator(name, MICROSOFT, name, False, (), _ONE_ACTIVATION, output_scale=3)
        for name in (
            "QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool",
            "QLinearGlobalAveragePool", "QLinearSoftmax", "QLinearReduceMean",
        )
    ),
)  # fmt: skip


def _no_layer(
    name: str,
    domain: str,
    *,
    is_plumbing: bool = False,
    is_quantizer: bool = False,
    attributes: frozenset[str] | None = None,
) -> Operator:
    return Operator(
        name, domain, name, False,
        is_plumbing=is_plumbing, is_quantizer=is_quantizer, attributes=attributes,
    )  # fmt: skip


_QDQ_ATTRIBUTES = {
    "DequantizeLinear": _names("axis block_size output_dtype"),
    "QuantizeLinear": _names("axis block_size output_dtype precision saturate"),
}


def _refused(name: str, domain: str, refusal: RefusalKind) -> Operator:
    return Operator(name, domain, name, False, refusal=refusal)


_PLUMBING: tuple[Operator, ...] = (
    *(
        _no_layer(
            name, domain, is_plumbing=True, is_quantizer=name == "DequantizeLinear",
            attributes=_QDQ_ATTRIBUTES.get(name),
        )
        for name in (
            "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Constant", "Identity",
        )
        for domain in ("", MICROSOFT)
    ),
    *(
        _no_layer(name, domain, is_quantizer=True, attributes=attributes)
        for name, attributes in (
            ("Quant", _names("narrow rounding_mode signed")),
            ("IntQuant", _names("narrow rounding_mode signed")),
            ("BipolarQuant", _NOTHING),
        )
        for domain in QONNX_DOMAINS
    ),
    *(
        _no_layer(name, "trt", is_quantizer=True, attributes=_NOTHING)
        for name in ("TRT_FP8QuantizeLinear", "TRT_FP8DequantizeLinear")
    ),
    *(
        _no_layer(
            name, "mct_quantizers", is_quantizer=True,
            attributes=_names("channel_axis mctq_version num_bits per_channel signed"),
        )
        for name in ("WeightsSymmetricQuantizer", "WeightsPOTQuantizer")
    ),
)  # fmt: skip

# Recognized, but their arithmetic or layout is not known well enough to be exact.
_REFUSED: tuple[Operator, ...] = (
    *(_refused("FloatQuant", domain, RefusalKind.QONNX_NOT_DECODED) for domain in QONNX_DOMAINS),
    *(
        _refused(name, QUARK, RefusalKind.QUARK_NOT_DECODED)
        for name in (
            "ExtendedQuantizeLinear", "ExtendedDequantizeLinear", "BFPQuantizeDequantize",
            "MXQuantizeDequantize",
        )
    ),
    *(
        _refused(name, MICROSOFT, RefusalKind.OWN_LAYOUT)
        for name in (
            "QOrderedMatMul", "QOrderedAttention", "QOrderedGelu", "QOrderedLayerNormalization",
            "QOrderedLongformerAttention", "MatMulFpQ4", "QuantizeBFP", "DequantizeBFP",
            "GemmFloat8",
        )
    ),
    _refused("EPContext", MICROSOFT, RefusalKind.VENDOR_BLOB),
    replace(
        next(row for row in _LAYERS if row.name == "Conv"), domain="com.microsoft.nchwc",
        operands=(), refusal=RefusalKind.REORDERED_FOR_CPU,
    ),
)  # fmt: skip

OPERATORS: Mapping[tuple[str, str], Operator] = {
    (row.domain, row.name): row for row in (*_LAYERS, *_PLUMBING, *_REFUSED)
}
_BY_NAME: Mapping[str, Operator] = {
    row.name: row for row in (*_REFUSED, *_PLUMBING, *reversed(_LAYERS))
}
# onnxruntime moves operators of the standard there while it optimizes; they mean the same.
_SAME_AS_STANDARD = (*STANDARD_DOMAINS, "com.ms.internal.nhwc")


def find_operator(domain: str, op_type: str) -> Operator | None:
    """Return what is known of an operator of that very domain, None where nothing is."""
    return OPERATORS.get(("" if domain in _SAME_AS_STANDARD else domain, op_type))


@cache
def operator_named(op_type: str) -> Operator:
    """Return what is known of an operator wherever it comes from; of others a row with nothing."""
    return _BY_NAME.get(op_type) or Operator(op_type, "", op_type, False)
