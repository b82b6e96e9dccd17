"""Parts that sentences share: no share that is not all reads 100%, and names do not run on."""

from __future__ import annotations

import math

import pytest

from playground.utils.parameter_inspector.judging.phrases import (
    counted,
    format_level,
    format_share,
    list_names,
    name_channels,
)


@pytest.mark.parametrize(
    "share, text",
    [
        (0, "0%"),
        (0.0004, "under 0.1%"),
        (0.004, "0.4%"),
        (0.25, "25%"),
        (0.996, "99.6%"),
        (0.9999, "over 99.9%"),
        (1, "100%"),
        (math.nan, "an unknown part"),
    ],
)
def test_a_share_is_spelled_in_percent(share, text):
    assert format_share(share) == text


def test_only_nothing_reads_0_percent_and_only_all_reads_100():
    between = [format_share(i / 20_000) for i in range(1, 19_997)]
    assert not {"0%", "0.0%", "100%", "100.0%"} & set(between)


@pytest.mark.parametrize(
    "level, text",
    [
        (20.04, "20.0 dB"),
        (math.inf, "all (no difference)"),
        (-math.inf, "nothing (not finite)"),
        (math.nan, "nothing to compare"),
    ],
)
def test_a_level_that_is_no_number_is_a_word(level, text):
    assert format_level(level) == text


def test_names_beyond_those_that_are_shown_are_counted():
    assert list_names("abc") == "a, b, c"
    assert list_names("abcde") == "a, b, c and 2 more"
    assert name_channels([3]) == "channel 3"
    assert name_channels([0, 3, 7, 9, 11]) == "channels 0, 3, 7, 9 and 1 more"


def test_a_name_from_a_file_stays_on_one_line():
    assert "\n" not in list_names(["a\nb"])


def test_one_is_singular_and_thousands_are_set_apart():
    assert [counted(n, "layer") for n in (0, 1, 2000)] == ["0 layers", "1 layer", "2,000 layers"]
