"""What is said of the codes of a weight is what counting them says."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_tests import dequantize_node, floats, matmul_model

from playground.utils.parameter_inspector import MeasuredWeight, compare_variants, load_model
from playground.utils.parameter_inspector.measuring.code_counts import CodeCounts, count_codes

CODES = np.int8([[-127, -127, 0], [127, 5, 0], [7, 7, 7]])


def measured(codes: np.ndarray) -> dict[str, MeasuredWeight]:
    arrays = {"q": codes, "s": np.float32(0.5), "z": codes.dtype.type(0)}
    model = matmul_model([dequantize_node()], arrays, inner=3)
    return dict(compare_variants({"INT8": load_model(model)}).weights["matmul"])


def test_each_code_is_counted_at_its_place():
    counts = CodeCounts.of(measured(CODES)["INT8"])
    wanted = {code: int((code == CODES).sum()) for code in set(CODES.flat)}
    found = {i + counts.first: int(n) for i, n in enumerate(counts.counts) if n}
    assert (found, counts.used) == (wanted, len(wanted))


@pytest.mark.parametrize(("lowest", "rails"), [(-127, (-127, 127)), (-128, (-128, 127))])
def test_a_symmetric_scheme_has_its_rail_one_higher_until_the_lowest_code_occurs(lowest, rails):
    codes = np.where(CODES == -127, lowest, CODES).astype(np.int8)
    counts = CodeCounts.of(measured(codes)["INT8"])
    assert (counts.rails, counts.at_rails) == (rails, (2, 1))
    assert counts.rails_share == 3 / 9


def test_a_float_weight_has_no_codes_to_count():
    model = matmul_model([], {"w": floats(3, 5)}, inner=3)
    comparison = compare_variants({"FP32": load_model(model)})
    assert count_codes(comparison.weights["matmul"]) == {}
