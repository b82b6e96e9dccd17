"""The records of what is switched: quantizers, where they stand, and what could not be placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..measuring.outputs import Quantizer, Unplaced, group_members
from ..reading.edges import Step

# What onnxruntime's own QuantizeLinear makes, whatever the opset.
MICROSOFT_TYPES = frozenset(("int8", "uint8", "int16", "uint16", "int4", "uint4"))


@dataclass(frozen=True, eq=False)
class Unit:
    """The operators of one quantizer on an edge: quantize, perhaps clip, dequantize."""

    steps: tuple[Step, ...]

    @property
    def key(self) -> tuple[int, int]:
        """The same for every edge that the quantizer serves."""
        first = self.steps[0]
        return id(first.node), id(first.scale)


@dataclass(frozen=True, eq=False)
class ActivationSite:
    """Where quantizers stand on a float tensor.

    Attributes:
        value: the tensor of the original that is quantized, one after the other.
        source: what the first of them reads where it is on; ``value`` itself but where the variant
            dropped a Relu or Clip in between.
        units: with the index of the quantizer that each belongs to.
        readers: the nodes and inputs that read the result.
        at_output: whether it is an output of the graph that is quantized.
    """

    value: ir.Value
    source: ir.Value
    units: tuple[tuple[int, Unit], ...]
    readers: tuple[tuple[ir.Node, int], ...]
    at_output: bool = False


@dataclass(frozen=True, eq=False)
class WeightSite:
    """An operand of the original that takes other values where its quantizer is on.

    Attributes:
        node, position: the operand; one past the node's last input appends it.
        read: returns the variant's values in the frame of the operand.
        shape: of the operand.
    """

    quantizer: int
    node: ir.Node
    position: int
    read: Callable[[], np.ndarray]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class NormFolding:
    """A batch-norm of the original that the variant folded into the layer before."""

    layer: str
    norm: str


@dataclass(frozen=True, eq=False)
class Placement:
    """Which tensor of the original gets which quantizer of the variant.

    ``unplaced`` are quantizers of the variant that found no place.
    """

    quantizers: tuple[Quantizer, ...]
    activations: tuple[ActivationSite, ...]
    weights: tuple[WeightSite, ...]
    foldings: tuple[NormFolding, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()

    @property
    def groups(self) -> dict[int, tuple[Quantizer, ...]]:
        """The quantizers by group: what is switched together when it is measured."""
        return group_members(self.quantizers)
