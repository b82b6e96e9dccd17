"""An opened model becomes one file with all its bytes, or is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks_to_run import conv_network, images, model, node, run, switch
from onnx import TensorProto, helper, numpy_helper

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.quantization import UnavailableError
from playground.utils.parameter_inspector.reading.model_file import all_nodes
from playground.utils.parameter_inspector.running import whole_model


def test_a_model_above_the_limit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(whole_model, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(whole_model.ModelTooLargeError) as caught:
        switch(conv_network(), conv_network())
    assert caught.value.found > 1000


def test_external_weights_come_along(tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(conv_network(), path, save_as_external_data=True, size_threshold=0)
    inputs = images(2)
    found = onnx.load_from_string(whole_model.model_bytes(load_model(path)))
    np.testing.assert_array_equal(run(found, inputs)[0], run(conv_network(), inputs)[0])
    assert not any(t.data_location == TensorProto.EXTERNAL for t in found.graph.initializer)


def test_a_file_that_is_whole_is_read_as_it_lies(tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(conv_network(), path)
    assert whole_model.model_bytes(load_model(path)) == path.read_bytes()


def test_weights_whose_file_is_gone_are_missing(tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(conv_network(), path, save_as_external_data=True, location="w", size_threshold=0)
    opened = load_model(path)
    (tmp_path / "w").unlink()
    with pytest.raises(UnavailableError):
        whole_model.model_bytes(opened)


def branching() -> onnx.ModelProto:
    """y = x + [1, 2] where the sum of x is positive, else x."""
    held = numpy_helper.from_array(np.array([1, 2], np.float32), "held")
    then = helper.make_graph(
        [node("Add", "x held", "more")], "then", [], [onnx.ValueInfoProto(name="more")], [held]
    )
    last = helper.make_graph(
        [node("Identity", "x", "same")], "else", [], [onnx.ValueInfoProto(name="same")]
    )
    nodes = [
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum zero", "yes"),
        node("If", "yes", "y", then_branch=then, else_branch=last),
    ]
    return model(nodes, {"x": [2]}, ["y"], {"zero": np.float32(0)})


def test_each_node_is_found_in_the_whole_model_also_inside_a_branch():
    opened = load_model(branching())
    proto, nodes = whole_model.create_whole_proto(opened)
    assert {(node.name, nodes[id(node)].name) for node in all_nodes(opened)} == {
        (f"{name}_node", f"{name}_node") for name in ("sum", "yes", "y", "more", "same")
    }
    nodes[next(id(node) for node in all_nodes(opened) if node.name == "more_node")].op_type = "Sub"
    x = np.array([3, 4], np.float32)
    np.testing.assert_array_equal(run(proto, {"x": x})[0], [2, 2])


def test_a_domain_is_imported_once():
    proto = branching()
    for domain in ("ai.onnx", "", "com.microsoft", "com.microsoft"):
        whole_model.add_domain(proto, domain)
    assert [one.domain for one in proto.opset_import] == ["", "com.microsoft"]


@pytest.mark.parametrize(
    "kind, size", [(TensorProto.FLOAT, 400), (TensorProto.INT8, 100), (TensorProto.INT4, 50)]
)
def test_a_tensor_takes_the_bytes_of_its_elements(kind, size):
    tensor = helper.make_tensor("t", kind, [10, 10], bytes(size), raw=True)
    proto = model([node("Identity", "x", "y")], {"x": [1]}, ["y"])
    proto.graph.initializer.append(tensor)
    found = load_model(proto).graph.initializers["t"].const_value
    assert whole_model.tensor_bytes(found) == size
