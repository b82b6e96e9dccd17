"""Every planted fault is found, by its rule and no other; healthy models are left in peace."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models_for_tests import make_model
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from planted_faults import (
    FAULTS,
    Fault,
    false_alarms,
    faults_in,
    float_network,
    healthy_int8,
    healthy_models,
    is_found,
    pair,
    problems_of,
    read,
    with_one,
    without_node,
    write,
)

from playground.utils.parameter_inspector import (
    compare_variants,
    list_layers,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.judging.channel_states import find_neighbour
from playground.utils.parameter_inspector.judging.rules import (
    RULES,
    SEVERITIES,
    Finding,
    find_problems,
)

MODELS = Path(__file__).resolve().parents[1] / "models"
HEALTHY = healthy_models()


@cache
def planted(fault: Fault) -> tuple[Finding, ...]:
    return problems_of(fault.make())


def each_fault(test):
    return pytest.mark.parametrize(
        "fault", FAULTS, ids=lambda fault: f"{fault.rule}: {fault.name}"
    )(test)


def shipped(network: str) -> tuple[Finding, ...]:
    variants = open_folder(MODELS / network).variants
    return find_problems(compare_variants(variants))


# --------------------------------------------------------------- the faults


@each_fault
def test_a_planted_fault_is_found_at_its_layer(fault):
    assert is_found(fault, planted(fault)), planted(fault)


@each_fault
def test_a_planted_fault_is_found_once_and_with_its_severity(fault):
    found = [f.severity for f in planted(fault) if (f.rule, f.layer) == (fault.rule, fault.layer)]
    assert found == [fault.severity]


@each_fault
def test_no_other_rule_cries_at_a_planted_fault(fault):
    assert false_alarms(fault, planted(fault)) == []


@each_fault
def test_evidence_has_numbers_or_names_and_both_sentences_end(fault):
    for finding in planted(fault):
        assert re.search(r"\d|'", finding.evidence)
        assert finding.evidence.endswith(".") and finding.remedy.endswith(".")
        assert "nan" not in finding.evidence and "inf " not in finding.evidence
        assert all(isinstance(name, str) for name in finding.numbers)


TRAINED = [
    fault
    for fault in faults_in(MODELS / "dscnn")
    if fault.layer in ("/conv/Conv", "/block1/conv_dw/Conv", "/dense/Gemm")
]


@pytest.mark.parametrize("fault", TRAINED, ids=lambda fault: fault.name)
def test_a_fault_in_a_trained_network_is_found_and_nothing_else(fault):
    assert is_found(fault, planted(fault))
    assert false_alarms(fault, planted(fault)) == []


def test_every_rule_has_a_planted_fault():
    assert {fault.rule for fault in FAULTS} == {rule.rule for rule in RULES}


def test_ids_are_kebab_case_and_none_is_used_twice():
    ids = [rule.rule for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)


# --------------------------------------------------------------- healthy models


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_model_gives_no_error_and_no_warning(name):
    loud = [finding for finding in problems_of(HEALTHY[name]()) if finding.severity != "note"]
    assert loud == []


def test_the_shipped_resnet8_gives_no_finding_at_all():
    assert shipped("resnet8") == ()


def test_the_shipped_dscnn_is_faulty_in_uint8_only():
    assert {finding.variant for finding in shipped("dscnn")} == {"UINT8"}


def test_the_depthwise_layer_that_breaks_dscnn_is_the_only_error():
    errors = [finding for finding in shipped("dscnn") if finding.severity == "error"]
    assert {finding.layer for finding in errors} == {"/block1/conv_dw/Conv"}
    numbers = {finding.rule: finding.numbers for finding in errors}
    assert numbers["channel-collapse"]["dead"] == 15
    assert numbers["channel-collapse"]["share"] == pytest.approx(31 / 32)
    assert numbers["range-disparity"]["ratio"] == pytest.approx(455, rel=0.01)


def test_the_second_depthwise_layer_of_dscnn_is_a_warning():
    warnings = [finding for finding in shipped("dscnn") if finding.severity == "warning"]
    assert [(f.rule, f.layer) for f in warnings] == [("range-disparity", "/block2/conv_dw/Conv")]


# --------------------------------------------------------------- what the sentences say


def finding_of(name: str) -> Finding:
    fault = next(fault for fault in FAULTS if fault.make.__name__ == name)
    return next(finding for finding in planted(fault) if finding.rule == fault.rule)


def test_collapse_counts_channels_as_numpy_does():
    fault = next(fault for fault in FAULTS if fault.make.__name__ == "narrow_channels")
    variants = fault.make()
    exact, model = read(variants["FP32"], "W1"), variants["variant"]
    codes = read(model, "W1_quantized").astype(np.float64)
    held = (codes - read(model, "W1_zero_point")) * read(model, "W1_scale")
    error = ((exact - held) ** 2).sum(axis=(1, 2, 3))
    sqnr = 10 * np.log10((exact.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) / error)
    numbers = finding_of("narrow_channels").numbers
    assert numbers["channels"] == np.count_nonzero(sqnr < 20)
    assert numbers["worst_db"] == pytest.approx(sqnr.min(), abs=1e-3)


def test_a_remedy_names_the_layer_and_a_neighbour_to_exclude():
    remedy = finding_of("narrow_channels").remedy
    assert "nodes_to_exclude=['conv1', 'depthwise']" in remedy
    assert "disabled_optimizers=['WeightBiasQuantization']" in remedy


def test_a_layer_without_a_neighbour_next_to_it_is_excluded_alone_with_the_optimizer_off():
    remedy = finding_of("narrow_channels_int4").remedy
    assert "nodes_to_exclude=['fc']" in remedy
    assert "disabled_optimizers=['WeightBiasQuantization']" in remedy


@pytest.mark.parametrize(
    ("name", "neighbour"),
    [
        ("/stack2/conv1/Conv", "/stack2/conv2/Conv"),  # behind it
        ("/stack2/conv2/Conv", "/stack2/conv1/Conv"),  # before it: an Add is behind
        ("/stack2/skip/conv/Conv", None),  # a branch on one side, an Add on the other
    ],
)
def test_a_layer_excluded_with_its_neighbour_stays_float_in_onnxruntime(tmp_path, name, neighbour):
    path = MODELS / "resnet8" / "fp32.onnx"
    layers = list_layers(load_model(path))
    found = find_neighbour(next(one for one in layers if one.name == name), layers)
    assert (found.name if found else None) == neighbour
    if found is None:
        return
    excluded = quantized_without(path, [name, neighbour], tmp_path)
    assert name in {node.name for node in excluded.graph.node if node.op_type in FLOAT_CONVOLUTIONS}


FLOAT_CONVOLUTIONS = ("Conv", "FusedConv")


def quantized_without(path, names, folder):
    """Return what onnxruntime makes of a uint8 build that leaves nodes out, all optimized."""
    image = {"image": np.random.default_rng(0).random((1, 1, 32, 32), np.float32)}
    reader = iter([image])

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(reader, None)

    quantize_static(
        path, folder / "q.onnx", Reader(), nodes_to_exclude=names,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    # Beyond it, Conv becomes a form for one processor that has no node name of its own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(folder / "q.onnx", options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def test_disparity_says_that_a_layer_is_depthwise():
    assert "depthwise Conv" in finding_of("wide_filter").evidence
    assert "depthwise Conv" not in finding_of("wide_pointwise").evidence


def test_few_channels_are_all_named_and_many_are_counted():
    assert "(channel 4)" in finding_of("zero_scale").evidence
    assert "and 20 more" in finding_of("clipped").evidence


# --------------------------------------------------------------- all together


def test_findings_come_worst_first_then_in_the_order_of_the_layers():
    model = healthy_int8()
    for name, index in (("W4_scale", 1), ("W1_scale", 1)):
        with_one(model, name, index, 0.0)
    codes = read(model, "W2_quantized")
    codes[3] = 0
    write(model, "W2_quantized", codes)
    found = problems_of(pair(model))
    assert [(f.rule, f.layer) for f in found] == [
        ("bad-scale", "conv1"),
        ("bad-scale", "fc"),
        ("channel-collapse", "depthwise"),
    ]
    ranks = [SEVERITIES.index(finding.severity) for finding in found]
    assert ranks == sorted(ranks)


def test_two_variants_are_judged_each_for_itself():
    variants = {"FP32": float_network(), "good": healthy_int8(), "bad": healthy_int8()}
    with_one(variants["bad"], "W1_scale", 0, np.nan)
    assert {finding.variant for finding in problems_of(variants)} == {"bad"}


def test_several_faults_in_one_model_are_each_found():
    model = without_node(healthy_int8(), "depthwise")
    with_one(model, "W1_scale", 4, 0.0)
    with_one(model, "b3_quantized", 7, 2**31 - 1)
    rules = {finding.rule for finding in problems_of(pair(model))}
    assert rules == {"layers-lost", "bad-scale", "bias-overflow"}


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (4, 3, 0, 2), (1, 1, 1, 1)])
def test_weights_of_nothing_are_no_reason_to_stop(shape):
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    model = make_model([conv], {"w": np.zeros(shape, np.float32)}, inputs={"x": (1, 3, 6, 7)})
    assert [f for f in problems_of({"FP32": model}) if f.severity == "error"] == []


def test_a_model_without_any_weight_has_no_problem():
    relu = helper.make_node("Relu", ["x"], ["y"], "relu")
    assert problems_of({"FP32": make_model([relu])}) == ()


def test_a_name_that_speaks_of_quantization_is_only_believed_of_float_files():
    model = healthy_int8()
    model.graph.name = "net_int8_quantized"
    assert problems_of(pair(model)) == ()


@pytest.mark.parametrize("name", ["printer", "squint", "int64_ids", "a_point", "unit88"])
def test_names_that_only_look_like_quantization_are_not_accused(name):
    model = float_network()
    model.graph.name = name
    assert problems_of({name: model}) == ()


@pytest.mark.parametrize(
    "name", ["model_int8", "net.quantized", "net-q4", "w8a8", "resnet_qdq", "model.uint8", "int4"]
)
def test_names_that_say_quantized_are_taken_at_their_word(name):
    model = float_network()
    model.graph.name = name
    assert [finding.rule for finding in problems_of({name: model})] == ["not-quantized"]


def test_models_are_left_as_they_were():
    model = onnx.load_from_string(healthy_int8().SerializeToString())
    before = model.SerializeToString()
    variants = {"FP32": load_model(float_network()), "INT8": load_model(model)}
    find_problems(compare_variants(variants))
    assert model.SerializeToString() == before
