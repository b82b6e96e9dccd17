"""The files of a folder, opened beside each other: a bad one costs its own line, no other waits.

Each is opened once for all who ask, in a thread of its own that ends within a limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from ..budgets import Budget, OutOfTimeError, limited
from ..facts import Refusal, RefusalKind
from .layers import list_layers
from .model_file import Model, ModelFileError, load_model, printable

# Of processor time, for one file. A large network of our own takes a tenth of it.
OPENING_SECONDS = 10.0
# So many are opened at a time, in order; the next one begins anyway when those take long.
OPENED_AT_A_TIME = 2
HEAD_START_SECONDS = 0.25


class Opening:
    """One file that is being opened, or was.

    Attributes:
        model: None while it is not open.
        refusal: why it cannot be opened; `STILL_OPENING` until that is known.
    """

    def __init__(self, path: Path, folder: Path | None, place: int) -> None:
        self.path = path
        self.model: Model | None = None
        self.refusal: Refusal | None = Refusal(RefusalKind.STILL_OPENING, name=printable(path.name))
        self._error: BaseException | None = None
        self._folder, self._place = folder, place
        self._done = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it is done. Raises what no file should lead to."""
        self._done.wait(seconds)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        has_turn = _turns.acquire(timeout=HEAD_START_SECONDS * (1 + self._place))
        try:
            with limited(Budget(OPENING_SECONDS)):
                self.model, self.refusal = self._open(), None
        except ModelFileError as error:
            self.refusal = error.refusal
        except OutOfTimeError:
            self.refusal = self._refuse(RefusalKind.OPENING_TOO_LONG, limit=int(OPENING_SECONDS))
        except MemoryError:
            reason = "there is not enough memory"
            self.refusal = self._refuse(RefusalKind.FILE_UNREADABLE, reason=reason)
        except BaseException as error:  # raised where somebody waits for it
            self._error = error
        finally:
            if has_turn:
                _turns.release()
            self._done.set()

    def _open(self) -> Model:
        if self._folder is not None and leads_out_of(self.path, self._folder):
            raise ModelFileError(self._refuse(RefusalKind.LINK_OUTSIDE))
        model = load_model(self.path)
        list_layers(model)
        return model

    def _refuse(self, kind: RefusalKind, *, limit: int = 0, reason: str = "") -> Refusal:
        return Refusal(kind, name=printable(self.path.name), limit=limit, reason=reason)


_turns = threading.Semaphore(OPENED_AT_A_TIME)
_openings: WeakValueDictionary[Hashable, Opening] = WeakValueDictionary()
_lock = threading.Lock()


def open_files(
    files: Sequence[tuple[Path, Hashable]], folder: Path | None, patience: float | None = None
) -> tuple[Opening, ...]:
    """Return the openings of files, each with its identity, when all are done.

    Args:
        folder: that links may not lead out of; None where the files were named one by one.
        patience: in seconds; those that are not done by then are returned as they are.
    """
    until = None if patience is None else time.monotonic() + patience
    with _lock:
        openings: list[Opening] = []
        for path, identity in files:
            key = str(folder), identity
            opening = _openings.get(key)
            if opening is None:
                waiting = sum(not other.is_done for other in openings)
                opening = _openings[key] = Opening(path, folder, waiting)
            openings.append(opening)
    for opening in openings:
        opening.wait(None if until is None else max(0.0, until - time.monotonic()))
    return tuple(openings)


def leads_out_of(path: Path, folder: Path) -> bool:
    """Return whether a path is a link to something that is not in the folder."""
    try:
        return not path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a dangling or circular link leads nowhere
        return False
