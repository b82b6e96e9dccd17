"""An element of a weight's channels is found where the file stores it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from models_for_tests import source

from playground.utils.parameter_inspector.records import Layer, LayoutStep, WeightTensor
from playground.utils.parameter_inspector.streaming.channel_frame import channels_first
from playground.utils.parameter_inspector.streaming.stored_places import StoredPlaces

STORED = (4, 3, 5, 2)


def step(op_type: str, function, **keywords) -> LayoutStep:
    return LayoutStep(op_type, partial(function, **keywords))


LAYOUTS = {
    "as stored": (),
    "transposed": (step("Transpose", np.transpose, axes=(2, 0, 3, 1)),),
    "reversed": (step("Transpose", np.transpose, axes=None),),
    "flattened and back": (
        step("Reshape", np.reshape, shape=(-1,)),
        step("Reshape", np.reshape, shape=(6, 20)),
    ),
    "axes of one": (
        step("Unsqueeze", np.expand_dims, axis=(0, 3)),
        step("Cast", np.asarray, dtype=np.int64),
        step("Squeeze", np.squeeze, axis=0),
    ),
    "all of them": (
        step("Transpose", np.transpose, axes=(1, 3, 0, 2)),
        step("Reshape", np.reshape, shape=(2, 3, 20)),
        step("Unsqueeze", np.expand_dims, axis=1),
        step("Transpose", np.transpose, axes=(3, 1, 2, 0)),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_places_are_those_that_rearranging_the_codes_leads_to(layout, op_type):
    codes = np.arange(np.prod(STORED)).reshape(STORED)
    seen = codes
    for one in LAYOUTS[layout]:
        seen = one.apply(seen)
    groups = 2 if op_type == "ConvTranspose" and seen.shape[0] % 2 == 0 else 1
    layer = Layer("l", "l", op_type, "", 0, (), (), attributes={"group": groups})
    for axis in range(seen.ndim) if op_type == "Conv" else [1]:
        weight = WeightTensor(
            "weight", "w", "float", source(codes), seen.shape, None, LAYOUTS[layout], axis
        )
        wanted = channels_first(seen, weight, layer)
        places = StoredPlaces.of(weight, layer)
        assert places.matrix_shape == wanted.shape
        rows = np.arange(wanted.shape[0])[::2]
        columns = np.arange(1, wanted.shape[1])
        found = np.broadcast_to(codes[places.find(rows, columns)], (rows.size, columns.size))
        np.testing.assert_array_equal(found, wanted[np.ix_(rows, columns)])
