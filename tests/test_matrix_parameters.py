"""The scale and the zero-point of each part of a weight are those that numpy spreads over it."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import codes, dequantize_node, matmul_model, scales

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.streaming.matrix_parameters import spread_parameters

# MatMul: channels are columns, the fan-in is rows.
FAN_IN, CHANNELS, BLOCK = 12, 5, 4
PART = (slice(1, 4), slice(3, 10))
KINDS = {
    "per tensor": ((), {"axis": 0}),
    "per channel": ((CHANNELS,), {"axis": 1}),
    "per input channel": ((FAN_IN,), {"axis": 0}),
    "blocks of the fan-in": ((FAN_IN // BLOCK, CHANNELS), {"axis": 0, "block_size": BLOCK}),
}


def spread(kind: str, parameter: np.ndarray) -> np.ndarray:
    """Return a parameter for each element of the stored weight, as ONNX spreads it."""
    _, options = KINDS[kind]
    if "block_size" in options:
        return np.repeat(parameter, BLOCK, axis=0)
    if parameter.ndim and options["axis"] == 0:
        parameter = parameter[:, None]
    return np.broadcast_to(parameter, (FAN_IN, CHANNELS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_has_the_scales_and_zero_points_of_its_elements(kind):
    shape, options = KINDS[kind]
    arrays = {
        "q": codes("int8", FAN_IN, CHANNELS),
        "s": scales(*shape),
        "z": codes("int8", *shape, seed=9),
    }
    model = matmul_model([dequantize_node(**options)], arrays, inner=FAN_IN, opset=21)
    (layer,) = list_layers(load_model(model))
    parameters = spread_parameters(layer.weight, layer)
    rows, columns = np.arange(5)[PART[0]], np.arange(12)[PART[1]]
    for parameter, name in zip(parameters, "sz", strict=True):
        wanted = spread(kind, arrays[name].astype(np.float32)).T
        cut = np.broadcast_to(parameter.cut(PART), wanted[PART].shape)
        np.testing.assert_array_equal(cut, wanted[PART])
        picked = np.broadcast_to(parameter.pick(rows, columns), wanted[PART].shape)
        np.testing.assert_array_equal(picked, wanted[PART])
        assert parameter.varies_in_channel == ("input" in kind or "blocks" in kind)
