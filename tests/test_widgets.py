"""The controls: what they offer, what they say, and what they call."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from comparisons_for_tests import compare_lossy, make_finding, make_ranked
from trials_for_tests import OPTIONS

from playground.utils import tables
from playground.utils.page import widgets
from playground.utils.parameter_inspector.changing.planning import choose
from playground.utils.tables import trial_tables


def test_one_of_the_options_is_always_chosen():
    assert widgets.choose_one({"all": 0, "some": 1}, "Rows").value == 0
    assert widgets.choose_one({"all": 0, "some": 1}, "Rows", "some").value == 1


def test_the_control_of_the_layer_shows_its_label_and_gives_its_name():
    options = {"◆ conv · Conv": "conv", "– relu · Relu": "relu"}
    assert widgets.create_layer_control(options, "relu", lambda _: None).value == "relu"


def test_a_click_on_a_row_of_the_ranking_selects_its_layer_and_variant():
    ranked = tables.rank_layers(compare_lossy(), [make_finding("error", "relu")])
    chosen = []
    ranking = tables.create_ranking(ranked, compare_lossy())
    table = widgets.show_clickable(ranking, ranked, lambda *row: chosen.append(row))
    table._on_change([SimpleNamespace(row="1")])
    assert chosen == [("conv", "INT8")]


def test_a_table_of_no_candidates_is_shown():
    table = trial_tables.create_candidate_table([], None)
    assert len(widgets.show_candidates(table).value) == 0


def test_the_scheme_of_a_selected_row_is_used_by_one_button():
    used = []
    button = widgets.create_apply_button("int4 per-channel", used.append)
    assert "Use this scheme: int4 per-channel" in button.text
    button._on_change(None)
    assert used == ["int4 per-channel"]
    assert "Select a row" in widgets.create_apply_button(None, used.append).text


def test_one_button_starts_the_search_and_stops_it():
    runs = []
    widgets.create_search_button(None, runs.append)._on_change(None)
    (run,) = runs
    assert isinstance(run, threading.Event)
    stop = widgets.create_search_button(run, runs.append)
    assert "Stop" in stop.text
    stop._on_change(None)
    assert run.is_set()
    assert "Try every layer again" in widgets.create_search_button("Stopped.", runs.append).text


@pytest.mark.parametrize(("kind", "value"), [("target_sqnr_db", 30), ("target_bytes", 1100)])
def test_a_target_begins_where_it_stops_to_hurt_or_at_the_current_size(kind, value):
    assert widgets.create_target(kind, choose(OPTIONS, (), 0.0)).value == value


def test_controls_stand_in_a_grid():
    grid = widgets.show_controls([widgets.choose_one(["a"], "A"), widgets.choose_one(["b"], "B")])
    assert grid.text.startswith('<div class="playground-controls">')
    assert grid.text.count("<marimo-dropdown") == 2


def test_names_and_bars_of_the_ranking_are_elements_that_no_browser_takes_for_an_address():
    ranked = tables.rank_layers(compare_lossy(), [])
    ranking = tables.create_ranking(ranked, compare_lossy())
    cells = widgets.format_cells(ranking, {"https://example.invalid/a.png": "…a.png"})
    shown = cells["layer"]("https://example.invalid/a.png").text
    assert shown.startswith('<span class="playground-name" title="https://example.invalid/a.png">')
    assert ">…a.png<" in shown
    assert "&lt;b&gt;" in cells["finding"]("<b>").text
    assert "--part:25.0%" in cells[ranking.bar](0.25).text


def test_what_is_folded_away_is_counted_in_the_line_that_unfolds_it():
    fold = widgets.create_fold([make_ranked("a"), make_ranked("b")])
    assert "Show 2 constants and one-dimensional parameters" in fold.text
    assert fold.value is False
