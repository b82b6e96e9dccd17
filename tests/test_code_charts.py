"""The codes of a layer: each counted, the rails in a colour of their own."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons_for_tests import (
    CHART_CODES,
    COLORS,
    compare_charted,
    measure_charted,
)

from playground.utils.figures import (
    code_charts,
)
from playground.utils.parameter_inspector import (
    CodeCounts,
    count_codes,
)


def test_every_code_has_its_count_and_the_rails_stand_out():
    measured = measure_charted()
    codes = count_codes(measured)
    ax = code_charts.draw_codes(codes, COLORS).axes[0]
    steps, *rails = ax.patches
    expected = np.bincount(CHART_CODES.reshape(-1).astype(int) + 128, minlength=256)
    assert steps.get_data().values.tolist() == expected.tolist()
    assert steps.get_data().edges[0] == -128.5
    middles = [rail.get_x() + rail.get_width() / 2 for rail in rails]
    assert middles == pytest.approx([-127, 127])
    assert [rail.get_height() for rail in rails] == [1, 6]
    assert ax.get_title(loc="right").endswith(f"{7 / CHART_CODES.size:.2%} at the rails")
    words = code_charts.describe_codes(codes, "conv")
    assert f"{np.unique(CHART_CODES).size} of 256 codes occur" in words
    assert "1 at −127, 6 at 127." in words


def test_sixteen_bit_codes_are_drawn_several_to_a_step():
    counts = np.zeros(65536, np.int64)
    counts[[5, 40000, 40001]] = (2, 3, 4)
    ax = code_charts.plot_codes(CodeCounts(-32768, counts, (-32767, 32767)), color="k")
    values = ax.patches[0].get_data().values
    assert len(values) == 256
    assert (values.sum(), values[40000 // 256]) == (9, 7)


def test_float_weights_have_no_codes():
    assert count_codes({"FP32": compare_charted().weights["conv"]["FP32"]}) == {}
