"""The cheapest changes that reach a target, against every choice there is."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from playground.utils.parameter_inspector import WorkCancelledError, compare_variants, open_folder
from playground.utils.parameter_inspector.changing.candidates import Candidate
from playground.utils.parameter_inspector.changing.planning import (
    LayerOptions,
    TradeOff,
    choose,
    list_options,
    plan_model,
)
from playground.utils.parameter_inspector.changing.schemes import Scheme

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(MODELS / "dscnn").variants
    return compare_variants(variants)


def option(row: str, current: tuple[float, int], *others: tuple[float, int]) -> LayerOptions:
    """A layer whose schemes have these worst channels and bytes; each scheme is another."""
    names = iter(Scheme(bits=bits, data_type=t) for t in ("int8", "uint8") for bits in range(2, 9))
    made = [
        Candidate(next(names), db, db, size, db - current[0]) for db, size in (current, *others)
    ]
    return LayerOptions(row, row, f"{row}.weight", (4, 5), 0, made[0], tuple(made[1:]))


OPTIONS = (
    option("a", (10, 100), (30, 130), (50, 200), (5, 50)),
    option("b", (40, 500), (20, 250), (60, 900)),
    option("c", (25, 80), (35, 81), (36, 81), (30, 40)),
)


def all_choices() -> list[tuple[int, float]]:
    """Bytes and worst SQNR of every way to choose."""
    lists = [(o.current, *o.candidates) for o in OPTIONS]
    return [
        (sum(c.byte_count for c in chosen), min(c.worst_channel_sqnr_db for c in chosen))
        for chosen in itertools.product(*lists)
    ]


def test_the_curve_is_the_pareto_front_of_all_choices():
    points = all_choices()
    front = {
        (size, db)
        for size, db in points
        if not any((s <= size and d > db) or (s < size and d >= db) for s, d in points)
    }
    curve = choose(OPTIONS, {}, 0).curve
    assert curve == tuple(TradeOff(*point) for point in sorted(front))


@pytest.mark.parametrize("target", [0, 9, 11, 26, 30, 35.5])
def test_layers_that_reach_the_target_stay_and_the_others_take_the_fewest_bytes(target):
    plan = choose(OPTIONS, {}, target)
    changed = {change.layer_name: change for change in plan.changes}
    for o in OPTIONS:
        if o.current.worst_channel_sqnr_db >= target:
            assert o.layer_name not in changed
            continue
        reached = [c for c in o.candidates if c.worst_channel_sqnr_db >= target]
        assert changed[o.layer_name].proposed.byte_count == min(c.byte_count for c in reached)
    assert plan.worst_sqnr_db >= target
    assert not plan.unreachable


def test_what_no_scheme_reaches_is_named_with_the_best_there_is():
    plan = choose(OPTIONS, {}, 45)
    assert set(plan.unreachable) == {"c"}
    assert (
        "at most 36.0 dB, with uint8" in plan.unreachable["c"] or "36.0 dB" in plan.unreachable["c"]
    )
    assert {change.layer_name for change in plan.changes} == {"a", "b"}


@pytest.mark.parametrize("size", sorted({size for size, _ in all_choices()}))
def test_a_target_size_gives_the_best_worst_layer_that_fits(size):
    plan = choose(OPTIONS, {}, None, size)
    assert plan.byte_count <= size
    assert plan.worst_sqnr_db == max(db for s, db in all_choices() if s <= size)


def test_a_target_size_that_leaves_all_as_it_is_changes_nothing():
    current = sum(o.current.byte_count for o in OPTIONS[1:])
    two = (option("a", (40, 100), (50, 100)), option("b", (40, 500), (30, 250)))
    assert choose(two, {}, None, 600).worst_sqnr_db == 40
    assert not choose(two, {}, None, 600).changes
    assert current == 580


def test_a_size_below_the_smallest_is_unreachable_and_says_the_smallest():
    plan = choose(OPTIONS, {}, None, 10)
    least = min(size for size, _ in all_choices())
    assert plan.unreachable == {"": f"the weights take at least {least:,} bytes, more than 10"}
    assert not plan.changes


def test_the_plan_for_dscnn_heals_the_collapsed_layer_for_few_bytes(dscnn):
    plan = plan_model(dscnn, "UINT8", target_sqnr_db=20)
    (change,) = plan.changes
    assert change.layer_name == "/block1/conv_dw/Conv"
    assert change.current.worst_channel_sqnr_db == pytest.approx(0, abs=0.1)
    assert change.proposed.scheme.granularity == "per-channel" and change.proposed.gain_db > 40
    assert plan.byte_count < plan.current_bytes * 1.01
    assert len(plan.options) == 14 and not plan.left_out


def test_todays_bytes_and_sqnr_are_those_of_the_scan(dscnn):
    comparison = dscnn
    options, _ = list_options(comparison, "UINT8")
    for one in options:
        metrics = comparison.weights[one.layer_name]["UINT8"].metrics
        assert one.current.sqnr_db == pytest.approx(metrics["sqnr_db"], abs=1e-3)
        assert one.current.worst_channel_sqnr_db == pytest.approx(
            metrics["worst_channel_sqnr_db"], abs=1e-3
        )


def test_progress_tells_every_layer_and_a_cancelled_plan_stops_between_two(dscnn):
    told: list[tuple[int, int, str]] = []
    list_options(dscnn, "UINT8", progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 15))
    stop = threading.Event()
    told.clear()

    def until_three(done: int, total: int, row: str) -> None:
        told.append((done, total, row))
        if done == 3:
            stop.set()

    with pytest.raises(WorkCancelledError, match="after 3 of 14"):
        plan_model(dscnn, "UINT8", 30, progress=until_three, cancelled=stop.is_set)
    assert len(told) == 3


def test_a_plan_needs_one_target_and_a_variant_that_is_there(dscnn):
    for targets in ({}, {"target_sqnr_db": 1, "target_bytes": 1}):
        with pytest.raises(ValueError, match="one of the two"):
            plan_model(dscnn, "UINT8", **targets)
    with pytest.raises(ValueError, match="none of the variants FP32, INT8, UINT8"):
        plan_model(dscnn, "INT4", 30)


def test_a_float_variant_leaves_out_every_layer_and_says_why(dscnn):
    comparison = dscnn
    options, left_out = list_options(comparison, "FP32")
    assert not options and len(left_out) == 14
    assert set(left_out.values()) == {"this layer was left in float"}


def test_the_codes_of_all_options_take_no_more_memory_than_they_may(dscnn):
    everything, _ = list_options(dscnn, "UINT8", code_bytes=1 << 28)
    needed = sum(option.code_bytes for option in everything)
    options, _ = list_options(dscnn, "UINT8", code_bytes=needed // 2)
    assert 0 < sum(option.code_bytes for option in options) <= needed // 2
