"""A folder's variants are named by what their files contain, and a bad file hides no good one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    codes,
    conv_model,
    convnet,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    scales,
)
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType

from playground.utils.parameter_inspector import (
    find_networks,
    list_layers,
    load_model,
    open_folder,
    summarize_variant,
)
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading.variants import name_variants, variant_label


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def half_conv() -> onnx.ModelProto:
    nodes = [helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT)]
    return conv_model(nodes, {"h": floats(*CONV_SHAPE).astype(np.float16)})


def without_weight() -> onnx.ModelProto:
    return make_model([helper.make_node("Relu", ["x"], ["y"])])


# --------------------------------------------------------------- names


@pytest.mark.parametrize("data_type", ["int4", "uint4", "int8", "uint8", "int16", "float8e4m3fn"])
def test_a_quantized_file_is_called_after_the_type_of_its_codes(data_type):
    arrays = {"q": codes(data_type, *CONV_SHAPE), "s": np.float32(0.3)}
    model = conv_model([dequantize_node(("q", "s"))], arrays)
    assert variant_label(load_model(model)) == data_type.upper()


def test_a_float_file_is_called_fp32():
    assert variant_label(load_model(convnet())) == "FP32"


def test_a_half_precision_file_is_called_fp16():
    assert variant_label(load_model(half_conv())) == "FP16"


@pytest.mark.parametrize(
    "options", [{}, {"quant_format": QuantFormat.QOperator}], ids=["QDQ", "QOperator"]
)
def test_a_statically_quantized_network_is_called_int8(tmp_path, options):
    assert variant_label(load_model(quantized_statically(convnet(), tmp_path, **options))) == "INT8"


def test_a_uint8_network_is_called_uint8_whatever_its_bias_is(tmp_path):
    types = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}
    assert variant_label(load_model(quantized_statically(convnet(), tmp_path, **types))) == "UINT8"


def test_a_dynamically_quantized_network_is_called_int8(tmp_path):
    assert variant_label(load_model(quantized_dynamically(mlp(), tmp_path))) == "INT8"


def test_a_file_without_weights_keeps_its_own_name(tmp_path):
    path = save(without_weight(), tmp_path / "nothing.onnx")
    assert variant_label(load_model(path)) == "nothing"


def test_the_type_of_most_weights_names_the_file():
    nodes, arrays = [], {"s": np.float32(0.3)}
    for name, data_type in (("a", "int8"), ("b", "uint8"), ("c", "uint8")):
        arrays[name] = codes(data_type, *CONV_SHAPE)
        nodes.append(dequantize_node((name, "s"), f"w_{name}"))
        nodes.append(helper.make_node("Conv", ["x", f"w_{name}"], [f"y_{name}"], name))
    model = make_model(nodes, arrays, outputs=[f"y_{name}" for name in "abc"])
    assert variant_label(load_model(model)) == "UINT8"


def test_the_name_comes_from_the_content_not_from_the_file(tmp_path):
    save(int8_conv(), tmp_path / "final_v2_REAL float32.onnx")
    save(convnet(), tmp_path / "quantized_int8.onnx")
    opened = open_folder(tmp_path)
    files = {name: model.path.name for name, model in opened.variants.items()}
    assert files == {"FP32": "quantized_int8.onnx", "INT8": "final_v2_REAL float32.onnx"}


def test_the_float_original_comes_first(tmp_path):
    for name, model in (("a", int8_conv()), ("b", int8_conv(data_type="uint8")), ("z", convnet())):
        save(model, tmp_path / f"{name}.onnx")
    assert list(open_folder(tmp_path).variants) == ["FP32", "INT8", "UINT8"]


def test_two_files_of_a_kind_are_told_apart_by_their_file_names(tmp_path):
    for name in ("mine", "yours"):
        save(int8_conv(), tmp_path / f"{name}.onnx")
    assert list(open_folder(tmp_path).variants) == ["INT8 (mine)", "INT8 (yours)"]


def test_no_model_is_lost_when_labels_repeat():
    models = [load_model(int8_conv()), load_model(int8_conv()), load_model(convnet())]
    assert len(name_variants(models)) == 3


# --------------------------------------------------------------- folders


def test_an_unreadable_file_is_named_with_its_reason_and_hides_no_other(tmp_path):
    save(int8_conv(), tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    opened = open_folder(tmp_path)
    assert list(opened.variants) == ["INT8"]
    assert list(opened.unreadable) == ["bad.onnx"]
    assert opened.unreadable["bad.onnx"].kind is RefusalKind.GIT_LFS_POINTER


def test_a_file_of_broken_weights_hides_no_other(tmp_path):
    save(int8_conv(), tmp_path / "good.onnx")
    broken = int8_conv()
    broken.graph.initializer[0].dims[0] = -3
    save(broken, tmp_path / "broken.onnx")
    opened = open_folder(tmp_path)
    assert "good" in [model.name for model in opened.variants.values()]


def test_an_empty_folder_has_no_variants(tmp_path):
    opened = open_folder(tmp_path)
    assert (dict(opened.variants), dict(opened.unreadable)) == ({}, {})


def test_other_files_are_left_alone(tmp_path):
    save(int8_conv(), tmp_path / "a.onnx")
    (tmp_path / "notes.txt").write_text("not a model")
    assert open_folder(tmp_path).unreadable == {}


def test_every_folder_that_holds_a_model_is_a_network(tmp_path):
    for place in ("resnet/a.onnx", "resnet/b.onnx", "deep/er/c.onnx"):
        save(without_weight(), tmp_path / place)
    (tmp_path / "empty").mkdir()
    networks = find_networks(tmp_path)
    assert networks == {"deep/er": tmp_path / "deep" / "er", "resnet": tmp_path / "resnet"}


def test_the_folder_itself_may_hold_the_models(tmp_path):
    save(without_weight(), tmp_path / "a.onnx")
    assert find_networks(tmp_path) == {tmp_path.name: tmp_path}


def test_a_folder_that_is_not_there_holds_no_network(tmp_path):
    assert find_networks(tmp_path / "absent") == {}


# --------------------------------------------------------------- summaries


def test_a_summary_counts_layers_types_and_weights(tmp_path):
    path = save(convnet(), tmp_path / "net.onnx")
    summary = summarize_variant("FP32", load_model(path))
    assert (summary.name, summary.file_name) == ("FP32", "net.onnx")
    assert summary.file_bytes == path.stat().st_size
    assert (summary.opset, summary.producer) == (17, "tests")
    assert (summary.layer_count, summary.weight_layer_count) == (6, 3)
    assert (summary.quantized_count, summary.float_count) == (0, 3)
    assert summary.data_types == {"float32": 3}
    assert summary.weight_count == 5 * 3 * 2 * 4 + 8 * 5 * 3 * 2 + 8 * 9


def test_a_layer_left_in_float_is_counted(tmp_path):
    model = quantized_statically(convnet(), tmp_path, nodes_to_exclude=["conv10"])
    summary = summarize_variant("INT8", load_model(model))
    assert (summary.quantized_count, summary.float_count) == (2, 1)
    assert summary.data_types == {"int8": 2, "float32": 1}


def test_a_layer_that_cannot_be_read_is_counted():
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(4)}
    model = load_model(conv_model([dequantize_node(("q", "s"), axis=0)], arrays))
    assert summarize_variant("?", model).not_understood_count == 1
    assert len(list_layers(model)) == 1
