"""The frozen records that everything else passes around: layers, weights, pairs, ranges.

A record never holds a weight. It holds a `Source`, which knows the shape and reads when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from .facts import Evidence, Folding, Refusal
from .quantization import Quantization, Source

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, eq=False)
class LayoutStep:
    """One operator between the stored tensor and the layer, such as Transpose."""

    op_type: str
    apply: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """One constant operand of a layer: a weight, a bias, a table.

    Attributes:
        slot: what it is to the layer: ``weight``, ``bias``, ``recurrence`` ...
        name: of the innermost constant in the file.
        storage: how it is stored: the operators it comes through, ``float`` if none.
        source: the codes, or the float weight, where they lie in the file.
        quantization: of the codes; None for float.
        layout: from the codes' frame to the layer's frame.
        shape: as the layer sees it.
        channel_axis: the output channels in that frame; None where there are none.
        is_unpacked: the graph unpacks narrower codes; their type says nothing about their limits.
        added_by: the layer that adds it, for a bias that an Add behind the layer holds.
    """

    slot: str
    name: str
    storage: str
    source: Source
    shape: tuple[int, ...]
    quantization: Quantization | None = None
    layout: tuple[LayoutStep, ...] = ()
    channel_axis: int | None = None
    is_unpacked: bool = False
    added_by: str = ""

    @property
    def data_type(self) -> str:
        """The type of the codes, or of the float weight."""
        return self.quantization.data_type if self.quantization else self.source.data_type

    @property
    def is_quantized(self) -> bool:
        return self.quantization is not None

    @property
    def codes(self) -> np.ndarray:
        """The codes in the frame they are stored in (the float weight where there are none)."""
        return self.source.read()

    @property
    def values(self) -> np.ndarray:
        """The real numbers that the layer computes with, of ``shape``.

        float32, or float64 where the file holds float64.
        """
        array = self.codes
        if self.quantization is not None:
            array = self.quantization.dequantize(array)
        elif array.dtype != np.float64:
            array = array.astype(np.float32, copy=False)
        return self.to_layer_frame(array)

    def to_layer_frame(self, array: np.ndarray) -> np.ndarray:
        """Return values of the codes' shape as the layer sees them."""
        for step in self.layout:
            array = step.apply(array)
        return array

    def rearrange(self, array: np.ndarray) -> np.ndarray:
        """Return anything of the codes' shape in the layer's frame: no Cast changes its numbers."""
        for step in self.layout:
            if step.op_type != "Cast":
                array = step.apply(array)
        return array

    def round_as_cast(self, values: np.ndarray) -> np.ndarray:
        """Return values rounded by the Casts between the codes and the layer."""
        for step in self.layout:
            if step.op_type == "Cast":
                values = step.apply(values)
        return values


@dataclass(frozen=True, eq=False)
class TensorQuantization:
    """How an activation that enters or leaves a layer is quantized.

    ``quantization`` is None where the scale is computed while the model runs (dynamic).
    """

    tensor: str
    quantization: Quantization | None
    data_type: str

    @property
    def is_dynamic(self) -> bool:
        return self.quantization is None


@dataclass(frozen=True, eq=False)
class Layer:
    """A node of the network that does work; the Q/DQ plumbing around it is not a layer.

    Attributes:
        name: unique in its model: the node's name, or made from its operator and output where the
            node has none, or a name that another node has already.
        node_name: the node's name as the file has it, perhaps empty.
        index: position in graph order.
        not_understood: why parameters of this layer could not be read.
    """

    name: str
    node_name: str
    op_type: str
    domain: str
    index: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    parameters: tuple[WeightTensor, ...] = ()
    inputs: tuple[TensorQuantization, ...] = ()
    outputs: tuple[TensorQuantization, ...] = ()
    not_understood: tuple[Refusal, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def weight(self) -> WeightTensor | None:
        """The first operand that is not a bias."""
        return next((p for p in self.parameters if p.slot != "bias"), None)

    @property
    def bias(self) -> WeightTensor | None:
        return next((p for p in self.parameters if p.slot == "bias"), None)

    @property
    def is_quantized(self) -> bool:
        """Whether the file holds quantization parameters for this layer."""
        return bool(
            self.inputs
            or self.outputs
            or any(parameter.is_quantized for parameter in self.parameters)
        )

    def parameter(self, slot: str) -> WeightTensor | None:
        return next((p for p in self.parameters if p.slot == slot), None)

    def attribute(self, name: str, default: _Number) -> _Number:
        """Return a number of the operator, ``default`` where it is missing or of another kind."""
        value = self.attributes.get(name)
        return value if isinstance(value, type(default)) else default


@dataclass(frozen=True, eq=False)
class LayerParams:
    """The quantization parameters of one layer.

    Attributes:
        scale, zero_point: of the weight, as arrays of the shape the file gives them; None where the
            weight is float or there is none.
        weight_shape: as the layer sees the weight; None without one.
        weight_dtype: of the codes, or of the float weight.
        axis: of the stored codes, never negative; None unless per channel or per block.
        inputs, outputs: the quantization of the layer's activations.
        bias: the layer's bias, quantized or not; None without one.
    """

    layer: str
    node_type: str
    scale: np.ndarray | None
    zero_point: np.ndarray | None
    weight_shape: tuple[int, ...] | None
    weight_dtype: str | None
    is_per_channel: bool
    axis: int | None
    block_size: int | None
    granularity: str | None
    storage: str | None
    inputs: tuple[TensorQuantization, ...]
    outputs: tuple[TensorQuantization, ...]
    bias: WeightTensor | None


@dataclass(frozen=True)
class LayerRanges:
    """Lowest and highest weight of one layer in each variant that has it, in weight units.

    ``ranges`` maps a variant's name to ``(low, high)``; a variant without the layer is not in it.
    """

    layer: str
    node_type: str
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class SummaryStats:
    """One number, or the lowest, highest and mean of many. ``str()`` is the cell of a table."""

    count: int
    min: float
    max: float
    mean: float

    def __str__(self) -> str:
        if self.count == 0:
            return "none"
        if self.count == 1:
            return f"{self.min:.6g}"
        return f"min {self.min:.4g}, max {self.max:.4g}, mean {self.mean:.4g}"


@dataclass(frozen=True, eq=False)
class LayerPair:
    """The same layer in two variants.

    Attributes:
        score: mean absolute cosine over the output channels, 0 to 1 (of one channel, or of channels
            with a fan-in of 1: the correlation); None without a weight.
        folding: what was done to the weight before it was quantized, None for nothing.
        original_factor: what each output channel of the float weight is multiplied by so that the
            two can be compared, shape (channels,); None where they can as they are.
    """

    original: str
    variant: str
    evidence: Evidence
    score: float | None
    folding: Folding | None = None
    original_factor: np.ndarray | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the weights themselves say that the two are the same layer."""
        return self.evidence.is_sure


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which layer of a variant is which layer of the original, and what is left on both sides.

    ``folded`` are layers of the original that the variant folded into the one before.
    """

    pairs: tuple[LayerPair, ...]
    unpaired_original: tuple[str, ...]
    unpaired_variant: tuple[str, ...]
    folded: tuple[str, ...] = ()

    @cached_property
    def _by_original(self) -> dict[str, LayerPair]:
        return {pair.original: pair for pair in self.pairs}

    def of_original(self, layer_name: str) -> LayerPair | None:
        return self._by_original.get(layer_name)
