"""The opset that a scheme asks for, and models raised to it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_INPUT,
    CONV_SHAPE,
    codes,
    dequantize_node,
    floats,
    make_model,
    scales,
)
from onnx import TensorProto, helper
from rewriting_cases import layer_of, run, saved, shaped, write_again

from playground.utils.parameter_inspector.changing.opset_raising import needed_opset
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme


def with_reduction(opset: int) -> onnx.ModelProto:
    """A Conv and a ReduceMean whose axes are an attribute, as before opset 18."""
    nodes = [
        dequantize_node(axis=0),
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("ReduceMean", ["c"], ["y"], "mean", axes=[2, 3], keepdims=0),
    ]
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(5), "z": codes("int8", 5, seed=4)}
    model = make_model(nodes, arrays, opset=opset, ir_version=8)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5)))
    return model


@pytest.mark.parametrize("opset", [13, 17])
def test_an_operator_that_means_something_else_in_the_newer_opset_is_converted(opset, tmp_path):
    path, x = saved(with_reduction(opset), tmp_path), floats(*CONV_INPUT)
    values = layer_of(path, "conv").weight.values
    change = Scheme("int16", "per-channel"), values
    done = write_again(path, {"conv": change}, tmp_path / "out.onnx")
    assert done.raised_opset == 21
    model = onnx.load(done.path)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 21)]
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    assert len(mean.input) == 2
    old, new = (run(p, {"x": x}) for p in (path, done.path))
    np.testing.assert_allclose(old, new, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize(
    ("scheme", "opset"),
    [
        (Scheme(), 10), (Scheme("uint8", "per-channel"), 13), (Scheme("float8e4m3fn"), 19),
        (Scheme("int16"), 21), (Scheme("int4", "per-channel"), 21),
        (Scheme("int8", "per-block", block_size=16), 21), (Scheme("int2"), 25),
    ],
    ids=str,
)  # fmt: skip
def test_the_opset_is_the_first_whose_operator_takes_the_scheme(scheme, opset):
    assert needed_opset(scheme) == opset
    done = requantize(floats(*CONV_SHAPE), scheme)
    attributes = {"axis": done.quantization.axis, "block_size": done.quantization.block_size}
    arrays = {"q": done.codes, "s": done.quantization.scale, "z": done.quantization.zero_point}
    node = dequantize_node(**{k: v for k, v in attributes.items() if v is not None})
    for version, accepted in ((opset, True), (opset - 1, False)):
        conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
        model = shaped(make_model([node, conv], arrays, opset=version, ir_version=13))
        if version == 9:
            assert not accepted
            continue
        if accepted:
            onnx.checker.check_model(model, full_check=True)
        else:
            with pytest.raises(Exception, match=r"."):
                onnx.checker.check_model(model, full_check=True)
