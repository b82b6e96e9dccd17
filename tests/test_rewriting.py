"""A changed model is written as planned, runs in onnxruntime, and differs in nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    at_input,
    dequantize_node,
    floats,
    int8_conv,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    same_bits,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from rewriting_cases import (
    WEIGHTS,
    compare_pair,
    exact,
    float_twin,
    layer_of,
    run,
    save_convnet,
    saved,
    shaped,
    write_again,
)

from playground.utils.parameter_inspector import (
    OutputRefusedError,
    compare_variants,
    list_layers,
    load_model,
    open_folder,
    requantize_layer,
    save_moves,
    write_moves,
)
from playground.utils.parameter_inspector.changing import rewriting
from playground.utils.parameter_inspector.changing.layer_options import list_options
from playground.utils.parameter_inspector.changing.opset_raising import needed_opset
from playground.utils.parameter_inspector.changing.originals import read_original
from playground.utils.parameter_inspector.changing.planning import plan_model
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.rewrite_errors import RewriteError
from playground.utils.parameter_inspector.changing.runtime_support import why_not_run
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trial_runs import measure_truth
from playground.utils.parameter_inspector.judging.rules import find_problems

MODELS = Path(__file__).resolve().parents[1] / "models"


DSCNN = MODELS / "dscnn"


def read(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(DSCNN).variants
    return compare_variants(variants)


@pytest.fixture
def current(tmp_path):
    return save_convnet(tmp_path)


def test_the_plan_for_dscnn_saved_and_run_gives_the_accuracy_of_the_float_model(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=30)
    done = save_moves(comparison, "UINT8", plan.moves, tmp_path / "out.onnx")
    paths = DSCNN / "fp32.onnx", DSCNN / "uint8.onnx", done.path
    truth = measure_truth(*paths, DSCNN / "samples.npz")
    assert truth.sample_count == 180
    assert truth.current.accuracy < 0.5 and truth.current.output_sqnr_db < 5
    assert truth.changed.accuracy > 0.98 and truth.original.accuracy > 0.98
    assert truth.changed.output_sqnr_db > 30
    assert done.file_bytes == done.path.stat().st_size < 1.02 * done.current_bytes
    assert done.raised_opset is None
    variants = {"FP32": comparison.variants["FP32"], "UINT8": load_model(done.path)}
    problems = find_problems(compare_variants(variants))
    assert not [one for one in problems if one.severity == "error"]


def test_only_the_planned_tensors_differ_and_every_node_stays(dscnn, tmp_path):
    comparison = dscnn
    plan = plan_model(comparison, "UINT8", target_sqnr_db=20)
    out = tmp_path / "out.onnx"
    save_moves(comparison, "UINT8", plan.moves, out)
    before, after = read(DSCNN / "uint8.onnx"), read(out)
    stem = "block1.conv_dw"
    # The zeros of a bias take as many bytes as its codes, and are what a reader assumes.
    del before[f"{stem}.bias_quantized_zero_point"]
    assert list(before) == list(after)
    differ = {n for n in before if before[n].tobytes() != after[n].tobytes()}
    assert differ == {
        f"{stem}.weight_quantized", f"{stem}.weight_scale", f"{stem}.weight_zero_point",
        f"{stem}.bias_quantized", f"{stem}.bias_quantized_scale",
    }  # fmt: skip
    models = onnx.load(DSCNN / "uint8.onnx"), onnx.load(out)
    for node, again in zip(*(model.graph.node for model in models), strict=True):
        if node != again:
            assert node.op_type == "DequantizeLinear" and node.input[0].startswith(stem)
            assert list(node.input[: len(again.input)]) == list(again.input)
            assert node.output == again.output
            assert [(a.name, a.i) for a in again.attribute] == [("axis", 0)]
    for model in models:
        del model.graph.node[:], model.graph.initializer[:]
    assert models[0] == models[1]


def test_no_change_writes_the_same_model(dscnn, tmp_path):
    save_moves(dscnn, "UINT8", (), tmp_path / "out.onnx")
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
    done = save_moves(comparison, variant, plan.moves, tmp_path / "out.onnx")
    assert done.raised_opset == 21
    with np.load(MODELS / network / "samples.npz") as file:
        feeds = {"image": file["image"].astype(np.float32)}
    plain, fused = (run(done.path, feeds, optimized) for optimized in (False, True))
    assert (plain.argmax(1) == fused.argmax(1)).mean() > 0.97
    again = open_values(done.path)
    for change in plan.changes:
        weight = read_original(comparison, variant, change.layer_name)
        expected = requantize(weight, change.proposed.scheme, change.options.channel_axis)
        same_bits(
            again[comparison.measured(change.layer_name, variant).layer.name], expected.values
        )


def open_values(path: Path) -> dict[str, np.ndarray]:
    return {one.name: one.weight.values for one in list_layers(load_model(path)) if one.weight}


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
    done = write_again(current, {name: (scheme, exact(name))}, out)
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
        write_again(current, {"conv1": (scheme, exact("conv1"))}, tmp_path / "out.onnx")
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
    write_again(path, {"matmul": (scheme, weight)}, tmp_path / "out.onnx")
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
        write_again(path, {"layer": (Scheme("int2"), weight)}, tmp_path / "out.onnx")


@pytest.mark.parametrize("form", ["dynamic", "operator", "fake"])
def test_a_plan_is_written_into_every_form_and_runs_near_the_original(form, tmp_path):
    onnx.save(mlp(), tmp_path / "fp32.onnx")
    if form == "dynamic":
        model = quantized_dynamically(mlp(), tmp_path)
    else:
        options: dict[str, Any] = (
            {"quant_format": QuantFormat.QOperator}
            if form == "operator"
            else {"extra_options": {"AddQDQPairToWeight": True}}
        )
        model = quantized_statically(mlp(), tmp_path, **options)
    path = saved(model, tmp_path)
    comparison, variant = compare_pair(tmp_path / "fp32.onnx", path)
    plan = plan_model(comparison, variant, target_sqnr_db=80)
    assert {change.layer_name for change in plan.changes} == {"fc1", "fc2"}
    done = save_moves(comparison, variant, plan.moves, tmp_path / "out.onnx")
    found = {values.size: values for values in open_values(done.path).values()}
    held = {one.name: numpy_helper.to_array(one) for one in mlp().graph.initializer}
    for name in ("W1", "W2"):
        assert same_but_turned(found[held[name].size], held[name])
    feeds = {"x": floats(3, 7, seed=5)}
    exact_output = run(tmp_path / "fp32.onnx", feeds)
    near = 0.05 * np.abs(exact_output).max()
    for optimized in (False, True):
        np.testing.assert_allclose(run(done.path, feeds, optimized), exact_output, atol=near)


def same_but_turned(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether weights are the same to 16 bits, transposed or not."""
    step = np.abs(expected).max() / 2**15
    turned = [one for one in (expected, expected.T) if one.shape == found.shape]
    return any(np.abs(found - one).max() <= step for one in turned)


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
    saved_ = write_again(external, {"conv": (scheme, values)}, alone / "out.onnx")
    found = onnx.load(saved_.path)  # would raise where a file is missing
    assert not [t for t in found.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    same_bits(at_input(found, "w"), requantize(values, scheme).values)


def test_external_data_that_one_file_cannot_hold_is_refused(external, tmp_path, monkeypatch):
    size = sum((tmp_path / name).stat().st_size for name in ("m.onnx", "weights"))
    change = {"conv": (Scheme(), floats(*CONV_SHAPE))}
    monkeypatch.setattr(rewriting, "MAX_FILE_BYTES", size)
    write_again(external, change, tmp_path / "out.onnx")
    monkeypatch.setattr(rewriting, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(RewriteError, match="which holds 2 GB at most"):
        write_again(external, change, tmp_path / "too_large.onnx")
    assert not (tmp_path / "too_large.onnx").exists()


def test_the_changed_model_in_memory_is_the_file_and_nothing_stays_behind(tmp_path, monkeypatch):
    path, change = saved(shaped(int8_conv()), tmp_path), {"conv": (Scheme(), floats(*CONV_SHAPE))}
    write_again(path, change, tmp_path / "out.onnx")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    comparison, variant = compare_pair(tmp_path / "out.float.onnx", path)
    moves = requantize_layer(comparison, variant, "conv", Scheme())
    content, found = write_moves(comparison, variant, moves)
    assert content == (tmp_path / "out.onnx").read_bytes()
    assert found.file_bytes == len(content)
    assert list(scratch.iterdir()) == []


def test_a_weight_of_nan_is_refused(current, tmp_path):
    out, values = tmp_path / "out.onnx", exact("conv1")
    with pytest.raises(RewriteError, match="layer 'conv1': 120 of 120 weights are NaN"):
        write_again(current, {"conv1": (Scheme(), values * np.nan)}, out)
    assert not out.exists()


def test_a_model_is_never_written_over_itself(current):
    before = current.read_bytes()
    with pytest.raises(OutputRefusedError, match="is one of the files that are read"):
        write_again(current, {}, current)
    assert current.read_bytes() == before


def test_a_file_that_the_checker_refuses_is_not_written(tmp_path):
    model = shaped(int8_conv())
    model.graph.node[-1].input.append("nowhere")
    original = saved(float_twin(shaped(int8_conv()), {}), tmp_path, "fp32.onnx")
    pair = compare_pair(original, saved(model, tmp_path))
    with pytest.raises(RewriteError, match=r"onnx.checker refuses the changed model: .*nowhere"):
        save_moves(*pair, (), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_what_was_saved_names_its_layers(current, tmp_path):
    changes = {"fc": (Scheme(granularity="per-channel"), exact("fc"))}
    assert write_again(current, changes, tmp_path / "out.onnx").layers == ("fc",)


def test_a_model_that_is_no_file_is_refused(current, tmp_path):
    variants = {"a": load_model(tmp_path / "fp32.onnx"), "b": load_model(onnx.load(current))}
    comparison = compare_variants(variants)
    with pytest.raises(RewriteError, match="is no file: save it first"):
        save_moves(comparison, "b", (), tmp_path / "out.onnx")
