"""A changed model: what changes, what stays, that it runs, and what is refused in a sentence."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from models_for_tests import (
    CONV_INPUT,
    CONV_SHAPE,
    at_input,
    codes,
    convnet,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    same_bits,
    scales,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType

from playground.utils.parameter_inspector import (
    compare_variants,
    list_layers,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.changing import rewriting as rewrite
from playground.utils.parameter_inspector.changing.planning import (
    list_options,
    plan_model,
    read_exact_bias,
    why_not_run,
)
from playground.utils.parameter_inspector.changing.rewriting import (
    Change,
    RewriteError,
    create_changes,
    measure_truth,
    needed_opset,
    save_changed_model,
)
from playground.utils.parameter_inspector.changing.schemes import Scheme, requantize
from playground.utils.parameter_inspector.judging.rules import find_problems

MODELS = Path(__file__).resolve().parents[1] / "models"
DSCNN = MODELS / "dscnn"
TROUBLE = "/block1/conv_dw/Conv"


def read(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def layer_of(path: Path, name: str) -> Any:
    return next(one for one in list_layers(load_model(path)) if one.name == name)


def saved(model: onnx.ModelProto, folder: Path, name: str = "today.onnx") -> Path:
    onnx.save(model, folder / name)
    return folder / name


def run(path: Path, feeds: dict[str, np.ndarray], optimized: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(DSCNN).variants
    return compare_variants(variants)


@pytest.fixture
def current(tmp_path):
    """A small float network, quantized: Conv, Conv without bias, Gemm, all with activations."""
    model = quantized_statically(
        convnet(), tmp_path, weight_type=QuantType.QUInt8, activation_type=QuantType.QUInt8
    )
    onnx.save(convnet(), tmp_path / "fp32.onnx")
    return saved(model, tmp_path)


WEIGHTS = {"conv1": "W1", "conv10": "W10", "fc": "W2"}


def exact(name: str) -> np.ndarray:
    tensors = {one.name: numpy_helper.to_array(one) for one in convnet().graph.initializer}
    return tensors[WEIGHTS[name]]


# The show: the shipped model that lost its accuracy -----------------------------------------------


def test_the_plan_for_dscnn_saved_and_run_gives_the_accuracy_of_the_float_model(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=30)
    changes = create_changes(plan, comparison, "UINT8")
    done = save_changed_model(DSCNN / "uint8.onnx", changes, tmp_path / "out.onnx")
    paths = DSCNN / "fp32.onnx", DSCNN / "uint8.onnx", done.path
    truth = measure_truth(*paths, DSCNN / "samples.npz")
    assert truth.sample_count == 180
    assert truth.current.accuracy < 0.5 and truth.current.output_sqnr_db < 5
    assert truth.changed.accuracy > 0.98 and truth.exact.accuracy > 0.98
    assert truth.changed.output_sqnr_db > 30
    assert done.file_bytes == done.path.stat().st_size < 1.02 * done.current_bytes
    assert done.raised_opset is None
    variants = {"FP32": comparison.variants["FP32"], "UINT8": load_model(done.path)}
    problems = find_problems(compare_variants(variants))
    assert not [one for one in problems if one.severity == "error"]


def test_only_the_planned_tensors_differ_and_every_node_stays(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=20)
    changes = create_changes(plan, comparison, "UINT8")
    out = tmp_path / "out.onnx"
    save_changed_model(DSCNN / "uint8.onnx", changes, out)
    before, after = read(DSCNN / "uint8.onnx"), read(out)
    assert list(before) == list(after)
    differ = {n for n in before if before[n].tobytes() != after[n].tobytes()}
    stem = "block1.conv_dw"
    assert differ == {
        f"{stem}.weight_quantized", f"{stem}.weight_scale", f"{stem}.weight_zero_point",
        f"{stem}.bias_quantized", f"{stem}.bias_quantized_scale",
        f"{stem}.bias_quantized_zero_point",
    }  # fmt: skip
    models = onnx.load(DSCNN / "uint8.onnx"), onnx.load(out)
    for node, again in zip(*(model.graph.node for model in models), strict=True):
        if node != again:
            assert node.op_type == "DequantizeLinear" and node.input[0].startswith(stem)
            assert (node.input, node.output) == (again.input, again.output)
            assert [(a.name, a.i) for a in again.attribute] == [("axis", 0)]
    for model in models:
        del model.graph.node[:], model.graph.initializer[:]
    assert models[0] == models[1]


def test_no_change_writes_the_same_model(tmp_path):
    save_changed_model(DSCNN / "uint8.onnx", {}, tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == onnx.load(DSCNN / "uint8.onnx")


@pytest.mark.parametrize("network", ["dscnn", "resnet8"])
@pytest.mark.parametrize("variant", ["INT8", "UINT8"])
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_plan_for_a_size_is_written_and_runs_alike_optimized_or_not(
    network, variant, share, tmp_path
):
    variants = open_folder(MODELS / network).variants
    comparison = compare_variants(variants)
    options, _ = list_options(comparison, variant)
    size = int(share * sum(o.current.byte_count for o in options))
    plan = plan_model(comparison, variant, target_bytes=size)
    assert plan.byte_count <= size and plan.changes
    path = MODELS / network / f"{variant.lower()}.onnx"
    changes = create_changes(plan, comparison, variant)
    done = save_changed_model(path, changes, tmp_path / "out.onnx")
    assert done.raised_opset == 21
    with np.load(MODELS / network / "samples.npz") as file:
        feeds = {"image": file["image"].astype(np.float32)}
    plain, fused = (run(done.path, feeds, optimized) for optimized in (False, True))
    assert (plain.argmax(1) == fused.argmax(1)).mean() > 0.97
    again = open_values(done.path)
    for name, change in changes.items():
        same_bits(again[name], requantize(change.values, change.scheme).values)


def open_values(path: Path) -> dict[str, np.ndarray]:
    return {one.name: one.weight.values for one in list_layers(load_model(path)) if one.weight}


# Every scheme, in every operator ------------------------------------------------------------------


SCHEMES = [
    Scheme("int8"),
    Scheme("uint8", symmetric=False),
    Scheme("int8", "per-channel"),
    Scheme("uint8", "per-channel", symmetric=False),
    Scheme("int8", "per-channel", bits=5),
    Scheme("int16", "per-channel"),
    Scheme("uint16", symmetric=False),
    Scheme("int4"),
    Scheme("int4", "per-channel"),
    Scheme("uint4", "per-channel", symmetric=False),
    Scheme("int4", "per-block", block_size=16, clipping="mse"),
    Scheme("uint4", "per-block", block_size=3, symmetric=False),
]
# What only a layer with float activations can have.
MORE_SCHEMES = [
    Scheme("int8", "per-block", block_size=16), Scheme("float8e4m3fn"), Scheme("float8e5m2"),
    Scheme("float8e4m3fn", "per-block", block_size=4),
]  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_onnxruntime_feeds_the_layer_what_the_scheme_promised(current, tmp_path, scheme, name):
    layer, out = layer_of(current, name), tmp_path / "out.onnx"
    assert why_not_run(layer, scheme) is None
    done = save_changed_model(current, {name: Change(scheme, exact(name))}, out)
    expected = requantize(exact(name), scheme, layer.weight.channel_axis)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    node = next(one for one in model.graph.node if one.name == name)
    same_bits(at_input(model, node.input[1]), expected.values)
    assert done.raised_opset == (21 if needed_opset(scheme) == 21 else None)
    feeds = {"x": floats(1, 3, 10, 11, seed=5)}
    plain, fused = (run(out, feeds, optimized) for optimized in (False, True))
    np.testing.assert_allclose(plain, fused, atol=0.3)


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme("float4e2m1"),
        Scheme("int2", "per-block", block_size=4),
        Scheme("float8e4m3fn", "per-channel"),
        Scheme("int8", "per-block", block_size=2),
    ],
    ids=str,
)
def test_what_onnxruntime_cannot_run_is_refused_and_nothing_is_written(current, tmp_path, scheme):
    with pytest.raises(RewriteError, match=r"^layer 'conv1': onnxruntime cannot run"):
        save_changed_model(
            current, {"conv1": Change(scheme, exact("conv1"))}, tmp_path / "out.onnx"
        )
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("scheme", [*SCHEMES, *MORE_SCHEMES], ids=str)
def test_a_matmul_with_float_activations_runs_under_every_scheme(scheme, tmp_path):
    weight = floats(32, 6)
    start = requantize(weight, Scheme(), 1)
    arrays = {"q": start.codes, "s": start.quantization.scale, "z": start.quantization.zero_point}
    nodes = [dequantize_node(), helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")]
    model = make_model(nodes, arrays, inputs={"x": (2, 32)}, opset=17, ir_version=8)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 6)))
    path = saved(model, tmp_path)
    save_changed_model(path, {"matmul": (scheme, weight)}, tmp_path / "out.onnx")
    values = requantize(weight, scheme, 1).values
    x = floats(2, 32, seed=7)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", {"x": x}), x @ values, atol=0.1)


@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_an_int2_weight_that_onnxruntime_computes_wrongly_is_refused(op_type, tmp_path):
    """Seen in onnxruntime 1.31: right without optimization, far off with it."""
    weight = floats(32, 6)
    done = requantize(weight, Scheme("int2"), 1)
    arrays = {"q": done.codes, "s": done.quantization.scale, "z": done.quantization.zero_point}
    nodes = [dequantize_node(), helper.make_node(op_type, ["x", "w"], ["y"], "layer")]
    model = make_model(nodes, arrays, inputs={"x": (2, 32)}, opset=25, ir_version=13)
    path, x = saved(model, tmp_path), floats(2, 32, seed=7)
    np.testing.assert_allclose(run(path, {"x": x}, optimized=False), x @ done.values, atol=1e-4)
    assert np.abs(run(path, {"x": x}) - x @ done.values).max() > 1
    with pytest.raises(RewriteError, match=f"computes a {op_type} with int2 weights wrongly"):
        save_changed_model(path, {"layer": (Scheme("int2"), weight)}, tmp_path / "out.onnx")


# The bias -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel"])
@pytest.mark.parametrize("with_float", [True, False])
def test_the_int32_bias_is_counted_in_input_scale_times_weight_scale(
    current, tmp_path, granularity, with_float
):
    bias = {one.name: numpy_helper.to_array(one) for one in convnet().graph.initializer}["b1"]
    before = layer_of(current, "conv1")
    change = Change(Scheme("int8", granularity), exact("conv1"), bias if with_float else None)
    save_changed_model(current, {"conv1": change}, tmp_path / "out.onnx")
    layer = layer_of(tmp_path / "out.onnx", "conv1")
    product = layer.inputs[0].quantization.scale * layer.weight.quantization.scale
    same_bits(layer.bias.quantization.scale, product.astype(np.float32))
    source = bias if with_float else before.bias.values
    expected = np.rint(source.astype(np.float64) / product.astype(np.float64))
    np.testing.assert_array_equal(layer.bias.codes, expected)
    assert layer.bias.codes.dtype == np.int32
    assert np.abs(layer.bias.values - source).max() <= 0.5001 * np.max(product)


def test_a_bias_beyond_int32_is_refused(current, tmp_path):
    tiny = exact("conv1") * np.float32(1e-9)
    with pytest.raises(RewriteError, match=r"layer 'conv1': its bias does not fit into int32"):
        save_changed_model(current, {"conv1": Change(Scheme(), tiny)}, tmp_path / "out.onnx")


def test_blocks_leave_the_bias_as_it_is(current, tmp_path):
    scheme = Scheme("int4", "per-block", block_size=2)
    save_changed_model(current, {"conv1": Change(scheme, exact("conv1"))}, tmp_path / "out.onnx")
    ours, before = (layer_of(path, "conv1").bias for path in (tmp_path / "out.onnx", current))
    same_bits(ours.codes, before.codes)
    same_bits(ours.quantization.scale, before.quantization.scale)


def test_the_float_bias_is_taken_only_where_todays_is_its_rounding(tmp_path, current):
    def bias_found() -> np.ndarray | None:
        variants = {"FP32": load_model(tmp_path / "fp32.onnx"), "UINT8": load_model(current)}
        return read_exact_bias(compare_variants(variants), "UINT8", "conv1")

    assert bias_found() is not None
    model = onnx.load(current)
    (bias,) = (one for one in model.graph.initializer if one.name == "b1_quantized")
    corrected = numpy_helper.to_array(bias) + np.int32(500)
    bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
    onnx.save(model, current)
    assert bias_found() is None


def grouped_transpose(scale_count: int) -> onnx.ModelProto:
    """A ConvTranspose of two groups, 6 -> 2 x 5 channels, bias int32."""
    rng = np.random.default_rng(0)
    arrays = {
        "q": codes("int8", 6, 5, 2, 3), "s": scales(), "z": np.int8(0),
        "bq": rng.integers(-900, 900, 10).astype(np.int32), "bs": np.float32(0.001),
        "bz": np.int32(0), "xs": np.float32(0.02), "xz": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        dequantize_node(),
        dequantize_node(["bq", "bs", "bz"], "b"),
        helper.make_node("ConvTranspose", ["xd", "w", "b"], ["y"], "up", group=2),
    ]
    model = make_model(nodes, arrays, inputs={"x": (1, 6, 4, 4)}, opset=17, ir_version=8)
    shape = (1, 10, 5, 6)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    return model


def test_each_group_of_a_convtranspose_has_the_bias_scales_of_its_channels(tmp_path):
    path = saved(grouped_transpose(5), tmp_path)
    before = layer_of(path, "up")
    change = Change(Scheme(granularity="per-channel"), before.weight.values)
    save_changed_model(path, {"up": change}, tmp_path / "out.onnx")
    after = layer_of(tmp_path / "out.onnx", "up")
    assert after.weight.quantization.scale.shape == (5,)
    assert after.bias.quantization.scale.shape == (10,)
    same_bits(after.bias.quantization.scale[:5], after.bias.quantization.scale[5:])
    x = floats(1, 6, 4, 4)
    old, new = (run(p, {"x": x}) for p in (path, tmp_path / "out.onnx"))
    np.testing.assert_allclose(old, new, atol=0.05 * np.abs(old).max())


# The form of the file -----------------------------------------------------------------------------


def test_a_zero_point_that_was_left_out_is_added(tmp_path):
    nodes = [dequantize_node(["q", "s"]), helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales()}
    path = saved(shaped(make_model(nodes, arrays, opset=17, ir_version=8)), tmp_path)
    values = floats(*CONV_SHAPE)
    scheme = Scheme("uint8", "per-channel", symmetric=False)
    save_changed_model(path, {"conv": (scheme, values)}, tmp_path / "out.onnx")
    same_bits(at_input(onnx.load(tmp_path / "out.onnx"), "w"), requantize(values, scheme).values)


def shaped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the output of the small Conv its type, as the checker asks."""
    out = (1, CONV_SHAPE[0], CONV_INPUT[2] - CONV_SHAPE[2] + 1, CONV_INPUT[3] - CONV_SHAPE[3] + 1)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, out))
    return model


def two_convs(**shared: str) -> onnx.ModelProto:
    """Two Convs on the same input; ``shared`` names constants that the second has of the first."""
    names = {"q": "q2", "s": "s2", "z": "z2"} | shared
    nodes = [
        dequantize_node(["q", "s", "z"], "w"),
        dequantize_node([names["q"], names["s"], names["z"]], "w2"),
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Conv", ["x", "w2"], ["c2"], "conv2"),
        helper.make_node("Add", ["c", "c2"], ["y"], "add"),
    ]
    arrays = {
        "q": codes("int8", *CONV_SHAPE), "s": scales(), "z": np.int8(3),
        "q2": codes("int8", *CONV_SHAPE, seed=5), "s2": scales(seed=6), "z2": np.int8(-2),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    arrays = {name: array for name, array in arrays.items() if name in used}
    return shaped(make_model(nodes, arrays, opset=17, ir_version=8))


@pytest.mark.parametrize("constant", ["q", "s", "z"])
def test_a_constant_that_another_layer_reads_stays_for_it(constant, tmp_path):
    path = saved(two_convs(**{constant: constant}), tmp_path)
    other = at_input(onnx.load(path), "w2")
    values = floats(*CONV_SHAPE)
    change = Scheme(granularity="per-channel"), values
    save_changed_model(path, {"conv": change}, tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    same_bits(at_input(model, "w2"), other)
    same_bits(at_input(model, "w"), requantize(values, change[0]).values)


def test_a_weight_that_two_layers_read_through_one_node_is_refused(tmp_path):
    model = two_convs()
    next(node for node in model.graph.node if node.name == "conv2").input[1] = "w"
    path = saved(model, tmp_path)
    with pytest.raises(RewriteError, match="layer 'conv': its weight is shared"):
        save_changed_model(path, {"conv": (Scheme(), floats(*CONV_SHAPE))}, tmp_path / "out.onnx")


@pytest.mark.parametrize("quantize", ["dynamic", "operator", "fake"])
def test_another_form_of_storage_is_refused_in_one_sentence(quantize, tmp_path):
    if quantize == "dynamic":
        model = quantized_dynamically(mlp(), tmp_path)
    else:
        options: dict[str, Any] = (
            {"quant_format": QuantFormat.QOperator}
            if quantize == "operator"
            else {"extra_options": {"AddQDQPairToWeight": True}}
        )
        model = quantized_statically(mlp(), tmp_path, **options)
    path = saved(model, tmp_path)
    layer = next(one for one in list_layers(load_model(path)) if one.weight and one.is_quantized)
    change = Scheme(), np.zeros(layer.weight.shape, np.float32)
    with pytest.raises(RewriteError, match=f"layer '{layer.name}': its weight is stored as") as why:
        save_changed_model(path, {layer.name: change}, tmp_path / "out.onnx")
    assert "\n" not in str(why.value)


def test_a_file_that_onnxruntime_optimized_before_loads_again_where_it_can_fuse_more(tmp_path):
    nodes = [
        dequantize_node(axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "w"], ["m"], "matmul"),
        helper.make_node("Add", ["b", "m"], ["a"]),
        # What MatMulAddFusion left behind when it fused another MatMul of the same file.
        helper.make_node("Reshape", ["a", "gemm_input_shape"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["g"], "gemm"),
        helper.make_node("Reshape", ["g", "gemm_output_shape"], ["y"]),
    ]
    arrays = {
        "q": codes("uint4", 32, 6), "s": scales(2, 6), "z": codes("uint4", 2, 6),
        "b": floats(6), "w2": floats(6, 7),
        "gemm_input_shape": np.array([15, 6]), "gemm_output_shape": np.array([3, 5, 7]),
    }  # fmt: skip
    model = make_model(nodes, arrays, inputs={"x": (3, 5, 32)})
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 5, 7))
    model.graph.output[0].CopyFrom(output)
    path, values = saved(model, tmp_path), floats(32, 6)
    save_changed_model(path, {"matmul": (Scheme("int16"), values)}, tmp_path / "out.onnx")
    x = floats(3, 5, 32, seed=4)
    held = requantize(values, Scheme("int16"), channel_axis=1).values
    expected = ((x @ held + arrays["b"]).reshape(15, 6) @ arrays["w2"]).reshape(3, 5, 7)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", {"x": x}), expected, rtol=2e-3, atol=1e-3)


@pytest.fixture
def external(tmp_path):
    """A model that keeps its weights in a file of its own."""
    onnx.save(
        shaped(int8_conv()), tmp_path / "m.onnx", save_as_external_data=True, location="weights",
        size_threshold=0,
    )  # fmt: skip
    return tmp_path / "m.onnx"


def test_a_model_with_external_data_becomes_one_file_that_needs_no_other(external, tmp_path):
    values, scheme, alone = floats(*CONV_SHAPE), Scheme(), tmp_path / "alone"
    alone.mkdir()
    saved_ = save_changed_model(external, {"conv": (scheme, values)}, alone / "out.onnx")
    found = onnx.load(saved_.path)  # would raise where a file is missing
    assert not [t for t in found.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    same_bits(at_input(found, "w"), requantize(values, scheme).values)


def test_external_data_that_one_file_cannot_hold_is_refused(external, tmp_path, monkeypatch):
    size = sum((tmp_path / name).stat().st_size for name in ("m.onnx", "weights"))
    change = {"conv": (Scheme(), floats(*CONV_SHAPE))}
    monkeypatch.setattr(rewrite, "MAX_FILE_BYTES", size)
    save_changed_model(external, change, tmp_path / "out.onnx")
    monkeypatch.setattr(rewrite, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(RewriteError, match="which holds 2 GB at most"):
        save_changed_model(external, change, tmp_path / "too_large.onnx")
    assert not (tmp_path / "too_large.onnx").exists()


def test_the_changed_model_in_memory_is_the_file_and_nothing_stays_behind(tmp_path, monkeypatch):
    path, change = saved(shaped(int8_conv()), tmp_path), {"conv": (Scheme(), floats(*CONV_SHAPE))}
    save_changed_model(path, change, tmp_path / "out.onnx")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    content, found = rewrite.write_changed_model(path, change)
    assert content == (tmp_path / "out.onnx").read_bytes()
    assert found.file_bytes == len(content)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "scheme", [Scheme("float8e5m2"), Scheme("int4", "per-block", block_size=3)]
)
def test_what_the_operator_of_another_domain_does_not_take_is_refused(scheme, tmp_path):
    nodes = [
        dequantize_node(domain="com.microsoft"),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(), "z": np.int8(1)}
    model = shaped(make_model(nodes, arrays, opset=17, ir_version=8, domains=["com.microsoft"]))
    path, values = saved(model, tmp_path), floats(*CONV_SHAPE)
    with pytest.raises(RewriteError, match=r"com\.microsoft's DequantizeLinear does not take"):
        save_changed_model(path, {"conv": (scheme, values)}, tmp_path / "out.onnx")
    save_changed_model(path, {"conv": (Scheme("uint8"), values)}, tmp_path / "out.onnx")
    same_bits(
        at_input(onnx.load(tmp_path / "out.onnx"), "w"), requantize(values, Scheme("uint8")).values
    )


def test_a_wrong_name_a_wrong_shape_and_a_weight_of_nan_are_refused(current, tmp_path):
    out, values = tmp_path / "out.onnx", exact("conv1")
    with pytest.raises(RewriteError, match="the model has no layer 'conv7'"):
        save_changed_model(current, {"conv7": (Scheme(), values)}, out)
    with pytest.raises(RewriteError, match=r"the new weight has shape \(3, 5, 2, 4\)"):
        save_changed_model(current, {"conv1": (Scheme(), np.swapaxes(values, 0, 1))}, out)
    with pytest.raises(RewriteError, match="layer 'conv1': 120 of 120 weights are NaN"):
        save_changed_model(current, {"conv1": (Scheme(), values * np.nan)}, out)
    with pytest.raises(RewriteError, match="layer 'relu1': its weight is not quantized"):
        save_changed_model(tmp_path / "fp32.onnx", {"relu1": (Scheme(), values)}, out)
    assert not out.exists()


def test_a_model_is_never_written_over_itself(current):
    before = current.read_bytes()
    with pytest.raises(RewriteError, match="is the model itself"):
        save_changed_model(current, {}, current)
    assert current.read_bytes() == before


def test_a_file_that_the_checker_refuses_is_not_written(tmp_path):
    model = shaped(int8_conv())
    model.graph.node[-1].input.append("nowhere")
    path = saved(model, tmp_path)
    with pytest.raises(RewriteError, match=r"onnx.checker refuses the changed model: .*nowhere"):
        save_changed_model(path, {}, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


# The opset ----------------------------------------------------------------------------------------


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
    done = save_changed_model(path, {"conv": change}, tmp_path / "out.onnx")
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


# The truth ----------------------------------------------------------------------------------------


def test_the_truth_is_what_onnxruntime_computes(current, tmp_path):
    x = floats(6, 3, 10, 11, seed=9)
    for path in (current, tmp_path / "fp32.onnx"):  # any batch size
        model = onnx.load(path)
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.save(model, path)
    exact_path, changed = tmp_path / "fp32.onnx", tmp_path / "out.onnx"
    save_changed_model(current, {"fc": (Scheme("int4"), exact("fc"))}, changed)
    outputs = [run(path, {"x": x}) for path in (exact_path, current, changed)]
    labels = outputs[0].argmax(axis=1)
    labels[0] += 1
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    truth = measure_truth(exact_path, current, changed, tmp_path / "samples.npz")
    found = truth.exact, truth.current, truth.changed
    for one, y in zip(found, outputs, strict=True):
        assert one.accuracy == pytest.approx(np.mean(y.argmax(axis=1) == labels))
    assert truth.exact.output_sqnr_db is None and truth.exact.accuracy == pytest.approx(5 / 6)
    for one, y in zip(found[1:], outputs[1:], strict=True):
        noise = np.linalg.norm(outputs[0] - y)
        expected = 20 * np.log10(np.linalg.norm(outputs[0]) / noise)
        assert one.output_sqnr_db == pytest.approx(expected, abs=1e-3)


def test_samples_without_labels_have_no_accuracy_and_a_model_is_as_good_as_itself(tmp_path):
    with np.load(DSCNN / "samples.npz") as file:
        np.savez(tmp_path / "s.npz", image=file["image"][:4])
    path = DSCNN / "fp32.onnx"
    truth = measure_truth(path, path, path, tmp_path / "s.npz")
    assert truth.changed.accuracy is None and truth.changed.output_sqnr_db == np.inf


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"picture": np.zeros(3)}, "the samples hold picture but the model asks for image"),
        ({"labels": np.zeros(3)}, "holds no input"),
        ({"image": np.zeros((2, 1, 3, 3))}, "fp32.onnx does not run on the samples"),
        ({"image": np.zeros((2, 1, 32, 32)), "labels": np.zeros(3)}, "3 labels do not fit"),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_one_sentence(arrays, why, tmp_path):
    np.savez(tmp_path / "s.npz", **arrays)
    path = DSCNN / "fp32.onnx"
    with pytest.raises(RewriteError, match=why) as raised:
        measure_truth(path, path, path, tmp_path / "s.npz")
    assert "\n" not in str(raised.value)


def test_samples_that_are_no_samples_are_refused(tmp_path):
    path = DSCNN / "fp32.onnx"
    (tmp_path / "s.npz").write_bytes(b"not a zip")
    for name in ("s.npz", "none.npz"):
        with pytest.raises(RewriteError, match=f"{name} cannot be read as samples"):
            measure_truth(path, path, path, tmp_path / name)


def test_without_onnxruntime_the_truth_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = DSCNN / "fp32.onnx"
    with pytest.raises(RewriteError, match="onnxruntime is not installed"):
        measure_truth(path, path, path, DSCNN / "samples.npz")


# The samples that ship ----------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["dscnn", "resnet8"])
def test_the_shipped_samples_are_the_first_held_out_digits_to_the_bit(network):
    from test_models import build

    digits, path = build.load_split(), MODELS / network / "samples.npz"
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"image", "labels"}
        images, labels = file["image"], file["labels"]
    assert len(images) == build.SAMPLES == 180
    same_bits(images.astype(np.float32), digits.held_out_images[:180])
    np.testing.assert_array_equal(labels, digits.held_out_labels[:180])
    assert path.stat().st_size < 150_000


def test_a_change_may_be_given_as_a_plain_pair(current, tmp_path):
    change = Scheme(granularity="per-channel"), exact("fc")
    done = save_changed_model(current, {"fc": change}, tmp_path / "out.onnx")
    assert done.layers == ("fc",)
    assert replace(change[0]) == change[0]
