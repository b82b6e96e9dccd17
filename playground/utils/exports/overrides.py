"""onnxruntime's ``TensorQuantOverrides``: another quantization for some weights only.

Source: onnxruntime/quantization/tensor_quant_overrides.py: weight initializer -> a list, whose one
dictionary holds for all channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..parameter_inspector import (
    Comparison,
    Layer,
    LayerChange,
    is_integer,
)
from .escaping import quote_python, quote_short
from .layer_lookup import find_layer_in
from .python_text import assign

QUANT_TYPES = {
    "int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16", "int4": "QInt4",
    "uint4": "QUInt4", "float8e4m3fn": "QFLOAT8E4M3FN",
}  # fmt: skip
# Signed: onnxruntime wants one zero-point for all channels of a convolution, so a symmetric type.


_SIGNED = {"int4": "QInt4", "uint4": "QInt4", "int16": "QInt16", "uint16": "QInt16"}


@dataclass(frozen=True)
class Override:
    """What is to hold for a weight; None leaves it to the quantizer."""

    quant_type: str
    axis: int | None = None
    symmetric: bool | None = None
    reduce_range: bool | None = None

    def spell(self) -> str:
        """Return the list of one dictionary that onnxruntime wants, as Python."""
        parts = {
            "quant_type": f"QuantType.{self.quant_type}",
            "axis": self.axis,
            "symmetric": self.symmetric,
            "reduce_range": self.reduce_range,
        }
        words = (f'"{name}": {part}' for name, part in parts.items() if part is not None)
        return f"[{{{', '.join(words)}}}]"


def override_planned_weights(changes: Iterable[LayerChange]) -> str:
    """Return planned changes as a Python dictionary for ``extra_options``.

    What the quantizer has no words for stands in a comment.
    """
    lines = (_spell_change(change) for change in changes)
    return "\n".join(["{", *lines, "}"])


def _spell_change(change: LayerChange) -> str:
    scheme, name = change.proposed.scheme, ascii(change.options.weight_name)
    axis = change.options.channel_axis
    plain = scheme.clipping == "min-max" and scheme.bits is None and scheme.axis in (None, axis)
    if scheme.granularity == "per-block" or scheme.data_type not in QUANT_TYPES or not plain:
        return f"    # {name}: {scheme} has no override; save the changed model instead"
    integer = is_integer(scheme.data_type)
    override = Override(
        QUANT_TYPES[scheme.data_type],
        axis=axis if scheme.granularity == "per-channel" else None,
        symmetric=scheme.symmetric if integer else None,
        reduce_range=scheme.reduce_range if integer else None,
    )
    return f"    {name}: {override.spell()},"


def quantize_per_channel_in_onnxruntime(
    comparison: Comparison, layer_names: Iterable[str], variant: str
) -> str:
    """Return onnxruntime's ``TensorQuantOverrides`` that give each channel its own scale.

    Args:
        layer_names: the layers to quantize so; the others stay as they are.
        variant: whose bit width to keep.

    Source: onnxruntime/quantization/tensor_quant_overrides.py: weight initializer -> a list, whose
    one dictionary holds for all channels.
    """
    overrides: dict[str, Override] = {}
    notes: list[str] = []
    for layer_name in layer_names:
        layer = find_layer_in(comparison, comparison.named_by, layer_name)
        problem = _why_not_per_channel(layer, comparison)
        if problem or layer is None or layer.weight is None:
            notes.append(f"{quote_short(layer_name)}: {problem}")
            continue
        current = find_layer_in(comparison, variant, layer_name)
        data_type = current.weight.data_type if current and current.weight else ""
        overrides[layer.weight.name] = Override(
            _SIGNED.get(data_type, "QInt8"), axis=layer.weight.channel_axis, symmetric=True
        )
    entries = "".join(
        f"    {quote_python(name)}: {one.spell()},\n" for name, one in overrides.items()
    )
    return "from onnxruntime.quantization import QuantType\n\n" + assign(
        "tensor_quant_overrides",
        f"{{\n{entries}}}" if entries else "{}",
        [
            'quantize_static(..., extra_options={"TensorQuantOverrides": tensor_quant_overrides})',
            "Only for QuantFormat.QDQ.",
            *notes,
        ],
    )


def _why_not_per_channel(layer: Layer | None, comparison: Comparison) -> str:
    named_by = comparison.named_by
    if layer is None:
        return f"it is not in {named_by}."
    weight = layer.weight
    if weight is None or weight.channel_axis is None:
        return "it has no weight with output channels."
    if weight.is_quantized:
        return f"its weight is quantized already in {named_by}; quantize the float original."
    if weight.layout or weight.name not in comparison.naming_model.graph.initializers:
        return "its weight is not an initializer that the layer reads directly."
    return ""
