"""What the outputs lost, in the sentences that page, report and command line share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from outputs_for_tests import activation, loss, measured, network, outputs

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.facts import (
    Ending,
    EndingKind,
    QuantizerKind,
    SampleKind,
    UnplacedReason,
)
from playground.utils.parameter_inspector.judging import output_words
from playground.utils.parameter_inspector.measuring.outputs import (
    Progress,
    Quantizer,
    SelfCheck,
    Split,
    Unplaced,
)
from playground.utils.parameter_inspector.running.samples import create_samples

WHOLE = {
    "losses": (loss(7.1),),
    "split": Split(20.0, 7.0, 0.04, 0.96),
    "recovered": {1: 12.3},
}


def describe(*quantizers, **what):
    shares = tuple(0.5 for _ in quantizers)
    return output_words.describe_loss(measured(outputs(*quantizers, shares=shares, **what)), "INT8")


def details(found, proto=None):
    return " ".join(output_words.describe_details(measured(found, proto), "INT8"))


def test_one_sentence_says_what_is_kept_what_costs_it_and_what_gives_it_back():
    assert describe(activation(0, "r"), activation(1, "s"), **WHOLE) == (
        "network INT8 keeps 7.1 dB of the output on 16 samples: activations cost it 96%, weights "
        "4%; giving 1 of 2 quantizers back recovers 5.2 dB."
    )


@pytest.mark.parametrize(("db", "words"), [(math.inf, "loses nothing"), (-math.inf, "not finite")])
def test_no_number_is_a_sentence_too(db, words):
    sentence = describe(losses=(loss(db),))
    assert words in sentence and "inf" not in sentence.replace("infinite", "").replace("finite", "")


def test_weights_that_alone_make_it_not_finite_are_not_blamed_by_a_share():
    split = Split(-math.inf, 5.0, math.inf, 0.3)
    sentence = describe(activation(0, "r"), **{**WHOLE, "split": split})
    assert "with weights alone quantized it is not finite" in sentence
    assert "100%" not in sentence


def test_an_output_of_zeros_cannot_be_judged():
    silent = replace(loss(), signal=np.zeros(2), noise=np.zeros(2))
    assert "cannot be judged" in describe(losses=(silent,))


def test_synthetic_inputs_are_named_in_the_first_sentence_and_explained_in_another():
    found = outputs(kind=SampleKind.SYNTHETIC, count=4)
    assert "on 4 synthetic inputs" in output_words.describe_loss(measured(found), "INT8")
    assert "not how much is lost" in details(found)


def test_accuracy_is_told_beside_that_of_float():
    found = outputs(losses=(loss(accuracy=0.5, float_accuracy=0.9),))
    assert "Accuracy is 50%; float has 90%." in details(found)


def test_agreement_is_told_of_scores_and_not_of_maps():
    found = outputs(losses=(loss(agreement=0.5),))
    assert "50%" in details(found, network(ends_in="Softmax"))
    assert "50%" not in details(found)


def test_each_output_and_the_worst_sample_are_told():
    said = details(outputs(losses=(loss(30.0, "boxes"), loss([9.0, 3.0], "scores"))))
    assert "'scores' 5.0 dB, 'boxes' 30.0 dB" in said
    assert "sample 1 (counted from 0) with 3.0 dB at output 'scores'" in said


def test_partial_numbers_say_how_many_quantizers_have_no_place_and_claim_no_gain():
    found = outputs(
        activation(0, "r"), shares=(1.0,), losses=(loss(7.0),), recovered={1: 30.0},
        check=SelfCheck(12.0, np.inf),
        unplaced=(Unplaced(UnplacedReason.SHAPE, QuantizerKind.WEIGHT, "w", "c"),),
    )  # fmt: skip
    assert "partial" in details(found)
    assert "1 of 2 quantizers could not be placed (1 of another shape" in details(found)
    assert "recovers" not in output_words.describe_loss(measured(found), "INT8")


def test_what_ended_early_says_how():
    found = outputs(ending=Ending(EndingKind.TIME, seconds=3.0, in_all=True), complete=False)
    assert "3 s" in details(found)


def test_few_quantizers_that_give_little_say_so():
    what = {**WHOLE, "recovered": {1: 7.5}}
    assert "recovers 0.4 dB at most" in describe(activation(0, "r"), **what)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"), (0.0001, "under 0.1%"), (0.004, "0.4%"), (0.5, "50%"), (0.996, "99.6%"),
        (0.9999, "over 99.9%"), (1.0, "100%"),
    ],
)  # fmt: skip
def test_a_share_never_reads_all_or_nothing_where_it_is_not(share, text):
    assert output_words.format_share(share) == text


@pytest.mark.parametrize(
    ("stems", "name"),
    [
        (("yolo", "yolo_int8"), "yolo"),
        (("mobilenet-fp32", "mobilenet-int8"), "mobilenet"),
        (("fp32", "int8"), "folder"),
        (("conv", "convex"), "folder"),
    ],
)
def test_a_network_is_named_by_what_its_files_share_else_by_their_folder(tmp_path, stems, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    proto = network().SerializeToString()
    for stem in stems:
        (folder / f"{stem}.onnx").write_bytes(proto)
    models = [load_model(folder / f"{stem}.onnx") for stem in stems]
    comparison = replace(measured(outputs()), variants=dict(zip(("A", "B"), models, strict=True)))
    assert output_words.name_network(comparison) == name


def test_samples_say_how_many_there_are_in_the_file():
    held = create_samples(
        {"x": np.zeros((3, 2))}, kind=SampleKind.FILE, source="a.npz", available=7
    )
    assert output_words.describe_given(held) == "the first 3 of 7 samples of a.npz"


def test_shares_measured_on_fewer_samples_say_so():
    found = outputs(activation(0, "r"), activation(1, "s"), shares=(0.6, 0.4))
    first, second = found.groups
    mixed = replace(found, groups=(first, replace(second, sample_count=4)))
    assert output_words.describe_counts(found) == ""
    assert "first 4 samples" in output_words.describe_counts(mixed)
    assert "worst 1 quantizers on all 16" in output_words.describe_counts(mixed)


def test_progress_names_the_runs_that_are_left_and_the_worst_so_far():
    found = outputs(activation(0, "r"), shares=(0.7,))
    said = output_words.describe_progress(Progress(3, 1200, found))
    assert said.startswith("3 runs done, 1,200 left; the output keeps 15.0 dB; ")
    assert "the activation r" in said and "70%" in said


def test_a_weight_is_named_by_its_layer():
    weight = Quantizer(0, QuantizerKind.WEIGHT, "w", ("conv1",), "int8")
    found = outputs(weight, shares=(1.0,))
    assert output_words.name_group(found.groups[0]) == "the weight of conv1"


def test_the_self_check_tells_bit_for_bit_from_decibels():
    said = " ".join(output_words.describe_check(outputs(check=SelfCheck(np.inf, 129.5))))
    assert "the file bit for bit" in said and "float by 129.5 dB" in said
