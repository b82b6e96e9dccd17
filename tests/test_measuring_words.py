"""Before outputs are measured: what can be run, on what, and about how often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparisons_for_tests import compare_equal
from measured_for_tests import make_outputs

from playground.utils.parameter_inspector import SampleKind, Samples, compare_variants
from playground.utils.tables import measuring_words

INT8 = compare_equal().variants["INT8"]
SIXTEEN = Samples({"x": np.zeros((16, 1))}, None, SampleKind.FILE, "samples.npz", 16, 180)


def test_one_variant_is_offered_alone_and_several_together_first():
    assert measuring_words.list_runnable(compare_equal()) == {"INT8": ("INT8",)}
    both = compare_variants(compare_equal().variants | {"B": INT8})
    assert list(measuring_words.list_runnable(both)) == ["all 2 variants", "INT8", "B"]


def test_a_float_network_alone_has_nothing_to_run():
    alone = compare_variants({"FP32": compare_equal().variants["FP32"]})
    assert measuring_words.list_runnable(alone) == {}


def test_a_quantized_file_without_its_original_can_be_run():
    assert measuring_words.list_runnable(compare_variants({"INT8": INT8})) == {"INT8": ("INT8",)}


def test_it_says_what_will_happen_and_on_which_samples():
    claim, plan = measuring_words.explain_measuring(compare_equal(), ["INT8"], SIXTEEN)
    assert claim.startswith("What INT8 loses at the output")
    # One weight, its input and its output, and 20 more, in tens.
    assert plan.startswith("About 20 runs of the network on the first 16 of 180 samples of sam")
    assert measuring_words.spell_samples(SIXTEEN) == "16 samples"


def test_synthetic_inputs_are_called_so_with_what_they_are_good_for():
    _, plan = measuring_words.explain_measuring(compare_equal(), ["INT8"], None)
    assert "synthetic inputs, as there is no samples.npz" in plan
    assert "but not how much is lost" in plan
    assert measuring_words.spell_samples(None) == "synthetic inputs"


@pytest.mark.parametrize(("count", "text"), [(44, "40"), (567, "570"), (1234, "1,200")])
def test_a_number_of_runs_promises_no_more_than_is_known(count, text):
    assert measuring_words._round(count) == text


def test_the_variant_that_lost_most_stands_first():
    outputs = {"A": make_outputs(sqnr_db=30.0), "B": make_outputs(sqnr_db=3.0)}
    outputs["C"] = replace(outputs["A"], sqnr_db=None)
    comparison = compare_equal().with_outputs(outputs)
    assert measuring_words.order_measured(comparison) == ["C", "B", "A"]
