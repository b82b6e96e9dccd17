"""The schemes that are worth trying, and what they gain and cost."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import floats

from playground.utils.parameter_inspector import WorkCancelledError
from playground.utils.parameter_inspector.changing.candidates import (
    Candidate,
    list_candidates,
    sensible_schemes,
)
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.schemes import Scheme


def test_candidates_come_best_first_with_todays_among_them():
    values, current = floats(8, 70, 3), Scheme("uint8", symmetric=False)
    found = list_candidates(values, current)
    worst = [one.worst_channel_sqnr_db for one in found]
    assert worst == sorted(worst, reverse=True)
    now = next(one for one in found if one.scheme == current)
    for one in found:
        done = requantize(values, one.scheme)
        assert (one.sqnr_db, one.byte_count) == (done.sqnr_db, done.byte_count)
        assert one.gain_db == pytest.approx(worst[found.index(one)] - now.worst_channel_sqnr_db)
        assert one.byte_ratio == one.byte_count / now.byte_count
    # The page finds a candidate again by its words.
    assert len({one.scheme for one in found}) == len({str(one.scheme) for one in found})
    assert len({one.scheme for one in found}) == len(found)


def test_a_chosen_size_leaves_out_what_is_larger():
    values = floats(8, 70)
    small = list_candidates(values, Scheme(), max_bytes=values.size)
    assert small and all(one.byte_count <= values.size for one in small)
    assert {one.scheme.data_type for one in small} == {"int4", "uint4"}


def test_todays_numbers_are_those_of_the_values_in_the_file():
    values = floats(8, 70)
    found = list_candidates(values, Scheme(), current_values=np.zeros_like(values))
    now = next(one for one in found if one.scheme == Scheme())
    assert now.worst_channel_sqnr_db == now.sqnr_db == 0
    assert found[0].gain_db == found[0].worst_channel_sqnr_db


def test_a_candidate_says_what_it_gains_and_costs():
    one = Candidate(Scheme(granularity="per-channel"), 45, 40, 1004, 14.23, 1.004)
    assert str(one) == "int8 per-channel symmetric: +14.2 dB, +0.4 %"


def test_blocks_longer_than_the_axis_are_not_offered():
    sizes = {s.block_size for s in sensible_schemes(Scheme(), (8, 70), 0)}
    assert sizes == {None, 32}
    assert {s.granularity for s in sensible_schemes(Scheme(), (8,), 0)} == {"per-tensor"}


def test_a_search_is_stopped_between_two_schemes_of_one_layer():
    asked = iter([False, False, True])
    with pytest.raises(WorkCancelledError, match="between two schemes"):
        list_candidates(floats(8, 70), Scheme(), cancelled=lambda: next(asked))
    assert next(asked, None) is None
