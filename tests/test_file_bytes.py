"""The bytes of a file's constants, against those that onnx stores."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks_to_run import conv_network, model, node
from onnx import TensorProto, helper, numpy_helper

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.file_bytes import list_stored_tensors


def stored(proto: onnx.ModelProto):
    return {one.name: one for one in list_stored_tensors(load_model(proto))}


def test_initializers_take_the_bytes_that_numpy_gives_them():
    proto = conv_network()
    found = {name: one.byte_count for name, one in stored(proto).items()}
    assert found == {t.name: numpy_helper.to_array(t).nbytes for t in proto.graph.initializer}


@pytest.mark.parametrize(
    "kind, count", [(TensorProto.INT4, 3), (TensorProto.FLOAT16, 10), (TensorProto.DOUBLE, 40)]
)
def test_a_type_is_packed_as_onnx_packs_it(kind, count):
    proto = model([node("Identity", "x", "y")], {"x": [1]}, ["y"])
    proto.graph.initializer.append(helper.make_tensor("t", kind, [5], [1, 2, 3, 4, 5]))
    raw = proto.graph.initializer[0].raw_data
    assert not raw or len(raw) == count
    assert stored(proto)["t"].byte_count == count


def test_what_nobody_reads_is_known_and_an_output_reads():
    constants = {name: np.zeros(2, np.float32) for name in ("read", "put_out", "idle")}
    proto = model([node("Add", "x read", "y")], {"x": [2]}, ["y", "put_out"], constants)
    assert {name: one.is_read for name, one in stored(proto).items()} == {
        "read": True,
        "put_out": True,
        "idle": False,
    }


def test_what_a_constant_node_holds_counts():
    held = numpy_helper.from_array(np.zeros((3, 5), np.int16))
    constant = helper.make_node("Constant", [], ["c"], value=held)
    proto = model([constant, node("Identity", "x", "y")], {"x": [1]}, ["y"])
    assert (stored(proto)["c"].byte_count, stored(proto)["c"].is_read) == (30, False)
