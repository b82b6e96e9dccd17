"""Measuring whole: numbers against onnxruntime in this process, and what happens on the way."""

import threading

import numpy as np
import onnx
import pytest
from networks_to_run import (
    conv_network,
    images,
    measure,
    model,
    node,
    pair,
    quantize,
    run,
    run_switched,
    sqnr_db,
    switch,
)

from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.measuring.outputs import group_members
from playground.utils.parameter_inspector.running import measurement
from playground.utils.parameter_inspector.running.endings import RunEndedError

COUNT = 6


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
