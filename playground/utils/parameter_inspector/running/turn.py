"""One run at a time for the whole server, and how many wait for theirs."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from ..facts import Ending, EndingKind
from .endings import RunEndedError


class Turns:
    """Hands out one turn at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        # Notified when somebody comes or goes; its lock can be taken again by who holds it.
        self.changed = threading.Condition()
        self._line: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many wait; the one whose turn it is does not."""
        with self.changed:
            return max(len(self._line) - 1, 0)

    @property
    def busy(self) -> bool:
        with self.changed:
            return bool(self._line)

    def ahead_of(self, turn: Turn) -> int:
        """Return how many come before a turn: 0 when it has come, or was never asked for."""
        with self.changed:
            return self._line.index(turn) if turn in self._line else 0

    def enter(self, turn: object, cancel: threading.Event | None) -> None:
        """Wait until the turn has come.

        Raises:
            RunEndedError: ``cancel`` was set before.
        """
        with self.changed:
            self._line.append(turn)
            self.changed.notify_all()
            try:
                # An event cannot wake a condition: it is looked at ten times a second.
                while self._line[0] is not turn or (cancel is not None and cancel.is_set()):
                    if cancel is not None and cancel.is_set():
                        raise RunEndedError(Ending(EndingKind.CANCELLED))
                    self.changed.wait(0.1)
            except BaseException:
                self._leave(turn)
                raise

    def leave(self, turn: object) -> None:
        with self.changed:
            self._leave(turn)

    def _leave(self, turn: object) -> None:
        self._line.remove(turn)
        self.changed.notify_all()


SERVER_TURNS = Turns()


class Turn:
    """A context in which no other run of this server goes on.

    Args:
        cancel: an event that ends the waiting with `RunEndedError`.
    """

    def __init__(
        self, cancel: threading.Event | None = None, *, turns: Turns = SERVER_TURNS
    ) -> None:
        self._cancel = cancel
        self._turns = turns

    @property
    def ahead(self) -> int:
        """How many runs come before this one: to be asked from another thread."""
        return self._turns.ahead_of(self)

    def __enter__(self) -> Turn:
        self._turns.enter(self, self._cancel)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._turns.leave(self)
