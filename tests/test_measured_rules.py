"""Each sign is a finding where it costs something, and nothing where it does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from outputs_for_tests import activation, loss, measured, network, outputs

from playground.utils.parameter_inspector.facts import SampleKind
from playground.utils.parameter_inspector.judging.finding_wording import (
    describe_finding,
    describe_remedy,
)
from playground.utils.parameter_inspector.judging.measured_rules import MEASURED
from playground.utils.parameter_inspector.measuring.outputs import SelfCheck, Split

CLIPPED = {"clipped_error_share": 0.5, "clipped_share": 0.1, "local_db": 24.9}
# rule -> the tensor, and what flows through it at the very limit
SIGNS = {
    "activation-mask": ("r", {"low": -1e30}),
    "activation-outliers": ("r", {"high": 20.0, "p999": 1.0}),
    "activation-clipping": ("r", CLIPPED),
    "activation-small-values": ("r", {"zeroed_share": 0.21, "local_db": 24.9}),
    "activation-pooling": ("p", {"codes_used_share": 0.25}),
    "activation-square": ("s", {}),
}
# what is just not one of them
NEARLY = {
    "activation-mask": ("r", {"low": -0.9e30, "p999": 1e29}),
    "activation-outliers": ("r", {"high": 19.9, "p999": 1.0}),
    "activation-clipping": ("r", {**CLIPPED, "local_db": 25.0}),
    "activation-small-values": ("r", {"zeroed_share": 0.2, "local_db": 24.9}),
    "activation-pooling": ("p", {"codes_used_share": 0.26}),
    "activation-square": ("p", {}),
}


def find(comparison):
    return [one for rule in MEASURED.values() for one in rule(comparison, "INT8")]


def find_causes(tensor, changes, share=0.03, **more):
    found = outputs(
        activation(0, tensor), activation(1, "r"),
        seen={0: changes}, shares=(share, 0.001), **more,
    )  # fmt: skip
    return [one for one in find(measured(found)) if one.rule != "output-lost"]


@pytest.mark.parametrize("rule", SIGNS)
def test_a_costly_sign_is_one_finding_with_its_share(rule):
    (finding,) = find_causes(*SIGNS[rule])
    assert finding.rule == rule
    assert finding.severity == "warning"
    assert finding.layer_name == f"{SIGNS[rule][0]}_node"
    assert "3% of the output's noise" in describe_finding(finding)


@pytest.mark.parametrize("rule", SIGNS)
def test_a_sign_that_costs_nothing_is_no_finding(rule):
    assert find_causes(*SIGNS[rule], share=0.029) == []


@pytest.mark.parametrize("rule", NEARLY)
def test_what_is_just_not_a_sign_is_no_finding(rule):
    assert find_causes(*NEARLY[rule]) == []


@pytest.mark.parametrize("rule", SIGNS)
def test_where_the_output_keeps_30_db_nothing_is_found(rule):
    assert find_causes(*SIGNS[rule], losses=(loss(30.1),)) == []


@pytest.mark.parametrize("rule", SIGNS)
def test_between_20_and_30_db_a_cause_is_a_note(rule):
    (finding,) = find_causes(*SIGNS[rule], losses=(loss(25.0),))
    assert finding.severity == "note"


def test_a_pooling_with_a_scale_of_its_own_is_no_finding():
    found = outputs(
        activation(0, "p", 0.5), activation(1, "r", 0.25),
        seen={0: {"codes_used_share": 0.1}}, shares=(0.5, 0.001),
    )  # fmt: skip
    assert [one.rule for one in find(measured(found))] == ["output-lost"]


def test_a_divisor_that_becomes_0_is_a_finding_and_one_that_does_not_is_none():
    proto = network(root="Neg")
    for zeroed, rules in ((0.01, ["activation-square"]), (0.0, [])):
        found = outputs(activation(0, "q"), seen={0: {"zeroed_share": zeroed}}, shares=(0.5,))
        causes = [one for one in find(measured(found, proto)) if one.rule != "output-lost"]
        assert [one.rule for one in causes] == rules


def test_a_tensor_with_several_signs_is_one_finding():
    (finding,) = find_causes("s", {"low": -3e38, "zeroed_share": 0.5, "local_db": 3.0})
    assert finding.rule == "activation-mask"


def test_an_unmeasured_variant_has_no_finding():
    comparison = measured(outputs())
    assert find(replace(comparison, outputs={})) == []


# What was tried -----------------------------------------------------------------------------------


def test_the_remedy_names_the_nodes_and_what_leaving_them_out_gave():
    (finding,) = find_causes("r", CLIPPED, restored=(2.5,), recovered={1: 17.5})
    remedy = describe_remedy(finding)
    assert "nodes_to_exclude=['r_node']" in remedy
    assert "gains 2.5 dB and keeps 17.5 dB" in remedy


def test_what_alone_gives_nothing_sure_names_what_the_first_ones_give():
    (finding,) = find_causes("r", CLIPPED, restored=(0.29,), recovered={1: 15.2, 2: 19.0})
    assert "nothing sure" in describe_remedy(finding)
    assert "the first 2 by share" in describe_remedy(finding)
    assert "gains 4.0 dB and keeps 19.0 dB" in describe_remedy(finding)


def test_no_remedy_is_claimed_where_the_switched_model_is_not_the_file():
    check = SelfCheck(all_on_db=12.0, all_off_db=np.inf)
    found = find_causes("r", CLIPPED, restored=(2.5,), recovered={1: 17.5}, check=check)
    assert "17.5" not in describe_remedy(found[0])
    assert "not tried" in describe_remedy(found[0])


# The output ---------------------------------------------------------------------------------------


def judge(*losses, proto=None, **more):
    return [
        (one.rule, one.severity) for one in find(measured(outputs(losses=losses, **more), proto))
    ]


@pytest.mark.parametrize(
    ("db", "severities"), [(9.9, ["error"]), (10.1, ["warning"]), (19.9, ["warning"]), (20.1, [])]
)
def test_an_output_is_judged_by_its_level(db, severities):
    assert judge(loss(db)) == [("output-lost", severity) for severity in severities]


def test_the_worst_output_is_the_one_that_is_named():
    comparison = measured(outputs(losses=(loss(40.0, "boxes"), loss([4.0, 2.0], "scores"))))
    (finding,) = find(comparison)
    assert "Output 'scores' keeps 2.9 dB on 16 samples" in describe_finding(finding)
    assert "sample 1 (counted from 0) with 2.0 dB" in describe_finding(finding)


def test_numbers_that_are_not_finite_are_an_error():
    assert judge(loss(-math.inf)) == [("output-lost", "error")]


def test_an_output_of_zeros_is_not_judged():
    silent = replace(loss(), signal=np.zeros(2), noise=np.zeros(2))
    assert judge(silent) == []


@pytest.mark.parametrize(("fall", "found"), [(0.125, 1), (0.0625, 0), (0.05, 0), (-0.2, 0)])
def test_accuracy_that_falls_by_two_samples_of_sixteen_is_an_error(fall, found):
    scores = {"accuracy": 0.75 - fall, "float_accuracy": 0.75}
    assert judge(loss(40.0, **scores)) == [("output-lost", "error")] * found


def test_accuracy_that_falls_by_5_points_or_less_is_none_however_many_samples_there_are():
    scores = {"accuracy": 0.70, "float_accuracy": 0.75}
    assert judge(loss(40.0, **scores), count=1000) == []


def test_agreement_counts_where_the_output_is_a_softmax_and_nowhere_else():
    assert judge(loss(40.0, agreement=0.5), proto=network(ends_in="Softmax")) == [
        ("output-lost", "error")
    ]
    assert judge(loss(40.0, agreement=0.5)) == []


def test_synthetic_inputs_are_said_and_make_notes_alone():
    found = outputs(
        activation(0, "r"), seen={0: CLIPPED}, shares=(0.5,), losses=(loss(1.0),),
        kind=SampleKind.SYNTHETIC, count=4,
    )  # fmt: skip
    findings = find(measured(found))
    assert [one.severity for one in findings] == ["note", "note"]
    assert all("4 synthetic inputs" in describe_finding(one) for one in findings)


def test_the_curve_is_told_and_the_first_point_that_gives_most_of_it_is_advised():
    found = outputs(
        activation(0, "r"), activation(1, "s"), activation(2, "d"), shares=(0.5, 0.3, 0.1),
        losses=(loss(5.0),), recovered={1: 6.0, 2: 14.0, 3: 15.0},
    )  # fmt: skip
    remedy = describe_remedy(find(measured(found))[0])
    assert "Leave the first 2 by share" in remedy and "it keeps 14.0 dB" in remedy
    assert "1: 6.0 dB, 2: 14.0 dB, 3: 15.0 dB" in remedy
    assert "'r_node', 's_node'" in remedy and "d_node" not in remedy


def test_where_the_first_ones_recover_little_all_activations_in_float_are_told():
    found = outputs(
        activation(0, "r"), shares=(0.1,), losses=(loss(5.0),), recovered={1: 5.4},
        split=Split(28.0, 5.0, 0.0016, 0.3),
    )  # fmt: skip
    remedy = describe_remedy(find(measured(found))[0])
    assert "0.4 dB at most" in remedy
    assert "with all activations in float it keeps 28.0 dB" in remedy
