"""What commands write is whole or absent, and never what they read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from playground import cli

ROOT = Path(__file__).resolve().parents[1]
DSCNN = ROOT / "models" / "dscnn"


def run(*arguments: object):
    return CliRunner().invoke(cli.main, [str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path) -> Path:
    """A network whose quantized file has external data, its samples, and a file nobody can read."""
    copied = tmp_path / "models"
    shutil.copytree(DSCNN, copied)
    (copied / "uint8.onnx").unlink()
    model = onnx.load(copied / "int8.onnx")
    onnx.save(
        model, copied / "int8.onnx", save_as_external_data=True, location="w.bin", size_threshold=64
    )
    (copied / "broken.onnx").write_bytes(b"no model")
    (copied / "broken.bin").write_bytes(b"its weights")
    return copied


def commands(folder: Path, output: Path) -> dict[str, tuple[object, ...]]:
    pair, samples = (folder / "fp32.onnx", folder / "int8.onnx"), folder / "samples.npz"
    given = "--samples", samples
    return {
        "check --json": ("check", *pair, "--json", output, *given),
        "check --junit": ("check", *pair, "--junit", output, *given),
        "measure --json": ("measure", *pair, "--json", output, *given),
        "report": ("report", folder, "-o", output, *given),
        "requantize": ("requantize", *pair, "--target-sqnr", 20, "-o", output, *given),
    }


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("command", commands(Path(), Path()))
@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx", "w.bin", "samples.npz"])
def test_a_command_never_writes_over_what_it_reads(folder, command, name):
    before = snapshot(folder)
    done = run(*commands(folder, folder / name)[command])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert f"{folder / name} is one of the files that are read: give another name" in done.stderr
    assert snapshot(folder) == before


@pytest.mark.parametrize("command", commands(Path(), Path()))
@pytest.mark.parametrize("hard", [False, True])
def test_a_link_is_what_it_leads_to(folder, tmp_path, command, hard):
    before, link = snapshot(folder), tmp_path / "link"
    link.hardlink_to(folder / "w.bin") if hard else link.symlink_to(folder / "w.bin")
    done = run(*commands(folder, link)[command])
    assert done.exit_code == 2 and "one of the files that are read" in done.stderr
    assert snapshot(folder) == before


@pytest.mark.parametrize("name", ["broken.onnx", "broken.bin"])
def test_a_report_spares_what_belongs_to_a_model_that_is_refused(folder, name):
    before = snapshot(folder)
    assert run("report", folder, "-o", folder / name).exit_code == 2
    assert snapshot(folder) == before


def test_two_outputs_to_one_file_are_refused_before_the_work(folder, tmp_path):
    output = tmp_path / "out"
    done = run("check", folder / "int8.onnx", "--json", output, "--junit", output)
    assert done.exit_code == 2 and "given for two outputs" in done.stderr
    assert not output.exists()


@pytest.mark.parametrize("target", ["nan", "inf", "-inf"])
def test_a_target_that_is_no_number_is_refused(folder, tmp_path, target):
    pair = folder / "fp32.onnx", folder / "int8.onnx"
    done = run("requantize", *pair, f"--target-sqnr={target}", "-o", tmp_path / "out.onnx")
    assert done.exit_code == 2 and "not a number of decibels" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


# More than the limit below; and `report` draws.
LIMITED = """
import resource, sys
from playground import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", commands(Path(), Path()))
def test_a_full_disk_leaves_the_old_file_and_one_sentence(folder, tmp_path, command):
    output = tmp_path / "kept" / "out"
    output.parent.mkdir()
    output.write_bytes(b"old")
    arguments = list(map(str, commands(folder, output)[command]))[:-2]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"cannot write: {output}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(output.parent) == {"out": b"old"}


def test_what_is_written_over_an_older_file_is_whole(folder, tmp_path):
    for name in ("out.json", "out.xml"):
        (tmp_path / name).write_bytes(b"old" * 10_000_000)
    pair = folder / "fp32.onnx", folder / "int8.onnx"
    run("check", *pair, "--json", tmp_path / "out.json", "--junit", tmp_path / "out.xml")
    json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    xml.dom.minidom.parse(str(tmp_path / "out.xml"))


def test_external_data_that_vanished_is_said_and_no_fault_of_ours(folder, monkeypatch):

    from playground.commands import check

    def lose(*arguments, **more):
        (folder / "w.bin").unlink()
        return original(*arguments, **more)

    original = check.find_refused
    monkeypatch.setattr(check, "find_refused", lose)
    done = run("check", folder / "fp32.onnx", folder / "int8.onnx", "--load")
    assert done.exit_code == 2
    assert done.stderr.startswith("cannot read: int8.onnx cannot be opened")
