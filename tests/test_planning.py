"""The cheapest changes that reach a target, against every choice there is."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from models_for_tests import floats, make_model, quantized_statically
from onnx import helper
from trials_for_tests import weight_quantizer

from playground.utils.parameter_inspector import (
    Stay,
    StayReason,
    WorkCancelledError,
    compare_variants,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.changing.candidates import Candidate
from playground.utils.parameter_inspector.changing.layer_options import (
    LayerOptions,
    list_options,
)
from playground.utils.parameter_inspector.changing.planning import (
    SizeMissed,
    TradeOff,
    choose,
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
    return LayerOptions(
        row, weight_quantizer(row), f"{row}.weight", (4, 5), 0, made[0], tuple(made[1:])
    )


OPTIONS = (
    option("a", (10, 100), (30, 130), (50, 200), (5, 50)),
    option("b", (40, 500), (20, 250), (60, 900)),
    option("c", (25, 80), (35, 81), (36, 81), (30, 40)),
)


BEST = {"a": 50, "b": 60, "c": 36}


def all_choices() -> list[tuple[int, float]]:
    """Bytes and level of every way to choose: what each layer has, but for those at their best."""
    lists = [[(o.layer_name, c) for c in (o.current, *o.candidates)] for o in OPTIONS]
    return [
        (
            sum(c.byte_count for _, c in chosen),
            min(
                (c.worst_channel_sqnr_db for name, c in chosen if c.sqnr_db < BEST[name]),
                default=max(BEST.values()),
            ),
        )
        for chosen in itertools.product(*lists)
    ]


def test_the_curve_is_the_pareto_front_of_all_choices():
    points = all_choices()
    front = {
        (size, db)
        for size, db in points
        if not any((s <= size and d > db) or (s < size and d >= db) for s, d in points)
    }
    curve = choose(OPTIONS, (), 0).curve
    assert curve == tuple(TradeOff(*point) for point in sorted(front))


@pytest.mark.parametrize("target", [0, 9, 11, 26, 30, 35.5])
def test_layers_that_reach_the_target_stay_and_the_others_take_the_fewest_bytes(target):
    plan = choose(OPTIONS, (), target)
    changed = {change.layer_name: change for change in plan.changes}
    for o in OPTIONS:
        if o.current.worst_channel_sqnr_db >= target:
            assert o.layer_name not in changed
            continue
        reached = [c for c in o.candidates if c.worst_channel_sqnr_db >= target]
        assert changed[o.layer_name].proposed.byte_count == min(c.byte_count for c in reached)
    assert plan.worst_sqnr_db >= target
    assert not plan.unreachable


def test_what_no_scheme_reaches_comes_as_near_as_it_gets_and_the_rest_is_done():
    plan = choose(OPTIONS, (), 45)
    (missed,) = plan.unreachable
    assert (missed.layer_name, missed.best_db, missed.planned_db) == ("c", 36, 36)
    assert {change.layer_name: change.proposed.sqnr_db for change in plan.changes} == {
        "a": 50,
        "b": 60,
        "c": 36,
    }


def test_a_layer_stays_where_nothing_is_much_better_and_the_target_is_missed():
    plan = choose((option("a", (25, 100), (25.9, 100)),), (), 45)
    assert not plan.changes
    assert plan.unreachable[0].planned_db == 25


def test_a_constant_or_a_parameter_of_one_dimension_caps_nothing():
    small = replace(option("small", (12, 9), (18, 11)), is_small=True)
    alone, both = choose(OPTIONS, (), 30), choose((*OPTIONS, small), (), 30)
    assert {c.layer_name for c in both.changes} == {c.layer_name for c in alone.changes} | {"small"}
    assert not both.unreachable
    assert both.worst_sqnr_db == alone.worst_sqnr_db >= 30
    assert both.curve[-1].level_db == alone.curve[-1].level_db


@pytest.mark.parametrize("targets", [{"target_sqnr_db": 12}, {"target_bytes": 140}])
def test_nothing_under_20_db_is_taken_where_something_above_it_can_be_afforded(targets):
    plan = choose((option("a", (10, 100), (15, 60), (35, 130)),), (), **targets)
    (change,) = plan.changes
    assert change.proposed.sqnr_db == 35


def test_fewer_bits_are_taken_only_where_no_other_scheme_reaches_the_target():
    schemes = (Scheme(), Scheme("int4", "per-channel"), Scheme(granularity="per-channel"))
    current, narrow, wide = (
        Candidate(scheme, db, db, size)
        for scheme, db, size in zip(schemes, (10, 31, 40), (100, 60, 130), strict=True)
    )
    a_layer = LayerOptions("a", weight_quantizer("a"), "w", (4, 5), 0, current, (narrow, wide))
    assert a_layer.improve(30) is wide
    assert replace(a_layer, candidates=(narrow,)).improve(30) is narrow


@pytest.mark.parametrize("size", sorted({size for size, _ in all_choices()}))
def test_a_target_size_gives_the_best_worst_layer_that_fits(size):
    plan = choose(OPTIONS, (), None, size)
    assert plan.byte_count <= size
    assert plan.level_db >= max(db for s, db in all_choices() if s <= size)


def test_a_target_size_that_leaves_all_as_it_is_changes_nothing():
    current = sum(o.current.byte_count for o in OPTIONS[1:])
    two = (option("a", (50, 100), (40, 90)), option("b", (40, 500), (30, 250)))
    assert choose(two, (), None, 600).worst_sqnr_db == 40
    assert not choose(two, (), None, 600).changes
    assert current == 580


def test_below_the_smallest_size_the_smallest_healthy_plan_is_made_and_the_smallest_is_said():
    plan = choose(OPTIONS, (), None, 10)
    assert plan.size_missed == SizeMissed(10, min(size for size, _ in all_choices()))
    assert plan.byte_count == 130 + 250 + 40
    assert plan.worst_sqnr_db >= 20


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
    assert {one.reason for one in left_out} == {StayReason.FLOAT}


def test_a_weight_that_two_layers_share_is_changed_once_for_both(tmp_path):
    convs = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"),
        helper.make_node("Conv", ["x", "w"], ["b"], "second"),
        helper.make_node("Conv", ["a", "v"], ["c"], "third"),
    ]
    arrays = {"w": floats(4, 3, 2, 2), "v": floats(5, 4, 1, 2, seed=1)}
    exact = make_model(convs, arrays, outputs=("b", "c"), opset=17, ir_version=8)
    onnx.save(exact, tmp_path / "fp32.onnx")
    onnx.save(quantized_statically(exact, tmp_path), tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    reads = {node.name: node for node in model.graph.node}
    reads["second"].input[1] = reads["first"].input[1]
    onnx.save(model, tmp_path / "int8.onnx")
    variants = {name: load_model(tmp_path / f"{name}.onnx") for name in ("fp32", "int8")}
    plan = plan_model(compare_variants(variants), "int8", target_sqnr_db=60)
    assert plan.left_out == (Stay("second", StayReason.SHARED, name="first"),)
    assert {change.layer_name for change in plan.changes} == {"first", "third"}
    assert [move.layers for move in plan.moves] == [("first", "second"), ("third",)]
