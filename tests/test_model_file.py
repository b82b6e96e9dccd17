"""A bad file is refused in a sentence; a bad tensor says so when it is read and hides no other."""

from __future__ import annotations

import os
import pickle
import tracemalloc

import numpy as np
import onnx
import pytest
from file_cases import dequantized, function, is_one_sentence, large, save
from models_for_tests import (
    MICROSOFT,
    at_input,
    codes,
    conv_model,
    convnet,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    same_bits,
    scales,
)
from onnx import TensorProto, helper, numpy_helper

from playground.utils.parameter_inspector import (
    ModelFileError,
    UnavailableError,
    find_layer,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.reading.constants import ConstantTable
from playground.utils.parameter_inspector.reading.inlining import MAX_INLINED_NODES
from playground.utils.parameter_inspector.reading.model_file import all_nodes

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
MODEL = int8_conv().SerializeToString()
REFUSED_FILES = {
    "empty": (b"", "empty"),
    "Git LFS pointer": (LFS_POINTER, "git lfs pull"),
    "web page": (b"<!DOCTYPE html>\n<html><body>Not Found</body></html>", "web page"),
    "web page after blanks": (b"\n\n  <html></html>", "web page"),
    "onnxruntime format": (b"\x18\x00\x00\x00ORTM" + bytes(64), ".ort"),
    "truncated in half": (MODEL[: len(MODEL) // 2], ""),
    "truncated by one byte": (MODEL[:-1], ""),
    "text": (b"hello, this is not a model at all\n" * 9, ""),
    "zeros": (bytes(512), ""),
    "random bytes": (np.random.default_rng(0).bytes(4096), ""),
    "no graph": (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
}


# --------------------------------------------------------------- files that are refused


@pytest.mark.parametrize("kind", REFUSED_FILES)
def test_a_file_that_is_no_model_is_refused_in_one_sentence(tmp_path, kind):
    content, hint = REFUSED_FILES[kind]
    (tmp_path / "strange.onnx").write_bytes(content)
    with pytest.raises(ModelFileError) as refusal:
        load_model(tmp_path / "strange.onnx")
    assert is_one_sentence(str(refusal.value))
    assert "strange" in str(refusal.value)
    assert hint in str(refusal.value)


def test_a_missing_file_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ModelFileError) as refusal:
        load_model(tmp_path / "absent.onnx")
    assert is_one_sentence(str(refusal.value))
    assert "absent.onnx" in str(refusal.value)


def test_a_folder_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ModelFileError) as refusal:
        load_model(tmp_path)
    assert is_one_sentence(str(refusal.value))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "pipe.onnx")


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_give_a_model_or_a_sentence_never_another_exception(tmp_path, seed):
    generator = np.random.default_rng(seed)
    content = bytearray(MODEL)
    for position in generator.integers(0, len(content), 3):
        content[position] ^= 1 << int(generator.integers(8))
    (tmp_path / "flipped.onnx").write_bytes(content)
    try:
        for layer in list_layers(load_model(tmp_path / "flipped.onnx")):
            for parameter in layer.parameters:
                _ = parameter.values
    except (ModelFileError, UnavailableError) as refusal:
        assert is_one_sentence(str(refusal))


@pytest.mark.parametrize("cut", range(0, len(MODEL), 37))
def test_a_truncated_file_gives_a_model_or_a_sentence(tmp_path, cut):
    (tmp_path / "cut.onnx").write_bytes(MODEL[:cut])
    try:
        list_layers(load_model(tmp_path / "cut.onnx"))
    except ModelFileError as refusal:
        assert is_one_sentence(str(refusal))


def calls(*names: str) -> list[onnx.NodeProto]:
    return [helper.make_node(name, ["a"], ["b"], domain="local") for name in names]


def test_a_function_that_calls_itself_is_refused():
    model = make_model(
        [helper.make_node("F", ["x"], ["y"], domain="local")],
        functions=[function("F", calls("F"))],
        domains=["local"],
    )
    with pytest.raises(ModelFileError, match="'F' calls itself"):
        load_model(model)


def test_functions_that_call_each_other_in_a_circle_are_refused():
    model = make_model(
        [helper.make_node("F", ["x"], ["y"], domain="local")],
        functions=[function("F", calls("G")), function("G", calls("F"))],
        domains=["local"],
    )
    with pytest.raises(ModelFileError, match="calls itself"):
        load_model(model)


def test_functions_that_expand_beyond_reason_are_refused():
    def tenfold(name: str, callee: str) -> onnx.FunctionProto:
        names = ["a", *(f"t{i}" for i in range(9)), "b"]
        nodes = [
            helper.make_node(callee, [names[i]], [names[i + 1]],
                             domain="" if callee == "Relu" else "local")
            for i in range(10)
        ]  # fmt: skip
        return function(name, nodes)

    chain = [tenfold(f"F{i}", "Relu" if i == 0 else f"F{i - 1}") for i in range(7)]
    model = make_model(
        [helper.make_node("F6", ["x"], ["y"], domain="local")], functions=chain, domains=["local"]
    )
    with pytest.raises(ModelFileError, match=f"10,000,000 nodes, more than {MAX_INLINED_NODES:,}"):
        load_model(model)


# --------------------------------------------------------------- what an opened model says


def test_a_model_proto_is_opened_without_a_file():
    model = load_model(convnet())
    assert model.path is None
    assert [layer.name for layer in list_layers(model)][:3] == ["conv1", "relu1", "conv10"]


def test_opening_a_model_proto_leaves_it_as_it_was():
    proto = convnet()
    proto.graph.initializer.append(proto.graph.initializer[0])
    before = proto.SerializeToString(deterministic=True)
    load_model(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_a_path_may_be_a_string(tmp_path):
    path = save(convnet(), tmp_path / "net.onnx")
    assert load_model(str(path)).name == "net"


def test_a_model_knows_its_file_opset_and_producer(tmp_path):
    path = save(convnet(), tmp_path / "net.v2.onnx")
    model = load_model(path)
    assert (model.name, model.opset, model.producer) == ("net.v2", 17, "tests")
    assert model.file_bytes == path.stat().st_size


def test_the_opset_may_be_imported_as_ai_onnx():
    model = convnet()
    model.opset_import[0].domain = "ai.onnx"
    assert load_model(model).opset == 17


def test_a_missing_opset_import_hides_no_layer():
    model = int8_conv()
    del model.opset_import[:]
    assert [layer.name for layer in list_layers(load_model(model))] == ["conv"]


def test_opening_reads_no_weight(tmp_path):
    big = floats(1024, 512)
    model = make_model([helper.make_node("MatMul", ["x", "W"], ["y"])], {"W": big},
                       inputs={"x": (2, 1024)})  # fmt: skip
    path = tmp_path / "big.onnx"
    onnx.save(model, path, save_as_external_data=True, location="big.data")
    tracemalloc.start()
    list_layers(load_model(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < big.nbytes / 2


def test_nodes_of_branches_come_after_their_owner():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"], "inner")], "b", [], [onnx.ValueInfoProto(name="b")]
    )
    nodes = [
        helper.make_node("If", ["c"], ["h"], "owner", then_branch=branch, else_branch=branch),
        helper.make_node("Neg", ["h"], ["y"], "last"),
    ]
    model = load_model(make_model(nodes, {"c": np.bool_(True)}))
    assert [node.name for node in all_nodes(model)] == ["owner", "inner", "inner", "last"]


def test_arrays_are_read_only(tmp_path):
    for model in (int8_conv(), save(int8_conv(), tmp_path / "m.onnx")):
        weight = find_layer(load_model(model), "conv").weight
        for array in (weight.codes, weight.quantization.scale, weight.quantization.zero_point):
            assert not array.flags.writeable


@pytest.mark.parametrize("count", [31, 32], ids=["124 bytes", "128 bytes"])
def test_of_two_initializers_of_a_name_the_one_onnxruntime_uses_is_read(count):
    """onnxruntime takes the first of two tensors of 128 bytes or more, the last of smaller ones."""
    model = make_model(
        [helper.make_node("MatMul", ["x", "W"], ["y"], "matmul")],
        [numpy_helper.from_array(floats(count, 1, seed=seed), "W") for seed in (1, 2)],
        inputs={"x": (2, count)},
    )
    expected = at_input(model, "W")
    same_bits(find_layer(load_model(model), "matmul").weight.values, expected)


def test_repeated_initializers_keep_their_neighbours_in_order():
    model = mlp()
    model.graph.initializer.append(model.graph.initializer[0])
    names = list(load_model(model).graph.initializers)
    assert sorted(names) == ["W1", "W2", "b1", "b2"]


# --------------------------------------------------------------- every way to store the bytes

STORED_TYPES = (
    "float float16 bfloat16 double int8 uint8 int16 uint16 int32 int64 int4 uint4 int2 uint2 "
    "float8e4m3fn float8e5m2 float8e4m3fnuz float8e5m2fnuz float4e2m1 float8e8m0"
).split()


def tensor_of(data_type: str, raw: bool) -> TensorProto:
    number = TensorProto.DataType.Value(data_type.upper())
    array = np.arange(15).reshape(3, 5) % 2 + 1
    values = array.astype(helper.tensor_dtype_to_np_dtype(number))
    tensor = numpy_helper.from_array(values, "W")
    assert tensor.HasField("raw_data")
    return tensor if raw else helper.make_tensor("W", number, (3, 5), values)


@pytest.mark.parametrize("raw", [True, False], ids=["raw_data", "typed field"])
@pytest.mark.parametrize("data_type", STORED_TYPES)
def test_a_tensor_reads_as_onnx_reads_it(data_type, raw):
    tensor = tensor_of(data_type, raw)
    model = load_model(
        make_model([helper.make_node("Identity", ["W"], ["y"])], [tensor], inputs={})
    )
    (read,) = [v.const_value.numpy() for v in model.graph.initializers.values()]
    np.testing.assert_array_equal(
        read.astype(np.float64), numpy_helper.to_array(tensor).astype(np.float64)
    )


@pytest.mark.parametrize("stored_raw", [True, False], ids=["raw_data", "typed field"])
@pytest.mark.parametrize("data_type", ["float", "float16", "int8", "int4", "float8e4m3fn"])
def test_an_array_is_read_only_however_it_is_stored(data_type, stored_raw):
    tensor = tensor_of(data_type, stored_raw)
    nodes = [helper.make_node("Cast", ["W"], ["w"], to=TensorProto.FLOAT),
             helper.make_node("MatMul", ["x", "w"], ["y"])]  # fmt: skip
    model = load_model(make_model(nodes, [tensor], inputs={"x": (2, 3)}))
    source = ConstantTable(model).get(model.graph.initializers["W"])
    assert not source.read().flags.writeable


# --------------------------------------------------------------- large tensors stay in the file


def test_a_large_weight_survives_the_way_to_another_process(tmp_path):
    opened = load_model(save(dequantized({"a": large("int8")}), tmp_path / "m.onnx"))
    weight = find_layer(opened, "a").weight
    same_bits(pickle.loads(pickle.dumps(weight)).values, weight.values)


def test_a_file_that_is_gone_makes_its_large_weights_unavailable(tmp_path):
    path = save(dequantized({"a": large("int8")}), tmp_path / "m.onnx")
    weight = find_layer(load_model(path), "a").weight
    path.unlink()
    with pytest.raises(UnavailableError):
        _ = weight.values


def test_a_file_that_was_cut_since_makes_its_large_weights_unavailable(tmp_path):
    path = save(dequantized({"a": large("int8")}), tmp_path / "m.onnx")
    weight = find_layer(load_model(path), "a").weight
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UnavailableError):
        _ = weight.values


@pytest.mark.parametrize("location", ["\0", "", ".", "m.onnx", "a\0b"], ids=repr)
def test_an_external_location_that_is_no_data_file_hides_no_other(folder, location):
    path = save(two_convs(external(location)), folder / "m.onnx")
    opened = load_model(path)
    layer = find_layer(opened, "broken")
    if layer.weight is not None:
        with pytest.raises(UnavailableError):
            _ = layer.weight.values
    assert find_layer(opened, "sound").weight.values.shape == (5, 3, 2, 4)


# --------------------------------------------------------------- a bad tensor, good neighbours


def two_convs(bad: TensorProto) -> onnx.ModelProto:
    """Return a model whose first Conv reads ``bad`` (named W) and whose second one is sound."""
    nodes = [
        helper.make_node("Conv", ["x", "W"], ["h"], "broken"),
        dequantize_node(axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"], "sound"),
    ]
    arrays = {"q": codes("int8", 5, 3, 2, 4), "s": scales(5), "z": codes("int8", 5, seed=3)}
    model = make_model(nodes, arrays)
    model.graph.initializer.append(bad)
    return model


def raw(dims, content: bytes, data_type: int = TensorProto.FLOAT) -> TensorProto:
    tensor = TensorProto(name="W", data_type=data_type, raw_data=content)
    tensor.dims.extend(dims)
    return tensor


def external(location: str, **extra: int) -> TensorProto:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT)
    tensor.dims.extend((5, 3, 2, 4))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **extra}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def typed(dims, values) -> TensorProto:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, float_data=values)
    tensor.dims.extend(dims)
    return tensor


BAD_TENSORS = {
    "raw_data too short": raw((5, 3, 2, 4), bytes(4 * 119)),
    "raw_data too long": raw((5, 3, 2, 4), bytes(4 * 121)),
    "raw_data empty": raw((5, 3, 2, 4), b""),
    "negative dimension": raw((5, -3, 2, 4), bytes(4 * 120)),
    "2^40 elements": raw((2**40, 3, 2, 4), bytes(4 * 120)),
    "2^40 elements, no bytes": typed((2**40, 3, 2, 4), []),
    "float_data too short": typed((5, 3, 2, 4), [1.0] * 119),
    "no data at all": typed((5, 3, 2, 4), []),
    "product overflows to the right size": raw((2**32, 2**32, 0 + 2, 4), bytes(32)),
    "external file missing": external("absent.data"),
    "external file outside the folder": external("../outside.data"),
    "external file by absolute path": external("/etc/hostname"),
    "external file too short": external("short.data"),
    "external offset beyond the file": external("long.data", offset=10_000),
    "external length shorter than the shape": external("long.data", length=12),
    "external file is a pipe": external("pipe.data"),
    "external file is a folder": external("folder"),
}


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "model"
    home.mkdir()
    (tmp_path / "outside.data").write_bytes(bytes(4 * 120))
    (home / "short.data").write_bytes(bytes(4 * 119))
    (home / "long.data").write_bytes(bytes(4 * 500))
    (home / "folder").mkdir()
    os.mkfifo(home / "pipe.data")
    return home


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_a_bad_tensor_is_unavailable_when_it_is_read_and_not_before(folder, kind):
    model = load_model(save(two_convs(BAD_TENSORS[kind]), folder / "m.onnx"))
    layer = find_layer(model, "broken")
    if layer.weight is None:
        assert layer.not_understood
        return
    with pytest.raises(UnavailableError) as refusal:
        _ = layer.weight.values
    assert is_one_sentence(str(refusal.value))
    assert "'W'" in str(refusal.value)


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_a_bad_tensor_hides_no_other(folder, kind):
    proto = two_convs(BAD_TENSORS[kind])
    model = load_model(save(proto, folder / "m.onnx"))
    del proto.graph.initializer[-1], proto.graph.node[0]
    same_bits(find_layer(model, "sound").weight.values, at_input(proto, "w"))


def test_an_external_symlink_out_of_the_folder_is_not_followed(folder):
    (folder / "link.data").symlink_to(folder.parent / "outside.data")
    model = load_model(save(two_convs(external("link.data")), folder / "m.onnx"))
    with pytest.raises(UnavailableError):
        _ = find_layer(model, "broken").weight.values


@pytest.mark.parametrize(
    "number", [0, 99, 8, 14], ids=["undefined", "unknown", "string", "complex"]
)
def test_a_data_type_that_holds_no_weight_hides_no_other_layer(number):
    model = load_model(two_convs(raw((5, 3, 2, 4), bytes(480), number)))
    assert find_layer(model, "sound").weight.values.shape == (5, 3, 2, 4)


def test_external_data_reads_as_onnxruntime_reads_it(tmp_path):
    proto, path = int8_conv(), tmp_path / "m.onnx"
    expected = at_input(proto, "w")
    onnx.save(proto, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    same_bits(find_layer(load_model(path), "conv").weight.values, expected)


def test_external_data_survives_the_way_to_another_process(tmp_path):
    proto, path = int8_conv(), tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    weight = find_layer(load_model(path), "conv").weight
    same_bits(pickle.loads(pickle.dumps(weight)).values, weight.values)


def test_a_weight_of_an_opened_file_survives_the_way_to_another_process(tmp_path):
    weight = find_layer(load_model(save(int8_conv(), tmp_path / "m.onnx")), "conv").weight
    same_bits(pickle.loads(pickle.dumps(weight)).values, weight.values)


def test_a_weight_of_no_elements_reads_as_such():
    model = load_model(conv_model([], {"w": np.zeros((0, 3, 2, 4), np.float32)}))
    assert find_layer(model, "conv").weight.values.shape == (0, 3, 2, 4)


def test_an_unknown_operator_is_no_reason_to_refuse_a_file():
    nodes = [helper.make_node("Nothing", ["x"], ["y"], domain=MICROSOFT)]
    assert len(list_layers(load_model(make_model(nodes, domains=[MICROSOFT])))) == 1
