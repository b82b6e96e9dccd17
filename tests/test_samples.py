"""Samples are data that strangers wrote: used if they fit, refused in one sentence if not."""

from __future__ import annotations

import numpy as np
import pytest
from models_for_running import make_model, value
from onnx import ModelProto, TensorProto, helper, numpy_helper
from samples_for_tests import BOTH, I64, IMAGE, X, refused, write, write_pb

from playground.utils.parameter_inspector.facts import SampleKind
from playground.utils.parameter_inspector.reading.model_file import load_model
from playground.utils.parameter_inspector.running.sample_problems import (
    ModelInput,
    SampleProblemKind,
)
from playground.utils.parameter_inspector.running.samples import list_inputs, load_samples

Kind = SampleProblemKind


# --- what the model asks for ---------------------------------------------------------------------


def test_inputs_are_those_that_no_initializer_fills():
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    model = make_model(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [value("x"), value("w", shape=(3,)), value("z", TensorProto.INT64, (2, None, "?"))],
        [value("y")],
        [weight],
    )
    assert list_inputs(load_model(ModelProto.FromString(model))) == (
        ModelInput("x", "float32", ("n", 3)),
        ModelInput("z", "int64", (2, None, None)),
    )


# --- samples that fit ----------------------------------------------------------------------------


def test_arrays_are_found_by_the_names_of_inputs(tmp_path):
    path = write(tmp_path / "samples.npz", x=X, ids=I64, more=X, labels=np.array([0, 1, 2, 0]))
    found = load_samples(path, BOTH)
    assert (found.kind, found.source, found.count) == (SampleKind.FILE, "samples.npz", 4)
    assert found.batchable(BOTH)
    np.testing.assert_array_equal(found.inputs["x"], X)
    np.testing.assert_array_equal(found.inputs["ids"], I64)
    np.testing.assert_array_equal(found.labels, [0, 1, 2, 0])


def test_arrays_cannot_be_written_to(tmp_path):
    found = load_samples(write(tmp_path / "s.npz", x=X), [IMAGE])
    with pytest.raises(ValueError, match="read-only"):
        found.inputs["x"][0] = 0


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_only_the_first_samples_are_taken_when_fewer_are_asked_for(tmp_path, save):
    save(tmp_path / "s.npz", x=X, labels=np.arange(4))
    found = load_samples(tmp_path / "s.npz", [IMAGE], most_samples=2, most_bytes=100)
    np.testing.assert_array_equal(found.inputs["x"], X[:2])
    np.testing.assert_array_equal(found.labels, [0, 1])
    assert (found.count, found.available) == (2, 4)


def test_columns_first_is_read_as_numpy_reads_it(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.asfortranarray(X))
    found = load_samples(tmp_path / "s.npz", [IMAGE], most_samples=3)
    np.testing.assert_array_equal(found.inputs["x"], X[:3])


def test_big_endian_numbers_are_read_as_numbers(tmp_path):
    found = load_samples(write(tmp_path / "s.npz", x=X.astype(">f8")), [IMAGE])
    np.testing.assert_array_equal(found.inputs["x"], X)


def test_one_array_does_for_a_model_of_one_input(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(load_samples(tmp_path / "x.npy", [IMAGE]).inputs["x"], X)


def test_a_folder_of_arrays_is_found_by_name(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "ids.npy", I64)
    np.save(tmp_path / "labels.npy", np.arange(4))
    (tmp_path / "notes.txt").write_text("none of ours")
    found = load_samples(tmp_path, BOTH)
    np.testing.assert_array_equal(found.inputs["ids"], I64)
    np.testing.assert_array_equal(found.labels, np.arange(4))


def test_files_of_a_folder_follow_each_other_in_the_order_of_numbers(tmp_path):
    for number in (10, 9, 2):
        np.save(tmp_path / f"image{number}.npy", np.full((1, 3, 2), number, np.float32))
    found = load_samples(tmp_path, [IMAGE])
    np.testing.assert_array_equal(found.inputs["x"][:, 0, 0], [2, 9, 10])


def test_a_file_without_an_axis_of_samples_is_one_sample(tmp_path):
    for number in (1, 2):
        np.save(tmp_path / f"image{number}.npy", np.full((3, 2), number, np.float32))
    assert load_samples(tmp_path, [IMAGE]).inputs["x"].shape == (2, 3, 2)


def test_npz_files_of_a_folder_follow_each_other(tmp_path):
    write(tmp_path / "a.npz", x=X, ids=I64)
    write(tmp_path / "b.npz", x=X + 1, ids=I64)
    found = load_samples(tmp_path, BOTH)
    np.testing.assert_array_equal(found.inputs["x"], np.concatenate([X, X + 1]))


def test_test_data_sets_of_onnx_are_in_the_order_of_inputs(tmp_path):
    for number in range(3):
        folder = tmp_path / f"test_data_set_{number}"
        write_pb(folder / "input_0.pb", X[number : number + 1])
        write_pb(folder / "input_1.pb", I64[number : number + 1])
        write_pb(folder / "output_0.pb", X)
    found = load_samples(tmp_path, BOTH)
    assert found.batchable(BOTH)
    np.testing.assert_array_equal(found.inputs["x"], X[:3])
    np.testing.assert_array_equal(found.inputs["ids"], I64[:3])


def test_sets_that_are_no_batch_are_run_one_by_one(tmp_path):
    scalar = ModelInput("scale", "float32", ())
    for number in range(2):
        folder = tmp_path / f"test_data_set_{number}"
        write_pb(folder / "input_0.pb", X)
        write_pb(folder / "input_1.pb", np.float32(number))
    found = load_samples(tmp_path, [IMAGE, scalar])
    assert (found.stacked, found.count) == (True, 2)
    assert found.inputs["x"].shape == (2, 4, 3, 2)
    np.testing.assert_array_equal(found.inputs["scale"], [0, 1])


def test_a_model_without_an_axis_for_samples_gets_them_one_by_one(tmp_path):
    whole = ModelInput("x", "float32", (3, 2))
    found = load_samples(write(tmp_path / "s.npz", x=X), [whole])
    assert found.stacked and found.rows_per_run([whole]) == 1


@pytest.mark.parametrize("first, rows", [(1, 1), (2, 2), (None, None)])
def test_a_first_dimension_that_is_fixed_says_how_many_run_together(tmp_path, first, rows):
    wanted = [ModelInput("x", "float32", (first, 3, 2))]
    found = load_samples(write(tmp_path / "s.npz", x=X), wanted)
    assert found.rows_per_run(wanted) == rows
    assert found.batchable(wanted) == (rows is None)


def test_an_input_that_is_the_same_for_all_is_given_to_each(tmp_path):
    anchors = ModelInput("anchors", "float32", (7, 4))
    path = write(tmp_path / "s.npz", x=X, anchors=np.ones((7, 4), np.float32))
    found = load_samples(path, [IMAGE, anchors], most_samples=2)
    shapes = {name: array.shape for name, array in found.inputs.items()}
    assert shapes == {"x": (2, 1, 3, 2), "anchors": (2, 7, 4)}
    assert found.stacked


@pytest.mark.parametrize(
    "given, wanted",
    [("float64", "float32"), ("float32", "float16"), ("int32", "int64"), ("uint8", "int64"),
     ("int64", "int32"), ("bool", "int64"), ("int64", "uint8")],
)  # fmt: skip
def test_a_type_that_holds_all_values_is_taken(tmp_path, given, wanted):
    asked = ModelInput("x", wanted, (None, 3, 2))
    values = np.array(X % 2 if given == "bool" else X, given)
    found = load_samples(write(tmp_path / "s.npz", x=values), [asked])
    assert found.inputs["x"].dtype == wanted
    np.testing.assert_array_equal(found.inputs["x"], values)


# --- samples that do not -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrays, kind, word",
    [
        ({"x": X}, Kind.ABSENT, "'ids' (int64, n × length), but given is 'x'"),
        ({"x": X, "ids": I64.astype(float)}, Kind.DATA_TYPE, "given is float64"),
        ({"x": X.astype(np.int64), "ids": I64}, Kind.DATA_TYPE, "given is int64"),
        ({"x": X.astype(complex), "ids": I64}, Kind.DATA_TYPE, "complex128"),
        ({"x": X.astype(str), "ids": I64}, Kind.DATA_TYPE, "no numbers"),
        ({"x": X.astype(float) * 1e300, "ids": I64}, Kind.VALUES, "cannot hold"),
        ({"x": X[:, :2], "ids": I64}, Kind.SHAPE, "n × 3 × ?), given is 4 × 2 × 2"),
        ({"x": X[..., None], "ids": I64}, Kind.SHAPE, "4 × 3 × 2 × 1"),
        ({"x": np.float32(1), "ids": I64}, Kind.SHAPE, "a single number"),
        ({"x": X[:0], "ids": I64[:0]}, Kind.EMPTY, "no sample"),
        ({"x": X, "ids": I64[:3]}, Kind.COUNTS_DIFFER, "3 samples where another input has 4"),
        ({"x": np.where(X == 3, np.nan, X), "ids": I64}, Kind.NOT_FINITE, "1 of its values"),
        ({"x": np.where(X > 3, np.inf, X), "ids": I64}, Kind.NOT_FINITE, "20 of its values"),
        ({"x": X, "ids": I64, "labels": np.arange(3)}, Kind.COUNTS_DIFFER, "'labels'"),
        ({"x": X, "ids": I64, "labels": np.ones(4)}, Kind.LABELS, "given are float64, 4"),
        ({"x": X, "ids": I64, "labels": -np.ones(4, int)}, Kind.LABELS, "from 0 on"),
        ({"x": X, "ids": I64, "labels": np.int64(3)}, Kind.LABELS, "a single number"),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_one_sentence(tmp_path, arrays, kind, word):
    problem, sentence = refused(write(tmp_path / "samples.npz", **arrays))
    assert problem.kind is kind
    assert word in sentence


def test_counts_are_compared_behind_the_samples_that_were_read(tmp_path):
    path = write(tmp_path / "s.npz", x=X, ids=I64[:3])
    assert refused(path, most_samples=2)[0].kind is Kind.COUNTS_DIFFER


def test_an_integer_that_the_type_cannot_hold_is_refused(tmp_path):
    wanted = [ModelInput("x", "uint8", (None, 3, 2))]
    path = write(tmp_path / "s.npz", x=X.astype(np.int64) - 1)
    assert refused(path, wanted)[0].kind is Kind.VALUES


def test_an_input_of_text_is_refused_before_a_file_is_opened(tmp_path):
    wanted = [ModelInput("x", "string", (None,))]
    assert refused(tmp_path / "none.npz", wanted)[0].kind is Kind.UNSUPPORTED


def test_one_array_does_not_do_for_two_inputs(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert refused(tmp_path / "x.npy")[0].kind is Kind.ONE_INPUT_ONLY


def test_sets_of_differing_shapes_are_refused(tmp_path):
    write_pb(tmp_path / "test_data_set_0" / "input_0.pb", X[:1])
    write_pb(tmp_path / "test_data_set_1" / "input_0.pb", X[:1, :, :1])
    assert refused(tmp_path, [IMAGE])[0].kind is Kind.SETS_DIFFER


def test_a_set_that_lacks_an_input_is_refused(tmp_path):
    write_pb(tmp_path / "test_data_set_0" / "input_0.pb", X[:1])
    assert refused(tmp_path)[0].kind is Kind.ABSENT


def test_a_folder_without_arrays_is_refused(tmp_path):
    assert refused(tmp_path)[0].kind is Kind.ABSENT


def test_what_is_not_there_is_refused(tmp_path):
    assert refused(tmp_path / "none.npz")[0].kind is Kind.MISSING


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    assert refused(tmp_path / ("x" * 400))[0].kind is Kind.MISSING


def test_names_from_a_file_stay_on_one_line(tmp_path):
    path = write(tmp_path / "s\n.npz", **{"a\nb\x1b[1m": X})
    assert "\x1b" not in refused(path)[1]
