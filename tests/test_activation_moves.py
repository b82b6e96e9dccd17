"""What could become of an activation: ranges against closed forms and onnxruntime's quantizer."""

from dataclasses import replace

import numpy as np
import pytest
from measured_for_tests import make_quantizer, make_statistics
from onnxruntime.quantization.quant_utils import compute_scale_zp

from playground.utils.parameter_inspector.changing.activation_moves import (
    Observed,
    fit_scheme,
    least_squares_range,
    list_activation_moves,
    move_for,
    percentile_range,
)
from playground.utils.parameter_inspector.changing.moves import MoveKind, RangeRule

LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}


def quantizer(**more):
    return replace(make_quantizer(1, "x", "conv"), **more)


def moves_of(one, **more):
    statistics = replace(make_statistics(one.index), **more)
    return list_activation_moves([one], {one.index: statistics})


@pytest.mark.parametrize("data_type", LIMITS)
@pytest.mark.parametrize("ends", [(-1.5, 3.25), (0.5, 6.0), (-7.0, -2.0)])
def test_a_range_gets_the_scale_and_zero_point_of_onnxruntimes_quantizer(data_type, ends):
    low, high = (np.array(limit, data_type) for limit in LIMITS[data_type])
    zero, scale = compute_scale_zp(np.float32(ends[0]), np.float32(ends[1]), low, high)
    found = fit_scheme(data_type, ends)
    assert found.zero_point == int(zero)
    assert found.scale == pytest.approx(float(scale), rel=1e-6)


def test_a_symmetric_range_has_its_zero_point_in_the_middle():
    assert fit_scheme("int8", (-1.0, 4.0), symmetric=True).zero_point == 0
    assert fit_scheme("int8", (-1.0, 4.0), symmetric=True).scale == pytest.approx(4 / 127)


def test_a_tensor_of_zeros_gets_a_scale_all_the_same():
    assert fit_scheme("uint8", (0.0, 0.0)).scale > 0


def test_the_least_squared_error_of_one_far_value_leaves_it_out():
    values = np.concatenate([np.linspace(0, 1, 1000), [10.0]])
    counts = np.ones(1001)
    ends = least_squares_range(Observed(0.0, 10.0, values, counts), steps=15)
    grid = [10 * part for part in np.linspace(0.1, 1, 37)]

    def error(high):
        step = high / 15
        held = np.clip(np.rint(values / step), 0, 15) * step
        return np.square(held - values).sum()

    assert ends[0] == 0
    assert error(ends[1]) <= 1.1 * min(map(error, grid))


def test_a_percentile_leaves_out_what_is_beyond_it():
    observed = Observed(0.0, 999.0, np.arange(1000.0), np.ones(1000))
    low, high = percentile_range(observed, 99.0)
    assert low == pytest.approx(5, abs=1) and high == pytest.approx(995, abs=1)


def test_the_last_move_is_always_float():
    assert moves_of(quantizer())[-1].kind is MoveKind.FREE


def test_a_quantizer_that_is_computed_while_the_model_runs_can_only_be_freed():
    found = moves_of(quantizer(scale=None, zero_point=None))
    assert [move.kind for move in found] == [MoveKind.FREE]


def test_a_constant_that_is_not_finite_can_only_be_freed():
    assert [move.kind for move in moves_of(quantizer(), low=-np.inf)] == [MoveKind.FREE]


def test_sixteen_bits_hold_what_was_seen_and_what_the_file_holds():
    wide = next(m for m in moves_of(quantizer()) if m.kind is MoveKind.WIDEN)
    low, high = wide.activation.bounds
    assert low <= -60 + 0.01 and high >= 77.5 - 0.01


def test_sixteen_bits_do_not_keep_a_range_far_beyond_what_was_seen():
    one = quantizer(scale=np.float32(1e30).reshape(()))
    wide = next(m for m in moves_of(one) if m.kind is MoveKind.WIDEN)
    assert wide.activation.scale < 1


def test_a_16_bit_quantizer_is_not_widened():
    one = quantizer(data_type="uint16", code_limits=(0, 65535), zero_point=np.uint16(9).reshape(()))
    assert MoveKind.WIDEN not in [move.kind for move in moves_of(one)]


def test_a_symmetric_quantizer_may_get_the_other_sign():
    one = quantizer(data_type="int8", code_limits=(-128, 127), zero_point=np.int8(0).reshape(()))
    found = next(m for m in moves_of(one, low=0.0) if m.kind is MoveKind.SIGN)
    assert found.activation.data_type == "uint8" and found.activation.zero_point == 0


def test_the_range_of_the_samples_is_one_of_the_ranges():
    found = moves_of(quantizer(), low=-5.0, high=5.0)
    rules = {move.rule for move in found if move.kind is MoveKind.RANGE}
    assert RangeRule.MIN_MAX in rules


def test_a_member_of_a_group_gets_the_scale_times_its_factor():
    first, double = quantizer(), quantizer(index=2, scale=np.float32(1.0).reshape(()))
    found = list_activation_moves([first, double], {1: make_statistics(1)})
    wide = next(move for move in found if move.kind is MoveKind.WIDEN)
    assert move_for(wide, double).scale == pytest.approx(2 * move_for(wide, first).scale)
