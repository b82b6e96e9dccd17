"""An output is whole or absent, and never one of the files that are read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

from playground.utils.parameter_inspector import (
    OutputRefusedError,
    refuse_outputs,
    whole_files,
    write_whole,
)

OLD, NEW = b"old" * 1000, b"new" * 5000


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "out" / "target"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def beside(path: Path) -> list[Path]:
    return [one for one in path.parent.iterdir() if one != path]


def test_the_new_content_stands_where_the_old_stood(target):
    write_whole(target, NEW)
    assert target.read_bytes() == NEW and not beside(target)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_are_kept(target, mode):
    target.chmod(mode)
    write_whole(target, NEW)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_any_new_file_has(target):
    other = target.with_name("other")
    other.write_bytes(b"")
    write_whole(target.with_name("made"), NEW)
    assert target.with_name("made").stat().st_mode == other.stat().st_mode


def test_a_link_stays_and_what_it_leads_to_is_replaced(target, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(target)
    write_whole(link, NEW)
    assert link.is_symlink() and target.read_bytes() == NEW


def interrupt_at(step: int):
    """Return a trace function that interrupts the step-th line of what writes."""
    left = [step]

    def trace(frame: FrameType, event: str, _argument: object):
        if frame.f_code.co_filename != whole_files.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return trace

    return trace


def is_interrupted(path: Path, step: int) -> bool:
    before = sys.gettrace()
    sys.settrace(interrupt_at(step))
    try:
        write_whole(path, NEW)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# What an interrupt tears out of its `with` line is closed when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_leaves_the_old_file_or_the_new_one(target):
    found, step = set(), 1
    while is_interrupted(target, step):
        found.add(target.read_bytes())
        target.write_bytes(OLD)
        step += 1
    assert step > 25
    assert found == {OLD, NEW}


def test_an_interrupt_while_bytes_are_written_leaves_nothing_beside(target, monkeypatch):
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(target, NEW)
    assert target.read_bytes() == OLD and not beside(target)


def test_several_writers_of_one_file_leave_one_whole_file(target):
    contents = [bytes([i]) * 300_000 for i in range(8)]
    threads = [threading.Thread(target=write_whole, args=(target, one)) for one in contents]
    for thread in threads:
        thread.start()
    seen = {target.read_bytes() for _ in range(50)}
    for thread in threads:
        thread.join()
    assert seen <= {OLD, *contents}
    assert target.read_bytes() in contents and not beside(target)


def test_a_disk_that_is_full_keeps_the_old_file(target):
    code = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from playground.utils.parameter_inspector import write_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_whole(Path(sys.argv[1]), bytes(100_000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, target], capture_output=True, text=True, check=False
    )
    assert "OSError: [Errno 27]" in done.stderr
    assert target.read_bytes() == OLD and not beside(target)


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "a way around"])
def test_what_is_read_is_never_written(target, tmp_path, link):
    output = {
        "itself": target,
        "symbolic": tmp_path / "link",
        "hard": tmp_path / "link",
        "a way around": tmp_path / "out" / ".." / "out" / "target",
    }[link]
    if link == "symbolic":
        output.symlink_to(target)
    if link == "hard":
        output.hardlink_to(target)
    for write in (
        lambda: write_whole(output, NEW, [target]),
        lambda: refuse_outputs([output], [target]),
    ):
        with pytest.raises(OutputRefusedError, match="one of the files that are read"):
            write()
    assert target.read_bytes() == OLD


def test_a_link_that_is_read_is_not_written_by_its_other_name(target, tmp_path):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OutputRefusedError):
        write_whole(target, NEW, [tmp_path / "link"])


@pytest.mark.parametrize("place", ["x.npy", "test_data_set_0/input_0.pb"])
def test_what_lies_in_a_folder_that_is_read_is_never_written(tmp_path, place):
    path = tmp_path / "samples" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(OLD)
    with pytest.raises(OutputRefusedError):
        write_whole(path, NEW, [tmp_path / "samples"])
    refuse_outputs([path.with_name("new.json")], [tmp_path / "samples"])


@pytest.mark.parametrize("second", ["a", "b/../a", "link"])
def test_two_outputs_have_two_files(tmp_path, second):
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(OutputRefusedError, match="given for two outputs"):
        refuse_outputs([tmp_path / "a", tmp_path / second])


def test_a_folder_that_is_missing_is_said_before_the_work_begins(tmp_path):
    with pytest.raises(FileNotFoundError):
        refuse_outputs([tmp_path / "none" / "out"])


def test_a_pipe_takes_the_bytes_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: seen.append((tmp_path / "pipe").read_bytes()))
    seen: list[bytes] = []
    reader.start()
    write_whole(tmp_path / "pipe", NEW)
    reader.join()
    assert seen == [NEW] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_file_that_stdout_goes_to_keeps_what_was_printed(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from playground.utils.parameter_inspector import write_whole\n"
        "print('first', flush=True)\n"
        "write_whole(Path('/dev/stdout'), b'second')\n"
    )
    with (tmp_path / "log").open("ab") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_bytes().endswith(b"second")


def test_a_file_that_is_not_ours_to_write_is_kept(target, monkeypatch):
    # The superuser, who runs the tests in some places, may write everything.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError):
        write_whole(target, NEW)
    assert target.read_bytes() == OLD
