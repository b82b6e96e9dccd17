"""What a layer is of the graph: the record that the reading rooms hand to each other."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ..records import Layer


@dataclass(frozen=True, eq=False)
class ReadLayer:
    """A layer, and what of the graph it is.

    Attributes:
        outputs: the values that it makes: of bare codes, those behind their scale.
        parameters: the inputs whose constants it reads.
        refused: the inputs that it says it cannot read.
        chain: the nodes behind it that belong to it.
    """

    layer: Layer
    node: ir.Node
    outputs: tuple[ir.Value, ...]
    parameters: frozenset[int]
    refused: frozenset[int]
    chain: tuple[ir.Node, ...] = ()
