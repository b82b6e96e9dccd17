"""What flows through a quantizer, counted in the graph, against numpy on known values."""

import numpy as np
import pytest
from networks_to_run import measure, model, node, pair, run, sqnr_db, switch

from playground.utils.parameter_inspector.facts import QuantizerKind
from playground.utils.parameter_inspector.measuring.outputs import Quantizer
from playground.utils.parameter_inspector.running.statistics_model import (
    create_statistics_model,
    representable,
)


@pytest.fixture(scope="module")
def flowing():
    """A tensor of known values, quantized to int8 in steps of 0.5, then doubled."""
    nodes = [node("Identity", "x", "same"), node("Abs", "same", "a"), node("Neg", "a", "y")]
    original = model(nodes, {"x": ["N", 1000]}, ["y"], opset=17)
    variant = model(
        [*nodes[:2], *pair("a"), node("Neg", "a_dq", "y")],
        {"x": ["N", 1000]}, ["y"], {"s": np.float32(0.5), "z": np.int8(0)}, opset=17,
    )  # fmt: skip
    x = np.zeros((2, 1000), np.float32)
    x[:, :10] = [0.1, 0.2, 1, 1.1, 3, 60, 63, 64, 70, 90]
    outputs = measure(original, variant, {"x": x})
    return x, outputs.statistics[0]


def test_the_observed_range_is_that_of_the_samples(flowing):
    x, found = flowing
    assert (found.low, found.high) == (x.min(), x.max())
    assert found.represented == (-64, 63.5)


def test_what_lies_beyond_the_range_is_clipped(flowing):
    x, found = flowing
    assert found.clipped_share == pytest.approx((x > 63.75).mean())
    held = np.clip(np.rint(x / 0.5), -128, 127) * 0.5
    over = np.square(x - np.clip(x, -64, 63.5)).sum() / np.square(x - held).sum()
    assert found.clipped_error_share == pytest.approx(over, rel=1e-5)


def test_small_values_that_become_zero_are_counted_among_the_nonzero(flowing):
    assert flowing[1].zeroed_share == pytest.approx(2 / 10)


def test_codes_are_counted(flowing):
    x, found = flowing
    codes = np.clip(np.rint(x / 0.5), -128, 127).astype(int) + 128
    np.testing.assert_array_equal(found.histogram, np.bincount(codes.reshape(-1), minlength=256))
    assert found.codes_used_share == len(np.unique(codes)) / 256


def test_the_percentile_leaves_one_in_a_thousand_above(flowing):
    assert flowing[1].p999 == 90
    assert flowing[1].outlier_ratio == 1


def test_the_local_error_is_that_on_float_inputs(flowing):
    x, found = flowing
    held = np.clip(np.rint(x / 0.5), -128, 127) * 0.5
    assert found.local_db == pytest.approx(sqnr_db(x, held), abs=1e-3)
    assert found.cumulative_db == pytest.approx(found.local_db, abs=1e-3)


def test_both_networks_stand_in_one_graph_and_only_two_tensors_come_out():
    nodes = [node("Abs", "x", "a"), node("Neg", "a", "y")]
    original = model(nodes, {"x": ["N", 4]}, ["y"])
    variant = model(
        [nodes[0], *pair("a"), node("Neg", "a_dq", "y")],
        {"x": ["N", 4]}, ["y"], {"s": np.float32(0.5), "z": np.int8(0)},
    )  # fmt: skip
    found = create_statistics_model(switch(original, variant))
    x = np.array([[0.2, -1, 3, 100]], np.float32)
    numbers, histograms = run(found.proto, {"x": x})
    counted = dict(zip((kind for _, kind in found.numbers), numbers, strict=True))
    held = np.clip(np.rint(np.abs(x) / 0.5), -128, 127) * 0.5
    noise = np.square(np.abs(x) - held).sum()
    assert (counted["low"], counted["high"], counted["count"]) == pytest.approx((0.2, 100, 4))
    assert (counted["noise"], counted["away"]) == pytest.approx((noise, noise))
    assert found.histograms == (0,)
    assert sorted(np.flatnonzero(histograms)) == [128 + code for code in (0, 2, 6, 127)]


@pytest.mark.parametrize(
    "scale, zero_point, limits, ends",
    [
        (0.5, None, (-128, 127), (-64, 63.5)),
        (0.25, 128, (0, 255), (-32, 31.75)),
        ([0.5, 2], [0, 1], (-2, 1), (-6, 0.5)),
        (None, None, (0, 255), None),
        (0.5, None, None, None),
    ],
)
def test_what_a_scale_can_hold_lies_between_its_lowest_and_its_highest_code(
    scale, zero_point, limits, ends
):
    quantizer = Quantizer(
        index=0,
        kind=QuantizerKind.ACTIVATION,
        tensor="t",
        layers=(),
        data_type="int8",
        scale=None if scale is None else np.array(scale, np.float32),
        zero_point=None if zero_point is None else np.array(zero_point),
        code_limits=limits,
        group=0,
    )
    assert representable(quantizer) == ends
