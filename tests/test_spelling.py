"""Numbers and names as words: one spelling for tables, pictures, page and report."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from playground.utils import spelling
from playground.utils.parameter_inspector import METRICS
from playground.utils.parameter_inspector.measuring.metrics import MetricKind
from playground.utils.spelling import format_tick


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (-1.23456, "−1.23"), (0.00012345, "0.000123"), (12345.6, "12,346"), (1e9, "1e+09")],
)
def test_numbers_keep_three_digits(number, text):
    assert spelling.format_number(number) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (82966, "83 kB"), (3_593_903, "3.59 MB"), (2e9, "2 GB")],
)
def test_sizes_are_said_as_people_say_them(count, text):
    assert spelling.format_bytes(count) == text


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        (30.0, 30.0, "no change"),
        (10.0, 30.25, "−20.2 dB"),
        (math.inf, 30.0, "now lossless"),
        (30.0, math.inf, "no longer lossless"),
        (math.inf, math.inf, "no change"),
        (math.nan, 30.0, "–"),
    ],
)
def test_a_difference_in_decibels_is_said_even_where_it_is_no_number(after, before, words):
    assert spelling.format_gain(after, before) == words


def test_growth_is_in_percent_with_its_sign():
    assert spelling.format_growth(1004, 1000) == "+0.4%"
    assert spelling.format_growth(644, 1000) == "−35.6%"
    assert spelling.format_growth(2624, 1000) == "+162%"
    assert spelling.format_growth(1000, 1000) == "no change"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("DECIBELS", -1.25, "−1.2"),
        ("DECIBELS", math.inf, "lossless"),
        ("SHARE", 0.96875, "96.9%"),
        ("SHARE", math.nan, "–"),
        ("COUNT", 12345.0, "12,345"),
        ("INDEX", 1234.0, "1234"),
        ("INDEX", math.nan, "–"),
        ("RATIO", math.inf, "∞"),
        ("STEPS", 0.288675, "0.289"),
        ("VALUE", -0.0123456, "−0.0123"),
    ],
)
def test_a_metric_is_written_as_its_kind_asks(kind, value, text):
    metric = replace(METRICS[0], kind=MetricKind[kind])
    assert spelling.format_metric(metric, value) == text


def test_every_kind_of_metric_is_written():
    for metric in METRICS:
        assert spelling.format_metric(metric, 0.5)
        assert spelling.format_metric(metric, math.nan) == "–"


def test_decibels_have_their_unit_where_they_are_a_number():
    spelled = [spelling.format_db(db) for db in (39.24, -0.06, math.inf, math.nan)]
    assert spelled == ["39.2 dB", "−0.1 dB", "lossless", "–"]


def test_a_severity_is_a_symbol_and_a_word():
    assert spelling.mark_severity("warning") == "▲ warning"
    assert spelling.mark_severity("") == "–"


def test_names_are_joined_as_in_a_sentence():
    assert spelling.join_names(["A"]) == "A"
    assert spelling.join_names(["A", "B", "C"]) == "A, B and C"


def test_a_sentence_begins_with_a_capital_but_for_a_name_that_has_none():
    assert spelling.capitalize("it cannot run.") == "It cannot run."
    assert spelling.capitalize("onnxruntime cannot run it.") == "onnxruntime cannot run it."


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0%"), (0.000486, "0.05%"), (0.0004999, "0.05%"), (0.0005, "0.1%"), (1.0, "100.0%")],
)
def test_a_share_that_is_not_0_is_never_written_as_0(share, text):
    assert spelling.format_share(share) == text


# Names --------------------------------------------------------------------------------------------

LONG = [
    f"/model/model.0/auto_model/encoder/layer.{i}/{part}"
    for i in range(12)
    for part in (
        "attention/self/query/MatMul",
        "attention/self/key/MatMul",
        "attention/output/dense/MatMul",
        "intermediate/dense/MatMul",
        "output/dense/MatMul",
        "output/LayerNorm/LayerNormalization",
    )
]


@pytest.mark.parametrize("length", [12, 27, 30])
def test_no_two_names_are_shortened_to_the_same(length):
    short = spelling.shorten_uniquely(LONG, length)
    assert list(short) == LONG
    assert len(set(short.values())) == len(LONG)
    assert max(map(len, short.values())) < max(map(len, LONG))


def test_what_tells_a_name_from_the_others_stays():
    short = spelling.shorten_uniquely(LONG, 30)
    for name in LONG:
        layer = name.split("/")[5]
        assert f"{layer}/" in short[name]
        assert "model.0" not in short[name]
        assert short[name].startswith("…")


@pytest.mark.parametrize(
    "names",
    [
        ["conv", "relu"],
        ["a" * 100, "a" * 99 + "b"],
        ["x" * 40 + f"{i:03}" + "y" * 40 for i in range(20)],
        [f"{i}" + "/same/long/path/of/a/layer/Conv" for i in range(3)],
        ["", "/", "//", "…"],
    ],
)
def test_names_of_any_form_stay_apart(names):
    short = spelling.shorten_uniquely(names)
    assert len(set(short.values())) == len(names)


def test_a_short_name_is_whole():
    assert spelling.shorten_uniquely(["conv", "block/conv"]) == {
        "conv": "conv",
        "block/conv": "block/conv",
    }
    assert spelling.cut_middle("abcdefgh", 5) == "ab…gh"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (-0.25, "−0.25"), (1000, "1,000"), (120_000, "120k"), (1e7, "10M"),
        (-2.5e9, "−2.5G"), (2e-5, "2·10⁻⁵"), (1e-7, "1·10⁻⁷"), (3e15, "3·10¹⁵"),
    ],
)  # fmt: skip
def test_a_number_at_an_axis_is_short_and_has_no_exponent_of_a_computer(number, text):
    assert format_tick(number) == text
