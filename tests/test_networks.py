"""Folders are looked into as far as anybody puts models, and what is left out is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from playground.utils.parameter_inspector import describe_refusal, find_networks, look_for_networks
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading import networks


def add_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.onnx").write_bytes(b"")
    return folder


def kinds(root: Path) -> list[RefusalKind]:
    return [refusal.kind for refusal in look_for_networks(root).refusals]


@pytest.fixture
def deep(tmp_path):
    """Return a folder of 1,200 levels, which no single path can name; take it away step by step."""
    home = add_model(tmp_path / "home")
    descriptor = os.open(home, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    yield home
    for _ in range(1200):
        outer = os.open("..", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        os.rmdir("d", dir_fd=outer)
        descriptor = outer
    os.close(descriptor)


def test_folders_of_a_thousand_levels_are_not_followed_to_the_end(deep):
    assert find_networks(deep) == {"home": deep}
    assert kinds(deep) == [RefusalKind.FOLDERS_TOO_DEEP]


def test_more_folders_than_are_looked_into_are_said(tmp_path, monkeypatch):
    looked, scan = [], os.scandir
    monkeypatch.setattr(networks, "MOST_FOLDERS", 20)
    monkeypatch.setattr(networks.os, "scandir", lambda path: (looked.append(path), scan(path))[1])
    for i in range(50):
        (tmp_path / f"{i:02}").mkdir()
    add_model(tmp_path / "00")
    assert find_networks(tmp_path) == {"00": tmp_path / "00"}
    assert len(looked) == 20
    assert kinds(tmp_path) == [RefusalKind.TOO_MANY_FOLDERS]


def test_networks_that_print_alike_are_all_there(tmp_path):
    folders = [add_model(tmp_path / name) for name in ("a\x07", "a\\x07")]
    assert find_networks(tmp_path) == {"a\\x07": folders[0], "a\\x07 #2": folders[1]}


def test_a_folder_that_cannot_be_read_is_said_and_hides_no_other(tmp_path, monkeypatch):
    secret, found = add_model(tmp_path / "secret"), add_model(tmp_path / "found")
    scan = os.scandir

    def refuse(path):
        if Path(path) == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(networks.os, "scandir", refuse)
    assert find_networks(tmp_path) == {"found": found}
    (refusal,) = look_for_networks(tmp_path).refusals
    assert describe_refusal(refusal) == "the folder secret cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: None, RefusalKind.NO_FOLDER),
        (lambda path: path.write_bytes(b""), RefusalKind.NOT_A_FOLDER),
        (lambda path: path.mkdir(), RefusalKind.NO_MODELS),
    ],
    ids=["missing", "a file", "empty"],
)
def test_why_nothing_is_found_is_said(tmp_path, make, kind):
    make(tmp_path / "models")
    (refusal,) = look_for_networks(tmp_path / "models").refusals
    assert refusal.kind is kind
    assert "models" in describe_refusal(refusal)
    assert str(tmp_path) not in describe_refusal(refusal)


def test_a_link_in_a_circle_is_not_followed(tmp_path):
    home = add_model(tmp_path / "home")
    (home / "again").symlink_to(home)
    assert find_networks(tmp_path) == {"home": home}
