"""Measuring whole: numbers against onnxruntime in this process, and what happens on the way."""

import threading

import numpy as np
import onnx
import pytest
from networks_to_run import (
    conv_network,
    images,
    model,
    node,
    quantize,
    run,
    run_switched,
    sqnr_db,
    switch,
)
from onnx import numpy_helper

from playground.utils.parameter_inspector import (
    compare_variants,
    load_model,
    measure_outputs,
    pair_layers,
)
from playground.utils.parameter_inspector.facts import EndingKind, QuantizerKind, SampleKind
from playground.utils.parameter_inspector.measuring.outputs import group_members
from playground.utils.parameter_inspector.running import measurement
from playground.utils.parameter_inspector.running.endings import RunEndedError
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.measurement import (
    measure_variant,
)
from playground.utils.parameter_inspector.running.samples import create_samples

LIMITS = Limits(memory_bytes=2 << 30, run_seconds=60, total_seconds=300)
COUNT = 6


def measure(original, variant, inputs, labels=None, **options):
    ours, theirs = load_model(original), load_model(variant)
    samples = create_samples(inputs, labels=labels, kind=SampleKind.FILE)
    return measure_variant(
        ours, theirs, pair_layers(ours, theirs), samples, limits=LIMITS, **options
    )


@pytest.fixture(scope="module")
def variant(tmp_path_factory):
    return quantize(conv_network(), tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def outputs(variant, told):
    labels = run(conv_network(), images(COUNT))[0].argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    return measure(conv_network(), variant, images(COUNT), labels, progress=told.append)


def relative_noise(exact, held):
    return (
        np.square(exact - held.astype(np.float64)).sum() / np.square(exact.astype(np.float64)).sum()
    )


def test_the_loss_is_that_of_the_file(outputs, variant):
    exact, held = (run(proto, images(COUNT))[0] for proto in (conv_network(), variant))
    assert outputs.loss("y").sqnr_db == pytest.approx(sqnr_db(exact, held), abs=1e-6)
    assert outputs.sqnr_db == pytest.approx(outputs.loss("y").sqnr_db)


def test_the_model_checks_itself(outputs):
    assert outputs.check.all_on_db >= 100
    assert outputs.check.all_off_db >= 120
    assert not outputs.check.is_partial


def test_accuracy_and_agreement_are_counted(outputs, variant):
    exact, held = (run(proto, images(COUNT))[0] for proto in (conv_network(), variant))
    loss = outputs.loss("y")
    assert loss.float_accuracy == pytest.approx((COUNT - 1) / COUNT)
    assert loss.agreement == pytest.approx((exact.argmax(1) == held.argmax(1)).mean())


def test_each_group_makes_the_noise_that_it_makes_alone(outputs, variant):
    switched = switch(conv_network(), variant)
    exact = run_switched(switched, images(COUNT), [])[0]
    for group in outputs.groups:
        on = [quantizer.index for quantizer in group.quantizers]
        held = run_switched(switched, images(COUNT), on)[0]
        assert group.alone == pytest.approx(relative_noise(exact, held), rel=1e-6)
    assert {g.group for g in outputs.groups} == set(group_members(outputs.quantizers))


def test_the_split_is_that_of_all_weights_and_all_activations(outputs, variant):
    switched = switch(conv_network(), variant)
    exact = run_switched(switched, images(COUNT), [])[0]
    kinds = [quantizer.kind.value for quantizer in switched.placement.quantizers]
    for kind, level in (
        ("weight", outputs.split.weights_db),
        ("activation", outputs.split.activations_db),
    ):
        held = run_switched(switched, images(COUNT), np.flatnonzero(np.array(kinds) == kind))[0]
        assert level == pytest.approx(sqnr_db(exact, held), abs=1e-4)


def test_the_first_by_share_are_switched_off_in_the_quantized_network(outputs, variant):
    switched = switch(conv_network(), variant)
    exact = run_switched(switched, images(COUNT), [])[0]
    off = {q.index for group in outputs.groups[:3] for q in group.quantizers}
    on = [q.index for q in switched.placement.quantizers if q.index not in off]
    expected = sqnr_db(exact, run_switched(switched, images(COUNT), on)[0])
    assert {one.count: one.sqnr_db for one in outputs.recovered}[3] == pytest.approx(
        expected, abs=1e-4
    )


def test_one_that_is_restored_is_off_alone(outputs, variant):
    first = outputs.groups[0]
    one = next(one for one in outputs.recovered if one.count == 1)
    assert first.restored_db == pytest.approx(one.sqnr_db - outputs.sqnr_db, abs=1e-3)
    assert sum(group.restored_db is not None for group in outputs.groups) == 8


def test_progress_counts_down_and_grows(told, outputs):
    left = [progress.runs_left for progress in told]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    counts = [len(progress.outputs.groups) for progress in told]
    assert counts == sorted(counts)
    assert outputs.complete
    assert not told[0].outputs.complete


# ------------------------------------------------- what flows


def pair(source):
    return [
        node("QuantizeLinear", f"{source} s z", f"{source}_codes"),
        node("DequantizeLinear", f"{source}_codes s z", f"{source}_dq"),
    ]


@pytest.fixture(scope="module")
def flowing():
    """A tensor of known values, quantized to int8 in steps of 0.5, then doubled."""
    nodes = [node("Identity", "x", "same"), node("Abs", "same", "a"), node("Neg", "a", "y")]
    original = model(nodes, {"x": ["N", 1000]}, ["y"], opset=17)
    variant = model(
        [*nodes[:2], *pair("a"), node("Neg", "a_dq", "y")],
        {"x": ["N", 1000]}, ["y"], {"s": np.float32(0.5), "z": np.int8(0)}, opset=17,
    )  # fmt: skip
    x = np.zeros((2, 1000), np.float32)
    x[:, :10] = [0.1, 0.2, 1, 1.1, 3, 60, 63, 64, 70, 90]
    outputs = measure(original, variant, {"x": x})
    return x, outputs.statistics[0]


def test_the_observed_range_is_that_of_the_samples(flowing):
    x, found = flowing
    assert (found.low, found.high) == (x.min(), x.max())
    assert found.represented == (-64, 63.5)


def test_what_lies_beyond_the_range_is_clipped(flowing):
    x, found = flowing
    assert found.clipped_share == pytest.approx((x > 63.75).mean())
    held = np.clip(np.rint(x / 0.5), -128, 127) * 0.5
    over = np.square(x - np.clip(x, -64, 63.5)).sum() / np.square(x - held).sum()
    assert found.clipped_error_share == pytest.approx(over, rel=1e-5)


def test_small_values_that_become_zero_are_counted_among_the_nonzero(flowing):
    assert flowing[1].zeroed_share == pytest.approx(2 / 10)


def test_codes_are_counted(flowing):
    x, found = flowing
    codes = np.clip(np.rint(x / 0.5), -128, 127).astype(int) + 128
    np.testing.assert_array_equal(found.histogram, np.bincount(codes.reshape(-1), minlength=256))
    assert found.codes_used_share == len(np.unique(codes)) / 256


def test_the_percentile_leaves_one_in_a_thousand_above(flowing):
    assert flowing[1].p999 == 90
    assert flowing[1].outlier_ratio == 1


def test_the_local_error_is_that_on_float_inputs(flowing):
    x, found = flowing
    held = np.clip(np.rint(x / 0.5), -128, 127) * 0.5
    assert found.local_db == pytest.approx(sqnr_db(x, held), abs=1e-3)
    assert found.cumulative_db == pytest.approx(found.local_db, abs=1e-3)


def test_cumulative_error_is_that_of_the_quantized_network(outputs, variant):
    """Of the sum: what the quantized network holds there, against the float one."""
    quantizer = next(q for q in outputs.quantizers if q.tensor == "c2")
    seen = onnx.ModelProto()
    seen.CopyFrom(conv_network())
    seen.graph.output.append(onnx.ValueInfoProto(name="c2"))
    held = onnx.ModelProto()
    held.CopyFrom(variant)
    held.graph.output.append(onnx.ValueInfoProto(name="c2_DequantizeLinear_Output"))
    exact = run(seen, images(COUNT), ["c2"])[0]
    found = run(held, images(COUNT), ["c2_DequantizeLinear_Output"])[0]
    statistics = outputs.statistics[quantizer.index]
    assert statistics.cumulative_db == pytest.approx(sqnr_db(exact, found), abs=1e-3)


def test_the_first_layer_that_parts_is_named():
    nodes = [node("Abs", "x", "a"), node("Exp", "a", "e"), node("Neg", "e", "y")]
    original = model(nodes, {"x": ["N", 4]}, ["y"])
    variant = model(
        [nodes[0], *pair("a"), node("Exp", "a_dq", "e"), *pair("e"), node("Neg", "e_dq", "y")],
        {"x": ["N", 4]}, ["y"], {"s": np.float32(0.5), "z": np.uint8(0)},
    )  # fmt: skip
    x = np.array([[0.2, 0.2, 0.2, 0.2]], np.float32)
    assert measure(original, variant, {"x": x}).parted_at == "e_node"


# ------------------------------------------------- how it goes


def test_a_fixed_batch_runs_sample_by_sample(tmp_path):
    original = conv_network(batch=1)
    found = measure(original, quantize(original, tmp_path), images(3))
    assert found.one_by_one
    assert found.check.all_on_db >= 100
    assert len(found.loss("y").noise) == 3


def test_a_network_whose_samples_mix_runs_sample_by_sample(tmp_path):
    """A mean over the batch makes a batch another thing than its samples."""
    nodes = [
        node("ReduceMean", "x", "mean", axes=[0]), node("Sub", "x mean", "d"), *pair("d"),
        node("Exp", "d_dq", "y"),
    ]  # fmt: skip
    plain = [nodes[0], nodes[1], node("Exp", "d", "y")]
    constants = {"s": np.float32(0.25), "z": np.int8(0)}
    original = model(plain, {"x": ["N", 3]}, ["y"])
    variant = model(nodes, {"x": ["N", 3]}, ["y"], constants)
    assert measure(original, variant, {"x": np.eye(3, dtype=np.float32)}).one_by_one


def test_a_file_that_does_not_run_is_stood_for_by_all_gates_open():
    original = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": ["N", 4]}, ["y"])
    quant = onnx.helper.make_node(
        "Quant", ["a", "s", "z", "bits"], ["a_q"], domain="qonnx.custom_op.general"
    )
    variant = model(
        [node("Relu", "x", "a"), quant, node("Neg", "a_q", "y")], {"x": ["N", 4]}, ["y"],
        {"s": np.float32(1), "z": np.float32(0), "bits": np.float32(4)},
        domains=["qonnx.custom_op.general"],
    )  # fmt: skip
    x = np.array([[0.2, 1.3, 2.4, 30]], np.float32)
    found = measure(original, variant, {"x": x})
    assert not found.check.file_runs
    held = np.array([0, 1, 2, 7], np.float32)
    assert found.loss("y").sqnr_db == pytest.approx(sqnr_db(x, held), abs=1e-4)


def test_an_original_that_does_not_run_is_an_error(variant):
    broken = conv_network()
    broken.graph.node[0].op_type = "Konv"
    with pytest.raises(RunEndedError) as caught:
        measure(broken, variant, images(2))
    assert caught.value.ending.kind is EndingKind.REFUSED


def test_without_an_original_the_activations_are_judged_by_the_file_itself(variant):
    samples = create_samples(images(COUNT), kind=SampleKind.FILE)
    comparison = compare_variants({"INT8": load_model(variant)})
    found = measure_outputs(comparison, samples, limits=LIMITS)
    reference = onnx.ModelProto()
    reference.CopyFrom(conv_network())
    held = {t.name: numpy_helper.to_array(t) for t in variant.graph.initializer}
    for tensor in reference.graph.initializer:
        name = tensor.name
        codes = held[f"{name}_quantized"].astype(np.float32)
        scale = held.get(f"{name}_scale", held.get(f"{name}_quantized_scale"))
        values = codes * scale.reshape(-1, *[1] * (codes.ndim - 1))
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    exact, quantized = (run(proto, images(COUNT))[0] for proto in (reference, variant))
    assert found.loss("y").sqnr_db == pytest.approx(sqnr_db(exact, quantized), abs=1e-3)
    assert found.check.all_on_db >= 100
    assert {group.kind for group in found.groups} == {QuantizerKind.ACTIVATION}


def test_stopping_keeps_what_is_known(variant):
    stop = threading.Event()
    told = []

    def progress(one):
        told.append(one)
        if one.outputs.groups:
            stop.set()

    found = measure(conv_network(), variant, images(COUNT), progress=progress, cancel=stop)
    assert found.ending.kind is EndingKind.CANCELLED
    assert not found.complete
    assert found.losses
    assert 0 < len(found.groups) < len(group_members(found.quantizers))


def test_where_runs_are_slow_the_worst_are_measured_again_on_all_samples(variant, monkeypatch):
    monkeypatch.setattr(measurement, "QUICK_SECONDS", 0)
    monkeypatch.setattr(measurement, "MEASURED_AGAIN", 2)
    found = measure(conv_network(), variant, images(COUNT))
    counts = [group.sample_count for group in found.groups]
    assert counts[:2] == [COUNT, COUNT]
    assert counts.count(measurement.FEW_SAMPLES) >= len(counts) - 3


def test_channels_of_very_different_size_are_judged_one_by_one():
    nodes = [node("Mul", "x factors", "m"), node("Neg", "m", "y")]
    factors = {"factors": np.array([1000, 1, 1], np.float32)}
    original = model(nodes, {"x": ["N", 3]}, ["y"], factors)
    variant = model(
        [nodes[0], *pair("m"), node("Neg", "m_dq", "y")], {"x": ["N", 3]}, ["y"],
        {**factors, "s": np.float32(0.5), "z": np.int16(0)}, opset=21,
    )  # fmt: skip
    x = np.array([[1, 0.2, 1.0], [0.7, 0.2, 1.0]], np.float32)
    found = measure(original, variant, {"x": x}).loss("y").channel_sqnr_db
    assert found is not None
    assert found[1] == pytest.approx(0)
    assert found[2] == np.inf


def test_a_file_that_takes_and_gives_codes_is_fed_what_the_original_is_fed():
    """As files from TensorFlow Lite do, under names of their own."""
    original = model(
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Abs", "t", "y")],
        {"x": ["N", 2, 3]},
        ["y"],
    )
    variant = model(
        [
            node("Transpose", "x_int8", "t", perm=[0, 2, 1]),
            node("DequantizeLinear", "t s z", "d"),
            node("Abs", "d", "a"),
            node("QuantizeLinear", "a s z", "y_int8"),
        ],
        {"x_int8": ["N", 2, 3]}, ["y_int8"], {"s": np.float32(0.5), "z": np.int8(0)},
    )  # fmt: skip
    for value in (variant.graph.input[0], variant.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.INT8
    x = np.array([[[0.2, -1.3, 2.4], [0.1, 0.6, -80]]], np.float32)
    found = measure(original, variant, {"x": x})
    held = np.clip(np.abs(np.clip(np.rint(x / 0.5), -128, 127)), -128, 127) * 0.5
    assert found.loss("y").sqnr_db == pytest.approx(sqnr_db(np.abs(x), held), abs=1e-4)
    assert found.check.all_on_db == np.inf
