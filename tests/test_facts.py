"""Facts are kinds and numbers: equal when these are, and whole after the way to another process."""

from __future__ import annotations

import pickle

import pytest

from playground.utils.parameter_inspector import ModelFileError, NotUnderstoodError
from playground.utils.parameter_inspector.facts import Evidence, Folding, Refusal, RefusalKind
from playground.utils.parameter_inspector.quantization import UnavailableError


@pytest.mark.parametrize("error", [ModelFileError, NotUnderstoodError, UnavailableError])
def test_an_error_carries_its_refusal_to_another_process(error):
    refusal = Refusal(RefusalKind.SCALE_SHAPE, axis=1, shape=(3, 5), scale_shape=(4,))
    raised = pickle.loads(pickle.dumps(error(refusal)))
    assert type(raised) is error
    assert raised.refusal == refusal


def test_a_pair_is_sure_only_where_the_values_say_so():
    assert [e for e in Evidence if e.is_sure] == [Evidence.NAME_AND_VALUES, Evidence.VALUES]


def test_foldings_are_equal_by_their_numbers():
    assert Folding(rescaled=(0.5, 2)) == Folding(rescaled=(0.5, 2.0)) != Folding(batch_norm=True)
