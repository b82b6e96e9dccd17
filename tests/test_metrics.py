"""The numbers are those of closed forms and of numpy, read through real QDQ models.

Every metric of `METRICS` has an oracle here that works on plain arrays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from gemm_cases import (
    CHANNELS,
    COUNT,
    draw_gaussian,
    gemm,
    measured,
    metrics_of,
    quantized,
    symmetric,
)
from models_for_tests import codes, dequantize_node, floats, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import (
    METRICS,
    MeasuredWeight,
    compare_variants,
    create_summary_stats,
    find_layer,
    load_model,
)
from playground.utils.parameter_inspector.measuring.metrics import find_grid
from playground.utils.parameter_inspector.measuring.weight_sums import sum_weight
from playground.utils.parameter_inspector.records import SummaryStats


def evenly(low: float, high: float, *shape: int) -> np.ndarray:
    """Return the uniform distribution without chance, in an order that no code depends on."""
    line = np.linspace(low, high, math.prod(shape))
    return np.random.default_rng(0).permutation(line).reshape(shape).astype(np.float32)


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    return draw_gaussian()


# --------------------------------------------------------------- SQNR, closed form


@pytest.mark.parametrize("bits", [8, 7, 6, 4])
def test_uniform_weights_have_20_log10_of_the_steps(bits):
    """48.10, 42.0, 35.9 and 22.9 dB."""
    found = metrics_of(evenly(-1, 1, CHANNELS, 50_000), bits=bits)["sqnr_db"]
    assert found == pytest.approx(20 * math.log10(2**bits - 2), abs=0.02)


def test_a_full_scale_sine_has_50_db():
    phase = 2 * np.pi * (np.arange(COUNT // 4) + 0.5) / (COUNT // 4)
    found = metrics_of(np.sin(phase).reshape(CHANNELS, -1).astype(np.float32))["sqnr_db"]
    assert found == pytest.approx(49.95, abs=0.02)


def test_gaussian_weights_have_39_db(gaussian):
    """Rounding: scale^2 / 12 of a signal of 1; the scale is the largest of 2e6 draws / 127."""
    found = metrics_of(gaussian)["sqnr_db"]
    assert found == pytest.approx(39.1, abs=0.6)
    scale = np.abs(gaussian).max() / 127
    assert found == pytest.approx(10 * math.log10(12 / scale**2), abs=0.02)


def test_laplace_weights_have_31_db():
    x = np.random.default_rng(0).laplace(size=(CHANNELS, COUNT // CHANNELS)).astype(np.float32)
    found = metrics_of(x)["sqnr_db"]
    assert found == pytest.approx(31.5, abs=1.5)
    scale = np.abs(x).max() / 127
    assert found == pytest.approx(10 * math.log10(2 * 12 / scale**2), abs=0.1)


@pytest.mark.parametrize(("sigmas", "decibels"), [(3, 33.4), (4, 40.4), (5, 38.9), (6, 37.3)])
def test_gaussian_weights_clipped_at_so_many_sigma(gaussian, sigmas, decibels):
    """Rounding within, and beyond k the mean of (abs(x) - k)^2: 2 ((1 + k^2) Q(k) - k phi(k))."""
    tail = math.erfc(sigmas / math.sqrt(2)) / 2
    density = math.exp(-(sigmas**2) / 2) / math.sqrt(2 * math.pi)
    clipped = 2 * ((1 + sigmas**2) * tail - sigmas * density)
    rounded = (sigmas / 127) ** 2 / 12 * (1 - 2 * tail)
    found = metrics_of(gaussian, limit=sigmas)["sqnr_db"]
    assert found == pytest.approx(-10 * math.log10(clipped + rounded), abs=0.1)
    assert found == pytest.approx(decibels, abs=0.25)


def test_one_outlier_of_ten_times_the_largest_costs_20_db(gaussian):
    x = gaussian.copy()
    before = metrics_of(x)["sqnr_db"]
    x[3, 5] = 10 * np.abs(x).max()
    after = metrics_of(x)["sqnr_db"]
    assert before - after == pytest.approx(20, abs=0.3)
    assert after == pytest.approx(19.2, abs=0.6)


# --------------------------------------------------------------- collapse


@pytest.fixture(scope="module")
def collapsed() -> MeasuredWeight:
    """32 channels over three decades, one scale."""
    x = np.stack([evenly(-1, 1, 9_000) * 10 ** (-3 * i / 31) for i in range(32)])
    return measured(x.astype(np.float32), symmetric(x))


def test_the_score_of_the_tensor_hides_the_collapse_of_channels(collapsed):
    """Each channel adds its square to the signal, and to the error scale^2 / 12, or all of it."""
    widths = 10 ** (-3 * np.arange(32) / 31)
    error = np.where(widths > 1 / 254, 1 / 127**2 / 12, widths**2 / 3)
    closed = 10 * math.log10((widths**2 / 3).sum() / error.sum())
    assert collapsed.metrics["sqnr_db"] == pytest.approx(closed, abs=0.1)
    assert collapsed.metrics["sqnr_db"] == pytest.approx(37.5, abs=0.7)


def test_the_channels_tell_of_their_collapse(collapsed):
    sums = collapsed.sums
    channels = 10 * np.log10(sums.x_square / sums.e_square)
    assert collapsed.metrics["dead_channels"] == 7
    assert np.median(channels) == pytest.approx(18, abs=0.2)
    assert collapsed.metrics["worst_channel_sqnr_db"] == pytest.approx(channels.min())
    assert collapsed.metrics["worst_channel_sqnr_db"] <= 0 + 1e-9
    assert collapsed.metrics["worst_channel"] >= 32 - 7
    assert collapsed.metrics["channels_under_20_db"] == pytest.approx((channels < 20).mean())
    # Half of the channels lie above the geometric middle of three decades.
    assert collapsed.metrics["range_disparity"] == pytest.approx(10**1.5, rel=0.02)


def test_a_narrow_channel_beside_a_wide_one_is_all_zero():
    x = np.stack([evenly(-128, 128, 5_000), evenly(-0.499, 0.499, 5_000)])
    found = measured(x, symmetric(x))
    sums = found.sums
    channels = 10 * np.log10(sums.x_square / sums.e_square)
    assert found.metrics["sqnr_db"] == pytest.approx(44.9, abs=0.3)
    assert channels[0] == pytest.approx(47.9, abs=0.3)
    assert found.metrics["worst_channel_sqnr_db"] == pytest.approx(0, abs=1e-9)
    assert (found.metrics["worst_channel"], found.metrics["dead_channels"]) == (1, 1)


# --------------------------------------------------------------- codes to values


@pytest.mark.parametrize(
    ("dtype", "code", "zero_point", "steps"), [(np.uint8, 100, 128, -28), (np.int8, 100, -100, 200)]
)
def test_a_code_minus_its_zero_point_does_not_wrap(dtype, code, zero_point, steps):
    found = measured(None, quantized(np.full((2, 3), code, dtype), 0.25, zero_point)).metrics
    assert (found["range_low"], found["range_high"]) == (steps * 0.25, steps * 0.25)


def test_the_example_of_scales_per_column_has_the_ranges_of_its_values():
    """[[1,1,1],[4,4,4]], scale [0.5,2,10], zero-point [0,1,-1]: [[0.5,0,20],[2,6,50]]."""
    arrays = {
        "q": np.int8([[1, 1, 1], [4, 4, 4]]),
        "s": np.float32([0.5, 2, 10]),
        "z": np.int8([0, 1, -1]),
    }
    nodes = [dequantize_node(axis=1), helper.make_node("MatMul", ["x", "w"], ["y"], "fc")]
    model = make_model(nodes, arrays, inputs={"x": (7, 2)})
    found = compare_variants({"INT8": load_model(model)}).weights["fc"]["INT8"]
    assert found.sums.low.tolist() == [0.5, 0, 20]
    assert found.sums.high.tolist() == [2, 6, 50]


# --------------------------------------------------------------- bias


def test_a_bias_beyond_int32_is_saturated():
    """5 / (0.5 * 7.843e-10) is 1.275e10."""
    q = np.int8([[1, 2, 3], [4, 5, 6]])
    model = quantized(q, 7.843e-10, bias=np.float32([5, -4.5]), input_scale=0.5)
    assert measured(None, model).metrics["bias_saturation"] == 1


def test_a_bias_within_int32_is_not_saturated():
    q = np.int8([[1, 2, 3], [4, 5, 6]])
    model = quantized(q, 0.01, bias=np.float32([5, -4.5]), input_scale=0.5)
    assert measured(None, model).metrics["bias_saturation"] == 0


@pytest.mark.parametrize(("code", "share"), [(2**31 - 128, 0), (2**31, 1), (-(2**31) - 256, 1)])
def test_a_bias_is_saturated_from_the_first_code_that_int32_does_not_hold(code, share):
    """The scales are powers of two, so that each code is exact in float32."""
    q = np.int8([[1, 2, 3], [4, 5, 6]])
    bias = np.full(2, code * 2.0**-10, np.float32)
    model = quantized(q, 2.0**-9, bias=bias, input_scale=0.5)
    assert measured(None, model).metrics["bias_saturation"] == share


def test_the_share_of_int32_codes_at_the_rails_is_the_saturation_of_a_quantized_bias():
    codes = np.int32([2**31 - 1, -(2**31), -(2**31) + 1, 7, 2**31 - 2])
    q = np.arange(15, dtype=np.int8).reshape(5, 3)
    model = quantized(q, 0.01, bias=codes, bias_scale=0.005)
    assert measured(None, model).metrics["bias_saturation"] == pytest.approx(3 / 5)


# --------------------------------------------------------------- every metric of the table


@dataclass(frozen=True)
class Plain:
    """A quantized Gemm as plain arrays, float64, one row for each output channel."""

    x: np.ndarray
    q: np.ndarray
    s: np.ndarray
    z: np.ndarray
    limits: tuple[int, int]
    bias: np.ndarray | None
    bias_scale: np.ndarray | None
    input_scale: float
    scale_as_stored: np.ndarray

    @property
    def v(self) -> np.ndarray:
        return (self.q - self.z) * self.s

    @property
    def e(self) -> np.ndarray:
        return self.x - self.v

    @property
    def channels_db(self) -> np.ndarray:
        return 20 * np.log10(np.linalg.norm(self.x, axis=1) / np.linalg.norm(self.e, axis=1))

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        return (self.limits[0] - self.z) * self.s, (self.limits[1] - self.z) * self.s


def clipping_share(p: Plain) -> float:
    outside = (p.x < p.ends[0]) | (p.x > p.ends[1])
    return (p.e[outside] ** 2).sum() / (p.e**2).sum()


def saturation_share(p: Plain) -> float:
    low, high = p.limits
    if low < 0 and not p.z.any() and not (p.q == low).any():
        low += 1
    return float(((p.q == low) | (p.q == high)).mean())


def entropy_bits(p: Plain) -> float:
    times = Counter(p.q.reshape(-1).tolist()).values()
    return -sum(n / p.q.size * math.log2(n / p.q.size) for n in times)


def range_disparity(p: Plain) -> float:
    widths = sorted(np.abs(p.x).max(axis=1))
    middle = (widths[(len(widths) - 1) // 2] + widths[len(widths) // 2]) / 2
    return widths[-1] / middle


def bias_scale_error(p: Plain) -> float:
    if p.bias_scale is None:
        return math.nan
    return float(np.abs(p.bias_scale / (p.input_scale * p.scale_as_stored) - 1).max())


def bias_saturation(p: Plain) -> float:
    if p.bias is None:
        return math.nan
    if p.bias_scale is not None:
        return float(np.isin(np.abs(p.bias), [2**31 - 1, 2**31]).mean())
    return float((np.abs(np.rint(p.bias / (p.input_scale * p.scale_as_stored))) > 2**31 - 1).mean())


def db_lost_of(p: Plain) -> float:
    tried = []
    for factor in (1, *np.geomspace(0.02, 8, 300)):
        step = p.s * factor
        q = np.clip(np.rint(p.x / step) + p.z, *p.limits)
        rows = ((p.x - (q - p.z) * step) ** 2).sum(axis=1)
        tried.append(rows if p.scale_as_stored.ndim else rows.sum(keepdims=True))
    return float(10 * np.log10(tried[0].sum() / np.min(tried, axis=0).sum()))


ORACLES: dict[str, Callable[[Plain], float]] = {
    "worst_channel_sqnr_db": lambda p: p.channels_db.min(),
    "worst_channel": lambda p: int(p.channels_db.argmin()),
    "channels_under_20_db": lambda p: sum(p.channels_db < 20) / len(p.x),
    "sqnr_db": lambda p: 20 * math.log10(np.linalg.norm(p.x) / np.linalg.norm(p.e)),
    "dead_channels": lambda p: sum(
        bool((q == z).all() and x.any()) for q, z, x in zip(p.q, p.z, p.x, strict=True)
    ),
    "range_disparity": range_disparity,
    "db_lost_to_scale": db_lost_of,
    "rmse_steps": lambda p: math.sqrt(np.mean((p.e / p.s) ** 2)),
    "max_error_steps": lambda p: np.abs(p.e / p.s).max(),
    "max_abs_error": lambda p: np.abs(p.e).max(),
    "clipping_share": clipping_share,
    "saturation_share": saturation_share,
    "used_codes_share": lambda p: len(set(p.q.reshape(-1))) / (p.limits[1] - p.limits[0] + 1),
    "code_entropy_bits": entropy_bits,
    "bias_scale_error": bias_scale_error,
    "bias_saturation": bias_saturation,
    "range_low": lambda p: p.v.min(),
    "range_high": lambda p: p.v.max(),
    "representable_low": lambda p: p.ends[0].min(),
    "representable_high": lambda p: p.ends[1].max(),
}
# The search goes in steps of 9 %, which is 0.75 dB where rounding is all there is (16 bits).
TOLERANCES = {"db_lost_to_scale": {"abs": 0.9}}


def case(
    dtype: type = np.int8,
    per_channel: bool = True,
    bias: str = "int32",
    zero_point: bool = True,
    reach: float = 0.7,
    shape: tuple[int, int] = (7, 300),
) -> tuple[Plain, np.ndarray, onnx.ModelProto]:
    """Return a weight of which some is clipped, one channel is dead and one is zero."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape) * np.geomspace(0.2, 5, shape[0])[:, None]
    x[2], x[4] = 0, x[4] * 1e-4
    x = x.astype(np.float32)
    info = np.iinfo(dtype)
    span = np.abs(x).max(axis=1) if per_channel else np.abs(x).max()
    s = np.asarray(np.where(span > 0.01, 2 * reach * span, 2) / (info.max - info.min), np.float32)
    middle = (int(info.min) + int(info.max) + 1) // 2
    shift = rng.integers(1, 9, s.shape) if zero_point else 0
    z = np.asarray(np.zeros(s.shape) + middle + shift).astype(dtype)
    wide = [np.asarray(a, np.float64).reshape(-1, 1) for a in (s, z)]
    full_s, full_z = (np.broadcast_to(a, (shape[0], 1)) for a in wide)
    q = np.clip(np.rint(x / full_s) + full_z, info.min, info.max)
    options: dict[str, Any] = {}
    stored_bias = bias_scale = None
    if bias == "int32":
        stored_bias = rng.integers(-9999, 9999, shape[0]).astype(np.int32)
        stored_bias[3] = 2**31 - 1
        bias_scale = (0.3 * s * (1 + 0.01 * rng.random(s.shape))).astype(np.float32)
        options = {"bias": stored_bias, "bias_scale": bias_scale}
    elif bias == "float":
        stored_bias = (rng.normal(size=shape[0]) * 1e3).astype(np.float32)
        stored_bias[[1, 5]] = 1e12, -1e12
        options = {"bias": stored_bias}
    model = quantized(q.astype(dtype), s, z, input_scale=0.3, **options)
    plain = Plain(
        x.astype(np.float64), q, full_s, full_z, (int(info.min), int(info.max)),
        None if stored_bias is None else stored_bias.astype(np.float64),
        None if bias_scale is None else bias_scale.astype(np.float64),
        float(np.float32(0.3)), s.astype(np.float64),
    )  # fmt: skip
    return plain, x, model


CASES: dict[str, Callable[[], tuple[Plain, np.ndarray, onnx.ModelProto]]] = {
    "int8 per channel": case,
    "int8 per tensor": partial(case, per_channel=False),
    "int8 symmetric": partial(case, zero_point=False, reach=1.0, bias="none", shape=(8, 90)),
    "int8 too wide": partial(case, reach=3.0, bias="float"),
    "uint8 per channel": partial(case, dtype=np.uint8, bias="float"),
    "uint8 per tensor": partial(case, dtype=np.uint8, per_channel=False, bias="none"),
    "int16 per channel": partial(case, dtype=np.int16),
    "uint16 per tensor": partial(case, dtype=np.uint16, per_channel=False, bias="float"),
}


def test_every_metric_of_the_table_has_an_oracle():
    assert [metric.name for metric in METRICS] == list(ORACLES)


@pytest.fixture(scope="module")
def all_measured() -> dict[str, tuple[Plain, MeasuredWeight]]:
    return {name: (plain, measured(x, m)) for name, (plain, x, m) in
            ((name, make()) for name, make in CASES.items())}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_what_numpy_says_by_its_definition(all_measured, name, metric):
    plain, found = all_measured[name]
    with np.errstate(all="ignore"):
        keep = plain.x.any(axis=1)
        wanted = ORACLES[metric.name](known_channels(plain, metric.name, keep))
    options = TOLERANCES.get(metric.name, {"rel": 2e-5, "abs": 1e-9})
    assert metric.compute(found) == pytest.approx(channel_number(wanted, metric.name, keep),
                                                  nan_ok=True, **options)  # fmt: skip


OVER_CHANNELS = ("worst_channel_sqnr_db", "worst_channel", "channels_under_20_db")


def known_channels(plain: Plain, metric: str, keep: np.ndarray) -> Plain:
    """Leave out the channel that is all zero, which has no SQNR, where one is asked for."""
    if metric not in OVER_CHANNELS:
        return plain
    arrays = {name: getattr(plain, name)[keep] for name in ("x", "q", "s", "z")}
    return replace(plain, **arrays)


def channel_number(wanted: float, metric: str, keep: np.ndarray) -> float:
    return float(np.flatnonzero(keep)[int(wanted)]) if metric == "worst_channel" else float(wanted)


def test_the_cases_show_every_metric_at_work(all_measured):
    """No metric is the same everywhere, none is NaN everywhere."""
    for metric in METRICS:
        values = {metric.compute(found) for _, found in all_measured.values()}
        assert len({v for v in values if v == v}) > 1, metric.name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_that_needs_the_float_weight_is_nan_without_it_and_only_then(metric):
    _, _, model = case()
    value = metric.compute(measured(None, model))
    assert math.isnan(value) == metric.needs_float


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_of_a_float_weight_is_a_number_only_where_no_codes_are_needed(metric):
    x = floats(5, 7)
    identity = helper.make_node("Relu", ["x"], ["a"])
    model = load_model(gemm([identity], {"w": x}, 7))
    value = metric.compute(compare_variants({"FP32": model}).weights["fc"]["FP32"])
    assert math.isnan(value) == (metric.name not in ("range_low", "range_high", "range_disparity"))


def test_the_metrics_of_a_layer_are_those_of_the_table(all_measured):
    _, found = all_measured["int8 per channel"]
    assert list(found.metrics) == [metric.name for metric in METRICS]


# --------------------------------------------------------------- limits


def test_a_weight_that_lost_nothing_has_infinite_sqnr():
    q = np.arange(-6, 9, dtype=np.int8).reshape(5, 3)
    found = measured((q * 0.5).astype(np.float32), quantized(q, 0.5)).metrics
    assert (found["sqnr_db"], found["worst_channel_sqnr_db"]) == (math.inf, math.inf)
    assert (found["channels_under_20_db"], found["max_abs_error"]) == (0, 0)
    assert found["clipping_share"] == 0


def test_nothing_is_lost_to_the_scale_of_a_weight_that_lost_nothing():
    q = np.arange(-6, 9, dtype=np.int8).reshape(5, 3)
    found = measured((q * 0.5).astype(np.float32), quantized(q, 0.5)).metrics
    assert found["db_lost_to_scale"] in (0, pytest.approx(math.nan, nan_ok=True))


def test_a_weight_of_zeros_has_no_sqnr_and_no_dead_channels():
    """Two weights of zeros are paired by name alone, and so the original is not asked."""
    x, q = np.zeros((5, 3), np.float32), np.zeros((5, 3), np.int8)
    identity = helper.make_node("Relu", ["x"], ["a"])
    models = load_model(quantized(q, 0.5)), load_model(gemm([identity], {"w": x}, 3))
    layer, original = (find_layer(model, "fc") for model in models)
    found = MeasuredWeight(
        layer, layer.weight, sum_weight(layer.weight, layer, original.weight, original)
    ).metrics
    assert math.isnan(found["sqnr_db"]) and math.isnan(found["worst_channel"])
    assert found["dead_channels"] == 0


def test_the_lowest_code_is_a_rail_once_it_occurs():
    """-127 is the low rail of a symmetric int8 where -128 never occurs, else -128."""
    q = np.int8([[-127, 5, 6, 127]])
    assert measured(None, quantized(q, 0.5)).metrics["saturation_share"] == 0.5
    q = np.int8([[-128, -127, 6, 127]])
    assert measured(None, quantized(q, 0.5)).metrics["saturation_share"] == 0.5
    q = np.int8([[-127, 5, 6, 127]])
    assert measured(None, quantized(q, 0.5, 1)).metrics["saturation_share"] == 0.25


def test_a_single_code_has_no_entropy_and_uses_one_of_256():
    found = measured(None, quantized(np.full((2, 3), 7, np.int8), 0.5)).metrics
    assert (found["code_entropy_bits"], found["used_codes_share"]) == (0, 1 / 256)


def test_every_code_once_has_eight_bits():
    q = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)
    found = measured(None, quantized(q, scales(4))).metrics
    assert (found["code_entropy_bits"], found["used_codes_share"]) == (8, 1)


# --------------------------------------------------------------- summaries


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), [0.5]], ids=repr
)
def test_a_scalar_is_its_own_summary(value):
    assert create_summary_stats(value) == SummaryStats(1, 0.5, 0.5, 0.5)


def test_a_scalar_is_written_as_its_value():
    assert str(create_summary_stats(np.float32(0.0123))) == "0.0123"


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5)], ids=str)
def test_an_array_is_summed_up_as_numpy_does(shape):
    array = floats(*shape)
    stats = create_summary_stats(array)
    wide = array.astype(np.float64)
    assert stats == SummaryStats(array.size, wide.min(), wide.max(), wide.mean())


def test_an_array_is_written_as_min_max_and_mean():
    assert str(create_summary_stats([1, 2, 6])) == "min 1, max 6, mean 3"


def test_nothing_is_written_as_none():
    stats = create_summary_stats(np.zeros(0, np.float32))
    assert str(stats) == "none"
    assert (stats.count, math.isnan(stats.mean)) == (0, True)


def test_nan_in_is_nan_out():
    stats = create_summary_stats(np.float32([1, np.nan]))
    assert [math.isnan(x) for x in (stats.min, stats.max, stats.mean)] == [True, True, True]


@pytest.mark.parametrize("data_type", ["int4", "uint4", "int8", "uint8", "float8e4m3fn", "int32"])
def test_narrow_types_are_summed_up_without_wrapping(data_type):
    array = codes(data_type, 3, 7)
    wide = array.astype(np.float64)
    assert create_summary_stats(array) == SummaryStats(21, wide.min(), wide.max(), wide.mean())


def test_the_mean_of_float16_does_not_overflow():
    assert create_summary_stats(np.full(100, 60000, np.float16)).mean == 60000


def test_bfloat16_is_read_as_a_number():
    assert create_summary_stats(ml_dtypes.bfloat16(0.5)).min == 0.5


def test_a_signalling_nan_is_on_no_grid():
    # Found by fuzzing: to convert one raises a flag of the processor.
    weights = np.full((2, 9), 0x7F800001, np.uint32).view(np.float32)
    assert find_grid(weights) is None
