"""A sample of a weight is runs of neighbours, evenly apart."""

from __future__ import annotations

import numpy as np
import pytest

from playground.utils.parameter_inspector.streaming.weight_samples import spread_runs


@pytest.mark.parametrize(("count", "wanted"), [(0, 5), (5, 9), (100, 20), (1000, 256), (257, 256)])
def test_runs_of_columns_are_in_order_inside_and_no_more_than_wanted(count, wanted):
    runs = spread_runs(count, wanted)
    assert (np.diff(runs) > 0).all()
    assert len(runs) <= wanted
    assert len(runs) == min(count, wanted) or wanted >= 32
    assert not count or (runs[0] == 0 and runs[-1] == count - 1)
