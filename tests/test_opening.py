"""The files of a folder are opened beside each other: a bad one costs its own line."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import onnx
import pytest
from models_for_tests import convnet, int8_conv

from playground.utils.parameter_inspector import describe_refusal, open_folder
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading import openings
from playground.utils.parameter_inspector.sharing import MOST_MODELS


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def names(folder) -> list[str]:
    return sorted(model.name for model in folder.variants.values())


class Gate:
    """Keeps the files whose name begins with ``slow`` from being opened until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.go = threading.Event()
        load = openings.load_model

        def load_or_wait(path: Path):
            self.opened.append(path.name)
            if path.name.startswith("slow"):
                assert self.go.wait(60)
            return load(path)

        monkeypatch.setattr(openings, "load_model", load_or_wait)
        monkeypatch.setattr(openings, "HEAD_START_SECONDS", 0.01)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.go.set()


def open_all_but(slow: set[str], folder: Path):
    """Return the folder when all but some files are done."""
    for one in open_folder(folder, patience=0).opening:
        if one.path.name not in slow:
            one.wait(60)
    return open_folder(folder, patience=0)


def test_the_others_are_there_while_some_are_still_being_opened(tmp_path, gate):
    slow = {f"slow{i}.onnx" for i in range(4)}
    for name in slow:
        save(int8_conv(), tmp_path / name)
    save(convnet(), tmp_path / "z.onnx")
    opened = open_all_but(slow, tmp_path)
    assert names(opened) == ["z"]
    assert set(opened.unreadable) == slow
    assert {refusal.kind for refusal in opened.unreadable.values()} == {RefusalKind.STILL_OPENING}
    assert {one.path.name for one in opened.opening} == slow
    gate.go.set()
    opened = open_folder(tmp_path)
    assert names(opened) == ["slow0", "slow1", "slow2", "slow3", "z"]
    assert (opened.unreadable, opened.opening) == ({}, ())


def test_a_file_is_opened_once_however_many_ask(tmp_path, gate):
    save(convnet(), tmp_path / "slow.onnx")
    waiting = [threading.Thread(target=open_folder, args=(tmp_path,)) for _ in range(8)]
    for thread in waiting:
        thread.start()
    open_folder(tmp_path, patience=0)
    gate.go.set()
    for thread in waiting:
        thread.join(60)
    assert gate.opened == ["slow.onnx"]


def test_all_who_ask_are_given_the_same_record(tmp_path):
    save(convnet(), tmp_path / "a.onnx")
    assert open_folder(tmp_path) is open_folder(tmp_path, patience=60)


def test_only_the_file_that_changes_is_opened_again(tmp_path, gate):
    save(convnet(), tmp_path / "a.onnx")
    save(int8_conv(), tmp_path / "b.onnx")
    before = open_folder(tmp_path)
    save(int8_conv(data_type="uint8"), tmp_path / "b.onnx")
    after = open_folder(tmp_path)
    assert sorted(gate.opened) == ["a.onnx", "b.onnx", "b.onnx"]
    assert list(after.variants) == ["FP32", "UINT8"]
    assert after.variants["FP32"] is before.variants["FP32"]


def test_a_file_that_takes_too_long_costs_its_own_line(tmp_path, monkeypatch):
    relus = [onnx.helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(3000)]
    graph = onnx.helper.make_graph(
        relus,
        "long",
        [onnx.helper.make_tensor_value_info("v0", onnx.TensorProto.FLOAT, [2])],
        [onnx.ValueInfoProto(name="v3000")],
    )
    save(onnx.helper.make_model(graph), tmp_path / "long.onnx")
    save(convnet(), tmp_path / "short.onnx")
    monkeypatch.setattr(openings, "OPENING_SECONDS", -1)
    opened = open_folder(tmp_path)
    assert names(opened) == ["short"]
    assert opened.unreadable["long.onnx"].kind is RefusalKind.OPENING_TOO_LONG


def test_the_sentence_names_the_limit():
    assert openings.OPENING_SECONDS == 10
    refusal = openings.Refusal(RefusalKind.OPENING_TOO_LONG, name="m.onnx", limit=10)
    assert describe_refusal(refusal).startswith(
        "m.onnx: opening it took more than 10 seconds of processor time"
    )


def test_what_no_file_should_lead_to_reaches_who_asked(tmp_path, monkeypatch):
    def fail(path: Path):
        raise KeyError("ours")

    monkeypatch.setattr(openings, "load_model", fail)
    save(convnet(), tmp_path / "a.onnx")
    with pytest.raises(KeyError, match="ours"):
        open_folder(tmp_path)


def test_a_file_that_memory_does_not_suffice_for_hides_no_other(tmp_path, monkeypatch):
    load = openings.load_model

    def fail(path: Path):
        if path.name == "a.onnx":
            raise MemoryError
        return load(path)

    monkeypatch.setattr(openings, "load_model", fail)
    save(convnet(), tmp_path / "a.onnx")
    save(int8_conv(), tmp_path / "b.onnx")
    opened = open_folder(tmp_path)
    assert names(opened) == ["b"]
    assert "memory" in describe_refusal(opened.unreadable["a.onnx"])


def test_another_file_of_the_same_size_and_time_is_noticed(tmp_path):
    """Builds and image layers set times; what they exchange has another inode."""
    path = save(int8_conv(), tmp_path / "m.onnx")
    open_folder(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes().replace(b"conv", b"vnoc"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    (model,) = open_folder(tmp_path).variants.values()
    assert "vnoc" in [node.name for node in model.graph]


def test_a_file_that_is_written_in_place_and_dated_back_is_noticed(tmp_path):
    path = save(int8_conv(), tmp_path / "m.onnx")
    open_folder(tmp_path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes().replace(b"conv", b"vnoc"))
    os.utime(path, ns=times)
    (model,) = open_folder(tmp_path).variants.values()
    assert "vnoc" in [node.name for node in model.graph]


def test_of_more_files_than_are_compared_the_others_are_said(tmp_path):
    for i in range(MOST_MODELS + 3):
        (tmp_path / f"{i:04}.onnx").write_bytes(b"")
    opened = open_folder(tmp_path)
    assert len(opened.unreadable) == MOST_MODELS + 1
    refusal = opened.unreadable["3 more files"]
    assert refusal.kind is RefusalKind.TOO_MANY_FILES
    assert describe_refusal(refusal).startswith("3 more .onnx files")


def test_files_whose_names_print_alike_are_all_there(tmp_path):
    for name in ("a\x07", "a\\x07"):
        (tmp_path / f"{name}.onnx").write_bytes(b"")
    assert list(open_folder(tmp_path).unreadable) == ["a\\x07.onnx", "a\\x07.onnx #2"]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    opened = open_folder(tmp_path / "absent")
    assert opened.unreadable["absent"].kind is RefusalKind.NO_FOLDER


def test_a_folder_that_goes_is_said(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    save(convnet(), home / "a.onnx")
    open_folder(home)
    shutil.rmtree(home)
    assert open_folder(home).unreadable["home"].kind is RefusalKind.NO_FOLDER
