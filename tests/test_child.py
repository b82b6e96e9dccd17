"""What the child process adds up, held to numpy's own sums."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from models_for_running import identity, make_model, scaling, spelling, value
from onnx import helper

from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.running import child as program
from playground.utils.parameter_inspector.running.endings import RunEndedError
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.process import PROGRAM, Child

LIMITS = Limits(memory_bytes=900 << 20, run_seconds=60, total_seconds=300)
ONE, THREE = ({"factor": np.array([n], np.float32)} for n in (1, 3))
NAN, INF = np.nan, np.inf


@pytest.fixture
def child():
    with Child(LIMITS) as child:
        yield child


@pytest.fixture
def x():
    return np.random.default_rng(7).normal(size=(5, 3, 4)).astype(np.float32)


def hold_scaling(child: Child, x: np.ndarray) -> None:
    child.load(scaling())
    child.hold("samples", {"x": x})
    child.keep("float", "switched", extra=ONE)


def compare_arrays(child: Child, exact: np.ndarray, got: np.ndarray, **more):
    """Compare two arrays that a model gives out as they are."""
    kind = helper.np_dtype_to_tensor_dtype(exact.dtype)
    child.load(identity(kind, ("n", *exact.shape[1:])))
    child.hold("exact", {"x": exact})
    child.hold("got", {"x": got})
    child.keep("reference", "switched", held="exact")
    return child.compare("reference", "switched", held="got", **more)["y"]


def test_a_million_samples_are_compared_at_once(child):
    x = np.ones((1 << 20, 3), np.float32)
    found = compare_arrays(child, x, 2 * x, argmax=True)
    np.testing.assert_array_equal(found.noise, np.full(1 << 20, 3))
    assert found.agreeing is not None and found.agreeing.sum() == 1 << 20


def test_the_program_stands_alone():
    code = (
        "import runpy, sys\n"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='child')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('playground', 'onnx')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_noise_and_signal_are_sums_of_squares_of_each_sample(child, x):
    hold_scaling(child, x)
    found = child.compare("float", "switched", extra=THREE)["y"]
    exact = x.astype(np.float64)
    got = (x * np.float32(3)).astype(np.float64)
    np.testing.assert_allclose(found.noise, ((got - exact) ** 2).sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.signal, (exact**2).sum(axis=(1, 2)), rtol=1e-12)


def test_sums_of_channels_are_those_of_axis_one(child, x):
    hold_scaling(child, x)
    found = child.compare("float", "switched", extra=THREE, by_channel=True)["y"]
    exact = x.astype(np.float64)
    got = (x * np.float32(3)).astype(np.float64)
    np.testing.assert_allclose(found.channel_noise, ((got - exact) ** 2).sum(axis=2), rtol=1e-12)
    np.testing.assert_allclose(found.channel_signal, (exact**2).sum(axis=2), rtol=1e-12)


@pytest.mark.parametrize(
    "how", [{"one_by_one": True}, {"rows_per_run": 2}, {"rows": [3, 1]}, {"rows": range(1, 4)}]
)
def test_samples_are_found_in_the_reference_however_they_are_run(child, x, how):
    hold_scaling(child, x)
    whole = child.compare("float", "switched", extra=THREE)["y"]
    found = child.compare("float", "switched", extra=THREE, **how)["y"]
    rows = list(how.get("rows", range(5)))
    np.testing.assert_allclose(found.noise, whole.noise[rows], rtol=1e-12)
    np.testing.assert_allclose(found.signal, whole.signal[rows], rtol=1e-12)


def test_a_reference_that_was_kept_one_by_one_serves_a_batch(child, x):
    child.load(scaling())
    child.hold("samples", {"x": x})
    child.keep("float", "switched", extra=ONE, one_by_one=True)
    found = child.compare("float", "switched", extra=THREE)["y"]
    assert len(found.noise) == 5
    np.testing.assert_allclose(found.noise, 4 * found.signal, rtol=1e-6)


def test_keeping_says_the_shapes_of_each_run(child, x):
    child.load(scaling())
    child.hold("samples", {"x": x})
    shapes = child.keep("float", "switched", extra=ONE, rows_per_run=2)
    assert shapes == {"y": ((2, 3, 4), (2, 3, 4), (1, 3, 4))}


def test_samples_that_the_reference_lacks_are_named(child, x):
    child.load(scaling())
    child.hold("samples", {"x": x})
    child.keep("float", "switched", extra=ONE, rows=[0, 1])
    with pytest.raises(RunEndedError, match="not kept for these samples") as raised:
        child.compare("float", "switched", extra=ONE, rows=[1, 2])
    assert raised.value.ending.kind is EndingKind.FAILED


def test_an_output_without_an_axis_of_samples_counts_for_the_run(child, x):
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    child.load(make_model([node], [value("x", shape=("n", 3, 4))], [value("y", shape=())]))
    child.hold("samples", {"x": x})
    child.keep("float", "switched")
    assert child.compare("float", "switched")["y"].noise.shape == (1,)
    child.keep("float", "switched", one_by_one=True)
    assert child.compare("float", "switched", one_by_one=True)["y"].noise.shape == (5,)


def test_stacked_samples_count_one_by_one(child, x):
    child.load(identity(shape=("n", 4)))
    child.hold("samples", {"x": x}, stacked=True)
    child.keep("float", "switched")
    found = child.compare("float", "switched", rows=[4, 2])["y"]
    exact = x.astype(np.float64)
    np.testing.assert_allclose(found.signal, (exact**2).sum(axis=(1, 2))[[4, 2]], rtol=1e-12)


@pytest.mark.parametrize(
    "exact, got, noise, signal",
    [
        ([1, NAN, 2], [1, NAN, 4], 4, 5),
        ([1, INF, 2], [1, INF, 2], 0, 5),
        ([1, -INF, 2], [1, INF, 2], INF, 5),
        ([1, 2, 2], [1, NAN, 2], INF, 9),
        ([1, 2, 2], [1, INF, 2], INF, 9),
        ([1, INF, 2], [1, 0, 2], INF, 5),
        ([1, NAN, 2], [1, 0, 2], INF, 5),
        ([1, NAN, 2], [1, INF, 2], INF, 5),
    ],
)
def test_what_is_not_finite_is_infinite_noise_unless_it_is_so_in_both(
    child, exact, got, noise, signal
):
    both = np.array([exact], np.float32), np.array([got], np.float32)
    found = compare_arrays(child, *both)
    assert (found.noise[0], found.signal[0]) == (noise, signal)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "float64", "uint8"])
def test_outputs_of_every_kind_are_compared_as_float64(child, dtype):
    exact = np.array([[0, 1, 2], [1, 1, 0]]).astype(dtype)
    got = np.array([[1, 0, 2], [1, 1, 1]]).astype(dtype)
    found = compare_arrays(child, exact, got)
    np.testing.assert_array_equal(found.noise, [2, 1])
    np.testing.assert_array_equal(found.signal, (exact.astype(np.float64) ** 2).sum(axis=1))


def test_unsigned_differences_do_not_wrap(child):
    exact, got = np.array([[0, 255, 7]], np.uint8), np.array([[255, 0, 7]], np.uint8)
    assert compare_arrays(child, exact, got).noise[0] == 2 * 255**2


def test_text_is_left_out_of_a_comparison(child):
    child.load(spelling())
    child.hold("samples", {"x": np.ones((2, 3), np.float32)})
    child.keep("float", "switched")
    assert list(child.compare("float", "switched")) == ["y"]


def test_shapes_that_differ_are_infinite_noise_and_said(child):
    child.load(identity(shape=("n", "k")))
    child.hold("exact", {"x": np.ones((2, 3), np.float32)})
    child.hold("got", {"x": np.ones((2, 4), np.float32)})
    child.keep("reference", "switched", held="exact")
    found = child.compare("reference", "switched", held="got", argmax=True)["y"]
    assert found.shapes_differ and found.agreeing is None
    np.testing.assert_array_equal(found.noise, [INF, INF])


def test_agreement_counts_equal_argmaxes_of_each_sample(child):
    exact = np.array([[[1, 2], [2, 1]], [[5, 1], [1, 5]], [[0, 1], [0, 1]]], np.float32)
    got = np.array([[[0, 2], [3, 1]], [[5, 1], [6, 5]], [[1, 0], [1, 0]]], np.float32)
    found = compare_arrays(child, exact, got, argmax=True)
    assert found.positions == 2
    np.testing.assert_array_equal(found.agreeing, [2, 1, 0])


def test_labels_count_what_is_right_of_the_rows_that_ran(child):
    scores = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.float32)
    labels = np.array([0, 2, 2])
    found = compare_arrays(child, scores, scores, argmax=True, labels=labels, rows=[2, 1])
    np.testing.assert_array_equal(found.correct, [1, 0])
    np.testing.assert_array_equal(found.agreeing, [1, 1])


def test_labels_of_another_shape_count_nothing(child):
    scores = np.ones((3, 2, 4), np.float32)
    found = compare_arrays(child, scores, scores, argmax=True, labels=np.array([0, 0, 0]))
    assert found.correct is None
    np.testing.assert_array_equal(found.agreeing, [2, 2, 2])


def test_a_nan_agrees_with_nothing(child):
    exact = np.array([[1, 0, 0], [1, 0, 0]], np.float32)
    got = np.array([[NAN, 0, 0], [1, 0, 0]], np.float32)
    np.testing.assert_array_equal(compare_arrays(child, exact, got, argmax=True).agreeing, [0, 1])


@pytest.mark.parametrize("chunk", [1, 5, 7, 1000])
def test_sums_do_not_depend_on_the_chunks(monkeypatch, chunk):
    monkeypatch.setattr(program, "_CHUNK", chunk)
    random = np.random.default_rng(1)
    exact, got = random.normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(program.sum_squares(exact), (exact**2).sum(axis=2), rtol=1e-12)
    np.testing.assert_allclose(
        program.sum_squared_differences(got, exact), ((got - exact) ** 2).sum(axis=2), rtol=1e-12
    )


def test_an_output_of_no_elements_has_no_noise(child):
    empty = np.ones((2, 0, 3), np.float32)
    found = compare_arrays(child, empty, empty, by_channel=True, argmax=True)
    np.testing.assert_array_equal(found.noise, [0, 0])


def test_comparing_takes_little_more_memory_than_the_outputs(child):
    x = np.ones((4, 3, 1 << 21), np.float32)
    hold_scaling(child, x)
    before = child.peak_memory
    child.compare("float", "switched", extra=ONE)
    # The outputs of the second run, and chunks: a whole array as float64 would be twice as much.
    assert child.peak_memory - before < 1.5 * x.nbytes


def test_what_was_dropped_is_gone(child, x):
    hold_scaling(child, x)
    child.drop("float")
    with pytest.raises(RunEndedError, match="no reference 'float' is kept"):
        child.compare("float", "switched", extra=ONE)
