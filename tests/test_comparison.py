"""Every layer of every variant in one pass: ranges of what the layer computes with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    at_input,
    codes,
    conv_model,
    convnet,
    dequantize_node,
    floats,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    same_bits,
    scales,
)
from onnx import TensorProto, helper, numpy_helper

from playground.utils.parameter_inspector import (
    LayerRanges,
    WorkCancelledError,
    budgets,
    compare,
    compare_folder,
    compare_variants,
    compute_all_layer_ranges,
    compute_layer_ranges,
    extract_weight_tensors,
    find_layer,
    layer_names,
    load_model,
    pair_variants,
)
from playground.utils.parameter_inspector.reading.variants import VariantFolder
from playground.utils.parameter_inspector.streaming import chunks


@pytest.fixture(scope="module")
def protos(tmp_path_factory) -> dict[str, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("scan")
    return {
        "FP32": convnet(),
        "INT8": quantized_statically(convnet(), folder, per_channel=True),
        "INT8 per tensor": quantized_statically(convnet(), folder),
    }


@pytest.fixture(scope="module")
def variants(protos):
    return {name: load_model(proto) for name, proto in protos.items()}


def weight_inputs(proto: onnx.ModelProto) -> dict[str, str]:
    operators = ("Conv", "Gemm", "MatMul")
    return {n.name: n.input[1] for n in proto.graph.node if n.op_type in operators}


def test_ranges_are_those_of_what_onnxruntime_feeds_to_each_layer(protos, variants):
    rows = {row.layer: row for row in compute_all_layer_ranges(variants)}
    for name, proto in protos.items():
        for layer, tensor in weight_inputs(proto).items():
            fed = at_input(proto, tensor)
            assert rows[layer].ranges[name] == (float(fed.min()), float(fed.max()))


def test_rows_come_in_graph_order_and_layers_without_a_weight_have_none(variants):
    rows = compute_all_layer_ranges(variants)
    assert [row.layer for row in rows] == ["conv1", "conv10", "fc"]
    assert [row.node_type for row in rows] == ["Conv", "Conv", "Gemm"]


def test_both_names_of_the_function_are_one():
    assert compute_layer_ranges is compute_all_layer_ranges


def test_every_layer_is_told_to_who_waits(variants):
    told = []
    compute_all_layer_ranges(variants, progress=lambda *now: told.append(now))
    rows = [row for row in ("conv1", "conv10", "fc") for _ in variants]
    assert [done for done, _, _ in told] == list(range(1, 10))
    assert {total for _, total, _ in told} == {9}
    assert sorted(row for _, _, row in told) == rows


def test_a_scan_that_is_cancelled_stops_between_two_weights_and_can_be_made_again(variants):
    folder, told = VariantFolder(Path(), variants, {}), []

    def cancel() -> bool:
        return len(told) == 3

    with pytest.raises(WorkCancelledError, match="stopped after 4 of 9 weights"):
        compare_folder(folder, lambda *now: told.append(now), cancel)
    assert len(told) == 3
    assert compare_folder(folder, cancelled=lambda: False).ranges == compute_all_layer_ranges(
        variants
    )


def test_a_scan_that_is_cancelled_stops_within_a_large_weight(monkeypatch):
    monkeypatch.setattr(budgets, "STEPS_BETWEEN_LOOKS", 1)
    model = load_model(make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                                  {"w": floats(1024, 4096)}, inputs={"x": (2, 1024)}))  # fmt: skip
    loaded, load = [], chunks._ArrayMatrix.load
    monkeypatch.setattr(chunks._ArrayMatrix, "load", lambda matrix, part: (
        loaded.append(part), load(matrix, part))[1])  # fmt: skip
    folder = VariantFolder(Path(), {"FP32": model}, {})
    with pytest.raises(WorkCancelledError):
        compare_folder(folder, cancelled=lambda: len(loaded) == 3)
    assert len(loaded) == 3  # of sixteen


def test_one_variant_alone_has_ranges(variants):
    rows = compute_all_layer_ranges({"FP32": variants["FP32"]})
    assert [list(row.ranges) for row in rows] == [["FP32"]] * 3


def test_a_scan_reads_the_same_twice(variants):
    assert compute_all_layer_ranges(variants) == compute_all_layer_ranges(variants)


def test_a_weight_of_no_finite_number_has_no_range():
    model = load_model(conv_model([], {"w": np.full(CONV_SHAPE, np.nan, np.float32)}))
    assert compute_all_layer_ranges({"FP32": model}) == [LayerRanges("conv", "Conv", {})]


def test_a_weight_whose_bytes_are_missing_has_no_range_and_hides_no_other(tmp_path):
    missing = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=(5, 3, 2, 4))
    missing.data_location = TensorProto.EXTERNAL
    missing.external_data.add(key="location", value="absent.data")
    sound = numpy_helper.from_array(floats(*CONV_SHAPE), "V")
    nodes = [
        helper.make_node("Conv", ["x", "W"], ["h"], "broken"),
        helper.make_node("Conv", ["x", "V"], ["y"], "sound"),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(make_model(nodes, [missing, sound]).SerializeToString())
    rows = {row.layer: row.ranges for row in compute_all_layer_ranges({"FP32": load_model(path)})}
    assert rows["broken"] == {}
    assert list(rows["sound"]) == ["FP32"]


def test_a_layer_that_only_a_variant_has_is_in_the_ranges_too():
    def net(*names: str, seed: int) -> onnx.ModelProto:
        nodes = [helper.make_node("Conv", ["x", name], [f"y_{name}"], name) for name in names]
        arrays = {n: floats(i + 5, 3, 2, 4, seed=seed + i) for i, n in enumerate(names)}
        return make_model(nodes, arrays, outputs=[f"y_{name}" for name in names])

    variants = {
        "FP32": load_model(net("a", seed=0)),
        "INT8": load_model(net("a", "extra", seed=0)),
    }
    rows = {row.layer: row.ranges for row in compute_all_layer_ranges(variants)}
    assert list(rows["a"]) == ["FP32", "INT8"]
    assert list(rows["extra"]) == ["INT8"]


# --------------------------------------------------------------- one layer in every variant


def test_the_weights_of_one_layer_are_found_in_every_variant(protos, variants):
    weights = extract_weight_tensors(variants, "conv10")
    assert list(weights) == list(variants)
    for name, weight in weights.items():
        tensor = weight_inputs(protos[name])["conv10"]
        same_bits(weight.values, at_input(protos[name], tensor))


def test_pairings_that_are_known_are_used(variants):
    pairings = pair_variants(variants)
    weights = extract_weight_tensors(variants, "conv1", pairings)
    assert list(weights) == list(variants)


def test_a_layer_of_another_name_is_found_in_a_dynamic_variant(tmp_path):
    variants = {
        "FP32": load_model(mlp()),
        "INT8": load_model(quantized_dynamically(mlp(), tmp_path)),
    }
    names = layer_names(variants, "fc2", pair_variants(variants))
    assert names == {"FP32": "fc2", "INT8": "fc2_quant"}


@pytest.mark.parametrize("asked", ["fc2", "fc2_quant"])
def test_the_name_in_any_variant_finds_the_layer_of_all(tmp_path, asked):
    float_net = mlp()
    quantized = quantized_dynamically(mlp(), tmp_path)
    variants = {"FP32": load_model(float_net), "INT8": load_model(quantized)}
    weights = extract_weight_tensors(variants, asked)
    assert list(weights) == ["FP32", "INT8"]
    same_bits(weights["FP32"].values, at_input(float_net, weight_inputs(float_net)["fc2"]))
    assert weights["INT8"].data_type == "int8"


def test_a_name_that_a_variant_gives_to_another_layer_is_that_of_the_original():
    variants = {
        "FP32": load_model(mlp(("fc1", "fc2"))),
        "INT8": load_model(mlp(("fc2", "fc1"))),
    }
    weights = extract_weight_tensors(variants, "fc1")
    assert {name: weight.shape for name, weight in weights.items()} == {
        "FP32": (6, 7),
        "INT8": (6, 7),
    }


def test_a_layer_that_no_variant_has_raises_key_error_naming_the_nearest(variants):
    with pytest.raises(KeyError, match="conv1"):
        extract_weight_tensors(variants, "conf1")


def test_a_layer_without_a_weight_has_no_weight_tensors(variants):
    assert extract_weight_tensors(variants, "relu1") == {}


def test_a_file_of_broken_scales_hides_no_other_variant():
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(4)}
    broken = conv_model([dequantize_node(("q", "s"), axis=0)], arrays)
    variants = {
        "FP32": load_model(conv_model([], {"w": floats(*CONV_SHAPE)})),
        "INT8": load_model(broken),
    }
    (row,) = compute_all_layer_ranges(variants)
    assert list(row.ranges) == ["FP32"]
    assert find_layer(variants["INT8"], "conv").not_understood


# --------------------------------------------------------------- from paths to a comparison


def test_files_are_compared_with_the_float_one_among_them(protos, tmp_path):
    paths = [tmp_path / f"{i}.onnx" for i in range(len(protos))]
    for path, proto in zip(paths, reversed(protos.values()), strict=True):
        path.write_bytes(proto.SerializeToString())
    comparison = compare(paths)
    assert comparison.original == comparison.named_by == "FP32"
    assert len(comparison.variants) == 3
    assert comparison.measured("conv1", "INT8 (1)").metrics["sqnr_db"] > 20


def test_no_file_is_nothing_to_compare():
    with pytest.raises(ValueError, match="give the paths"):
        compare([])


def test_layers_without_a_weight_are_in_the_comparison_too(variants):
    """onnxruntime's quantizer takes the Relu away: a scale of what is positive does its work."""
    twice = {"FP32": variants["FP32"], "same": variants["FP32"], "INT8": variants["INT8"]}
    layers = {layer.name: layer for layer in compare_variants(twice).layers()}
    assert list(layers["relu1"].by_variant) == ["FP32", "same"]
    assert list(layers["conv1"].by_variant) == ["FP32", "same", "INT8"]
