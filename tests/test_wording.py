"""Every kind of fact has its sentence, made from its names and numbers, in one place."""

from __future__ import annotations

import pytest

from playground.utils.parameter_inspector import NotUnderstoodError
from playground.utils.parameter_inspector.facts import (
    Evidence,
    Folding,
    Grid,
    Refusal,
    RefusalKind,
)
from playground.utils.parameter_inspector.wording import (
    describe_evidence,
    describe_folding,
    describe_grid,
    describe_refusal,
)

SENTENCES = {
    "axis 4 is outside a tensor of shape (3, 5) (scale (7,))": Refusal(
        RefusalKind.AXIS_OUTSIDE, axis=4, shape=(3, 5), scale_shape=(7,)
    ),
    "axis 4 is outside a tensor of shape (3, 5)": Refusal(
        RefusalKind.AXIS_OUTSIDE, axis=4, shape=(3, 5)
    ),
    "scale has shape (4,) but axis 1 of the codes' shape (3, 5) asks for (5,)": Refusal(
        RefusalKind.SCALE_SHAPE, axis=1, shape=(3, 5), scale_shape=(4,), expected_shape=(5,)
    ),
    "scale has shape (4,) but axis 1 of the codes' shape (3, 5) in blocks of 2 asks for (3, 3)": (
        Refusal(
            RefusalKind.SCALE_SHAPE,
            axis=1,
            shape=(3, 5),
            scale_shape=(4,),
            expected_shape=(3, 3),
            block_size=2,
        )
    ),
    "weight of Conv: it comes through Odd of domain 'own', which is not known": Refusal(
        RefusalKind.UNKNOWN_ON_THE_WAY, "weight", "Conv", operator="Odd", domain="own"
    ),
    "it comes through Einsum, which is not known": Refusal(
        RefusalKind.UNKNOWN_ON_THE_WAY, operator="Einsum"
    ),
    "operator Odd of domain 'own' is not known; it holds 'a', 'b'": Refusal(
        RefusalKind.UNKNOWN_OPERATOR, operator="Odd", domain="own", names=("a", "b")
    ),
    "'y' cannot be computed: Add of [(3,), (4,)] says no": Refusal(
        RefusalKind.OPERATOR_FAILS, name="y", operator="Add", shapes=((3,), (4,)), reason="no"
    ),
    "tensor 'W' ends at byte 4,096 of the model file, which has 1,024": Refusal(
        RefusalKind.DATA_CUT_OFF, name="W", limit=4096, count=1024
    ),
    "tensor 'W': its external file 'w.bin' is missing": Refusal(
        RefusalKind.EXTERNAL_MISSING, name="W", location="w.bin"
    ),
    "quant_type 7 of MatMulBnb4": Refusal(RefusalKind.QUANT_TYPE, operator="MatMulBnb4", value=7),
    "codes from -8 to 7 are wider than 32 bits": Refusal(
        RefusalKind.CODES_TOO_WIDE, code_range=(-8.0, 7.0)
    ),
    "m: its functions expand to 200,000 nodes, more than 100,000": Refusal(
        RefusalKind.TOO_MANY_NODES, name="m", count=200_000, limit=100_000
    ),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_refusal_is_told_with_its_names_and_numbers(sentence):
    assert describe_refusal(SENTENCES[sentence]) == sentence


@pytest.mark.parametrize("kind", RefusalKind)
def test_every_refusal_has_one_sentence(kind):
    told = describe_refusal(Refusal(kind, weight_shape=(2, 3), reason="so it is"))
    assert told and "\n" not in told and not told.endswith(".")


def test_an_error_says_what_its_refusal_says():
    refusal = Refusal(RefusalKind.NO_SCALE, operator="DequantizeLinear")
    assert str(NotUnderstoodError(refusal)) == "DequantizeLinear has no scale"


def test_every_evidence_has_words_of_its_own():
    words = [describe_evidence(evidence) for evidence in Evidence]
    assert words == ["name and values", "values", "name only: values differ", "order: a guess",
                     "name", "place in the graph"]  # fmt: skip


@pytest.mark.parametrize(
    ("folding", "words"),
    [
        (None, ""),
        (Folding(), ""),
        (Folding(batch_norm=True), "batch-norm folded"),
        (Folding(alpha=0.4), "alpha 0.4 folded"),
        (Folding(rescaled=(0.25, 3.5)), "channels rescaled by 0.25 to 3.5 (equalization)"),
        (
            Folding(batch_norm=True, rescaled=(0.12345, 2)),
            "batch-norm folded; channels rescaled by 0.123 to 2 (equalization)",
        ),
    ],
)
def test_a_folding_is_told_in_the_order_in_which_it_was_done(folding, words):
    assert describe_folding(folding) == words


def test_every_grid_says_that_the_file_holds_no_scale():
    assert all("the file holds no scale" in describe_grid(grid) for grid in Grid)
