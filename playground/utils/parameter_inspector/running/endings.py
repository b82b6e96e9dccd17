"""How a run ended when it did not end well: a kind and its numbers, and the one sentence for it."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from pathlib import Path

from ..facts import Ending, EndingKind

_DETAIL_CHARACTERS = 500
_ABSOLUTE_PATH = re.compile(r"""(?:[A-Za-z]:\\|\\\\|/)[^\s'"()<>,;|]+""")
_SOURCE_LINE = re.compile(r"\.(?:cc|cpp|cxx|h|hpp|py|so|dll)\b")


class RunEndedError(RuntimeError):
    """A run gave no answer. The message is the sentence of `describe_ending`."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(describe_ending(ending))
        self.ending = ending


def describe_ending(ending: Ending) -> str:
    """Return one sentence for the reader."""
    match ending.kind:
        case EndingKind.CANCELLED:
            return "The run was stopped before it ended."
        case EndingKind.TIME:
            what = "all runs together" if ending.in_all else "one run"
            return f"The model was stopped: it took longer than {ending.seconds:g} s for {what}."
        case EndingKind.MEMORY:
            return f"The model was stopped: it asked for more than {_spell(ending.memory_bytes)}."
        case EndingKind.CRASHED:
            return f"onnxruntime crashed on the model: {_spell_crash(ending)}."
        case EndingKind.REFUSED:
            return f"onnxruntime does not accept the model{_because(ending.detail)}"
        case EndingKind.FAILED:
            return f"The model could not be run{_because(ending.detail)}"
        case EndingKind.BAD_REPLY:
            return (
                "The process that runs the model was ended: its answer could not be understood"
                f"{_because(ending.detail)}"
            )


def _because(detail: str) -> str:
    return f": {detail.rstrip('.')}." if detail else "."


def _spell(size: int) -> str:
    return f"{size / 1e9:.3g} GB of memory" if size >= 1e9 else f"{size / 1e6:.3g} MB of memory"


def _spell_crash(ending: Ending) -> str:
    if ending.signal is None:
        return f"its process ended by itself{f' ({ending.detail})' if ending.detail else ''}"
    if ending.signal == getattr(signal, "SIGKILL", None):
        return "its process was killed from outside, perhaps because the machine ran out of memory"
    try:
        return f"its process ended by {signal.Signals(ending.signal).name}"
    except ValueError:
        return f"its process ended by signal {ending.signal}"


def clean_message(text: str) -> str:
    """Return what another process said on one line, short, without paths of this machine.

    Names of nodes that look like paths ("/encoder/MatMul") stay.
    """
    one_line = " ".join(text.split())
    hidden = _ABSOLUTE_PATH.sub(lambda found: _hide_path(found[0]), one_line)
    printable = "".join(c if c.isprintable() else "?" for c in hidden)
    most = _DETAIL_CHARACTERS
    return printable if len(printable) <= most else f"{printable[: most - 3]}..."


def describe_library_error(error: Exception, folder: Path | None = None) -> str:
    """Return what a library says of a file, without paths of this machine, to end a sentence.

    Args:
        folder: that the file is in: where its name has blanks, no pattern finds its end.
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for own in () if folder is None else (folder, folder.resolve()):
        said = said.replace(f"{own}{os.sep}", "")
    return clean_message(said)[:200].rstrip(".")


def _hide_path(text: str) -> str:
    own = (tempfile.gettempdir(), os.fspath(Path.home()))
    ours = not text.startswith("/") or text.startswith(own) or _is_folder(text.split("/")[1])
    return "(path)" if ours or _SOURCE_LINE.search(text) else text


def _is_folder(first: str) -> bool:
    """Return whether a path that begins so is one of this machine."""
    try:
        return Path("/", first).is_dir()
    except OSError:  # too long a name
        return False
