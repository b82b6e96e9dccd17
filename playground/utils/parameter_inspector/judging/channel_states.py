"""The quantized weights of a variant channel by channel, and the sentences about them.

What several rules look at: which channels count, how weak they are, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..measuring.comparison import Comparison
from ..measuring.metrics import (
    MeasuredWeight,
    are_judged,
    channel_max_abs,
    channel_sqnr_db,
    representable_limits,
)
from ..quantization import Quantization, is_integer, numpy_dtype
from ..reading.layers import layers_by_name, list_layers, readers_of
from ..reading.model_file import Model, printable
from ..records import Layer, WeightTensor

# A channel is weak when its SQNR is below this at 8 bits; each bit less is allowed 6.02 dB less.
WEAK_CHANNEL_DB = 20.0
DB_PER_BIT = 6.02
# However few the bits: at 3 dB the error has 71 % of the channel's norm.
LEAST_WEAK_CHANNEL_DB = 3.0
# Largest weight / largest representable value. 1/4 wastes 2 bits; reduce_range alone gives 1/2.
WIDE_REACH, WIDE_REACH_ERROR = 1 / 4, 1 / 16
# One bit, which clipping outliers would win back. Measured on healthy layers: at most 2.2 dB.
WIDE_GAIN_DB = 6.0
# Clipping is wrong where a scale that clips nothing would be this much better.
CLIPPING_GAIN_DB = 3.0
# What the codes' rounding cannot explain: TFLite's debugger suspects RMSE / scale above 0.7.
STRAYED_STEPS = 0.7
NAMES_SHOWN = 3
ONE_AXIS = frozenset("Conv ConvTranspose FusedConv Gemm FusedGemm MatMul FusedMatMul".split())


def measured_rows(comparison: Comparison, variant: str) -> Iterator[tuple[str, MeasuredWeight]]:
    for layer_name, by_variant in comparison.weights.items():
        if variant in by_variant:
            yield layer_name, by_variant[variant]


class QuantizedMatrix(NamedTuple):
    layer_name: str
    measured: MeasuredWeight
    quantization: Quantization


def quantized_matrices(comparison: Comparison, variant: str) -> Iterator[QuantizedMatrix]:
    """Yield the quantized weights whose channels have more than one weight."""
    for layer_name, measured in measured_rows(comparison, variant):
        quantization = measured.quantization
        sums = measured.sums
        is_matrix = measured.weight.slot == "weight" and sums.fan_in > 1 and sums.channel_count > 0
        if quantization is not None and is_matrix:
            yield QuantizedMatrix(layer_name, measured, quantization)


def width_bits(quantization: Quantization) -> float:
    """Return how many bits the codes in use have."""
    if not is_integer(quantization.data_type):
        return 8.0 * numpy_dtype(quantization.data_type).itemsize
    low, high = quantization.code_limits
    return float(np.log2(high - low + 1))


def layer_axis(weight: WeightTensor) -> int | None:
    """Return the quantization's axis as the layer sees it, None where it is not one axis there."""
    quantization = weight.quantization
    if quantization is None or quantization.granularity != "per-channel":
        return None
    axis, shape = quantization.axis, weight.source.shape
    if not weight.layout or axis is None:
        return axis
    index = np.arange(shape[axis], dtype=np.int32)
    index = index.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    seen = weight.rearrange(np.broadcast_to(index, shape))
    if np.may_share_memory(seen, index):  # a view: what does not vary has no stride
        varying = [i for i in range(seen.ndim) if seen.shape[i] > 1 and seen.strides[i]]
    else:
        varying = [i for i in range(seen.ndim) if np.ptp(seen, axis=i).any()]
    return varying[0] if len(varying) == 1 else None


def by_channel(measured: MeasuredWeight, parameter: np.ndarray) -> np.ndarray | None:
    """Return a scale's numbers as float64 (channels,), None where a channel has several."""
    quantization, channels = measured.quantization, measured.sums.channel_count
    if quantization is None or quantization.granularity == "per-block":
        return None
    flat = parameter.astype(np.float64).reshape(-1)
    if flat.size == 1:
        return np.full(channels, flat[0])
    if layer_axis(measured.weight) != measured.weight.channel_axis or channels % flat.size:
        return None
    return np.tile(flat, channels // flat.size)  # ConvTranspose repeats its scales in each group


def _representable(measured: MeasuredWeight) -> np.ndarray | None:
    """Return the largest abs(value) that each channel's codes can hold, (channels,)."""
    limits = representable_limits(measured.quantization)
    if limits is None:
        return None
    return by_channel(measured, np.maximum(np.abs(limits[0]), np.abs(limits[1])))


def channel_width(measured: MeasuredWeight) -> np.ndarray:
    """Return the largest abs(value) of each channel, (channels,), 0 where there is none."""
    sums = measured.sums
    return np.nan_to_num(np.maximum(np.abs(sums.low), np.abs(sums.high)))


def living_channels(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels do anything, by the float weight where it is known."""
    return are_judged(np.nan_to_num(channel_max_abs(measured.sums)))


def is_misaligned(measured: MeasuredWeight) -> bool:
    """Return whether the scales run along another axis than the operator's channels."""
    axis, implied = layer_axis(measured.weight), measured.weight.channel_axis
    if axis is None or implied is None or measured.layer.op_type not in ONE_AXIS:
        return False
    return axis != implied


def usable_channels(measured: MeasuredWeight) -> np.ndarray:
    """Return which channels have a scale of their own that can be divided by, (channels,)."""
    assert measured.quantization is not None
    scale = by_channel(measured, measured.quantization.scale)
    if scale is not None:
        return np.isfinite(scale) & (scale > 0)
    every = measured.quantization.scale.astype(np.float64)
    good = bool((np.isfinite(every) & (every != 0)).all()) and not is_misaligned(measured)
    return np.full(measured.sums.channel_count, good)


@dataclass(frozen=True, eq=False)
class ChannelStates:
    """What is wrong with each output channel, and why. Arrays are bool, (channels,).

    Attributes:
        judged: alive in the float weight, with a scale that can be divided by.
        weak: SQNR under the limit of the data type.
        dead: all codes equal the zero-point.
        clipped: most of the error is in weights out of reach, and a wider scale would be better.
        wide: the scale is far wider than the weights it serves.
        strayed: the error is larger than rounding makes it.
        clipping_gain_db: what a scale that clips nothing would win.
    """

    judged: np.ndarray
    weak: np.ndarray
    dead: np.ndarray
    clipped: np.ndarray
    wide: np.ndarray
    strayed: np.ndarray
    clipping_gain_db: np.ndarray

    @property
    def collapsed(self) -> np.ndarray:
        """Weak for no other reason than that the steps are too coarse for the channel."""
        coarse = self.weak & ~self.clipped & ~self.strayed
        return self.judged & ~self.wide & (self.dead | coarse)


def channel_states(one: QuantizedMatrix) -> ChannelStates | None:
    """Return the state of each channel, None without the float weight."""
    measured, sums = one.measured, one.measured.sums
    if sums.x_square is None or sums.e_square is None or sums.step_square is None:
        return None
    none = np.zeros(sums.channel_count, bool)
    with np.errstate(all="ignore"):
        clipped, gain = _clipped(one)
        rms = np.sqrt(sums.step_square / sums.fan_in)
        return ChannelStates(
            judged=living_channels(measured) & usable_channels(measured),
            weak=channel_sqnr_db(sums) < weak_db(one.quantization),
            dead=none if sums.dead is None else sums.dead,
            clipped=clipped,
            wide=(reach_of(measured) < WIDE_REACH) | (outlier_gain_db(one) >= WIDE_GAIN_DB),
            strayed=rms > STRAYED_STEPS if is_integer(one.quantization.data_type) else none,
            clipping_gain_db=gain,
        )


def weak_db(quantization: Quantization) -> float:
    missing = max(0.0, 8 - width_bits(quantization))
    return max(LEAST_WEAK_CHANNEL_DB, WEAK_CHANNEL_DB - DB_PER_BIT * missing)


def reach_of(measured: MeasuredWeight) -> np.ndarray:
    """Return the largest weight of each scale / the largest it can hold, for each channel.

    NaN where that cannot be told: per-block scales, floating codes, a weight of zeros only.
    """
    none = np.full(measured.sums.channel_count, np.nan)
    quantization, possible = measured.quantization, _representable(measured)
    if possible is None or quantization is None or not is_integer(quantization.data_type):
        return none
    if is_unpacked(measured.weight):
        return none
    widths = np.nan_to_num(channel_max_abs(measured.sums))
    if quantization.granularity == "per-tensor":
        widths = np.full_like(widths, widths.max(initial=0.0))
    with np.errstate(all="ignore"):
        return np.where(widths > 0, widths / possible, np.nan)


def is_unpacked(weight: WeightTensor) -> bool:
    """Return whether the graph unpacks narrower codes: the type says nothing about their limits."""
    return "Bitwise" in weight.storage or "BitShift" in weight.storage


def outlier_gain_db(one: QuantizedMatrix) -> float:
    """Return what clipping outliers would win, beyond what the scale leaves unused on purpose."""
    judged = living_channels(one.measured) & usable_channels(one.measured)
    reach = reach_of(one.measured)
    if one.measured.metrics["clipping_share"] > 0.5:
        return np.nan  # the better scale is a wider one
    if not judged.all() or by_channel(one.measured, one.quantization.scale) is None:
        return np.nan
    unused = -20 * np.log10(np.minimum(1, reach)).mean()
    return one.measured.metrics["db_lost_to_scale"] - float(np.nan_to_num(unused))


def _clipped(one: QuantizedMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Return which channels are clipped to their harm, and what a wider scale would win, in dB.

    Without clipping the scale is g times wider and the error that of rounding: (g·s)²/12 a weight.
    """
    measured, sums = one.measured, one.measured.sums
    scale, reach = by_channel(measured, one.quantization.scale), reach_of(measured)
    none = np.zeros(sums.channel_count, bool)
    if scale is None or sums.e_square is None or sums.outside_square is None:
        return none, np.full(sums.channel_count, np.nan)
    error, outside = sums.e_square, sums.outside_square
    rounding = sums.fan_in * (np.maximum(reach, 1) * scale) ** 2 / 12
    if one.quantization.granularity == "per-tensor":
        error, outside, rounding = (np.full_like(a, a.sum()) for a in (error, outside, rounding))
    gain = 10 * np.log10(error / rounding)
    mostly = sums.outside_square > 0.5 * sums.e_square
    return (outside > 0.5 * error) & mostly & (gain >= CLIPPING_GAIN_DB), gain


# ------------------------------------------------- sentences


def listed(names: Iterable[object], shown: int = NAMES_SHOWN) -> str:
    listed = [printable(str(name)) for name in names]
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


def which_channels(mask: np.ndarray) -> str:
    """Return ``channel 3`` or ``channels 0, 3, 7, 9 and 11 more``."""
    indices = np.flatnonzero(mask)
    return f"channel{'s' if indices.size != 1 else ''} {listed(indices, 4)}"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def kind_of(layer: Layer, weight: WeightTensor) -> str:
    """Return ``depthwise Conv`` where each channel has a filter of its own, else the operator."""
    group = layer.attribute("group", 1)
    depthwise = "Conv" in layer.op_type and group > 1 and weight.shape[1:2] == (1,)
    return f"depthwise {layer.op_type}" if depthwise else layer.op_type


_BETWEEN = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSwish")
_NEIGHBOURS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def nodes_to_exclude(rows: Iterable[str], variants: Mapping[str, Model]) -> str:
    """Return ``nodes_to_exclude=[...]`` of the first variant's node names, ready to paste.

    Says so where those are the names of a quantized file, which the float model may not have.
    """
    first, model = next(iter(variants.items()))
    layers = layers_by_name(model)
    names = [layers[layer_name].node_name if layer_name in layers else "" for layer_name in rows]
    text = f"`nodes_to_exclude={[name for name in names if name]!r}`"
    if not all(names):
        text += " (not every layer has a name there: name the nodes first)"
    if any(layer.weight is not None and layer.weight.is_quantized for layer in layers.values()):
        text += f" (the names are those of {first}; the float model may have others)"
    return text


def find_neighbour(layer: Layer, layers: Sequence[Layer]) -> Layer | None:
    """Return the convolution or product right behind or before a layer, None at a branch.

    Activations between them are stepped over.
    """
    readers = readers_of(layers)
    by_output = {name: other for other in layers for name in other.output_names if name}
    found = layer
    while len(following := readers.get(found.output_names[0], [])) == 1:
        found = following[0]
        if found.op_type in _NEIGHBOURS:
            return found
        if found.op_type not in _BETWEEN:
            break
    found = layer
    while (before := by_output.get(found.input_names[0] if found.input_names else "")) is not None:
        if len(readers[before.output_names[0]]) != 1:
            return None
        if before.op_type in _NEIGHBOURS:
            return before
        if before.op_type not in _BETWEEN:
            return None
        found = before
    return None


def _exclude(layer_name: str, variants: Mapping[str, Model]) -> str:
    """Return how to leave a layer in float so that it stays so.

    onnxruntime's WeightBiasQuantization (since 1.21) quantizes a lone float Conv between a
    DequantizeLinear and a QuantizeLinear again as the session opens: a neighbour has to go too.
    """
    model = next(iter(variants.values()))
    layer = layers_by_name(model).get(layer_name)
    neighbour = find_neighbour(layer, list_layers(model)) if layer is not None else None
    alone = "open the session with `disabled_optimizers=['WeightBiasQuantization']`"
    if neighbour is None:
        return (
            f"leave it out of the quantization, {nodes_to_exclude([layer_name], variants)}, "
            f"and {alone}, or onnxruntime quantizes it again"
        )
    return (
        "leave it out of the quantization with its neighbour: "
        f"{nodes_to_exclude([layer_name, neighbour.name], variants)} (without the "
        f"neighbour, {alone}, or onnxruntime quantizes it again)"
    )


def finer_remedy(one: QuantizedMatrix, variants: Mapping[str, Model]) -> str:
    sentence = _exclude(one.layer_name, variants)
    if one.quantization.granularity == "per-tensor":
        return f"Quantize per-channel, `quantize_static(..., per_channel=True)`, or {sentence}."
    return f"{sentence[0].upper()}{sentence[1:]}, or give it a data type with more bits."


def together(rows: Iterable[str]) -> str:
    """Return the layer of a finding about one row; empty where it is about several."""
    first, *others = rows
    return "" if others else first
