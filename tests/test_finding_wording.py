"""The sentences of findings: complete, with numbers, and with names that can be pasted."""

from __future__ import annotations

import re

import pytest
from judged_models import each_fault, finding_of, planted
from planted_faults import narrow_channels

from playground.utils.parameter_inspector import (
    Outputs,
    SampleKind,
    Split,
    compare_variants,
    find_problems,
    load_model,
)
from playground.utils.parameter_inspector.judging import (
    file_facts,
    parameter_facts,
    resolution_facts,
)
from playground.utils.parameter_inspector.judging.finding_wording import (
    MARKS,
    TITLES,
    describe_finding,
    describe_remedy,
    word,
)
from playground.utils.parameter_inspector.judging.findings import SEVERITIES
from playground.utils.parameter_inspector.judging.rules import RULES
from playground.utils.parameter_inspector.judging.thresholds import UNDER_MINIMUM


@each_fault
def test_evidence_has_numbers_or_names_and_both_sentences_end(fault):
    for finding in planted(fault):
        evidence, remedy = describe_finding(finding), describe_remedy(finding)
        assert re.search(r"\d|'", evidence)
        assert evidence.endswith(".") and remedy.endswith(".")
        assert "nan" not in evidence and "inf " not in evidence
        assert all(isinstance(name, str) for name in finding.numbers)


def test_a_remedy_names_the_layer_and_what_reads_it():
    remedy = describe_remedy(finding_of("narrow_channels"))
    assert "nodes_to_exclude=['conv1', 'relu1', 'depthwise']" in remedy


def test_a_layer_that_nothing_quantized_reads_is_excluded_alone():
    remedy = describe_remedy(finding_of("narrow_channels_int4"))
    assert "nodes_to_exclude=['fc']" in remedy


@pytest.mark.parametrize(
    ("weights_noise", "sentence"),
    [
        (
            0.001,
            "But weights are not the limit here: activations cost 91% of what the output loses",
        ),
        (0.03, "Measured, weights cost 75% of what the output loses."),
    ],
)
def test_a_remedy_for_weights_says_whether_they_are_the_limit_where_it_was_measured(
    weights_noise, sentence
):
    variants = narrow_channels()
    comparison = compare_variants({name: load_model(model) for name, model in variants.items()})
    assert "cost" not in remedy_of_collapse(comparison)
    split = Split(30.0, 20.0, weights_noise, 0.01)
    outputs = Outputs((), (), SampleKind.FILE, 1, split=split, sqnr_db=19.0)
    assert sentence in remedy_of_collapse(comparison.with_outputs({"variant": outputs}))


def remedy_of_collapse(comparison):
    found = find_problems(comparison)
    return describe_remedy(next(one for one in found if one.rule == "channel-collapse"))


def test_disparity_says_that_a_layer_is_depthwise():
    assert "depthwise Conv" in describe_finding(finding_of("wide_filter"))
    assert "depthwise Conv" not in describe_finding(finding_of("wide_pointwise"))


def test_few_channels_are_all_named_and_many_are_counted():
    assert "(channel 4)" in describe_finding(finding_of("zero_scale"))
    assert "and 20 more" in describe_finding(finding_of("clipped"))


def test_every_rule_has_a_title_of_its_own_and_every_severity_a_mark():
    assert list(TITLES) == [*(rule.rule for rule in RULES), UNDER_MINIMUM]
    assert len(set(TITLES.values())) == len(TITLES)
    assert set(MARKS) == set(SEVERITIES)


@pytest.mark.parametrize("module", [file_facts, parameter_facts, resolution_facts])
def test_every_kind_of_facts_has_sentences(module):
    kinds = [one for one in vars(module).values() if hasattr(one, "numbers")]
    assert kinds
    assert [kind for kind in kinds if kind not in word.registry] == []


def test_facts_without_sentences_are_refused_by_their_kind():
    with pytest.raises(TypeError, match="no sentence is known for int"):
        word(3)
