"""What a node spells that no schema allows, against the checker and the registry of onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks_to_run import model, node
from onnx import numpy_helper

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.reading.schemas import (
    MismatchKind,
    find_schema_mismatches,
)


def test_every_model_of_the_folder_keeps_to_the_schemas():
    paths = sorted((Path(__file__).parent.parent / "models").rglob("*.onnx"))
    assert paths
    for path in paths:
        assert list(find_schema_mismatches(load_model(path))) == []


def mismatches(one: onnx.NodeProto, constants=None, opset: int = 13):
    proto = model([one], {"x": ["N", 4]}, ["y"], constants or {}, opset)
    return list(find_schema_mismatches(load_model(proto)))


def first_opset(operator: str) -> int:
    versions = onnx.defs.get_all_schemas_with_history()
    return min(s.since_version for s in versions if (s.name, s.domain) == (operator, ""))


@pytest.mark.parametrize("operator", ["Gelu", "Mish", "HardSwish"])
def test_an_operator_that_comes_later_is_named_with_the_opset_that_has_it(operator):
    opset = first_opset(operator)
    (found,) = mismatches(node(operator, "x", "y"), opset=opset - 1)
    assert (found.kind, found.operator) == (MismatchKind.UNKNOWN_OPERATOR, operator)
    assert (found.opset, found.allowed_from) == (opset - 1, opset)
    assert mismatches(node(operator, "x", "y"), opset=opset) == []


@pytest.mark.parametrize(
    "one, kind",
    [
        (node("Relu", "x", "y"), None),
        (node("Nothing", "x", "y"), MismatchKind.UNKNOWN_OPERATOR),
        (node("Relu", "x", "y", slope=0.5), MismatchKind.UNKNOWN_ATTRIBUTE),
        (node("Cast", "x", "y"), MismatchKind.MISSING_ATTRIBUTE),
        (node("Relu", "x x", "y"), MismatchKind.INPUT_COUNT),
        (node("Add", "x", "y"), MismatchKind.INPUT_COUNT),
    ],
)
def test_a_node_is_refused_where_the_checker_of_onnx_refuses_it(one, kind):
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = 8, {"": 13}
    try:
        onnx.checker.check_node(one, context)
        is_refused = False
    except onnx.checker.ValidationError:
        is_refused = True
    assert is_refused is (kind is not None)
    assert [found.kind for found in mismatches(one)] == ([kind] if kind is not None else [])


@pytest.mark.parametrize(
    "operator, other, kind, types",
    [
        ("Add", np.float64(1), MismatchKind.TYPES_DIFFER, ("float", "double")),
        ("Add", np.bool_(1), MismatchKind.INPUT_TYPE, ("bool",)),
        ("Reshape", np.array([1.0], np.float32), MismatchKind.INPUT_TYPE, ("float",)),
    ],
)
def test_a_type_is_refused_where_the_type_inference_of_onnx_refuses_it(
    operator, other, kind, types
):
    one = node(operator, "x c", "y")
    (found,) = mismatches(one, {"c": np.asarray(other)})
    assert (found.kind, found.data_types) == (kind, types)
    proto = model([one], {"x": ["N", 4]}, ["y"], {}, 13)
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(other), "c"))
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
