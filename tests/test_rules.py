"""Every planted fault is found, by its rule and no other; healthy models are left in peace."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from judged_models import each_fault, planted
from models_for_tests import make_model
from onnx import helper
from planted_faults import (
    FAULTS,
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

from playground.utils.parameter_inspector import compare_variants, load_model, open_folder
from playground.utils.parameter_inspector.judging.findings import SEVERITIES, Finding
from playground.utils.parameter_inspector.judging.rules import RULES, WEIGHT_RULES, find_problems

MODELS = Path(__file__).resolve().parents[1] / "models"


HEALTHY = healthy_models()


def shipped(network: str) -> tuple[Finding, ...]:
    variants = open_folder(MODELS / network).variants
    return find_problems(compare_variants(variants))


@each_fault
def test_a_planted_fault_is_found_at_its_layer(fault):
    assert is_found(fault, planted(fault)), planted(fault)


@each_fault
def test_a_planted_fault_is_found_once_and_with_its_severity(fault):
    found = [
        f.severity for f in planted(fault) if (f.rule, f.layer_name) == (fault.rule, fault.layer)
    ]
    assert found == [fault.severity]


@each_fault
def test_no_other_rule_cries_at_a_planted_fault(fault):
    assert false_alarms(fault, planted(fault)) == []


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
    assert {fault.rule for fault in FAULTS} == {rule.rule for rule in WEIGHT_RULES}


def test_ids_are_kebab_case_and_none_is_used_twice():
    ids = [rule.rule for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)


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
    assert {finding.layer_name for finding in errors} == {"/block1/conv_dw/Conv"}
    numbers = {finding.rule: finding.numbers for finding in errors}
    assert numbers["channel-collapse"]["dead"] == 13
    assert errors[0].facts.silent == 2  # the other dead ones: 1e-4 of the widest in the original
    assert numbers["channel-collapse"]["share"] == pytest.approx(29 / 30)
    (finding,) = errors
    assert finding.facts.ratio == pytest.approx(455, rel=0.01)


def test_the_second_depthwise_layer_of_dscnn_is_a_warning():
    warnings = [finding for finding in shipped("dscnn") if finding.severity == "warning"]
    assert [(f.rule, f.layer_name) for f in warnings] == [
        ("range-disparity", "/block2/conv_dw/Conv")
    ]


def test_findings_come_worst_first_then_in_the_order_of_the_layers():
    model = healthy_int8()
    for name, index in (("W4_scale", 1), ("W1_scale", 1)):
        with_one(model, name, index, 0.0)
    codes = read(model, "W2_quantized")
    codes[3] = 0
    write(model, "W2_quantized", codes)
    found = problems_of(pair(model))
    assert [(f.rule, f.layer_name) for f in found] == [
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


def test_models_are_left_as_they_were():
    model = onnx.load_from_string(healthy_int8().SerializeToString())
    before = model.SerializeToString()
    variants = {"FP32": load_model(float_network()), "INT8": load_model(model)}
    find_problems(compare_variants(variants))
    assert model.SerializeToString() == before
