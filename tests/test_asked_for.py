"""The page shows what it was started with: a folder of networks, or the files of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from marimo._runtime.params import CLIArgs

from playground.utils.page import asked_for
from playground.utils.parameter_inspector import identify_folder, open_folder

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture
def start(monkeypatch):
    """Return a function that lists the networks of a page started with some arguments."""

    def list_networks(**arguments: object):
        monkeypatch.setattr(asked_for.mo, "cli_args", lambda: CLIArgs(arguments))
        return asked_for.list_networks()

    return list_networks


def test_a_folder_gives_each_network_inside_it(start):
    assert start(models=str(MODELS)) == {name: MODELS / name for name in ("dscnn", "resnet8")}


def test_the_shipped_networks_are_shown_where_none_is_named(start):
    assert set(start()) == {"dscnn", "resnet8"}


def test_files_are_one_network_without_their_neighbours(start):
    pair = [MODELS / "dscnn" / name for name in ("uint8.onnx", "fp32.onnx")]
    (((name, place),)) = start(file=[str(path) for path in pair]).items()
    assert name == "uint8.onnx + fp32.onnx"
    opened = open_folder(place)
    assert {name: model.path for name, model in opened.variants.items()} == {
        "FP32": pair[1],
        "UINT8": pair[0],
    }
    assert opened.path == MODELS / "dscnn"


def test_one_file_is_a_network_too(start):
    (place,) = start(file=str(MODELS / "dscnn" / "int8.onnx")).values()
    assert list(open_folder(place).variants) == ["INT8"]


def test_files_of_one_name_in_two_folders_are_told_apart(start, tmp_path):
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        shutil.copy(MODELS / "dscnn" / "int8.onnx", tmp_path / folder / "model.onnx")
        (tmp_path / folder / "bad.onnx").write_bytes(b"")
    files = [tmp_path / f / name for f in ("ours", "theirs") for name in ("model.onnx", "bad.onnx")]
    opened = open_folder(tuple(files))
    assert [("ours" in name, "theirs" in name) for name in opened.variants] == [
        (True, False),
        (False, True),
    ]
    assert len(opened.unreadable) == 2


def test_a_named_file_that_changes_makes_the_place_another(tmp_path):
    path = tmp_path / "int8.onnx"
    shutil.copy(MODELS / "dscnn" / "int8.onnx", path)
    before = identify_folder((path,))
    (tmp_path / "beside.onnx").write_bytes(b"1")
    assert identify_folder((path,)) == before
    path.write_bytes(b"1")
    assert identify_folder((path,)) != before
