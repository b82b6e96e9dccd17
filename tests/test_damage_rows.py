"""The rows of the pictures of the whole network: each layer once, in graph order."""

from __future__ import annotations

import math
import re

import pytest
from comparisons_for_tests import compare_equal, compare_lossy
from measured_for_tests import compare_measured

from playground.utils import tables
from playground.utils.parameter_inspector import LayerRanges
from playground.utils.tables import damage_rows


def list_damage(comparison):
    return damage_rows.list_damage(tables.rank_layers(comparison, []), comparison)


def test_until_it_is_measured_the_damage_is_the_error_of_the_worst_channel():
    comparison = compare_lossy()
    damage = list_damage(comparison)
    (row,) = damage.layers
    worst = comparison.measured("conv", "INT8").metrics["worst_channel_sqnr_db"]
    assert not damage.is_measured
    assert (row.layer, damage.variants) == ("conv", ("INT8",))
    assert row.by_variant["INT8"] == pytest.approx(10 ** (-worst / 20))


def test_measured_damage_is_the_share_of_the_noise_in_graph_order():
    damage = list_damage(compare_measured())
    assert damage.is_measured
    assert [row.layer for row in damage.layers] == ["conv", "abs"]
    assert [row.by_variant["INT8"] for row in damage.layers] == pytest.approx([0.85, 0.4])


def test_what_is_lossless_has_no_damage_and_what_is_not_known_no_number():
    damage = list_damage(compare_equal())
    assert damage.layers[0].by_variant["INT8"] == 0
    other = damage_rows.LayerDamage("x", {"INT8": math.nan})
    assert math.isnan(other.by_variant["INT8"])


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1200])
def test_the_pages_hold_every_row_once_and_none_more_than_fits(count):
    rows = [LayerRanges(str(i), "Conv", {}) for i in range(count)]
    starts = damage_rows.list_pages(rows)
    pages = [damage_rows.select_page(rows, start) for start in starts.values()]
    assert [row for page in pages for row in page] == rows
    assert max(map(len, pages)) <= 500
    assert len(pages) == max(1, -(-count // 500))
    assert all(re.fullmatch(r"\d+ to \d+ of \d+", label) for label in starts)


def test_the_ranges_leave_out_what_is_folded_away():
    comparison = compare_lossy()
    ranked = tables.rank_layers(comparison, [])
    assert [one.layer for one in damage_rows.list_ranges(ranked, comparison)] == ["conv"]
