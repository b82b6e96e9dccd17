"""Equalized neighbours against numpy, and against files that onnxruntime makes and runs."""

from contextlib import ExitStack

import numpy as np
import onnx
import pytest
from moves_for_tests import Bench, run_file
from networks_to_run import (
    images,
    model,
    node,
    place,
    quantize,
    quantize_while_running,
    run,
    sqnr_db,
)

from playground.utils.parameter_inspector import (
    Limits,
    Move,
    MoveKind,
    plan_by_measurement,
    read_samples,
    save_plan,
)
from playground.utils.parameter_inspector.changing.channel_ranges import read_ranges
from playground.utils.parameter_inspector.changing.equalization import (
    choose_equalized,
    fit_factors,
)
from playground.utils.parameter_inspector.changing.moves import ActivationScheme
from playground.utils.parameter_inspector.changing.plan_bench import PlanBench
from playground.utils.parameter_inspector.facts import QuantizerKind
from playground.utils.parameter_inspector.running.neighbours import find_neighbours

SAMPLES = images(8, seed=3)
MAKING, TRYING, JUDGING = [0, 1, 2], [3, 4, 5], [6, 7]
LARGE = np.where(np.arange(5) == 1, np.float32(30), np.float32(1))


def numbers(*shape, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def uneven(*between, last=None, large=LARGE, bias=True):
    """Two layers; one channel of the first is large, and small where it enters the second."""
    last = last or node("Conv", "r w2 b2", "y")
    first = node("Conv", "x w1 b1" if bias else "x w1", "c1", pads=[1, 1, 1, 1])
    wide = {"Conv": (4, 5, 3, 3), "Gemm": (5 * 12, 4)}[last.op_type]
    w2 = numbers(*wide, seed=2)
    turned = large.reshape(1, -1, 1, 1) if last.op_type == "Conv" else np.repeat(large, 12)[:, None]
    constants = {
        "w1": numbers(5, 2, 3, 3) * large.reshape(-1, 1, 1, 1),
        "b1": numbers(5, 1, seed=1)[:, 0] * large,
        "w2": (w2 / turned).astype(np.float32),
        "b2": numbers(4, 1, seed=3)[:, 0],
    }
    if not bias:
        del constants["b1"]
    chain = [*between] or [node("Relu", "c1", "r")]
    return model([first, *chain, last], {"x": ["N", 2, 6, 8]}, ["y"], constants)


def flat_network():
    pool = node("MaxPool", "r1", "p", kernel_shape=[2, 2], strides=[2, 2])
    between = node("Relu", "c1", "r1"), pool, node("Flatten", "p", "r")
    return uneven(*between, last=node("Gemm", "r w2 b2", "y"))


@pytest.fixture
def opened(tmp_path):
    """Open a network beside a build of it, with the pairs that its bench knows."""
    with ExitStack() as stack:

        def start(original, is_dynamic=False, **options):
            options = {"per_channel": False} | options
            made = (
                quantize_while_running(original, tmp_path)
                if is_dynamic
                else quantize(original, tmp_path, **options)
            )
            pair = Bench(tmp_path, made, original)
            samples = read_samples(pair.comparison, SAMPLES)
            limits = Limits.for_this_machine()
            return pair, PlanBench(stack, pair.comparison, pair.variant, samples, limits)

        yield start


def choose(pair, bench, moves=()):
    return choose_equalized(bench, pair.comparison, pair.variant, moves, MAKING, TRYING)


def answer(bench, moves):
    inputs = bench.create_inputs(moves)
    return bench.bench.first.run(
        "switched", extra=inputs, outputs=["y"], rows=range(8), rows_per_run=1
    )["y"]


def equalize_by_hand(original):
    """Nagel et al., equation 11, in numpy."""
    changed = onnx.ModelProto.FromString(original.SerializeToString())
    held = {t.name: t for t in changed.graph.initializer}
    values = {name: onnx.numpy_helper.to_array(t) for name, t in held.items()}
    r1 = np.abs(values["w1"]).max(axis=(1, 2, 3))
    r2 = np.abs(values["w2"]).max(axis=(0, 2, 3))
    s = (np.sqrt(r1 * r2) / r2).astype(np.float32)
    values["w1"] = values["w1"] / s.reshape(-1, 1, 1, 1)
    values["b1"] = values["b1"] / s
    values["w2"] = values["w2"] * s.reshape(1, -1, 1, 1)
    for name, tensor in held.items():
        tensor.CopyFrom(onnx.numpy_helper.from_array(values[name].astype(np.float32), name))
    return changed, s


# ------------------------------------------------- factors


def test_the_network_that_is_equalized_by_hand_is_the_same_network():
    hand, _ = equalize_by_hand(uneven())
    assert sqnr_db(run(uneven(), SAMPLES)[0], run(hand, SAMPLES)[0]) > 100


def test_factors_of_two_weights_are_those_of_the_paper_but_for_one_they_share():
    first, last = np.array([3.0, 90.0, 1.0]), np.array([2.0, 0.1, 5.0])
    found = fit_factors([first, 1 / last], 3)
    paper = np.sqrt(first * last) / last
    np.testing.assert_allclose(found / found[0], paper / paper[0], rtol=1e-12)


def test_a_channel_that_is_nowhere_is_left_as_it_is():
    found = fit_factors([np.array([4.0, 0.0, 1.0])], 3)
    np.testing.assert_allclose(found, [2.0, 1.0, 0.5])


def test_the_ends_of_channels_are_those_that_numpy_finds(opened):
    _, bench = opened(flat_network())
    (found,) = find_neighbours(bench.networks[0], bench.placement)
    ranges = read_ranges(bench, found.between, [0, 1, 2])
    shown = flat_network()
    tensors = {bench.placement.activations[i].value.name: one for i, one in ranges.items()}
    assert tensors
    for name, seen in tensors.items():
        shown.graph.output.append(onnx.ValueInfoProto(name=name))
        array = run(shown, {"x": SAMPLES["x"][:3]}, [name])[0].reshape(3, 5, -1)
        np.testing.assert_allclose(seen.high, array.max(axis=(0, 2)), rtol=1e-5)
        np.testing.assert_allclose(seen.low, array.min(axis=(0, 2)), rtol=1e-5)


# ------------------------------------------------- what is chosen


def test_a_network_with_one_large_channel_gains_what_equalizing_by_hand_gains(opened, tmp_path):
    pair, bench = opened(uneven())
    kept, _ = choose(pair, bench)
    written = pair.write(kept)
    hand = quantize(equalize_by_hand(uneven())[0], tmp_path, per_channel=False)
    exact = run(uneven(), SAMPLES)[0]
    by_hand, ours = (
        sqnr_db(exact, run(hand, SAMPLES)[0]),
        sqnr_db(exact, written.run(feeds=SAMPLES)),
    )
    before = sqnr_db(exact, run_file(tmp_path / "variant.onnx", feeds=SAMPLES))
    assert by_hand > before + 6
    assert ours > by_hand - 1


def test_even_channels_with_scales_of_their_own_are_left_alone(opened):
    even = uneven(large=np.ones(5, np.float32))
    for name in ("w1", "w2"):
        held = next(t for t in even.graph.initializer if t.name == name)
        signs = np.sign(onnx.numpy_helper.to_array(held))
        held.CopyFrom(onnx.numpy_helper.from_array(signs, name))
    pair, bench = opened(even)
    weights_only = [Move(MoveKind.FREE, qs) for qs in pair.groups(QuantizerKind.ACTIVATION)]
    assert choose(pair, bench, weights_only) == ((), ())


def test_a_pair_that_makes_it_worse_is_not_kept(opened):
    pair, bench = opened(uneven())
    in_float = [Move(MoveKind.FREE, qs) for qs in pair.groups(QuantizerKind.WEIGHT)]
    kept, missed = choose(pair, bench, in_float)
    before = bench.measure(in_float, TRYING).typical_db
    for move in kept:
        assert bench.measure([*in_float, move], TRYING).typical_db > before
    assert len(kept) + len(missed) <= 1


# ------------------------------------------------- the file is what was measured


@pytest.mark.parametrize(
    "options", [{}, {"extra_options": {"QuantizeBias": False}}, {"per_channel": True}]
)
def test_the_written_file_computes_what_the_tunable_model_does(opened, options):
    pair, bench = opened(uneven(), **options)
    kept, missed = choose(pair, bench)
    moves = kept or missed
    assert moves
    if not kept:
        pytest.fail("nothing was kept")
    written = pair.write(moves).run(feeds=SAMPLES)
    assert sqnr_db(answer(bench, moves), written) > 60


def test_channels_are_followed_through_a_flatten(opened):
    pair, bench = opened(flat_network())
    kept, _ = choose(pair, bench)
    assert [move.factors.size for move in kept] == [5]
    written = pair.write(kept).run(feeds=SAMPLES)
    assert sqnr_db(answer(bench, kept), written) > 60
    exact = run(flat_network(), SAMPLES)[0]
    assert sqnr_db(exact, written) > sqnr_db(exact, run_file(pair.folder / "variant.onnx",
                                                             feeds=SAMPLES)) + 3  # fmt: skip


def test_without_a_choice_the_model_with_divided_channels_is_the_file_bit_for_bit(opened):
    pair, bench = opened(uneven())
    kept, _ = choose(pair, bench)
    assert kept
    plain = run_file(pair.folder / "variant.onnx", feeds=SAMPLES)
    np.testing.assert_array_equal(answer(bench, ()), plain)


def test_a_bias_is_corrected_in_the_frame_of_the_original(opened):
    pair, bench = opened(uneven(bias=True))
    kept, _ = choose(pair, bench)
    bias = onnx.numpy_helper.to_array(uneven().graph.initializer[1])
    raised = Move(MoveKind.CORRECT_BIAS, kept[0].quantizers[:1], bias=bias + np.float32(1))
    written = pair.write([*kept, raised]).run(feeds=SAMPLES)
    shifted = uneven()
    shifted.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(bias + 1, "b1"))
    exact = run(shifted, SAMPLES)[0]
    assert sqnr_db(exact, written) > sqnr_db(exact, run(uneven(), SAMPLES)[0]) + 10


# ------------------------------------------------- pairs


def pairs_of(original, folder, **options):
    networks, placement = place(original, quantize(original, folder, **options))
    return find_neighbours(networks[0], placement)


@pytest.mark.parametrize(
    "between",
    [
        [node("Relu", "c1", "r")],
        [node("LeakyRelu", "c1", "r", alpha=0.1)],
        [node("Relu", "c1", "r1"), node("AveragePool", "r1", "r", kernel_shape=[2, 2])],
        [node("MaxPool", "c1", "r", kernel_shape=[2, 2])],
        [node("Identity", "c1", "r")],
    ],
)
def test_layers_that_scale_along_join_a_pair(between, tmp_path):
    (found,) = pairs_of(uneven(*between), tmp_path)
    assert (found.first.tensor, found.last.tensor, found.channels) == ("w1", "w2", 5)


@pytest.mark.parametrize("op_type", ["Sigmoid", "Tanh", "Softplus", "HardSwish", "Elu"])
def test_layers_that_do_not_scale_along_part_a_pair(op_type, tmp_path):
    assert pairs_of(uneven(node(op_type, "c1", "r")), tmp_path) == ()


def test_a_tensor_that_is_read_twice_parts_a_pair(tmp_path):
    between = node("Relu", "c1", "r1"), node("Add", "r1 c1", "r")
    assert pairs_of(uneven(*between), tmp_path) == ()


@pytest.mark.parametrize("tensor, count", [("y", 1), ("c1", 0), ("r", 0)])
def test_a_tensor_that_is_an_output_parts_a_pair(tensor, count, tmp_path):
    original = uneven()
    original.graph.output[0].name = tensor
    original.graph.output.append(onnx.ValueInfoProto(name="y"))
    if tensor == "y":
        del original.graph.output[1]
    networks, placement = place(original, quantize_while_running(original, tmp_path))
    assert len(find_neighbours(networks[0], placement)) == count


def test_a_file_that_quantizes_while_it_runs_computes_what_the_tunable_model_does(opened):
    pair, bench = opened(uneven(), is_dynamic=True)
    kept, _ = choose(pair, bench)
    written = [run_file(pair.write(kept).path, feeds={"x": x[None]}) for x in SAMPLES["x"]]
    assert kept
    assert sqnr_db(answer(bench, kept), np.concatenate(written)) > 60


def depthwise():
    nodes = [
        node("Conv", "x w1 b1", "c1"),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", group=5),
        node("Relu", "c2", "r2"),
        node("Conv", "r2 w3", "y"),
    ]
    constants = {
        "w1": numbers(5, 2, 3, 3), "b1": numbers(5, 1)[:, 0], "w2": numbers(5, 1, 2, 2, seed=4),
        "b2": numbers(5, 1, seed=5)[:, 0], "w3": numbers(3, 5, 1, 1, seed=6),
    }  # fmt: skip
    constants["w1"] *= LARGE.reshape(-1, 1, 1, 1)
    constants["w2"] /= LARGE.reshape(-1, 1, 1, 1)
    constants["w2"][3] *= 20
    constants["w3"][:, 3] /= 20
    return model(nodes, {"x": ["N", 2, 6, 8]}, ["y"], constants)


def test_a_layer_between_two_pairs_takes_both(opened):
    pair, bench = opened(depthwise())
    first, second = find_neighbours(bench.networks[0], bench.placement)
    assert first.last is second.first
    kept, _ = choose(pair, bench)
    assert len(kept) == 2
    written = pair.write(kept).run(feeds=SAMPLES)
    assert sqnr_db(answer(bench, kept), written) > 60
    exact = run(depthwise(), SAMPLES)[0]
    assert sqnr_db(exact, written) > sqnr_db(exact, pair_file(pair)) + 6


def pair_file(pair):
    return run_file(pair.folder / "variant.onnx", feeds=SAMPLES)


def test_a_range_of_the_tensor_between_stays_what_it_is(opened):
    pair, bench = opened(uneven())
    kept, _ = choose(pair, bench)
    (quantizer,) = [q for q in kept[0].quantizers if q.kind is QuantizerKind.ACTIVATION]
    assert kept[0].activation is None
    relu = uneven()
    relu.graph.output.append(onnx.ValueInfoProto(name="r"))
    seen = run(relu, {"x": SAMPLES["x"][MAKING]}, ["r"])[0]
    scaled = seen / kept[0].factors.reshape(1, -1, 1, 1)
    held = ActivationScheme("uint8", float(quantizer.scale.reshape(-1)[0]), 0).bounds[1]
    assert scaled.max() == pytest.approx(min(seen.max(), held), rel=1e-4)


def test_a_plan_that_may_add_no_bytes_equalizes_and_the_file_does_what_it_says(tmp_path):
    pair = Bench(tmp_path, quantize(uneven(), tmp_path, per_channel=False), uneven())
    samples = read_samples(pair.comparison, SAMPLES)
    plan = plan_by_measurement(pair.comparison, pair.variant, samples, most_added=0)[0]
    assert MoveKind.EQUALIZE in {move.kind for move in plan.moves}
    done = save_plan(pair.comparison, pair.variant, plan, samples, tmp_path / "plan.onnx")
    assert done.file_db == pytest.approx(plan.held_back_after.sqnr_db, abs=0.5)
