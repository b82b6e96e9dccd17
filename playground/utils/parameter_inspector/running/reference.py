"""What stands for the original where there is none: the file with its activation quantizers off.

Weights stay as they are stored, so nothing can be said of them. Operators that compute in integers
keep their quantization: only pairs of QuantizeLinear and DequantizeLinear can be left out. Where
the lowest code is zero, such a pair may be all that is left of a Relu: a Relu takes its place.
"""

from __future__ import annotations

import numpy as np

from ..quantization import code_limits
from ..reading.edges import Network, Step, StepKind
from ..reading.model_file import Model, all_nodes, load_model
from ..reading.storage import DEQUANTIZERS
from .whole_model import create_whole_proto


def create_reference(variant: Model) -> Model:
    """Return the model with what it does to activations left out.

    Raises:
        ModelTooLargeError, UnavailableError: as `create_whole_proto`.
    """
    network = Network(variant)
    proto, nodes = create_whole_proto(variant)
    for node in all_nodes(variant):
        is_dequantizer = node.op_type == "DequantizeLinear"
        if not is_dequantizer or (node.domain, node.op_type) not in DEQUANTIZERS:
            continue
        if not node.outputs or network.is_constant(node.outputs[0]):
            continue
        edge = network.trace("", 0, node.outputs[0])
        first = edge.steps[0] if edge.steps else None
        if first is None or first.node.op_type not in ("QuantizeLinear", "DynamicQuantizeLinear"):
            continue  # its codes come from an operator that computes in them
        if first.kind not in (StepKind.QUANTIZE, StepKind.DYNAMIC):
            continue
        left_out = nodes[id(node)]
        is_relu = first.kind is StepKind.QUANTIZE and _begins_at_zero(network, first)
        left_out.op_type, left_out.domain = "Relu" if is_relu else "Identity", ""
        left_out.input[:] = [edge.source.name or ""]
        del left_out.attribute[:]
    return load_model(proto)


def _begins_at_zero(network: Network, step: Step) -> bool:
    """Whether nothing below zero can be held: the zero-point is the lowest code."""
    source = network.constants.get(step.zero_point)
    if source is None:  # uint8 with zero-point 0, or not known
        return step.zero_point is None
    low, _ = code_limits(source.data_type)
    return bool(np.all(np.asarray(source.read()).astype(np.float64) == low))
