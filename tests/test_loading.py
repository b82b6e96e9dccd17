"""Whether a file loads: what the schemas refuse is what onnxruntime refuses, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from playground.utils.parameter_inspector import ModelFileError, compare_variants, load_model
from playground.utils.parameter_inspector.judging.loading_rules import (
    LoadingKind,
    find_graph_problems,
    find_loading_problems,
    needs_opset,
)

CODES = np.random.default_rng(0).integers(-100, 100, (6, 4, 3, 3)).astype(np.int8)
SCALES = np.linspace(0.01, 0.02, 6).astype(np.float32)
X = np.random.default_rng(1).normal(0, 1, (1, 4, 8, 8)).astype(np.float32)


def save(path, nodes, constants, opset=13, ir_version=8):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    onnx.save(model, path)
    return path


def weight_model(path, codes=CODES, scale=SCALES, zero_point=None, opset=13, **attributes):
    """Return a Conv whose weight comes through a DequantizeLinear."""
    constants = {"w": codes, "s": scale}
    if zero_point is not None:
        constants["z"] = zero_point
    nodes = [
        helper.make_node("DequantizeLinear", list(constants), ["d"], **{"axis": 0, **attributes}),
        helper.make_node("Conv", ["x", "d"], ["y"]),
    ]
    return save(path, nodes, constants, opset, 10 if opset > 20 else 6 if opset < 13 else 8)


def is_refused(path):
    """Return whether onnxruntime refuses the file, as it opens it or at its first run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, {"x": X})
    except Exception:  # onnxruntime has a class for each reason, without a common one
        return True
    return False


def kinds(path):
    return [problem.kind for problem in find_graph_problems(load_model(path))]


INT16, FLOAT16 = CODES.astype(np.int16), SCALES.astype(np.float16)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (13, {"opset": 11}),  # `axis`: what quantize_static(per_channel=True) writes
        (13, {"opset": 12}),
        (21, {"block_size": 3, "scale": np.ones((2, 4, 3, 3), np.float32)}),
        (21, {"codes": INT16}),
        (21, {"codes": INT16, "opset": 19}),
        (19, {"scale": FLOAT16}),
    ],
)
def test_what_an_operator_has_not_at_its_opset_is_refused_and_the_opset_that_has_it_named(
    tmp_path, wanted, given
):
    path = weight_model(tmp_path / "m.onnx", **given)
    problems = list(find_graph_problems(load_model(path)))
    assert [needs_opset(problem) for problem in problems] == [wanted]
    assert is_refused(path)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"opset": 21, "codes": INT16},
        {"opset": 21, "block_size": 3, "scale": np.ones((2, 4, 3, 3), np.float32)},
        {"zero_point": np.zeros(6, np.int8)},
        {"scale": SCALES[:1], "zero_point": np.int8(0)},
    ],
)
def test_what_onnxruntime_runs_is_not_refused(tmp_path, given):
    path = weight_model(tmp_path / "m.onnx", **given)
    assert not is_refused(path)
    assert kinds(path) == []


@pytest.mark.parametrize(
    "given",
    [
        {"zero_point": np.int8(0)},
        {"zero_point": np.zeros(4, np.int8)},
        {"scale": np.float32(0.01), "zero_point": np.zeros(6, np.int8)},
    ],
)
def test_scale_and_zero_point_of_unequal_length_are_refused(tmp_path, given):
    path = weight_model(tmp_path / "m.onnx", **given)
    assert LoadingKind.LENGTHS_DIFFER in kinds(path)
    assert is_refused(path)


@pytest.mark.parametrize("channels", [1, 4])
def test_an_activation_with_a_scale_per_channel_is_refused_and_with_one_is_not(tmp_path, channels):
    constants = {
        "xs": np.full(channels, 0.02, np.float32),
        "xz": np.full(channels, 128, np.uint8),
        "w": (CODES.astype(np.int16) + 128).astype(np.uint8), "s": SCALES,
        "z": np.full(6, 128, np.uint8), "ys": np.float32(0.1), "yz": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], axis=1),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], axis=1),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
        helper.make_node("Conv", ["xd", "d"], ["t"]),
        helper.make_node("QuantizeLinear", ["t", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, constants)
    assert is_refused(path) == (channels > 1)
    assert (LoadingKind.ACTIVATION_PER_CHANNEL in kinds(path)) == (channels > 1)


@pytest.mark.parametrize(
    ("kind", "nodes"),
    [
        (LoadingKind.SCHEMA, [("Conv", ["x", "w"], {"strife": 1})]),
        (LoadingKind.SCHEMA, [("Konv", ["x", "w"], {})]),
        (LoadingKind.SCHEMA, [("Relu", ["x", "w"], {})]),
        (LoadingKind.SCHEMA, [("Cast", ["x"], {})]),
        (LoadingKind.SCHEMA, [("Add", ["x", "half"], {})]),
        (LoadingKind.NOTHING_MAKES, [("Conv", ["x", "lost"], {})]),
        (LoadingKind.NAME_TWICE, [("Relu", ["x"], {"name": "a"}), ("Relu", ["x"], {"name": "a"})]),
    ],
)
def test_a_graph_that_no_schema_allows_is_refused(tmp_path, kind, nodes):
    made = [
        helper.make_node(op, inputs, ["y" if i == 0 else f"y{i}"], **attributes)
        for i, (op, inputs, attributes) in enumerate(nodes)
    ]
    constants = {"w": np.ones((6, 4, 3, 3), np.float32), "half": np.ones(8, np.float16)}
    path = save(tmp_path / "m.onnx", made, constants)
    assert kinds(path) == [kind]
    assert is_refused(path)


def test_an_operator_that_onnxruntime_adds_to_the_standard_domain_is_known(tmp_path):
    node = helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"])
    path = save(tmp_path / "m.onnx", [node], {"g": np.ones(8, np.float32)})
    assert not is_refused(path)
    assert kinds(path) == []


def test_an_attribute_with_two_underscores_is_anyones(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], __mark=1)
    path = save(tmp_path / "m.onnx", [node], {})
    assert not is_refused(path)
    assert kinds(path) == []


def test_a_name_defined_twice_is_one_sentence_that_says_by_what(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Add", ["x", "b"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"b": np.ones(8, np.float32)})
    with pytest.raises(ModelFileError, match="'b' is defined twice, by an initializer and an out"):
        load_model(path)
    assert is_refused(path)


def test_many_nodes_with_one_cause_are_one_problem(tmp_path):
    names = [f"d{i}" for i in range(5)]
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], [name], axis=0) for name in names]
    path = save(tmp_path / "m.onnx", [*nodes, helper.make_node("Conv", ["x", "d0"], ["y"])],
                {"w": CODES, "s": SCALES}, opset=11, ir_version=6)  # fmt: skip
    (problem,) = find_graph_problems(load_model(path))
    assert problem.names == tuple(names)


def test_convolutions_whose_zero_points_differ_are_noted(tmp_path):
    codes = (CODES.astype(np.int16) + 128).clip(0, 255).astype(np.uint8)
    zero_point = np.arange(120, 126, dtype=np.uint8)
    path = weight_model(tmp_path / "m.onnx", codes=codes, zero_point=zero_point)
    comparison = compare_variants({"INT8": load_model(path)})
    (problem,) = find_loading_problems(comparison, "INT8")
    assert (problem.kind, problem.severity) == (LoadingKind.ZERO_POINTS_DIFFER, "note")
