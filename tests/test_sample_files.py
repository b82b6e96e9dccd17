"""Files that strangers wrote are read without running, allocating or following what they say."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from samples_for_tests import IMAGE, X, refused, write, write_pb

from playground.utils.parameter_inspector.running import sample_files
from playground.utils.parameter_inspector.running.sample_problems import (
    ModelInput,
    SampleProblemKind,
)
from playground.utils.parameter_inspector.running.samples import load_samples

Kind = SampleProblemKind


class Peak:
    bytes = 0


@contextmanager
def peak_of() -> Iterator[Peak]:
    """Yield what becomes the most memory that was held at once within."""
    peak = Peak()
    tracemalloc.start()
    try:
        yield peak
        peak.bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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
    "an array in an array": npy(GOOD.replace("<f4", "2f4")),
    "several types": npy(GOOD.replace("<f4", "f4,f4")),
    "an alias": npy(GOOD.replace("<f4", "a4")),
    "dates": npy(GOOD.replace("<f4", "<M8[ns]")),
    "an escape": npy(GOOD.replace("'descr'", r"'\d': 1, 'descr'")),
    "a number of 4,000 digits": npy(GOOD.replace("(1", f"({'9' * 4000}")),
    "a shape beyond numpy, but empty": npy(GOOD.replace("(1, 3", f"(0, {1 << 62}")),
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


def test_a_zip_of_endless_contents_is_refused_before_it_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_files, "_MAX_PIECE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        for i in range(7000):
            archive.writestr(f"{i}{'long' * 30}", b"")
    problem, _ = refused(tmp_path / "s.npz", [IMAGE])
    assert (problem.kind, problem.detail) == (Kind.UNREADABLE, "its list of contents is too long")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_unpacked_without_end_is_refused_unread(tmp_path, method):
    array = npy(GOOD, bytes(300 << 20))
    with zipfile.ZipFile(tmp_path / "s.npz", "w", method) as archive:
        archive.writestr("x.npy", array)
    del array
    with peak_of() as peak:
        problem, _ = refused(tmp_path / "s.npz", [IMAGE])
    assert problem.kind is Kind.UNREADABLE
    assert "a way that numpy does not write" in problem.detail
    assert peak.bytes < 5 << 20


@pytest.mark.parametrize("megabytes", [1, 2, 4])
def test_reading_takes_no_more_than_was_allowed_whatever_the_types_are(tmp_path, megabytes):
    allowed = megabytes << 20
    for given, count in (("int8", allowed // 9), ("float64", allowed // 12)):
        wanted = ModelInput("x", "int64" if given == "int8" else "float32", ("n",))
        np.savez_compressed(tmp_path / "s.npz", x=np.zeros(count, given))
        with peak_of() as peak:
            assert load_samples(tmp_path / "s.npz", [wanted], most_bytes=allowed).count == count
        # Looking for NaN and comparing what was converted take a byte for each number, in turn.
        assert peak.bytes < 1.3 * allowed + (1 << 20)
        assert refused(tmp_path / "s.npz", [wanted], most_bytes=allowed - 100)[0].kind is (
            Kind.TOO_LARGE
        )


def test_what_is_repeated_for_each_sample_is_counted_as_often(tmp_path):
    wanted = [ModelInput("x", "float32", ("n", 3)), ModelInput("table", "float32", (100, 100))]
    np.savez(tmp_path / "s.npz", x=np.zeros((1000, 3), "f4"), table=np.zeros((100, 100), "f4"))
    problem, _ = refused(tmp_path / "s.npz", wanted, most_bytes=1 << 20)
    assert (problem.kind, problem.count) == (Kind.TOO_LARGE, 1000 * (40_000 + 12))


def test_files_that_are_joined_get_half(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros((1000, 3, 2), np.float32))
    load_samples(tmp_path, [IMAGE], most_bytes=2 * 48_000)
    assert refused(tmp_path, [IMAGE], most_bytes=2 * 47_999)[0].kind is Kind.TOO_LARGE


def test_only_what_is_asked_for_is_read(tmp_path):
    np.savez(tmp_path / "s.npz", x=X, more=np.zeros(10 << 20, np.uint8))
    with peak_of() as peak:
        assert load_samples(tmp_path / "s.npz", [IMAGE], most_bytes=1000).count == 4
    assert peak.bytes < 5 << 20


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


@pytest.mark.parametrize("field", [b"\x32\x00", b"\x4a\x00", b"\x08\x01", b"\xfa\x07\x00"])
@pytest.mark.parametrize("count", [100_000, 200_000, 400_000])
def test_a_tensor_in_many_pieces_is_refused_before_it_is_parsed(tmp_path, field, count):
    write_pb(tmp_path / "input_0.pb", X)
    content = (tmp_path / "input_0.pb").read_bytes() + field * count
    (tmp_path / "input_0.pb").write_bytes(content)
    with peak_of() as peak:
        problem, _ = refused(tmp_path, [IMAGE])
    assert problem.detail == "it has more than 10,000 fields"
    assert peak.bytes < len(content) + (1 << 20)


def test_a_link_out_of_the_folder_that_is_shown_is_refused(tmp_path):
    write(tmp_path / "far.npz", x=X)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "samples.npz").symlink_to(tmp_path / "far.npz")
    link = tmp_path / "models" / "samples.npz"
    assert refused(link, [IMAGE], inside=tmp_path / "models")[0].kind is Kind.OUTSIDE
    assert load_samples(link, [IMAGE]).count == 4  # one's own link, given by name


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
