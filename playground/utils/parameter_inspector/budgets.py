"""What some work may cost: its steps, and its processor time where somebody asks for a limit.

Work tells how far it came with `spend`, wherever it goes round; who started it may have set a limit
around it with `limited`. Without one, steps are counted by nobody and nothing ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .facts import Refusal, RefusalKind
from .quantization import UnavailableError

# The clock is asked once for so many steps, of about a microsecond each.
STEPS_BETWEEN_LOOKS = 1 << 12

# Numbers that are computed, or read, for one step.
NUMBERS_A_STEP = 1 << 10


class OutOfStepsError(UnavailableError):
    """The steps of the budget are spent. What else was to be computed is not there."""


class OutOfTimeError(Exception):
    """The work took the processor time that its budget gave it.

    No ValueError: what a single layer, operator or tensor leads to is caught as one, and this is
    about the whole file.
    """


class Budget:
    """Counts the steps of some work, and ends it.

    Attributes:
        steps: spent so far. One is about a microsecond of Python, or a thousand numbers computed.
        seconds: of processor time of one thread; None for no limit.
        most_steps: None for no limit.
        check: asked as often as the clock; what it raises ends the work.
    """

    def __init__(
        self,
        seconds: float | None = None,
        most_steps: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.steps = 0
        self.seconds, self.most_steps, self.check = seconds, most_steps, check
        self._looked_at = 0
        self._began = time.thread_time()

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            OutOfTimeError: the time is over.
            OutOfStepsError: there are no steps left.
        """
        self.steps += steps
        if self.most_steps is not None and self.steps > self.most_steps:
            raise OutOfStepsError(Refusal(RefusalKind.TOO_MUCH_WORK))
        if self.steps - self._looked_at < STEPS_BETWEEN_LOOKS:
            return
        self._looked_at = self.steps
        if self.check is not None:
            self.check()
        if self.seconds is not None and time.thread_time() - self._began > self.seconds:
            raise OutOfTimeError


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited(budget: Budget) -> Iterator[Budget]:
    """Charge the steps of this thread to a budget for as long as the context lasts."""
    before = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(before)


def current_budget() -> Budget | None:
    """Return the budget that this thread's steps are charged to."""
    return _budget.get()


def charge_to(budget: Budget | None) -> None:
    """Charge the steps of this thread to a budget for as long as the thread lives."""
    _budget.set(budget)


def spend(steps: int = 1) -> None:
    """Charge steps to the budget of this thread, where it has one.

    Raises:
        OutOfTimeError, OutOfStepsError: as the budget says.
    """
    budget = _budget.get()
    if budget is not None:
        budget.spend(steps)
