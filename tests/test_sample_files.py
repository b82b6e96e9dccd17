"""Files that strangers wrote are read without running, allocating or following what they say."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from samples_for_tests import BOTH, I64, IMAGE, X, refused, write, write_pb

from playground.utils.parameter_inspector.running.sample_problems import (
    SampleProblemKind,
    SamplesError,
)
from playground.utils.parameter_inspector.running.samples import load_samples

Kind = SampleProblemKind


def test_objects_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    np.save(tmp_path / "x.npy", np.array([Bomb()], object), allow_pickle=True)
    assert refused(tmp_path / "x.npy", [IMAGE])[0].kind is Kind.PICKLED
    assert not (tmp_path / "exploded").exists()


def test_a_zip_that_grows_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 3, 2000), np.float32))
    problem, sentence = refused(path, [IMAGE], most_bytes=1 << 20)
    assert problem.kind is Kind.TOO_LARGE
    assert "24,000,000 bytes, more than the 1,048,576" in sentence


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode()
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2)}"
DAMAGED = {
    "empty": b"",
    "text": b"x,y\n1,2\n",
    "cut header": npy(GOOD)[:30],
    "cut data": npy(GOOD, b"1234"),
    "a header that never ends": npy(GOOD)[:8] + b"\xff\xff" + b" " * 70_000,
    "a header of four gigabytes": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b" " * 70_000,
    "a negative shape": npy(GOOD.replace("(1", "(-1")),
    "a shape of truths": npy(GOOD.replace("(1", "(True")),
    "no shape": npy("{'descr': '<f4', 'fortran_order': False}"),
    "code": npy("__import__('os').abort()"),
    "deep": npy("(" * 5000),
    "a record": npy(GOOD.replace("'<f4'", "[('a', '<f4')]")),
    "an unknown type": npy(GOOD.replace("<f4", "<q9")),
    "a type of no size": npy(GOOD.replace("<f4", "V0")),
    "version 9": npy(GOOD, b"1" * 24).replace(b"Y\x01", b"Y\x09"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_array_is_refused(tmp_path, name):
    (tmp_path / "x.npy").write_bytes(DAMAGED[name])
    assert refused(tmp_path / "x.npy", [IMAGE])[0].kind is Kind.UNREADABLE


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_array_in_a_zip_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("x.npy", DAMAGED[name])
    assert refused(tmp_path / "s.npz", [IMAGE])[0].kind is Kind.UNREADABLE


@pytest.mark.parametrize("data", [b"", b"PK", b"hello" * 99, npy(GOOD, b"1" * 24)])
def test_what_is_no_zip_is_refused(tmp_path, data):
    (tmp_path / "s.npz").write_bytes(data)
    assert refused(tmp_path / "s.npz", [IMAGE])[0].kind is Kind.UNREADABLE


def test_a_zip_of_endless_contents_is_refused_before_it_is_listed(tmp_path):
    whole = write(tmp_path / "s.npz", x=X).read_bytes()
    length = (20 << 20).to_bytes(4, "little")
    (tmp_path / "s.npz").write_bytes(whole[:-10] + length + whole[-6:])
    problem, _ = refused(tmp_path / "s.npz", [IMAGE])
    assert (problem.kind, problem.detail) == (Kind.UNREADABLE, "its list of contents is too long")


def test_a_shape_that_no_memory_holds_is_refused_before_it_is_allocated(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(GOOD.replace("(1", "(750000000")))
    assert refused(tmp_path / "x.npy", [IMAGE])[0].kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dims=[-1], data_type=1),
        TensorProto(dims=[4, 3, 2], data_type=1, raw_data=b"1234"),
        TensorProto(dims=[1 << 20, 3, 2], data_type=1, float_data=[1]),
        TensorProto(dims=[1], data_type=1, data_location=1),
        TensorProto(dims=[1, 3, 1], data_type=99, raw_data=b"123"),
    ],
)
def test_a_damaged_tensor_is_refused(tmp_path, proto):
    (tmp_path / "input_0.pb").write_bytes(proto.SerializeToString())
    assert refused(tmp_path, [IMAGE])[0].kind is Kind.UNREADABLE


def test_a_huge_tensor_is_refused_by_its_shape(tmp_path):
    proto = TensorProto(dims=[1 << 40, 3, 2], data_type=1)
    (tmp_path / "input_0.pb").write_bytes(proto.SerializeToString())
    assert refused(tmp_path, [IMAGE])[0].kind is Kind.TOO_LARGE


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.npy").symlink_to(tmp_path / "x.npy")
    assert refused(folder, [IMAGE])[0].kind is Kind.OUTSIDE


def test_a_linked_folder_of_a_test_set_is_refused(tmp_path):
    write_pb(tmp_path / "far" / "input_0.pb", X[:1])
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "test_data_set_0").symlink_to(tmp_path / "far")
    assert refused(tmp_path / "near", [IMAGE])[0].kind is Kind.OUTSIDE


def test_a_pipe_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    assert refused(tmp_path, [IMAGE])[0].kind is Kind.NOT_A_FILE
    assert refused(tmp_path / "x.npy", [IMAGE])[0].kind is Kind.NOT_A_FILE


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_mutated_file_is_read_or_refused(tmp_path, data):
    whole = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(whole, x=X, ids=I64)
    mutated = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    path = tmp_path / "s.npz"
    path.write_bytes(mutated[: data.draw(st.sampled_from([len(mutated), cut]))])
    try:
        assert load_samples(path, BOTH).count == 4
    except SamplesError as error:
        assert str(error).endswith(".")
