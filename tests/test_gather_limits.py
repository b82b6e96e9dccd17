"""What an index may be, against the numpy that a Gather is, and against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks_to_run import run
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.edges import Network
from playground.utils.parameter_inspector.running.gather_limits import find_gather_limits


def embedding(axis: int = 0, between: tuple[str, ...] = (), rows: tuple[int, ...] = (7,)):
    """Tables that one input indexes, behind operators that leave its numbers as they are."""
    nodes, name = [], "ids"
    for op_type in between:
        attributes = {"to": TensorProto.INT32} if op_type == "Cast" else {}
        nodes.append(helper.make_node(op_type, [name], [f"{name}_"], **attributes))
        name = f"{name}_"
    tables = {}
    for number, count in enumerate(rows):
        shape = (count, 3) if axis in (0, -2) else (3, count)
        tables[f"t{number}"] = np.zeros(shape, np.float32)
        nodes.append(helper.make_node("Gather", [f"t{number}", name], [f"y{number}"], axis=axis))
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(len(rows))],
        [numpy_helper.from_array(table, name) for name, table in tables.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def limits(proto: onnx.ModelProto) -> dict[str, int]:
    return find_gather_limits(Network(load_model(proto)))


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_the_limit_is_the_first_index_that_onnxruntime_refuses(axis):
    proto = embedding(axis)
    limit = limits(proto)["ids"]
    assert limit == 7
    assert run(proto, {"ids": np.array([limit - 1])})[0].size == 3
    with pytest.raises(InvalidArgument, match="out of data bounds"):
        run(proto, {"ids": np.array([limit])})


def test_the_smallest_of_several_tables_counts():
    assert limits(embedding(rows=(7, 4, 9))) == {"ids": 4}


def test_an_index_is_followed_through_what_leaves_its_number():
    assert limits(embedding(between=("Cast", "Identity"))) == {"ids": 7}


def test_an_index_that_is_computed_has_no_limit():
    assert limits(embedding(between=("Abs",))) == {}


def test_a_table_that_is_no_constant_has_no_limit():
    proto = embedding()
    table = proto.graph.initializer.pop()
    proto.graph.input.append(helper.make_tensor_value_info(table.name, TensorProto.FLOAT, ["k", 3]))
    assert limits(proto) == {}
