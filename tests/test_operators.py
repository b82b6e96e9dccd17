"""One row holds all that is known of an operator, and no consumer knows one that others do not."""

from __future__ import annotations

from dataclasses import fields

import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from playground.utils.parameter_inspector.operators import (
    MICROSOFT,
    OPERATORS,
    Operator,
    find_operator,
    operator_named,
)

ROWS = [pytest.param(row, id=" ".join(key)) for key, row in OPERATORS.items()]
WITH_WEIGHT = [row for row in OPERATORS.values() if any(o.slot == "weight" for o in row.operands)]
# Facts of the place that a row is in, not of the operator.
OF_THE_DOMAIN = {"domain", "operands", "refusal", "attributes"}
HOLDING_CODES = {
    row.name
    for row in OPERATORS.values()
    if row.integer_axis is not None or any(o.form is not None for o in row.operands)
}


# Several products in one operator: what they were made from are several layers.
FUSED = {"QMoE", "MatMulNBitsMlp", "MatMulNBitsQkv"}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_stands_under_its_domain_and_name(row):
    assert find_operator(row.domain, row.name) is row


@pytest.mark.parametrize("row", ROWS)
def test_an_operator_of_the_standard_is_one_that_onnx_knows(row):
    # These were written for "ai.onnx" by onnxruntime's own tools, though no opset has them.
    if row.domain == "" and row.name not in ("QLinearConv", "SimplifiedLayerNormalization"):
        assert onnx.defs.has(row.name)


@pytest.mark.parametrize("row", ROWS)
def test_one_name_means_the_same_in_every_domain(row):
    named = operator_named(row.name)
    for fact in {f.name for f in fields(Operator)} - OF_THE_DOMAIN:
        assert getattr(named, fact) == getattr(row, fact), fact


@pytest.mark.parametrize("name", sorted(HOLDING_CODES - FUSED))
def test_an_operator_that_holds_codes_shares_its_family_with_one_that_holds_floats(name):
    """Or the layer could not be paired with the one it was made from."""
    family = operator_named(name).family
    relatives = {row.name for row in OPERATORS.values() if row.family == family}
    assert relatives - HOLDING_CODES


@pytest.mark.parametrize("name", sorted(HOLDING_CODES))
def test_an_operator_that_holds_codes_says_how_its_activations_are_quantized(name):
    """Inputs of its own, while it runs, bare integers, or said here: floats behind Q and DQ."""
    row = operator_named(name)
    floats_enter = {
        "MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "QMoE", "QEmbedLayerNormalization",
        "MatMulNBitsMlp", "MatMulNBitsQkv", "MatMulBlockQuantizedFp4Weight",
        "MatMulBlockQuantizedFp8Weight",
    }  # fmt: skip
    quantized = row.activations is not None or row.is_dynamic or row.integer_axis is not None
    assert quantized != (name in floats_enter)


@pytest.mark.parametrize("family", sorted({row.family for row in WITH_WEIGHT}))
def test_all_operators_of_a_family_are_expected_to_be_quantized_or_none(family):
    assert len({row.heavy for row in WITH_WEIGHT if row.family == family}) == 1


@pytest.mark.parametrize("row", ROWS)
def test_what_an_operator_implies_follows_from_its_first_operand(row):
    if row.operands and (row.one_axis or row.is_neighbour):
        assert row.operands[0].slot == "weight"
        assert row.weight_axis({}, 4) is not None
    if row.is_transposed:
        assert row.is_convolution and row.weight_axis({}, 4) == 1


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_a_layer_or_plumbing_or_refused(row):
    is_no_layer = row.is_plumbing or row.is_quantizer or row.refusal is not None
    assert not (is_no_layer and row.operands)


@pytest.mark.parametrize("row", ROWS)
def test_no_input_of_an_operator_is_two_things(row):
    operands = [i for o in row.operands if o.slot != "bias" for i in (o.index, *o.extra)]
    assert len(operands) == len(set(operands))


CHECKED = [row for row in OPERATORS.values() if row.attributes is not None]


def schemas_of(row: Operator) -> list[set[str]]:
    """Return the attributes of each version that onnx or onnxruntime has of an operator."""
    if row.domain == "":
        known = onnx.defs.get_all_schemas_with_history()
    else:
        known = onnxruntime_pybind11_state.get_all_operator_schema()
    return [set(s.attributes) for s in known if (s.domain, s.name) == (row.domain, row.name)]


@pytest.mark.parametrize("row", [pytest.param(r, id=f"{r.domain} {r.name}") for r in CHECKED])
def test_no_attribute_of_an_operators_schema_is_taken_for_unknown(row):
    for attributes in schemas_of(row):
        assert attributes <= row.attributes


@pytest.mark.parametrize("row", [p for p in ROWS if any(o.form for o in p.values[0].operands)])
def test_an_operator_that_holds_codes_names_all_attributes_it_may_have(row):
    assert row.attributes is not None


def test_an_operator_that_nothing_is_known_of_has_a_family_of_its_own():
    row = operator_named("Mystery")
    assert (row.family, row.operands, row.heavy) == ("Mystery", (), False)
    assert find_operator("my.own", "Mystery") is None


def test_an_operator_is_found_where_onnxruntime_moved_it():
    assert find_operator("com.ms.internal.nhwc", "QLinearConv") is OPERATORS["", "QLinearConv"]
    assert find_operator("ai.onnx", "Conv") is OPERATORS["", "Conv"]
    assert find_operator(MICROSOFT, "Conv") is None
