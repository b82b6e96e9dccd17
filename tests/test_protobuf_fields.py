"""Large tensors stay in the file, and read as if they had come with the graph."""

from __future__ import annotations

from pathlib import Path

import costly_files
import numpy as np
import onnx
import pytest
from file_cases import dequantized, function, is_one_sentence, large, save
from models_for_tests import (
    at_input,
    floats,
    make_model,
    same_bits,
)
from onnx import helper, numpy_helper

from playground.utils.parameter_inspector import (
    ModelFileError,
    UnavailableError,
    find_layer,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.budgets import (
    STEPS_BETWEEN_LOOKS,
    Budget,
    OutOfTimeError,
    limited,
)
from playground.utils.parameter_inspector.reading.constants import constants_of
from playground.utils.parameter_inspector.reading.protobuf_fields import read_without_payloads

# --------------------------------------------------------------- large tensors stay in the file


LARGE_TYPES = ("float32", "int4", "uint4", "int8", "uint8", "int16", "float8e4m3fn")


@pytest.mark.parametrize("data_type", LARGE_TYPES[1:])
def test_large_codes_of_a_file_are_those_onnxruntime_reads(tmp_path, data_type):
    proto = dequantized({"a": large(data_type), "b": large(data_type)[::-1].copy()})
    opened = load_model(save(proto, tmp_path / "m.onnx"))
    for name in "ab":
        same_bits(find_layer(opened, name).weight.values, at_input(proto, f"w_{name}"))


@pytest.mark.parametrize("padding", range(8))
def test_a_large_weight_reads_right_wherever_it_lies_in_the_file(tmp_path, padding):
    proto = make_model([helper.make_node("MatMul", ["x", "W"], ["y"], "n" * (padding + 1))],
                       {"W": large("float32")}, inputs={"x": (2, 61)})  # fmt: skip
    (layer,) = list_layers(load_model(save(proto, tmp_path / "m.onnx")))
    same_bits(layer.weight.values, large("float32"))


@pytest.mark.parametrize("count", [255, 256, 257])
def test_weights_around_the_limit_of_what_stays_in_the_file_read_alike(tmp_path, count):
    proto = make_model([helper.make_node("MatMul", ["x", "W"], ["y"], "matmul")],
                       {"W": floats(count, 1)}, inputs={"x": (2, count)})  # fmt: skip
    opened = load_model(save(proto, tmp_path / "m.onnx"))
    same_bits(find_layer(opened, "matmul").weight.values, floats(count, 1))


def large_constant_node() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(large("float32"), "W")
    nodes = [helper.make_node("Constant", [], ["W"], value=tensor),
             helper.make_node("MatMul", ["x", "W"], ["y"], "matmul")]  # fmt: skip
    return make_model(nodes, {}, inputs={"x": (2, 61)})


def large_in_a_branch() -> onnx.ModelProto:
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["b"], "matmul")],
        "branch",
        [],
        [onnx.ValueInfoProto(name="b")],
        [numpy_helper.from_array(large("float32"), "W")],
    )
    empty = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])], "e", [], [onnx.ValueInfoProto(name="e")]
    )
    choose = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=empty)
    return make_model([choose], {"c": np.bool_(True)}, inputs={"x": (2, 61)})


def large_in_a_function() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(large("float32"), "W")
    body = [helper.make_node("Constant", [], ["W"], value=tensor),
            helper.make_node("MatMul", ["a", "W"], ["b"], "matmul")]  # fmt: skip
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    return make_model([call], {}, inputs={"x": (2, 61)}, functions=[function("F", body)],
                      domains=["local"])  # fmt: skip


@pytest.mark.parametrize("make", [large_constant_node, large_in_a_branch, large_in_a_function])
def test_a_large_weight_is_found_wherever_the_graph_holds_it(tmp_path, make):
    layers = list_layers(load_model(save(make(), tmp_path / "m.onnx")))
    (layer,) = [one for one in layers if one.op_type == "MatMul"]
    same_bits(layer.weight.values, large("float32"))


def test_a_large_array_of_a_file_is_read_only(tmp_path):
    opened = load_model(save(dequantized({"a": large("int8")}), tmp_path / "m.onnx"))
    assert not find_layer(opened, "a").weight.codes.flags.writeable


def test_the_first_of_two_large_initializers_of_a_name_wins_in_a_file_too(tmp_path):
    proto = dequantized({"a": large("int8")})
    proto.graph.initializer.append(numpy_helper.from_array(large("int8")[::-1].copy(), "a"))
    expected = at_input(proto, "w_a")
    opened = load_model(save(proto, tmp_path / "m.onnx"))
    same_bits(find_layer(opened, "a").weight.values, expected)


LARGE_MODEL = dequantized({"a": large("int8"), "b": large("uint8")}).SerializeToString()


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_around_large_tensors_give_a_model_or_a_sentence(tmp_path, seed):
    """The graph around the payloads is hit, where the lengths are."""
    generator = np.random.default_rng(seed)
    content = bytearray(LARGE_MODEL)
    payloads = [large(data_type).tobytes() for data_type in ("int8", "uint8")]
    starts = [LARGE_MODEL.index(payload) for payload in payloads]
    inside = {i for at in starts for i in range(at, at + len(payloads[0]))}
    graph = [i for i in range(len(content)) if i not in inside]
    for position in generator.choice(graph, 3):
        content[position] ^= 1 << int(generator.integers(8))
    (tmp_path / "flipped.onnx").write_bytes(content)
    try:
        for layer in list_layers(load_model(tmp_path / "flipped.onnx")):
            for parameter in layer.parameters:
                _ = parameter.values
    except (ModelFileError, UnavailableError) as refusal:
        assert is_one_sentence(str(refusal))


@pytest.mark.parametrize("cut", [*range(0, 700, 31), 3000, 6000, 9000, len(LARGE_MODEL) - 1])
def test_a_truncated_file_of_large_tensors_is_refused_in_one_sentence(tmp_path, cut):
    (tmp_path / "cut.onnx").write_bytes(LARGE_MODEL[:cut])
    try:
        list_layers(load_model(tmp_path / "cut.onnx"))
    except ModelFileError as refusal:
        assert is_one_sentence(str(refusal))


# --------------------------------------------------------------- odd files


def first_weight(content: bytes, folder: Path) -> np.ndarray:
    """Return the first initializer of a file as `load_model` reads it."""
    (folder / "m.onnx").write_bytes(content)
    model = load_model(folder / "m.onnx")
    (value,) = model.graph.initializers.values()
    return constants_of(model).get(value).read()


@pytest.mark.parametrize("sizes", [(2048, 2048), (2048, 64), (64, 2048), (2048, 64, 2048, 2048)])
def test_of_several_payloads_the_last_counts_as_protobuf_has_it(tmp_path, sizes):
    payloads = [np.full(n, i, np.int8).tobytes() for i, n in enumerate(sizes)]
    header = b"\x08" + costly_files.varint(sizes[-1]) + b"\x10\x03" + costly_files.field(8, b"w")
    tensor = header + b"".join(costly_files.field(9, payload) for payload in payloads)
    content = costly_files.in_graph(costly_files.field(5, tensor))
    parsed = onnx.ModelProto.FromString(content).graph.initializer[0]
    np.testing.assert_array_equal(first_weight(content, tmp_path), numpy_helper.to_array(parsed))


NUMBERS = {
    "varints": b"\x38\x01" * 3000 + b"\x38\xff\xff\x03" * 3000,
    "long tags": b"\x88\x7d\x05" * 3000,
    "four bytes": b"\x25\x00\x00\x80\x3f" * 3000,
    "eight bytes": b"\x51abcdefgh" * 3000,
    "in turn": b"\x38\x01\x25\x00\x00\x80\x3f\x51abcdefgh\x88\x7d\x05" * 2000,
    "between strings": (b"\x38\x01\x38\x02" + b"\x62\x02hi") * 3000,
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("padding", [0, 1, 7])
def test_numbers_that_are_passed_over_are_those_that_protobuf_parses(tmp_path, kind, padding):
    tensor = NUMBERS[kind] + b"\x10\x07" + costly_files.field(8, b"w" * (padding + 1))
    content = costly_files.in_graph(costly_files.field(5, tensor))
    (tmp_path / "m.onnx").write_bytes(content)
    assert read_without_payloads(tmp_path / "m.onnx") == onnx.ModelProto.FromString(content)


def test_a_place_of_its_own_is_found_among_numbers(tmp_path):
    """A tensor says that its bytes lie elsewhere in a field that is a number."""
    numbers = b"\x38\x01" * 3000
    tensor = numbers + b"\x70\x01" + numbers + costly_files.field(9, bytes(2048))
    content = costly_files.in_graph(costly_files.field(5, tensor))
    (tmp_path / "m.onnx").write_bytes(content)
    assert read_without_payloads(tmp_path / "m.onnx") == onnx.ModelProto.FromString(content)


def test_numbers_that_are_cut_off_are_refused(tmp_path):
    tensor = b"\x38\x01" * 3000 + b"\x38\xff"
    (tmp_path / "m.onnx").write_bytes(costly_files.in_graph(costly_files.field(5, tensor)))
    with pytest.raises(ModelFileError, match="not a complete ONNX file"):
        load_model(tmp_path / "m.onnx")


def test_a_walk_through_fields_is_charged(tmp_path):
    content = costly_files.empty_unknown_fields(2 * STEPS_BETWEEN_LOOKS)
    (tmp_path / "m.onnx").write_bytes(content)
    with limited(Budget(seconds=-1)), pytest.raises(OutOfTimeError):
        load_model(tmp_path / "m.onnx")
