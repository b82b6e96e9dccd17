"""Which layer is which, on what evidence; what has no counterpart, and what was not understood."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from comparisons_for_tests import (
    SCALE,
    compare_equal,
    create_model,
)
from onnx import numpy_helper

from playground.utils.parameter_inspector import (
    LayerPair,
    Pairing,
    compare_variants,
    load_model,
)
from playground.utils.parameter_inspector.facts import Evidence
from playground.utils.tables import (
    pairing_tables,
)


def pairing_of(*pairs: LayerPair) -> Pairing:
    return Pairing(pairs, ("left",), ("over", "spare"))


AGREED = LayerPair("conv", "conv_q", Evidence.NAME_AND_VALUES, 0.98765)


GUESSED = LayerPair("conv", "conv_q", Evidence.ORDER, 0.1)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (AGREED, "✓ name and values"),
        (GUESSED, "? order: a guess"),
        (LayerPair("conv", "conv", Evidence.NAME_ONLY, 0.1), "? name only: values differ"),
        (None, "✗ not paired"),
    ],
)
def test_the_evidence_of_a_pair_is_marked(pair, text):
    assert pairing_tables.mark_evidence(pair) == text


def test_the_pairing_of_a_layer_names_its_partner_and_the_similarity():
    pairings = {"INT8": pairing_of(AGREED), "X": pairing_of()}
    table = pairing_tables.create_pairing_table(SimpleNamespace(pairings=pairings), "conv")
    assert table.values.tolist() == [
        ["INT8", "conv_q", "✓ name and values", "0.988", "–"],
        ["X", "–", "✗ not paired", "–", "–"],
    ]


def test_unpaired_layers_are_listed_on_both_sides():
    comparison = SimpleNamespace(named_by="FP32", pairings={"INT8": pairing_of()})
    table = pairing_tables.create_unpaired_table(comparison)
    assert table.values.tolist() == [
        ["FP32", "left", "INT8"],
        ["INT8", "over", "FP32"],
        ["INT8", "spare", "FP32"],
    ]


def test_what_was_not_understood_is_listed_with_operator_and_reason():
    model = create_model(True)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(SCALE[:3], "s"))
    table = pairing_tables.create_not_understood_table(
        compare_variants({"INT8": load_model(model)})
    )
    variant, layer, operator, reason = table.iloc[0]
    assert (variant, layer, operator) == ("INT8", "conv", "Conv")
    assert "(3,)" in reason


def test_a_model_that_is_understood_lists_nothing():
    assert len(pairing_tables.create_not_understood_table(compare_equal())) == 0
